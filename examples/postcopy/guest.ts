/**
 * A guest that has just arrived: its RAM is here, the bytes are still on the source host.
 */
import { IoPagetable, ProcessMemory } from 'io-pagetable';
import { PostcopyMemory } from './postcopy-memory.js';
import { SourceHost } from './source-host.js';

export const PAGE_SIZE = 4096;
export const PAGES = 64;

/** What page `page` of the guest is full of. */
export function contentOf(page: number): number {
  return page + 1;
}

/** The guest's memory as it arrives here, and a table over it. */
export function startGuest() {
  const source = new SourceHost((page) => new Uint8Array(PAGE_SIZE).fill(contentOf(page)));
  const local = new ProcessMemory();
  const { uptr } = local.mmap({ length: PAGES * PAGE_SIZE });
  const memory = new PostcopyMemory(local, uptr, PAGES, (page) => source.fetch(page));
  return { source, local, uptr, memory, table: new IoPagetable({ memory }) };
}
