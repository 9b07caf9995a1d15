/**
 * Mapping: what `map` and `copy` have in common, from placing areas to publishing them.
 */
import { faultPoint } from '../faults.js';
import { type Operation, unstoppable } from '../operation.js';
import { fillDomains, setStorageDomain, unfillDomains } from '../pages/domain-fill.js';
import { type Address, firstOf } from '../u64.js';
import type { IoptArea } from './iopt-area.js';
import { type PagesPart, type Placement, placeAreas } from './place-areas.js';
import type { TableState } from './table-state.js';

/**
 * Maps parts one after the other into a table and gives the IOVA of the first. Takes over the parts' references;
 * gives them up on failure.
 *
 * Areas are in the tree without pages, so nobody else can use or remove them, from the moment they are placed
 * until the domains hold them.
 *
 * @throws what placing, pinning, a domain or the locked-memory limit throws; nothing has changed then.
 */
export function* mapPages(table: TableState, placement: Placement): Operation<Address> {
  const { parts } = placement;
  let areas: IoptArea[] = [];
  try {
    if (table.faults !== undefined) for (const _ of parts) faultPoint(table.faults, 'area');
    if (!table.iovaLock.tryWrite()) yield () => table.iovaLock.write();
    try {
      areas = placeAreas(table, placement);
    } finally {
      table.iovaLock.releaseWrite();
    }
    if (!table.domainsLock.tryRead()) yield () => table.domainsLock.read();
    try {
      if (table.domains.length > 0) yield* fillAreas(table, areas, parts);
      if (!table.iovaLock.tryWrite()) yield* publishLater(table, areas, parts);
      for (let at = 0; at < areas.length; at++) areas[at]!.pages = parts[at]!.pages;
      table.iovaLock.releaseWrite();
    } finally {
      table.domainsLock.releaseRead();
    }
    return firstOf(areas[0]!);
  } catch (error) {
    if (areas.length > 0) yield* unstoppable(removeAreas(table, areas));
    for (const part of parts) part.pages.references -= 1;
    throw error;
  }
}

function* fillAreas(
  table: TableState,
  areas: readonly IoptArea[],
  parts: readonly PagesPart[],
): Operation<void> {
  let filled = 0;
  try {
    for (; filled < areas.length; filled++) {
      const area = areas[filled]!;
      const { pages } = parts[filled]!;
      if (!pages.mutex.tryWrite()) yield () => pages.mutex.write();
      try {
        const waiting = fillDomains(area, pages, table.domains, table.largePages);
        if (waiting !== undefined) yield* waiting;
        setStorageDomain(area, pages, table.domains[0]!);
      } finally {
        pages.mutex.releaseWrite();
      }
    }
  } catch (error) {
    yield* unstoppable(unfillAreas(table, areas, parts, filled));
    throw error;
  }
}

function* publishLater(
  table: TableState,
  areas: readonly IoptArea[],
  parts: readonly PagesPart[],
): Operation<void> {
  let locked = false;
  try {
    yield () => table.iovaLock.write();
    locked = true;
  } finally {
    if (!locked) yield* unstoppable(unfillAreas(table, areas, parts, areas.length));
  }
}

function* unfillAreas(
  table: TableState,
  areas: readonly IoptArea[],
  parts: readonly PagesPart[],
  count: number,
): Operation<void> {
  for (let at = 0; at < count; at++) {
    const { pages } = parts[at]!;
    if (!pages.mutex.tryWrite()) yield () => pages.mutex.write();
    try {
      const waiting = unfillDomains(areas[at]!, pages, table.domains);
      if (waiting !== undefined) yield* waiting;
    } finally {
      pages.mutex.releaseWrite();
    }
  }
}

function* removeAreas(table: TableState, areas: readonly IoptArea[]): Operation<void> {
  if (!table.iovaLock.tryWrite()) yield () => table.iovaLock.write();
  for (const area of areas) table.areas.delete(area.node!);
  table.iovaLock.releaseWrite();
}
