/**
 * A linear array of whole CPU pages taken from one range of user memory, shared by all areas that show it.
 */
import type { FaultInjector } from '../faults.js';
import type { IntervalTree } from '../interval-tree.js';
import type { AccountingMode, LockedMemory } from '../memory/locked-memory.js';
import type { UserMemory } from '../memory/user-memory.js';
import { RwLock } from '../rw-lock.js';
import { type Address, join, PAGE_SIZE } from '../u64.js';
import type { DomainsTree } from './domains-tree.js';
import type { PinnedStore } from './pinned-store.js';

/** One index interval of an `IoptPages` that accesses have pinned. */
export interface PagesAccess {
  /** How many pins of exactly this interval are held. */
  users: number;
}

/**
 * Pages of user memory behind one or more areas (the kernel's `iopt_pages`).
 *
 * A page is pinned exactly while an access or an area with a domain covers its index, and then exactly once. The
 * trees and the store exist only while they hold something: most pages are behind one area only.
 */
export class IoptPages {
  /** The memory of the process whose pages these are. */
  readonly memory: UserMemory;
  /** User page number of index 0. */
  readonly userPage: number;
  /** Number of pages. */
  readonly npages: number;
  /** Whether the pages are pinned for writing, and may be mapped for writing. */
  readonly writable: boolean;
  /** Who is charged for pinned pages. */
  readonly mode: AccountingMode;
  /** The counter that is charged for these pages, if any; always the same, whatever the memory says later. */
  readonly account: LockedMemory | undefined;
  /** What makes pins and fills fail, in tests: there only if the table that mapped the pages has it. */
  declare faults?: FaultInjector;
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

  constructor(memory: UserMemory, userPage: number, npages: number, writable: boolean, mode: AccountingMode) {
    this.memory = memory;
    this.userPage = userPage;
    this.npages = npages;
    this.writable = writable;
    this.mode = mode;
    this.account = mode === 'none' ? undefined : memory.locked?.[mode];
  }

  /** User address of index 0, page aligned. */
  get uptr(): bigint {
    return join(this.userPage, 0);
  }

  /** Length in bytes, whole pages. */
  get length(): bigint {
    return BigInt(this.npages) * BigInt(PAGE_SIZE);
  }

  /** User address of a byte in page `index`. */
  userAddress(index: number, offset: number): Address {
    return { page: this.userPage + index, offset };
  }
}
