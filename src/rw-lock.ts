/**
 * The locks of a page table, fair as the kernel's: waiters are served in the order in which they came, so a
 * queued writer holds back later readers, and neighbouring readers are let in together.
 *
 * While nobody has to wait, taking and giving back a lock moves a counter and touches no promise. A caller that
 * has to wait queues with a gate of its own (an `async-mutex` semaphore of 0), so serving a waiter costs the
 * same however many there are.
 */
import { Semaphore } from 'async-mutex';

interface Waiter {
  readonly exclusive: boolean;
  readonly gate: Semaphore;
  next: Waiter | undefined;
}

/** A fair reader-writer lock. Ownership passes straight to the waiter that is next. */
export class RwLock {
  #readers = 0;
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
    return true;
  }

  /** Takes the lock for reading, after all who asked before. */
  async read(): Promise<void> {
    if (!this.tryRead()) await this.#queue(false);
  }

  /** Takes the lock for writing, after all who asked before. */
  async write(): Promise<void> {
    if (!this.tryWrite()) await this.#queue(true);
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

  #queue(exclusive: boolean): Promise<unknown> {
    const waiter: Waiter = { exclusive, gate: new Semaphore(0), next: undefined };
    if (this.#tail === undefined) this.#head = waiter;
    else this.#tail.next = waiter;
    this.#tail = waiter;
    return waiter.gate.acquire();
  }

  #serve(): void {
    for (let waiter = this.#head; waiter !== undefined; waiter = this.#head) {
      if (this.#writing || (waiter.exclusive && this.#readers > 0)) return;
      if (waiter.exclusive) this.#writing = true;
      else this.#readers += 1;
      this.#head = waiter.next;
      if (this.#head === undefined) this.#tail = undefined;
      waiter.gate.release();
    }
  }
}
