/// <reference lib="es2024.sharedmemory" />
/**
 * Who reads a shared radix table, and who may still be using what it said.
 *
 * Each reader has a slot with a counter: odd from its first translation on until it passes a quiescent point. The
 * owner, having unmapped something, waits for every counter that it finds odd to move; a reader that begins later
 * finds nothing of what was unmapped.
 */
import { refuse } from '../errors.js';
import { COUNT, FENCE, MOST_READERS, OWNER, SLOTS_USED, slotAt, WAITING } from './shared-control.js';

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
    const used = Atomics.load(words, SLOTS_USED);
    for (let slot = 0; slot < used; slot++) {
      const at = slotAt(slot);
      if (Atomics.load(words, at + OWNER) !== handle) continue;
      const count = Atomics.load(words, at + COUNT);
      if (count & 1) {
        Atomics.store(words, at + COUNT, (count + 1) | 0);
        Atomics.notify(words, at + COUNT);
      }
      Atomics.store(words, at + OWNER, 0);
    }
  }

  #findBusy(): readonly BusyReader[] {
    const words = this.#words;
    const used = Atomics.load(words, SLOTS_USED);
    let busy = NOBODY;
    for (let slot = 0; slot < used; slot++) {
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

/** A reader's own slot. */
export class ReaderSlot {
  readonly #words: Int32Array;
  readonly #at: number;
  readonly #handle: number;
  #count: number;

  /**
   * Takes a free slot.
   *
   * @throws ENOSPC if there is none
   */
  constructor(control: SharedArrayBuffer, handle: number) {
    const words = new Int32Array(control);
    let slot = 0;
    while (slot < MOST_READERS && Atomics.compareExchange(words, slotAt(slot) + OWNER, 0, handle) !== 0)
      slot++;
    if (slot === MOST_READERS) {
      throw refuse('ENOSPC', 'state', `the domain has ${MOST_READERS} readers already`);
    }
    this.#words = words;
    this.#handle = handle;
    this.#at = slotAt(slot);
    this.#count = Atomics.load(words, this.#at + COUNT);
    for (;;) {
      const used = Atomics.load(words, SLOTS_USED);
      if (used > slot || Atomics.compareExchange(words, SLOTS_USED, used, slot + 1) === used) return;
    }
  }

  /** The word that keeps what its reader loads in order. */
  get fence(): number {
    return this.#at + FENCE;
  }

  /**
   * Begins to use translations.
   *
   * @throws ENODEV if the slot was given up
   */
  enter(): void {
    if (Atomics.load(this.#words, this.#at + OWNER) !== this.#handle) {
      throw refuse('ENODEV', 'state', 'the reader was closed, or its handle taken back');
    }
    this.#move();
  }

  /** Has done with all translations: a quiescent point. */
  leave(): void {
    this.#move();
    if (Atomics.load(this.#words, WAITING) !== 0) Atomics.notify(this.#words, this.#at + COUNT);
  }

  /** Gives the slot up. */
  free(): void {
    Atomics.compareExchange(this.#words, this.#at + OWNER, this.#handle, 0);
  }

  #move(): void {
    this.#count = (this.#count + 1) | 0;
    Atomics.store(this.#words, this.#at + COUNT, this.#count);
  }
}
