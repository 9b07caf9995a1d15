/**
 * Mapping: what `map` and `copy` have in common, from placing areas to publishing them.
 */
import { faultPoint } from '../faults.js';
import { type Operation, type Outcome, rest, unstoppable } from '../operation.js';
import { fillDomains, setStorageDomain, unfillDomains } from '../pages/domain-fill.js';
import type { IoptArea } from './iopt-area.js';
import { type PagesPart, type Placement, placeAreas } from './place-areas.js';
import type { TableState } from './table-state.js';

/** Areas that are in the tree without pages, so that nobody else can use or remove them, and the pages to come. */
interface Mapping {
  readonly table: TableState;
  readonly areas: readonly IoptArea[];
  readonly parts: readonly PagesPart[];
}

/**
 * Maps parts one after the other into a table and gives the IOVA of the first. The areas take over the parts'
 * references; on failure they are left to the caller.
 *
 * Areas are placed, filled into the domains and published: each a step with locks of its own, and between them others
 * may have their turn.
 *
 * @throws what placing, pinning, a domain or the locked-memory limit throws; nothing has changed then.
 */
export function mapPages(table: TableState, placement: Placement): Outcome<bigint> {
  if (table.faults !== undefined) for (const _ of placement.parts) faultPoint(table.faults, 'area');
  return table.iovaLock.tryWrite() ? place(table, placement) : waitToPlace(table, placement);
}

function* waitToPlace(table: TableState, placement: Placement): Operation<bigint> {
  yield () => table.iovaLock.write();
  return yield* rest(place(table, placement));
}

/** The iova lock is held for writing, and given back. */
function place(table: TableState, placement: Placement): Outcome<bigint> {
  let areas: IoptArea[];
  try {
    areas = placeAreas(table, placement);
  } finally {
    table.iovaLock.releaseWrite();
  }
  const mapping = { table, areas, parts: placement.parts };
  return table.domainsLock.tryRead() ? fill(mapping) : waitToFill(mapping);
}

function* waitToFill(mapping: Mapping): Operation<bigint> {
  try {
    yield () => mapping.table.domainsLock.read();
  } catch (error) {
    yield* unstoppable(removeAreas(mapping));
    throw error;
  }
  return yield* rest(fill(mapping));
}

/** The domains lock is held for reading, and given back in the end. */
function fill(mapping: Mapping): Outcome<bigint> {
  const { table } = mapping;
  if (table.domains.length > 0) {
    try {
      const filling = fillAreas(mapping);
      if (filling !== undefined) return finishFill(mapping, filling);
    } catch (error) {
      return undo(mapping, error);
    }
  }
  return table.iovaLock.tryWrite() ? publish(mapping) : waitToPublish(mapping);
}

function* finishFill(mapping: Mapping, filling: Operation<void>): Operation<bigint> {
  try {
    yield* filling;
  } catch (error) {
    return yield* undo(mapping, error);
  }
  return yield* rest(mapping.table.iovaLock.tryWrite() ? publish(mapping) : waitToPublish(mapping));
}

function* waitToPublish(mapping: Mapping): Operation<bigint> {
  try {
    yield () => mapping.table.iovaLock.write();
  } catch (error) {
    return yield* undo(mapping, error);
  }
  return publish(mapping);
}

/** Both locks are held, and given back. */
function publish({ table, areas, parts }: Mapping): bigint {
  for (let at = 0; at < areas.length; at++) areas[at]!.pages = parts[at]!.pages;
  table.iovaLock.releaseWrite();
  table.domainsLock.releaseRead();
  return areas[0]!.iova;
}

/** Fills the areas from `from` on into the domains. Gives an operation that does the rest if it has to wait. */
function fillAreas(mapping: Mapping, from = 0): Operation<void> | undefined {
  const { areas, parts } = mapping;
  for (let at = from; at < areas.length; at++) {
    if (!parts[at]!.pages.mutex.tryWrite()) return waitToFillArea(mapping, at);
    const filling = fillArea(mapping, at);
    if (filling !== undefined) return at + 1 < areas.length ? fillRest(mapping, at, filling) : filling;
  }
  return undefined;
}

function* waitToFillArea(mapping: Mapping, at: number): Operation<void> {
  yield () => mapping.parts[at]!.pages.mutex.write();
  const filling = fillArea(mapping, at);
  yield* fillRest(mapping, at, filling);
}

function* fillRest(mapping: Mapping, at: number, filling: Operation<void> | undefined): Operation<void> {
  if (filling !== undefined) yield* filling;
  const following = fillAreas(mapping, at + 1);
  if (following !== undefined) yield* following;
}

/** Fills one area into the domains. The mutex of its pages is held, and given back. */
function fillArea({ table, areas, parts }: Mapping, at: number): Operation<void> | undefined {
  const area = areas[at]!;
  const { pages } = parts[at]!;
  let filling: Operation<void> | undefined;
  try {
    filling = fillDomains(area, pages, table.domains, table.largePages);
    if (filling === undefined) setStorageDomain(area, pages, table.domains[0]!);
  } finally {
    if (filling === undefined) pages.mutex.releaseWrite();
  }
  return filling && finishArea(table, area, pages, filling);
}

function* finishArea(
  table: TableState,
  area: IoptArea,
  pages: PagesPart['pages'],
  filling: Operation<void>,
): Operation<void> {
  try {
    yield* filling;
    setStorageDomain(area, pages, table.domains[0]!);
  } finally {
    pages.mutex.releaseWrite();
  }
}

/** Takes back what was filled and placed, gives back the domains lock, and fails. */
function* undo(mapping: Mapping, error: unknown): Operation<never> {
  try {
    try {
      yield* unstoppable(unfillAreas(mapping));
    } finally {
      mapping.table.domainsLock.releaseRead();
    }
  } finally {
    yield* unstoppable(removeAreas(mapping));
  }
  throw error;
}

function* unfillAreas({ table, areas, parts }: Mapping): Operation<void> {
  for (let at = 0; at < areas.length; at++) {
    if (areas[at]!.storageDomain === undefined) continue;
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

function* removeAreas({ table, areas }: Mapping): Operation<void> {
  if (!table.iovaLock.tryWrite()) yield () => table.iovaLock.write();
  for (const area of areas) table.areas.delete(area.node!);
  table.iovaLock.releaseWrite();
}
