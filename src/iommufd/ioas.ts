/** An address space as an object of a context. */
import { IoPagetable } from '../io-pagetable.js';
import { RwLock } from '../rw-lock.js';
import type { Context } from './context.js';
import type { HwPagetable } from './hwpt.js';
import { countOf, IommufdObject } from './object-table.js';

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
  readonly hwpts: HwPagetable[] = [];
  readonly #context: Context;
  readonly #hwptLock = new RwLock();

  constructor(id: number, context: Context) {
    super(id);
    this.#context = context;
    const memory = context.memoryOf(undefined);
    const { profile, faults } = context;
    this.table = new IoPagetable({
      profile,
      ...(memory === undefined ? {} : { memory }),
      ...(faults === undefined ? {} : { faults }),
    });
  }

  describeUsers(): string {
    const accesses = this.users - this.hwpts.length;
    const tables = countOf(this.hwpts.length, 'page table');
    return `${tables} and ${countOf(accesses, 'access or call in progress')}`;
  }

  /** One change to the list of page tables at a time. */
  override async exclusively<T>(work: () => Promise<T>): Promise<T> {
    if (!this.#hwptLock.tryWrite()) await this.#hwptLock.write();
    try {
      return await work();
    } finally {
      this.#hwptLock.releaseWrite();
    }
  }

  async dispose(): Promise<void> {
    if (this.#context.compat === this) this.#context.compat = undefined;
    await this.table.unmapAll();
  }
}
