/** Taking the locks of a table, in their order. */
import type { Operation } from '../operation.js';
import type { TableState } from './table-state.js';

/** Runs a step with both locks held for writing. */
export function* withBoth<T>(table: TableState, step: () => T): Operation<T> {
  yield* writeBoth(table);
  try {
    return step();
  } finally {
    releaseBoth(table);
  }
}

/** Runs a step with the iova lock held for writing. */
export function* withIova<T>(table: TableState, step: () => T): Operation<T> {
  const { iovaLock } = table;
  if (!iovaLock.tryWrite()) yield () => iovaLock.write();
  try {
    return step();
  } finally {
    iovaLock.releaseWrite();
  }
}

/** Takes both locks for writing. */
export function* writeBoth(table: TableState): Operation<void> {
  const { domainsLock } = table;
  if (!domainsLock.tryWrite()) yield () => domainsLock.write();
  yield* thenIova(table, () => domainsLock.releaseWrite());
}

/** Gives back both locks held for writing. */
export function releaseBoth(table: TableState): void {
  table.iovaLock.releaseWrite();
  table.domainsLock.releaseWrite();
}

/** Takes the domains lock for reading and the iova lock for writing if that needs no wait. */
export function tryReadDomainsWriteIova(table: TableState): boolean {
  if (!table.domainsLock.tryRead()) return false;
  if (table.iovaLock.tryWrite()) return true;
  table.domainsLock.releaseRead();
  return false;
}

/** Takes the domains lock for reading and the iova lock for writing. */
export function* readDomainsWriteIova(table: TableState): Operation<void> {
  const { domainsLock } = table;
  if (!domainsLock.tryRead()) yield () => domainsLock.read();
  yield* thenIova(table, () => domainsLock.releaseRead());
}

/** Gives back the domains lock held for reading and the iova lock held for writing. */
export function releaseDomainsIova(table: TableState): void {
  table.iovaLock.releaseWrite();
  table.domainsLock.releaseRead();
}

/** Takes the iova lock for writing, or gives back the domains lock. */
function* thenIova(table: TableState, releaseDomains: () => void): Operation<void> {
  if (table.iovaLock.tryWrite()) return;
  try {
    yield () => table.iovaLock.write();
  } catch (error) {
    releaseDomains();
    throw error;
  }
}
