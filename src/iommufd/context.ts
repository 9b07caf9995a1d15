/** What the calls of one context share: its objects, its accounting mode, its compatibility address space. */

import { checkBoolean } from '../arguments.js';
import { insideCallOut } from '../call-out.js';
import { IommuError, refuse } from '../errors.js';
import type { FaultInjector } from '../faults.js';
import type { AccountingMode } from '../memory/locked-memory.js';
import type { UserMemory } from '../memory/user-memory.js';
import type { Profile } from '../rules.js';
import type { Caller, Capability } from './caller.js';
import type { Ioas } from './ioas.js';
import { type IommufdObject, ObjectTable } from './object-table.js';

/** Who is charged for the pages that a context's mappings pin, unless the caller may lock without limit. */
export type ContextAccounting = Exclude<AccountingMode, 'none'>;

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
  /** Whom new mappings charge: the `RLIMIT_MODE` option. */
  accounting: ContextAccounting;
  /** The address space that VFIO calls act on. */
  compat: Ioas | undefined;
  readonly #caller: Caller;
  #calls = 0;
  #callbacks = 0;
  #closed = false;
  #whenIdle: (() => void) | undefined;

  constructor(caller: Caller, profile: Profile, accounting: ContextAccounting, faults?: FaultInjector) {
    this.#caller = caller;
    this.faults = faults;
    this.objects = new ObjectTable(faults);
    this.profile = profile;
    this.accounting = accounting;
  }

  /** Whether `close` has begun. */
  get closed(): boolean {
    return this.#closed;
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

  /** Calls a callback that a call in progress waits for. */
  callBack<T>(callback: () => T): T {
    this.#callbacks += 1;
    try {
      return callback();
    } finally {
      this.#callbacks -= 1;
    }
  }

  /**
   * Refuses new calls and waits until none is in progress. `false` if that was asked for before.
   *
   * @throws EDEADLOCK inside a callback, as the call that waits for the callback is in progress
   */
  async quiesce(): Promise<boolean> {
    if (this.#closed) return false;
    if (this.#callbacks > 0 || insideCallOut()) {
      const detail =
        'a callback asked to close the iommufd, which waits for the call that waits for the callback';
      throw refuse('EDEADLOCK', 'state', detail).during('close');
    }
    this.#closed = true;
    if (this.#calls > 0) {
      await new Promise<void>((resolve) => {
        this.#whenIdle = resolve;
      });
    }
    return true;
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

/** Keeps objects in use while a call works on them, so that nobody destroys them meanwhile. */
export async function holding<T>(objects: readonly IommufdObject[], work: () => Promise<T>): Promise<T> {
  for (const object of objects) object.users += 1;
  try {
    return await work();
  } finally {
    for (const object of objects) object.users -= 1;
  }
}
