/**
 * Filling domains with an area's frames, and emptying them again.
 *
 * All functions are called with the pages' mutex held.
 */
import type { IommuDomain } from '../domain/iommu-domain.js';
import { refuse } from '../errors.js';
import { FrameRuns } from '../memory/frame-runs.js';
import { type Operation, unstoppable } from '../operation.js';
import type { Rules } from '../rules.js';
import { doubleSpans } from '../spans.js';
import { chargePinned, creditUnpinned } from './accounting.js';
import { addToDomainsTree, removeFromDomainsTree } from './domains-tree.js';
import { flushDomains } from './flush.js';
import { giveBack, type ReadFrames, readFrames, readFromDomain, unpinFrames } from './frame-reader.js';
import type { IoptPages } from './iopt-pages.js';
import { indexInterval, type MappedArea } from './mapped-area.js';
import { mapArea, unmapArea } from './translations.js';

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
      enterArea(area, pages, domains[filled]!, largePages, read.frames);
    }
    chargePinned(pages);
  } catch (error) {
    read.unflushed = domains.slice(0, filled + 1);
    for (let at = 0; at < filled; at++) leaveArea(area, pages, domains[at]!);
    throw error;
  }
}

/** Enters frames of an area, all of them, into one domain. @throws what the domain's `map` throws; it has none then */
export function enterArea(
  area: MappedArea,
  pages: IoptPages,
  domain: IommuDomain,
  largePages: boolean,
  frames: FrameRuns,
): void {
  if (pages.dmaBuf === undefined) mapArea(domain, area, frames, largePages, pages.faults);
  else pages.dmaBuf.enter(area, domain, frames, largePages, pages.faults);
}

/** Takes an area out of one domain, that has its frames unless they were revoked. */
export function leaveArea(area: MappedArea, pages: IoptPages, domain: IommuDomain): void {
  if (pages.dmaBuf === undefined) unmapArea(domain, area);
  else pages.dmaBuf.leave(area, domain);
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
  for (const domain of domains) if (domain !== storage) leaveArea(area, pages, domain);
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
  if (pages.dmaBuf !== undefined) {
    pages.dmaBuf.leave(area, domain);
    return released;
  }
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
