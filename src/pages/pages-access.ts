/**
 * Pinning index intervals of an `IoptPages` for accesses, which read and write through the CPU.
 *
 * All functions are called with the pages' mutex held.
 */
import { refuse } from '../errors.js';
import { faultPoint } from '../faults.js';
import { IntervalTree } from '../interval-tree.js';
import { FrameRuns } from '../memory/frame-runs.js';
import type { Operation } from '../operation.js';
import { doubleSpans } from '../spans.js';
import { chargePinned, creditUnpinned } from './accounting.js';
import { type ReadFrames, readFrames, releaseFresh, unpinFrames } from './frame-reader.js';
import type { IoptPages, PagesAccess } from './iopt-pages.js';
import { indexInterval } from './mapped-area.js';
import { PinnedStore } from './pinned-store.js';

/** @throws EINVAL if the pages are of a dma-buf: there is nothing in it that the CPU could touch */
export function checkHasPages({ dmaBuf }: IoptPages): void {
  if (dmaBuf !== undefined) throw refuse('EINVAL', 'state', 'a dma-buf has no pages that the CPU can touch');
}

/**
 * Pins [first, last] and gives its frames, a list that is not to be changed. A repeated pin of the same interval shares the first one.
 *
 * @throws EINVAL if they are of a dma-buf, what pinning or the locked-memory limit throws; nothing has changed then.
 */
export function* addPagesAccess(pages: IoptPages, first: number, last: number): Operation<FrameRuns> {
  checkHasPages(pages);
  const same = findPagesAccess(pages, first, last);
  if (same !== undefined) {
    const frames = new FrameRuns();
    same.users += 1;
    pages.store!.read(first, last, frames);
    return frames;
  }
  faultPoint(pages.faults, 'pages-access');
  const read = yield* readFrames(pages, first, last);
  try {
    if (pages.faults !== undefined) {
      for (let at = 0; at < read.fresh.length + read.fromDomain.length; at += 2) {
        faultPoint(pages.faults, 'pinned-store');
      }
    }
    chargePinned(pages);
  } catch (error) {
    releaseFresh(pages, read);
    throw error;
  }
  store(pages, read, read.fresh);
  store(pages, read, read.fromDomain);
  pages.accessTree ??= new IntervalTree();
  const access: PagesAccess = { users: 1 };
  pages.accessTree.insert(indexInterval(first, last), access);
  return read.frames;
}

/** Takes back one pin of exactly [first, last]; `false` if there is none. Never fails. */
export function removePagesAccess(pages: IoptPages, first: number, last: number): boolean {
  const node = findNode(pages, first, last);
  if (node === undefined) return false;
  node.value.users -= 1;
  if (node.value.users > 0) return true;
  const tree = pages.accessTree!;
  tree.delete(node);
  if (tree.size === 0) pages.accessTree = undefined;
  for (const span of doubleSpans(pages.accessTree, pages.domainsTree, indexInterval(first, last))) {
    if (span.used === 1) continue;
    const erased = pages.store!.erase(span.page, span.lastPage);
    if (span.used === 0) unpinFrames(pages, erased);
  }
  if (pages.store!.empty) pages.store = undefined;
  creditUnpinned(pages);
  return true;
}

function store(pages: IoptPages, read: ReadFrames, spans: readonly number[]): void {
  for (let at = 0; at < spans.length; at += 2) {
    const count = spans[at + 1]!;
    // Nobody changes a list that was read, so the store may share the whole of it.
    const whole = count === read.frames.frames;
    const frames = whole ? read.frames : read.frames.slice(spans[at]! - read.first, count);
    pages.store ??= new PinnedStore();
    pages.store.insert(spans[at]!, frames);
  }
}

function findPagesAccess(pages: IoptPages, first: number, last: number): PagesAccess | undefined {
  return findNode(pages, first, last)?.value;
}

function findNode(pages: IoptPages, first: number, last: number) {
  const tree = pages.accessTree;
  if (tree === undefined) return undefined;
  const point = indexInterval(first, first);
  let node = tree.first(point);
  while (node !== undefined && (node.page !== first || node.lastPage !== last))
    node = tree.nextIn(node, point);
  return node;
}
