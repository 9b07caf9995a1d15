/**
 * Exact 64-bit address arithmetic without allocated BigInts.
 *
 * An address is split into a page number (below 2^52, so exact in a double) and the byte offset inside that
 * page. Every comparison and every sum of the library works on these two small numbers; BigInts exist only at
 * the public surface.
 */

/** log2 of the CPU page size. */
export const PAGE_SHIFT = 12;
/** Bytes in a CPU page. */
export const PAGE_SIZE = 4096;
/** Mask of the byte offset inside a CPU page. */
export const PAGE_MASK = PAGE_SIZE - 1;
/** Number of the last page of the 64-bit address space. */
export const LAST_PAGE = 2 ** 52 - 1;
/** The largest 64-bit value, 2^64 − 1. */
export const MAX_U64 = 0xffff_ffff_ffff_ffffn;

/** A 64-bit address or length: `page * 4096 + offset`, with `offset` in 0..4095. */
export interface Address {
  /** Page number, 0 to 2^52 − 1. */
  readonly page: number;
  /** Byte inside the page, 0 to 4095. */
  readonly offset: number;
}

/** A closed interval of addresses: both its first and its last byte belong to it. */
export interface Interval extends Address {
  /** Page number of the last byte. */
  readonly lastPage: number;
  /** Offset of the last byte inside its page. */
  readonly lastOffset: number;
}

/** What the public functions take as an address or a length: a bigint, or a number that is a safe integer. */
export type U64Input = bigint | number;

const whole = new BigUint64Array(1);
const halves = new Uint32Array(whole.buffer);
const PAGES_PER_HALF = 2 ** 20;

/** The whole 64-bit address space, [0, 2^64 − 1]. */
export const WHOLE_SPACE: Interval = Object.freeze({
  page: 0,
  offset: 0,
  lastPage: LAST_PAGE,
  lastOffset: PAGE_MASK,
});

/** Splits a bigint that is known to be in 0..2^64 − 1. */
export function split(value: bigint): Address {
  whole[0] = value;
  const low = halves[0]!;
  return { page: halves[1]! * PAGES_PER_HALF + (low >>> PAGE_SHIFT), offset: low & PAGE_MASK };
}

/** The bigint of a page number and an offset. */
export function join(page: number, offset: number): bigint {
  const high = Math.floor(page / PAGES_PER_HALF);
  halves[1] = high;
  halves[0] = (page - high * PAGES_PER_HALF) * PAGE_SIZE + offset;
  return whole[0]!;
}

/** Whether an address is 2^64 − 1. */
export function isLargest(value: Address): boolean {
  return value.page === LAST_PAGE && value.offset === PAGE_MASK;
}

/** Whether an address or a length is 0. */
export function isZero(value: Address): boolean {
  return value.page === 0 && value.offset === 0;
}

/** Negative, zero or positive as `a` is below, at or above `b`. */
export function compare(a: Address, b: Address): number {
  return a.page - b.page || a.offset - b.offset;
}

/**
 * The closed interval of `length` bytes from `start`, or `undefined` if its last byte lies past 2^64 − 1.
 * `length` is at least 1.
 */
export function intervalOf(start: Address, length: Address): Interval | undefined {
  const bytes = start.offset + length.offset - 1;
  const lastPage = start.page + length.page + Math.floor(bytes / PAGE_SIZE);
  if (lastPage > LAST_PAGE) return undefined;
  return { page: start.page, offset: start.offset, lastPage, lastOffset: bytes & PAGE_MASK };
}

/** Number of bytes of a closed interval; 2^64, the whole space, has no `Address` and gives page 2^52. */
export function lengthOf(interval: Interval): Address {
  const bytes = interval.lastOffset - interval.offset + 1;
  return {
    page: interval.lastPage - interval.page + Math.floor(bytes / PAGE_SIZE),
    offset: bytes & PAGE_MASK,
  };
}

/** Number of bytes of a closed interval as a bigint, up to 2^64. */
export function byteLength(interval: Interval): bigint {
  const length = lengthOf(interval);
  return length.page > LAST_PAGE ? MAX_U64 + 1n : join(length.page, length.offset);
}

/** Whether two closed intervals share a byte. */
export function intersects(a: Interval, b: Interval): boolean {
  return (
    (a.page < b.lastPage || (a.page === b.lastPage && a.offset <= b.lastOffset)) &&
    (b.page < a.lastPage || (b.page === a.lastPage && b.offset <= a.lastOffset))
  );
}

/** Whether `inner` lies wholly inside `outer`. */
export function contains(outer: Interval, inner: Interval): boolean {
  return (
    (outer.page < inner.page || (outer.page === inner.page && outer.offset <= inner.offset)) &&
    (inner.lastPage < outer.lastPage ||
      (inner.lastPage === outer.lastPage && inner.lastOffset <= outer.lastOffset))
  );
}

/** The closed interval between two addresses, `first` at or below `last`. */
export function between(first: Address, last: Address): Interval {
  return { page: first.page, offset: first.offset, lastPage: last.page, lastOffset: last.offset };
}

/** The first byte of an interval. */
export function firstOf(interval: Interval): Address {
  return { page: interval.page, offset: interval.offset };
}

/** The last byte of an interval. */
export function lastOf(interval: Interval): Address {
  return { page: interval.lastPage, offset: interval.lastOffset };
}

/** The address after `value`, or `undefined` past 2^64 − 1. */
export function next(value: Address): Address | undefined {
  if (value.offset < PAGE_MASK) return { page: value.page, offset: value.offset + 1 };
  return value.page === LAST_PAGE ? undefined : { page: value.page + 1, offset: 0 };
}

/** The address before `value`, or `undefined` below 0. */
export function previous(value: Address): Address | undefined {
  if (value.offset > 0) return { page: value.page, offset: value.offset - 1 };
  return value.page === 0 ? undefined : { page: value.page - 1, offset: PAGE_MASK };
}

/** The lowest set bit of an address as a power of two; `Infinity` for 0. */
export function lowestBit(value: Address): number {
  if (value.offset !== 0) return value.offset & -value.offset;
  if (value.page === 0) return Infinity;
  let bit = PAGE_SIZE;
  let page = value.page;
  while (page % 2 === 0) {
    page /= 2;
    bit *= 2;
  }
  return bit;
}

/** A value as the kernel's users write it: `0x` and lower-case hex digits without padding. */
export function hex(value: Address | bigint | number): string {
  const whole = typeof value === 'object' ? join(value.page, value.offset) : value;
  return `0x${whole.toString(16)}`;
}

/** A closed interval in hex: `[0x1000, 0x1fff]`. */
export function hexRange(interval: Interval): string {
  return `[${hex(firstOf(interval))}, ${hex(lastOf(interval))}]`;
}
