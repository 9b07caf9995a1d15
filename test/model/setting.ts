/**
 * What random runs work with: the user memory, and how many of each object there are.
 */

/** Number of tables. */
export const TABLES = 3;
/** Number of domains: two mock domains (2048-byte io pages), three radix domains (4096). */
export const DOMAINS = 5;
/** Number of accesses; the last one cannot pin. */
export const ACCESSES = 4;
/** Number of owners of reservations, and of devices. */
export const OWNERS = 2;

/** A region of user memory. */
export interface SettingRegion {
  readonly uptr: bigint;
  readonly pages: number;
  readonly writable: boolean;
  /** Whether neighbouring pages are neighbouring frames. */
  readonly frames: 'contiguous' | 'scattered';
}

/** User memory: neighbours, holes, read-only parts, and addresses past 2^32 and 2^53. */
export const REGIONS: readonly SettingRegion[] = [
  { uptr: 0x10000n, pages: 8, writable: true, frames: 'contiguous' },
  { uptr: 0x18000n, pages: 2, writable: false, frames: 'contiguous' },
  { uptr: 0x1b000n, pages: 5, writable: true, frames: 'scattered' },
  { uptr: 2n ** 32n - 0x2000n, pages: 4, writable: true, frames: 'contiguous' },
  { uptr: 2n ** 53n, pages: 4, writable: true, frames: 'scattered' },
  { uptr: 2n ** 53n + 0x4000n, pages: 2, writable: false, frames: 'contiguous' },
];
