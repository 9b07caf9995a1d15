/**
 * `map`: user memory into a table.
 */

import { refuse } from '../errors.js';
import { faultPoint } from '../faults.js';
import type { AccountingMode } from '../memory/locked-memory.js';
import type { UserMemory } from '../memory/user-memory.js';
import { IoptPages } from '../pages/iopt-pages.js';
import { WRITE } from '../protection.js';
import { type Address, hex, isZero, LAST_PAGE, PAGE_MASK, PAGE_SHIFT } from '../u64.js';
import { type Mapping, newMapping } from './map-pages.js';
import type { TableState } from './table-state.js';

/** A `map` request with its arguments read. */
export interface MapRequest {
  readonly memory: UserMemory;
  readonly accounting: AccountingMode;
  readonly uptr: Address;
  readonly length: Address;
  readonly iova: Address | undefined;
  readonly prot: number;
}

/**
 * The mapping of user memory that `mapQuickly` and `mapPages` carry out.
 *
 * @throws EINVAL if the length is 0 or above 2^64 − 1 − 4096, EOVERFLOW if uptr + length is 2^64 or more; which of them if
 * both, is the rules' order.
 */
export function mappingOf(table: TableState, request: MapRequest): Mapping {
  const { uptr, length, iova, prot } = request;
  const pages = createPages(table, request);
  const part = { pages, start: { page: 0, offset: uptr.offset }, length };
  return newMapping(table, { parts: [part], length, iova, prot });
}

/** The pages of a range of user memory; nothing is pinned yet. @throws as `mappingOf` */
function createPages({ rules, faults }: TableState, request: MapRequest): IoptPages {
  const { uptr, length } = request;
  if (rules.userRangeChecks === 'length-first') checkLength(length);
  const bytes = uptr.offset + length.offset;
  const past = uptr.page + length.page + (bytes >> PAGE_SHIFT);
  if (past > LAST_PAGE) {
    throw refuse('EOVERFLOW', 'overflow', `user memory at ${hex(uptr)} of ${hex(length)} bytes reaches 2^64`);
  }
  if (rules.userRangeChecks === 'overflow-first') checkLength(length);
  const npages = length.page + ((bytes + PAGE_MASK) >> PAGE_SHIFT);
  const writable = (request.prot & WRITE) !== 0;
  faultPoint(faults, 'pages');
  const pages = new IoptPages(request.memory, uptr.page, npages, writable, request.accounting);
  if (faults !== undefined) pages.faults = faults;
  return pages;
}

function checkLength(length: Address): void {
  if (isZero(length)) throw refuse('EINVAL', 'argument', 'the length is 0');
  if (length.page < LAST_PAGE) return;
  throw refuse('EINVAL', 'argument', `a length of ${hex(length)} bytes leaves no room for a page`);
}
