/**
 * Where the words lie that the owner of a shared radix table and its readers in other threads have in common.
 *
 * Two things are in it: what the tables themselves cannot tell at one moment (`table-publisher.ts`), twice, so that
 * one can be written while the other is read; and the slots of the readers (`reader-slots.ts`). What is written often,
 * or by different threads, is in cache lines of its own.
 */
import { sharedByteLength } from '../memory/buffers.js';

/** Word: counts the records; the one that counts is number `sequence & 1`. */
export const SEQUENCE = 0;
/** Word: slots that were ever taken. */
export const SLOTS_USED = 16;
/** Word: whether the owner waits for readers. */
export const WAITING = 17;
/** Word: whether the owner tracks which pages devices write. */
export const TRACKING = 18;

/** Word: says that these are the words of a domain, and laid out as here. */
const FORMAT = 19;
/** To be counted up whenever the layout changes. */
const FORMAT_NUMBER = 0x69_6f_70_02;

const FIRST_RECORD_BYTE = 128;
/** Doubles of a record, with room to spare. */
const RECORD_DOUBLES = 16;

/** Double of a record: the root table. */
export const ROOT = 0;
/** Double of a record: the level of the root table. */
export const ROOT_LEVEL = 1;
/** Doubles of a record: first and last page (inclusive) of what counts as not mapped, whatever the tables say. */
export const HIDDEN_FIRST = 2;
export const HIDDEN_LAST = 3;
/** Doubles of a record: first and last page (inclusive) of the entry that is being changed … */
export const COVER_FIRST = 4;
export const COVER_LAST = 5;
/** … and what counts in its place: the words of an entry, and its level. */
export const COVER_LOW = 6;
export const COVER_STATE = 7;
export const COVER_LEVEL = 8;

/** The most readers of a domain at a time. */
export const MOST_READERS = 256;
const FIRST_SLOT = 128;
const SLOT_WORDS = 16;
/** Word of a slot: number of the handle that its reader was made from, `FREE`, or `EVICTED` while it is taken away. */
export const OWNER = 0;
export const FREE = 0;
export const EVICTED = -1;
/** Word of a slot: odd while its reader may be using translations. */
export const COUNT = 1;

const CONTROL_BYTES = (FIRST_SLOT + SLOT_WORDS * MOST_READERS) * Int32Array.BYTES_PER_ELEMENT;

/** New words: all 0, but for what says that they are the words of a domain. */
export function newControl(): SharedArrayBuffer {
  const control = new SharedArrayBuffer(CONTROL_BYTES);
  new Int32Array(control)[FORMAT] = FORMAT_NUMBER;
  return control;
}

/** Whether a buffer holds the words of a domain. */
export function isControl(buffer: SharedArrayBuffer): boolean {
  return sharedByteLength(buffer) === CONTROL_BYTES && new Int32Array(buffer)[FORMAT] === FORMAT_NUMBER;
}

/** The record that has number `sequence`. */
export function recordOf(control: SharedArrayBuffer, sequence: number): Float64Array {
  const byte = FIRST_RECORD_BYTE + (sequence & 1) * RECORD_DOUBLES * Float64Array.BYTES_PER_ELEMENT;
  return new Float64Array(control, byte, RECORD_DOUBLES);
}

/** Where the words of a slot begin. */
export function slotAt(slot: number): number {
  return FIRST_SLOT + SLOT_WORDS * slot;
}
