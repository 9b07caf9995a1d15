/**
 * Guest RAM in which each page says which IOVA it is mapped at, and whether it is mapped at all. Used by the owner of a
 * domain and by its readers in other threads, which share the words.
 */

export const PAGE = 4096;
const PAGE_WORDS = PAGE / 4;
const IOVA_PAGE = 0;
const GENERATION = 1;
const CHECKSUM = 2;
/** A word that devices write. */
const SCRATCH = 3;
const POISON = 0x5eadbeef;

/** The pages of a buffer, by the number of their frame. */
export class StampedPages {
  readonly buffer: SharedArrayBuffer;
  /** The frame of the buffer's first page; frames are consecutive. */
  readonly firstFrame: number;
  readonly #words: Int32Array;
  #generation = 0;

  constructor(buffer: SharedArrayBuffer, firstFrame: number) {
    this.buffer = buffer;
    this.firstFrame = firstFrame;
    this.#words = new Int32Array(buffer);
  }

  /** Says that a frame is going to be mapped at a page. */
  stamp(frame: number, iovaPage: number): void {
    const at = this.#at(frame);
    this.#generation += 1;
    this.#words[at + IOVA_PAGE] = iovaPage;
    this.#words[at + GENERATION] = this.#generation;
    this.#words[at + SCRATCH] = 0;
    this.#words[at + CHECKSUM] = checksum(frame, iovaPage, this.#generation);
  }

  /** Says that nobody may use a frame any more. */
  poison(frame: number): void {
    const at = this.#at(frame);
    this.#words.fill(POISON, at, at + SCRATCH + 1);
  }

  /** @throws Error if something was written to a frame since it was poisoned. */
  checkPoison(frame: number): void {
    const at = this.#at(frame);
    for (let word = at; word <= at + SCRATCH; word++) {
      if (this.#words[word] !== POISON) throw new Error(`frame ${frame} was written after its unmap`);
    }
  }

  /** @throws Error if a frame is not the one that is mapped at a page. */
  check(frame: number, iovaPage: number): void {
    const at = this.#at(frame);
    const words = [IOVA_PAGE, GENERATION, CHECKSUM].map((word) => this.#words[at + word]!);
    const [page, generation, sum] = words as [number, number, number];
    if (page === (iovaPage | 0) && sum === checksum(frame, page, generation)) return;
    throw new Error(`page ${iovaPage} was translated to frame ${frame}, which says ${words.join(', ')}`);
  }

  /** Byte of a page that devices may write. */
  static readonly scratchOffset = SCRATCH * 4;

  #at(frame: number): number {
    return (frame - this.firstFrame) * PAGE_WORDS;
  }
}

function checksum(frame: number, iovaPage: number, generation: number): number {
  return Math.imul(frame ^ Math.imul(iovaPage, 0x9e3779b1) ^ Math.imul(generation, 0x85ebca6b), 0xc2b2ae35);
}

/** Pseudo-random integers below `limit`, the same in each run. */
export function randomBelow(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    return Math.floor(((state >>> 8) / 2 ** 24) * limit);
  };
}
