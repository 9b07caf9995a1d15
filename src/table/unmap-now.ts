/**
 * Unmapping for callers that cannot wait: all that can be unmapped goes, or nothing has changed.
 */
import type { IommuDomain } from '../domain/iommu-domain.js';
import { type IommuError, refuse } from '../errors.js';
import { FrameRuns } from '../memory/frame-runs.js';
import { isThenable, type Operation } from '../operation.js';
import { clearStorageDomain, enterArea, leaveArea, unpinReleased } from '../pages/domain-fill.js';
import { mayHaveToFlush } from '../pages/flush.js';
import { readFromDomain } from '../pages/frame-reader.js';
import { indexInterval } from '../pages/mapped-area.js';
import { doubleSpans } from '../spans.js';
import { compare, contains, firstOf, type Interval, join, lastOf } from '../u64.js';
import type { IoptArea } from './iopt-area.js';
import { readDomainsWriteIova, releaseDomainsIova } from './table-locks.js';
import { book, bytesOf, type Unmapping, unmapRange } from './unmap.js';

/**
 * Unmaps for a caller that cannot wait, after `unmapQuickly`.
 *
 * @throws EAGAIN if an area in the range is pinned by an access, its pages are busy, or a device may be using it, with
 * nothing changed; else as `unmapRange`
 */
export function* unmapNow(unmapping: Unmapping): Operation<bigint> {
  const { table } = unmapping;
  if (unmapping.removing === undefined) {
    const areas = removableAreas(unmapping);
    if (areas.length > 0 && mayHaveToFlush(table.domains)) {
      yield* readDomainsWriteIova(table);
      try {
        removeTogether(unmapping, areas);
      } finally {
        releaseDomainsIova(table);
      }
      if (compare(lastOf(areas.at(-1)!), lastOf(unmapping.range)) >= 0) return bytesOf(unmapping);
    }
  }
  return yield* unmapRange(unmapping);
}

/** The areas that will be unmapped. @throws EAGAIN if one of them makes its unmap wait */
function removableAreas({ table, range, start, exactly }: Unmapping): IoptArea[] {
  const left: Interval = { ...range, page: start.page, offset: start.offset };
  const areas: IoptArea[] = [];
  for (let node = table.areas.first(left); node !== undefined; node = table.areas.nextIn(node, left)) {
    const area = node.value;
    const { pages } = area;
    // The unmap ends at such an area without a wait, with an errno of its own.
    if (pages === undefined || area.locks > 0) break;
    if (!contains(range, area) || (exactly && !contains(area, range))) break;
    if (area.pins > 0 && !table.rules.asksToLetGo) break;
    if (area.pins > 0 || !pages.mutex.free) throw inUseNow('in use');
    areas.push(area);
  }
  return areas;
}

/** What a domain had of an area that was unmapped from it. */
interface Emptied {
  readonly domain: IommuDomain;
  readonly area: IoptArea;
  readonly frames: FrameRuns;
  /** Marked ranges: first IOVAs and bytes. */
  readonly dirty: readonly (readonly [iova: bigint, size: bigint])[];
}

/**
 * Takes areas away from devices, and out of the tree. Both locks are held; nobody holds the mutex of any of the pages.
 *
 * @throws EAGAIN if a device may be using one of them; what a domain throws. All is as it was then.
 */
function removeTogether(unmapping: Unmapping, areas: readonly IoptArea[]): void {
  const { table } = unmapping;
  const { domains } = table;
  const emptied: Emptied[] = [];
  const shows: (() => void)[] = [];
  const shown = new Set(areas.map((area) => area.pages!));
  for (const pages of shown) pages.mutex.tryWrite();
  try {
    for (const domain of domains) {
      if (domain.flush !== undefined) shows.push(hide(domain, firstOf(areas[0]!), lastOf(areas.at(-1)!)));
    }
    const frames = areas.map(framesOf);
    try {
      for (const [at, area] of areas.entries()) {
        if (area.storageDomain === undefined) continue;
        for (const domain of domains) {
          const dirty = dirtyOf(domain, area);
          leaveArea(area, area.pages!, domain);
          emptied.push({ domain, area, frames: frames[at]!, dirty });
        }
      }
      // Only now do domains know what they are asked about: one may say only now that it makes the unmap wait.
      for (const domain of domains) flushNow(domain);
    } catch (error) {
      for (const one of emptied) putBack(one, table.largePages);
      throw error;
    }
    for (const [at, area] of areas.entries()) {
      const pages = area.pages!;
      if (area.storageDomain !== undefined) {
        clearStorageDomain(area, pages);
        unpinReleased(pages, framesUnheld(area, frames[at]!));
      }
      table.areas.delete(area.node!);
      pages.references -= 1;
      book(unmapping, area);
    }
  } finally {
    for (const pages of shown) pages.mutex.releaseWrite();
    for (const show of shows) show();
  }
}

/** The frames of an area, where a domain has them. */
function framesOf(area: IoptArea): FrameRuns {
  const frames = new FrameRuns();
  const { pages, storageDomain, index, lastIndex } = area;
  const buffer = pages!.dmaBuf?.buffer;
  if (buffer !== undefined) frames.push(buffer.pfn + pages!.firstPage + index, lastIndex - index + 1);
  else if (storageDomain !== undefined) readFromDomain(area, storageDomain, index, lastIndex, frames);
  return frames;
}

/** Those of an area's frames that no access and no other area holds. */
function framesUnheld(area: IoptArea, frames: FrameRuns): FrameRuns {
  const { accessTree, domainsTree, dmaBuf } = area.pages!;
  if (dmaBuf !== undefined) return new FrameRuns();
  if (accessTree === undefined && domainsTree === undefined) return frames;
  const unheld = new FrameRuns();
  for (const { used, page, lastPage } of doubleSpans(
    accessTree,
    domainsTree,
    indexInterval(area.index, area.lastIndex),
  )) {
    if (used !== 0) continue;
    frames.forEachRun(page - area.index, lastPage - page + 1, (pfn, count) => unheld.push(pfn, count));
  }
  return unheld;
}

function dirtyOf({ dirty }: IommuDomain, { iova, length }: IoptArea): Emptied['dirty'] {
  const marked: [bigint, bigint][] = [];
  if (dirty?.tracking) dirty.readAndClear(iova, length, true, (first, size) => marked.push([first, size]));
  return marked;
}

function putBack({ domain, area, frames, dirty }: Emptied, largePages: boolean): void {
  enterArea(area, area.pages!, domain, largePages, frames);
  for (const [iova, size] of dirty) domain.dirty?.mark(iova, size);
}

/** @throws EAGAIN if a device may be using the range, what the domain throws */
function hide(domain: IommuDomain, first: ReturnType<typeof firstOf>, last: ReturnType<typeof lastOf>) {
  if (domain.hide === undefined) {
    flushNow(domain);
    return () => undefined;
  }
  const show = domain.hide(join(first.page, first.offset), join(last.page, last.offset));
  if (show === undefined) throw inUseNow('used by a device');
  return show;
}

/** @throws EAGAIN if that takes a wait, what the domain throws */
function flushNow(domain: IommuDomain): void {
  const flushed = domain.flush?.();
  if (!isThenable(flushed)) return;
  // What comes of it is nobody's concern: what was unmapped is mapped again.
  flushed.then(undefined, () => undefined);
  throw inUseNow('used by a device');
}

function inUseNow(how: string): IommuError {
  return refuse('EAGAIN', 'would-wait', `an area in the range is ${how}; unmapping it has to wait`);
}
