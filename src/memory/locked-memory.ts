/**
 * The counters that the locked-memory limit (RLIMIT_MEMLOCK) is checked against.
 */
import { invalidType, outOfRange } from '../arguments.js';

/** One counter of locked pages with its limit: a user's, or a process's. */
export class LockedMemory {
  /** The most pages that may be locked; `Infinity` for no limit. */
  limitPages: number;
  /** What the counter counts for, as error messages say it: `user` or `process`. */
  readonly of: 'user' | 'process';
  /** What all limits on one counter have in common. @internal */
  readonly counter: { pages: number };

  constructor(
    of: 'user' | 'process',
    limitPages: number,
    { sharing }: { readonly sharing?: LockedMemory } = {},
  ) {
    if (of !== 'user' && of !== 'process') throw invalidType(of, 'of', `'user' or 'process'`);
    if (typeof limitPages !== 'number') throw invalidType(limitPages, 'limitPages', 'a number');
    if (!(limitPages >= 0)) throw outOfRange(limitPages, 'limitPages', 'at least 0');
    this.of = of;
    this.limitPages = limitPages;
    this.counter = sharing?.counter ?? { pages: 0 };
  }

  /** Pages that are locked now. */
  get lockedPages(): number {
    return this.counter.pages;
  }

  /** For counters that are set back, as in tests. */
  set lockedPages(pages: number) {
    this.counter.pages = pages;
  }

  /** Another limit on the same counter: that of another process of the same user. */
  withLimit(limitPages: number): LockedMemory {
    return new LockedMemory(this.of, limitPages, { sharing: this });
  }

  /** Adds `pages` if the limit allows it (reaching it exactly is allowed); `false` if not, with nothing added. */
  tryCharge(pages: number): boolean {
    const { counter } = this;
    if (counter.pages + pages > this.limitPages) return false;
    counter.pages += pages;
    return true;
  }

  /** Takes `pages` back. Never fails. */
  credit(pages: number): void {
    this.counter.pages -= pages;
  }
}

/** Whom locked pages are charged to: the user, the process (`mm`), or nobody. */
export type AccountingMode = 'none' | 'user' | 'mm';

/** All accounting modes. */
export const ACCOUNTING_MODES: readonly AccountingMode[] = ['none', 'user', 'mm'];
