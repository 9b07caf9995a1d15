/**
 * How often each page frame is pinned, without touching every frame of a long run.
 */

import { refuse } from '../errors.js';

/** Frames in a block: 2 MiB. */
const BLOCK = 2 ** 9;
const BLOCK_SHIFT = 9;
const BLOCK_MASK = BLOCK - 1;
/** Frames in a segment: 16 GiB. */
const SEGMENT = 2 ** 22;
const SEGMENT_MASK = SEGMENT - 1;
const SEGMENTS_PER_FRAME = 1 / SEGMENT;
const BLOCKS_PER_SEGMENT = SEGMENT / BLOCK;

const NO_BLOCKS = new Int32Array(0);

class Segment {
  /** Pins that every frame of the segment has. */
  pins = 0;
  /** For each block where its frames' own counters begin (0: it has none), and the pins that every frame of it has. */
  blocks = NO_BLOCKS;
}

/**
 * Pin counts of page frames, whose numbers are below 2^52.
 *
 * The pins of a frame are those of its segment, of its block and its own, none of them negative: a long run is
 * added to few counters, a single frame to one. Pins that were added to a larger piece than they are taken from
 * move down a level first, so runs may be removed in other pieces than they were added in.
 *
 * A frame takes 2^31 − 1 pins. Whatever holds so many of them would not fit in memory, so nothing checks it.
 */
export class PinCounts {
  readonly #segments: (Segment | undefined)[] = [];
  /** The frames' own counters, a block's worth at a time. The first block is nobody's: 0 says "none". */
  #cells = new Int32Array(4 * BLOCK);
  #cellsUsed = BLOCK;
  #pinned = 0;

  /** Sum of the pins of all frames. */
  get pinned(): number {
    return this.#pinned;
  }

  /** How often frame `pfn` is pinned. */
  count(pfn: number): number {
    const segment = this.#segments[segmentOf(pfn)];
    if (segment === undefined) return 0;
    if (segment.blocks === NO_BLOCKS) return segment.pins;
    const block = blockOf(pfn);
    const cells = segment.blocks[block]!;
    const own = cells === 0 ? 0 : this.#cells[cells + (pfn & BLOCK_MASK)]!;
    return segment.pins + segment.blocks[block + 1]! + own;
  }

  /** Pins each of `count` frames from `pfn` on once more. */
  add(pfn: number, count: number): void {
    if (count === 1) {
      const segment = this.#segments[segmentOf(pfn)];
      if (segment !== undefined && segment.blocks !== NO_BLOCKS) {
        const cells = segment.blocks[blockOf(pfn)]!;
        if (cells !== 0) {
          this.#cells[cells + (pfn & BLOCK_MASK)]!++;
          this.#pinned++;
          return;
        }
      }
    }
    this.#addRun(pfn, pfn + count);
    this.#pinned += count;
  }

  /**
   * Takes back one pin of each of `count` frames from `pfn` on.
   *
   * @throws EINVAL if one of them is not pinned: a bug of the caller. Nothing has changed then.
   */
  remove(pfn: number, count: number): void {
    if (count === 1) {
      const segment = this.#segments[segmentOf(pfn)];
      if (segment !== undefined && segment.blocks !== NO_BLOCKS) {
        const cell = segment.blocks[blockOf(pfn)]! + (pfn & BLOCK_MASK);
        const own = this.#cells[cell]!;
        if (own > 0) {
          this.#cells[cell] = own - 1;
          this.#pinned--;
          return;
        }
      }
    }
    this.#removePinned(pfn, pfn + count);
    this.#pinned -= count;
  }

  #addRun(first: number, past: number): void {
    for (let at = first; at < past; ) {
      const segment = this.#segmentFor(at);
      const segmentPast = Math.min(past, at - (at & SEGMENT_MASK) + SEGMENT);
      if (segmentPast - at === SEGMENT) {
        segment.pins++;
        at = segmentPast;
        continue;
      }
      const { blocks } = this.#withBlocks(segment);
      while (at < segmentPast) {
        const block = blockOf(at);
        const blockPast = Math.min(segmentPast, at - (at & BLOCK_MASK) + BLOCK);
        if (blockPast - at === BLOCK) {
          blocks[block + 1]!++;
          at = blockPast;
          continue;
        }
        const base = this.#cellsOf(blocks, block);
        for (; at < blockPast; at++) this.#cells[base + (at & BLOCK_MASK)]!++;
      }
    }
  }

  #removePinned(first: number, past: number): void {
    const free = this.#firstFree(first, past);
    if (free !== undefined) {
      throw refuse('EINVAL', 'state', `frame 0x${free.toString(16)} is unpinned but it is not pinned`);
    }
    this.#removeRun(first, past);
  }

  #removeRun(first: number, past: number): void {
    for (let at = first; at < past; ) {
      const segment = this.#segmentFor(at);
      const segmentPast = Math.min(past, at - (at & SEGMENT_MASK) + SEGMENT);
      if (segmentPast - at === SEGMENT && segment.pins > 0) {
        segment.pins--;
        at = segmentPast;
        continue;
      }
      const { blocks } = this.#withBlocks(segment);
      while (at < segmentPast) {
        const block = blockOf(at);
        const blockPast = Math.min(segmentPast, at - (at & BLOCK_MASK) + BLOCK);
        if (blockPast - at === BLOCK && this.#takeFromBlock(segment, block)) {
          at = blockPast;
          continue;
        }
        const base = this.#cellsOf(blocks, block);
        for (; at < blockPast; at++) {
          const cell = base + (at & BLOCK_MASK);
          if (this.#cells[cell] === 0) this.#toCells(segment, block, base);
          this.#cells[cell]!--;
        }
      }
    }
  }

  /** Takes a pin from all frames of a block at once, if they have one in common; `false` if not. */
  #takeFromBlock(segment: Segment, block: number): boolean {
    const { blocks } = segment;
    if (blocks[block + 1] === 0) {
      if (segment.pins === 0) return false;
      segment.pins--;
      for (let pins = 1; pins < blocks.length; pins += 2) blocks[pins]!++;
    }
    blocks[block + 1]!--;
    return true;
  }

  /** Moves a pin that all frames of a block have in common down to the frames. */
  #toCells(segment: Segment, block: number, base: number): void {
    this.#takeFromBlock(segment, block);
    for (let cell = base; cell < base + BLOCK; cell++) this.#cells[cell]!++;
  }

  /** The first of the frames that is not pinned. */
  #firstFree(first: number, past: number): number | undefined {
    for (let at = first; at < past; ) {
      const segment = this.#segments[segmentOf(at)];
      const segmentPast = Math.min(past, at - (at & SEGMENT_MASK) + SEGMENT);
      if (segment === undefined || (segment.pins === 0 && segment.blocks === NO_BLOCKS)) return at;
      if (segment.pins > 0) at = segmentPast;
      while (at < segmentPast) {
        const block = blockOf(at);
        const blockPast = Math.min(segmentPast, at - (at & BLOCK_MASK) + BLOCK);
        const cells = segment.blocks[block]!;
        if (segment.blocks[block + 1]! > 0) at = blockPast;
        else if (cells === 0) return at;
        for (; at < blockPast; at++) if (this.#cells[cells + (at & BLOCK_MASK)] === 0) return at;
      }
    }
    return undefined;
  }

  #segmentFor(pfn: number): Segment {
    const index = segmentOf(pfn);
    // Filled up to the index: an array with gaps would turn into a slow dictionary.
    while (this.#segments.length <= index) this.#segments.push(undefined);
    return (this.#segments[index] ??= new Segment());
  }

  #withBlocks(segment: Segment): Segment {
    if (segment.blocks === NO_BLOCKS) segment.blocks = new Int32Array(2 * BLOCKS_PER_SEGMENT);
    return segment;
  }

  /** Where the counters of a block's frames begin; they are made if there are none. */
  #cellsOf(blocks: Int32Array, block: number): number {
    const base = blocks[block]!;
    if (base !== 0) return base;
    if (this.#cellsUsed === this.#cells.length) {
      const cells = new Int32Array(2 * this.#cells.length);
      cells.set(this.#cells);
      this.#cells = cells;
    }
    blocks[block] = this.#cellsUsed;
    this.#cellsUsed += BLOCK;
    return blocks[block]!;
  }
}

/** The segment of a frame. A multiplication by a power of two is exact, and the index is below 2^30. */
function segmentOf(pfn: number): number {
  return (pfn * SEGMENTS_PER_FRAME) | 0;
}

/** Where the pair of a frame's block is in its segment's `blocks`. */
function blockOf(pfn: number): number {
  return ((pfn & SEGMENT_MASK) >>> BLOCK_SHIFT) * 2;
}
