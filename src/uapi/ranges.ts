/** Arrays of IOVA ranges as bytes: those of IOAS_IOVA_RANGES, IOAS_ALLOW_IOVAS and VFIO's capability. */
import { checkInteger, checkObject, invalidType, outOfRange } from '../arguments.js';
import { readBytes } from '../memory/read-bytes.js';
import type { U64Input } from '../u64.js';
import { field, Struct } from './struct.js';

/** An entry of the arrays of IOAS_IOVA_RANGES and IOAS_ALLOW_IOVAS, and of VFIO's IOVA capability; both ends included. */
export const IOVA_RANGE = new Struct(16, {
  start: field('u64', 0, 'in'),
  last: field('u64', 8, 'in'),
});

/**
 * The bytes of an array of ranges, both ends included.
 *
 * @throws TypeError or RangeError if an end is not a 64-bit number.
 */
export function encodeRanges(
  ranges: readonly { readonly start: U64Input; readonly last: U64Input }[],
): Uint8Array {
  if (!Array.isArray(ranges)) throw invalidType(ranges, 'ranges', 'an array');
  const list = Array.from(ranges);
  const bytes = new Uint8Array(list.length * IOVA_RANGE.length);
  for (const [at, range] of list.entries()) {
    checkObject(range, 'a range');
    const { start, last } = range;
    IOVA_RANGE.write(bytes, { start, last }, at * IOVA_RANGE.length);
  }
  return bytes;
}

/**
 * The first `count` ranges of an array in bytes.
 *
 * @throws TypeError if `bytes` are none, RangeError if there are not that many.
 */
export function decodeRanges(bytes: Uint8Array, count: number): { start: bigint; last: bigint }[] {
  const own = readBytes(bytes, 'bytes');
  checkInteger(count, 'count', 0, Number.MAX_SAFE_INTEGER);
  const most = Math.floor(own.length / IOVA_RANGE.length);
  if (count > most) throw outOfRange(count, 'count', `at most ${most}`);
  return Array.from({ length: count }, (_, at) => IOVA_RANGE.decode(own, at * IOVA_RANGE.length));
}
