/**
 * The pinned store: frames by page index, for exactly the indexes that accesses cover.
 *
 * Frames are kept as runs in segments of neighbouring indexes, so a gigabyte pinned at once is one entry.
 */
import { IntervalTree } from '../interval-tree.js';
import { FrameRuns } from '../memory/frame-runs.js';
import { indexInterval } from './mapped-area.js';

/** A sparse map from page index to frame number. */
export class PinnedStore {
  readonly #segments = new IntervalTree<FrameRuns>();

  /** Whether nothing is stored. */
  get empty(): boolean {
    return this.#segments.size === 0;
  }

  /** Stores the frames of the indexes from `first` on, none of which is stored yet. */
  insert(first: number, frames: FrameRuns): void {
    this.#segments.insert(indexInterval(first, first + frames.frames - 1), frames);
  }

  /** Appends the frames of [first, last], all of which are stored, to `into`. */
  read(first: number, last: number, into: FrameRuns): void {
    const range = indexInterval(first, last);
    for (
      let node = this.#segments.first(range);
      node !== undefined;
      node = this.#segments.nextIn(node, range)
    ) {
      const from = Math.max(first, node.page);
      const count = Math.min(last, node.lastPage) - from + 1;
      node.value.forEachRun(from - node.page, count, (pfn, length) => into.push(pfn, length));
    }
  }

  /** Removes [first, last], all of which are stored, and gives their frames. */
  erase(first: number, last: number): FrameRuns {
    const range = indexInterval(first, last);
    const erased = new FrameRuns();
    for (let node = this.#segments.first(range); node !== undefined; node = this.#segments.first(range)) {
      const frames = node.value;
      const segmentFirst = node.page;
      const segmentLast = node.lastPage;
      this.#segments.delete(node);
      if (segmentFirst === first && segmentLast === last) return frames;
      const from = Math.max(first, segmentFirst);
      const to = Math.min(last, segmentLast);
      frames.forEachRun(from - segmentFirst, to - from + 1, (pfn, length) => erased.push(pfn, length));
      if (segmentFirst < from) this.insert(segmentFirst, frames.slice(0, from - segmentFirst));
      if (to < segmentLast) this.insert(to + 1, frames.slice(to + 1 - segmentFirst, segmentLast - to));
    }
    return erased;
  }

  /** Checks the tree of segments, and that each holds as many frames as it covers. @throws Error naming what is broken */
  verify(): void {
    this.#segments.verify();
    for (let node = this.#segments.head(); node !== undefined; node = this.#segments.next(node)) {
      const { page, lastPage, value } = node;
      if (value.frames !== lastPage - page + 1)
        throw new Error(`${value.frames} frames at ${page} to ${lastPage}`);
      if (this.#segments.nextIn(node, node) !== undefined)
        throw new Error(`two segments have page ${lastPage}`);
    }
  }

  /** The stored segments in order, as first index and frames. */
  *segments(): Generator<{ readonly first: number; readonly frames: FrameRuns }> {
    for (let node = this.#segments.head(); node !== undefined; node = this.#segments.next(node)) {
      yield { first: node.page, frames: node.value };
    }
  }
}
