/** Taking both locks of a table in their order. */
import type { Operation } from '../operation.js';
import type { TableState } from './table-state.js';

/** Takes both locks for writing if that needs no wait. */
export function tryWriteBoth(table: TableState): boolean {
  if (!table.domainsLock.tryWrite()) return false;
  if (table.iovaLock.tryWrite()) return true;
  table.domainsLock.releaseWrite();
  return false;
}

/** Takes both locks for writing. */
export function* writeBoth(table: TableState): Operation<void> {
  if (!table.domainsLock.tryWrite()) yield () => table.domainsLock.write();
  yield* thenIova(table, () => table.domainsLock.releaseWrite());
}

/** As `tryWriteBoth`, but the domains lock for reading. */
export function tryReadDomainsWriteIova(table: TableState): boolean {
  if (!table.domainsLock.tryRead()) return false;
  if (table.iovaLock.tryWrite()) return true;
  table.domainsLock.releaseRead();
  return false;
}

/** Takes the domains lock for reading and the iova lock for writing. */
export function* readDomainsWriteIova(table: TableState): Operation<void> {
  if (!table.domainsLock.tryRead()) yield () => table.domainsLock.read();
  yield* thenIova(table, () => table.domainsLock.releaseRead());
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

/** Gives back both locks held for writing. */
export function releaseBoth(table: TableState): void {
  table.iovaLock.releaseWrite();
  table.domainsLock.releaseWrite();
}
