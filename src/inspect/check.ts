/**
 * The invariants of a table, checked at a moment when no call is in progress.
 */
import { IoptAccess } from '../access/iopt-access.js';
import type { IommuDomain } from '../domain/iommu-domain.js';
import type { TreeNode } from '../interval-tree.js';
import { FrameRuns } from '../memory/frame-runs.js';
import type { DmaBufEntries } from '../pages/dma-buf-entries.js';
import type { IoptPages } from '../pages/iopt-pages.js';
import { isPageAligned } from '../pages/mapped-area.js';
import { ioPageSize, misalignedPart, requiredAlignment } from '../table/alignment.js';
import type { IoptArea } from '../table/iopt-area.js';
import { describeOwner } from '../table/reservations.js';
import type { Reservation, TableState } from '../table/table-state.js';
import {
  between,
  compare,
  contains,
  hex,
  hexRange,
  type Interval,
  intervalOf,
  lastOf,
  lengthOf,
  MAX_U64,
  PAGE_MASK,
  PAGE_SIZE,
  split,
} from '../u64.js';
import { checkCharges, checkPages, framesOf, sameFrames } from './check-pages.js';
import { broken, checkTree } from './invariant.js';

export { InvariantError } from './invariant.js';

/** Checks one table. @throws InvariantError */
export function checkTable(table: TableState): void {
  checkTables([table], false);
}

/**
 * Checks several tables together.
 *
 * @param all - the tables are all there are, so counts that go across tables must add up exactly
 * @param alone - besides, nobody else pins their memory or is charged for it
 * @throws InvariantError
 */
export function checkTables(tables: readonly TableState[], all = true, alone = false): void {
  const areasByPages = new Map<IoptPages, IoptArea[]>();
  const bytesByDomain = new Map<IommuDomain, bigint>();
  for (const table of tables) {
    checkSpace(table);
    let bytes = 0n;
    for (const area of table.areas) {
      if (area.pages?.dmaBuf?.revoked !== true) bytes += area.length;
      const pages = area.pages!;
      const sharing = areasByPages.get(pages);
      if (sharing === undefined) areasByPages.set(pages, [area]);
      else sharing.push(area);
    }
    for (const domain of table.domains) bytesByDomain.set(domain, bytes + (bytesByDomain.get(domain) ?? 0n));
  }
  for (const [pages, areas] of areasByPages) checkPages(pages, areas, all);
  for (const [dmaBuf, entries] of entriesOfDmaBufs(tables)) {
    if (all ? dmaBuf.size !== entries : dmaBuf.size < entries) {
      broken('domains have entries of a dma-buf until it is revoked', `${dmaBuf.size}, not ${entries}`);
    }
  }
  checkCharges(areasByPages.keys(), alone);
  if (!all) return;
  for (const [domain, bytes] of bytesByDomain) {
    const { mappedBytes = bytes } = domain;
    if (mappedBytes !== bytes) {
      broken('domains map the areas and nothing else', `${mappedBytes} bytes instead of ${bytes}`);
    }
  }
}

/** How many areas of dma-bufs, all domains together, are mapped. */
function entriesOfDmaBufs(tables: readonly TableState[]): Map<DmaBufEntries, number> {
  const entries = new Map<DmaBufEntries, number>();
  for (const { areas, domains } of tables) {
    for (const { pages } of areas) {
      const dmaBuf = pages?.dmaBuf;
      if (dmaBuf === undefined) continue;
      entries.set(dmaBuf, (entries.get(dmaBuf) ?? 0) + (dmaBuf.revoked ? 0 : domains.length));
    }
  }
  return entries;
}

function checkSpace(table: TableState): void {
  checkQuiet(table);
  checkTree('area tree', table.areas);
  checkTree('reserved tree', table.reserved);
  checkTree('allowed tree', table.allowed);
  checkAlignmentOf(table);
  checkReservations(table);
  if (new Set(table.domains).size !== table.domains.length)
    broken('domains are distinct', 'one is there twice');
  checkAccesses(table);
  for (let node = table.areas.head(); node !== undefined; node = table.areas.next(node)) {
    const area = node.value;
    const lowest = table.areas.first(node)!;
    if (lowest !== node) broken('areas are disjoint', `${hexRange(lowest)} and ${hexRange(node)} overlap`);
    if (area.node !== node || !contains(area, node) || !contains(node, area)) {
      broken('areas are where the tree has them', `${hexRange(area)} is at ${hexRange(node)}`);
    }
    checkArea(table, area);
  }
}

/** A call that has ended holds nothing any more. */
function checkQuiet(table: TableState): void {
  if (!table.domainsLock.free || !table.iovaLock.free) {
    broken('locks are free while no call is in progress', 'a lock of the table is held');
  }
  if (table.asking.size > 0) {
    broken('no access is asked to let go while no call is in progress', `${table.asking.size} areas`);
  }
}

function checkAccesses(table: TableState): void {
  const accesses = table.accesses.filter((access) => access !== undefined);
  if (new Set(accesses).size !== accesses.length) broken('accesses are distinct', 'one is there twice');
  for (const access of accesses) {
    if (access instanceof IoptAccess && access.table?.state !== table) {
      broken('accesses are attached to their table', 'one is attached to another, or to none');
    }
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
    checkOwner(table, node);
  }
  for (let node = table.allowed.head(); node !== undefined; node = table.allowed.next(node)) {
    const reserved = table.reserved.first(node);
    if (reserved !== undefined) {
      broken('nothing allowed is reserved', `${hexRange(node)} meets ${hexRange(reserved)}`);
    }
    if (compare(node, lastOf(node)) >= 0) {
      broken('allowed ranges have at least two bytes', hexRange(node));
    }
    if (table.allowed.nextIn(node, node) !== undefined || table.allowed.first(node) !== node) {
      broken('allowed ranges are disjoint', hexRange(node));
    }
  }
  for (const domain of table.domains) checkAperture(table, domain);
}

/** What was reserved around the aperture of a domain goes with the domain. */
function checkOwner(table: TableState, node: TreeNode<Reservation>): void {
  const { owner } = node.value;
  if (!isDomain(owner) || table.domains.includes(owner)) return;
  if (outsideAperture(owner).some((range) => contains(range, node) && contains(node, range))) {
    broken('what lies outside an aperture is reserved for attached domains only', hexRange(node));
  }
}

function isDomain(owner: object | null): owner is IommuDomain {
  return owner !== null && 'aperture' in owner && 'iovaToPhys' in owner;
}

function checkAperture(table: TableState, domain: IommuDomain): void {
  for (const range of outsideAperture(domain)) checkReservedFor(table, domain, range);
}

function outsideAperture(domain: IommuDomain): Interval[] {
  const { start, last } = domain.aperture;
  const ranges: Interval[] = [];
  if (start > 0n) ranges.push(between(split(0n), split(start - 1n)));
  if (last < MAX_U64) ranges.push(between(split(last + 1n), split(MAX_U64)));
  return ranges;
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
  // A copy of several areas may leave inner cuts that only the domains' io pages fit; the kernel lets it.
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
  if (area.locks > area.pins) broken('locks are pins', name);
  if (area.pins > 0 && !table.accesses.some((access) => access !== undefined)) {
    broken('pinned areas have an attached access', name);
  }
  checkTranslations(table, area);
}

/** All domains map the area, to the same frames and to the bytes that it shows. */
function checkTranslations(table: TableState, area: IoptArea): void {
  if (area.storageDomain === undefined) return;
  const dmaBuf = area.pages?.dmaBuf;
  if (dmaBuf !== undefined) {
    for (const domain of table.domains) checkDmaBuf(area, domain, dmaBuf);
    return;
  }
  const expected = framesOf(area, area.storageDomain);
  for (const domain of table.domains) {
    if (!sameFrames(framesOf(area, domain), expected)) {
      broken('all domains agree on the frames of an area', hexRange(area));
    }
    checkBytes(area, domain);
  }
}

/** A domain maps the frames of a dma-buf, until they are revoked: then it maps nothing. */
function checkDmaBuf(area: IoptArea, domain: IommuDomain, dmaBuf: DmaBufEntries): void {
  const name = hexRange(area);
  const { revoked, buffer } = dmaBuf;
  if (dmaBuf.has(area, domain) === revoked)
    broken('domains have entries of a dma-buf until it is revoked', name);
  if (revoked) {
    for (const at of [area.iova, area.lastIova]) {
      if (domain.iovaToPhys(at) !== undefined) broken('domains map nothing of a revoked dma-buf', name);
    }
    return;
  }
  const frames = new FrameRuns();
  const { firstPage } = area.pages!;
  frames.push(buffer.pfn + firstPage + area.index, area.lastIndex - area.index + 1);
  if (!sameFrames(framesOf(area, domain), frames)) broken('domains map the frames of a dma-buf', name);
  checkBytes(area, domain);
}

/** Where frames were read one by one, a frame may be mapped from another byte on, or not to its end. */
function checkBytes(area: IoptArea, domain: IommuDomain): void {
  const { iova, lastIova, length } = area;
  const byPage = domain.pages !== undefined && isPageAligned(area);
  const step = byPage ? length : BigInt(ioPageSize(domain));
  const toByte = BigInt(area.pageOffset) - iova;
  const check = (at: bigint) => {
    const physical = domain.iovaToPhys(at);
    if (physical === undefined)
      return broken('domains map every area', `${hex(split(at))} in ${hexRange(area)}`);
    if (((physical ^ (at + toByte)) & BigInt(PAGE_MASK)) === 0n) return undefined;
    return broken('domains map the byte the area shows', `${hex(split(at))} in ${hexRange(area)}`);
  };
  for (let at = iova; at <= lastIova; at += step) check(at);
  check(lastIova);
}
