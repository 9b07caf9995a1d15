/** The memory of a test process: regions at given addresses, every byte initialised by its address. */

import { checkInteger, checkObject, invalidType, readValue } from '../arguments.js';
import { ProcessMemory } from '../memory/process-memory.js';
import { PAGE_SIZE, type U64Input } from '../u64.js';

const MOST_PAGES = 2 ** 40;

/** A region of a test process. */
export interface TestRegion {
  /** User address, a multiple of 4096. */
  readonly uptr: U64Input;
  /** Number of bytes, a multiple of 4096. */
  readonly length: U64Input;
  /** Whether the process may write it. */
  readonly writable: boolean;
}

/**
 * Makes the memory of a test process. The byte at address a is the top byte of
 * (lo32(a >> 12) * 0x9E3779B1 + (a & 4095) * 0x85EBCA6B) mod 2^32. No frame follows that of the page before.
 *
 * @param limits - `lockedPages`: how many pages may be locked, each by the user and by the process; absent: a
 * privileged process, without limit
 * @throws as `ProcessMemory.mmap`
 */
export function createMemory(
  regions: readonly TestRegion[],
  limits: { readonly lockedPages?: number | undefined } = {},
): ProcessMemory {
  if (!Array.isArray(regions)) throw invalidType(regions, 'regions', 'an array');
  checkObject(limits, 'limits');
  const { lockedPages } = limits;
  if (lockedPages !== undefined) checkInteger(lockedPages, 'limits.lockedPages', 0, MOST_PAGES);
  const memory = new ProcessMemory(lockedPages === undefined ? {} : { lockedLimit: lockedPages * PAGE_SIZE });
  for (const region of regions as readonly TestRegion[]) {
    checkObject(region, 'a region');
    const { uptr, length, writable } = region;
    memory.mmap({ uptr, length, writable, buffer: initialBytes(uptr, length), frames: 'scattered' });
  }
  return memory;
}

/** What the memory of a test process holds at first in `length` bytes from the page at `uptr` on. */
export function initialBytes(uptr: U64Input, length: U64Input): ArrayBuffer {
  const buffer = new ArrayBuffer(Number(readValue(length, 'length')));
  fill(new Uint8Array(buffer), readValue(uptr, 'uptr') / BigInt(PAGE_SIZE));
  return buffer;
}

function fill(bytes: Uint8Array, firstPage: bigint): void {
  let page = Number(BigInt.asUintN(32, firstPage));
  for (let at = 0; at < bytes.length; page += 1) {
    let value = Math.imul(page, 0x9e37_79b1);
    for (const stop = at + PAGE_SIZE; at < stop; at++) {
      bytes[at] = value >>> 24;
      value = (value + 0x85eb_ca6b) | 0;
    }
  }
}
