/** What the owner and the readers of a stress test tell each other, in words of a shared buffer. */
import type { RadixHandle } from '../../src/domain/radix-handle.js';
import type { SharedMemoryHandle } from '../../src/memory/shared-frames.js';

/** Regions of a GiB each: a page in one needs tables of its own. */
export const REGIONS = 300;
export const REGION_PAGES = 2 ** 18;
/** Region whose pages are mapped as a huge one, and split. */
export const HUGE_REGION = REGIONS;
/** A page whose mapping raises the root; it is above 2^49. */
export const FAR_PAGE = 2 ** 37 + 5;
/** Pages that are mapped and unmapped in one request; they are in four tables. */
export const WIDE_PAGE = (REGIONS + 1) * REGION_PAGES + 100;
export const WIDE_COUNT = 1500;

/** A page that stays mapped, in the table of pages that come and go. */
export const KEPT_PAGE = WIDE_PAGE + WIDE_COUNT;

/** Word: what is going on with the wide mapping: 4 · number of it + one of the four. */
export const WIDE_PHASE = 0;
export const UNMAPPED = 0;
export const MAPPING = 1;
export const MAPPED = 2;
export const UNMAPPING = 3;
/** Word: the readers are to end. */
export const STOP = 1;
/** Words, one a reader: sections that it has finished. */
export const SECTIONS = 2;
/** Words, one a region: where in it something was mapped last. */
export const HINTS = 16;
export const PROGRESS_WORDS = HINTS + REGIONS + 1;

/** What a reader is given. */
export interface ReaderData {
  readonly domain: RadixHandle;
  readonly memory: SharedMemoryHandle;
  readonly progress: SharedArrayBuffer;
  /** Which one it is, from 0 on. */
  readonly number: number;
  /** `check`: translates and checks; `device`: reads and writes; `die`: ends while it is using a translation. */
  readonly role: 'check' | 'device' | 'die';
}

/** What a reader has done. */
export interface ReaderReport {
  readonly translations: number;
  readonly mapped: number;
  readonly widePairs: number;
}
