/** Dirty tracking of page tables: which pages devices have written. */
import { checkObject, readValue } from '../arguments.js';
import type { IommuDomain } from '../domain/iommu-domain.js';
import { refuse } from '../errors.js';
import type { Operation } from '../operation.js';
import type { BitSink } from '../table/dirty.js';
import { MAX_U64, type U64Input } from '../u64.js';
import { command } from './command.js';
import type { Context } from './context.js';
import { HwPagetable } from './hwpt.js';
import { refuseFlags } from './ioas-commands.js';
import { holding } from './object-table.js';

/** Flags of HWPT_SET_DIRTY_TRACKING. */
export const SET_DIRTY_TRACKING = Object.freeze({ ENABLE: 1 } as const);

/** Flags of HWPT_GET_DIRTY_BITMAP. */
export const GET_DIRTY_BITMAP = Object.freeze({
  /** Leave the marks as they are. */
  NO_CLEAR: 1,
} as const);

/**
 * HWPT_SET_DIRTY_TRACKING: switches dirty tracking of a page table. Enabling forgets what was dirty before.
 *
 * @throws EOPNOTSUPP for unknown flags, ENOENT if there is no such page table, EOPNOTSUPP if it was not made for
 * dirty tracking.
 *
 * @internal
 */
export const setDirtyTracking = command(function* (
  context: Context,
  fields: { readonly flags: number; readonly hwptId: number },
): Operation<void> {
  refuseFlags(fields.flags, SET_DIRTY_TRACKING.ENABLE);
  const hwpt = context.objects.get(fields.hwptId, HwPagetable);
  const enable = (fields.flags & SET_DIRTY_TRACKING.ENABLE) !== 0;
  yield* holding([hwpt], hwpt.ioas.table.settingDirtyTracking(hwpt.domain, enable));
});

/** The fields of HWPT_GET_DIRTY_BITMAP. */
export interface GetDirtyBitmapFields {
  readonly flags: number;
  readonly hwptId: number;
  readonly iova: U64Input;
  readonly length: U64Input;
  /** Bytes that a bit stands for. */
  readonly pageSize: U64Input;
  /** Where bits are set: bit n (bit n mod 8 of byte n div 8) is [iova + n * pageSize, + pageSize). */
  readonly bitmap: Uint8Array | BitSink;
}

/**
 * HWPT_GET_DIRTY_BITMAP: reads which pages of a range are dirty and clears their marks. Bits are only ever set.
 *
 * @throws EOPNOTSUPP for unknown flags, ENOENT if there is no such page table, and as `IoPagetable.readDirty`.
 *
 * @internal
 */
export const getDirtyBitmap = command(function* (
  context: Context,
  fields: GetDirtyBitmapFields,
): Operation<void> {
  const { flags, iova, length, pageSize, bitmap } = fields;
  refuseFlags(flags, GET_DIRTY_BITMAP.NO_CLEAR);
  const hwpt = context.objects.get(fields.hwptId, HwPagetable);
  const keep = (flags & GET_DIRTY_BITMAP.NO_CLEAR) !== 0;
  const request = { domain: hwpt.domain, iova, length, pageSize, bitmap, keep };
  yield* holding([hwpt], hwpt.ioas.table.readingDirty(request));
});

/** Bytes of the largest bitmap that is made. */
const LARGEST_BITMAP = 2n ** 31n;

/**
 * An empty bitmap for a range: no longer than the part of it that a domain can map at all.
 *
 * @throws ENOMEM if it would be too large.
 *
 * @internal
 */
export function bitmapFor(
  domain: IommuDomain,
  iova: U64Input,
  length: U64Input,
  pageSize: U64Input,
): Uint8Array {
  const start = readValue(iova, 'iova');
  const bytes = readValue(length, 'length');
  const page = readValue(pageSize, 'pageSize');
  // What a bit stands for is a power of two, also where the page size asked for is none.
  const granule = page & -page;
  const { aperture } = domain;
  checkObject(aperture, 'domain.aperture');
  const last = readValue(aperture.last, 'domain.aperture.last');
  // A request that will be refused needs no bits.
  if (granule === 0n || bytes === 0n || start + bytes - 1n > MAX_U64 || start > last)
    return new Uint8Array(0);
  const reach = start + bytes - 1n < last ? start + bytes - 1n : last;
  const size = (reach - start) / granule / 8n + 1n;
  if (size > LARGEST_BITMAP) throw refuse('ENOMEM', 'argument', `the bitmap would have ${size} bytes`);
  return new Uint8Array(Number(size));
}
