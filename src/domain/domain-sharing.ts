/**
 * The owner's side of a domain whose page table other threads read.
 */
import { invalidType } from '../arguments.js';
import { newTicket, type RadixHandle, takeBack } from './radix-handle.js';
import { ReaderSlots } from './reader-slots.js';
import { newControl, TRACKING } from './shared-control.js';
import { TablePublisher } from './table-publisher.js';

/** What a `RadixDomain` keeps for its readers. */
export class DomainSharing {
  /** Tells readers what is going on in the table. */
  readonly publisher: TablePublisher;
  readonly #control = newControl();
  readonly #slots: ReaderSlots;
  readonly #ids = new WeakMap<SharedArrayBuffer, number>();
  #handles = 0;

  /** @param tracking - whether readers are to mark the pages that they write */
  constructor(tracking: boolean) {
    this.publisher = new TablePublisher(this.#control);
    this.#slots = new ReaderSlots(this.#control);
    this.setTracking(tracking);
  }

  /** A handle of its own for a table. */
  share(tables: SharedArrayBuffer, pageSizeBitmap: bigint): RadixHandle {
    this.#handles += 1;
    const id = this.#handles;
    const ticket = newTicket(id);
    this.#ids.set(ticket, id);
    return { tables, control: this.#control, ticket, id, pageSizeBitmap };
  }

  /**
   * Frees the slots of a handle's readers; no others can be made of it.
   *
   * @throws TypeError (`ERR_INVALID_ARG_TYPE`) if the handle is not of this domain.
   */
  unshare(handle: RadixHandle): void {
    const ticket = handle?.ticket;
    const id = this.#ids.get(ticket);
    if (id === undefined) throw invalidType(handle, 'handle', 'one that this domain gave');
    // First: a reader that is being made takes its slot, then looks at the ticket.
    takeBack(ticket);
    this.#slots.evict(id);
  }

  /** Waits for readers that are using translations; `undefined` if none is. */
  quiesce(): Promise<void> | undefined {
    return this.#slots.drain();
  }

  /** Waits for readers that may be using what was unmapped; `undefined` if none is. */
  flush(): Promise<void> | undefined {
    return this.publisher.changedOnlyHidden ? undefined : this.#slots.drain();
  }

  /** Hides the pages [first, last] until the answer is called; `undefined` if a reader is using translations. */
  hide(first: number, last: number): (() => void) | undefined {
    const { publisher } = this;
    if (publisher.held || this.#slots.busy) return undefined;
    publisher.hold(first, last);
    // One that began meanwhile may have looked before.
    if (!this.#slots.busy) return () => publisher.show();
    publisher.show();
    return undefined;
  }

  /** Tells readers whether to mark the pages that they write. */
  setTracking(enable: boolean): void {
    Atomics.store(new Int32Array(this.#control), TRACKING, enable ? 1 : 0);
  }
}
