/**
 * Splitting areas, for VFIO type1 users who unmap parts of what they mapped.
 */
import { IommuError, misaligned, refuse } from '../errors.js';
import { faultPoint } from '../faults.js';
import type { Operation } from '../operation.js';
import { clearStorageDomain, setStorageDomain } from '../pages/domain-fill.js';
import type { IoptPages } from '../pages/iopt-pages.js';
import { pageBehind } from '../pages/mapped-area.js';
import { type Address, between, compare, firstOf, lastOf, next } from '../u64.js';
import { describeArea, IoptArea } from './iopt-area.js';
import type { TableState } from './table-state.js';

/**
 * Splits the area at each address, which becomes the last byte of the left part; an address in no area is skipped.
 *
 * @throws EBUSY if the area is being set up, torn down or unmapped; EOPNOTSUPP if it is of a dma-buf; EINVAL if the cut is not aligned, an access
 * has pins in the area, or a domain may have mapped it with large pages. Cuts made before stay.
 */
export function* cutAreas(table: TableState, addresses: readonly Address[]): Operation<void> {
  if (!table.iovaLock.tryWrite()) yield () => table.iovaLock.write();
  try {
    for (const address of addresses) {
      const area = table.areas.first(between(address, address))?.value;
      if (area !== undefined) yield* cutArea(table, area, address);
    }
  } finally {
    table.iovaLock.releaseWrite();
  }
}

function* cutArea(table: TableState, area: IoptArea, leftLast: Address): Operation<void> {
  // The kernel makes no left part of a single byte either.
  if (compare(leftLast, area) === 0 || compare(leftLast, lastOf(area)) === 0) return;
  const { pages } = area;
  if (pages === undefined || area.preventAccess) {
    throw new IommuError('EBUSY', { check: 'area-busy', area: describeArea(area) });
  }
  if (pages.dmaBuf !== undefined) {
    throw refuse(
      'EOPNOTSUPP',
      'unsupported',
      `the area at ${describeArea(area).iova} is of a dma-buf, and cannot be split`,
    );
  }
  // Not the last byte of the area, so there is a byte after it.
  const rightFirst = next(leftLast)!;
  const start = pageBehind(area, rightFirst);
  const mask = table.alignment - 1;
  if (rightFirst.offset & mask) throw misaligned('cut at iova', rightFirst, table.alignment);
  if (start.offset & mask)
    throw misaligned('cut at page offset', { page: 0, offset: start.offset }, table.alignment);
  faultPoint(table.faults, 'split');
  if (!pages.mutex.tryWrite()) yield () => pages.mutex.write();
  try {
    split(table, area, pages, leftLast, rightFirst, start);
  } finally {
    pages.mutex.releaseWrite();
  }
}

function split(
  table: TableState,
  area: IoptArea,
  pages: IoptPages,
  leftLast: Address,
  rightFirst: Address,
  start: Address,
): void {
  if (area.pins > 0) throw new IommuError('EINVAL', { check: 'area-in-use', area: describeArea(area) });
  const storage = area.storageDomain;
  if (storage !== undefined && table.largePages) {
    throw refuse('EINVAL', 'state', 'an area in a domain can be split only while large pages are disabled');
  }
  const { index, lastIndex, pageOffset, prot } = area;
  const leftLastIndex = start.offset === 0 ? start.page - 1 : start.page;
  const left = new IoptArea(between(firstOf(area), leftLast), index, leftLastIndex, pageOffset, prot);
  const right = new IoptArea(between(rightFirst, lastOf(area)), start.page, lastIndex, start.offset, prot);
  table.areas.delete(area.node!);
  if (storage !== undefined) clearStorageDomain(area, pages);
  for (const part of [left, right]) {
    part.pages = pages;
    part.node = table.areas.insert(part, part);
    if (storage !== undefined) setStorageDomain(part, pages, storage);
  }
  pages.references += 1;
}
