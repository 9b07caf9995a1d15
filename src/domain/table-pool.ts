/**
 * The tables of a radix page table, by number.
 */
import { refuse } from '../errors.js';
import { TABLE_BYTES, TABLE_WORD_BITS } from './table-entry.js';
import { growReserve, isShared, MOST_TABLES, newReserve, type Reserve } from './table-reserve.js';

const TABLE_WORDS = 1 << TABLE_WORD_BITS;
/** Tables that a reserve begins with. */
const RESERVED_TABLES = 16;
/** A pool of more tables lives in a reserve; a smaller one has its memory to itself, and moves when it grows. */
const SMALL_TABLES = 256;
/** A pool that grows takes this many times the tables that it needs, and a small one … */
const GROWTH = 1.25;
const SMALL_GROWTH = 2;

/** What all pools without memory have: one table, in which nothing is ever written. */
const NO_WORDS = new Int32Array(TABLE_WORDS);
const NO_USED = new Uint16Array(1);

/**
 * Tables by number: table `n` is the 1024 words from `n << 10` on.
 *
 * There may be very many pools, most of them small. So a new one has no memory, and one that is small has no more than it
 * needs. A pool that is large, or is read by other threads, grows in place, in a reserve of address space.
 */
export class TablePool {
  #words: Int32Array = NO_WORDS;
  #used = NO_USED;
  #reserve: Reserve | undefined;
  readonly #returned: number[] = [];
  #next = 0;
  #live = 0;

  /** The words of all tables. `reserve`, `share` and `clear` may put another array in place. */
  get words(): Int32Array {
    return this.#words;
  }

  /** Entries in use of each table, for its owner to keep. `reserve`, `share` and `clear` may put another array in place. */
  get used(): Uint16Array {
    return this.#used;
  }

  /** Tables in use. */
  get live(): number {
    return this.#live;
  }

  /** Bytes of memory taken, in use or not. */
  get bytes(): number {
    return this.#tables * TABLE_BYTES;
  }

  /** Whether there is more memory than an empty pool should keep. */
  get large(): boolean {
    return this.#tables > SMALL_TABLES;
  }

  /** Tables that there is memory for. */
  get #tables(): number {
    return this.#words === NO_WORDS ? 0 : this.#used.length;
  }

  /**
   * Sees to it that the next `count` calls of `allocate` need no more memory.
   *
   * @throws ENOMEM if there is none; nothing has changed.
   */
  reserve(count: number): void {
    const needed = this.#next + count - this.#returned.length;
    if (needed > this.#tables) this.#grow(needed);
  }

  /**
   * The memory of all tables, for other threads. From now on it only grows, until `clear` puts another in place.
   *
   * @throws ENOMEM if there is no room for it to grow in; nothing has changed.
   */
  share(): SharedArrayBuffer {
    const reserve = this.#reserve ?? this.#moveToReserve(Math.max(this.#tables, RESERVED_TABLES));
    if (reserve !== undefined && isShared(reserve)) return reserve;
    throw refuse(
      'ENOMEM',
      'domain',
      'too many page tables are shared, or large, for another to have room to grow',
    );
  }

  /** Takes a table, all of whose entries are empty. It must have been reserved, but for the first. */
  allocate(): number {
    this.#live += 1;
    return this.#returned.pop() ?? this.#next++;
  }

  /** Gives an empty table back. */
  release(table: number): void {
    this.#live -= 1;
    this.#returned.push(table);
  }

  /** Gives all tables and all memory back. The tables need not be empty. */
  clear(): void {
    this.#returned.length = 0;
    this.#next = 0;
    this.#live = 0;
    this.#reserve = undefined;
    this.#words = NO_WORDS;
    this.#used = NO_USED;
  }

  #grow(needed: number): void {
    const small = needed <= SMALL_TABLES;
    // The first memory is what one mapping takes; many domains never get more.
    const factor = this.#tables === 0 ? 1 : small ? SMALL_GROWTH : GROWTH;
    const wanted = Math.min(Math.ceil(needed * factor), small ? SMALL_TABLES : MOST_TABLES);
    const tables = Math.max(needed, wanted);
    try {
      this.#takeMemory(tables);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw refuse('ENOMEM', 'domain', `no memory for ${tables} tables of the domain's page table`);
    }
  }

  /** @throws RangeError if there is no memory for as many tables, with nothing changed. */
  #takeMemory(tables: number): void {
    if (tables > MOST_TABLES) throw new RangeError('more tables than a page table may have');
    if (this.#reserve !== undefined) {
      growReserve(this.#reserve, tables);
      this.#use(wordsOf(this.#reserve));
    } else if (tables <= SMALL_TABLES || this.#moveToReserve(tables) === undefined) {
      this.#moveTo(new ArrayBuffer(tables * TABLE_BYTES));
    }
  }

  #moveToReserve(tables: number): Reserve | undefined {
    const reserve = newReserve(tables);
    if (reserve === undefined) return undefined;
    this.#moveTo(reserve);
    this.#reserve = reserve;
    return reserve;
  }

  #moveTo(memory: Reserve): void {
    new Uint8Array(memory).set(new Uint8Array(this.#words.buffer));
    this.#use(wordsOf(memory));
  }

  #use(words: Int32Array): void {
    const used = new Uint16Array(words.length / TABLE_WORDS);
    used.set(this.#used);
    this.#used = used;
    this.#words = words;
  }
}

/** A view of fixed length: it is faster than one that grows with the buffer. */
function wordsOf(memory: Reserve): Int32Array {
  return new Int32Array(memory, 0, memory.byteLength / Int32Array.BYTES_PER_ELEMENT);
}
