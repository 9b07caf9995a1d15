/** The page sizes that a `RadixDomain` offers, and the levels of its table that hold them. */
import { invalidType, outOfRange, readU64 } from '../arguments.js';
import { join, PAGE_SHIFT, type U64Input } from '../u64.js';
import { INDEX_BITS, TOP_LEAF_LEVEL } from './table-entry.js';

const LARGEST_SHIFT = PAGE_SHIFT + INDEX_BITS * TOP_LEAF_LEVEL;
/** All sizes that a domain can have, as a bit mask. */
export const SUPPORTED_PAGE_SIZES = 2n * 2n ** BigInt(LARGEST_SHIFT) - 2n ** BigInt(PAGE_SHIFT);
/** More than there are sizes; what goes on longer than that is no list of them. */
const MOST_SIZES = 64;
const SUPPORTED = 'one or more powers of two from 4096 (4 KiB) to 2^39 (512 GiB)';

/** A checked list of page sizes. */
export interface PageSizes {
  /** The sizes in bytes as a bit mask. */
  readonly bitmap: bigint;
  /** 4096-byte pages of an io page, the smallest size. */
  readonly ioPages: number;
  /** Levels of the table whose entries may be pages, ascending. */
  readonly leafLevels: readonly number[];
  /** log2 of the 4096-byte pages of each size, ascending. */
  readonly orders: readonly number[];
}

/**
 * Reads a list of page sizes. A size that is no level's own (512 times the one below: 4 KiB, 2 MiB, 1 GiB,
 * 512 GiB) is kept as entries of a lower level.
 *
 * @throws TypeError (`ERR_INVALID_ARG_TYPE`) or RangeError (`ERR_OUT_OF_RANGE`) if the list is empty or longer
 * than 64, or a size is not a power of two from 4096 to 2^39.
 */
export function readPageSizes(sizes: Iterable<U64Input>): PageSizes {
  const shifts = listOf(sizes)
    .map(shiftOf)
    .sort((a, b) => a - b);
  const smallest = shifts[0];
  if (smallest === undefined) throw outOfRange('an empty list', 'pageSizes', SUPPORTED);
  const leafLevels = [Math.floor((smallest - PAGE_SHIFT) / INDEX_BITS)];
  for (const shift of shifts) {
    const level = (shift - PAGE_SHIFT) / INDEX_BITS;
    if (Number.isInteger(level) && level > leafLevels.at(-1)!) leafLevels.push(level);
  }
  const bitmap = shifts.reduce((bits, shift) => bits | (1n << BigInt(shift)), 0n);
  const orders = shifts.map((shift) => shift - PAGE_SHIFT);
  return { bitmap, ioPages: 2 ** (smallest - PAGE_SHIFT), leafLevels, orders };
}

/** What an iterable gives, which may be without end. */
function listOf(sizes: Iterable<U64Input>): readonly U64Input[] {
  const iterate = sizes?.[Symbol.iterator];
  if (typeof iterate !== 'function') throw invalidType(sizes, 'pageSizes', 'an iterable');
  const list: U64Input[] = [];
  for (const size of { [Symbol.iterator]: () => iterate.call(sizes) }) {
    if (list.length === MOST_SIZES) throw outOfRange(`more than ${MOST_SIZES}`, 'pageSizes', SUPPORTED);
    list.push(size);
  }
  return list;
}

function shiftOf(size: U64Input): number {
  const { page, offset } = readU64(size, 'pageSizes');
  const shift = PAGE_SHIFT + Math.log2(page);
  if (offset !== 0 || !Number.isInteger(shift) || shift > LARGEST_SHIFT) {
    throw outOfRange(join(page, offset), 'pageSizes', SUPPORTED);
  }
  return shift;
}
