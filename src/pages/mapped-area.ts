/**
 * The geometry of an area: how I/O virtual addresses, user pages and page indexes belong together.
 *
 * This is what the pages need to know of an area; the area itself lives a floor higher, in `table/`.
 */
import type { IommuDomain } from '../domain/iommu-domain.js';
import type { TreeNode } from '../interval-tree.js';
import { type Address, type Interval, PAGE_MASK, PAGE_SHIFT } from '../u64.js';

/** One mapped IOVA interval that shows the pages `index` to `lastIndex` of an `IoptPages`. */
export interface MappedArea extends Interval {
  /** Index of the first page shown. */
  readonly index: number;
  /** Index of the last page shown (inclusive). */
  readonly lastIndex: number;
  /** Byte inside the first page at which the area begins, 0 to 4095. */
  readonly pageOffset: number;
  /** Permission bits of the mapping. */
  readonly prot: number;
  /** The domain from which the frames of the area are read back; absent while no domain holds the area. */
  storageDomain: IommuDomain | undefined;
  /**
   * The area's place in the domains tree of its pages, while it has a storage domain.
   *
   * @internal
   */
  storageNode: TreeNode<MappedArea> | undefined;
}

/** The closed interval of page indexes [first, last] as a tree key. */
export function indexInterval(first: number, last: number): Interval {
  return { page: first, offset: 0, lastPage: last, lastOffset: PAGE_MASK };
}

/** Page index and byte inside that page behind an IOVA of the area. */
export function pageBehind(area: MappedArea, iova: Address): Address {
  const bytes = iova.offset - area.offset + area.pageOffset;
  return { page: area.index + (iova.page - area.page) + (bytes >> PAGE_SHIFT), offset: bytes & PAGE_MASK };
}

/** IOVA of the first byte that the area shows of page `index`. */
export function iovaOfIndex(area: MappedArea, index: number): Address {
  if (index === area.index) return { page: area.page, offset: area.offset };
  const bytes = area.offset - area.pageOffset;
  return { page: area.page + (index - area.index) + (bytes >> PAGE_SHIFT), offset: bytes & PAGE_MASK };
}

/** IOVA of the last byte that the area shows of page `index`. */
export function lastIovaOfIndex(area: MappedArea, index: number): Address {
  if (index === area.lastIndex) return { page: area.lastPage, offset: area.lastOffset };
  const bytes = area.offset - area.pageOffset - 1;
  return { page: area.page + (index - area.index) + 1 + (bytes >> PAGE_SHIFT), offset: bytes & PAGE_MASK };
}

/** Number of pages that the area shows, whole or in part. */
export function pageCount(area: MappedArea): number {
  return area.lastIndex - area.index + 1;
}

/** Whether the area's bytes are whole pages at whole io-virtual pages, so page operations can be used. */
export function isPageAligned(area: MappedArea): boolean {
  return area.offset === 0 && area.pageOffset === 0 && area.lastOffset === PAGE_MASK;
}
