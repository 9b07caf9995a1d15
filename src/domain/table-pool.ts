/// <reference lib="es2024.arraybuffer" />
/// <reference lib="es2024.sharedmemory" />
/**
 * The memory that the tables of a radix page table live in.
 *
 * It is one growable buffer: growing adds to its end and moves nothing, and costs no copy. Where threads can share
 * memory it is a `SharedArrayBuffer`, and another thread that has it sees the new tables without being told.
 */
import { refuse } from '../errors.js';
import { TABLE_BYTES } from './table-entry.js';

/** The most tables of a pool, 4 GiB; only address space is set aside for them. */
const MOST_TABLES = 2 ** 20;
/** Tables that an empty pool has memory for. */
const FIRST_TABLES = 16;
/** A pool that grows takes this many times the tables that it needs. */
const GROWTH = 1.25;
/** An empty pool keeps memory for this many tables at most, so that small ones don't grow again and again. */
const KEPT_TABLES = 256;

/** Tables by number: table `n` is the 1024 words from `n << 10` on. */
export class TablePool {
  #words: Int32Array;
  #used: Uint16Array;
  #buffer = newBuffer();
  readonly #returned: number[] = [];
  #next = 0;
  #live = 0;

  constructor() {
    this.#words = wordsOf(this.#buffer);
    this.#used = new Uint16Array(FIRST_TABLES);
  }

  /** The words of all tables. `reserve` and `clear` may put another array in place. */
  get words(): Int32Array {
    return this.#words;
  }

  /**
   * The memory of all tables; `undefined` where threads cannot share any. `clear` puts another in place; `reserve` only
   * makes it longer.
   */
  get shared(): SharedArrayBuffer | undefined {
    return 'growable' in this.#buffer ? this.#buffer : undefined;
  }

  /** Entries in use of each table, for its owner to keep. `reserve` and `clear` may put another array in place. */
  get used(): Uint16Array {
    return this.#used;
  }

  /** Tables in use. */
  get live(): number {
    return this.#live;
  }

  /** Bytes of memory taken, in use or not. */
  get bytes(): number {
    return this.#buffer.byteLength;
  }

  /** Whether there is more memory than an empty pool should keep. */
  get large(): boolean {
    return this.#used.length > KEPT_TABLES;
  }

  /**
   * Sees to it that the next `count` calls of `allocate` need no more memory.
   *
   * @throws ENOMEM if there is none; nothing has changed.
   */
  reserve(count: number): void {
    const needed = this.#next + count - this.#returned.length;
    if (needed > this.#used.length) this.#grow(needed);
  }

  /** Takes a table, all of whose entries are empty. It must have been reserved. */
  allocate(): number {
    this.#live += 1;
    return this.#returned.pop() ?? this.#next++;
  }

  /** Gives an empty table back. */
  release(table: number): void {
    this.#live -= 1;
    this.#returned.push(table);
  }

  /** Gives all tables back, and all memory but what a new pool has. The tables need not be empty. */
  clear(): void {
    this.#returned.length = 0;
    this.#next = 0;
    this.#live = 0;
    this.#buffer = newBuffer();
    this.#words = wordsOf(this.#buffer);
    this.#used = new Uint16Array(FIRST_TABLES);
  }

  #grow(needed: number): void {
    const tables = Math.max(needed, Math.min(Math.ceil(needed * GROWTH), MOST_TABLES));
    try {
      grow(this.#buffer, tables * TABLE_BYTES);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw refuse('ENOMEM', 'domain', `no memory for ${tables} tables of the domain's page table`);
    }
    this.#words = wordsOf(this.#buffer);
    const used = new Uint16Array(tables);
    used.set(this.#used);
    this.#used = used;
  }
}

/** Whether there is memory that threads can share: in browsers only where a page is isolated from other origins. */
export function canShare(): boolean {
  return typeof SharedArrayBuffer === 'function';
}

function newBuffer(): ArrayBuffer | SharedArrayBuffer {
  const bytes = FIRST_TABLES * TABLE_BYTES;
  const limit = { maxByteLength: MOST_TABLES * TABLE_BYTES };
  return canShare() ? new SharedArrayBuffer(bytes, limit) : new ArrayBuffer(bytes, limit);
}

function grow(buffer: ArrayBuffer | SharedArrayBuffer, bytes: number): void {
  if ('growable' in buffer) buffer.grow(bytes);
  else buffer.resize(bytes);
}

/** A view of fixed length: it is faster than one that grows with the buffer. */
function wordsOf(buffer: ArrayBuffer | SharedArrayBuffer): Int32Array {
  return new Int32Array(buffer, 0, buffer.byteLength / Int32Array.BYTES_PER_ELEMENT);
}
