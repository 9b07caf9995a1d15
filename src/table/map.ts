/**
 * `map`: user memory into a table.
 */

import { refuse } from '../errors.js';
import { type FaultInjector, faultPoint } from '../faults.js';
import type { AccountingMode } from '../memory/locked-memory.js';
import type { UserMemory } from '../memory/user-memory.js';
import type { Outcome } from '../operation.js';
import { IoptPages } from '../pages/iopt-pages.js';
import { WRITE } from '../protection.js';
import { type Address, hex, isZero, LAST_PAGE, PAGE_MASK, PAGE_SHIFT } from '../u64.js';
import { mapPages } from './map-pages.js';
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

/** Maps user memory and gives the IOVA it was mapped at. */
export function mapUserMemory(table: TableState, request: MapRequest): Outcome<bigint> {
  const pages = createPages(request, table.faults);
  const part = { pages, start: { page: 0, offset: request.uptr.offset }, length: request.length };
  return mapPages(table, { parts: [part], length: request.length, iova: request.iova, prot: request.prot });
}

/**
 * The pages of a range of user memory; nothing is pinned yet.
 *
 * @throws EINVAL if the length is 0 or above 2^64 − 1 − 4096, EOVERFLOW if uptr + length is 2^64 or more.
 */
function createPages(request: MapRequest, faults: FaultInjector | undefined): IoptPages {
  const { uptr, length } = request;
  if (isZero(length)) throw refuse('EINVAL', 'argument', 'the length is 0');
  if (length.page === LAST_PAGE) {
    throw refuse('EINVAL', 'argument', `a length of ${hex(length)} bytes leaves no room for a page`);
  }
  const bytes = uptr.offset + length.offset;
  const past = uptr.page + length.page + (bytes >> PAGE_SHIFT);
  if (past > LAST_PAGE) {
    throw refuse('EOVERFLOW', 'overflow', `user memory at ${hex(uptr)} of ${hex(length)} bytes reaches 2^64`);
  }
  const npages = length.page + ((bytes + PAGE_MASK) >> PAGE_SHIFT);
  const writable = (request.prot & WRITE) !== 0;
  faultPoint(faults, 'pages');
  const pages = new IoptPages(request.memory, uptr.page, npages, writable, request.accounting);
  if (faults !== undefined) pages.faults = faults;
  return pages;
}
