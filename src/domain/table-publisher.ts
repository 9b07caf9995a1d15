/**
 * What the owner of a shared radix table tells readers in other threads besides the tables.
 *
 * Entries have two words and mappings have many entries, which change one after the other. So that a reader sees
 * each request entirely or not at all, the owner first publishes a record that says which pages count as not mapped
 * whatever the tables say, then changes the tables, then publishes one without. In the same way an entry that is
 * replaced by a table of smaller pages is covered by a copy of itself. A request that changes one entry of a table that
 * stays needs no record: an entry counts from the moment at which its state is written, and a reader that finds the
 * same state before and after it looked at word 0 has both of the same moment.
 *
 * There are two records, and the sequence says which one counts: the other one is written, then the sequence moves
 * on. A reader takes the sequence, that record, the entries, and the sequence again; if it is the same, everything
 * between belonged together. It never waits for the owner: it begins again only if the owner got on.
 *
 * Entries are written and read without atomic operations, which keeps them as fast as they are. That is in order
 * because an atomic store and an atomic load of the sequence lie between what must not overtake each other, on
 * either side. And a table that was given back is written again only after a record was published since: whoever
 * still walks through it finds the sequence moved on.
 */
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
} from './shared-control.js';

const RECORD_LENGTH = COVER_LEVEL + 1;

/** The owner's side of the records. All page numbers are inclusive. */
export class TablePublisher {
  readonly #words: Int32Array;
  readonly #records: readonly [Float64Array, Float64Array];
  readonly #next = new Float64Array(RECORD_LENGTH);
  #sequence = 0;
  #held = false;
  #heldFirst = 0;
  #heldLast = 0;
  #changedElsewhere = false;

  constructor(control: SharedArrayBuffer) {
    this.#words = new Int32Array(control);
    this.#records = [recordOf(control, 0), recordOf(control, 1)];
    this.#hide(0, -1);
    this.#uncover();
  }

  /** Whether a range is hidden by `hold`. */
  get held(): boolean {
    return this.#held;
  }

  /** Whether all that changed since `hold` is in the range that it hides. */
  get changedOnlyHidden(): boolean {
    return this.#held && !this.#changedElsewhere;
  }

  /** Takes note of a change of the pages [first, last] that readers may see at once. */
  note(first: number, last: number): void {
    if (this.#held && (first < this.#heldFirst || last > this.#heldLast)) this.#changedElsewhere = true;
  }

  /** Begins a change of the pages [first, last]: until `settle` readers find nothing there. */
  begin(first: number, last: number): void {
    this.note(first, last);
    if (this.#held) return;
    this.#hide(first, last);
    this.#publish();
  }

  /** Lets an entry stand for the pages [first, last], as which they can be changed in the tables. */
  cover(first: number, last: number, low: number, state: number, level: number): void {
    const next = this.#next;
    next[COVER_FIRST] = first;
    next[COVER_LAST] = last;
    next[COVER_LOW] = low;
    next[COVER_STATE] = state;
    next[COVER_LEVEL] = level;
    this.#publish();
  }

  /** Says where walks begin. */
  moveRoot(table: number, level: number): void {
    this.#next[ROOT] = table;
    this.#next[ROOT_LEVEL] = level;
    this.#publish();
  }

  /** Ends a change: the tables count again. */
  settle(table: number, level: number): void {
    if (!this.#held) this.#hide(0, -1);
    this.#uncover();
    this.moveRoot(table, level);
  }

  /** Hides the pages [first, last] beyond the changes that follow, until `show`. */
  hold(first: number, last: number): void {
    this.#held = true;
    this.#changedElsewhere = false;
    this.#heldFirst = first;
    this.#heldLast = last;
    this.#hide(first, last);
    this.#publish();
  }

  /** Ends `hold`. */
  show(): void {
    this.#held = false;
    this.#hide(0, -1);
    this.#publish();
  }

  #hide(first: number, last: number): void {
    this.#next[HIDDEN_FIRST] = first;
    this.#next[HIDDEN_LAST] = last;
  }

  #uncover(): void {
    this.#next[COVER_FIRST] = 0;
    this.#next[COVER_LAST] = -1;
  }

  #publish(): void {
    const words = this.#words;
    this.#sequence = (this.#sequence + 1) | 0;
    const record = this.#records[this.#sequence & 1]!;
    for (let at = 0; at < RECORD_LENGTH; at++) record[at] = this.#next[at]!;
    Atomics.store(words, SEQUENCE, this.#sequence);
    // What is written after this must not be seen before the store; only a load keeps it back.
    Atomics.load(words, SEQUENCE);
  }
}
