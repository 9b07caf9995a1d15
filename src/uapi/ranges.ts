/** Arrays of IOVA ranges as bytes: those of IOAS_IOVA_RANGES, IOAS_ALLOW_IOVAS and VFIO's capability. */
import { outOfRange, type U64Input } from '../u64.js';
import { IOVA_RANGE } from './commands.js';

/**
 * The bytes of an array of ranges, both ends included.
 *
 * @throws TypeError or RangeError if an end is not a 64-bit number.
 */
export function encodeRanges(
  ranges: readonly { readonly start: U64Input; readonly last: U64Input }[],
): Uint8Array {
  const bytes = new Uint8Array(ranges.length * IOVA_RANGE.length);
  for (const [at, { start, last }] of ranges.entries()) {
    IOVA_RANGE.write(bytes, { start, last }, at * IOVA_RANGE.length);
  }
  return bytes;
}

/**
 * The first `count` ranges of an array in bytes.
 *
 * @throws RangeError if there are not that many.
 */
export function decodeRanges(bytes: Uint8Array, count: number): { start: bigint; last: bigint }[] {
  if (count * IOVA_RANGE.length > bytes.length) {
    throw outOfRange('count', `at most ${Math.floor(bytes.length / IOVA_RANGE.length)}`, count);
  }
  return Array.from({ length: count }, (_, at) => IOVA_RANGE.decode(bytes, at * IOVA_RANGE.length));
}
