/** The entries of a mock domain: what is mapped at which io page. */

/** Entry flag: the io page is mapped. */
const MAPPED = 1;
/** Entry flag: the first or the last io page of the call that mapped it. */
export const BOUNDARY = 2;
/** Entry flag: a device wrote to it. */
export const DIRTY = 4;
/** Entry flag: mapped as part of a huge io page. */
export const HUGE = 8;

/** Entries of a chunk; as many as a huge io page has. */
export const CHUNK = 512;

/** `CHUNK` neighbouring entries. */
export interface Chunk {
  /** Physical address divided by the io page, of each entry that is mapped. */
  readonly frames: Float64Array;
  /** Flags of each entry; 0 where nothing is mapped. */
  readonly flags: Uint8Array;
}

/** A sparse array of entries by io page number (the IOVA divided by the io page, up to 2^55). */
export class IoPages {
  #chunks = new Map<number, Chunk>();
  #size = 0;

  /** Number of io pages that are mapped. */
  get size(): number {
    return this.#size;
  }

  /** Chunk `number`: the entries from `number * CHUNK` on, if one of them was ever mapped. */
  chunk(number: number): Chunk | undefined {
    return this.#chunks.get(number);
  }

  /** Number of the first chunk after chunk `number` that is there. */
  chunkAfter(number: number): number | undefined {
    if (this.#chunks.has(number + 1)) return number + 1;
    let nearest: number | undefined;
    for (const other of this.#chunks.keys()) {
      if (other > number && (nearest === undefined || other < nearest)) nearest = other;
    }
    return nearest;
  }

  /** Flags of an io page; 0 if it is not mapped. */
  flags(ioPage: bigint): number {
    return this.#chunks.get(chunkOf(ioPage))?.flags[indexOf(ioPage)] ?? 0;
  }

  /** Frame of an io page that is mapped. */
  frame(ioPage: bigint): number {
    return this.#chunks.get(chunkOf(ioPage))!.frames[indexOf(ioPage)]!;
  }

  /** Whether an io page in a range of at least one has one of some flags. */
  some(first: bigint, count: bigint, flags: number): boolean {
    for (const { chunk, from, past } of this.#existing(first, count)) {
      for (let at = from; at < past; at++) if ((chunk.flags[at]! & flags) !== 0) return true;
    }
    return false;
  }

  /** Adds flags to the io pages of a range that are mapped. */
  markAll(first: bigint, count: bigint, flags: number): void {
    for (const { chunk, from, past } of this.#existing(first, count)) {
      for (let at = from; at < past; at++) if (chunk.flags[at] !== 0) chunk.flags[at]! |= flags;
    }
  }

  /** Adds flags to an io page; `false`, and nothing done, if it is not mapped. */
  mark(ioPage: bigint, flags: number): boolean {
    const chunk = this.#chunks.get(chunkOf(ioPage));
    const index = indexOf(ioPage);
    if (chunk === undefined || chunk.flags[index] === 0) return false;
    chunk.flags[index]! |= flags;
    return true;
  }

  /** The first mapped io page in a range of at least one, if there is one. */
  firstIn(first: bigint, count: bigint): bigint | undefined {
    for (const { number, chunk, from, past } of this.#existing(first, count)) {
      for (let at = from; at < past; at++)
        if (chunk.flags[at] !== 0) return BigInt(number) * BigInt(CHUNK) + BigInt(at);
    }
    return undefined;
  }

  /** Maps consecutive frames to consecutive io pages, whatever was mapped there. */
  fill(first: bigint, count: bigint, firstFrame: number, flags: number): void {
    let frame = firstFrame;
    for (const { number, from, past } of parts(first, count)) {
      const chunk = this.#chunkFor(number);
      for (let at = from; at < past; at++) {
        if (chunk.flags[at] === 0) this.#size += 1;
        chunk.flags[at] = MAPPED | flags;
        chunk.frames[at] = frame++;
      }
    }
  }

  /** Removes the entries of a range. */
  erase(first: bigint, count: bigint): void {
    for (const { chunk, from, past } of this.#existing(first, count)) {
      for (let at = from; at < past; at++) {
        if (chunk.flags[at] === 0) continue;
        chunk.flags[at] = 0;
        this.#size -= 1;
      }
    }
  }

  /** Removes all entries. */
  clear(): void {
    this.#chunks.clear();
    this.#size = 0;
  }

  /** The chunks in a range of at least one io page that are there, ascending, and which part of them is in it. */
  *#existing(
    first: bigint,
    count: bigint,
  ): Generator<{
    readonly number: number;
    readonly chunk: Chunk;
    readonly from: number;
    readonly past: number;
  }> {
    const [firstChunk, lastChunk] = [chunkOf(first), chunkOf(first + count - 1n)];
    const inRange = lastChunk - firstChunk + 1;
    const numbers =
      inRange > this.#chunks.size
        ? [...this.#chunks.keys()].filter((at) => at >= firstChunk && at <= lastChunk).sort((x, y) => x - y)
        : Array.from({ length: inRange }, (_, at) => firstChunk + at);
    for (const number of numbers) {
      const chunk = this.#chunks.get(number);
      if (chunk === undefined) continue;
      const from = number === firstChunk ? indexOf(first) : 0;
      const past = number === lastChunk ? indexOf(first + count - 1n) + 1 : CHUNK;
      yield { number, chunk, from, past };
    }
  }

  #chunkFor(number: number): Chunk {
    let chunk = this.#chunks.get(number);
    if (chunk === undefined) {
      chunk = { frames: new Float64Array(CHUNK), flags: new Uint8Array(CHUNK) };
      this.#chunks.set(number, chunk);
    }
    return chunk;
  }
}

/** Number of the chunk that an io page is in. */
export function chunkOf(ioPage: bigint): number {
  return Number(ioPage / BigInt(CHUNK));
}

/** Place of an io page in its chunk. */
export function indexOf(ioPage: bigint): number {
  return Number(ioPage % BigInt(CHUNK));
}

/** The pieces of a range of io pages, chunk by chunk. */
function* parts(first: bigint, count: bigint): Generator<{ number: number; from: number; past: number }> {
  const lastChunk = chunkOf(first + count - 1n);
  const lastIndex = indexOf(first + count - 1n);
  for (let number = chunkOf(first), from = indexOf(first); number <= lastChunk; number++, from = 0) {
    yield { number, from, past: number === lastChunk ? lastIndex + 1 : CHUNK };
  }
}
