/**
 * Pages of a radix table that are several neighbouring entries (contiguous entries): of every size, not only of those
 * that an entry of some level has.
 *
 * Each entry still translates by itself, so whoever only translates need not know. What is kept here is how large the
 * page is that an entry belongs to: its mark is that of all its entries.
 */
import { cleaned, DIRTY, frameOf, LEAF, SPAN, soiled } from './table-entry.js';
import type { TableTree } from './table-tree.js';

/** Consecutive 4096-byte pages. */
interface Page {
  readonly first: number;
  readonly count: number;
}

/** A mapped page of any size, or a part of one. */
export interface MappedPage extends Page {
  readonly firstFrame: number;
  /** Whether the page has a dirty mark. */
  readonly dirty: boolean;
}

/** The pages of a tree that has only such. All in units of 4096-byte pages. */
export class ContiguousPages {
  readonly #tree: TableTree;
  /** The largest order of a page that is at most as large as 2^index pages. */
  readonly #orderWithin: readonly number[];
  /** By entry: log2 of the pages of the page that it belongs to. Of no meaning for an entry that is no page. */
  #orderOf = new Uint8Array(0);

  /** @param orders - log2 of the sizes that pages may have, ascending; at least one, all of them below 32 */
  constructor(tree: TableTree, orders: readonly number[]) {
    this.#tree = tree;
    this.#orderWithin = Array.from(
      { length: 32 },
      (_, most) => orders.findLast((order) => order <= most) ?? 0,
    );
  }

  /**
   * Cuts pages that were just filled with consecutive frames: each time the largest page that page and frame number are
   * aligned to, and that is not longer than what is left.
   *
   * @param dirty - whether they are all dirty
   */
  cut(firstPage: number, firstFrame: number, count: number, dirty = false): void {
    const entries = this.#tree.words.length / 2;
    if (this.#orderOf.length < entries) {
      const grown = new Uint8Array(entries);
      grown.set(this.#orderOf);
      this.#orderOf = grown;
    }
    for (let done = 0; done < count; ) {
      const page = firstPage + done;
      const order = this.#orderFor(page, firstFrame + done, count - done);
      this.#make(page, order, dirty);
      done += 2 ** order;
    }
  }

  /** Does an unmap of [first, last], and makes pages of what it leaves of those at both ends. */
  cuttingAround(first: number, last: number, unmap: () => void): void {
    const before = this.#restBefore(first);
    const after = this.#restAfter(last);
    unmap();
    for (const rest of [before, after]) {
      if (rest !== undefined) this.cut(rest.first, rest.firstFrame, rest.count, rest.dirty);
    }
  }

  /** The page that `page` is in, if it is mapped. */
  pageAt(page: number): MappedPage | undefined {
    const tree = this.#tree;
    const state = tree.find(page);
    if ((state & LEAF) === 0) return undefined;
    const inEntry = page % SPAN[tree.foundLevel]!;
    const frame = frameOf(tree.words[tree.foundAt]!, state) + inEntry;
    const found = this.#foundPage(page);
    return { ...found, firstFrame: frame - (page - found.first), dirty: this.#isDirty(found) };
  }

  /** Pages from `page`, which is mapped, to the end of the page that it belongs to. `page` is the one found last. */
  pagesFrom(page: number): number {
    const { first, count } = this.#foundPage(page);
    return first + count - page;
  }

  /** `RadixTable.readDirty`, with pages reported and cleaned as a whole also where they reach out of the range. */
  readDirty(
    firstPage: number,
    count: number,
    keep: boolean,
    report: (page: number, count: number) => void,
  ): void {
    const tree = this.#tree;
    const past = firstPage + count;
    let at = firstPage;
    while (at < past) {
      if ((tree.find(at) & LEAF) === 0) {
        at = tree.pastFound(at);
        continue;
      }
      const page = this.#foundPage(at);
      if (this.#isDirty(page)) {
        report(page.first, page.count);
        if (!keep) this.#clean(page);
      }
      at = page.first + page.count;
    }
  }

  #orderFor(page: number, frame: number, count: number): number {
    // Bits above the 32nd are not seen, and not needed: no page is that large.
    const bits = page | frame;
    const aligned = bits === 0 ? 31 : 31 - Math.clz32(bits & -bits);
    const fits = count >= 2 ** 31 ? 31 : 31 - Math.clz32(count);
    return this.#orderWithin[Math.min(aligned, fits)]!;
  }

  /** The page that the found entry belongs to, in which `page` is. */
  #foundPage(page: number): Page {
    const count = 2 ** this.#orderOf[this.#tree.foundAt >>> 1]!;
    return { first: page - (page % count), count };
  }

  #make(first: number, order: number, dirty: boolean): void {
    const tree = this.#tree;
    this.#eachEntry({ first, count: 2 ** order }, (state) => {
      this.#orderOf[tree.foundAt >>> 1] = order;
      if (dirty) tree.words[tree.foundAt + 1] = soiled(state);
    });
  }

  #isDirty(page: Page): boolean {
    let marks = 0;
    this.#eachEntry(page, (state) => {
      marks |= state & DIRTY;
    });
    return marks !== 0;
  }

  #clean(page: Page): void {
    const tree = this.#tree;
    this.#eachEntry(page, (state) => {
      if ((state & DIRTY) !== 0) tree.words[tree.foundAt + 1] = cleaned(state);
    });
  }

  /** Finds the entries of a page, one after the other. */
  #eachEntry({ first, count }: Page, use: (state: number) => void): void {
    const tree = this.#tree;
    let state = tree.find(first);
    for (let at = first; at < first + count; state = tree.findNext(at)) {
      use(state);
      at = tree.pastFound(at);
    }
  }

  #restBefore(page: number): MappedPage | undefined {
    const whole = this.pageAt(page);
    return whole === undefined || whole.first === page ? undefined : { ...whole, count: page - whole.first };
  }

  #restAfter(page: number): MappedPage | undefined {
    const whole = this.pageAt(page);
    if (whole === undefined) return undefined;
    const inside = page + 1 - whole.first;
    if (inside === whole.count) return undefined;
    const { firstFrame, count, dirty } = whole;
    return { first: page + 1, firstFrame: firstFrame + inside, count: count - inside, dirty };
  }
}
