/**
 * Mapping: what `map` and `copy` have in common, from placing areas to publishing them.
 *
 * Areas are placed, filled into the domains and published: each with locks of its own, and between them others may
 * have their turn. Until they are published they are in the tree without pages, so that nobody else can use or remove
 * them.
 */
import { faultPoint } from '../faults.js';
import { type Operation, quickWays, unstoppable } from '../operation.js';
import { mapRead, setStorageDomain, unfillDomains } from '../pages/domain-fill.js';
import { giveBack, ReadFrames, readNow, readRest } from '../pages/frame-reader.js';
import type { IoptPages } from '../pages/iopt-pages.js';
import type { IoptArea } from './iopt-area.js';
import { type Placement, placeAreas } from './place-areas.js';
import { releaseDomainsIova, tryReadDomainsWriteIova } from './table-locks.js';
import type { TableState } from './table-state.js';

/** A mapping in progress, and how far it has come. */
export interface Mapping {
  readonly table: TableState;
  readonly placement: Placement;
  /** One for each part, once they are in the tree. From the next step on the domains lock is held for reading. */
  areas: readonly IoptArea[] | undefined;
  /** How many of the areas are in the domains. */
  filled: number;
  /** The frames of the next area, from when the mutex of its pages is held. */
  read: ReadFrames | undefined;
  /** Why the quick way ended. */
  failure: { readonly error: unknown } | undefined;
}

/** A mapping that has not begun. */
export function newMapping(table: TableState, placement: Placement): Mapping {
  return { table, placement, areas: undefined, filled: 0, read: undefined, failure: undefined };
}

/**
 * Maps parts one after the other into a table and gives the IOVA of the first. The areas take over the parts'
 * references; on failure they are left to the caller. Goes on where `mapQuickly` ended.
 *
 * @throws what placing, pinning, a domain or the locked-memory limit throws; nothing has changed then.
 */
export function* mapPages(mapping: Mapping): Operation<bigint> {
  const { table, placement } = mapping;
  const { domainsLock, iovaLock, domains } = table;
  if (mapping.areas === undefined) {
    for (const _ of placement.parts) faultPoint(table.faults, 'area');
    if (!iovaLock.tryWrite()) yield () => iovaLock.write();
    try {
      mapping.areas = placeAreas(table, placement);
    } finally {
      iovaLock.releaseWrite();
    }
    try {
      if (!domainsLock.tryRead()) yield () => domainsLock.read();
    } catch (error) {
      yield* unstoppable(removeAreas(table, mapping.areas), { error });
      throw error;
    }
  }
  const { areas } = mapping;
  try {
    if (mapping.failure !== undefined) throw mapping.failure.error;
    for (; domains.length > 0 && mapping.filled < areas.length; mapping.filled++) {
      const area = areas[mapping.filled]!;
      const { pages } = placement.parts[mapping.filled]!;
      if (mapping.read === undefined) {
        if (!pages.mutex.tryWrite()) yield () => pages.mutex.write();
        mapping.read = new ReadFrames(area.index, area.lastIndex);
        faultPoint(pages.faults, 'batch');
      }
      yield* readRest(pages, mapping.read);
      fill(mapping, area, pages, mapping.read);
    }
    if (!iovaLock.tryWrite()) yield () => iovaLock.write();
  } catch (error) {
    yield* unstoppable(undo(mapping, areas), { error });
    throw error;
  }
  return publish(mapping, areas);
}

/** The quick way. `undefined`: `mapPages` is to go on. @throws as `mapPages` */
export function mapQuickly(mapping: Mapping): bigint | undefined {
  const { table, placement } = mapping;
  if (!quickWays.allowed || table.faults !== undefined || !tryReadDomainsWriteIova(table)) return undefined;
  try {
    mapping.areas = placeAreas(table, placement);
  } catch (error) {
    table.domainsLock.releaseRead();
    throw error;
  } finally {
    table.iovaLock.releaseWrite();
  }
  const { areas } = mapping;
  try {
    for (; table.domains.length > 0 && mapping.filled < areas.length; mapping.filled++) {
      const area = areas[mapping.filled]!;
      const { pages } = placement.parts[mapping.filled]!;
      if (!pages.mutex.tryWrite()) return undefined;
      mapping.read = new ReadFrames(area.index, area.lastIndex);
      faultPoint(pages.faults, 'batch');
      if (!readNow(pages, mapping.read)) return undefined;
      fill(mapping, area, pages, mapping.read);
    }
  } catch (error) {
    mapping.failure = { error };
    return undefined;
  }
  return table.iovaLock.tryWrite() ? publish(mapping, areas) : undefined;
}

/** Puts an area into the domains, all of whose frames have been read. The mutex of its pages is given back. */
function fill(mapping: Mapping, area: IoptArea, pages: IoptPages, read: ReadFrames): void {
  const { table } = mapping;
  const { domains } = table;
  mapRead(area, pages, domains, table, read);
  setStorageDomain(area, pages, domains[0]!);
  mapping.read = undefined;
  pages.mutex.releaseWrite();
}

/** Both locks are held, and given back. */
function publish({ table, placement }: Mapping, areas: readonly IoptArea[]): bigint {
  for (let at = 0; at < areas.length; at++) areas[at]!.pages = placement.parts[at]!.pages;
  releaseDomainsIova(table);
  return areas[0]!.iova;
}

/** Takes back what was filled and placed, and gives back the locks. */
function* undo({ table, placement, filled, read }: Mapping, areas: readonly IoptArea[]): Operation<void> {
  const { domainsLock, iovaLock } = table;
  // While no domain has any of it the place can be free at once, whatever the rest has to wait for.
  const removed = filled === 0 && iovaLock.tryWrite();
  if (removed) removeNow(table, areas);
  try {
    if (read !== undefined) {
      const { pages } = placement.parts[filled]!;
      try {
        yield* giveBack(pages, read);
      } finally {
        pages.mutex.releaseWrite();
      }
    }
  } finally {
    try {
      for (let at = 0; at < filled; at++) {
        const { pages } = placement.parts[at]!;
        if (!pages.mutex.tryWrite()) yield () => pages.mutex.write();
        try {
          yield* unfillDomains(areas[at]!, pages, table.domains);
        } finally {
          pages.mutex.releaseWrite();
        }
      }
    } finally {
      domainsLock.releaseRead();
      if (!removed) yield* removeAreas(table, areas);
    }
  }
}

function* removeAreas(table: TableState, areas: readonly IoptArea[]): Operation<void> {
  if (!table.iovaLock.tryWrite()) yield () => table.iovaLock.write();
  removeNow(table, areas);
}

/** The iova lock is held for writing, and given back. */
function removeNow(table: TableState, areas: readonly IoptArea[]): void {
  for (const area of areas) table.areas.delete(area.node!);
  table.iovaLock.releaseWrite();
}
