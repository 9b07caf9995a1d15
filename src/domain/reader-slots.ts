/// <reference lib="es2024.sharedmemory" />
/**
 * Who reads a shared radix table, and who may still be using what it said.
 *
 * Each reader has a slot with a counter: odd from its first translation on until it passes a quiescent point. The
 * owner, having unmapped something, waits for every counter that it finds odd to move; a reader that begins later
 * finds nothing of what was unmapped.
 *
 * A slot may be taken away from a reader that does not know it yet, and be another's by the time that it is used again.
 * So whoever takes a slot away moves its counter on, and a reader moves it only from where it left it.
 */
import { refuse } from '../errors.js';
import { COUNT, EVICTED, FREE, MOST_READERS, OWNER, SLOTS_USED, slotAt, WAITING } from './shared-control.js';

/** Milliseconds between two looks at a counter, where nobody can be told that it moved. */
const POLL_INTERVAL = 1;

/** A reader that may be using translations: where its counter is, and what it was. */
interface BusyReader {
  readonly at: number;
  readonly count: number;
}

const NOBODY: readonly BusyReader[] = [];

/** The owner's view of the slots. */
export class ReaderSlots {
  readonly #words: Int32Array;

  constructor(control: SharedArrayBuffer) {
    this.#words = new Int32Array(control);
  }

  /** Whether a reader may be using translations now. */
  get busy(): boolean {
    return this.#findBusy().length > 0;
  }

  /** Waits until all readers that are busy now have passed a quiescent point; `undefined` if none is. */
  drain(): Promise<void> | undefined {
    const busy = this.#findBusy();
    return busy.length === 0 ? undefined : this.#waitFor(busy);
  }

  /** Frees the slots of the readers made from a handle: nobody waits for them any more. */
  evict(handle: number): void {
    const words = this.#words;
    for (let slot = 0; slot < this.#used; slot++) {
      const at = slotAt(slot);
      if (Atomics.compareExchange(words, at + OWNER, handle, EVICTED) !== handle) continue;
      moveOn(words, at + COUNT);
      Atomics.notify(words, at + COUNT);
      Atomics.store(words, at + OWNER, FREE);
    }
  }

  /** Slots that were ever taken. Readers write that number, so it is not trusted. */
  get #used(): number {
    return Math.min(Atomics.load(this.#words, SLOTS_USED), MOST_READERS);
  }

  #findBusy(): readonly BusyReader[] {
    const words = this.#words;
    let busy = NOBODY;
    for (let slot = 0; slot < this.#used; slot++) {
      const at = slotAt(slot) + COUNT;
      const count = Atomics.load(words, at);
      if (count & 1) busy = [...busy, { at, count }];
    }
    return busy;
  }

  async #waitFor(busy: readonly BusyReader[]): Promise<void> {
    const words = this.#words;
    Atomics.add(words, WAITING, 1);
    for (const { at, count } of busy) {
      while (Atomics.load(words, at) === count) await moved(words, at, count);
    }
    Atomics.sub(words, WAITING, 1);
  }
}

/** Waits until a word has no longer the value `count`; it may be told too early. */
function moved(words: Int32Array, at: number, count: number): Promise<unknown> | string {
  // Not every engine has it.
  if (typeof Atomics.waitAsync === 'function') return Atomics.waitAsync(words, at, count).value;
  return new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL));
}

/** Moves a counter to the next even number, which its reader has not seen. */
function moveOn(words: Int32Array, at: number): void {
  for (;;) {
    const count = Atomics.load(words, at);
    if (Atomics.compareExchange(words, at, count, ((count | 1) + 1) | 0) === count) return;
  }
}

/** Instead of the number of a handle: the slot was given up. */
const CLOSED = -2;

/** A reader's own slot. */
export class ReaderSlot {
  readonly #words: Int32Array;
  readonly #owner: number;
  readonly #counter: number;
  #handle: number;
  #count: number;

  /**
   * Takes a free slot.
   *
   * @throws ENOSPC if there is none
   */
  constructor(control: SharedArrayBuffer, handle: number) {
    const words = new Int32Array(control);
    let slot = 0;
    while (slot < MOST_READERS && Atomics.compareExchange(words, slotAt(slot) + OWNER, FREE, handle) !== FREE)
      slot++;
    if (slot === MOST_READERS) {
      throw refuse('ENOSPC', 'state', `the domain has ${MOST_READERS} readers already`);
    }
    this.#words = words;
    this.#handle = handle;
    this.#owner = slotAt(slot) + OWNER;
    this.#counter = slotAt(slot) + COUNT;
    this.#count = Atomics.load(words, this.#counter);
    for (;;) {
      const used = Atomics.load(words, SLOTS_USED);
      if (used > slot || Atomics.compareExchange(words, SLOTS_USED, used, slot + 1) === used) return;
    }
  }

  /**
   * Keeps what its reader loads and stores before it from what comes after. Gives whether, for a reader that uses
   * translations, the owner waits for it still.
   */
  fence(): boolean {
    return Atomics.add(this.#words, this.#counter, 0) === this.#count;
  }

  /** Begins to use translations; `false` if the slot was given up or taken away. */
  enter(): boolean {
    return Atomics.load(this.#words, this.#owner) === this.#handle && this.#move();
  }

  /** Has done with all translations: a quiescent point. */
  leave(): void {
    if (this.#move() && Atomics.load(this.#words, WAITING) !== 0) Atomics.notify(this.#words, this.#counter);
  }

  /** Gives the slot up, once. */
  free(): void {
    Atomics.compareExchange(this.#words, this.#owner, this.#handle, FREE);
    this.#handle = CLOSED;
  }

  #move(): boolean {
    const count = this.#count;
    this.#count = (count + 1) | 0;
    return Atomics.compareExchange(this.#words, this.#counter, count, this.#count) === count;
  }
}
