/**
 * A multi-level page table as an IOMMU has it: tables of 512 entries, pages of several sizes.
 *
 * All in units of 4096-byte pages: page numbers below 2^52, frame numbers below 2^40, both exact in a double.
 * An entry of level 0 spans one page, of level n 512 times as much as of level n − 1.
 */
import { refuse } from '../errors.js';
import type { FrameRuns } from '../memory/frame-runs.js';
import { hex, LAST_PAGE } from '../u64.js';
import { ContiguousPages, type MappedPage } from './contiguous-pages.js';
import type { PageOperations } from './iommu-domain.js';
import {
  cleaned,
  DIRTY,
  ENTRIES,
  emptied,
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
import { TableFiller } from './table-filler.js';
import { entryAt, entryBounds, TableTree } from './table-tree.js';

/** What a `RadixTable` is made for. */
export interface RadixTableOptions {
  /** Levels whose entries may be pages, ascending; at least one. */
  readonly leafLevels: readonly number[];
  /**
   * log2 of the sizes that pages have if several entries can be one (contiguous entries), ascending; among them those of
   * the leaf levels. Absent: each entry is a page of its own.
   */
  readonly contiguousOrders?: readonly number[] | undefined;
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
export class RadixTable extends TableTree implements PageOperations {
  readonly #leafLevels: readonly number[];
  readonly #filler: TableFiller;
  readonly #contiguous: ContiguousPages | undefined;
  readonly #firstPage: number;
  readonly #lastPage: number;
  #mappedPages = 0;

  constructor(options: RadixTableOptions) {
    super();
    this.#leafLevels = options.leafLevels;
    this.#filler = new TableFiller(this, options.leafLevels);
    const { contiguousOrders } = options;
    this.#contiguous = contiguousOrders && new ContiguousPages(this, contiguousOrders);
    this.#firstPage = options.firstPage;
    this.#lastPage = options.lastPage;
  }

  /** Number of 4096-byte pages that are mapped. */
  get mappedPages(): number {
    return this.#mappedPages;
  }

  /** Tables in use, the root included. */
  get tables(): number {
    return this.pool.live;
  }

  /** Bytes of memory that the tables take, spare ones included. */
  get tableBytes(): number {
    return this.pool.bytes;
  }

  /** The frame behind a page, or −1 if nothing is mapped there. */
  frameAt(page: number): number {
    if (page >= SPAN[4]! || this.rootLevel > 3) return this.#frameFound(page);
    // The four levels by hand: it takes half the time of a loop.
    const words = this.words;
    let at = entryAt(this.root, page / 2 ** 27);
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
    const state = this.find(page);
    return frameIn(this.words[this.foundAt]!, state, page & (SPAN[this.foundLevel]! - 1));
  }

  /** All that is known of a page, or `undefined` if nothing is mapped there. */
  translate(page: number): PageTranslation | undefined {
    const state = this.find(page);
    if ((state & LEAF) === 0) return undefined;
    const mask = SPAN[this.foundLevel]! - 1;
    const frame = frameIn(this.words[this.foundAt]!, state, page & mask);
    const pages = this.#contiguous?.pagesFrom(page) ?? mask + 1 - (page & mask);
    return { frame, protection: state & PROTECTION, pages };
  }

  /** The page that `page` is in, if it is mapped. */
  pageAt(page: number): MappedPage | undefined {
    if (this.#contiguous !== undefined) return this.#contiguous.pageAt(page);
    const state = this.find(page);
    if ((state & LEAF) === 0) return undefined;
    const count = SPAN[this.foundLevel]!;
    const firstFrame = frameOf(this.words[this.foundAt]!, state);
    return { first: page - (page % count), count, firstFrame, dirty: (state & DIRTY) !== 0 };
  }

  /** The first mapped one among `count` pages from `page` on. */
  firstMapped(page: number, count: number): number | undefined {
    let state = this.find(page);
    for (let at = page; at < page + count; state = this.findNext(at)) {
      if ((state & LEAF) !== 0) return at;
      at = this.pastFound(at);
    }
    return undefined;
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
    const publisher = this.publisher;
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
      publisher.settle(this.root, this.rootLevel);
    }
  }

  /** Does a published `map` that fills one entry of a table that is there; `false` for all others, with nothing done. */
  #mapEntry(page: number, frames: FrameRuns, from: number, count: number, protection: number): boolean {
    // An empty table may have no memory; and contiguous entries are made together.
    if (this.#mappedPages === 0 || this.#contiguous !== undefined) return false;
    const level = SPAN.indexOf(count);
    if (!this.#leafLevels.includes(level) || (count > 1 && frames.runs > 1)) return false;
    const frame = frames.at(from);
    if (((page | frame) & (count - 1)) !== 0 || frame + count > FRAME_LIMIT) return false;
    const state = this.find(page);
    if (this.foundLevel !== level || (state & PRESENT) !== 0) return false;
    this.words[this.foundAt] = frame;
    this.#storeState(page, count, nextState(state, LEAF | (protection & PROTECTION), frame));
    this.pool.used[this.foundAt >>> TABLE_WORD_BITS]! += 1;
    this.#mappedPages += count;
    return true;
  }

  /** Does a published `unmap` of one entry that leaves others in its table; `false` for all others, with nothing done. */
  #unmapEntry(page: number, count: number): boolean {
    if (this.#contiguous !== undefined) return false;
    const state = this.find(page);
    if ((state & LEAF) === 0 || SPAN[this.foundLevel] !== count || (page & (count - 1)) !== 0) return false;
    const table = this.foundAt >>> TABLE_WORD_BITS;
    if (this.pool.used[table] === 1) return false;
    this.#storeState(page, count, emptied(state));
    this.pool.used[table]! -= 1;
    this.#mappedPages -= count;
    return true;
  }

  /** Changes what readers see of the entry that was found, at one moment: what is in its words is no half of two. */
  #storeState(page: number, count: number, state: number): void {
    this.publisher?.note(page, page + count - 1);
    Atomics.store(this.words, this.foundAt + 1, state);
  }

  #map(iovaPage: number, frames: FrameRuns, from: number, count: number, protection: number): void {
    const filler = this.#filler;
    const list = count === frames.frames ? frames : frames.slice(from, count);
    filler.begin(iovaPage);
    try {
      const flags = LEAF | (protection & PROTECTION);
      for (let run = 0; run < list.runs; run++) {
        filler.fillRun(list.pfnOf(run), list.countOf(run), flags);
        run = filler.fillSingles(list, run, flags);
      }
    } catch (error) {
      const filled = filler.close() - iovaPage;
      this.#mappedPages += filled;
      this.#unmap(iovaPage, iovaPage + filled - 1);
      throw error;
    }
    filler.close();
    this.#mappedPages += count;
    if (this.#contiguous !== undefined) cutRuns(this.#contiguous, iovaPage, list);
  }

  /** Unmaps what is mapped among `count` pages from `iovaPage` on; splits large pages at both ends. */
  unmap(iovaPage: number, count: number): void {
    const last = Math.min(iovaPage + count, SPAN[this.rootLevel + 1]!) - 1;
    if (last < iovaPage) return;
    const publisher = this.publisher;
    if (publisher === undefined) {
      this.#unmapAround(iovaPage, last);
      return;
    }
    if (this.#unmapEntry(iovaPage, count)) return;
    publisher.begin(iovaPage, last);
    try {
      this.#unmapAround(iovaPage, last);
    } finally {
      publisher.settle(this.root, this.rootLevel);
    }
  }

  #unmapAround(page: number, last: number): void {
    if (this.#contiguous === undefined) this.#unmap(page, last);
    else this.#contiguous.cuttingAround(page, last, () => this.#unmap(page, last));
  }

  #unmap(page: number, last: number): void {
    if (last < page) return;
    this.#clear(this.root, this.rootLevel, page, last);
    if (this.pool.used[this.root]! <= 1) this.lowerRoot();
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
      const state = this.find(page);
      if ((state & LEAF) === 0) {
        into.truncate(before);
        throw refuse('EFAULT', 'domain', `nothing is mapped at IOVA ${hex({ page, offset: 0 })}`);
      }
      if (this.foundLevel === 0) {
        page += this.#pushSmall(Math.min(past - page, ENTRIES - (page & INDEX_MASK)), into);
      } else {
        const mask = SPAN[this.foundLevel]! - 1;
        const length = Math.min(mask + 1 - (page & mask), past - page);
        into.push(frameIn(this.words[this.foundAt]!, state, page & mask), length);
        page += length;
      }
    }
  }

  /** Marks what is mapped among `count` pages from `firstPage` on as dirty, large pages as a whole. */
  mark(firstPage: number, count: number): void {
    const past = firstPage + count;
    let state = this.find(firstPage);
    for (let page = firstPage; page < past; state = this.findNext(page)) {
      if ((state & LEAF) !== 0) this.words[this.foundAt + 1] = soiled(state);
      page = this.pastFound(page);
    }
  }

  /**
   * Visits the dirty pages among `count` pages from `firstPage` on, ascending, and takes their marks off unless
   * `keep` is set. A dirty large page that reaches outside of the range is split first, so that the rest of it
   * stays dirty; with `keep` the part inside is reported. With contiguous entries it is reported and cleaned as a whole.
   *
   * @param report - gets the first page and the number of pages; it may not change the table
   */
  readDirty(
    firstPage: number,
    count: number,
    keep: boolean,
    report: (page: number, count: number) => void,
  ): void {
    if (this.#contiguous === undefined) this.#readDirtyEntries(firstPage, count, keep, report);
    else this.#contiguous.readDirty(firstPage, count, keep, report);
    // Takes what covers an entry away; and whoever now reads what is in the pages reads it after their marks.
    if (!keep) this.publisher?.settle(this.root, this.rootLevel);
  }

  #readDirtyEntries(
    firstPage: number,
    count: number,
    keep: boolean,
    report: (page: number, count: number) => void,
  ): void {
    const past = firstPage + count;
    let page = firstPage;
    let state = this.find(page);
    while (page < past) {
      const next = this.pastFound(page);
      if ((state & DIRTY) !== 0) {
        const start = next - SPAN[this.foundLevel]!;
        const inside = start >= firstPage && next <= past;
        if (!keep && !inside && this.foundLevel > this.#leafLevels[0]!) {
          this.#split(this.foundAt, this.foundLevel, page);
          state = this.find(page);
          continue;
        }
        const from = Math.max(start, firstPage);
        report(from, Math.min(next, past) - from);
        if (!keep) this.words[this.foundAt + 1] = cleaned(state);
      }
      page = next;
      state = this.findNext(page);
    }
  }

  /** @throws EEXIST if one of the pages [page, last] is mapped. */
  #checkFree(page: number, last: number): void {
    const taken = this.firstMapped(page, last + 1 - page);
    if (taken !== undefined) throw this.overlap(taken);
  }

  #checkRange(page: number, count: number): void {
    if (page >= this.#firstPage && page + count - 1 <= this.#lastPage) return;
    const iova = hex({ page, offset: 0 });
    throw refuse('EINVAL', 'domain', `${count} pages from IOVA ${iova} are not all inside the aperture`);
  }

  /** Appends the frames of up to `count` pages from the found one on, in its table, as far as they are mapped. */
  #pushSmall(count: number, into: FrameRuns): number {
    const words = this.words;
    const first = this.foundAt;
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
    for (let index = firstIndex; index <= lastIndex && this.pool.used[table] !== 0; index++) {
      const at = entryAt(table, index);
      const state = this.words[at + 1]!;
      if ((state & PRESENT) === 0) continue;
      const from = index === firstIndex ? first : 0;
      const to = index === lastIndex ? last : LAST_PAGE;
      if ((state & LEAF) !== 0) {
        const mask = SPAN[level]! - 1;
        if ((from & mask) === 0 && (to & mask) === mask) {
          this.removeEntry(table, at);
          this.#mappedPages -= mask + 1;
          continue;
        }
        // Above its span's bits, a bound that is inside of the entry is the whole page number.
        this.#split(at, level, (from & mask) !== 0 ? from : to);
      }
      const below = this.words[at]!;
      this.#clear(below, level - 1, from, to);
      if (this.pool.used[below] === 0) {
        this.removeEntry(table, at);
        this.pool.release(below);
      }
    }
  }

  #clearSmall(table: number, firstIndex: number, lastIndex: number): void {
    const words = this.words;
    const past = entryAt(table, lastIndex + 1);
    let cleared = 0;
    for (let at = entryAt(table, firstIndex); at < past; at += 2) {
      const state = words[at + 1]!;
      if ((state & LEAF) === 0) continue;
      words[at + 1] = emptied(state);
      cleared += 1;
    }
    this.pool.used[table]! -= cleared;
    this.#mappedPages -= cleared;
  }

  /**
   * Puts tables of smaller pages with the same frames, permission and dirty mark in place of the large page that
   * `page` is in.
   */
  #split(at: number, level: number, page: number): void {
    this.reserve(this.#tablesToSplit(level));
    const words = this.words;
    this.publisher?.cover(...entryBounds(page, level), words[at]!, words[at + 1]!, level);
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
    const table = this.pool.allocate();
    const words = this.words;
    const leaf = this.#leafLevels.includes(level);
    for (let index = 0; index < ENTRIES; index++) {
      const at = entryAt(table, index);
      const frame = firstFrame + index * SPAN[level]!;
      words[at] = leaf ? frame : this.#tableOfPages(level - 1, frame, flags);
      words[at + 1] = leaf ? nextState(words[at + 1]!, flags, frame) : nextState(words[at + 1]!, TABLE, 0);
    }
    this.pool.used[table] = ENTRIES;
    return table;
  }
}

/** Makes pages of runs of frames that were just filled from `iovaPage` on. */
function cutRuns(contiguous: ContiguousPages, iovaPage: number, list: FrameRuns): void {
  let page = iovaPage;
  for (let run = 0; run < list.runs; run++) {
    const count = list.countOf(run);
    contiguous.cut(page, list.pfnOf(run), count);
    page += count;
  }
}

/** The frame of the page at position `inside` of an entry, or −1 if the entry maps nothing. */
function frameIn(low: number, state: number, inside: number): number {
  return (state & LEAF) === 0 ? -1 : frameOf(low, state) + inside;
}
