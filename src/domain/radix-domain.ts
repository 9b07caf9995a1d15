/**
 * An IOMMU domain with a page table of its own.
 */
import { misaligned, refuse } from '../errors.js';
import { FrameRuns } from '../memory/frame-runs.js';
import { join, MAX_U64, outOfRange, PAGE_MASK, PAGE_SIZE, readU64, type U64Input } from '../u64.js';
import type { DirtyOperations, IommuDomain, PageOperations, Translation } from './iommu-domain.js';
import { readPageSizes } from './page-sizes.js';
import { RadixTable } from './radix-table.js';

/** Options of a `RadixDomain`. */
export interface RadixDomainOptions {
  /**
   * Page sizes in bytes: powers of two from 4096 to 2^39, at least one; the smallest is the io page. Default
   * 4 KiB, 2 MiB and 1 GiB. An io page above 4096 makes a domain that no `IoPagetable` takes (EINVAL).
   */
  readonly pageSizes?: Iterable<U64Input> | undefined;
  /** First and last IOVA (inclusive) that it translates. Default: all 64 bits. */
  readonly aperture?: { readonly start: U64Input; readonly last: U64Input } | undefined;
  /** Whether it can track which pages devices write. Default false. */
  readonly dirty?: boolean | undefined;
}

const DEFAULT_PAGE_SIZES = [4096, 2 ** 21, 2 ** 30];

/**
 * An IOMMU domain over a multi-level page table with large pages (the kernel's counterpart: a paging domain of
 * an IOMMU driver). IOVAs are 64 bits wide, physical addresses 52.
 *
 * A request is split into the largest page sizes that fit, and a large page is split again when a part of it is
 * unmapped, or read and cleared of its dirty mark.
 */
export class RadixDomain implements IommuDomain {
  readonly pageSizeBitmap: bigint;
  readonly aperture: { readonly start: bigint; readonly last: bigint };
  /** The operations on 4096-byte pages; absent if the io page is larger. */
  readonly pages?: PageOperations;
  /** Dirty tracking, if the domain was made with `dirty: true`. One mark per mapped page, whatever its size. */
  readonly dirty?: DirtyOperations;

  readonly #table: RadixTable;
  readonly #ioPages: number;

  /**
   * @throws TypeError (`ERR_INVALID_ARG_TYPE`) or RangeError (`ERR_OUT_OF_RANGE`) if an option is not as
   * `RadixDomainOptions` says.
   */
  constructor(options: RadixDomainOptions = {}) {
    const { bitmap, ioPages, leafLevels } = readPageSizes(options.pageSizes ?? DEFAULT_PAGE_SIZES);
    const start = readU64(options.aperture?.start ?? 0, 'aperture.start');
    const last = readU64(options.aperture?.last ?? MAX_U64, 'aperture.last');
    this.aperture = { start: join(start.page, start.offset), last: join(last.page, last.offset) };
    if (this.aperture.start > this.aperture.last) {
      throw outOfRange('aperture.last', 'at or above aperture.start', this.aperture.last);
    }
    this.pageSizeBitmap = bitmap;
    this.#ioPages = ioPages;
    this.#table = new RadixTable({
      leafLevels,
      firstPage: start.offset === 0 ? start.page : start.page + 1,
      lastPage: last.offset === PAGE_MASK ? last.page : last.page - 1,
    });
    if (ioPages === 1) this.pages = this.#table;
    if (options.dirty === true) this.dirty = new RadixDirty(this.#table, ioPages);
  }

  /** Bytes that are mapped now. */
  get mappedBytes(): bigint {
    return BigInt(this.#table.mappedPages) * BigInt(PAGE_SIZE);
  }

  /** Number of 4 KiB tables that the page table is made of, the root included. */
  get tables(): number {
    return this.#table.tables;
  }

  /** Bytes of memory that the page table takes, spare tables included. */
  get tableBytes(): number {
    return this.#table.tableBytes;
  }

  /**
   * Maps `size` bytes at `iova` to the physical address `physical`, all or nothing.
   *
   * @param protection - bits: 1 read, 2 write
   * @throws EINVAL if `iova`, `physical` or `size` is not a multiple of the io page, the range is not all inside
   * the aperture, or the physical addresses pass 2^52; EEXIST if a part is mapped already; ENOMEM if there is no
   * memory for tables.
   */
  map(iova: U64Input, physical: U64Input, size: U64Input, protection: number): void {
    const page = this.#aligned('iova', iova);
    const frame = this.#aligned('physical', physical);
    const count = this.#aligned('size', size);
    const frames = new FrameRuns();
    frames.push(frame, count);
    this.#table.map(page, frames, 0, count, protection);
  }

  /**
   * Unmaps whatever is mapped of `size` bytes at `iova`; a large page that reaches outside is split. Never fails
   * for what was mapped.
   *
   * @throws EINVAL if `iova` or `size` is not a multiple of the io page.
   */
  unmap(iova: U64Input, size: U64Input): void {
    const page = this.#aligned('iova', iova);
    this.#table.unmap(page, this.#aligned('size', size));
  }

  /**
   * The physical address behind `iova`, or `undefined` if nothing is mapped there. Any byte address.
   *
   * @throws TypeError (`ERR_INVALID_ARG_TYPE`) or RangeError (`ERR_OUT_OF_RANGE`) if `iova` is not a 64-bit
   * address or a safe integer.
   */
  iovaToPhys(iova: bigint): bigint | undefined;
  /** The same with numbers, exact and without an allocation: `iova` is a safe integer. */
  iovaToPhys(iova: number): number | undefined;
  iovaToPhys(iova: U64Input): U64Input | undefined {
    if (typeof iova !== 'number' || !Number.isSafeInteger(iova) || iova < 0) return this.#exactPhys(iova);
    const frame = this.#table.frameAt(Math.floor(iova / PAGE_SIZE));
    // A call, so that optimised code keeps this rare result apart and need not box the number of the other one.
    if (frame < 0) return nothingMapped();
    return frame * PAGE_SIZE + (iova & PAGE_MASK);
  }

  /** What a device's access to `iova` meets: physical address and permission. Errors as `iovaToPhys`. */
  translate(iova: U64Input): Translation | undefined {
    const { page, offset } = readU64(iova, 'iova');
    const found = this.#table.translate(page);
    if (found === undefined) return undefined;
    return {
      physical: join(found.frame, offset),
      protection: found.protection,
      length: join(found.pages, 0) - BigInt(offset),
    };
  }

  #exactPhys(iova: U64Input): bigint | undefined {
    const { page, offset } = readU64(iova, 'iova');
    const frame = this.#table.frameAt(page);
    return frame < 0 ? undefined : join(frame, offset);
  }

  #aligned(what: string, value: U64Input): number {
    const address = readU64(value, what);
    if (address.offset !== 0 || address.page % this.#ioPages !== 0) {
      throw misaligned(what, address, this.#ioPages * PAGE_SIZE);
    }
    return address.page;
  }
}

class RadixDirty implements DirtyOperations {
  readonly #table: RadixTable;
  readonly #ioPages: number;
  #tracking = false;

  constructor(table: RadixTable, ioPages: number) {
    this.#table = table;
    this.#ioPages = ioPages;
  }

  get tracking(): boolean {
    return this.#tracking;
  }

  setTracking(enable: boolean): void {
    this.#tracking = enable;
  }

  mark(iova: U64Input, size: U64Input): void {
    const { page, count } = this.#touched(iova, size);
    if (this.#tracking) this.#table.mark(page, count);
  }

  readAndClear(
    iova: U64Input,
    size: U64Input,
    keep: boolean,
    report: ((iova: bigint, size: bigint) => void) | undefined,
  ): void {
    if (report !== undefined && !this.#tracking) throw refuse('EINVAL', 'domain', 'dirty tracking is off');
    const { page, count } = this.#touched(iova, size);
    this.#table.readDirty(page, count, keep, (first, pages) => report?.(join(first, 0), join(pages, 0)));
  }

  /** The io pages that a range touches, in 4096-byte pages. It may reach past 2^64 − 1, where nothing is mapped. */
  #touched(iova: U64Input, size: U64Input): { page: number; count: number } {
    const from = readU64(iova, 'iova');
    const length = readU64(size, 'size');
    if (length.page === 0 && length.offset === 0) return { page: from.page, count: 0 };
    const lastPage = from.page + length.page + Math.floor((from.offset + length.offset - 1) / PAGE_SIZE);
    const page = from.page - (from.page % this.#ioPages);
    const past = Math.ceil((lastPage + 1) / this.#ioPages) * this.#ioPages;
    return { page, count: past - page };
  }
}

function nothingMapped(): undefined {
  return undefined;
}
