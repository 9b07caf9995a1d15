/**
 * An area: one mapped IOVA interval, the unit of unmap.
 */
import type { IommuDomain } from '../domain/iommu-domain.js';
import { type AreaInTheWay, areaInTheWay } from '../errors.js';
import type { TreeNode } from '../interval-tree.js';
import type { IoptPages } from '../pages/iopt-pages.js';
import type { MappedArea } from '../pages/mapped-area.js';
import { type Protection, protectionName } from '../protection.js';
import { type Address, byteLength, type Interval, join } from '../u64.js';

/**
 * One mapping of an `IoPagetable` (the kernel's `iopt_area`): the IOVA [iova, lastIova], both inclusive, shows
 * the bytes of `pages` from page `index`, byte `pageOffset`, on.
 */
export class IoptArea implements MappedArea {
  readonly page: number;
  readonly offset: number;
  readonly lastPage: number;
  readonly lastOffset: number;
  readonly index: number;
  readonly lastIndex: number;
  readonly pageOffset: number;
  readonly prot: number;
  /** The pages shown; `undefined` while the area is being set up or torn down by a call in progress. */
  pages: IoptPages | undefined = undefined;
  storageDomain: IommuDomain | undefined = undefined;
  /** @internal */
  storageNode: TreeNode<MappedArea> | undefined = undefined;
  /**
   * The area's place in the area tree of its table.
   *
   * @internal
   */
  node: TreeNode<IoptArea> | undefined = undefined;
  /** Pins that accesses hold through this area. */
  pins = 0;
  /** Pins among them of hardware queues, which nobody can ask to let go: the area cannot be unmapped (EBUSY). */
  locks = 0;
  /** `true` once an unmap has asked the accesses to let go: no new pin, read or write goes through the area. */
  preventAccess = false;

  /** @internal */
  constructor(range: Interval, index: number, lastIndex: number, pageOffset: number, prot: number) {
    this.page = range.page;
    this.offset = range.offset;
    this.lastPage = range.lastPage;
    this.lastOffset = range.lastOffset;
    this.index = index;
    this.lastIndex = lastIndex;
    this.pageOffset = pageOffset;
    this.prot = prot;
  }

  /** First IOVA of the area. */
  get iova(): bigint {
    return join(this.page, this.offset);
  }

  /** Last IOVA of the area (inclusive). */
  get lastIova(): bigint {
    return join(this.lastPage, this.lastOffset);
  }

  /** Length in bytes. */
  get length(): bigint {
    return byteLength(this);
  }

  /** What devices may do with the area. */
  get protection(): Protection {
    return protectionName(this.prot);
  }

  /** User address that the first byte is mapped from; `undefined` if it is of a file or while the area has no pages. */
  get uptr(): bigint | undefined {
    const from = userAddressOf(this);
    return from && join(from.page, from.offset);
  }

  /** Offset in the file or dma-buf that the first byte is mapped from; `undefined` if it is of user memory, or as `uptr`. */
  get fileOffset(): bigint | undefined {
    const { pages } = this;
    return pages === undefined || pages.memory !== undefined
      ? undefined
      : join(pages.firstPage + this.index, this.pageOffset);
  }
}

/** User address that the first byte of an area is mapped from, if it is mapped from user memory and has pages. */
export function userAddressOf({ pages, index, pageOffset }: IoptArea): Address | undefined {
  return pages?.memory === undefined ? undefined : pages.addressOf(index, pageOffset);
}

/** An area as errors show it. */
export function describeArea(area: IoptArea): AreaInTheWay {
  return areaInTheWay(area, userAddressOf(area));
}
