/** IOAS_CHANGE_PROCESS: handing all mappings of files over to another process. */
import { IommuError, refuse } from '../errors.js';
import type { LockedMemory } from '../memory/locked-memory.js';
import type { UserMemory } from '../memory/user-memory.js';
import type { Operation } from '../operation.js';
import { lockedMemoryFull } from '../pages/accounting.js';
import type { IoptPages, PagesFile } from '../pages/iopt-pages.js';
import { describeArea } from '../table/iopt-area.js';
import type { TableState } from '../table/table-state.js';
import type { Caller } from './caller.js';
import { command } from './command.js';
import type { Context } from './context.js';
import { Ioas } from './ioas.js';

/** The fields of IOAS_CHANGE_PROCESS. */
export interface ChangeProcessFields {
  readonly reserved: number;
}

/**
 * IOAS_CHANGE_PROCESS: all pages of files that are mapped belong to the caller from now on, which is charged for those
 * that are pinned, and will be for those that are pinned later. Who had them gets his charges back.
 *
 * The caller is charged for all of them before anybody gets something back, so one user needs room for them twice.
 *
 * @throws EOPNOTSUPP if `reserved` is not 0; EBUSY at an area that another call sets up or tears down, EINVAL at one that
 * is not of a file, whichever comes first by address space and IOVA; ENOMEM if the caller's limit would be passed. Nothing
 * has changed then.
 *
 * @internal
 */
export const ioasChangeProcess = command(function* (
  context: Context,
  fields: ChangeProcessFields,
  caller?: Caller,
): Operation<void> {
  if (fields.reserved !== 0) throw refuse('EOPNOTSUPP', 'unsupported', 'the reserved field is not 0');
  const memory = context.memoryOf(caller);
  const { ioasCreation } = context;
  if (!ioasCreation.tryWrite()) yield () => ioasCreation.write();
  try {
    yield* whileLocked(allTables(context), (tables) => changeOwner(tables, memory));
  } finally {
    ioasCreation.releaseWrite();
  }
});

/** The tables of all address spaces that exist, by ascending id. */
function allTables({ objects }: Context): TableState[] {
  const all = objects.remaining(Ioas);
  return all.sort((a, b) => a.id - b.id).map(({ table }) => table.state);
}

/** Runs a step with the iova locks of tables held for writing, taken in order. */
function* whileLocked(
  tables: readonly TableState[],
  step: (tables: readonly TableState[]) => void,
): Operation<void> {
  const locked: TableState[] = [];
  try {
    for (const table of tables) {
      if (!table.iovaLock.tryWrite()) yield () => table.iovaLock.write();
      locked.push(table);
    }
    step(tables);
  } finally {
    for (const { iovaLock } of locked) iovaLock.releaseWrite();
  }
}

function changeOwner(tables: readonly TableState[], memory: UserMemory | undefined): void {
  const files = filesOf(tables);
  const sums = { user: 0, mm: 0 };
  const moved: IoptPages[] = [];
  for (const [pages, { owner }] of files) {
    if (pages.mode === 'none' || isSameProcess(owner, memory)) continue;
    sums[pages.mode] += pages.lastNpinned;
    moved.push(pages);
  }
  charge(memory, sums);
  for (const pages of moved) {
    if (pages.mode === 'mm' && pages.owner?.exited) continue;
    pages.account?.credit(pages.lastNpinned);
  }
  for (const file of files.values()) file.owner = memory;
}

/** All pages that areas show. @throws EBUSY if an area has none now, EINVAL if some are not of a file */
function filesOf(tables: readonly TableState[]): Map<IoptPages, PagesFile> {
  const files = new Map<IoptPages, PagesFile>();
  for (const table of tables) {
    for (const area of table.areas) {
      const { pages } = area;
      if (pages === undefined)
        throw new IommuError('EBUSY', { check: 'area-busy', area: describeArea(area) });
      if (pages.file === undefined) {
        const { iova } = describeArea(area);
        throw refuse('EINVAL', 'state', `the area at ${iova} is not of a file, and stays with its process`);
      }
      files.set(pages, pages.file);
    }
  }
  return files;
}

/** Whether two are one process: the same memory, or the same counter of a process behind it. */
function isSameProcess(a: UserMemory | undefined, b: UserMemory | undefined): boolean {
  return a === b || (a?.locked !== undefined && a.locked.mm === b?.locked?.mm);
}

/** @throws ENOMEM if one of the limits would be passed; nothing is charged then */
function charge(memory: UserMemory | undefined, sums: { readonly user: number; readonly mm: number }): void {
  const locked = memory?.locked;
  if (locked === undefined) return;
  const charged: [LockedMemory, number][] = [];
  for (const mode of ['user', 'mm'] as const) {
    const account = locked[mode];
    const pages = sums[mode];
    if (pages === 0) continue;
    if (!account.tryCharge(pages)) {
      for (const [before, more] of charged) before.credit(more);
      throw lockedMemoryFull(account, pages);
    }
    charged.push([account, pages]);
  }
}
