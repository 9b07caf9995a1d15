/**
 * A linear array of whole CPU pages taken from one range of user memory, of a file or of a dma-buf, shared by all areas
 * that show it.
 */
import type { FaultInjector } from '../faults.js';
import type { IntervalTree } from '../interval-tree.js';
import type { AccountingMode, LockedMemory } from '../memory/locked-memory.js';
import type { UserFile } from '../memory/user-file.js';
import type { UserMemory } from '../memory/user-memory.js';
import { RwLock } from '../rw-lock.js';
import { type Address, join, PAGE_SIZE } from '../u64.js';
import type { DmaBufEntries } from './dma-buf-entries.js';
import type { DomainsTree } from './domains-tree.js';
import type { PinnedStore } from './pinned-store.js';

/** One index interval of an `IoptPages` that accesses have pinned. */
export interface PagesAccess {
  /** How many pins of exactly this interval are held. */
  users: number;
}

/** A file whose pages are shown. */
export interface PagesFile {
  readonly file: UserFile;
  /** The process that is charged for pinned pages: that which mapped the file, or took it over since. */
  owner: UserMemory | undefined;
}

/**
 * Pages behind one or more areas (the kernel's `iopt_pages`): of user memory, of a file, or of a dma-buf.
 *
 * A page is pinned exactly while an access or an area with a domain covers its index, and then exactly once; pages of a
 * dma-buf never are. The trees and the store exist only while they hold something: most pages are behind one area only.
 */
export class IoptPages {
  /** The memory of the process whose pages these are; `undefined` if they are of a file or a dma-buf. */
  readonly memory: UserMemory | undefined;
  /** Number of the page with index 0: its user address, or its offset in the file or dma-buf, divided by 4096. */
  readonly firstPage: number;
  /** Number of pages. */
  readonly npages: number;
  /** Whether the pages are pinned for writing, and may be mapped for writing. */
  readonly writable: boolean;
  /** Who is charged for pinned pages. */
  readonly mode: AccountingMode;
  /** What makes pins and fills fail, in tests: there only if the table that mapped the pages has it. */
  declare faults?: FaultInjector;
  /** The file whose pages these are, and who is charged for them: there only if they are of a file. */
  declare file?: PagesFile;
  /**
   * The dma-buf whose pages these are, and where it is mapped: there only if they are of one.
   *
   * @internal
   */
  declare dmaBuf?: DmaBufEntries;
  /** Guards everything below. */
  readonly mutex = new RwLock();
  /** One for each area that shows these pages, and one for each list of a call in flight that holds them. */
  references = 1;
  /** Pages pinned now. */
  npinned = 0;
  /** Pages pinned when the account was last brought up to date. */
  lastNpinned = 0;
  /** Frames of the indexes that accesses cover. */
  store: PinnedStore | undefined;
  /** Index intervals pinned by accesses. */
  accessTree: IntervalTree<PagesAccess> | undefined;
  /** Index intervals of the areas, of any table, whose frames a domain holds. */
  domainsTree: DomainsTree | undefined;

  constructor(
    memory: UserMemory | undefined,
    firstPage: number,
    npages: number,
    writable: boolean,
    mode: AccountingMode,
  ) {
    this.memory = memory;
    this.firstPage = firstPage;
    this.npages = npages;
    this.writable = writable;
    this.mode = mode;
  }

  /** User address of index 0, page aligned; `undefined` if the pages are of a file or a dma-buf. */
  get uptr(): bigint | undefined {
    return this.memory === undefined ? undefined : join(this.firstPage, 0);
  }

  /** Offset of index 0 in the file or the dma-buf, page aligned; `undefined` if the pages are of user memory. */
  get fileOffset(): bigint | undefined {
    return this.memory === undefined ? join(this.firstPage, 0) : undefined;
  }

  /** Length in bytes, whole pages. */
  get length(): bigint {
    return BigInt(this.npages) * BigInt(PAGE_SIZE);
  }

  /** The process that the pages belong to: it is charged for what is pinned. A dma-buf belongs to none. */
  get owner(): UserMemory | undefined {
    return this.memory ?? this.file?.owner;
  }

  /**
   * What the pages are pinned in, and takes the pins back.
   *
   * @internal
   */
  get holder(): UserMemory | UserFile {
    return this.memory ?? this.file!.file;
  }

  /** The counter that is charged for these pages, if any. */
  get account(): LockedMemory | undefined {
    return this.mode === 'none' ? undefined : this.owner?.locked?.[this.mode];
  }

  /** Where a byte in page `index` is: its user address, or its offset in the file or dma-buf. */
  addressOf(index: number, offset: number): Address {
    return { page: this.firstPage + index, offset };
  }
}
