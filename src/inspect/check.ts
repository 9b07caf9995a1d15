/**
 * The invariants of a table, checked at a moment when no call is in progress.
 */
import type { IommuDomain } from '../domain/iommu-domain.js';
import { FrameRuns } from '../memory/frame-runs.js';
import { readFromDomain, readFromDomains } from '../pages/frame-reader.js';
import type { IoptPages } from '../pages/iopt-pages.js';
import { indexInterval, type MappedArea } from '../pages/mapped-area.js';
import { doubleSpans, spans } from '../spans.js';
import { ioPageSize, misalignedPart, requiredAlignment } from '../table/alignment.js';
import type { IoptArea } from '../table/iopt-area.js';
import { describeOwner } from '../table/reservations.js';
import type { TableState } from '../table/table-state.js';
import {
  between,
  contains,
  hex,
  hexRange,
  type Interval,
  intervalOf,
  lengthOf,
  MAX_U64,
  PAGE_MASK,
  PAGE_SIZE,
  split,
} from '../u64.js';

/** An invariant that does not hold: a defect of the library, or of a domain or memory it was given. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
  /** The broken invariant, in words that don't change. */
  readonly invariant: string;

  constructor(invariant: string, detail: string) {
    super(`invariant broken: ${invariant}: ${detail}`);
    this.invariant = invariant;
  }
}

/** Checks one table. @throws InvariantError */
export function checkTable(table: TableState): void {
  checkTables([table], false);
}

/**
 * Checks several tables together.
 *
 * @param all - the tables are all there are, so counts that go across tables must add up exactly
 * @throws InvariantError
 */
export function checkTables(tables: readonly TableState[], all = true): void {
  const areasByPages = new Map<IoptPages, IoptArea[]>();
  const bytesByDomain = new Map<IommuDomain, bigint>();
  for (const table of tables) {
    checkSpace(table);
    let bytes = 0n;
    for (const area of table.areas) {
      bytes += area.length;
      const pages = area.pages!;
      const sharing = areasByPages.get(pages);
      if (sharing === undefined) areasByPages.set(pages, [area]);
      else sharing.push(area);
    }
    for (const domain of table.domains) bytesByDomain.set(domain, bytes + (bytesByDomain.get(domain) ?? 0n));
  }
  for (const [pages, areas] of areasByPages) checkPages(pages, areas, all);
  if (!all) return;
  for (const [domain, bytes] of bytesByDomain) {
    const { mappedBytes = bytes } = domain;
    if (mappedBytes !== bytes) {
      broken('domains map the areas and nothing else', `${mappedBytes} bytes instead of ${bytes}`);
    }
  }
}

function broken(invariant: string, detail: string): never {
  throw new InvariantError(invariant, detail);
}

function checkSpace(table: TableState): void {
  for (const [name, tree] of [
    ['area', table.areas],
    ['reserved', table.reserved],
    ['allowed', table.allowed],
  ] as const) {
    try {
      tree.verify();
    } catch (error) {
      broken(`${name} tree is sound`, (error as Error).message);
    }
  }
  checkAlignmentOf(table);
  checkReservations(table);
  if (new Set(table.domains).size !== table.domains.length)
    broken('domains are distinct', 'one is there twice');
  for (const area of table.areas) {
    const lowest = table.areas.first(area)!.value;
    if (lowest !== area) broken('areas are disjoint', `${hexRange(lowest)} and ${hexRange(area)} overlap`);
    checkArea(table, area);
  }
}

function checkAlignmentOf(table: TableState): void {
  const required = requiredAlignment(table);
  if (table.alignment !== required) {
    broken('alignment is what domains, accesses and options demand', `${table.alignment}, not ${required}`);
  }
  if (required > PAGE_SIZE) broken('alignment is at most a page', `${required}`);
}

function checkReservations(table: TableState): void {
  for (let node = table.reserved.head(); node !== undefined; node = table.reserved.next(node)) {
    const area = table.areas.first(node);
    if (area !== undefined) broken('no area is reserved', `${hexRange(area)} meets ${hexRange(node)}`);
  }
  for (let node = table.allowed.head(); node !== undefined; node = table.allowed.next(node)) {
    const reserved = table.reserved.first(node);
    if (reserved !== undefined) {
      broken('nothing allowed is reserved', `${hexRange(node)} meets ${hexRange(reserved)}`);
    }
    if (table.allowed.nextIn(node, node) !== undefined || table.allowed.first(node) !== node) {
      broken('allowed ranges are disjoint', hexRange(node));
    }
  }
  for (const domain of table.domains) checkAperture(table, domain);
}

function checkAperture(table: TableState, domain: IommuDomain): void {
  const { start, last } = domain.aperture;
  if (start > 0n) checkReservedFor(table, domain, between(split(0n), split(start - 1n)));
  if (last < MAX_U64) checkReservedFor(table, domain, between(split(last + 1n), split(MAX_U64)));
}

function checkReservedFor(table: TableState, domain: IommuDomain, range: Interval): void {
  let node = table.reserved.first(range);
  while (node !== undefined && (node.value.owner !== domain || !contains(node, range))) {
    node = table.reserved.nextIn(node, range);
  }
  if (node === undefined) {
    broken('what lies outside an aperture is reserved', `${hexRange(range)} for ${describeOwner(domain)}`);
  }
}

function checkArea(table: TableState, area: IoptArea): void {
  const { pages } = area;
  const name = hexRange(area);
  if (pages === undefined) broken('areas have pages while no call is in progress', name);
  const shown = intervalOf({ page: area.index, offset: area.pageOffset }, lengthOf(area));
  if (shown === undefined || shown.lastPage !== area.lastIndex || area.lastIndex >= pages.npages) {
    broken('an area shows the page indexes its length implies', name);
  }
  // A copy of several areas may leave inner cuts that only the domains' io pages fit; the kernel lets it (spec Q1).
  const misfit = misalignedPart(area, Math.max(1, ...table.domains.map(ioPageSize)));
  if (misfit !== undefined) {
    broken('areas conform to the io pages of domains', `${misfit.what} ${hex(misfit.value)} of ${name}`);
  }
  if ((area.prot & 2) !== 0 && !pages.writable) broken('writable areas have writable pages', name);
  const storage = area.storageDomain;
  if (
    table.domains.length === 0
      ? storage !== undefined
      : storage === undefined || !table.domains.includes(storage)
  ) {
    broken('an area has a storage domain of its table exactly when the table has domains', name);
  }
  if (area.pins > 0 && !table.accesses.some((access) => access !== undefined)) {
    broken('pinned areas have an attached access', name);
  }
  checkTranslations(table, area);
}

/** All domains map the area, to the same frames and to the byte that it shows. */
function checkTranslations(table: TableState, area: IoptArea): void {
  if (area.storageDomain === undefined) return;
  const expected = framesOf(area, area.storageDomain);
  for (const domain of table.domains) {
    if (!sameFrames(framesOf(area, domain), expected)) {
      broken('all domains agree on the frames of an area', hexRange(area));
    }
    if (domain.iovaToPhys(area.lastIova) === undefined) broken('domains map every area', hexRange(area));
    const offset = domain.iovaToPhys(area.iova)! & BigInt(PAGE_MASK);
    if (offset !== BigInt(area.pageOffset)) broken('domains map the byte the area shows', hexRange(area));
  }
}

/** The frames of an area in a domain. */
function framesOf(area: IoptArea, domain: IommuDomain): FrameRuns {
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

function sameFrames(a: FrameRuns, b: FrameRuns): boolean {
  if (a.frames !== b.frames || a.runs !== b.runs) return false;
  for (let run = 0; run < a.runs; run++) {
    if (a.pfnOf(run) !== b.pfnOf(run) || a.countOf(run) !== b.countOf(run)) return false;
  }
  return true;
}

function checkPages(pages: IoptPages, areas: readonly IoptArea[], all: boolean): void {
  const name = `pages at ${hex(pages.uptr)}`;
  const exact = (actual: number, known: number) => (all ? actual === known : actual >= known);
  if (!exact(pages.references, areas.length)) {
    broken('references = areas', `${name}: ${pages.references} references, ${areas.length} areas`);
  }
  const stored = areas.filter((area) => area.storageDomain !== undefined);
  const inTree = new Set<MappedArea>(pages.domainsTree ?? []);
  if (!exact(inTree.size, stored.length) || stored.some((area) => !inTree.has(area))) {
    broken('the domains tree holds the areas with a storage domain', name);
  }
  for (const area of stored) {
    const node = area.storageNode!;
    if (node.page !== area.index || node.lastPage !== area.lastIndex) {
      broken('the domains tree is keyed by page index', name);
    }
  }
  let users = 0;
  for (const access of pages.accessTree ?? []) {
    if (access.users < 1) broken('every pinned interval has a user', name);
    users += access.users;
  }
  const pins = areas.reduce((sum, area) => sum + area.pins, 0);
  if (!exact(users, pins))
    broken('pins of areas = users of pinned intervals', `${name}: ${pins} and ${users}`);
  checkPinned(pages, name);
  checkFrames(pages, stored, name);
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
  if (pages.lastNpinned !== pages.npinned && !(pages.mode === 'mm' && pages.memory.exited)) {
    broken('what is pinned is accounted for', name);
  }
}
