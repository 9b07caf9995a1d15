/**
 * The counters that the locked-memory limit (RLIMIT_MEMLOCK) is checked against.
 */
import { invalidType, outOfRange } from '../arguments.js';

/** One counter of locked pages with its limit: a user's, or a process's. */
export class LockedMemory {
  /** The most pages that may be locked; `Infinity` for no limit. */
  limitPages: number;
  /** Pages that are locked now. */
  lockedPages = 0;
  /** What the counter counts for, as error messages say it: `user` or `process`. */
  readonly of: 'user' | 'process';

  constructor(of: 'user' | 'process', limitPages: number) {
    if (of !== 'user' && of !== 'process') throw invalidType(of, 'of', `'user' or 'process'`);
    if (typeof limitPages !== 'number') throw invalidType(limitPages, 'limitPages', 'a number');
    if (!(limitPages >= 0)) throw outOfRange(limitPages, 'limitPages', 'at least 0');
    this.of = of;
    this.limitPages = limitPages;
  }

  /** Adds `pages` if the limit allows it (reaching it exactly is allowed); `false` if not, with nothing added. */
  tryCharge(pages: number): boolean {
    if (this.lockedPages + pages > this.limitPages) return false;
    this.lockedPages += pages;
    return true;
  }

  /** Takes `pages` back. Never fails. */
  credit(pages: number): void {
    this.lockedPages -= pages;
  }
}

/** Whom locked pages are charged to: the user, the process (`mm`), or nobody. */
export type AccountingMode = 'none' | 'user' | 'mm';

/** All accounting modes. */
export const ACCOUNTING_MODES: readonly AccountingMode[] = ['none', 'user', 'mm'];
