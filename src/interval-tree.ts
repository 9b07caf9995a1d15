/**
 * The tree of closed 64-bit intervals behind every lookup of the library: `@flatten-js/interval-tree`
 * specialised for addresses.
 *
 * The red-black algorithm is the package's. What is replaced is what the package does per node: its keys are
 * objects compared through virtual calls, its `max` is a new object per step, a deletion moves data from one
 * node into another, and equal keys share a node. Here a key is four small integers inside the node, nothing is
 * allocated on the way down, and a node is the handle of its entry for as long as the entry lives.
 */
import { Node as PackageNode, IntervalTree as PackageTree } from '@flatten-js/interval-tree';
import { largerRoom, mayHaveRoom, roomOf } from './room.js';
import {
  type Address,
  between,
  compare,
  firstOf,
  hexRange,
  type Interval,
  lastOf,
  next,
  PAGE_MASK,
  PAGE_SHIFT,
  previous,
  WHOLE_SPACE,
} from './u64.js';

/** An entry of an `IntervalTree`: its interval and its value. Valid until it is deleted or the tree cleared. */
export interface TreeNode<V> extends Interval {
  /** What the entry was inserted with. */
  readonly value: V;
}

/**
 * Closed intervals of 64-bit addresses in order of their first byte, each with a value (the kernel's
 * `struct interval_tree`).
 *
 * Intervals may overlap and may be equal; of equal starts the one inserted first comes first. Every interval
 * given must have its start at or below its last byte.
 */
export interface IntervalTree<V> {
  /** Number of entries. */
  readonly size: number;

  /** Adds an entry, whatever else is there. O(log n). */
  insert(range: Interval, value: V): TreeNode<V>;

  /**
   * Adds an entry if no entry intersects its range. Otherwise adds nothing and returns the entry in the way, the
   * one with the lowest start; `node.value === value` tells the two apart. O(log n), one descent.
   */
  insertDisjoint(range: Interval, value: V): TreeNode<V>;

  /**
   * Takes an entry out; all other nodes stay valid. O(log n).
   *
   * @throws Error if the node was deleted before.
   */
  delete(node: TreeNode<V>): void;

  /** Whether an entry, which was added to this tree, was not deleted since. O(1). Says nothing after `clear`. */
  has(node: TreeNode<V>): boolean;

  /** The entry with the lowest start of those that intersect `range`. O(log n). */
  first(range: Interval): TreeNode<V> | undefined;

  /**
   * The entry after `node`, in order of start, that intersects `range`. O(log n).
   *
   * @throws Error if the node was deleted before.
   */
  nextIn(node: TreeNode<V>, range: Interval): TreeNode<V> | undefined;

  /** The entry with the lowest start. O(log n). */
  head(): TreeNode<V> | undefined;

  /**
   * The entry after `node` in order of start.
   *
   * @throws Error if the node was deleted before.
   */
  next(node: TreeNode<V>): TreeNode<V> | undefined;

  /**
   * The lowest hole between entries, or the part of it inside `window`, that may have the room needed (see
   * `roomFor`); no hole of the window below it has.
   *
   * The first search costs O(n), as it notes how much room there is below each node; a later one O(log n), and
   * O(log n) more for each entry that came or went since the search before.
   *
   * @throws Error if entries of the tree overlap.
   */
  firstHole(window: Interval, needed: number): Interval | undefined;

  /** Forgets all entries. Their nodes may not be used any more. O(1). */
  clear(): void;

  /** The values in order of start. The entry just yielded may be deleted. */
  [Symbol.iterator](): IterableIterator<V>;

  /**
   * Checks the links, the order, the colours, the black height, `max`, the room noted and the size. O(n).
   *
   * @throws Error that names what is broken, and where.
   */
  verify(): void;
}

const BLACK = 0;
const RED = 1;
type Color = typeof BLACK | typeof RED;

/**
 * The parts of the package that are used, declared here: its own declarations do not resolve under `nodenext`,
 * and must not show in ours.
 */
interface Links<V> {
  left: IntervalNode<V>;
  right: IntervalNode<V>;
  parent: IntervalNode<V> | null;
  color: Color;
}

interface RedBlackTree<V> {
  root: IntervalNode<V>;
  insert_fixup(inserted: IntervalNode<V>): void;
  delete_fixup(child: IntervalNode<V>): void;
  local_minimum(top: IntervalNode<V>): IntervalNode<V>;
  tree_successor(node: IntervalNode<V>): IntervalNode<V> | null;
  testRedBlackProperty(): boolean;
  testBlackHeightProperty(top: IntervalNode<V>): number;
}

const LinkedNode: new <V>(
  key: undefined,
  value: undefined,
  left: IntervalNode<never> | null,
  right: IntervalNode<never> | null,
  parent: IntervalNode<V> | null,
  color: Color,
) => Links<V> = PackageNode;

const LinkedTree: new <V>() => RedBlackTree<V> = PackageTree;

/**
 * A 64-bit address is kept as two signed 32-bit halves, each with its top bit flipped so that signed order is
 * address order. These are the integers V8 keeps inside the object; a field that ever held a larger number would
 * become a pointer to a boxed double in all nodes, a cache miss more for each node visited.
 */
const FLIP = -0x8000_0000;
const PAGES_PER_HALF = 2 ** 20;

function upper(page: number): number {
  return (page / PAGES_PER_HALF) ^ FLIP;
}

function lower(page: number, offset: number): number {
  return ((page << PAGE_SHIFT) | offset) ^ FLIP;
}

function pageOf(high: number, low: number): number {
  return ((high ^ FLIP) >>> 0) * PAGES_PER_HALF + ((low ^ FLIP) >>> PAGE_SHIFT);
}

/** The room below a node that has not been looked at, or was changed since. */
const UNKNOWN = -1;

/** What the package's constructor reads back from `item`, once, to find that there is no key object. */
const NO_ITEM = Object.freeze({ key: undefined });

class IntervalNode<V> extends LinkedNode<V> implements TreeNode<V> {
  // Declared and assigned in the constructor: a field that starts as `undefined` is not a small-integer field.
  declare readonly startHigh: number;
  declare readonly startLow: number;
  declare readonly lastHigh: number;
  declare readonly lastLow: number;
  /** The highest last byte in the subtree. */
  declare maxHigh: number;
  declare maxLow: number;
  /**
   * The most room of the holes that end where an entry of the subtree starts, or `UNKNOWN`; then it is unknown for
   * all nodes above too. So a tree that is never searched for holes never has anything to keep up.
   */
  declare room: number;
  declare readonly value: V;

  /** `value` is absent, and `nil` null, only for the nil node itself. */
  constructor(
    nil: IntervalNode<never> | null,
    parent: IntervalNode<V> | null,
    color: Color,
    startHigh: number,
    startLow: number,
    lastHigh: number,
    lastLow: number,
    value: V | undefined,
  ) {
    super(undefined, undefined, nil, nil, parent, color);
    this.startHigh = startHigh;
    this.startLow = startLow;
    this.lastHigh = lastHigh;
    this.lastLow = lastLow;
    this.maxHigh = lastHigh;
    this.maxLow = lastLow;
    this.room = UNKNOWN;
    this.value = value as V;
  }

  get page(): number {
    return pageOf(this.startHigh, this.startLow);
  }

  get offset(): number {
    return this.startLow & PAGE_MASK;
  }

  get lastPage(): number {
    return pageOf(this.lastHigh, this.lastLow);
  }

  get lastOffset(): number {
    return this.lastLow & PAGE_MASK;
  }

  /** Swallows what the package's constructor would store in every node: the key object and the bucket. */
  get item(): typeof NO_ITEM {
    return NO_ITEM;
  }

  set item(_unused: unknown) {}

  /** As `item`: the package's `max` is an object. */
  set max(_unused: unknown) {}

  /** Called by the package's rotations, for nodes below which an entry comes or goes, and their brothers. */
  update_max(): void {
    this.room = UNKNOWN;
    this.findMax();
  }

  /** The nil node's max is address 0, so it never wins. */
  findMax(): void {
    const { left, right } = this;
    let high = this.lastHigh;
    let low = this.lastLow;
    if (left.maxHigh > high || (left.maxHigh === high && left.maxLow > low)) {
      high = left.maxHigh;
      low = left.maxLow;
    }
    if (right.maxHigh > high || (right.maxHigh === high && right.maxLow > low)) {
      high = right.maxHigh;
      low = right.maxLow;
    }
    this.maxHigh = high;
    this.maxLow = low;
  }
}

/**
 * The child of every node that has none, in all trees. Sharing it is safe because the package writes only two of
 * its fields: `color`, which is black already, and `parent`, during a deletion. A deletion runs no foreign code
 * and does not wait, and clears `parent` again, so that no tree sees it and no dead tree is kept alive by it.
 */
const NIL = new IntervalNode<never>(null, null, BLACK, FLIP, FLIP, FLIP, FLIP, undefined);
NIL.room = 0;

class AddressTree<V> extends LinkedTree<V> implements IntervalTree<V> {
  private count = 0;
  /** Whether entries may overlap. While they cannot, the order of starts is the order of last bytes too. */
  private overlapping = false;

  constructor() {
    super();
    this.root = NIL;
  }

  /** The package's constructor makes a nil node for each tree; this drops it. */
  get nil_node(): IntervalNode<never> {
    return NIL;
  }

  set nil_node(_unused: unknown) {}

  get size(): number {
    return this.count;
  }

  insert(range: Interval, value: V): TreeNode<V> {
    return this.place(range, value, true);
  }

  insertDisjoint(range: Interval, value: V): TreeNode<V> {
    const inTheWay = this.overlapping ? this.first(range) : undefined;
    return inTheWay ?? this.place(range, value, false);
  }

  delete(entry: TreeNode<V>): void {
    const node = attached(entry);
    const { left, right } = node;
    let child: IntervalNode<V>;
    let color = node.color;
    if (left === NIL || right === NIL) {
      child = left === NIL ? right : left;
      child.parent = node.parent;
      this.replaceChild(node, child);
      if (child !== NIL) child.room = UNKNOWN;
      forgetRoom(node.parent);
      dropMax(node.parent, node);
    } else {
      const heir = this.local_minimum(right);
      color = heir.color;
      child = heir.right;
      if (heir === right) {
        child.parent = heir;
      } else {
        child.parent = heir.parent;
        heir.parent!.left = child;
        heir.right = right;
        right.parent = heir;
      }
      heir.left = left;
      left.parent = heir;
      heir.color = node.color;
      heir.parent = node.parent;
      this.replaceChild(node, heir);
      heir.maxHigh = node.maxHigh;
      heir.maxLow = node.maxLow;
      heir.room = node.room;
      forgetRoom(child.parent);
      dropMax(child.parent, heir);
      dropMax(heir, node);
    }
    if (color === BLACK) this.delete_fixup(child);
    NIL.parent = null;
    node.left = NIL;
    node.right = NIL;
    node.parent = node;
    if (--this.count === 0) this.overlapping = false;
  }

  has(entry: TreeNode<V>): boolean {
    return isAttached(entry as IntervalNode<V>);
  }

  first(range: Interval): TreeNode<V> | undefined {
    return this.lowest(
      this.root,
      upper(range.page),
      lower(range.page, range.offset),
      upper(range.lastPage),
      lower(range.lastPage, range.lastOffset),
    );
  }

  nextIn(entry: TreeNode<V>, range: Interval): TreeNode<V> | undefined {
    const startHigh = upper(range.page);
    const startLow = lower(range.page, range.offset);
    const lastHigh = upper(range.lastPage);
    const lastLow = lower(range.lastPage, range.lastOffset);
    let node = attached(entry);
    for (;;) {
      const { right } = node;
      if (
        right !== NIL &&
        (right.maxHigh > startHigh || (right.maxHigh === startHigh && right.maxLow >= startLow))
      ) {
        return this.lowest(right, startHigh, startLow, lastHigh, lastLow);
      }
      let parent = node.parent;
      while (parent !== null && parent.right === node) {
        node = parent;
        parent = node.parent;
      }
      if (parent === null) return undefined;
      node = parent;
      if (node.startHigh > lastHigh || (node.startHigh === lastHigh && node.startLow > lastLow))
        return undefined;
      if (node.lastHigh > startHigh || (node.lastHigh === startHigh && node.lastLow >= startLow)) return node;
    }
  }

  head(): TreeNode<V> | undefined {
    return this.root === NIL ? undefined : this.local_minimum(this.root);
  }

  next(node: TreeNode<V>): TreeNode<V> | undefined {
    return this.tree_successor(attached(node)) ?? undefined;
  }

  firstHole(window: Interval, needed: number): Interval | undefined {
    if (this.overlapping) throw new Error('There are no holes to search in a tree whose entries overlap');
    const { root } = this;
    const hole =
      holeBelow(root, NIL, upper(window.page), lower(window.page, window.offset), needed) ?? holeAfter(root);
    if (hole === undefined) return undefined;
    const first = compare(hole, window) > 0 ? firstOf(hole) : firstOf(window);
    const last = compare(lastOf(hole), lastOf(window)) < 0 ? lastOf(hole) : lastOf(window);
    return compare(first, last) <= 0 ? between(first, last) : undefined;
  }

  clear(): void {
    this.root = NIL;
    this.count = 0;
    this.overlapping = false;
  }

  *[Symbol.iterator](): IterableIterator<V> {
    let node = this.head();
    while (node !== undefined) {
      const { value } = node;
      node = this.next(node);
      yield value;
    }
  }

  verify(): void {
    const { root } = this;
    if (
      NIL.color !== BLACK ||
      NIL.parent !== null ||
      NIL.left !== null ||
      NIL.right !== null ||
      NIL.room !== 0
    ) {
      throw new Error('Interval tree: the nil node was written to');
    }
    const found = root === NIL ? 0 : verifyLinks(root, null);
    if (found !== this.count) {
      throw new Error(`Interval tree: size is ${this.count}, but there are ${found} nodes`);
    }
    if (root === NIL) return;
    if (root.color !== BLACK) throw broken('the root is red', root);
    if (!this.testRedBlackProperty()) throw broken('a red node has a red child, below the root', root);
    this.testBlackHeightProperty(root);
    let node = this.local_minimum(root);
    for (;;) {
      const next = this.tree_successor(node);
      if (next === null) break;
      if (compare(node, next) > 0) throw broken(`order of start: ${hexRange(node)} comes before`, next);
      if (!this.overlapping && compare(lastOf(node), next) >= 0) {
        throw broken(`overlap in a tree without overlaps: ${hexRange(node)} and`, next);
      }
      node = next;
    }
    if (!this.overlapping) verifyRoom(root, NIL);
  }

  /** One descent: adds a node after those of the same start, unless something is there that must not be. */
  private place(range: Interval, value: V, mayOverlap: boolean): IntervalNode<V> {
    const startHigh = upper(range.page);
    const startLow = lower(range.page, range.offset);
    const lastHigh = upper(range.lastPage);
    const lastLow = lower(range.lastPage, range.lastOffset);
    let before: IntervalNode<V> = NIL;
    let after: IntervalNode<V> = NIL;
    let parent: IntervalNode<V> | null = null;
    let place = this.root;
    let left = false;
    while (place !== NIL) {
      parent = place;
      left = startHigh < place.startHigh || (startHigh === place.startHigh && startLow < place.startLow);
      if (left) {
        after = place;
        place = place.left;
      } else {
        before = place;
        place = place.right;
      }
    }
    // In a tree without overlaps only the two neighbours can be in the way.
    if (!this.overlapping) {
      let inTheWay: IntervalNode<V> = NIL;
      if (
        before !== NIL &&
        (before.lastHigh > startHigh || (before.lastHigh === startHigh && before.lastLow >= startLow))
      ) {
        inTheWay = before;
      } else if (
        after !== NIL &&
        (after.startHigh < lastHigh || (after.startHigh === lastHigh && after.startLow <= lastLow))
      ) {
        inTheWay = after;
      }
      if (inTheWay !== NIL) {
        if (!mayOverlap) return inTheWay;
        this.overlapping = true;
      }
    }
    const node = new IntervalNode<V>(NIL, parent, RED, startHigh, startLow, lastHigh, lastLow, value);
    if (parent === null) this.root = node;
    else if (left) parent.left = node;
    else parent.right = node;
    raiseMax(parent, lastHigh, lastLow);
    forgetRoom(parent);
    this.insert_fixup(node);
    this.count++;
    return node;
  }

  /** The lowest start below `top` of those that intersect the range. */
  private lowest(
    top: IntervalNode<V>,
    startHigh: number,
    startLow: number,
    lastHigh: number,
    lastLow: number,
  ): IntervalNode<V> | undefined {
    const { overlapping } = this;
    let found: IntervalNode<V> = NIL;
    let node = top;
    while (node !== NIL) {
      const { left } = node;
      if (node.lastHigh > startHigh || (node.lastHigh === startHigh && node.lastLow >= startLow)) {
        found = node;
        node = left;
      } else if (
        // Only where entries overlap can one below `node` reach further than `node` does.
        overlapping &&
        (left.maxHigh > startHigh || (left.maxHigh === startHigh && left.maxLow >= startLow))
      ) {
        node = left;
      } else {
        node = node.right;
      }
    }
    if (found === NIL) return undefined;
    if (found.startHigh > lastHigh || (found.startHigh === lastHigh && found.startLow > lastLow))
      return undefined;
    return found;
  }

  /** Makes the parent of `old` point to `replacement`. */
  private replaceChild(old: IntervalNode<V>, replacement: IntervalNode<V>): void {
    const { parent } = old;
    if (parent === null) this.root = replacement;
    else if (parent.left === old) parent.left = replacement;
    else parent.right = replacement;
  }
}

/** The node of an entry that is in a tree. */
function attached<V>(entry: TreeNode<V>): IntervalNode<V> {
  const node = entry as IntervalNode<V>;
  if (!isAttached(node)) throw new Error('The node was deleted from its interval tree');
  return node;
}

function isAttached<V>(node: IntervalNode<V>): boolean {
  return node.parent !== node;
}

/** An interval that ends at the given address came in below `node`. Stops where nothing changes. */
function raiseMax<V>(node: IntervalNode<V> | null, high: number, low: number): void {
  let raised = node;
  while (raised !== null && (raised.maxHigh < high || (raised.maxHigh === high && raised.maxLow < low))) {
    raised.maxHigh = high;
    raised.maxLow = low;
    raised = raised.parent;
  }
}

/** The interval of `gone` left the subtree of `node`. Stops at the first node that reaches as far without it. */
function dropMax<V>(node: IntervalNode<V> | null, gone: IntervalNode<V>): void {
  const { lastHigh, lastLow } = gone;
  let dropped = node;
  while (dropped !== null && dropped.maxHigh === lastHigh && dropped.maxLow === lastLow) {
    dropped.findMax();
    if (dropped.maxHigh === lastHigh && dropped.maxLow === lastLow) return;
    dropped = dropped.parent;
  }
}

/** A hole next to an entry of the subtree of `node` came, went or changed. Stops where nothing is known. */
function forgetRoom<V>(node: IntervalNode<V> | null): void {
  let unsure = node;
  while (unsure !== null && unsure.room !== UNKNOWN) {
    unsure.room = UNKNOWN;
    unsure = unsure.parent;
  }
}

/**
 * The most room of the holes that end where an entry of the subtree of `node` starts. `above` is the last entry
 * before the subtree, or nil.
 */
function roomBelow<V>(node: IntervalNode<V>, above: IntervalNode<V>): number {
  if (node.room === UNKNOWN) {
    const children = largerRoom(roomBelow(node.left, above), roomBelow(node.right, node));
    node.room = largerRoom(children, roomBefore(node, above));
  }
  return node.room;
}

/** The room of the hole that ends where `node` starts; `above` is the last entry before the subtree of `node`. */
function roomBefore<V>(node: IntervalNode<V>, above: IntervalNode<V>): number {
  const { left, startHigh, startLow } = node;
  if (left === NIL && above === NIL) return roomOf(0, distance(startHigh, startLow, FLIP, FLIP));
  const high = left === NIL ? above.lastHigh : left.maxHigh;
  const low = left === NIL ? above.lastLow : left.maxLow;
  return roomOf((low ^ FLIP) + 1, distance(startHigh, startLow, high, low) - 1);
}

function distance(high: number, low: number, fromHigh: number, fromLow: number): number {
  return (high - fromHigh) * 2 ** 32 + (low - fromLow);
}

/** The hole that ends where `node` starts; `above` is the last entry before the subtree of `node`. */
function holeBefore<V>(node: IntervalNode<V>, above: IntervalNode<V>): Interval {
  const { left } = node;
  const last = previous(node)!;
  if (left === NIL) return between(above === NIL ? { page: 0, offset: 0 } : next(lastOf(above))!, last);
  return between(next(maxOf(left))!, last);
}

/** The lowest hole with the room needed of those that end where an entry above the given start starts. */
function holeBelow<V>(
  node: IntervalNode<V>,
  above: IntervalNode<V>,
  startHigh: number,
  startLow: number,
  needed: number,
): Interval | undefined {
  if (node === NIL || !mayHaveRoom(roomBelow(node, above), needed)) return undefined;
  if (node.startHigh > startHigh || (node.startHigh === startHigh && node.startLow > startLow)) {
    const hole = holeBelow(node.left, above, startHigh, startLow, needed);
    if (hole !== undefined) return hole;
    if (mayHaveRoom(roomBefore(node, above), needed)) return holeBefore(node, above);
  }
  return holeBelow(node.right, node, startHigh, startLow, needed);
}

/** What follows the last entry of a tree. */
function holeAfter<V>(root: IntervalNode<V>): Interval | undefined {
  if (root === NIL) return WHOLE_SPACE;
  const first = next(maxOf(root));
  return first && between(first, lastOf(WHOLE_SPACE));
}

function maxOf<V>({ maxHigh, maxLow }: IntervalNode<V>): Address {
  return { page: pageOf(maxHigh, maxLow), offset: maxLow & PAGE_MASK };
}

function broken<V>(what: string, node: IntervalNode<V>): Error {
  return new Error(`Interval tree: ${what}: ${hexRange(node)}`);
}

/** Checks parents, intervals and max below `node`. Returns the number of nodes. */
function verifyLinks<V>(node: IntervalNode<V>, parent: IntervalNode<V> | null): number {
  if (node.parent !== parent) throw broken('the parent link of a node is wrong', node);
  if (compare(node, lastOf(node)) > 0) {
    throw broken('an interval ends before it starts', node);
  }
  const { left, right, maxHigh, maxLow } = node;
  const below = (left === NIL ? 0 : verifyLinks(left, node)) + (right === NIL ? 0 : verifyLinks(right, node));
  node.findMax();
  if (node.maxHigh !== maxHigh || node.maxLow !== maxLow) {
    node.maxHigh = maxHigh;
    node.maxLow = maxLow;
    throw broken('max is wrong', node);
  }
  return below + 1;
}

/** Checks what is noted of the room below `node`. */
function verifyRoom<V>(node: IntervalNode<V>, above: IntervalNode<V>): void {
  if (node === NIL) return;
  const { left, right, room } = node;
  verifyRoom(left, above);
  verifyRoom(right, node);
  if (room === UNKNOWN) return;
  if (left.room === UNKNOWN || right.room === UNKNOWN) {
    throw broken('room is known above a node where it is unknown', node);
  }
  if (room !== largerRoom(largerRoom(left.room, right.room), roomBefore(node, above))) {
    throw broken('room is wrong', node);
  }
}

/** Makes an empty tree. */
export const IntervalTree: new <V>() => IntervalTree<V> = AddressTree;
