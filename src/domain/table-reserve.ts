/// <reference lib="es2024.arraybuffer" />
/// <reference lib="es2024.sharedmemory" />
/**
 * Memory for tables that grows in place, in a reserve of address space.
 *
 * Growing adds to its end and moves nothing, and costs no copy. Where threads can share memory it is a
 * `SharedArrayBuffer`, and another thread that has it sees the new tables without being told.
 *
 * A process has room for some 32 000 reserves, and V8 ends it when it finds none for itself. So there are never more
 * than half of that. One that is not used any more counts until it has been collected, and the event loop turned.
 */
import { TABLE_BYTES } from './table-entry.js';

/** The most tables of a page table: 4 GiB. */
export const MOST_TABLES = 2 ** 20;

/** Each takes 4 GiB of address space, and two of the 65 530 mappings that Linux allows a process. */
const MOST_RESERVES = 16_384;

/** The memory of tables that are reserved. */
export type Reserve = ArrayBuffer | SharedArrayBuffer;

let reserves = 0;
const collected = new FinalizationRegistry<undefined>(() => {
  reserves -= 1;
});

/** Whether there is memory that threads can share: in browsers only where a page is isolated from other origins. */
export function canShare(): boolean {
  return typeof SharedArrayBuffer === 'function';
}

/** Memory for `tables` tables that can grow up to `MOST_TABLES`; `undefined` if there are too many reserves already. */
export function newReserve(tables: number): Reserve | undefined {
  if (reserves >= MOST_RESERVES) return undefined;
  const limit = { maxByteLength: MOST_TABLES * TABLE_BYTES };
  const bytes = tables * TABLE_BYTES;
  try {
    const reserve = canShare() ? new SharedArrayBuffer(bytes, limit) : new ArrayBuffer(bytes, limit);
    collected.register(reserve, undefined);
    reserves += 1;
    return reserve;
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/** @throws RangeError if there is no memory for as many tables, or they are more than `MOST_TABLES`. */
export function growReserve(reserve: Reserve, tables: number): void {
  const bytes = tables * TABLE_BYTES;
  if (isShared(reserve)) reserve.grow(bytes);
  else reserve.resize(bytes);
}

/** Whether other threads can have it. */
export function isShared(reserve: Reserve): reserve is SharedArrayBuffer {
  return 'growable' in reserve;
}
