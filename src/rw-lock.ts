/**
 * The locks of a page table, fair as the kernel's: waiters are served in the order in which they came, so a
 * queued writer holds back later readers, and neighbouring readers are let in together.
 *
 * While nobody has to wait, taking and giving back a lock moves a counter and touches no promise. Callers that have to
 * wait stand in order at a turnstile, an `async-mutex`: whoever is first there waits for room, takes the lock and lets
 * the next one up. (The turnstile is a `Semaphore` of one. A `Mutex` is one with more promises around it for each wait,
 * which made calls that wait for a lock 2.8 times slower, and each of them 1.8 KB larger.)
 */
import { Semaphore } from 'async-mutex';
import { insideCallOut } from './call-out.js';
import { type IommuError, refuse } from './errors.js';
import { logLock } from './log.js';

/** A caller that waits, or has waited. */
interface Waiter {
  readonly exclusive: boolean;
  /** `left`: it was cancelled, and lets the next one up when its turn comes. */
  state: 'queued' | 'first' | 'served' | 'left';
  /** Ends its wait. */
  readonly served: () => void;
  /** The turnstile at which the next one stands. */
  before: Semaphore;
}

/** So many stand at one turnstile; beyond some ten thousand its queue would get slow. */
const MOST_AT_A_TURNSTILE = 1024;

/** A wait for a lock; it is over when the caller has the lock. */
export interface LockWait extends Promise<unknown> {
  /** Leaves the queue, or gives the lock back if the caller has it by now. The caller does not go on. */
  cancel(): void;
}

/** A fair reader-writer lock. */
export class RwLock {
  #readers = 0;
  #writes = 0;
  #writing = false;
  /** How many callers wait; those who left do not. */
  #waiting = 0;
  /** The turnstile for those who come next, while somebody waits. Whoever holds it is first. */
  #turnstile: Semaphore | undefined;
  /** How many came to that turnstile. */
  #came = 0;
  #first: Waiter | undefined;
  #last: Waiter | undefined;

  /** Whether nobody holds the lock, or is about to get it. */
  get free(): boolean {
    return this.#readers === 0 && !this.#writing && this.#waiting === 0;
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
    if (this.#writing || this.#waiting > 0) return false;
    this.#readers += 1;
    return true;
  }

  /** Takes the lock for writing if that needs no wait. */
  tryWrite(): boolean {
    if (this.#writing || this.#readers > 0 || this.#waiting > 0) return false;
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
    if (this.#first !== undefined) this.#serve(this.#first);
  }

  /** Gives back a lock held for writing. */
  releaseWrite(): void {
    this.#writing = false;
    if (this.#first !== undefined) this.#serve(this.#first);
  }

  #queue(exclusive: boolean): LockWait {
    if (insideCallOut()) throw deadlock();
    if (logLock.enabled) logLock('wait to %s', exclusive ? 'write' : 'read');
    const turnstile = this.#comeTo();
    this.#waiting += 1;
    let served!: () => void;
    const wait = new Promise<void>((resolve) => {
      served = resolve;
    });
    const waiter: Waiter = { exclusive, state: 'queued', served, before: turnstile };
    this.#last = waiter;
    void turnstile.acquire().then(() => {
      if (waiter.state === 'left') waiter.before.release();
      else this.#serve(waiter);
    });
    return Object.assign(wait, { cancel: () => this.#cancel(waiter) });
  }

  /** The turnstile for one more caller. */
  #comeTo(): Semaphore {
    if (this.#turnstile === undefined) {
      this.#turnstile = new Semaphore(1);
      this.#came = 0;
    } else if (this.#came === MOST_AT_A_TURNSTILE) {
      // It is locked until the last one at the turnstile before lets somebody up.
      this.#turnstile = new Semaphore(1);
      this.#came = 0;
      void this.#turnstile.acquire();
      this.#last!.before = this.#turnstile;
    }
    this.#came += 1;
    return this.#turnstile;
  }

  /** Lets a caller that is first have the lock if there is room for it. */
  #serve(waiter: Waiter): void {
    if (this.#writing || (waiter.exclusive && this.#readers > 0)) {
      waiter.state = 'first';
      this.#first = waiter;
      return;
    }
    if (waiter.exclusive) {
      this.#writing = true;
      this.#writes += 1;
    } else this.#readers += 1;
    waiter.state = 'served';
    this.#leave(waiter, true);
    waiter.served();
  }

  #cancel(waiter: Waiter): void {
    const { state, exclusive } = waiter;
    waiter.state = 'left';
    if (state !== 'served') this.#leave(waiter, state === 'first');
    else if (exclusive) this.releaseWrite();
    else this.releaseRead();
  }

  /** One caller waits no more. If it was first, the next one comes up. */
  #leave(waiter: Waiter, first: boolean): void {
    this.#waiting -= 1;
    if (first) this.#first = undefined;
    if (this.#waiting === 0) {
      // Those who left may stand at a turnstile still. With nobody behind them they are forgotten.
      this.#turnstile = undefined;
      this.#last = undefined;
    } else if (first) waiter.before.release();
  }
}

function deadlock(): IommuError {
  return refuse(
    'EDEADLOCK',
    'state',
    'the call was made by a memory while it pins or copies, and would wait for a lock that may be held meanwhile',
  );
}
