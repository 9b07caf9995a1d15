/** An address space as an object of a context. */
import type { IommuDomain } from '../domain/iommu-domain.js';
import type { IoPagetable } from '../io-pagetable.js';
import type { Operation } from '../operation.js';
import { RwLock } from '../rw-lock.js';
import type { IommuDevice } from './iommu-device.js';
import { countOf, IommufdObject } from './object-table.js';

/** How a page table came to be and what it can do. */
export interface PageTableTraits {
  /** Made by attaching a device to an address space; it goes with its last device. */
  readonly automatic: boolean;
  /** Made to be the parent of nested page tables. */
  readonly nestParent: boolean;
  /** The device that made the domain. */
  readonly maker: IommuDevice;
}

/** A page table as the address space that it mirrors, and the devices that use it, see it. */
export interface PageTable extends IommufdObject {
  readonly ioas: Ioas;
  readonly domain: IommuDomain;
  readonly traits: PageTableTraits;
  /** The devices that are attached. */
  readonly devices: Set<IommufdObject>;
}

/**
 * An address space (IOAS): an `IoPagetable` and the page tables that mirror it. Page tables and attached
 * accesses keep it in use; mappings don't.
 *
 * @internal
 */
export class Ioas extends IommufdObject {
  static readonly kind = 'address space';
  readonly kind = Ioas.kind;
  readonly table: IoPagetable;
  /** Its page tables, in the order in which they were made. Changed only inside `exclusively`. */
  readonly hwpts = new Set<PageTable>();
  readonly #hwptLock = new RwLock();

  constructor(id: number, table: IoPagetable) {
    super(id);
    this.table = table;
  }

  describeUsers(): string {
    const accesses = this.users - this.hwpts.size;
    const tables = countOf(this.hwpts.size, 'page table');
    return `${tables} and ${countOf(accesses, 'access or call in progress')}`;
  }

  /** One change to the list of page tables at a time. */
  override *exclusively<T>(operation: Operation<T>): Operation<T> {
    if (!this.#hwptLock.tryWrite()) yield () => this.#hwptLock.write();
    try {
      return yield* operation;
    } finally {
      this.#hwptLock.releaseWrite();
    }
  }

  /** Accesses that a program has attached to the table itself may hold on to mappings, which refuses it. */
  override *release(): Operation<void> {
    yield* this.table.unmappingAll();
  }
}
