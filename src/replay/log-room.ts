/**
 * How much a replay keeps. A line of a log costs its writer nothing, and may name something that has to be kept.
 */
import { LogError } from './log-error.js';

/** The most objects at a time: IOVA spaces, page tables, devices. */
const MOST_OBJECTS = 2 ** 16;
/** The most mappings at a time, in all page tables together; one takes about a kilobyte with all that belongs to it. */
const MOST_MAPPINGS = 2 ** 20;

/** Counts what a log makes a replay keep. */
export class LogRoom {
  #objects = 0;
  #mappings = 0;

  /** One object more. @throws LogError if there are too many */
  addObject(): void {
    if (this.#objects === MOST_OBJECTS)
      throw tooLarge(`${MOST_OBJECTS} IOVA spaces, page tables and devices`);
    this.#objects += 1;
  }

  /** So many objects fewer. */
  removeObjects(count: number): void {
    this.#objects -= count;
  }

  /** So many mappings more. @throws LogError if there are too many, and then counts none */
  addMappings(count: number): void {
    if (this.#mappings + count > MOST_MAPPINGS) throw tooLarge(`${MOST_MAPPINGS} mappings`);
    this.#mappings += count;
  }

  /** So many mappings fewer. */
  removeMappings(count: number): void {
    this.#mappings -= count;
  }
}

function tooLarge(what: string): LogError {
  return new LogError('ERR_LOG_TOO_LARGE', `the log has more than ${what} at a time; no more can be kept`);
}
