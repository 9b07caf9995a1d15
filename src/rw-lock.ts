/**
 * The locks of a page table, fair as the kernel's: waiters are served in the order in which they came, so a
 * queued writer holds back later readers, and neighbouring readers are let in together.
 *
 * While nobody has to wait, taking and giving back a lock moves a counter and touches no promise. A caller that
 * has to wait queues with a gate of its own (an `async-mutex` semaphore of 0), so serving a waiter costs the
 * same however many there are.
 */
import { Semaphore } from 'async-mutex';
import { insideCallOut } from './call-out.js';
import { type IommuError, refuse } from './errors.js';
import { logLock } from './log.js';

interface Waiter {
  readonly exclusive: boolean;
  readonly gate: Semaphore;
  /** Still in the queue; else it has the lock. */
  queued: boolean;
  previous: Waiter | undefined;
  next: Waiter | undefined;
}

/** A wait for a lock; it is over when the caller has the lock. */
export interface LockWait extends Promise<unknown> {
  /** Leaves the queue, or gives the lock back if the caller has it by now. The caller does not go on. */
  cancel(): void;
}

/** A fair reader-writer lock. Ownership passes straight to the waiter that is next. */
export class RwLock {
  #readers = 0;
  #writes = 0;
  #writing = false;
  #head: Waiter | undefined;
  #tail: Waiter | undefined;

  /** Whether nobody holds the lock. */
  get free(): boolean {
    return this.#readers === 0 && !this.#writing;
  }

  /** Whether a writer holds the lock. */
  get writing(): boolean {
    return this.#writing;
  }

  /** How often the lock was taken for writing. What it guards is as it was while that is as it was. */
  get writes(): number {
    return this.#writes;
  }

  /** Takes the lock for reading if that needs no wait. */
  tryRead(): boolean {
    if (this.#writing || this.#head !== undefined) return false;
    this.#readers += 1;
    return true;
  }

  /** Takes the lock for writing if that needs no wait. */
  tryWrite(): boolean {
    if (this.#writing || this.#readers > 0 || this.#head !== undefined) return false;
    this.#writing = true;
    this.#writes += 1;
    return true;
  }

  /**
   * Takes the lock for reading, after all who asked before.
   *
   * @throws EDEADLOCK if it would have to wait inside code of the user's that may have been called with the lock held
   */
  read(): LockWait {
    if (!this.tryRead()) return this.#queue(false);
    return Object.assign(Promise.resolve(), { cancel: () => this.releaseRead() });
  }

  /** Takes the lock for writing, after all who asked before. @throws as `read` */
  write(): LockWait {
    if (!this.tryWrite()) return this.#queue(true);
    return Object.assign(Promise.resolve(), { cancel: () => this.releaseWrite() });
  }

  /** Gives back a lock held for reading. */
  releaseRead(): void {
    this.#readers -= 1;
    if (this.#head !== undefined) this.#serve();
  }

  /** Gives back a lock held for writing. */
  releaseWrite(): void {
    this.#writing = false;
    if (this.#head !== undefined) this.#serve();
  }

  #queue(exclusive: boolean): LockWait {
    if (insideCallOut()) throw deadlock();
    if (logLock.enabled) logLock('wait to %s', exclusive ? 'write' : 'read');
    const last = this.#tail;
    const waiter: Waiter = {
      exclusive,
      gate: new Semaphore(0),
      queued: true,
      previous: last,
      next: undefined,
    };
    if (last === undefined) this.#head = waiter;
    else last.next = waiter;
    this.#tail = waiter;
    return Object.assign(waiter.gate.acquire(), { cancel: () => this.#cancel(waiter) });
  }

  #cancel(waiter: Waiter): void {
    if (waiter.queued) {
      this.#unlink(waiter);
      // Those behind it may have waited for nobody else.
      this.#serve();
    } else if (waiter.exclusive) this.releaseWrite();
    else this.releaseRead();
  }

  #serve(): void {
    for (let waiter = this.#head; waiter !== undefined; waiter = this.#head) {
      if (this.#writing || (waiter.exclusive && this.#readers > 0)) return;
      if (waiter.exclusive) {
        this.#writing = true;
        this.#writes += 1;
      } else this.#readers += 1;
      this.#unlink(waiter);
      waiter.gate.release();
    }
  }

  #unlink(waiter: Waiter): void {
    const { previous, next } = waiter;
    if (previous === undefined) this.#head = next;
    else previous.next = next;
    if (next === undefined) this.#tail = previous;
    else next.previous = previous;
    waiter.queued = false;
  }
}

function deadlock(): IommuError {
  return refuse(
    'EDEADLOCK',
    'state',
    'the call was made by a memory while it pins or copies, and would wait for a lock that may be held meanwhile',
  );
}
