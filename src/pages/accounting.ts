/** Charging pinned pages to the locked-memory counters. */
import { IommuError, refuse } from '../errors.js';
import { faultPoint } from '../faults.js';
import type { LockedMemory } from '../memory/locked-memory.js';
import { PAGE_SIZE } from '../u64.js';
import type { IoptPages } from './iopt-pages.js';

/**
 * Charges the pages pinned since the last call; called once at the end of a fill.
 *
 * @throws ENOMEM if the limit would be passed, EINVAL if the process to be charged is gone; nothing is charged then.
 */
export function chargePinned(pages: IoptPages): void {
  const more = pages.npinned - pages.lastNpinned;
  const account = pages.account;
  if (account !== undefined && more > 0) {
    if (pages.mode === 'mm') faultPoint(pages.faults, 'process-account');
    faultPoint(pages.faults, 'charge');
    if (pages.mode === 'mm' && pages.owner?.exited) {
      throw refuse('EINVAL', 'state', 'the process whose locked memory would be charged is gone');
    }
    if (!account.tryCharge(more)) throw lockedMemoryFull(account, more);
  }
  pages.lastNpinned = pages.npinned;
}

/** ENOMEM: a counter cannot take so many more pages. */
export function lockedMemoryFull({ of, limitPages, lockedPages }: LockedMemory, more: number): IommuError {
  const bytes = BigInt(PAGE_SIZE);
  return new IommuError('ENOMEM', {
    check: 'locked-memory',
    of,
    limitBytes: BigInt(limitPages) * bytes,
    lockedBytes: BigInt(lockedPages) * bytes,
    neededBytes: BigInt(more) * bytes,
  });
}

/** Gives back what is no longer pinned; called at the end of an unfill. Never fails. */
export function creditUnpinned(pages: IoptPages): void {
  const fewer = pages.lastNpinned - pages.npinned;
  if (fewer === 0) return;
  const account = pages.account;
  if (account !== undefined) {
    // The counter of a process that is gone went with it: there is nothing to give back to.
    if (pages.mode === 'mm' && pages.owner?.exited) return;
    account.credit(fewer);
  }
  pages.lastNpinned = pages.npinned;
}
