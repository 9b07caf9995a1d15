/** Taking both locks of a table in their order. */
import type { TableState } from './table-state.js';

/** Takes both locks for writing if that needs no wait. */
export function tryWriteBoth(table: TableState): boolean {
  if (!table.domainsLock.tryWrite()) return false;
  if (table.iovaLock.tryWrite()) return true;
  table.domainsLock.releaseWrite();
  return false;
}

/** Takes both locks for writing. */
export async function writeBoth(table: TableState): Promise<void> {
  // Not a tick later than must be: whoever asks for the iova lock next comes after this call.
  if (!table.domainsLock.tryWrite()) await table.domainsLock.write();
  await table.iovaLock.write();
}

/** Gives back both locks held for writing. */
export function releaseBoth(table: TableState): void {
  table.iovaLock.releaseWrite();
  table.domainsLock.releaseWrite();
}
