/**
 * `unmap`: whole areas out of a table, asking accesses to let go first.
 */
import { IommuError, notMapped } from '../errors.js';
import type { TreeNode } from '../interval-tree.js';
import { answerOf, isThenable, mustWait, type Operation, quickWays } from '../operation.js';
import { emptyDomains, unfillDomains, unpinReleased } from '../pages/domain-fill.js';
import { mayHaveToFlush } from '../pages/flush.js';
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
import { readDomainsWriteIova, releaseDomainsIova, tryReadDomainsWriteIova } from './table-locks.js';
import type { TableState } from './table-state.js';

/** How often the accesses are asked to let go before an unmap gives up. */
const MOST_NOTIFICATIONS = 100;

/** An unmap in progress, and how far it has come. */
export interface Unmapping {
  readonly table: TableState;
  readonly range: Interval;
  /** The range must be exactly one area. */
  readonly exactly: boolean;
  /** Where to go on. */
  start: Address;
  /** How often the accesses were asked to let go of the area at `start`. */
  tries: number;
  /** An area that is out of the domains, but not out of the tree yet. The domains lock is held for reading. */
  removing: Removal | undefined;
  /** What was unmapped so far. */
  pages: number;
  bytes: number;
}

/** An unmap that has not begun. */
export function unmappingOf(table: TableState, range: Interval, exactly: boolean): Unmapping {
  return { table, range, exactly, start: firstOf(range), tries: 0, removing: undefined, pages: 0, bytes: 0 };
}

/** Bytes that are unmapped by now. */
export function bytesOf({ pages, bytes }: Unmapping): bigint {
  const page = pages + Math.floor(bytes / PAGE_SIZE);
  return page > LAST_PAGE ? MAX_U64 + 1n : join(page, bytes & PAGE_MASK);
}

/** Books a removed area. `false`: there cannot be another one. */
export function book(unmapping: Unmapping, area: IoptArea): boolean {
  const { range } = unmapping;
  unmapping.pages += area.lastPage - area.page;
  unmapping.bytes += area.lastOffset + 1 - area.offset;
  if (area.lastPage === range.lastPage && area.lastOffset === range.lastOffset) return false;
  unmapping.start = next(lastOf(area))!;
  return true;
}

/** What is left of an area that is being removed, and why it cannot be. */
interface Removal {
  readonly area: IoptArea;
  readonly pages: IoptPages;
  readonly failure: { readonly error: unknown } | undefined;
}

/**
 * Unmaps all areas inside a range and gives their bytes together. Areas go in ascending order, and stay gone when
 * a later one fails. Goes on where `unmapQuickly` ended.
 *
 * @throws EBUSY at an area that another call sets up or tears down or that a hardware queue is in, ENOENT at one that
 * reaches outside the range, EDEADLOCK if accesses don't let go; `unmapped` of the error has the bytes so far. Where the range must be one
 * area: ENOENT if it is not. Where accesses are not asked to let go: EBUSY at an area that they have pins in.
 */
export function* unmapRange(unmapping: Unmapping): Operation<bigint> {
  const { table } = unmapping;
  let asked: IoptArea | undefined;
  try {
    for (;;) {
      const pinned = yield* unmapUnpinned(unmapping, asked);
      if (pinned === undefined) return bytesOf(unmapping);
      asked = pinned;
      // No lock is held meanwhile: the accesses will want to unpin.
      yield* askToLetGo(table, asked);
      unmapping.tries += 1;
      if (unmapping.tries > MOST_NOTIFICATIONS) throw stillInUse(asked);
    }
  } catch (error) {
    throw withUnmapped(error, unmapping);
  }
}

/** Unmaps area by area up to the first in which accesses have pins, which it gives; `asked` let go already. */
function* unmapUnpinned(unmapping: Unmapping, asked: IoptArea | undefined): Operation<IoptArea | undefined> {
  const { table } = unmapping;
  if (unmapping.removing !== undefined) yield mustWait(() => table.iovaLock.write());
  else if (!tryReadDomainsWriteIova(table)) {
    try {
      yield* readDomainsWriteIova(table);
    } catch (error) {
      if (asked !== undefined) asked.preventAccess = false;
      throw error;
    }
  }
  try {
    if (unmapping.removing !== undefined && !remove(unmapping, unmapping.removing)) return undefined;
    for (let area = firstArea(unmapping); area !== undefined; area = nextArea(unmapping)) {
      checkRemovable(unmapping, area);
      if (compare(area, unmapping.start) !== 0) unmapping.tries = 0;
      if (area.pins > 0) {
        unmapping.start = firstOf(area);
        area.preventAccess = true;
        return area;
      }
      const pages = area.pages!;
      area.pages = undefined;
      table.iovaLock.releaseWrite();
      let failure: Removal['failure'];
      try {
        if (!pages.mutex.tryWrite()) yield () => pages.mutex.write();
        try {
          yield* unfillDomains(area, pages, table.domains);
        } finally {
          pages.mutex.releaseWrite();
        }
      } catch (error) {
        failure = { error };
      }
      if (!table.iovaLock.tryWrite()) yield mustWait(() => table.iovaLock.write(), failure);
      if (!remove(unmapping, { area, pages, failure })) return undefined;
    }
    return undefined;
  } finally {
    releaseDomainsIova(table);
  }
}

/**
 * The quick way, for a range in which nothing is pinned by accesses, nothing is busy, and no device is to be waited
 * for. `undefined`: `unmapRange` is to go on. @throws as `unmapRange`
 */
export function unmapQuickly(unmapping: Unmapping): bigint | undefined {
  const { table } = unmapping;
  if (!quickWays.allowed || table.faults !== undefined || mayHaveToFlush(table.domains)) return undefined;
  if (!tryReadDomainsWriteIova(table)) return undefined;
  let locked = true;
  try {
    const first = table.areas.first(unmapping.range);
    if (!canBeRemovedNow(unmapping, first)) return undefined;
    if (unmapping.exactly && first?.value.pages === undefined) throw notMapped(unmapping.range);
    for (let area = first?.value; area !== undefined; area = nextArea(unmapping)) {
      checkRemovable(unmapping, area);
      const pages = area.pages!;
      if (area.pins > 0 || !pages.mutex.tryWrite()) return undefined;
      area.pages = undefined;
      table.iovaLock.releaseWrite();
      locked = false;
      let failure: Removal['failure'];
      try {
        if (area.storageDomain !== undefined) {
          unpinReleased(pages, emptyDomains(area, pages, table.domains));
        }
      } catch (error) {
        failure = { error };
      }
      pages.mutex.releaseWrite();
      const removal = { area, pages, failure };
      locked = table.iovaLock.tryWrite();
      if (!locked) {
        unmapping.removing = removal;
        return undefined;
      }
      if (!remove(unmapping, removal)) break;
    }
    return bytesOf(unmapping);
  } catch (error) {
    throw withUnmapped(error, unmapping);
  } finally {
    if (locked) releaseDomainsIova(table);
  }
}

/** Whether none of the areas from the first one on that will be unmapped makes the unmap wait. */
function canBeRemovedNow({ table, range }: Unmapping, first: TreeNode<IoptArea> | undefined): boolean {
  for (let node = first; node !== undefined; node = table.areas.nextIn(node, range)) {
    const area = node.value;
    const { pages } = area;
    // The unmap ends at such an area without a wait, with an errno of its own.
    if (pages === undefined || area.locks > 0 || !contains(range, area)) return true;
    if (area.pins > 0 || !pages.mutex.free) return false;
    if (area.lastPage === range.lastPage && area.lastOffset === range.lastOffset) return true;
  }
  return true;
}

/** Takes an area out of the tree, or back if it failed. `false`: there cannot be another one. */
function remove(unmapping: Unmapping, { area, pages, failure }: Removal): boolean {
  unmapping.removing = undefined;
  if (failure !== undefined) {
    area.pages = pages;
    throw failure.error;
  }
  unmapping.table.areas.delete(area.node!);
  pages.references -= 1;
  return book(unmapping, area);
}

/** The lowest area that is left in the range. */
function nextArea({ table, range, start }: Unmapping): IoptArea | undefined {
  return table.areas.first(between(start, lastOf(range)))?.value;
}

/** The first area to be unmapped. @throws ENOENT if there is none where there must be one */
function firstArea(unmapping: Unmapping): IoptArea | undefined {
  const area = nextArea(unmapping);
  if (unmapping.exactly && area?.pages === undefined) throw notMapped(unmapping.range);
  return area;
}

function checkRemovable({ table, range, exactly, start }: Unmapping, area: IoptArea): void {
  if (area.pages === undefined)
    throw new IommuError('EBUSY', { check: 'area-busy', area: describeArea(area) });
  if (area.locks > 0) throw new IommuError('EBUSY', { check: 'area-in-use', area: describeArea(area) });
  const inside = compare(area, start) >= 0 && contains(range, area);
  if (exactly && !(inside && contains(area, range))) {
    throw new IommuError('ENOENT', { check: 'not-exact', area: describeArea(area) });
  }
  if (!inside) throw new IommuError('ENOENT', { check: 'partial-area', area: describeArea(area) });
  if (area.pins > 0 && !table.rules.asksToLetGo) {
    throw new IommuError('EBUSY', { check: 'area-in-use', area: describeArea(area) });
  }
}

function withUnmapped(error: unknown, unmapping: Unmapping): unknown {
  if (!unmapping.exactly && error instanceof IommuError) error.unmapped = bytesOf(unmapping);
  return error;
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
      if (table.accesses[number] !== attached[number] || attached[number]?.internal) continue;
      if (table.faults?.fails('notification')) continue;
      const answer = attached[number]?.notifyUnmap(range);
      if (isThenable(answer)) yield* answerOf(answer);
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
