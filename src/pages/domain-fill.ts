/**
 * Filling domains with an area's frames, and emptying them again.
 *
 * All functions are called with the pages' mutex held.
 */
import type { IommuDomain } from '../domain/iommu-domain.js';
import { refuse } from '../errors.js';
import { type FaultInjector, faultPoint } from '../faults.js';
import { FrameRuns } from '../memory/frame-runs.js';
import { type Operation, unstoppable } from '../operation.js';
import type { Rules } from '../rules.js';
import { doubleSpans } from '../spans.js';
import { byteLength, join } from '../u64.js';
import { chargePinned, creditUnpinned } from './accounting.js';
import { addToDomainsTree, removeFromDomainsTree } from './domains-tree.js';
import { flushDomains } from './flush.js';
import { giveBack, type ReadFrames, readFrames, readFromDomain, unpinFrames } from './frame-reader.js';
import type { IoptPages } from './iopt-pages.js';
import {
  indexInterval,
  iovaOfIndex,
  isPageAligned,
  lastIovaOfIndex,
  type MappedArea,
  pageCount,
} from './mapped-area.js';

/** How a table fills domains. */
export interface Filling {
  /** Whether frames go to a domain in runs, not one by one. */
  readonly largePages: boolean;
  readonly rules: Rules;
}

/**
 * Maps an area into domains that don't hold it yet, in their order.
 *
 * @throws what pinning throws, EINVAL if nobody may read or write the area and the rules want somebody who may, what a
 * domain's `map` or the locked-memory limit throws; domains, pins and account are as before.
 */
export function* fillDomains(
  area: MappedArea,
  pages: IoptPages,
  domains: readonly IommuDomain[],
  filling: Filling,
): Operation<void> {
  const read = yield* readFrames(pages, area.index, area.lastIndex);
  try {
    mapRead(area, pages, domains, filling, read);
  } catch (error) {
    yield* unstoppable(giveBack(pages, read), { error });
    throw error;
  }
}

/**
 * Maps frames that were read into domains, and charges those that were pinned for it.
 *
 * @throws as `fillDomains`, but for what pinning throws. No domain has them then, but they stay pinned:
 * `giveBack` is for the caller.
 */
export function mapRead(
  area: MappedArea,
  pages: IoptPages,
  domains: readonly IommuDomain[],
  { largePages, rules }: Filling,
  read: ReadFrames,
): void {
  if (area.prot === 0 && !rules.mapsWithoutPermission) {
    throw refuse('EINVAL', 'domain', 'a mapping that nobody may read or write cannot be in a domain');
  }
  let filled = 0;
  try {
    for (; filled < domains.length; filled++) {
      mapArea(domains[filled]!, area, read.frames, largePages, pages.faults);
    }
    chargePinned(pages);
  } catch (error) {
    read.unflushed = domains.slice(0, filled + 1);
    for (let at = 0; at < filled; at++) unmapArea(domains[at]!, area);
    throw error;
  }
}

/** Makes a domain the one that the area's frames are read back from. */
export function setStorageDomain(area: MappedArea, pages: IoptPages, domain: IommuDomain): void {
  area.storageDomain = domain;
  addToDomainsTree(pages, area);
}

/** Takes the area out of the domains tree of its pages. */
export function clearStorageDomain(area: MappedArea, pages: IoptPages): void {
  removeFromDomainsTree(pages, area);
  area.storageDomain = undefined;
}

/**
 * Unmaps an area from all domains of its table and unpins what nobody else holds, strictly after the domains were
 * flushed. Never fails.
 */
export function* unfillDomains(
  area: MappedArea,
  pages: IoptPages,
  domains: readonly IommuDomain[],
): Operation<void> {
  if (area.storageDomain === undefined) return;
  const released = emptyDomains(area, pages, domains);
  yield* flushDomains(domains);
  unpinReleased(pages, released);
}

/**
 * Unmaps an area, which has a storage domain, from all domains of its table, and gives the frames that nobody else
 * holds: they are to be unpinned when the domains have been flushed.
 *
 * @throws what a domain throws that has lost what it was given. The area stays, and says so again when it is asked to
 * go again.
 */
export function emptyDomains(area: MappedArea, pages: IoptPages, domains: readonly IommuDomain[]): FrameRuns {
  const storage = area.storageDomain!;
  for (const domain of domains) if (domain !== storage) unmapArea(domain, area);
  clearStorageDomain(area, pages);
  try {
    return emptyDomain(area, pages, storage);
  } catch (error) {
    setStorageDomain(area, pages, storage);
    throw error;
  }
}

/** Unmaps an area from the domain that held its frames, and gives those that no access and no other area holds. */
export function emptyDomain(area: MappedArea, pages: IoptPages, domain: IommuDomain): FrameRuns {
  const released = new FrameRuns();
  if (pages.accessTree === undefined && pages.domainsTree === undefined) {
    readFromDomain(area, domain, area.index, area.lastIndex, released);
  } else {
    const range = indexInterval(area.index, area.lastIndex);
    for (const span of doubleSpans(pages.accessTree, pages.domainsTree, range)) {
      if (span.used === 0) readFromDomain(area, domain, span.page, span.lastPage, released);
    }
  }
  unmapArea(domain, area);
  return released;
}

/** Unpins what nobody holds any more, and gives back what it was charged. Never fails. */
export function unpinReleased(pages: IoptPages, released: FrameRuns): void {
  unpinFrames(pages, released);
  creditUnpinned(pages);
}

/** Maps an area's frames into one domain; if a request fails, those before it are unmapped again. */
export function mapArea(
  domain: IommuDomain,
  area: MappedArea,
  frames: FrameRuns,
  largePages: boolean,
  faults: FaultInjector | undefined,
): void {
  if (domain.pages !== undefined && isPageAligned(area)) {
    if (largePages) {
      faultPoint(faults, 'domain-map');
      domain.pages.map(area.page, frames, 0, frames.frames, area.prot);
    } else mapPageByPage(domain, area, frames, faults);
    return;
  }
  let done = area.index;
  try {
    frames.forEachRun(0, frames.frames, (pfn, count, position) => {
      const step = largePages ? count : 1;
      for (let at = 0; at < count; at += step) {
        const index = area.index + position + at;
        faultPoint(faults, largePages ? 'domain-map' : 'domain-map-page');
        mapFrames(domain, area, index, pfn + at, step);
        done = index + step;
      }
    });
  } catch (error) {
    if (done > area.index) unmapIndexes(domain, area, area.index, done - 1);
    throw error;
  }
}

function mapPageByPage(
  domain: IommuDomain,
  area: MappedArea,
  frames: FrameRuns,
  faults: FaultInjector | undefined,
): void {
  const operations = domain.pages!;
  let done = 0;
  try {
    for (; done < frames.frames; done++) {
      faultPoint(faults, 'domain-map-page');
      operations.map(area.page + done, frames, done, 1, area.prot);
    }
  } catch (error) {
    if (done > 0) operations.unmap(area.page, done);
    throw error;
  }
}

function mapFrames(domain: IommuDomain, area: MappedArea, index: number, pfn: number, count: number): void {
  const first = iovaOfIndex(area, index);
  const last = lastIovaOfIndex(area, index + count - 1);
  const iova = join(first.page, first.offset);
  const size = join(last.page, last.offset) - iova + 1n;
  domain.map(iova, join(pfn, index === area.index ? area.pageOffset : 0), size, area.prot);
}

/** Unmaps the whole area from a domain, in one request. */
export function unmapArea(domain: IommuDomain, area: MappedArea): void {
  if (domain.pages !== undefined && isPageAligned(area)) domain.pages.unmap(area.page, pageCount(area));
  else domain.unmap(join(area.page, area.offset), byteLength(area));
}

function unmapIndexes(domain: IommuDomain, area: MappedArea, first: number, last: number): void {
  const from = iovaOfIndex(area, first);
  const to = lastIovaOfIndex(area, last);
  const iova = join(from.page, from.offset);
  domain.unmap(iova, join(to.page, to.offset) - iova + 1n);
}
