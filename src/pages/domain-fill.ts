/**
 * Filling domains with an area's frames, and emptying them again.
 *
 * All functions are called with the pages' mutex held.
 */
import type { IommuDomain } from '../domain/iommu-domain.js';
import { type FaultInjector, faultPoint } from '../faults.js';
import { FrameRuns } from '../memory/frame-runs.js';
import { isThenable, mustWait, type Operation } from '../operation.js';
import { doubleSpans } from '../spans.js';
import { byteLength, join } from '../u64.js';
import { chargePinned, creditUnpinned } from './accounting.js';
import { addToDomainsTree, removeFromDomainsTree } from './domains-tree.js';
import { ReadFrames, readFrames, readFromDomain, releaseFresh, unpinFrames } from './frame-reader.js';
import type { IoptPages } from './iopt-pages.js';
import {
  indexInterval,
  iovaOfIndex,
  isPageAligned,
  lastIovaOfIndex,
  type MappedArea,
  pageCount,
} from './mapped-area.js';

/**
 * Maps an area into domains that don't hold it yet, in their order. Gives an operation to be run instead if the
 * memory makes it wait.
 *
 * @throws what pinning, a domain's `map` or the locked-memory limit throws; domains, pins and account are as before.
 */
export function fillDomains(
  area: MappedArea,
  pages: IoptPages,
  domains: readonly IommuDomain[],
  largePages: boolean,
): Operation<void> | undefined {
  const reading = readFrames(pages, area.index, area.lastIndex);
  if (!(reading instanceof ReadFrames)) return fillAfter(reading, area, pages, domains, largePages);
  return mapRead(area, pages, domains, largePages, reading);
}

function* fillAfter(
  reading: Operation<ReadFrames>,
  area: MappedArea,
  pages: IoptPages,
  domains: readonly IommuDomain[],
  largePages: boolean,
): Operation<void> {
  const undoing = mapRead(area, pages, domains, largePages, yield* reading);
  if (undoing !== undefined) yield* undoing;
}

/** Maps what was read. Gives an operation that fails if it has to wait for devices to undo it. */
function mapRead(
  area: MappedArea,
  pages: IoptPages,
  domains: readonly IommuDomain[],
  largePages: boolean,
  read: ReadFrames,
): Operation<void> | undefined {
  let filled = 0;
  try {
    for (; filled < domains.length; filled++) {
      mapArea(domains[filled]!, area, read.frames, largePages, pages.faults);
    }
    chargePinned(pages);
    return undefined;
  } catch (error) {
    let flushing: Operation<void> | undefined;
    try {
      for (let at = 0; at < filled; at++) unmapArea(domains[at]!, area);
      flushing = flushDomains(domains.slice(0, filled + 1));
    } finally {
      if (flushing === undefined) releaseFresh(pages, read);
    }
    if (flushing !== undefined) return failAfter(flushing, pages, read, error);
    throw error;
  }
}

function* failAfter(
  flushing: Operation<void>,
  pages: IoptPages,
  read: ReadFrames,
  error: unknown,
): Operation<void> {
  yield* flushing;
  releaseFresh(pages, read);
  throw error;
}

/**
 * Waits until no device uses what was unmapped from domains. Gives an operation if that takes a wait; it cannot be
 * stopped, as what was unmapped is gone.
 */
export function flushDomains(domains: readonly IommuDomain[]): Operation<void> | undefined {
  let flushes: PromiseLike<void>[] | undefined;
  for (const domain of domains) {
    if (domain.flush === undefined) continue;
    const answer = flush(domain);
    if (isThenable(answer)) flushes = [...(flushes ?? []), answer];
  }
  return flushes && flushed(flushes);
}

/** A flush that throws is one that rejects: what was unmapped is gone, and may be in use. */
function flush(domain: IommuDomain): PromiseLike<void> | void {
  try {
    return domain.flush?.();
  } catch (error) {
    return Promise.reject(error);
  }
}

function* flushed(flushes: readonly PromiseLike<void>[]): Operation<void> {
  yield mustWait(() => Promise.all(flushes));
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
 * Unmaps an area from all domains of its table and unpins what nobody else holds. Never fails. Gives an operation that
 * does the rest if devices make it wait.
 */
export function unfillDomains(
  area: MappedArea,
  pages: IoptPages,
  domains: readonly IommuDomain[],
): Operation<void> | undefined {
  const storage = area.storageDomain;
  if (storage === undefined) return undefined;
  for (const domain of domains) if (domain !== storage) unmapArea(domain, area);
  clearStorageDomain(area, pages);
  try {
    return unfillDomain(area, pages, storage, domains);
  } catch (error) {
    // A domain that has lost what it was given: the area stays, and says so again when it is asked to go again.
    setStorageDomain(area, pages, storage);
    throw error;
  }
}

/**
 * Unmaps an area from one domain and unpins every index that neither an access nor another area with a domain
 * covers, strictly after its unmap and the flush of the domains that it was unmapped from. Never fails. Gives an
 * operation that does the rest if devices make it wait.
 */
export function unfillDomain(
  area: MappedArea,
  pages: IoptPages,
  domain: IommuDomain,
  unmappedFrom: readonly IommuDomain[],
): Operation<void> | undefined {
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
  const flushing = flushDomains(unmappedFrom);
  if (flushing !== undefined) return unpinAfter(flushing, pages, released);
  unpin(pages, released);
  return undefined;
}

function* unpinAfter(flushing: Operation<void>, pages: IoptPages, released: FrameRuns): Operation<void> {
  yield* flushing;
  unpin(pages, released);
}

function unpin(pages: IoptPages, released: FrameRuns): void {
  unpinFrames(pages, released);
  creditUnpinned(pages);
}

/** Maps an area's frames into one domain; if a request fails, those before it are unmapped again. */
function mapArea(
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
