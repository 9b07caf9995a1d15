/**
 * How much room a hole has, as one small integer.
 *
 * Two figures side by side. The upper bits are the size of the hole as a short floating-point number. The lower
 * ten are its capacity: how many pages fit if they must start at a multiple of their number rounded up to a power
 * of two, as automatic placement aligns most mappings; counted up to 512 pages, where its alignment ends. The
 * first figure alone would take any number of holes that are large enough but begin in the wrong place for a fit.
 *
 * Both figures only ever grow with what they stand for, so the larger figures of two holes bound what fits in
 * either, and what fits in a hole has figures no larger than the hole's.
 */
import { type Address, PAGE_MASK, PAGE_SHIFT, PAGE_SIZE } from './u64.js';

const CAPACITY_BITS = 10;
const CAPACITY_MASK = 2 ** CAPACITY_BITS - 1;
const MOST_PAGES = 512;

const float = new Float32Array(1);
const floatBits = new Int32Array(float.buffer);

/**
 * Larger for more bytes, or the same: the upper bits of a positive floating-point number are in its order. Exact
 * for as many bytes or pages as 14 bits can count.
 */
function sizeFigure(bytes: number): number {
  float[0] = bytes;
  return floatBits[0]! & ~CAPACITY_MASK;
}

/** What a mapping of `length` bytes at a multiple of `alignment` bytes, a power of two, needs. */
export function roomFor(length: Address, alignment: number): number {
  const pages = Math.min(length.page, Math.floor(alignment / PAGE_SIZE), MOST_PAGES);
  return sizeFigure(length.page * PAGE_SIZE + length.offset) | pages;
}

/** The room of a hole of `bytes` bytes whose first address has the lower half `low`. */
export function roomOf(low: number, bytes: number): number {
  const toPage = -low & PAGE_MASK;
  const pages = Math.floor((bytes - toPage) / PAGE_SIZE);
  return sizeFigure(bytes) | capacity((low + toPage) >>> PAGE_SHIFT, pages);
}

/** How many of `pages` pages from `page` on can be used by one mapping aligned to its size. */
function capacity(page: number, pages: number): number {
  // From the smallest power of two that is not below `pages`, as no larger one can do.
  const from = pages < MOST_PAGES ? 1 << (32 - Math.clz32(pages - 1)) : MOST_PAGES;
  for (let most = from; most >= 1; most >>= 1) {
    const usable = pages - (-page & (most - 1));
    if (usable > most >> 1) return Math.min(usable, most);
  }
  return 0;
}

/** `false` if what needs `needed` fits in no hole that has the figures `room`, or smaller ones. */
export function mayHaveRoom(room: number, needed: number): boolean {
  return (
    (room & ~CAPACITY_MASK) >= (needed & ~CAPACITY_MASK) && (room & CAPACITY_MASK) >= (needed & CAPACITY_MASK)
  );
}

/** The larger figures of two rooms. */
export function largerRoom(a: number, b: number): number {
  return (Math.max(a, b) & ~CAPACITY_MASK) | Math.max(a & CAPACITY_MASK, b & CAPACITY_MASK);
}
