/**
 * Automatic IOVA selection: the lowest hole that fits, aligned as the user memory is.
 */
import { IommuError, refuse } from '../errors.js';
import { holesFor, spans } from '../spans.js';
import {
  type Address,
  between,
  compare,
  firstOf,
  hex,
  type Interval,
  intervalOf,
  isZero,
  LAST_PAGE,
  lastOf,
  lowestBit,
  PAGE_MASK,
  PAGE_SIZE,
} from '../u64.js';
import type { TableState } from './table-state.js';

/** Page number of 2^63 − 1, the shortest length that is refused. */
const HALF_SPACE_PAGE = 2 ** 51 - 1;
/** The first and the last page of the space are never chosen. */
const WINDOW: Interval = { page: 1, offset: 0, lastPage: LAST_PAGE - 1, lastOffset: PAGE_MASK };

/** How a mapping wants to be placed. */
interface Fit {
  readonly length: Address;
  /** A power of two in bytes. */
  readonly alignment: number;
  /** Byte offset of the user memory in its page, or-ed into the IOVA. */
  readonly offset: number;
  /** Whether the last byte of a hole may be used by a one-byte mapping. */
  readonly lastByte: boolean;
}

/**
 * Chooses where to put `length` bytes of user memory at `user`. The caller holds the iova lock for writing.
 *
 * @throws EOVERFLOW if `length` is 0 or at least 2^63 − 1, EINVAL if the user memory is less aligned than the
 * table demands, ENOSPC if no hole fits.
 */
export function chooseIova(table: TableState, user: Address, length: Address): Address {
  const tooLong =
    length.page > HALF_SPACE_PAGE || (length.page === HALF_SPACE_PAGE && length.offset === PAGE_MASK);
  if (tooLong || isZero(length)) {
    throw refuse('EOVERFLOW', 'overflow', `no IOVA can be chosen for a length of ${hex(length)} bytes`);
  }
  const { rules } = table;
  const natural = Math.min(roundUpToPowerOfTwo(length), lowestBit(user));
  const alignment = Math.min(natural, rules.placementAlignmentCap);
  if (alignment < table.alignment) {
    throw new IommuError('EINVAL', {
      check: 'alignment',
      what: 'user address',
      value: hex(user),
      alignment: table.alignment,
    });
  }
  const fit: Fit = { length, alignment, offset: user.offset, lastByte: rules.placementTakesLastByte };
  const found = rules.placement === 'windows' ? searchWindows(table, fit) : searchHoles(table, fit);
  if (found === undefined) throw new IommuError('ENOSPC', { check: 'no-space', alignment: hex(alignment) });
  return found;
}

/** Rounds once for each allowed window, then looks for a hole in areas and reservations together. */
function searchWindows(table: TableState, fit: Fit): Address | undefined {
  for (const window of allowedWindows(table)) {
    const start = place(window, fit);
    if (start === undefined) continue;
    for (const hole of holesFor(table.areas, between(start, lastOf(window)), fit.length, fit.alignment)) {
      const found = placeBesideReserved(table, hole, fit);
      if (found !== undefined) return found;
    }
  }
  return undefined;
}

function* allowedWindows(table: TableState): Generator<Interval> {
  if (table.allowed.size === 0) {
    yield WINDOW;
    return;
  }
  for (const span of spans(table.allowed, WINDOW)) if (span.used) yield span;
}

/** Rounds in each hole between areas, before the reservations in it are looked at. */
function searchHoles(table: TableState, fit: Fit): Address | undefined {
  for (const hole of holesFor(table.areas, WINDOW, fit.length, fit.alignment)) {
    const start = place(hole, fit);
    if (start === undefined) continue;
    const found = placeBesideReserved(table, between(start, lastOf(hole)), fit);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The lowest place in a hole between areas that no reservation touches. */
function placeBesideReserved(table: TableState, hole: Interval, fit: Fit): Address | undefined {
  for (const part of spans(table.reserved, hole)) {
    const found = part.used ? undefined : place(part, fit);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The lowest place in a hole, or `undefined` if it does not fit. */
function place(hole: Interval, fit: Fit): Address | undefined {
  const start = roundUp(firstOf(hole), fit.alignment);
  if (start === undefined) return undefined;
  const iova = { page: start.page, offset: start.offset | fit.offset };
  const room = compare(lastOf(hole), iova);
  if (room < 0 || (room === 0 && !fit.lastByte)) return undefined;
  const range = intervalOf(iova, fit.length);
  return range !== undefined && compare(lastOf(range), lastOf(hole)) <= 0 ? iova : undefined;
}

function roundUp(value: Address, alignment: number): Address | undefined {
  if (alignment < PAGE_SIZE) {
    const offset = (value.offset + alignment - 1) & -alignment;
    if (offset < PAGE_SIZE) return { page: value.page, offset };
    return value.page === LAST_PAGE ? undefined : { page: value.page + 1, offset: 0 };
  }
  const pages = alignment / PAGE_SIZE;
  const page = Math.ceil((value.page + (value.offset > 0 ? 1 : 0)) / pages) * pages;
  return page > LAST_PAGE ? undefined : { page, offset: 0 };
}

function roundUpToPowerOfTwo(length: Address): number {
  const pages = length.page + (length.page > 0 && length.offset > 0 ? 1 : 0);
  let unit = pages > 0 ? PAGE_SIZE : 1;
  const wanted = pages > 0 ? pages * PAGE_SIZE : length.offset;
  while (unit < wanted) unit *= 2;
  return unit;
}
