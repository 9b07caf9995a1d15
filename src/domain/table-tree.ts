/**
 * Tables of 512 entries, each above others: where an entry is, and how a table comes to be in the tree and goes again.
 *
 * The root is of the lowest level that reaches what is mapped, at least 3 (256 TiB), so the usual walk reads four
 * entries.
 */
import { areaInTheWay, IommuError } from '../errors.js';
import { PAGE_MASK } from '../u64.js';
import {
  emptied,
  FIRST_ROOT_LEVEL,
  INDEX_MASK,
  indexOf,
  LEAF,
  nextState,
  SPAN,
  TABLE,
  TABLE_WORD_BITS,
} from './table-entry.js';
import { TablePool } from './table-pool.js';
import type { TablePublisher } from './table-publisher.js';

/** The tables of a `RadixTable`. */
export class TableTree {
  readonly pool = new TablePool();
  words = this.pool.words;
  root = this.pool.allocate();
  rootLevel = FIRST_ROOT_LEVEL;
  /** Tells other threads, if they read the tables. */
  publisher: TablePublisher | undefined;

  /** The entry that `find` found, and its level. */
  foundAt = 0;
  foundLevel = 0;

  /**
   * Lets other threads read the table from now on: they are told of changes by `publisher`, the same each time. Gives the
   * memory of the tables, which stays the same. Only where threads can share memory.
   *
   * @throws ENOMEM if there is no room for it to grow in; nothing has changed.
   */
  publish(publisher: TablePublisher): SharedArrayBuffer {
    const shared = this.pool.share();
    this.words = this.pool.words;
    if (this.publisher === undefined) publisher.settle(this.root, this.rootLevel);
    this.publisher = publisher;
    return shared;
  }

  /** Finds the entry that decides about a page: the page's own, or the empty one where the walk ends. */
  find(page: number): number {
    let level = this.rootLevel;
    if (page >= SPAN[level + 1]!) {
      this.foundLevel = level + 1;
      return 0;
    }
    let table = this.root;
    for (;;) {
      const words = this.words;
      const at = entryAt(table, indexOf(page, level));
      const state = words[at + 1]!;
      if ((state & TABLE) === 0) {
        this.foundAt = at;
        this.foundLevel = level;
        return state;
      }
      table = words[at]!;
      level -= 1;
    }
  }

  /** `find` for the page after the entry found last: within a table of single pages it is the next entry. */
  findNext(page: number): number {
    if (this.foundLevel > 0 || (page & INDEX_MASK) === 0) return this.find(page);
    this.foundAt += 2;
    return this.words[this.foundAt + 1]!;
  }

  /** The page after the entry that was found for `page`. */
  pastFound(page: number): number {
    return startOf(page, this.foundLevel) + SPAN[this.foundLevel]!;
  }

  /** Puts a root of the next level above the root; its first entry spans what the old one did. */
  raiseRoot(): void {
    if (this.pool.used[this.root] !== 0) {
      const root = this.pool.allocate();
      this.addTable(root, entryAt(root, 0), this.root);
      this.root = root;
    }
    this.rootLevel += 1;
  }

  /** Takes off roots of which only the first entry is left, and gives back the memory of an empty table. */
  lowerRoot(): void {
    const pool = this.pool;
    while (this.rootLevel > FIRST_ROOT_LEVEL && pool.used[this.root] === 1) {
      const at = entryAt(this.root, 0);
      const words = this.words;
      if ((words[at + 1]! & TABLE) === 0) return;
      const raised = this.root;
      this.root = words[at]!;
      this.rootLevel -= 1;
      this.publisher?.moveRoot(this.root, this.rootLevel);
      this.removeEntry(raised, at);
      pool.release(raised);
    }
    if (pool.used[this.root] !== 0) return;
    this.rootLevel = FIRST_ROOT_LEVEL;
    // Other threads have the memory of a published table; it is not given back.
    if (!pool.large || this.publisher !== undefined) return;
    pool.clear();
    this.words = pool.words;
    this.root = pool.allocate();
  }

  reserve(tables: number): void {
    this.pool.reserve(tables);
    this.words = this.pool.words;
  }

  addTable(table: number, at: number, below: number): void {
    const words = this.words;
    words[at] = below;
    words[at + 1] = nextState(words[at + 1]!, TABLE, 0);
    this.pool.used[table]! += 1;
  }

  removeEntry(table: number, at: number): void {
    const words = this.words;
    words[at + 1] = emptied(words[at + 1]!);
    this.pool.used[table]! -= 1;
  }

  /** EEXIST: the first page that is mapped at `page` or after it. */
  overlap(from: number): IommuError {
    let page = from;
    while ((this.find(page) & LEAF) === 0) page = this.pastFound(page);
    const start = startOf(page, this.foundLevel);
    const lastPage = this.pastFound(page) - 1;
    const area = areaInTheWay({ page: start, offset: 0, lastPage, lastOffset: PAGE_MASK });
    return new IommuError('EEXIST', { check: 'overlap', area });
  }
}

/** Where the words of an entry begin. */
export function entryAt(table: number, index: number): number {
  return (table << TABLE_WORD_BITS) + (index << 1);
}

/** First and last page (inclusive) of the entry of `level` that spans `page`. */
export function entryBounds(page: number, level: number): [first: number, last: number] {
  const first = startOf(page, level);
  return [first, first + SPAN[level]! - 1];
}

/** The first page of the entry of `level` that spans `page`. */
export function startOf(page: number, level: number): number {
  return Math.floor(page / SPAN[level]!) * SPAN[level]!;
}
