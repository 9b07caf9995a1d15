/**
 * Reserved and allowed IOVA.
 *
 * All functions are called with the iova lock held for writing.
 */
import { IommuError, refuse } from '../errors.js';
import { type FaultInjector, faultPoint } from '../faults.js';
import { IntervalTree } from '../interval-tree.js';
import { spans } from '../spans.js';
import { compare, hexRange, type Interval, lastOf, type U64Input, WHOLE_SPACE } from '../u64.js';
import { describeArea } from './iopt-area.js';
import type { TableState } from './table-state.js';

/** A region of IOVA that a device reserves for itself, by the kernel's kinds. */
export type ReservedRegionType = 'direct' | 'direct-relaxable' | 'reserved' | 'msi' | 'sw-msi';

/** A region that a device reserves. */
export interface ReservedRegion {
  /** First IOVA. */
  readonly start: U64Input;
  /** Bytes, at least 1. */
  readonly length: U64Input;
  /** What the device uses it for. */
  readonly type: ReservedRegionType;
}

/** A reserved region with its range read. */
export interface DeviceRegion {
  readonly range: Interval;
  readonly type: ReservedRegionType;
}

/**
 * Reserves a range for an owner; other reservations don't matter.
 *
 * @throws EADDRINUSE if an area or an allowed range intersects it.
 */
export function reserve(table: TableState, range: Interval, owner: object | null): void {
  const area = table.areas.first(range);
  if (area !== undefined) {
    throw new IommuError('EADDRINUSE', { check: 'overlap', area: describeArea(area.value) });
  }
  const allowed = table.allowed.first(range);
  if (allowed !== undefined)
    throw new IommuError('EADDRINUSE', { check: 'allowed', range: hexRange(allowed) });
  faultPoint(table.faults, 'reservation');
  table.reserved.insert(range, { owner });
}

/** Removes all reservations of an owner. */
export function removeReservations(table: TableState, owner: object | null): void {
  let node = table.reserved.head();
  while (node !== undefined) {
    const following = table.reserved.next(node);
    if (node.value.owner === owner) table.reserved.delete(node);
    node = following;
  }
}

/**
 * Reserves the regions of a device and gives the start of its software MSI window, if it has one. If that fails,
 * all reservations of the device are removed, earlier ones too.
 *
 * @throws EADDRINUSE as `reserve`; EINVAL if a software MSI region stands beside another MSI region, where that is
 * refused (`mixedMsi`).
 */
export function reserveRegions(
  table: TableState,
  device: object,
  regions: readonly DeviceRegion[],
): Interval | undefined {
  let software: Interval | undefined;
  let softwareCount = 0;
  let hardwareCount = 0;
  faultPoint(table.faults, 'device-regions');
  try {
    for (const { range, type } of regions) {
      if (type === 'direct-relaxable') continue;
      if (type === 'msi') hardwareCount += 1;
      if (type === 'sw-msi') {
        softwareCount += 1;
        software = range;
      }
      reserve(table, range, device);
    }
    if (table.rules.mixedMsi === 'hardware-wins') return hardwareCount > 0 ? undefined : software;
    if (softwareCount > 1 || (softwareCount > 0 && hardwareCount > 0)) {
      throw refuse(
        'EINVAL',
        'argument',
        'a device has at most one software MSI region, and none beside a hardware one',
      );
    }
    return software;
  } catch (error) {
    removeReservations(table, device);
    throw error;
  }
}

/**
 * Replaces the allowed ranges by others, which are disjoint.
 *
 * @throws EADDRINUSE if one meets a reservation; the old ranges stay then.
 */
export function replaceAllowed(table: TableState, allowed: IntervalTree<undefined>): void {
  for (let node = allowed.head(); node !== undefined; node = allowed.next(node)) {
    const reserved = table.reserved.first(node);
    if (reserved !== undefined) {
      const owner = describeOwner(reserved.value.owner);
      throw new IommuError('EADDRINUSE', { check: 'reserved', range: hexRange(reserved), owner });
    }
  }
  table.allowed = allowed;
}

/**
 * The tree of a list of allowed ranges.
 *
 * @throws EINVAL if the first byte of one is not below its last, or two intersect.
 */
export function allowedTree(ranges: readonly Interval[], faults?: FaultInjector): IntervalTree<undefined> {
  const tree = new IntervalTree<undefined>();
  for (const range of ranges) {
    addAllowed(tree, range);
    faultPoint(faults, 'allowed-range');
  }
  return tree;
}

/**
 * Adds a range to the allowed ones before it in a list.
 *
 * @throws EINVAL if its first byte is not below its last, or it intersects one of them.
 */
export function addAllowed(tree: IntervalTree<undefined>, range: Interval): void {
  if (compare(range, lastOf(range)) >= 0) {
    throw refuse('EINVAL', 'argument', `allowed range ${hexRange(range)} has fewer than two bytes`);
  }
  const inTheWay = tree.first(range);
  if (inTheWay !== undefined) {
    throw refuse(
      'EINVAL',
      'argument',
      `allowed ranges ${hexRange(inTheWay)} and ${hexRange(range)} intersect`,
    );
  }
  tree.insert(range, undefined);
}

/** What is not reserved, in ascending order. */
export function usableRanges(table: TableState): Interval[] {
  return [...spans(table.reserved, WHOLE_SPACE)].filter((span) => !span.used);
}

/** Whose a reservation is, in words. */
export function describeOwner(owner: object | null): string {
  if (owner === null) return 'nobody in particular';
  const name = (owner as { readonly name?: unknown }).name;
  const kind = owner.constructor?.name ?? 'nameless object';
  return typeof name === 'string' ? `${kind} ${name}` : `a ${kind}`;
}
