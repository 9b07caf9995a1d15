/**
 * The areas, of any table, whose frames a domain holds: a tree by page index.
 *
 * Most pages are shown by one area, and a tree of one entry is several times as large as the entry. So there is a tree
 * only from the second area on; before that the one entry stands for it.
 */
import { IntervalTree, type TreeNode } from '../interval-tree.js';
import { hexRange, type Interval, intersects } from '../u64.js';
import { indexInterval, type MappedArea } from './mapped-area.js';

/** A domains tree. */
export type DomainsTree = SoleArea | IntervalTree<MappedArea>;

/** What has a domains tree: pages. */
interface Shown {
  domainsTree: DomainsTree | undefined;
}

/** The only entry of a domains tree, and the tree. */
class SoleArea implements TreeNode<MappedArea> {
  readonly page: number;
  readonly offset: number;
  readonly lastPage: number;
  readonly lastOffset: number;
  readonly value: MappedArea;

  constructor(range: Interval, area: MappedArea) {
    this.page = range.page;
    this.offset = range.offset;
    this.lastPage = range.lastPage;
    this.lastOffset = range.lastOffset;
    this.value = area;
  }

  get size(): number {
    return 1;
  }

  /** As the methods of `IntervalTree`. */
  first(range: Interval): TreeNode<MappedArea> | undefined {
    return intersects(this, range) ? this : undefined;
  }

  nextIn(): undefined {
    return undefined;
  }

  head(): TreeNode<MappedArea> {
    return this;
  }

  next(): undefined {
    return undefined;
  }

  verify(): void {
    if (this.lastPage < this.page) throw new Error(`The interval ends before it starts: ${hexRange(this)}`);
  }
}

/** Enters an area. */
export function addToDomainsTree(pages: Shown, area: MappedArea): void {
  const range = indexInterval(area.index, area.lastIndex);
  const tree = pages.domainsTree;
  if (tree === undefined) {
    const sole = new SoleArea(range, area);
    pages.domainsTree = sole;
    area.storageNode = sole;
    return;
  }
  const whole = tree instanceof SoleArea ? grown(pages, tree) : tree;
  area.storageNode = whole.insert(range, area);
}

function grown(pages: Shown, sole: SoleArea): IntervalTree<MappedArea> {
  const tree = new IntervalTree<MappedArea>();
  sole.value.storageNode = tree.insert(sole, sole.value);
  pages.domainsTree = tree;
  return tree;
}

/** Takes an area out that is in it. */
export function removeFromDomainsTree(pages: Shown, area: MappedArea): void {
  const tree = pages.domainsTree!;
  if (tree instanceof SoleArea || tree.size === 1) pages.domainsTree = undefined;
  else tree.delete(area.storageNode!);
  area.storageNode = undefined;
}
