/**
 * A multi-level page table as an IOMMU has it: tables of 512 entries, pages of several sizes.
 *
 * All in units of 4096-byte pages: page numbers below 2^52, frame numbers below 2^40, both exact in a double.
 * An entry of level 0 spans one page, of level n 512 times as much as of level n − 1. The root is of the lowest
 * level that reaches what is mapped, at least 3 (256 TiB), so the usual walk reads four entries.
 */
import { areaInTheWay, IommuError, refuse } from '../errors.js';
import type { FrameRuns } from '../memory/frame-runs.js';
import { hex, LAST_PAGE, PAGE_MASK } from '../u64.js';
import type { PageOperations } from './iommu-domain.js';
import {
  cleaned,
  DIRTY,
  ENTRIES,
  emptied,
  FIRST_ROOT_LEVEL,
  FRAME_LIMIT,
  frameOf,
  INDEX_MASK,
  indexOf,
  LEAF,
  nextState,
  PRESENT,
  PROTECTION,
  SPAN,
  soiled,
  TABLE,
  TABLE_WORD_BITS,
} from './table-entry.js';
import { TablePool } from './table-pool.js';
import type { TablePublisher } from './table-publisher.js';

/** What a `RadixTable` is made for. */
export interface RadixTableOptions {
  /** Levels whose entries may be pages, ascending; at least one. */
  readonly leafLevels: readonly number[];
  /** First page that may be mapped. */
  readonly firstPage: number;
  /** Last page that may be mapped (inclusive); below `firstPage` if none may. */
  readonly lastPage: number;
}

/** What a `RadixTable` knows of a page. */
export interface PageTranslation {
  /** The frame behind it. */
  readonly frame: number;
  /** The permission bits. */
  readonly protection: number;
  /** Pages from it to the end of its entry, itself included; their frames are consecutive. */
  readonly pages: number;
}

/** The page table of a `RadixDomain`. */
export class RadixTable implements PageOperations {
  readonly #pool = new TablePool();
  #words = this.#pool.words;
  readonly #leafLevels: readonly number[];
  readonly #baseLevel: number;
  readonly #smallestLarge: number;
  readonly #firstPage: number;
  readonly #lastPage: number;
  #publisher: TablePublisher | undefined;
  #root: number;
  #rootLevel = FIRST_ROOT_LEVEL;
  #mappedPages = 0;

  // The entry that `#find` found, and its level.
  #foundAt = 0;
  #foundLevel = 0;

  // The table that `map` is filling (level −1: none), where in it that began and where it is, and the first page
  // that was not filled when it was opened.
  #openTable = 0;
  #openLevel = -1;
  #openAt = 0;
  #fillAt = 0;
  #fillStop = 0;
  #fillPage = 0;

  constructor(options: RadixTableOptions) {
    const { leafLevels } = options;
    this.#leafLevels = leafLevels;
    this.#baseLevel = leafLevels[0]!;
    this.#smallestLarge = leafLevels.length > 1 ? SPAN[leafLevels[1]!]! : Infinity;
    this.#firstPage = options.firstPage;
    this.#lastPage = options.lastPage;
    this.#root = this.#pool.allocate();
  }

  /**
   * Lets other threads read the table from now on: they are told of changes by `publisher`, the same each time. Gives the
   * memory of the tables, which stays the same. Only where threads can share memory.
   *
   * @throws ENOMEM if there is no room for it to grow in; nothing has changed.
   */
  publish(publisher: TablePublisher): SharedArrayBuffer {
    const shared = this.#pool.share();
    this.#words = this.#pool.words;
    if (this.#publisher === undefined) publisher.settle(this.#root, this.#rootLevel);
    this.#publisher = publisher;
    return shared;
  }

  /** Number of 4096-byte pages that are mapped. */
  get mappedPages(): number {
    return this.#mappedPages;
  }

  /** Tables in use, the root included. */
  get tables(): number {
    return this.#pool.live;
  }

  /** Bytes of memory that the tables take, spare ones included. */
  get tableBytes(): number {
    return this.#pool.bytes;
  }

  /** The frame behind a page, or −1 if nothing is mapped there. */
  frameAt(page: number): number {
    if (page >= SPAN[4]! || this.#rootLevel > 3) return this.#frameFound(page);
    // The four levels by hand: it takes half the time of a loop.
    const words = this.#words;
    let at = entryAt(this.#root, page / 2 ** 27);
    let state = words[at + 1]!;
    if ((state & TABLE) === 0) return frameIn(words[at]!, state, page & 0x7ffffff);
    at = entryAt(words[at]!, (page >>> 18) & INDEX_MASK);
    state = words[at + 1]!;
    if ((state & TABLE) === 0) return frameIn(words[at]!, state, page & 0x3ffff);
    at = entryAt(words[at]!, (page >>> 9) & INDEX_MASK);
    state = words[at + 1]!;
    if ((state & TABLE) === 0) return frameIn(words[at]!, state, page & 0x1ff);
    at = entryAt(words[at]!, page & INDEX_MASK);
    return frameIn(words[at]!, words[at + 1]!, 0);
  }

  #frameFound(page: number): number {
    const state = this.#find(page);
    return frameIn(this.#words[this.#foundAt]!, state, page & (SPAN[this.#foundLevel]! - 1));
  }

  /** All that is known of a page, or `undefined` if nothing is mapped there. */
  translate(page: number): PageTranslation | undefined {
    const state = this.#find(page);
    if ((state & LEAF) === 0) return undefined;
    const mask = SPAN[this.#foundLevel]! - 1;
    const frame = frameIn(this.#words[this.#foundAt]!, state, page & mask);
    return { frame, protection: state & PROTECTION, pages: mask + 1 - (page & mask) };
  }

  /**
   * Maps frames `from` to `from + count − 1` of a list to the pages from `iovaPage` on, all or nothing, in pages as
   * large as they fit.
   *
   * @throws EINVAL if the range is not inside the bounds or a frame number is not below 2^40; EEXIST if a page is
   * mapped already; ENOMEM if there is no memory for tables.
   */
  map(iovaPage: number, frames: FrameRuns, from: number, count: number, protection: number): void {
    if (count === 0) return;
    this.#checkRange(iovaPage, count);
    const publisher = this.#publisher;
    if (publisher === undefined) {
      this.#map(iovaPage, frames, from, count, protection);
      return;
    }
    if (this.#mapEntry(iovaPage, frames, from, count, protection)) return;
    // Before anything is hidden: what is mapped there stays in sight.
    this.#checkFree(iovaPage, iovaPage + count - 1);
    publisher.begin(iovaPage, iovaPage + count - 1);
    try {
      this.#map(iovaPage, frames, from, count, protection);
    } finally {
      publisher.settle(this.#root, this.#rootLevel);
    }
  }

  /** Does a published `map` that fills one entry of a table that is there; `false` for all others, with nothing done. */
  #mapEntry(page: number, frames: FrameRuns, from: number, count: number, protection: number): boolean {
    // An empty table may have no memory.
    if (this.#mappedPages === 0) return false;
    const level = SPAN.indexOf(count);
    if (!this.#leafLevels.includes(level) || (count > 1 && frames.runs > 1)) return false;
    const frame = frames.at(from);
    if (((page | frame) & (count - 1)) !== 0 || frame + count > FRAME_LIMIT) return false;
    const state = this.#find(page);
    if (this.#foundLevel !== level || (state & PRESENT) !== 0) return false;
    this.#words[this.#foundAt] = frame;
    this.#storeState(page, count, nextState(state, LEAF | (protection & PROTECTION), frame));
    this.#pool.used[this.#foundAt >>> TABLE_WORD_BITS]! += 1;
    this.#mappedPages += count;
    return true;
  }

  /** Does a published `unmap` of one entry that leaves others in its table; `false` for all others, with nothing done. */
  #unmapEntry(page: number, count: number): boolean {
    const state = this.#find(page);
    if ((state & LEAF) === 0 || SPAN[this.#foundLevel] !== count || (page & (count - 1)) !== 0) return false;
    const table = this.#foundAt >>> TABLE_WORD_BITS;
    if (this.#pool.used[table] === 1) return false;
    this.#storeState(page, count, emptied(state));
    this.#pool.used[table]! -= 1;
    this.#mappedPages -= count;
    return true;
  }

  /** Changes what readers see of the entry that was found, at one moment: what is in its words is no half of two. */
  #storeState(page: number, count: number, state: number): void {
    this.#publisher?.note(page, page + count - 1);
    Atomics.store(this.#words, this.#foundAt + 1, state);
  }

  #map(iovaPage: number, frames: FrameRuns, from: number, count: number, protection: number): void {
    this.#fillPage = iovaPage;
    this.#openLevel = -1;
    try {
      const flags = LEAF | (protection & PROTECTION);
      const list = count === frames.frames ? frames : frames.slice(from, count);
      for (let run = 0; run < list.runs; run++) {
        this.#fillRun(list.pfnOf(run), list.countOf(run), flags);
        run = this.#fillSingles(list, run, flags);
      }
    } catch (error) {
      const filled = this.#close() - iovaPage;
      this.#mappedPages += filled;
      this.#unmap(iovaPage, iovaPage + filled - 1);
      throw error;
    }
    this.#close();
    this.#mappedPages += count;
  }

  /** Unmaps what is mapped among `count` pages from `iovaPage` on; splits large pages at both ends. */
  unmap(iovaPage: number, count: number): void {
    const last = Math.min(iovaPage + count, SPAN[this.#rootLevel + 1]!) - 1;
    if (last < iovaPage) return;
    const publisher = this.#publisher;
    if (publisher === undefined) {
      this.#unmap(iovaPage, last);
      return;
    }
    if (this.#unmapEntry(iovaPage, count)) return;
    publisher.begin(iovaPage, last);
    try {
      this.#unmap(iovaPage, last);
    } finally {
      publisher.settle(this.#root, this.#rootLevel);
    }
  }

  #unmap(page: number, last: number): void {
    if (last < page) return;
    this.#clear(this.#root, this.#rootLevel, page, last);
    if (this.#pool.used[this.#root]! <= 1) this.#lowerRoot();
  }

  /**
   * Appends the frames of `count` pages from `iovaPage` on to a list.
   *
   * @throws EFAULT if one is not mapped; nothing is appended then.
   */
  frames(iovaPage: number, count: number, into: FrameRuns): void {
    const before = into.frames;
    const past = iovaPage + count;
    let page = iovaPage;
    while (page < past) {
      const state = this.#find(page);
      if ((state & LEAF) === 0) {
        into.truncate(before);
        throw refuse('EFAULT', 'domain', `nothing is mapped at IOVA ${hex({ page, offset: 0 })}`);
      }
      if (this.#foundLevel === 0) {
        page += this.#pushSmall(Math.min(past - page, ENTRIES - (page & INDEX_MASK)), into);
      } else {
        const mask = SPAN[this.#foundLevel]! - 1;
        const length = Math.min(mask + 1 - (page & mask), past - page);
        into.push(frameIn(this.#words[this.#foundAt]!, state, page & mask), length);
        page += length;
      }
    }
  }

  /** Marks what is mapped among `count` pages from `firstPage` on as dirty, large pages as a whole. */
  mark(firstPage: number, count: number): void {
    const past = firstPage + count;
    let state = this.#find(firstPage);
    for (let page = firstPage; page < past; state = this.#findNext(page)) {
      if ((state & LEAF) !== 0) this.#words[this.#foundAt + 1] = soiled(state);
      page = this.#pastFound(page);
    }
  }

  /**
   * Visits the dirty pages among `count` pages from `firstPage` on, ascending, and takes their marks off unless
   * `keep` is set. A dirty large page that reaches outside of the range is split first, so that the rest of it
   * stays dirty; with `keep` the part inside is reported.
   *
   * @param report - gets the first page and the number of pages; it may not change the table
   */
  readDirty(
    firstPage: number,
    count: number,
    keep: boolean,
    report: (page: number, count: number) => void,
  ): void {
    const past = firstPage + count;
    let page = firstPage;
    let state = this.#find(page);
    while (page < past) {
      const next = this.#pastFound(page);
      if ((state & DIRTY) !== 0) {
        const start = next - SPAN[this.#foundLevel]!;
        const inside = start >= firstPage && next <= past;
        if (!keep && !inside && this.#foundLevel > this.#baseLevel) {
          this.#split(this.#foundAt, this.#foundLevel, page);
          state = this.#find(page);
          continue;
        }
        const from = Math.max(start, firstPage);
        report(from, Math.min(next, past) - from);
        if (!keep) this.#words[this.#foundAt + 1] = cleaned(state);
      }
      page = next;
      state = this.#findNext(page);
    }
    // Takes what covers an entry away; and whoever now reads what is in the pages reads it after their marks.
    if (!keep) this.#publisher?.settle(this.#root, this.#rootLevel);
  }

  /** @throws EEXIST if one of the pages [page, last] is mapped. */
  #checkFree(page: number, last: number): void {
    let state = this.#find(page);
    for (let at = page; at <= last; state = this.#findNext(at)) {
      if ((state & LEAF) !== 0) throw this.#overlap(at);
      at = this.#pastFound(at);
    }
  }

  #checkRange(page: number, count: number): void {
    if (page >= this.#firstPage && page + count - 1 <= this.#lastPage) return;
    const iova = hex({ page, offset: 0 });
    throw refuse('EINVAL', 'domain', `${count} pages from IOVA ${iova} are not all inside the aperture`);
  }

  /** Finds the entry that decides about a page: the page's own, or the empty one where the walk ends. */
  #find(page: number): number {
    let level = this.#rootLevel;
    if (page >= SPAN[level + 1]!) {
      this.#foundLevel = level + 1;
      return 0;
    }
    let table = this.#root;
    for (;;) {
      const words = this.#words;
      const at = entryAt(table, indexOf(page, level));
      const state = words[at + 1]!;
      if ((state & TABLE) === 0) {
        this.#foundAt = at;
        this.#foundLevel = level;
        return state;
      }
      table = words[at]!;
      level -= 1;
    }
  }

  /** `#find` for the page after the entry found last: within a table of single pages it is the next entry. */
  #findNext(page: number): number {
    if (this.#foundLevel > 0 || (page & INDEX_MASK) === 0) return this.#find(page);
    this.#foundAt += 2;
    return this.#words[this.#foundAt + 1]!;
  }

  /** Appends the frames of up to `count` pages from the found one on, in its table, as far as they are mapped. */
  #pushSmall(count: number, into: FrameRuns): number {
    const words = this.#words;
    const first = this.#foundAt;
    const stop = first + 2 * count;
    if (into.frames === 0) into.reserve(count);
    let at = first;
    for (; at < stop; at += 2) {
      const state = words[at + 1]!;
      if ((state & LEAF) === 0) break;
      into.push(frameOf(words[at]!, state), 1);
    }
    return (at - first) / 2;
  }

  /** The page after the entry that was found for `page`. */
  #pastFound(page: number): number {
    return startOf(page, this.#foundLevel) + SPAN[this.#foundLevel]!;
  }

  /** Maps consecutive frames after what is filled, in pages as large as alignment and length allow. */
  #fillRun(firstFrame: number, count: number, flags: number): void {
    if (firstFrame + count > FRAME_LIMIT) {
      const physical = hex({ page: firstFrame, offset: 0 });
      throw refuse('EINVAL', 'domain', `${count} pages from physical address ${physical} pass 2^52`);
    }
    let frame = firstFrame;
    let left = count;
    while (left > 0) {
      let level = this.#baseLevel;
      if (left >= this.#smallestLarge) {
        this.#close();
        level = this.#levelFor(this.#fillPage, frame, left);
      }
      if (level !== this.#openLevel || this.#fillAt === this.#fillStop) this.#open(level);
      const words = this.#words;
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
      if (left >= span && at < stop) throw this.#overlap(this.#close());
    }
  }

  /**
   * Maps the runs of one frame that follow run `run`, as far as the open table has room for them and nothing is in
   * the way; gives the last run that is mapped. `#fillRun` could do it too, in twice the time.
   */
  #fillSingles(list: FrameRuns, run: number, flags: number): number {
    if (this.#openLevel !== 0) return run;
    const words = this.#words;
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
    const page = this.#close();
    const pool = this.#pool;
    let rootLevel = this.#rootLevel;
    while (page >= SPAN[rootLevel + 1]!) rootLevel++;
    this.#reserve(rootLevel - this.#rootLevel + rootLevel - level);
    const publisher = this.#publisher;
    if (rootLevel > this.#rootLevel) {
      while (rootLevel > this.#rootLevel) this.#raiseRoot();
      publisher?.moveRoot(this.#root, this.#rootLevel);
    }
    let covered = publisher === undefined;
    let table = this.#root;
    for (let above = this.#rootLevel; above > level; above--) {
      const words = this.#words;
      const at = entryAt(table, indexOf(page, above));
      const state = words[at + 1]!;
      if ((state & LEAF) !== 0) throw this.#overlap(page);
      if ((state & TABLE) === 0) {
        // Of what is empty an empty entry, so that nobody follows the entry before he can see where it leads.
        if (!covered) publisher?.cover(...entryBounds(page, above), 0, 0, above);
        covered = true;
        this.#addTable(table, at, pool.allocate());
      }
      table = words[at]!;
    }
    this.#openTable = table;
    this.#openLevel = level;
    this.#openAt = this.#fillAt = entryAt(table, indexOf(page, level));
    this.#fillStop = entryAt(table + 1, 0);
  }

  /** Closes the open table, if one is; gives the page that is to be filled next. */
  #close(): number {
    if (this.#openLevel >= 0) {
      const entries = (this.#fillAt - this.#openAt) / 2;
      this.#pool.used[this.#openTable]! += entries;
      this.#fillPage += entries * SPAN[this.#openLevel]!;
      this.#openLevel = -1;
    }
    return this.#fillPage;
  }

  /** Puts a root of the next level above the root; its first entry spans what the old one did. */
  #raiseRoot(): void {
    if (this.#pool.used[this.#root] !== 0) {
      const root = this.#pool.allocate();
      this.#addTable(root, entryAt(root, 0), this.#root);
      this.#root = root;
    }
    this.#rootLevel += 1;
  }

  /** Takes off roots of which only the first entry is left, and gives back the memory of an empty table. */
  #lowerRoot(): void {
    const pool = this.#pool;
    while (this.#rootLevel > FIRST_ROOT_LEVEL && pool.used[this.#root] === 1) {
      const at = entryAt(this.#root, 0);
      const words = this.#words;
      if ((words[at + 1]! & TABLE) === 0) return;
      const raised = this.#root;
      this.#root = words[at]!;
      this.#rootLevel -= 1;
      this.#publisher?.moveRoot(this.#root, this.#rootLevel);
      this.#removeEntry(raised, at);
      pool.release(raised);
    }
    if (pool.used[this.#root] !== 0) return;
    this.#rootLevel = FIRST_ROOT_LEVEL;
    // Other threads have the memory of a published table; it is not given back.
    if (!pool.large || this.#publisher !== undefined) return;
    pool.clear();
    this.#words = pool.words;
    this.#root = pool.allocate();
  }

  /**
   * Empties what is mapped in [first, last] of a table. Of both page numbers only the bits below the table's span
   * count.
   */
  #clear(table: number, level: number, first: number, last: number): void {
    if (level === 0) {
      this.#clearSmall(table, first & INDEX_MASK, last & INDEX_MASK);
      return;
    }
    const firstIndex = indexOf(first, level);
    const lastIndex = indexOf(last, level);
    for (let index = firstIndex; index <= lastIndex && this.#pool.used[table] !== 0; index++) {
      const at = entryAt(table, index);
      const state = this.#words[at + 1]!;
      if ((state & PRESENT) === 0) continue;
      const from = index === firstIndex ? first : 0;
      const to = index === lastIndex ? last : LAST_PAGE;
      if ((state & LEAF) !== 0) {
        const mask = SPAN[level]! - 1;
        if ((from & mask) === 0 && (to & mask) === mask) {
          this.#removeEntry(table, at);
          this.#mappedPages -= mask + 1;
          continue;
        }
        // Above its span's bits, a bound that is inside of the entry is the whole page number.
        this.#split(at, level, (from & mask) !== 0 ? from : to);
      }
      const below = this.#words[at]!;
      this.#clear(below, level - 1, from, to);
      if (this.#pool.used[below] === 0) {
        this.#removeEntry(table, at);
        this.#pool.release(below);
      }
    }
  }

  #clearSmall(table: number, firstIndex: number, lastIndex: number): void {
    const words = this.#words;
    const past = entryAt(table, lastIndex + 1);
    let cleared = 0;
    for (let at = entryAt(table, firstIndex); at < past; at += 2) {
      const state = words[at + 1]!;
      if ((state & LEAF) === 0) continue;
      words[at + 1] = emptied(state);
      cleared += 1;
    }
    this.#pool.used[table]! -= cleared;
    this.#mappedPages -= cleared;
  }

  /**
   * Puts tables of smaller pages with the same frames, permission and dirty mark in place of the large page that
   * `page` is in.
   */
  #split(at: number, level: number, page: number): void {
    this.#reserve(this.#tablesToSplit(level));
    const words = this.#words;
    this.#publisher?.cover(...entryBounds(page, level), words[at]!, words[at + 1]!, level);
    // At once: a mark that another thread sets before is in the state, and after this it can set none.
    const state = Atomics.exchange(words, at + 1, emptied(words[at + 1]!));
    const below = this.#tableOfPages(
      level - 1,
      frameOf(words[at]!, state),
      state & (LEAF | DIRTY | PROTECTION),
    );
    words[at] = below;
    words[at + 1] = nextState(words[at + 1]!, TABLE, 0);
  }

  #tablesToSplit(level: number): number {
    return this.#leafLevels.includes(level - 1) ? 1 : 1 + ENTRIES * this.#tablesToSplit(level - 1);
  }

  /** A new table of `level` that maps consecutive frames throughout. */
  #tableOfPages(level: number, firstFrame: number, flags: number): number {
    const table = this.#pool.allocate();
    const words = this.#words;
    const leaf = this.#leafLevels.includes(level);
    for (let index = 0; index < ENTRIES; index++) {
      const at = entryAt(table, index);
      const frame = firstFrame + index * SPAN[level]!;
      words[at] = leaf ? frame : this.#tableOfPages(level - 1, frame, flags);
      words[at + 1] = leaf ? nextState(words[at + 1]!, flags, frame) : nextState(words[at + 1]!, TABLE, 0);
    }
    this.#pool.used[table] = ENTRIES;
    return table;
  }

  #reserve(tables: number): void {
    this.#pool.reserve(tables);
    this.#words = this.#pool.words;
  }

  #addTable(table: number, at: number, below: number): void {
    const words = this.#words;
    words[at] = below;
    words[at + 1] = nextState(words[at + 1]!, TABLE, 0);
    this.#pool.used[table]! += 1;
  }

  #removeEntry(table: number, at: number): void {
    const words = this.#words;
    words[at + 1] = emptied(words[at + 1]!);
    this.#pool.used[table]! -= 1;
  }

  /** EEXIST: the first page that is mapped at `page` or after it. */
  #overlap(from: number): IommuError {
    let page = from;
    while ((this.#find(page) & LEAF) === 0) page = this.#pastFound(page);
    const start = startOf(page, this.#foundLevel);
    const lastPage = this.#pastFound(page) - 1;
    const area = areaInTheWay({ page: start, offset: 0, lastPage, lastOffset: PAGE_MASK });
    return new IommuError('EEXIST', { check: 'overlap', area });
  }
}

/** Where the words of an entry begin. */
function entryAt(table: number, index: number): number {
  return (table << TABLE_WORD_BITS) + (index << 1);
}

/** The frame of the page at position `inside` of an entry, or −1 if the entry maps nothing. */
function frameIn(low: number, state: number, inside: number): number {
  return (state & LEAF) === 0 ? -1 : frameOf(low, state) + inside;
}

/** First and last page (inclusive) of the entry of `level` that spans `page`. */
function entryBounds(page: number, level: number): [first: number, last: number] {
  const first = startOf(page, level);
  return [first, first + SPAN[level]! - 1];
}

/** The first page of the entry of `level` that spans `page`. */
function startOf(page: number, level: number): number {
  return Math.floor(page / SPAN[level]!) * SPAN[level]!;
}
