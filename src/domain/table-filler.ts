/**
 * Filling a radix table: consecutive pages get frames, run by run, in pages as large as they fit.
 *
 * Frames go into one table after the other. While one is open, the next entry to fill is all that a run needs to know.
 */
import { refuse } from '../errors.js';
import type { FrameRuns } from '../memory/frame-runs.js';
import { hex } from '../u64.js';
import { FRAME_LIMIT, indexOf, LEAF, nextState, PRESENT, SPAN, TABLE } from './table-entry.js';
import { entryAt, entryBounds, type TableTree } from './table-tree.js';

/** Maps pages of a tree in ascending order, from `begin` on. One serves for all requests. */
export class TableFiller {
  readonly #tree: TableTree;
  readonly #leafLevels: readonly number[];
  readonly #baseLevel: number;
  readonly #smallestLarge: number;

  // The open table (level −1: none), the entries in it that were filled first and are next, the end of it, and the page
  // of the entry that was filled first; with no table open, the page that is next.
  #openTable = 0;
  #openLevel = -1;
  #openAt = 0;
  #fillAt = 0;
  #fillStop = 0;
  #fillPage = 0;

  /** @param leafLevels - levels whose entries may be pages, ascending; at least one */
  constructor(tree: TableTree, leafLevels: readonly number[]) {
    this.#tree = tree;
    this.#leafLevels = leafLevels;
    this.#baseLevel = leafLevels[0]!;
    this.#smallestLarge = leafLevels.length > 1 ? SPAN[leafLevels[1]!]! : Infinity;
  }

  /** Says which page is to be filled first. */
  begin(page: number): void {
    this.#fillPage = page;
    this.#openLevel = -1;
  }

  /** Maps consecutive frames after what is filled, in pages as large as alignment and length allow. */
  fillRun(firstFrame: number, count: number, flags: number): void {
    if (firstFrame + count > FRAME_LIMIT) {
      const physical = hex({ page: firstFrame, offset: 0 });
      throw refuse('EINVAL', 'domain', `${count} pages from physical address ${physical} pass 2^52`);
    }
    const tree = this.#tree;
    let frame = firstFrame;
    let left = count;
    while (left > 0) {
      let level = this.#baseLevel;
      if (left >= this.#smallestLarge) {
        this.close();
        level = this.#levelFor(this.#fillPage, frame, left);
      }
      if (level !== this.#openLevel || this.#fillAt === this.#fillStop) this.#open(level);
      const words = tree.words;
      const span = SPAN[level]!;
      const stop = this.#fillStop;
      let at = this.#fillAt;
      for (; left >= span && at < stop; at += 2) {
        const state = words[at + 1]!;
        if ((state & PRESENT) !== 0) break;
        words[at] = frame;
        words[at + 1] = nextState(state, flags, frame);
        frame += span;
        left -= span;
      }
      this.#fillAt = at;
      if (left >= span && at < stop) throw tree.overlap(this.close());
    }
  }

  /**
   * Maps the runs of one frame that follow run `run`, as far as the open table has room for them and nothing is in
   * the way; gives the last run that is mapped. `fillRun` could do it too, in twice the time.
   */
  fillSingles(list: FrameRuns, run: number, flags: number): number {
    if (this.#openLevel !== 0) return run;
    const { words } = this.#tree;
    const stop = this.#fillStop;
    const { runs } = list;
    let next = run + 1;
    let at = this.#fillAt;
    for (; at < stop && next < runs && list.countOf(next) === 1; at += 2) {
      const frame = list.pfnOf(next);
      const state = words[at + 1]!;
      if ((state & PRESENT) !== 0 || frame >= FRAME_LIMIT) break;
      words[at] = frame;
      words[at + 1] = nextState(state, flags, frame);
      next += 1;
    }
    this.#fillAt = at;
    return next - 1;
  }

  /** The highest level whose pages fit: page and frame aligned, and not longer than what is left. */
  #levelFor(page: number, frame: number, count: number): number {
    for (let at = this.#leafLevels.length - 1; at > 0; at--) {
      const level = this.#leafLevels[at]!;
      const span = SPAN[level]!;
      if (span <= count && ((page | frame) & (span - 1)) === 0) return level;
    }
    return this.#baseLevel;
  }

  /** Opens the table of `level` that the next page to fill belongs to; makes it if it is not there. */
  #open(level: number): void {
    const tree = this.#tree;
    const page = this.close();
    const pool = tree.pool;
    let rootLevel = tree.rootLevel;
    while (page >= SPAN[rootLevel + 1]!) rootLevel++;
    tree.reserve(rootLevel - tree.rootLevel + rootLevel - level);
    const publisher = tree.publisher;
    if (rootLevel > tree.rootLevel) {
      while (rootLevel > tree.rootLevel) tree.raiseRoot();
      publisher?.moveRoot(tree.root, tree.rootLevel);
    }
    let covered = publisher === undefined;
    let table = tree.root;
    for (let above = tree.rootLevel; above > level; above--) {
      const words = tree.words;
      const at = entryAt(table, indexOf(page, above));
      const state = words[at + 1]!;
      if ((state & LEAF) !== 0) throw tree.overlap(page);
      if ((state & TABLE) === 0) {
        // Of what is empty an empty entry, so that nobody follows the entry before he can see where it leads.
        if (!covered) publisher?.cover(...entryBounds(page, above), 0, 0, above);
        covered = true;
        tree.addTable(table, at, pool.allocate());
      }
      table = words[at]!;
    }
    this.#openTable = table;
    this.#openLevel = level;
    this.#openAt = this.#fillAt = entryAt(table, indexOf(page, level));
    this.#fillStop = entryAt(table + 1, 0);
  }

  /** Closes the open table, if one is; gives the page that is to be filled next. */
  close(): number {
    if (this.#openLevel >= 0) {
      const entries = (this.#fillAt - this.#openAt) / 2;
      this.#tree.pool.used[this.#openTable]! += entries;
      this.#fillPage += entries * SPAN[this.#openLevel]!;
      this.#openLevel = -1;
    }
    return this.#fillPage;
  }
}
