/**
 * `unmap`: whole areas out of a table, asking accesses to let go first.
 */
import type { IommuDomain } from '../domain/iommu-domain.js';
import { IommuError, notMapped, refuse } from '../errors.js';
import type { TreeNode } from '../interval-tree.js';
import {
  guarded,
  hasToWait,
  isThenable,
  mustWait,
  type Operation,
  type Outcome,
  rest,
} from '../operation.js';
import { unfillDomains } from '../pages/domain-fill.js';
import type { IoptPages } from '../pages/iopt-pages.js';
import {
  type Address,
  between,
  compare,
  contains,
  firstOf,
  type Interval,
  join,
  LAST_PAGE,
  lastOf,
  MAX_U64,
  next,
  PAGE_MASK,
  PAGE_SIZE,
} from '../u64.js';
import { describeArea, type IoptArea } from './iopt-area.js';
import { readDomainsWriteIova, tryReadDomainsWriteIova } from './table-locks.js';
import type { TableState } from './table-state.js';

/** How often the accesses are asked to let go before an unmap gives up. */
const MOST_NOTIFICATIONS = 100;

/** An unmap in progress. */
interface Unmapping {
  readonly table: TableState;
  readonly last: Address;
  /** Where to go on. */
  start: Address;
  /** What was unmapped so far. */
  pages: number;
  bytes: number;
  /** How often the accesses were asked to let go of the area at `start`. */
  tries: number;
}

/**
 * Unmaps all areas inside a range and gives their bytes together. Areas go in ascending order, and stay gone when
 * a later one fails.
 *
 * @throws EBUSY at an area that another call sets up or tears down, ENOENT at one that reaches outside the
 * range, EDEADLOCK if accesses don't let go, EBUSY where they are not asked to; `unmapped` of the error has the bytes so
 * far.
 */
export function unmapRange(table: TableState, range: Interval): Outcome<bigint> {
  const unmapping = { table, last: lastOf(range), start: firstOf(range), pages: 0, bytes: 0, tries: 0 };
  return guarded(
    () => (tryReadDomainsWriteIova(table) ? unmapAreas(unmapping) : waitToUnmap(unmapping)),
    (error) => {
      if (error instanceof IommuError) error.unmapped = bytesOf(unmapping);
      return error;
    },
  );
}

function* waitToUnmap(unmapping: Unmapping): Operation<bigint> {
  yield* readDomainsWriteIova(unmapping.table);
  return yield* rest(unmapAreas(unmapping));
}

/** Goes on from `start`. Both locks are held, and given back. */
function unmapAreas(unmapping: Unmapping): Outcome<bigint> {
  const { table, last } = unmapping;
  let handedOn = false;
  try {
    for (;;) {
      const area = table.areas.first(between(unmapping.start, last))?.value;
      if (area === undefined) return bytesOf(unmapping);
      checkRemovable(area, unmapping.start, last);
      if (compare(area, unmapping.start) !== 0) unmapping.tries = 0;
      if (area.pins > 0) {
        if (!table.rules.asksToLetGo) throw inUse(area);
        unmapping.start = firstOf(area);
        area.preventAccess = true;
        return waitForAccesses(unmapping, area);
      }
      const removing = tearDown(table, area);
      if (hasToWait(removing)) {
        handedOn = true;
        return unmapRest(unmapping, area, removing);
      }
      if (book(unmapping, area)) return bytesOf(unmapping);
    }
  } finally {
    if (!handedOn) unlock(table);
  }
}

/** Books a removed area; whether it was the last one there can be. */
function book(unmapping: Unmapping, area: IoptArea): boolean {
  unmapping.pages += area.lastPage - area.page;
  unmapping.bytes += area.lastOffset + 1 - area.offset;
  if (compare(lastOf(area), unmapping.last) >= 0) return true;
  unmapping.start = next(lastOf(area))!;
  return false;
}

function bytesOf({ pages, bytes }: Unmapping): bigint {
  const page = pages + Math.floor(bytes / PAGE_SIZE);
  return page > LAST_PAGE ? MAX_U64 + 1n : join(page, bytes & PAGE_MASK);
}

function* unmapRest(unmapping: Unmapping, area: IoptArea, removing: Operation<void>): Operation<bigint> {
  const { table } = unmapping;
  let over = true;
  try {
    yield* removing;
    over = book(unmapping, area);
  } finally {
    if (over) unlock(table);
  }
  return over ? bytesOf(unmapping) : yield* rest(unmapAreas(unmapping));
}

/** Has the accesses let go of an area, and goes on with it. No lock is held when this runs. */
function* waitForAccesses(unmapping: Unmapping, area: IoptArea): Operation<bigint> {
  yield* askToLetGo(unmapping.table, area);
  unmapping.tries += 1;
  if (unmapping.tries > MOST_NOTIFICATIONS) throw stillInUse(area);
  return yield* tryReadDomainsWriteIova(unmapping.table)
    ? rest(unmapAreas(unmapping))
    : waitToUnmap(unmapping);
}

/**
 * Unmaps the one area that a range is exactly.
 *
 * @throws ENOENT if there is none; else as `unmapRange`
 */
export function* unmapExactly(table: TableState, range: Interval): Operation<bigint> {
  if (!tryReadDomainsWriteIova(table)) yield* readDomainsWriteIova(table);
  let exact = false;
  try {
    checkExact(table, range);
    exact = true;
  } finally {
    if (!exact) unlock(table);
  }
  const last = lastOf(range);
  return yield* rest(unmapAreas({ table, last, start: firstOf(range), pages: 0, bytes: 0, tries: 0 }));
}

function checkExact(table: TableState, range: Interval): void {
  const area = table.areas.first(range)?.value;
  if (area?.pages === undefined) throw notMapped(range);
  if (!contains(area, range) || !contains(range, area)) {
    throw new IommuError('ENOENT', { check: 'not-exact', area: describeArea(area) });
  }
}

/**
 * Unmaps for a caller that cannot wait.
 *
 * @throws EAGAIN if an area in the range is pinned by an access, its pages are busy, or a device may be using it, with
 * nothing changed; else as `unmap`
 */
export function unmapNow(
  table: TableState,
  range: Interval,
  unmap: (table: TableState, range: Interval) => Outcome<bigint>,
): Outcome<bigint> {
  const over = prepareUnmapNow(table, range);
  return over === undefined ? unmap(table, range) : unmapHidden(() => unmap(table, range), over);
}

function* unmapHidden(unmap: () => Outcome<bigint>, over: () => void): Operation<bigint> {
  try {
    return yield* rest(unmap());
  } finally {
    over();
  }
}

/**
 * Prepares an unmap whose caller cannot wait: takes what will be unmapped away from devices that run at the same time.
 * Gives what to call when the unmap is over, if anything. Nothing has changed if it fails.
 */
function prepareUnmapNow(table: TableState, range: Interval): (() => void) | undefined {
  let first: IoptArea | undefined;
  let last: IoptArea | undefined;
  let node: TreeNode<IoptArea> | undefined = table.areas.first(range);
  for (; node !== undefined; node = table.areas.nextIn(node, range)) {
    const area = node.value;
    const { pages } = area;
    // The unmap ends at such an area without a wait, with an errno of its own.
    if (pages === undefined || !contains(range, area)) break;
    if (area.pins > 0 && !table.rules.asksToLetGo) break;
    if (area.pins > 0 || !pages.mutex.free) throw inUseNow('in use');
    first ??= area;
    last = area;
  }
  if (first === undefined || last === undefined) return undefined;
  for (const domain of table.domains) {
    if (domain.flush !== undefined) return hideFromDevices(table.domains, firstOf(first), lastOf(last));
  }
  return undefined;
}

function hideFromDevices(domains: readonly IommuDomain[], first: Address, last: Address): () => void {
  const shows: (() => void)[] = [];
  try {
    for (const domain of domains)
      if (domain.flush !== undefined) shows.push(hideFromDevice(domain, first, last));
  } catch (error) {
    showAll(shows);
    throw error;
  }
  return () => showAll(shows);
}

function showAll(shows: readonly (() => void)[]): void {
  for (const show of shows) show();
}

/** @throws EAGAIN if the device may be using the range, what the domain throws */
function hideFromDevice(domain: IommuDomain, first: Address, last: Address): () => void {
  if (domain.hide !== undefined) {
    const show = domain.hide(join(first.page, first.offset), join(last.page, last.offset));
    if (show === undefined) throw inUseNow('used by a device');
    return show;
  }
  const flushed = domain.flush?.();
  if (!isThenable(flushed)) return () => undefined;
  // What comes of it is nobody's concern: nothing was unmapped, and nothing will be.
  flushed.then(undefined, () => undefined);
  throw inUseNow('used by a device');
}

function inUseNow(how: string): IommuError {
  return refuse('EAGAIN', 'would-wait', `an area in the range is ${how}; unmapping it has to wait`);
}

function unlock(table: TableState): void {
  table.iovaLock.releaseWrite();
  table.domainsLock.releaseRead();
}

function checkRemovable(area: IoptArea, start: Address, last: Address): void {
  checkSettled(area);
  if (compare(area, start) < 0 || compare(lastOf(area), last) > 0) {
    throw new IommuError('ENOENT', { check: 'partial-area', area: describeArea(area) });
  }
}

function checkSettled(area: IoptArea): void {
  if (area.pages !== undefined) return;
  throw new IommuError('EBUSY', { check: 'area-busy', area: describeArea(area) });
}

function inUse(area: IoptArea): IommuError {
  return new IommuError('EBUSY', { check: 'area-in-use', area: describeArea(area) });
}

/** Removes one area. Both locks are held before and after, but the iova lock is free while the domains are emptied. */
function tearDown(table: TableState, area: IoptArea): Outcome<undefined> {
  const pages = area.pages!;
  area.pages = undefined;
  table.iovaLock.releaseWrite();
  return pages.mutex.tryWrite() ? empty(table, area, pages) : waitToEmpty(table, area, pages);
}

function* waitToEmpty(table: TableState, area: IoptArea, pages: IoptPages): Operation<undefined> {
  try {
    yield () => pages.mutex.write();
  } catch (error) {
    yield* putBack(table, area, pages, error);
  }
  yield* rest(empty(table, area, pages));
}

/** Takes the area out of the domains, then out of the tree. The mutex of its pages is held, and given back. */
function empty(table: TableState, area: IoptArea, pages: IoptPages): Outcome<undefined> {
  let emptying: Operation<void> | undefined;
  try {
    emptying = unfillDomains(area, pages, table.domains);
  } catch (error) {
    return putBack(table, area, pages, error);
  } finally {
    if (emptying === undefined) pages.mutex.releaseWrite();
  }
  if (emptying !== undefined) return finishEmptying(table, area, pages, emptying);
  if (!table.iovaLock.tryWrite()) return waitToRemove(table, area, pages);
  remove(table, area, pages);
  return undefined;
}

function* finishEmptying(
  table: TableState,
  area: IoptArea,
  pages: IoptPages,
  emptying: Operation<void>,
): Operation<undefined> {
  try {
    yield* emptying;
  } catch (error) {
    pages.mutex.releaseWrite();
    yield* putBack(table, area, pages, error);
  }
  pages.mutex.releaseWrite();
  yield* waitToRemove(table, area, pages);
}

function* waitToRemove(table: TableState, area: IoptArea, pages: IoptPages): Operation<undefined> {
  if (!table.iovaLock.tryWrite()) yield mustWait(() => table.iovaLock.write());
  remove(table, area, pages);
}

function remove(table: TableState, area: IoptArea, pages: IoptPages): void {
  table.areas.delete(area.node!);
  pages.references -= 1;
}

/** The area stays. */
function* putBack(table: TableState, area: IoptArea, pages: IoptPages, error: unknown): Operation<never> {
  if (!table.iovaLock.tryWrite()) yield mustWait(() => table.iovaLock.write());
  area.pages = pages;
  throw error;
}

/**
 * Tells every attached access that an area is to go. No lock is held meanwhile.
 *
 * @throws EDEADLOCK if that has been done all too often since the area was first asked for, as by callbacks that
 * themselves unmap the area in which they hold pins; what a callback throws
 */
function* askToLetGo(table: TableState, area: IoptArea): Operation<undefined> {
  const asking = table.asking.get(area) ?? { calls: 0, times: 0 };
  if (asking.times > MOST_NOTIFICATIONS) throw stillInUse(area);
  asking.calls += 1;
  asking.times += 1;
  table.asking.set(area, asking);
  const range = { iova: area.iova, length: area.length };
  try {
    const attached = table.accesses.slice();
    for (let number = 0; number < attached.length; number++) {
      // One that was detached while others were told has nothing here any more.
      if (table.accesses[number] !== attached[number]) continue;
      if (table.faults?.fails('notification')) continue;
      const answer = attached[number]?.notifyUnmap(range);
      if (isThenable(answer)) yield () => answer;
    }
  } catch (error) {
    area.preventAccess = false;
    throw error;
  } finally {
    asking.calls -= 1;
    if (asking.calls === 0) table.asking.delete(area);
  }
}

function stillInUse(area: IoptArea): IommuError {
  return new IommuError('EDEADLOCK', { check: 'area-in-use', area: describeArea(area) });
}
