/**
 * An IOMMU domain with a page table of its own.
 */
import { checkBoolean, checkInteger, checkObject, invalidType, outOfRange, readU64 } from '../arguments.js';
import { misaligned, refuse } from '../errors.js';
import { FrameRuns } from '../memory/frame-runs.js';
import { READ, WRITE } from '../protection.js';
import { join, MAX_U64, PAGE_MASK, PAGE_SIZE, type U64Input } from '../u64.js';
import { DomainSharing } from './domain-sharing.js';
import type { DirtyOperations, IommuDomain, PageOperations, Translation } from './iommu-domain.js';
import { readPageSizes } from './page-sizes.js';
import type { RadixHandle } from './radix-handle.js';
import { RadixTable } from './radix-table.js';
import { canShare } from './table-reserve.js';

/** Options of a `RadixDomain`. */
export interface RadixDomainOptions {
  /**
   * Page sizes in bytes: powers of two from 4096 to 2^39, at least one; the smallest is the io page. Default
   * 4 KiB, 2 MiB and 1 GiB, or all of them with `contiguous`. An io page above 4096 makes a domain that no `IoPagetable`
   * takes (EINVAL).
   */
  readonly pageSizes?: Iterable<U64Input> | undefined;
  /**
   * Whether neighbouring entries can be one page (contiguous entries), as in the page tables of today's IOMMUs: a
   * request is split into pages of every size in `pageSizes`, and each of them has one dirty mark. A dirty page that
   * reaches out of what is read is then reported, and cleaned, as a whole. Default false: sizes that no level of the table
   * has, all but 4 KiB, 2 MiB, 1 GiB and 512 GiB, are kept as smaller pages.
   */
  readonly contiguous?: boolean | undefined;
  /** First and last IOVA (inclusive) that it translates. Default: all 64 bits. */
  readonly aperture?: { readonly start: U64Input; readonly last: U64Input } | undefined;
  /** Whether it can track which pages devices write. Default false. */
  readonly dirty?: boolean | undefined;
  /**
   * Whether other threads can translate (`share`). Mapping and unmapping then take a little longer, and the memory of
   * tables that are not used any more is kept for later ones. Default false.
   */
  readonly shared?: boolean | undefined;
}

/** A page that a `RadixDomain` maps. */
export interface RadixPage {
  /** Its first IOVA. */
  readonly iova: bigint;
  /** Its bytes. */
  readonly size: bigint;
  /** The physical address behind its first IOVA. */
  readonly physical: bigint;
  /** Whether a device wrote to it, while dirty tracking was on, since its mark was cleared. */
  readonly dirty: boolean;
}

const DEFAULT_PAGE_SIZES = [4096, 2 ** 21, 2 ** 30];
const ALL_PAGE_SIZES = Array.from({ length: 28 }, (_, order) => PAGE_SIZE * 2 ** order);
const ADDRESS = 'a bigint, or a safe integer of at least 0';
const EVERYWHERE = { start: 0n, last: MAX_U64 };

/**
 * An IOMMU domain over a multi-level page table with large pages (the kernel's counterpart: a paging domain of
 * an IOMMU driver). IOVAs are 64 bits wide, physical addresses 52.
 *
 * A request is split into the largest page sizes that fit, and a large page is split again when a part of it is
 * unmapped, or (unless entries are `contiguous`) read and cleared of its dirty mark.
 */
export class RadixDomain implements IommuDomain {
  readonly pageSizeBitmap: bigint;
  readonly aperture: { readonly start: bigint; readonly last: bigint };
  /** The operations on 4096-byte pages; absent if the io page is larger. */
  readonly pages?: PageOperations;
  /** Dirty tracking, if the domain was made with `dirty: true`. One mark per mapped page, whatever its size. */
  readonly dirty?: DirtyOperations;
  /** `quiesce` as the table of areas uses it: absent if the domain is not shared. */
  readonly flush?: () => PromiseLike<void> | undefined;
  /** For unmaps that cannot wait: absent if the domain is not shared. */
  readonly hide?: (start: bigint, last: bigint) => (() => void) | undefined;

  readonly #table: RadixTable;
  readonly #ioPages: number;
  readonly #shared: boolean;
  /** Made when it is needed: of many domains few are read by other threads. */
  #sharing: DomainSharing | undefined;

  /**
   * @throws TypeError (`ERR_INVALID_ARG_TYPE`) or RangeError (`ERR_OUT_OF_RANGE`) if an option is not as
   * `RadixDomainOptions` says; EOPNOTSUPP for `shared: true` where threads cannot share memory: in a browser's page that
   * is not isolated from other origins.
   */
  constructor(options: RadixDomainOptions = {}) {
    checkObject(options, 'options');
    const { contiguous = false, aperture = EVERYWHERE, dirty = false, shared = false } = options;
    checkBoolean(contiguous, 'contiguous');
    const { pageSizes = contiguous ? ALL_PAGE_SIZES : DEFAULT_PAGE_SIZES } = options;
    checkObject(aperture, 'aperture');
    checkBoolean(dirty, 'dirty');
    checkBoolean(shared, 'shared');
    const { bitmap, ioPages, leafLevels, orders } = readPageSizes(pageSizes);
    const start = readU64(aperture.start, 'aperture.start');
    const last = readU64(aperture.last, 'aperture.last');
    this.aperture = { start: join(start.page, start.offset), last: join(last.page, last.offset) };
    if (this.aperture.start > this.aperture.last) {
      throw outOfRange(this.aperture.last, 'aperture.last', 'at or above aperture.start');
    }
    this.pageSizeBitmap = bitmap;
    this.#ioPages = ioPages;
    if (shared && !canShare()) {
      throw refuse('EOPNOTSUPP', 'unsupported', 'there is no SharedArrayBuffer here');
    }
    this.#shared = shared;
    this.#table = new RadixTable({
      leafLevels,
      contiguousOrders: contiguous ? orders : undefined,
      firstPage: start.offset === 0 ? start.page : start.page + 1,
      lastPage: last.offset === PAGE_MASK ? last.page : last.page - 1,
    });
    if (ioPages === 1) this.pages = this.#table;
    if (dirty) this.dirty = new RadixDirty(this.#table, ioPages, () => this.#sharing);
    if (!shared) return;
    this.flush = () => this.#sharing?.flush();
    // Also where nobody reads yet: somebody may begin while the range is hidden.
    this.hide = (from, to) => this.#share().hide(readU64(from, 'start').page, readU64(to, 'last').page);
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
    checkInteger(protection, 'protection', 0, READ | WRITE);
    const frames = new FrameRuns();
    if (count > 0) frames.push(frame, count);
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
  /**
   * The same with numbers, exact: `iova` is a safe integer. No BigInt and no object is made; what V8 may box, once
   * it has also seen lookups that find nothing, is a result of 2^31 or more.
   */
  iovaToPhys(iova: number): number | undefined;
  iovaToPhys(iova: U64Input): U64Input | undefined {
    return typeof iova === 'number' ? this.#numberPhys(iova) : this.#exactPhys(iova);
  }

  #numberPhys(iova: number): number | undefined {
    if (!Number.isSafeInteger(iova) || iova < 0) throw outOfRange(iova, 'iova', ADDRESS);
    const frame = this.#table.frameAt(Math.floor(iova / PAGE_SIZE));
    // A call: while it never happened, optimised code has only the number to return and need not box it.
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

  /** The page that `iova` is in, whatever its size, or `undefined` if nothing is mapped there. Errors as `iovaToPhys`. */
  pageAt(iova: U64Input): RadixPage | undefined {
    const found = this.#table.pageAt(readU64(iova, 'iova').page);
    if (found === undefined) return undefined;
    const { first, count, firstFrame, dirty } = found;
    return { iova: join(first, 0), size: join(count, 0), physical: join(firstFrame, 0), dirty };
  }

  /**
   * What another thread needs to translate, with `RadixReader.from`: to be sent to it. Each call gives another handle;
   * one for each thread lets `unshare` tell them apart.
   *
   * @throws EOPNOTSUPP if the domain was made without `shared: true`; ENOMEM if 16 384 domains of this thread are
   * shared, or have tables of more than 1 MiB
   */
  share(): RadixHandle {
    if (!this.#shared) {
      throw refuse('EOPNOTSUPP', 'unsupported', 'the domain was made without `shared: true`');
    }
    const sharing = this.#share();
    return sharing.share(this.#table.publish(sharing.publisher), this.pageSizeBitmap);
  }

  /**
   * Takes back a handle whose thread has ended: nobody waits any more for readers that were made of it. While such a
   * reader may still be in use the pages that it uses can go, so a thread that lives closes its readers instead.
   *
   * @throws TypeError (`ERR_INVALID_ARG_TYPE`) if it is not a handle of this domain
   */
  unshare(handle: RadixHandle): void {
    if (this.#sharing === undefined) throw invalidType(handle, 'handle', 'one that this domain gave');
    this.#sharing.unshare(handle);
  }

  /**
   * Waits until every reader that may be using translations has passed a quiescent point since (an IOTLB flush): what
   * was unmapped before the call is used by nobody after it. Resolves at once if there is none. It waits for ever for
   * a reader whose thread has ended in the middle, or waits for the caller, until that is closed or its handle taken
   * back.
   */
  async quiesce(): Promise<void> {
    await this.#sharing?.quiesce();
  }

  #share(): DomainSharing {
    this.#sharing ??= new DomainSharing(this.dirty?.tracking ?? false);
    return this.#sharing;
  }

  #exactPhys(iova: bigint): bigint | undefined {
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
  readonly #sharing: () => DomainSharing | undefined;
  #tracking = false;

  constructor(table: RadixTable, ioPages: number, sharing: () => DomainSharing | undefined) {
    this.#table = table;
    this.#ioPages = ioPages;
    this.#sharing = sharing;
  }

  get tracking(): boolean {
    return this.#tracking;
  }

  setTracking(enable: boolean): void {
    this.#tracking = enable;
    this.#sharing()?.setTracking(enable);
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
