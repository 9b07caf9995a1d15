/**
 * Dirty tracking: which pages devices have written.
 */
import { checkedInterval } from '../arguments.js';
import type { DirtyOperations, IommuDomain } from '../domain/iommu-domain.js';
import { IommuError, refuse } from '../errors.js';
import { faultPoint } from '../faults.js';
import type { Operation } from '../operation.js';
import type { Rules } from '../rules.js';
import { type Address, between, byteLength, hex, type Interval, isZero, join } from '../u64.js';
import { walkContiguous } from './area-lookup.js';
import type { TableState } from './table-state.js';

/**
 * Takes the bits of a dirty bitmap that are to be set: those from `first` to `last`, both included. Calls come in
 * ascending order of `first`. Some kernels also set bits after those of the request (`dirtyPageAcross` of the rules). It
 * may not change the table.
 */
export type BitSink = (first: bigint, last: bigint) => void;

/** A request to read dirty bits, with its arguments read. */
export interface DirtyRequest {
  readonly domain: IommuDomain;
  readonly iova: Address;
  readonly length: Address;
  /** Bytes that a bit of the bitmap stands for. */
  readonly pageSize: Address;
  readonly bitmap: Uint8Array | BitSink;
  /** Leave the marks set. */
  readonly keep: boolean;
}

/**
 * Switches a domain's dirty tracking; enabling it forgets what was dirty before.
 *
 * @throws EOPNOTSUPP if the domain has none, and what the domain throws.
 */
export function* setDirtyTracking(table: TableState, domain: IommuDomain, enable: boolean): Operation<void> {
  const dirty = dirtyOperations(domain);
  if (!table.iovaLock.tryRead()) yield () => table.iovaLock.read();
  try {
    if (enable) {
      for (const area of table.areas) {
        if (area.pages !== undefined) dirty.readAndClear(area.iova, area.length, false, undefined);
      }
    }
    dirty.setTracking(enable);
  } finally {
    table.iovaLock.releaseRead();
  }
}

/**
 * Reads a domain's dirty marks into a bitmap, and clears them unless told to keep them. Bits are only ever set. What a
 * page that reaches out of the range sets, and whether there are marks while tracking is off, is in the rules.
 *
 * The walk ends at the first gap between areas, or where the domain refuses, and that is no error.
 *
 * @throws EINVAL (length or page size 0, alignment), EOVERFLOW, EOPNOTSUPP if the domain has no dirty tracking.
 */
export function* readDirty(table: TableState, request: DirtyRequest): Operation<void> {
  const range = checkDirtyRequest(table, request);
  const dirty = dirtyOperations(request.domain);
  faultPoint(table.faults, 'dirty-bitmap');
  if (!table.iovaLock.tryRead()) yield () => table.iovaLock.read();
  try {
    if (!dirty.tracking && !table.rules.dirtyReadsWhileOff) return;
    const mark = bitmapWriter(request, range, table.rules.dirtyPageAcross);
    for (const { first, last } of walkContiguous(table.areas, range)) {
      const part = between(first, last);
      dirty.readAndClear(join(first.page, first.offset), byteLength(part), request.keep, mark);
    }
  } catch (error) {
    // As in the kernel, the bits read so far are the answer when a domain ends the walk.
    if (!(error instanceof IommuError)) throw error;
  } finally {
    table.iovaLock.releaseRead();
  }
}

function dirtyOperations(domain: IommuDomain): DirtyOperations {
  if (domain.dirty === undefined)
    throw refuse('EOPNOTSUPP', 'unsupported', 'the domain cannot track dirty pages');
  return domain.dirty;
}

function checkDirtyRequest(table: TableState, request: DirtyRequest): Interval {
  const { iova, length, pageSize } = request;
  const range = checkedInterval(iova, length);
  const misaligned = (granule: bigint) => {
    const start = join(iova.page, iova.offset);
    return ((start | (start + join(length.page, length.offset))) & (granule - 1n)) !== 0n;
  };
  if (misaligned(BigInt(table.alignment))) {
    throw refuse('EINVAL', 'argument', `the range is not aligned to ${table.alignment} bytes`);
  }
  if (isZero(pageSize)) throw refuse('EINVAL', 'argument', 'the page size is 0');
  if (misaligned(join(pageSize.page, pageSize.offset))) {
    throw refuse('EINVAL', 'argument', `the range is not aligned to the page size ${hex(pageSize)}`);
  }
  return range;
}

/** Sets the bits of the reported pages, which may begin before the range and end after it. */
function bitmapWriter(
  request: DirtyRequest,
  range: Interval,
  across: Rules['dirtyPageAcross'],
): (iova: bigint, size: bigint) => void {
  const start = join(range.page, range.offset);
  const pageSize = join(request.pageSize.page, request.pageSize.offset);
  const granule = pageSize & -pageSize;
  const lastBit = (byteLength(range) - 1n) / granule;
  const setBits = bitSetter(request.bitmap);
  if (across === 'from-start') {
    return (iova, size) => {
      if (iova >= start) setBits((iova - start) / granule, (iova + size - 1n - start) / granule);
    };
  }
  return (iova, size) => {
    const first = iova > start ? (iova - start) / granule : 0n;
    const last = (iova + size - 1n - start) / granule;
    if (first <= lastBit) setBits(first, last < lastBit ? last : lastBit);
  };
}

/** Sets bits in an array, as far as it reaches, or passes them on. */
function bitSetter(bitmap: Uint8Array | BitSink): BitSink {
  if (typeof bitmap === 'function') return bitmap;
  return (first, last) => {
    const until = Math.min(Number(last), bitmap.length * 8 - 1);
    for (let bit = Number(first); bit <= until; bit++) bitmap[Math.floor(bit / 8)]! |= 1 << (bit % 8);
  };
}
