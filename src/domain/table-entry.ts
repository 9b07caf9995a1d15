/**
 * The format of a radix table's entry: two 32-bit words.
 *
 * Word 0 is the low half of a frame number, or the number of the table below. Word 1, the state, holds the
 * flags, the high bits of the frame number, and a version that every change of the entry counts up.
 *
 * An entry is filled in the order word 0, state, and emptied by the state alone. That lets another thread read while
 * the owner writes (`table-publisher.ts` says how), and mark a page dirty: it exchanges the state that it found for
 * the same with a mark, which fails if the entry has changed since. For that, versions go on when a table is used
 * again: it is not cleared.
 */

/** log2 of the number of entries of a table. */
export const INDEX_BITS = 9;
/** Entries of a table. */
export const ENTRIES = 512;
/** Mask of an entry's number in its table. */
export const INDEX_MASK = ENTRIES - 1;
/** log2 of the number of 32-bit words of a table. */
export const TABLE_WORD_BITS = 10;
/** Bytes of a table. */
export const TABLE_BYTES = 4096;
/** The highest level: its table spans the 52 bits of a page number. */
export const TOP_LEVEL = 5;
/** Level of the root of an empty table; as high as pages may be large. */
export const FIRST_ROOT_LEVEL = 3;
/** The highest level whose entries may be pages: 512 GiB each. */
export const TOP_LEAF_LEVEL = 3;

/** State bits 0 and 1: the permission bits READ and WRITE. */
export const PROTECTION = 3;
/** State bit: the entry maps a page. */
export const LEAF = 4;
/** State bit: the entry points to a table of the level below. */
export const TABLE = 8;
/** State bit: a device wrote to the page. */
export const DIRTY = 16;
/** The entry is in use. */
export const PRESENT = LEAF | TABLE;

/** Frame numbers are below this: physical addresses below 2^52. */
export const FRAME_LIMIT = 2 ** 40;

const FRAME_HIGH_SHIFT = 5;
const FRAME_HIGH_MASK = 0xff;
const VERSION = 1 << 13;
const VERSION_MASK = -VERSION;
const HALF = 2 ** 32;

/** 4096-byte pages that an entry of each level spans; one more than the levels, for what is past the root. */
export const SPAN: readonly number[] = [0, 1, 2, 3, 4, 5, 6].map((level) => 2 ** (INDEX_BITS * level));

/** State of an entry that now has these flags and this frame number (0 for a table), after `state`. */
export function nextState(state: number, flags: number, frame: number): number {
  return ((state & VERSION_MASK) + VERSION) | 0 | flags | ((frame / HALF) << FRAME_HIGH_SHIFT);
}

/** State of the entry after it was emptied. */
export function emptied(state: number): number {
  return ((state & VERSION_MASK) + VERSION) | 0;
}

/** State of a page after its dirty mark was taken off. */
export function cleaned(state: number): number {
  return ((state & ~DIRTY) + VERSION) | 0;
}

/** State of a page after it was marked dirty. */
export function soiled(state: number): number {
  return ((state | DIRTY) + VERSION) | 0;
}

/** The first frame number of a page from its two words. */
export function frameOf(low: number, state: number): number {
  return (low >>> 0) + ((state >>> FRAME_HIGH_SHIFT) & FRAME_HIGH_MASK) * HALF;
}

/** Number of the entry, in its table of `level`, that page number `page` belongs to. */
export function indexOf(page: number, level: number): number {
  // Shifts see the low 32 bits only, so the three upper levels look at a page number without its low 27 bits.
  return level < 3
    ? (page >>> (INDEX_BITS * level)) & INDEX_MASK
    : ((page / 2 ** 27) >>> (INDEX_BITS * (level - 3))) & INDEX_MASK;
}
