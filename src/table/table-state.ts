/**
 * The state of one page table, which the operations in this folder work on.
 */
import type { IommuDomain } from '../domain/iommu-domain.js';
import type { FaultInjector } from '../faults.js';
import { IntervalTree } from '../interval-tree.js';
import { type Profile, type Rules, rulesOf } from '../rules.js';
import { RwLock } from '../rw-lock.js';
import type { IoptArea } from './iopt-area.js';

/** An IOVA range that may not be mapped, and whose it is: a domain, a device, or nobody (`null`). */
export interface Reservation {
  readonly owner: object | null;
}

/** A table user that works through the CPU, as the table sees it. */
export interface AttachedAccess {
  /** What the access demands of the alignment of all areas: 4096 if it pins, else 1. */
  readonly iovaAlignment: number;
  /** Whether it locks the areas it has pins in, and is never asked to let go. */
  readonly internal?: boolean;
  /**
   * Asks the access to let go of an area that is being unmapped; the answer may be a promise.
   *
   * @internal
   */
  notifyUnmap(area: { readonly iova: bigint; readonly length: bigint }): void | PromiseLike<void>;
}

/** One I/O virtual address space. */
export class TableState {
  readonly profile: Profile;
  /** What that profile does. */
  readonly rules: Rules;
  /** What makes calls fail, in tests. */
  readonly faults: FaultInjector | undefined;
  /** Guards `domains`. Taken before `iovaLock`. */
  readonly domainsLock = new RwLock();
  /** Guards the three trees, `alignment`, and of the areas `pages`, `preventAccess` and `pins`. */
  readonly iovaLock = new RwLock();
  /** All areas, also those that are being set up or torn down. They don't overlap. */
  readonly areas = new IntervalTree<IoptArea>();
  /** Ranges that may not be mapped. They may overlap. */
  readonly reserved = new IntervalTree<Reservation>();
  /** Ranges that may not become reserved, and that bound automatic placement. They don't overlap. */
  allowed = new IntervalTree<undefined>();
  /** The domains that mirror the table, densely numbered. */
  readonly domains: IommuDomain[] = [];
  /** The attached accesses by number; the lowest free number is taken first. */
  readonly accesses: (AttachedAccess | undefined)[] = [];
  /**
   * The areas that accesses are just being asked to let go of: how many calls ask now, and how often they have since
   * the first of them.
   */
  readonly asking = new Map<IoptArea, { calls: number; times: number }>();
  /** What every area's IOVA, length and page offset is a multiple of: a power of two up to 4096. */
  alignment = 1;
  /** Whether domains may use page sizes above 4096 bytes. */
  largePages = true;

  constructor(profile: Profile, faults?: FaultInjector) {
    this.profile = profile;
    this.rules = rulesOf(profile);
    this.faults = faults;
  }
}
