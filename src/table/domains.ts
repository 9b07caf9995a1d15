/**
 * Adding a domain to a table and removing it.
 */
import type { IommuDomain } from '../domain/iommu-domain.js';
import { refuse } from '../errors.js';
import { faultPoint } from '../faults.js';
import { type Operation, unstoppable } from '../operation.js';
import {
  clearStorageDomain,
  emptyDomain,
  fillDomains,
  leaveArea,
  setStorageDomain,
  unpinReleased,
} from '../pages/domain-fill.js';
import { flushDomains } from '../pages/flush.js';
import { between, MAX_U64, split } from '../u64.js';
import { checkAlignment, ioPageSize, requiredAlignment } from './alignment.js';
import type { IoptArea } from './iopt-area.js';
import { removeReservations, reserve } from './reservations.js';
import { releaseBoth, writeBoth } from './table-locks.js';
import type { TableState } from './table-state.js';

/**
 * Fills a domain with all areas and keeps it in step from then on.
 *
 * @throws EEXIST if it is there already, EINVAL if its io page is larger than 4096 bytes, EADDRINUSE if an area
 * does not fit its alignment or aperture, and what filling throws; nothing has changed then.
 */
export function* addDomain(table: TableState, domain: IommuDomain): Operation<void> {
  yield* writeBoth(table);
  try {
    if (table.domains.includes(domain)) throw refuse('EEXIST', 'state', 'the domain is attached already');
    const alignment = Math.max(ioPageSize(domain), table.alignment);
    checkAlignment(table, alignment);
    try {
      reserveOutsideAperture(table, domain);
      faultPoint(table.faults, 'domain-slot');
      yield* fillAll(table, domain);
    } catch (error) {
      removeReservations(table, domain);
      throw error;
    }
    table.domains.push(domain);
    table.alignment = alignment;
  } finally {
    releaseBoth(table);
  }
}

/**
 * Empties a domain and lets it go. Never fails; does nothing for a domain that is not there. Once it has begun it
 * cannot be stopped.
 */
export function* removeDomain(table: TableState, domain: IommuDomain): Operation<void> {
  yield* writeBoth(table);
  try {
    const at = table.domains.indexOf(domain);
    if (at < 0) return;
    const moved = table.domains.pop()!;
    if (moved !== domain) table.domains[at] = moved;
    const heir = table.domains[0];
    if (heir !== undefined) {
      for (const area of table.areas) if (area.storageDomain === domain) area.storageDomain = heir;
    }
    try {
      yield* unstoppable(unfillAll(table.areas, domain, heir === undefined));
    } finally {
      removeReservations(table, domain);
      table.alignment = requiredAlignment(table);
    }
  } finally {
    releaseBoth(table);
  }
}

function reserveOutsideAperture(table: TableState, domain: IommuDomain): void {
  const { start, last } = domain.aperture;
  if (start > 0n) reserve(table, between(split(0n), split(start - 1n)), domain);
  if (last < MAX_U64) reserve(table, between(split(last + 1n), split(MAX_U64)), domain);
}

function* fillAll(table: TableState, domain: IommuDomain): Operation<void> {
  const first = table.domains.length === 0;
  const filled: IoptArea[] = [];
  try {
    for (const area of table.areas) {
      const { pages } = area;
      if (pages === undefined) continue;
      if (!pages.mutex.tryWrite()) yield () => pages.mutex.write();
      try {
        yield* fillDomains(area, pages, [domain], table);
        if (first) setStorageDomain(area, pages, domain);
      } finally {
        pages.mutex.releaseWrite();
      }
      filled.push(area);
    }
  } catch (error) {
    yield* unstoppable(unfillAll(filled, domain, first), { error });
    throw error;
  }
}

/** Empties a domain that is not (or no longer) in its table; `only` if it was the only one. */
function* unfillAll(areas: Iterable<IoptArea>, domain: IommuDomain, only: boolean): Operation<void> {
  for (const area of areas) {
    const { pages } = area;
    if (pages === undefined) continue;
    if (!pages.mutex.tryWrite()) yield () => pages.mutex.write();
    try {
      if (only) {
        clearStorageDomain(area, pages);
        const released = emptyDomain(area, pages, domain);
        yield* flushDomains([domain]);
        unpinReleased(pages, released);
      } else leaveArea(area, pages, domain);
    } finally {
      pages.mutex.releaseWrite();
    }
  }
  if (!only) yield* flushDomains([domain]);
}
