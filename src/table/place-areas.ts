/**
 * Placing areas: every check of a mapping that looks at the IOVA trees, and the areas' entry into them.
 *
 * All functions are called with the iova lock held for writing.
 */

import { IommuError, misaligned, refuse, reservedInTheWay } from '../errors.js';
import { faultPoint } from '../faults.js';
import type { IoptPages } from '../pages/iopt-pages.js';
import { WRITE } from '../protection.js';
import { type Address, hex, type Interval, intervalOf, LAST_PAGE, lastOf, next } from '../u64.js';
import { chooseIova } from './choose-iova.js';
import { describeArea, IoptArea } from './iopt-area.js';
import { describeOwner } from './reservations.js';
import type { TableState } from './table-state.js';

/** A piece of shared pages that becomes one area. It holds one reference to its pages. */
export interface PagesPart {
  readonly pages: IoptPages;
  /** Page index and byte of the first byte. */
  readonly start: Address;
  /** Number of bytes, at least 1, all of them in the pages. */
  readonly length: Address;
}

/** What is to be mapped, and where. */
export interface Placement {
  /** The parts, to be mapped one after the other. */
  readonly parts: readonly PagesPart[];
  /** Bytes of all parts together. */
  readonly length: Address;
  /** Where to, or `undefined` to choose. */
  readonly iova: Address | undefined;
  /** Permission bits. */
  readonly prot: number;
}

/**
 * Inserts an area without pages for each part.
 *
 * @throws EINVAL, EOVERFLOW, ENOSPC, EPERM, and the rules' errnos of an area and of a reservation in the way; nothing is
 * inserted then.
 */
export function placeAreas(table: TableState, placement: Placement): IoptArea[] {
  const checks = table.rules.mappingChecks === 'length-first' ? lengthFirst : permissionFirst;
  const start = checks(table, placement);
  const areas: IoptArea[] = [];
  try {
    let iova = start;
    for (const part of placement.parts) {
      const area = insertArea(table, part, iova, placement.prot);
      areas.push(area);
      checkPart(table, part, placement.prot);
      if (areas.length > 1) faultPoint(table.faults, 'placement');
      // The parts end inside the address space together: only after the last is there perhaps no address.
      iova = next(lastOf(area))!;
    }
    return areas;
  } catch (error) {
    for (const area of areas) table.areas.delete(area.node!);
    throw error;
  }
}

/** Gives the first IOVA, once it is checked in this order. The parts are checked as their areas enter the tree. */
function lengthFirst(table: TableState, placement: Placement): Address {
  const { parts, length, iova } = placement;
  checkLength(table, length);
  if (iova === undefined) return chooseFor(table, placement);
  if (iova.offset & (table.alignment - 1)) throw misaligned('iova', iova, table.alignment);
  const range = rangeOf(iova, length);
  checkReserved(table, range);
  // With one part, inserting its area is the check that nothing overlaps.
  if (parts.length > 1) checkOverlap(table, range);
  return iova;
}

/** The same questions in another order; all but that of areas in the way, before any area enters the tree. */
function permissionFirst(table: TableState, placement: Placement): Address {
  const { parts, length } = placement;
  for (const part of parts) checkWritable(part.pages, placement.prot);
  const iova = placement.iova ?? chooseFor(table, placement);
  const range = rangeOf(iova, length);
  if (iova.offset & (table.alignment - 1)) throw misaligned('iova', iova, table.alignment);
  checkLength(table, length);
  for (const part of parts) checkPageOffset(table, part);
  checkReserved(table, range);
  return iova;
}

function chooseFor(table: TableState, placement: Placement): Address {
  const { pages, start } = placement.parts[0]!;
  return chooseIova(table, pages.addressOf(start.page, start.offset), placement.length);
}

function insertArea(table: TableState, part: PagesPart, iova: Address, prot: number): IoptArea {
  const { start, length } = part;
  const { lastPage } = intervalOf(start, length)!;
  const area = new IoptArea(rangeOf(iova, length), start.page, lastPage, start.offset, prot);
  const node = table.areas.insertDisjoint(area, area);
  if (node.value !== area) throw overlap(table, node.value);
  area.node = node;
  return area;
}

function checkPart(table: TableState, part: PagesPart, prot: number): void {
  checkWritable(part.pages, prot);
  checkPageOffset(table, part);
}

function checkLength(table: TableState, length: Address): void {
  if (length.offset & (table.alignment - 1)) throw misaligned('length', length, table.alignment);
}

function checkWritable(pages: IoptPages, prot: number): void {
  if ((prot & WRITE) === 0 || pages.writable) return;
  throw new IommuError('EPERM', {
    check: 'permission',
    wanted: 'write',
    detail: 'the pages were mapped read-only when they were first mapped, and cannot be mapped writable now',
  });
}

function checkPageOffset(table: TableState, part: PagesPart): void {
  if ((part.start.offset & (table.alignment - 1)) === 0) return;
  const user = part.pages.addressOf(part.start.page, part.start.offset);
  throw misaligned('user address', user, table.alignment);
}

function checkReserved(table: TableState, range: Interval): void {
  const node = table.reserved.first(range);
  if (node === undefined) return;
  throw reservedInTheWay(table.rules.reservationInTheWay, node, describeOwner(node.value.owner));
}

function checkOverlap(table: TableState, range: Interval): void {
  const node = table.areas.first(range);
  if (node !== undefined) throw overlap(table, node.value);
}

function overlap(table: TableState, area: IoptArea): IommuError {
  return new IommuError(table.rules.areaInTheWay, { check: 'overlap', area: describeArea(area) });
}

function rangeOf(iova: Address, length: Address): Interval {
  const range = intervalOf(iova, length);
  if (range === undefined) throw pastTheEnd(iova, length);
  return range;
}

function pastTheEnd(iova: Address, length: Address): IommuError {
  return refuse(
    'EOVERFLOW',
    'overflow',
    `${hex(length)} bytes from ${hex(iova)} on reach past the last address, ${hex({ page: LAST_PAGE, offset: 4095 })}`,
  );
}
