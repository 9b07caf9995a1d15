/**
 * The used parts and the holes of an interval tree in order of address (the kernel's `interval_tree_span_iter`
 * and `interval_tree_double_span_iter`).
 */
import type { IntervalTree, TreeNode } from './interval-tree.js';
import { roomFor } from './room.js';
import { type Address, between, type Interval, lastOf, next, PAGE_MASK } from './u64.js';

/** A stretch of addresses that is used throughout, or a hole throughout; both bounds belong to it. */
export interface Span extends Interval {
  /** Whether entries of the tree cover it. */
  readonly used: boolean;
}

/** A stretch of addresses by the tree that covers it; both bounds belong to it. */
export interface DoubleSpan extends Interval {
  /** 1: the first tree covers it; 2: only the second does; 0: neither. */
  readonly used: 0 | 1 | 2;
}

/** A tree to look at; none is as good as an empty one. */
type Tree = Pick<IntervalTree<unknown>, 'first' | 'nextIn'> | undefined;

/**
 * Partitions `window`, from its first byte to its last, into used spans and holes, which alternate.
 *
 * Entries that overlap or touch make one used span; spans are clipped to the window. The start costs O(log n),
 * then each entry that lengthens a span is visited once, when that span is asked for. The tree must not change
 * between the first span that is asked for and the last.
 */
export function* spans(tree: Tree, window: Interval): IterableIterator<Span> {
  const cursor = new SpanCursor(tree, window, window.page, window.offset);
  do {
    const { page, offset, lastPage, lastOffset, used } = cursor;
    yield { page, offset, lastPage, lastOffset, used };
  } while (cursor.advance());
}

/**
 * Partitions `window` by two trees of which the first has priority: used by `first`, else used by `second`,
 * else a hole. Neighbours differ in `used`. All else is as with `spans`; what the first tree covers is skipped
 * in the second without a visit to each entry there.
 */
export function* doubleSpans(first: Tree, second: Tree, window: Interval): IterableIterator<DoubleSpan> {
  let { page, offset } = window;
  const upper = new SpanCursor(first, window, page, offset);
  let lower: SpanCursor | undefined;
  for (;;) {
    let { lastPage, lastOffset } = upper;
    let used: DoubleSpan['used'] = 1;
    if (!upper.used) {
      lower ??= new SpanCursor(second, window, page, offset);
      lower.seek(page, offset);
      used = lower.used ? 2 : 0;
      if (lower.lastPage < lastPage || (lower.lastPage === lastPage && lower.lastOffset < lastOffset)) {
        ({ lastPage, lastOffset } = lower);
      }
    }
    yield { page, offset, lastPage, lastOffset, used };
    if (lastPage === upper.lastPage && lastOffset === upper.lastOffset && !upper.advance()) return;
    if (lastOffset < PAGE_MASK) {
      page = lastPage;
      offset = lastOffset + 1;
    } else {
      page = lastPage + 1;
      offset = 0;
    }
  }
}

/**
 * The holes of a tree without overlaps, clipped to `window`, in ascending order, less holes in which `length` bytes at
 * a multiple of `alignment` bytes, a power of two, cannot fit. The next hole costs O(log n), whatever lies between.
 *
 * The tree must not change between the first hole that is asked for and the last.
 *
 * @throws Error if entries of the tree overlap.
 */
export function* holesFor(
  tree: IntervalTree<unknown>,
  window: Interval,
  length: Address,
  alignment: number,
): IterableIterator<Interval> {
  const needed = roomFor(length, alignment);
  const last = lastOf(window);
  let from: Address | undefined = window;
  while (from !== undefined) {
    const hole = tree.firstHole(between(from, last), needed);
    if (hole === undefined) return;
    yield hole;
    // What follows the hole is an entry, or lies past the window.
    from = next(lastOf(hole));
  }
}

/** A place in the partition of a window: the current span, without an object for each. */
class SpanCursor {
  page = 0;
  offset = 0;
  lastPage = 0;
  lastOffset = 0;
  used = false;
  readonly #tree: Tree;
  /** What follows the current span; empty, and then meaningless, after the last span. */
  readonly #rest: { page: number; offset: number; lastPage: number; lastOffset: number };
  /** The first entry that reaches into the rest. */
  #node: TreeNode<unknown> | undefined;
  #more = true;

  /** Partitions `window` from (page, offset) on. */
  constructor(tree: Tree, window: Interval, page: number, offset: number) {
    const { lastPage, lastOffset } = window;
    this.#tree = tree;
    this.#rest = { page, offset, lastPage, lastOffset };
    this.#node = tree?.first(this.#rest);
    this.advance();
  }

  /** Goes to the next span; `false` if the current one is the last. */
  advance(): boolean {
    if (!this.#more) return false;
    const rest = this.#rest;
    const node = this.#node;
    this.page = rest.page;
    this.offset = rest.offset;
    if (node === undefined) {
      this.used = false;
      this.#finish();
    } else if (node.page < rest.page || (node.page === rest.page && node.offset <= rest.offset)) {
      this.used = true;
      this.#follow(node);
    } else {
      this.used = false;
      rest.page = node.page;
      rest.offset = node.offset;
      this.#endBeforeRest();
    }
    return true;
  }

  /** Goes on to the span that holds an address of the rest of the window, and starts it there. */
  seek(page: number, offset: number): void {
    if (this.lastPage > page || (this.lastPage === page && this.lastOffset >= offset)) return;
    const rest = this.#rest;
    if (rest.page !== page || rest.offset !== offset) {
      rest.page = page;
      rest.offset = offset;
      this.#node = this.#tree?.first(rest);
    }
    this.advance();
  }

  /** Ends a used span where the entries that touch one another, from `first` on, end. */
  #follow(first: TreeNode<unknown>): void {
    const rest = this.#rest;
    let node: TreeNode<unknown> | undefined = first;
    do {
      const { lastPage, lastOffset } = node;
      if (lastPage > rest.lastPage || (lastPage === rest.lastPage && lastOffset >= rest.lastOffset)) {
        this.#finish();
        return;
      }
      // Not past the space, as the window goes on. Entries that end before this address are never looked at.
      rest.page = lastOffset < PAGE_MASK ? lastPage : lastPage + 1;
      rest.offset = (lastOffset + 1) & PAGE_MASK;
      node = this.#tree!.nextIn(node, rest);
    } while (
      node !== undefined &&
      (node.page < rest.page || (node.page === rest.page && node.offset <= rest.offset))
    );
    this.#node = node;
    this.#endBeforeRest();
  }

  #endBeforeRest(): void {
    const { page, offset } = this.#rest;
    this.lastPage = offset > 0 ? page : page - 1;
    this.lastOffset = (offset - 1) & PAGE_MASK;
  }

  #finish(): void {
    this.lastPage = this.#rest.lastPage;
    this.lastOffset = this.#rest.lastOffset;
    this.#more = false;
  }
}
