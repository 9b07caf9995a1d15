/**
 * The invariants of shared pages: who holds them, what is pinned, and that all who hold a page have the same frame.
 */
import type { IommuDomain } from '../domain/iommu-domain.js';
import { FrameRuns } from '../memory/frame-runs.js';
import type { LockedMemory } from '../memory/locked-memory.js';
import type { PinRecord } from '../memory/user-memory.js';
import { readFromDomain, readFromDomains } from '../pages/frame-reader.js';
import type { IoptPages } from '../pages/iopt-pages.js';
import { indexInterval } from '../pages/mapped-area.js';
import { doubleSpans, spans } from '../spans.js';
import type { IoptArea } from '../table/iopt-area.js';
import { hex, hexRange } from '../u64.js';
import { broken, checkTree } from './invariant.js';

/** Frames of a run that is not looked through one by one. */
const LONG_RUN = 4096;

/** The frames of an area in a domain. */
export function framesOf(area: IoptArea, domain: IommuDomain): FrameRuns {
  return framesHeld(hexRange(area), (into) => readFromDomain(area, domain, area.index, area.lastIndex, into));
}

/** Frames as domains hold them. */
function framesHeld(name: string, read: (into: FrameRuns) => void): FrameRuns {
  const frames = new FrameRuns();
  try {
    read(frames);
  } catch (error) {
    broken('domains map every area', `${name}: ${(error as Error).message}`);
  }
  return frames;
}

/** Whether two lists have the same frames. */
export function sameFrames(a: FrameRuns, b: FrameRuns): boolean {
  if (a.frames !== b.frames || a.runs !== b.runs) return false;
  for (let run = 0; run < a.runs; run++) {
    if (a.pfnOf(run) !== b.pfnOf(run) || a.countOf(run) !== b.countOf(run)) return false;
  }
  return true;
}

/**
 * Checks shared pages.
 *
 * @param areas - the areas that show them
 * @param all - there are no other areas that do
 * @throws InvariantError
 */
export function checkPages(pages: IoptPages, areas: readonly IoptArea[], all: boolean): void {
  const name = `pages at ${hex(pages.addressOf(0, 0))}`;
  const exact = (actual: number, known: number) => (all ? actual === known : actual >= known);
  if (!pages.mutex.free)
    broken('locks are free while no call is in progress', `the mutex of ${name} is held`);
  checkTree('domains tree of pages', pages.domainsTree);
  checkTree('access tree of pages', pages.accessTree);
  checkTree('pinned store of pages', pages.store);
  if (!exact(pages.references, areas.length)) {
    broken('references = areas', `${name}: ${pages.references} references, ${areas.length} areas`);
  }
  const stored = areas.filter((area) => area.storageDomain !== undefined);
  const tree = pages.domainsTree;
  if (!exact(tree?.size ?? 0, stored.length) || stored.some((area) => !isInTree(area, pages))) {
    broken('the domains tree holds the areas with a storage domain', name);
  }
  for (const area of stored) {
    const node = area.storageNode!;
    if (node.page !== area.index || node.lastPage !== area.lastIndex) {
      broken('the domains tree is keyed by page index', name);
    }
  }
  const intervals = new Set<string>();
  let users = 0;
  for (let node = pages.accessTree?.head(); node !== undefined; node = pages.accessTree?.next(node)) {
    if (node.value.users < 1) broken('every pinned interval has a user', name);
    users += node.value.users;
    const interval = hexRange(node);
    if (intervals.has(interval)) broken('pinned intervals are distinct', `${name}: ${interval}`);
    intervals.add(interval);
  }
  const pins = areas.reduce((sum, area) => sum + area.pins, 0);
  if (!exact(users, pins))
    broken('pins of areas = users of pinned intervals', `${name}: ${pins} and ${users}`);
  if (pages.dmaBuf !== undefined) {
    if (users > 0 || pages.npinned > 0 || pages.store !== undefined)
      broken('a dma-buf is never pinned', name);
    return;
  }
  checkPinned(pages, name);
  checkFrames(pages, stored, name);
  checkPins(pages, name);
}

function isInTree(area: IoptArea, pages: IoptPages): boolean {
  const tree = pages.domainsTree;
  const { storageNode } = area;
  if (tree === undefined || storageNode === undefined) return false;
  let node = tree.first(storageNode);
  while (node !== undefined && node !== storageNode) node = tree.nextIn(node, storageNode);
  return node?.value === area;
}

/** What counts as pinned here is pinned where the frames are. */
function checkPins(pages: IoptPages, name: string): void {
  const { store } = pages;
  const { pinRecord } = pages.holder;
  if (pinRecord === undefined) return;
  const frames = new FrameRuns();
  const whole = indexInterval(0, pages.npages - 1);
  for (const span of doubleSpans(pages.accessTree, pages.domainsTree, whole)) {
    if (span.used === 1) store?.read(span.page, span.lastPage, frames);
    if (span.used === 2) readFromDomains(pages, span.page, span.lastPage, frames);
  }
  for (let run = 0; run < frames.runs; run++) {
    const [first, count] = [frames.pfnOf(run), frames.countOf(run)];
    // Pins come and go in whole runs: of a long one the ends tell.
    const step = count > LONG_RUN ? count - 1 : 1;
    for (let at = 0; at < count; at += step) {
      if (pinRecord.pins(first + at) === 0) {
        broken('what is pinned is pinned in memory', `${name}: frame ${first + at}`);
      }
    }
  }
}

/**
 * Checks the locked-memory counters and the pins of memory against what pages say.
 *
 * @param alone - nobody else pins the memory or is charged for it
 * @throws InvariantError
 */
export function checkCharges(all: Iterable<IoptPages>, alone: boolean): void {
  const charged = new Map<LockedMemory['counter'], { of: LockedMemory['of']; pages: number }>();
  const pinned = new Map<PinRecord, number>();
  for (const pages of all) {
    const { account, lastNpinned, npinned } = pages;
    if (account !== undefined) {
      const { counter, of } = account;
      charged.set(counter, { of, pages: (charged.get(counter)?.pages ?? 0) + lastNpinned });
    }
    if (pages.dmaBuf !== undefined) continue;
    const { pinRecord } = pages.holder;
    if (pinRecord !== undefined) pinned.set(pinRecord, (pinned.get(pinRecord) ?? 0) + npinned);
  }
  const fits = (actual: number, known: number) => (alone ? actual === known : actual >= known);
  for (const [counter, { of, pages }] of charged) {
    if (!fits(counter.pages, pages)) {
      broken(
        'charged = accounted for',
        `${counter.pages} pages are charged to the ${of}, ${pages} accounted for`,
      );
    }
  }
  for (const [pinRecord, pages] of pinned) {
    if (!fits(pinRecord.pinned, pages)) {
      broken('the pins of memory = what is pinned', `${pinRecord.pinned} pins, ${pages} pages pinned`);
    }
  }
}

/** Whoever holds a page, a domain or the pinned store, has the same frame for it. */
function checkFrames(pages: IoptPages, stored: readonly IoptArea[], name: string): void {
  for (const area of stored) {
    const shared = framesHeld(name, (into) => readFromDomains(pages, area.index, area.lastIndex, into));
    if (!sameFrames(framesOf(area, area.storageDomain!), shared)) {
      broken('all areas agree on the frames of their pages', name);
    }
  }
  for (const { first, frames } of pages.store?.segments() ?? []) {
    for (const span of spans(pages.domainsTree, indexInterval(first, first + frames.frames - 1))) {
      if (!span.used) continue;
      const held = framesHeld(name, (into) => readFromDomains(pages, span.page, span.lastPage, into));
      if (!sameFrames(frames.slice(span.page - first, held.frames), held)) {
        broken('the pinned store agrees with the domains', name);
      }
    }
  }
}

function checkPinned(pages: IoptPages, name: string): void {
  const whole = indexInterval(0, pages.npages - 1);
  let stored = 0;
  for (const { frames } of pages.store?.segments() ?? []) stored += frames.frames;
  let pinnedByAccess = 0;
  if (pages.accessTree !== undefined) {
    for (const span of spans(pages.accessTree, whole)) {
      if (!span.used) continue;
      const count = span.lastPage - span.page + 1;
      pinnedByAccess += count;
      const frames = new FrameRuns();
      pages.store?.read(span.page, span.lastPage, frames);
      if (frames.frames !== count) broken('the pinned store holds what accesses cover', name);
    }
  }
  if (stored !== pinnedByAccess) broken('the pinned store holds nothing else', name);
  let pinned = 0;
  for (const span of doubleSpans(pages.accessTree, pages.domainsTree, whole)) {
    if (span.used !== 0) pinned += span.lastPage - span.page + 1;
  }
  if (pages.npinned !== pinned)
    broken('pinned = covered by accesses and domains', `${name}: ${pages.npinned}, not ${pinned}`);
  if (pages.lastNpinned !== pages.npinned && !(pages.mode === 'mm' && pages.owner?.exited)) {
    broken('what is pinned is accounted for', name);
  }
}
