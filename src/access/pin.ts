/**
 * Pinning and unpinning a range of IOVA for an access.
 *
 * All functions are called with the iova lock held for reading.
 */

import { IommuError, notMapped, refuse } from '../errors.js';
import type { FrameRuns } from '../memory/frame-runs.js';
import type { PinHolder } from '../memory/user-memory.js';
import { mustWait, type Operation, unstoppable } from '../operation.js';
import { pageBehind } from '../pages/mapped-area.js';
import { addPagesAccess, removePagesAccess } from '../pages/pages-access.js';
import { READ, WRITE } from '../protection.js';
import { walkContiguous } from '../table/area-lookup.js';
import { describeArea, type IoptArea } from '../table/iopt-area.js';
import type { TableState } from '../table/table-state.js';
import {
  type Address,
  between,
  compare,
  firstOf,
  type Interval,
  lastOf,
  PAGE_MASK,
  previous,
} from '../u64.js';

/** The frames that one area gave to a pinned range. */
export interface PinnedPart {
  /** What they are pinned in. */
  readonly memory: PinHolder;
  /** One frame for each page covered, in order. */
  readonly frames: FrameRuns;
}

/**
 * Pins the pages behind a range and gives their frames, area by area.
 *
 * @param lock - the areas cannot be unmapped meanwhile
 * @throws EINVAL if an area is being unmapped or the range does not begin and continue on page boundaries of the
 * pages behind it, EPERM if an area does not grant the access, ENOENT at a hole, and what pinning throws;
 * nothing is pinned then.
 */
export function* pinRange(
  table: TableState,
  range: Interval,
  write: boolean,
  lock = false,
): Operation<PinnedPart[]> {
  const parts: PinnedPart[] = [];
  const rangeLast = lastOf(range);
  let reached: Address = firstOf(range);
  try {
    const walk = walkContiguous(table.areas, range);
    let step = walk.next();
    for (; !step.done; step = walk.next()) {
      const { area, first, last } = step.value;
      reached = first;
      const start = pageBehind(area, first);
      const stop = pageBehind(area, last);
      checkPin(table, area, start, compare(last, rangeLast) === 0 ? undefined : stop, write);
      const frames = yield* pinArea(area, start.page, stop.page, lock);
      parts.push({ memory: area.pages!.holder, frames });
    }
    if (step.value !== undefined) {
      reached = step.value;
      throw new IommuError(table.rules.holeInPin, notMapped(reached).reason);
    }
    return parts;
  } catch (error) {
    const pinnedLast = compare(reached, range) > 0 ? previous(reached) : undefined;
    if (pinnedLast !== undefined) {
      yield* unstoppable(unpinRange(table, between(firstOf(range), pinnedLast), lock));
    }
    throw error;
  }
}

function* pinArea(area: IoptArea, first: number, last: number, lock: boolean): Operation<FrameRuns> {
  const pages = area.pages!;
  if (!pages.mutex.tryWrite()) yield () => pages.mutex.write();
  try {
    const frames = yield* addPagesAccess(pages, first, last);
    area.pins += 1;
    if (lock) area.locks += 1;
    return frames;
  } finally {
    pages.mutex.releaseWrite();
  }
}

/**
 * Takes back a pin of exactly this range. The call can be stopped until it has unpinned something.
 *
 * @param lock - as it was pinned
 * @throws EINVAL if the range, or a part of it, was not pinned so; the parts that were are unpinned.
 */
export function* unpinRange(table: TableState, range: Interval, lock = false): Operation<void> {
  // Whoever cannot wait must find that out before a first part is unpinned.
  for (const { area } of walkContiguous(table.areas, range)) {
    const { mutex } = area.pages!;
    if (mutex.free) continue;
    yield () => mutex.write();
    mutex.releaseWrite();
  }
  let begun = false;
  let missing: Address | undefined;
  const walk = walkContiguous(table.areas, range);
  let step = walk.next();
  for (; !step.done; step = walk.next()) {
    const { area, first, last } = step.value;
    const pages = area.pages!;
    const { mutex } = pages;
    if (!mutex.tryWrite()) yield begun ? mustWait(() => mutex.write()) : () => mutex.write();
    try {
      const pinned =
        area.pins > 0 && removePagesAccess(pages, pageBehind(area, first).page, pageBehind(area, last).page);
      if (pinned) {
        area.pins -= 1;
        if (lock) area.locks -= 1;
      } else missing ??= first;
      begun ||= pinned;
    } finally {
      mutex.releaseWrite();
    }
  }
  missing ??= step.value;
  if (missing !== undefined) throw refuse('EINVAL', 'state', 'the range was not pinned, or not in one piece');
}

/** The checks of one area of a pin; `stop` is the area's last byte in its pages if the range goes on after it. */
function checkPin(
  table: TableState,
  area: IoptArea,
  start: Address,
  stop: Address | undefined,
  write: boolean,
): void {
  checkAccessible(area);
  if (start.offset !== 0 && table.rules.pinsBeginOnPages) {
    throw refuse(
      'EINVAL',
      'argument',
      `the range begins at byte ${start.offset} of a page; pins begin at page boundaries`,
    );
  }
  if (stop !== undefined && stop.offset !== PAGE_MASK) {
    throw refuse('EINVAL', 'argument', 'the range crosses into another area in the middle of a page');
  }
  checkPermission(area, write);
}

/** @throws EINVAL if an unmap has asked the accesses to let go of the area. */
export function checkAccessible(area: IoptArea): void {
  if (!area.preventAccess) return;
  throw refuse('EINVAL', 'state', `the area at ${describeArea(area).iova} is being unmapped`);
}

/** @throws EPERM if the mapping does not grant the access. One for writing shows pages that are pinned for writing. */
export function checkPermission(area: IoptArea, write: boolean): void {
  if ((area.prot & (write ? WRITE : READ)) !== 0) return;
  throw new IommuError('EPERM', {
    check: 'permission',
    wanted: write ? 'write' : 'read',
    detail: `it is mapped '${area.protection}'`,
    area: describeArea(area),
  });
}
