/** What the calls of one context share: its objects, its accounting mode, its compatibility address space. */

import { checkBoolean } from '../arguments.js';
import { IommuError, refuse } from '../errors.js';
import type { FaultInjector } from '../faults.js';
import type { AccountingMode } from '../memory/locked-memory.js';
import type { UserMemory } from '../memory/user-memory.js';
import { type Abortable, type Operation, start } from '../operation.js';
import type { Profile } from '../rules.js';
import { RwLock } from '../rw-lock.js';
import { Callbacks } from './callbacks.js';
import type { Caller, Capability } from './caller.js';
import type { Ioas } from './ioas.js';
import { ObjectTable } from './object-table.js';
import { Windows } from './windows.js';

/** Who is charged for the pages that a context's mappings pin, unless the caller may lock without limit. */
export type ContextAccounting = Exclude<AccountingMode, 'none'>;

/** Which kernel a context is one of. */
export interface Kernel {
  readonly profile: Profile;
  /** Whether it was built with devices that have no IOMMU. */
  readonly noIommu: boolean;
}

/**
 * The state of one open iommufd.
 *
 * @internal
 */
export class Context {
  readonly objects: ObjectTable;
  /** What makes calls fail, in tests. */
  readonly faults: FaultInjector | undefined;
  readonly profile: Profile;
  /** Whether devices that have no IOMMU can be bound. */
  readonly noIommu: boolean;
  /** Whom new mappings charge: the `RLIMIT_MODE` option. */
  accounting: ContextAccounting;
  /** Code of the user's that calls of the context wait for. */
  readonly callbacks = new Callbacks();
  /** Held for writing while no address space may be made. Taken before the locks of tables. */
  readonly ioasCreation = new RwLock();
  /** Memory of drivers that programs can map. */
  readonly windows = new Windows();
  readonly #caller: Caller;
  readonly #closing = new RwLock();
  #compat: Ioas | undefined;
  #calls = 0;
  #closed = false;
  #whenIdle: (() => void) | undefined;

  constructor(caller: Caller, kernel: Kernel, accounting: ContextAccounting, faults?: FaultInjector) {
    this.#caller = caller;
    this.faults = faults;
    this.objects = new ObjectTable(faults);
    this.profile = kernel.profile;
    this.noIommu = kernel.noIommu;
    this.accounting = accounting;
  }

  /** Whether `close` has begun. */
  get closed(): boolean {
    return this.#closed;
  }

  /** The address space that VFIO calls act on, while it exists. */
  get compat(): Ioas | undefined {
    return this.#compat !== undefined && this.objects.has(this.#compat) ? this.#compat : undefined;
  }

  set compat(ioas: Ioas | undefined) {
    this.#compat = ioas;
  }

  /**
   * Runs one call: errors learn its name, and `close` waits for its end.
   *
   * @throws EBADFD if the context is closed, and what `work` throws.
   */
  async run<T>(syscall: string, work: () => Promise<T>): Promise<T> {
    if (this.#closed) throw refuse('EBADFD', 'state', 'the iommufd is closed').during(syscall);
    this.#calls += 1;
    try {
      return await work();
    } catch (error) {
      throw error instanceof IommuError ? error.during(syscall) : error;
    } finally {
      this.#calls -= 1;
      if (this.#calls === 0) this.#whenIdle?.();
    }
  }

  /** As `run`, for a call that is an operation. */
  perform<T>(syscall: string, operation: Operation<T>, options?: Abortable): Promise<T> {
    return this.run(syscall, () => start(operation, options));
  }

  /**
   * Closes the context: refuses new calls, waits until none is in progress, and then releases all. One close at a time;
   * a later one waits for it, and does what is left.
   *
   * @param release - releases the objects
   * @throws EDEADLOCK inside a callback, as the call that waits for the callback is in progress
   */
  *close(release: () => Operation<void>): Operation<void> {
    if (this.callbacks.inside) {
      if (this.#closed) return;
      const detail =
        'a callback asked to close the iommufd, which waits for the call that waits for the callback';
      throw refuse('EDEADLOCK', 'state', detail).during('close');
    }
    if (!this.#closing.tryWrite()) yield () => this.#closing.write();
    try {
      if (!this.#closed) yield* this.#quiesce();
      yield* release();
    } finally {
      this.#closing.releaseWrite();
    }
  }

  /** Waits for the calls in progress. Where that is stopped, the context is open again. */
  *#quiesce(): Operation<void> {
    this.#closed = true;
    if (this.#calls === 0) return;
    try {
      yield () =>
        new Promise<void>((resolve) => {
          this.#whenIdle = resolve;
        });
    } catch (error) {
      this.#closed = false;
      throw error;
    } finally {
      this.#whenIdle = undefined;
    }
  }

  /** The memory that user addresses of a call are in. */
  memoryOf(caller: Caller | undefined): UserMemory | undefined {
    return caller?.memory ?? this.#caller.memory;
  }

  /** Whether the caller has a capability. */
  capable(caller: Caller | undefined, capability: Capability): boolean {
    // Another process brings its own capabilities: what its memory says counts, not what the context's maker may do.
    const capable = caller?.capable ?? (caller?.memory === undefined ? this.#caller.capable : undefined);
    if (capable === undefined) return this.memoryOf(caller)?.locked === undefined;
    const answer = capable(capability);
    checkBoolean(answer, `capable('${capability}')`);
    return answer;
  }

  /** Who is charged for pages that a new mapping of the caller pins. */
  accountingOf(caller: Caller | undefined): AccountingMode {
    return this.capable(caller, 'CAP_IPC_LOCK') ? 'none' : this.accounting;
  }
}
