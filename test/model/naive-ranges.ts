/**
 * Arithmetic of the naive model: closed ranges of bigints in plain arrays, looked through from front to back.
 */
import type { ErrorCode } from '../../src/errors.js';

/** The largest 64-bit value. */
export const MAX = 2n ** 64n - 1n;
/** Bytes in a CPU page. */
export const PAGE = 4096n;

/** A closed range: `start` and `last` both belong to it. */
export interface Range {
  readonly start: bigint;
  readonly last: bigint;
}

/** A refused call. `bytes` is what an unmap had removed before it failed. */
export class Refusal extends Error {
  readonly code: ErrorCode;
  readonly bytes: bigint | undefined;

  constructor(code: ErrorCode, bytes?: bigint) {
    super(code);
    this.code = code;
    this.bytes = bytes;
  }
}

/** The last byte of `length` bytes from `start`: EINVAL for no bytes, EOVERFLOW past 2^64 − 1. */
export function lastOf(start: bigint, length: bigint): bigint {
  if (length === 0n) throw new Refusal('EINVAL');
  const last = start + length - 1n;
  if (last > MAX) throw new Refusal('EOVERFLOW');
  return last;
}

/** The smaller of two. */
export function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

/** The larger of two. */
export function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

/** Whether two closed ranges share a byte. */
export function meets(a: Range, b: Range): boolean {
  return a.start <= b.last && b.start <= a.last;
}

/** What of `window` is covered, ascending; overlapping and touching ranges are joined. */
export function covered(ranges: readonly Range[], window: Range): Range[] {
  const sorted = ranges
    .filter((range) => meets(range, window))
    .map((range) => ({ start: max(range.start, window.start), last: min(range.last, window.last) }))
    .sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
  const joined: { start: bigint; last: bigint }[] = [];
  for (const range of sorted) {
    const before = joined.at(-1);
    if (before !== undefined && range.start <= before.last + 1n) before.last = max(before.last, range.last);
    else joined.push(range);
  }
  return joined;
}

/** What of `window` is not covered, ascending. */
export function holes(ranges: readonly Range[], window: Range): Range[] {
  const free: Range[] = [];
  let at = window.start;
  for (const used of covered(ranges, window)) {
    if (used.start > at) free.push({ start: at, last: used.start - 1n });
    at = used.last + 1n;
  }
  if (at <= window.last) free.push({ start: at, last: window.last });
  return free;
}

/** The lowest set bit; 0 has none. */
export function lowestBit(value: bigint): bigint {
  return value & -value;
}

/** The smallest power of two that is at least `value`. */
export function powerOfTwoFrom(value: bigint): bigint {
  let power = 1n;
  while (power < value) power *= 2n;
  return power;
}
