/**
 * Reading the page table of another thread's `RadixDomain`. Nothing here needs Node.
 */
import { readU64 } from '../arguments.js';
import { type IommuError, refuse } from '../errors.js';
import { isZero, join, PAGE_MASK, PAGE_SIZE, type U64Input } from '../u64.js';
import { type DeviceMemory, deviceRead, deviceWrite } from './device-dma.js';
import type { Translation } from './iommu-domain.js';
import { isTakenBack, type RadixHandle, readHandle } from './radix-handle.js';
import { ReaderSlot } from './reader-slots.js';
import {
  COVER_FIRST,
  COVER_LAST,
  COVER_LEVEL,
  COVER_LOW,
  COVER_STATE,
  HIDDEN_FIRST,
  HIDDEN_LAST,
  ROOT,
  ROOT_LEVEL,
  recordOf,
  SEQUENCE,
  TRACKING,
} from './shared-control.js';
import {
  DIRTY,
  ENTRIES,
  FIRST_ROOT_LEVEL,
  frameOf,
  indexOf,
  LEAF,
  PROTECTION,
  SPAN,
  soiled,
  TABLE,
  TABLE_BYTES,
  TABLE_WORD_BITS,
  TOP_LEVEL,
} from './table-entry.js';

/** Where the entry is that decides about a page, if it is not in a table. */
const NOWHERE = -1;
/** More steps than it takes from the end of the smallest root's span to the last page. */
const STEPS_PAST_ROOT = 2 ** 17;
/** Milliseconds in which an owner certainly finishes splitting a page. */
const PATIENCE = 1000;

/**
 * Translates as a `RadixDomain` of another thread does, at the same time as that maps and unmaps, without messages
 * and without locks.
 *
 * Each `map` and `unmap` of the domain is seen entirely or not at all. A translation may be used until the next
 * quiescent point: `domain.quiesce()`, and `IoPagetable.unmap` before it unpins, wait until all readers that have
 * translated anything have passed one since. So a reader says `quiescent()` whenever it has done with what it was
 * told, as after each request, and before it waits for anything; it costs no more than a translation. `read` and
 * `write`, used alone, do so themselves.
 *
 * A reader that is not used any more is closed. If its thread ends without that, the owner says `domain.unshare` to
 * its handle; until then it may wait for ever.
 */
export class RadixReader {
  /** The domain's page sizes in bytes as a bit mask. */
  readonly pageSizeBitmap: bigint;

  readonly #control: Int32Array;
  readonly #records: readonly [Float64Array, Float64Array];
  readonly #tables: SharedArrayBuffer;
  readonly #slot: ReaderSlot;
  #words: Int32Array;
  #tableCount: number;
  #active = false;

  // The record that counts, as it was read last. An owner begins with sequence 1.
  #sequence = 0;
  #root = 0;
  #rootLevel = 0;
  #hiddenFirst = 0;
  #hiddenLast = -1;
  #coverFirst = 0;
  #coverLast = -1;
  #coverLow = 0;
  #coverState = 0;
  #coverLevel = 0;

  // What `#find` found: an entry, its place and its level.
  #low = 0;
  #state = 0;
  #at = NOWHERE;
  #level = 0;

  /**
   * A reader of the domain that gave the handle; any number may be made of one.
   *
   * @throws TypeError (`ERR_INVALID_ARG_TYPE`) if it is no handle; ENODEV if it was taken back; ENOSPC if the domain has
   * 256 readers already; EIO as `iovaToPhys`
   */
  static from(handle: RadixHandle): RadixReader {
    return new RadixReader(handle);
  }

  private constructor(handle: RadixHandle) {
    const { tables, control, ticket, id, pageSizeBitmap } = readHandle(handle);
    this.pageSizeBitmap = pageSizeBitmap;
    this.#control = new Int32Array(control);
    this.#records = [recordOf(control, 0), recordOf(control, 1)];
    this.#tables = tables;
    this.#words = wordsOf(tables);
    this.#tableCount = tableCountOf(this.#words);
    this.#slot = new ReaderSlot(control, id);
    if (!isTakenBack(ticket)) return;
    this.#slot.free();
    throw lost();
  }

  /**
   * The physical address behind `iova`, or `undefined` if nothing is mapped there. Any byte address. It may be used
   * until the next quiescent point.
   *
   * @throws TypeError (`ERR_INVALID_ARG_TYPE`) or RangeError (`ERR_OUT_OF_RANGE`) if `iova` is not a 64-bit address
   * or a safe integer; ENODEV if the reader is closed or its handle was taken back; EIO if what it reads are not the
   * tables of a domain, or the owner ended in the middle of changing them
   */
  iovaToPhys(iova: bigint): bigint | undefined;
  /** The same with numbers, exact: `iova` is a safe integer. */
  iovaToPhys(iova: number): number | undefined;
  iovaToPhys(iova: U64Input): U64Input | undefined {
    if (typeof iova !== 'number' || !Number.isSafeInteger(iova) || iova < 0) return this.#exactPhys(iova);
    const page = Math.floor(iova / PAGE_SIZE);
    this.#find(page);
    if ((this.#state & LEAF) === 0) return undefined;
    return this.#frameOf(page) * PAGE_SIZE + (iova & PAGE_MASK);
  }

  /** What a device's access to `iova` meets: physical address, permission and length. Errors as `iovaToPhys`. */
  translate(iova: U64Input): Translation | undefined {
    const { page, offset } = readU64(iova, 'iova');
    this.#find(page);
    if ((this.#state & LEAF) === 0) return undefined;
    const mask = SPAN[this.#level]! - 1;
    return {
      physical: join(this.#frameOf(page), offset),
      protection: this.#state & PROTECTION,
      length: join(mask + 1 - (page & mask), 0) - BigInt(offset),
    };
  }

  /**
   * Reads as a device: fills `target` with the bytes behind [iova, iova + target.length).
   *
   * @param memory - whose frames the domain maps, as this thread sees it: see `SharedFrames`
   * @throws DmaFault (EFAULT) at the first page that is not mapped or not readable; what lies before it was copied.
   * TypeError or RangeError if an argument is not as declared; nothing was copied. ENODEV if the reader is closed.
   */
  read(iova: U64Input, target: Uint8Array, memory: DeviceMemory): void {
    this.#within(() => deviceRead(this, memory, iova, target));
  }

  /**
   * Writes as a device: copies `source` to the bytes behind [iova, iova + source.length), and marks their pages dirty
   * where the domain tracks that. Parameters and errors as `read`, where a page must be writable.
   */
  write(iova: U64Input, source: Uint8Array, memory: DeviceMemory): void {
    this.#within(() => deviceWrite(this, memory, iova, source));
  }

  /** How a device's writes are marked: after the bytes are written, before the next quiescent point. */
  readonly dirty = {
    /** Marks the mapped pages that [iova, iova + size) touches, as `RadixDomain.dirty` does. */
    mark: (iova: U64Input, size: U64Input): void => {
      const { page, offset } = readU64(iova, 'iova');
      const length = readU64(size, 'size');
      const bytes = offset + length.offset;
      if (!isZero(length)) this.#mark(page, page + length.page + Math.ceil(bytes / PAGE_SIZE));
    },
  };

  /** A quiescent point: what was translated up to now is not used any more. */
  quiescent(): void {
    if (!this.#active) return;
    this.#active = false;
    this.#slot.leave();
  }

  /**
   * Lets go of the domain: nobody waits for this reader any more, and it translates nothing more (ENODEV). Closed again
   * it stays closed.
   */
  close(): void {
    this.quiescent();
    this.#slot.free();
  }

  /** As `close`. */
  [Symbol.dispose](): void {
    this.close();
  }

  #within(use: () => void): void {
    const alone = !this.#active;
    try {
      use();
    } finally {
      if (alone) this.quiescent();
    }
  }

  #exactPhys(iova: U64Input): bigint | undefined {
    const { page, offset } = readU64(iova, 'iova');
    this.#find(page);
    return (this.#state & LEAF) === 0 ? undefined : join(this.#frameOf(page), offset);
  }

  /** The frame of a page in the entry that was found for it. */
  #frameOf(page: number): number {
    return frameOf(this.#low, this.#state) + (page & (SPAN[this.#level]! - 1));
  }

  /**
   * Finds the entry that decides about a page: the page's own, or an empty one where the walk ends. With `hidden` also
   * one that is being mapped or unmapped; of that only place and state count.
   */
  #find(page: number, hidden = false): void {
    if (!this.#active) this.#enter();
    const control = this.#control;
    for (;;) {
      const sequence = Atomics.load(control, SEQUENCE);
      if (sequence !== this.#sequence) this.#readRecord(sequence);
      const whole = this.#look(page, hidden);
      if (!this.#slot.fence()) this.#giveUp();
      if (Atomics.load(control, SEQUENCE) !== sequence) continue;
      if (!whole) this.#renew();
      else if (this.#unchanged()) return;
    }
  }

  /** Whether the entry that was found is still as it was, so that its words were of the same moment. */
  #unchanged(): boolean {
    return (this.#state & LEAF) === 0 || this.#at === NOWHERE || this.#words[this.#at + 1] === this.#state;
  }

  #enter(): void {
    if (!this.#slot.enter()) throw lost();
    this.#active = true;
  }

  /** Its slot was taken away; the owner does not wait for it any more. */
  #giveUp(): never {
    this.#active = false;
    throw lost();
  }

  /** Looks for tables that were added. If there are none, what cannot be followed is no way between two states either. */
  #renew(): void {
    const words = wordsOf(this.#tables);
    if (words.length <= this.#words.length) throw damaged();
    this.#words = words;
    this.#tableCount = tableCountOf(words);
  }

  #readRecord(sequence: number): void {
    const record = this.#records[sequence & 1]!;
    this.#sequence = sequence;
    this.#root = record[ROOT]! | 0;
    this.#rootLevel = record[ROOT_LEVEL]! | 0;
    this.#hiddenFirst = record[HIDDEN_FIRST]!;
    this.#hiddenLast = record[HIDDEN_LAST]!;
    this.#coverFirst = record[COVER_FIRST]!;
    this.#coverLast = record[COVER_LAST]!;
    this.#coverLow = record[COVER_LOW]! | 0;
    this.#coverState = record[COVER_STATE]! | 0;
    this.#coverLevel = record[COVER_LEVEL]! | 0;
    const sound =
      isWithin(this.#rootLevel, FIRST_ROOT_LEVEL, TOP_LEVEL) && isWithin(this.#coverLevel, 0, TOP_LEVEL);
    if (!sound) this.#believeNothing();
  }

  /** Instead of a record that no owner wrote: no way leads anywhere. */
  #believeNothing(): void {
    this.#root = NOWHERE;
    this.#rootLevel = TOP_LEVEL;
    this.#hiddenLast = this.#coverLast = NOWHERE;
  }

  /** Looks a page up. What it finds counts only if the sequence is still the same; `false` if it must be done again. */
  #look(page: number, hidden: boolean): boolean {
    this.#at = NOWHERE;
    if (!hidden && page >= this.#hiddenFirst && page <= this.#hiddenLast) {
      this.#state = 0;
      this.#level = 0;
      return true;
    }
    if (page >= this.#coverFirst && page <= this.#coverLast) {
      this.#low = this.#coverLow;
      this.#state = this.#coverState;
      this.#level = this.#coverLevel;
      return true;
    }
    return this.#walk(page);
  }

  #walk(page: number): boolean {
    let level = this.#rootLevel;
    if (page >= SPAN[level + 1]!) {
      this.#state = 0;
      this.#level = level + 1;
      return true;
    }
    const words = this.#words;
    const tables = this.#tableCount;
    let table = this.#root;
    while (level >= 0 && table >= 0 && table < tables) {
      const at = (table << TABLE_WORD_BITS) + (indexOf(page, level) << 1);
      if ((words[at + 1]! & TABLE) === 0) {
        // Word 0 is loaded after the state, as it was written before.
        this.#state = Atomics.load(words, at + 1);
        this.#low = words[at]!;
        this.#at = at;
        this.#level = level;
        return true;
      }
      table = words[at]!;
      level -= 1;
    }
    return false;
  }

  /** Marks what is mapped from page `first` up to, not including, page `past`. */
  #mark(first: number, past: number): void {
    if (!this.#active) this.#enter();
    // After the bytes that the marks are for: who takes a mark off and then reads the page sees them.
    if (!this.#slot.fence()) this.#giveUp();
    if (Atomics.load(this.#control, TRACKING) === 0) return;
    const progress = new Progress();
    for (let page = first; page < past; ) {
      // What is hidden may yet turn out to stay.
      this.#find(page, true);
      progress.step(this.#sequence, this.#tableCount);
      const state = this.#state;
      if ((state & LEAF) !== 0 && (state & DIRTY) === 0) {
        // An entry that is being split, or has changed since, is looked at again.
        if (this.#at === NOWHERE) {
          progress.wait();
          continue;
        }
        if (Atomics.compareExchange(this.#words, this.#at + 1, state, soiled(state)) !== state) continue;
      }
      const span = SPAN[this.#level]!;
      page = Math.floor(page / span) * span + span;
    }
  }
}

/** Sees to it that going through the tables ends, whatever is in them. */
class Progress {
  #sequence: number | undefined;
  #steps = 0;
  #waitingSince = 0;

  /** Before each entry. @throws EIO if there are not as many without the owner having changed anything meanwhile */
  step(sequence: number, tables: number): void {
    if (sequence !== this.#sequence) {
      this.#sequence = sequence;
      this.#steps = this.#waitingSince = 0;
    }
    this.#steps += 1;
    if (this.#steps > tables * ENTRIES + STEPS_PAST_ROOT) throw damaged();
  }

  /** When an entry is to be looked at again. @throws EIO if the owner does not get on */
  wait(): void {
    this.#steps -= 1;
    const now = Date.now();
    if (this.#waitingSince === 0) this.#waitingSince = now;
    else if (now > this.#waitingSince + PATIENCE) throw damaged();
  }
}

/** A view of fixed length: it is faster than one that grows with the buffer. */
function wordsOf(tables: SharedArrayBuffer): Int32Array {
  const whole = Math.floor(tables.byteLength / TABLE_BYTES) * TABLE_BYTES;
  return new Int32Array(tables, 0, whole / Int32Array.BYTES_PER_ELEMENT);
}

function tableCountOf(words: Int32Array): number {
  return words.byteLength / TABLE_BYTES;
}

function isWithin(level: number, lowest: number, highest: number): boolean {
  return level >= lowest && level <= highest;
}

function lost(): IommuError {
  return refuse('ENODEV', 'state', 'the reader was closed, or its handle taken back');
}

function damaged(): IommuError {
  return refuse('EIO', 'state', 'these are no tables of a domain, or it ended while it changed them');
}
