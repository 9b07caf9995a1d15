/**
 * `map`: user memory, files and dma-bufs into a table.
 */

import { checkedInterval } from '../arguments.js';
import { refuse } from '../errors.js';
import { type FaultInjector, faultPoint } from '../faults.js';
import { type DmaBuf, isDmaBuf } from '../memory/dma-buf.js';
import type { AccountingMode } from '../memory/locked-memory.js';
import type { UserFile } from '../memory/user-file.js';
import type { UserMemory } from '../memory/user-memory.js';
import { DmaBufEntries } from '../pages/dma-buf-entries.js';
import { IoptPages } from '../pages/iopt-pages.js';
import { WRITE } from '../protection.js';
import { type Address, hex, hexRange, isZero, join, LAST_PAGE, PAGE_MASK, PAGE_SHIFT } from '../u64.js';
import { type Mapping, newMapping } from './map-pages.js';
import type { TableState } from './table-state.js';

/** A `map` request with its arguments read. */
export interface MapRequest {
  /** The process: whose memory is mapped, or that maps a file and is charged for it. */
  readonly memory: UserMemory | undefined;
  /** What is mapped instead of the memory. */
  readonly file: UserFile | DmaBuf | undefined;
  readonly accounting: AccountingMode;
  /** User address, or offset in the file, of the first byte. */
  readonly from: Address;
  readonly length: Address;
  readonly iova: Address | undefined;
  readonly prot: number;
}

/**
 * The mapping of user memory, a file or a dma-buf that `mapQuickly` and `mapPages` carry out.
 *
 * @throws User memory: EINVAL if the length is 0 or above 2^64 − 1 − 4096, EOVERFLOW if from + length is 2^64 or more.
 * File: EINVAL if the length is 0, EOVERFLOW if the last byte is past 2^64 − 1, EINVAL if the length is above 2^64 − 1 − 4096.
 * dma-buf: as the first two of a file, EINVAL if the last byte is beyond its end, ENODEV if it is revoked.
 */
export function mappingOf(table: TableState, request: MapRequest): Mapping {
  const { file, from, length, iova, prot } = request;
  if (file === undefined) {
    if (table.rules.userRangeChecks === 'overflow-first') refuseOverflow(from, length);
    refuseLength(length);
    if (table.rules.userRangeChecks === 'length-first') refuseOverflow(from, length);
  } else checkFileRange(file, from, length);
  const pages = createPages(request, table.faults);
  const part = { pages, start: { page: 0, offset: from.offset }, length };
  return newMapping(table, { parts: [part], length, iova, prot });
}

/** Whose pages they are; nothing is pinned yet. */
function createPages(request: MapRequest, faults: FaultInjector | undefined): IoptPages {
  const { memory, file, from, length, accounting } = request;
  const npages = length.page + ((from.offset + length.offset + PAGE_MASK) >> PAGE_SHIFT);
  const writable = (request.prot & WRITE) !== 0;
  faultPoint(faults, 'pages');
  const pages = new IoptPages(
    file === undefined ? memory : undefined,
    from.page,
    npages,
    writable,
    accounting,
  );
  if (file !== undefined) {
    if (isDmaBuf(file)) pages.dmaBuf = new DmaBufEntries(file);
    else pages.file = { file, owner: memory };
  }
  if (faults !== undefined) pages.faults = faults;
  return pages;
}

function refuseLength(length: Address): void {
  if (isZero(length)) throw refuse('EINVAL', 'argument', 'the length is 0');
  if (length.page === LAST_PAGE) {
    throw refuse('EINVAL', 'argument', `a length of ${hex(length)} bytes leaves no room for a page`);
  }
}

function refuseOverflow(from: Address, length: Address): void {
  if (from.page + length.page + ((from.offset + length.offset) >> PAGE_SHIFT) <= LAST_PAGE) return;
  throw refuse('EOVERFLOW', 'overflow', `user memory at ${hex(from)} of ${hex(length)} bytes reaches 2^64`);
}

function checkFileRange(file: UserFile | DmaBuf, start: Address, length: Address): void {
  const range = checkedInterval(start, length);
  if (!isDmaBuf(file)) refuseLength(length);
  else if (join(range.lastPage, range.lastOffset) >= file.size) {
    throw refuse(
      'EINVAL',
      'argument',
      `the range ${hexRange(range)} is not inside of the ${file.size} bytes of the dma-buf`,
    );
  } else if (file.revoked) throw refuse('ENODEV', 'state', 'the exporter of the dma-buf has revoked it');
}
