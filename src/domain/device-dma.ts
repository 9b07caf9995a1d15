/**
 * What a device's DMA does: translates its addresses through a domain, page by page, and copies between the
 * frames behind them and a buffer of its own.
 */
import { invalidType, readU64 } from '../arguments.js';
import { during, type ErrorReason, IommuError, wouldWait } from '../errors.js';
import { byteCount, checkBytes } from '../memory/bytes.js';
import { copyFrames } from '../memory/frame-bytes.js';
import { checkFrameMemory, type FrameMemory } from '../memory/user-memory.js';
import { READ, WRITE } from '../protection.js';
import { hex, join, MAX_U64, split, type U64Input } from '../u64.js';
import type { DirtyOperations, IommuDomain, Translation } from './iommu-domain.js';
import { translationOf } from './translate.js';

/** What translates for a device: a domain, or a `RadixReader` of one. */
export interface DeviceDomain extends Pick<IommuDomain, 'pageSizeBitmap' | 'iovaToPhys' | 'translate'> {
  /** Dirty tracking, where it has it. */
  readonly dirty?: Pick<DirtyOperations, 'mark'>;
}

/** The memory behind a domain: a `UserMemory`, or `SharedFrames` of one. */
export type DeviceMemory = FrameMemory;

/** EFAULT of a device's access: the domain does not map an address, or not with that permission. */
export class DmaFault extends IommuError {
  /** The first IOVA that the device could not access. */
  readonly iova: bigint;
  /** Bytes that were copied before it. */
  readonly copied: number;

  constructor(reason: ErrorReason, iova: bigint, copied: number) {
    super('EFAULT', reason);
    this.iova = iova;
    this.copied = copied;
  }
}

/**
 * A device reads memory: fills `target` with the bytes behind [iova, iova + target.length).
 *
 * @param memory - whose frames the domain maps
 * @throws DmaFault (EFAULT) at the first page that is not mapped or not readable; what lies before it was copied.
 * EAGAIN where the memory has no live views and copies later: what lies before was copied, and that copy is left to
 * itself. TypeError or RangeError if an argument is not as declared; nothing was copied.
 */
export function deviceRead(
  domain: DeviceDomain,
  memory: DeviceMemory,
  iova: U64Input,
  target: Uint8Array,
): void {
  transfer(domain, memory, iova, target, READ);
}

/**
 * A device writes memory: copies `source` to the bytes behind [iova, iova + source.length), and marks their pages
 * dirty where the domain tracks that.
 *
 * @param memory - whose frames the domain maps
 * @throws DmaFault (EFAULT) at the first page that is not mapped or not writable; what lies before it was copied.
 * EAGAIN where the memory has no live views and copies later: what lies before was copied, and that copy is left to
 * itself. TypeError or RangeError if an argument is not as declared; nothing was copied.
 */
export function deviceWrite(
  domain: DeviceDomain,
  memory: DeviceMemory,
  iova: U64Input,
  source: Uint8Array,
): void {
  transfer(domain, memory, iova, source, WRITE);
}

function transfer(
  domain: DeviceDomain,
  memory: DeviceMemory,
  iova: U64Input,
  buffer: Uint8Array,
  wanted: number,
): void {
  if (typeof domain?.iovaToPhys !== 'function') throw invalidType(domain, 'domain', 'an IommuDomain');
  checkFrameMemory(memory, 'memory');
  const start = readU64(iova, 'iova');
  checkBytes(buffer, 'buffer');
  const size = byteCount(buffer);
  const first = join(start.page, start.offset);
  let copied = 0;
  while (copied < size) {
    const at = first + BigInt(copied);
    const found = at > MAX_U64 ? undefined : translationOf(domain, at);
    if (found === undefined || (found.protection & wanted) === 0) {
      const fault = new DmaFault(reasonOf(at, found, wanted), at, copied);
      throw during(fault, wanted === WRITE ? 'device write' : 'device read', start, split(BigInt(size)));
    }
    const length = Math.min(size - copied, Number(found.length));
    try {
      const { page, offset } = split(found.physical);
      const copying = copyFrames(memory, page, offset, buffer, copied, length, wanted === WRITE);
      if (copying !== undefined) throw leftToItself(copying);
    } finally {
      if (wanted === WRITE) domain.dirty?.mark(at, BigInt(length));
    }
    copied += length;
  }
}

function reasonOf(iova: bigint, found: Translation | undefined, wanted: number): ErrorReason {
  if (found === undefined) return { check: 'not-mapped', iova: hex(iova) };
  const name = wanted === WRITE ? 'write' : 'read';
  const detail = `the mapping of IOVA ${hex(iova)} does not let a device ${name}`;
  return { check: 'permission', wanted: name, detail };
}

/** EAGAIN: the copy goes on without the device. */
function leftToItself(copying: PromiseLike<void>): IommuError {
  copying.then(undefined, () => undefined);
  return wouldWait();
}
