/**
 * What the naive model's pages are: physical pages, and the files and dma-bufs that have some.
 */
import { PAGE, powerOfTwoFrom, Refusal } from './naive-ranges.js';

/** Number of the page in which files end at the latest. */
const FILE_PAGES = 2n ** 51n;

/** A physical page. Pages are told apart by being this object or another. */
export class NaivePage {
  /** Whether the kernel's test driver passes over its pins: it belongs to a huge page. */
  readonly huge: boolean;
  readonly #frame: bigint | (() => bigint);
  readonly #initial: ((offset: number) => number) | undefined;
  #known: bigint | undefined;
  #bytes: Uint8Array | undefined;

  /**
   * @param frame - its frame number, or what tells it when it is first asked for
   * @param initial - the byte that an offset holds until it is written
   */
  constructor(frame: bigint | (() => bigint), initial?: (offset: number) => number, huge = false) {
    this.#frame = frame;
    this.#initial = initial;
    this.huge = huge;
  }

  /** Its frame number. */
  get frame(): bigint {
    this.#known ??= typeof this.#frame === 'bigint' ? this.#frame : this.#frame();
    return this.#known;
  }

  /** Its bytes. */
  get bytes(): Uint8Array {
    const initial = this.#initial;
    this.#bytes ??= Uint8Array.from({ length: Number(PAGE) }, (_, offset) => initial?.(offset) ?? 0);
    return this.#bytes;
  }
}

/** Gives out frame numbers. */
export class NaiveFrames {
  #next = 0x1000n;

  /** A frame that follows none that was given before. */
  lonely(): bigint {
    return this.together(1n);
  }

  /** The first of so many consecutive frames, a multiple of their number rounded up to a power of two. */
  together(count: bigint): bigint {
    const step = powerOfTwoFrom(count);
    const first = (this.#next / step + 1n) * step;
    this.#next = first + count + 1n;
    return first;
  }
}

/** What kinds of files there are for the page table: those whose pages can be pinned, and the others. */
export type NaiveFileKind = 'memory' | 'huge' | 'other';

/** An open file. */
export class NaiveFile {
  readonly kind: NaiveFileKind;
  size: bigint;
  readonly #newPage: (index: bigint) => NaivePage;
  readonly #pages = new Map<bigint, NaivePage>();

  /**
   * @param firstPage - makes a page that the file has from the start
   * @param newPage - makes a page that it gets later
   */
  constructor(
    kind: NaiveFileKind,
    size: bigint,
    pages: { firstPage(index: bigint): NaivePage; newPage(index: bigint): NaivePage },
  ) {
    this.kind = kind;
    this.size = size;
    this.#newPage = (index) => pages.newPage(index);
    for (let index = 0n; index * PAGE < size; index++) this.#pages.set(index, pages.firstPage(index));
  }

  /** A page of the file, whole or not; `undefined` beyond its end. */
  page(index: bigint): NaivePage | undefined {
    return this.#pages.get(index);
  }

  /** What pinning the pages `first` to `last` gives: one bad one fails all. */
  pinError(first: bigint, last: bigint): 'EINVAL' | undefined {
    if (this.kind === 'other' || first >= FILE_PAGES) return 'EINVAL';
    return (last + 1n) * PAGE > this.size ? 'EINVAL' : undefined;
  }

  /** Cuts it or lets it grow. What was cut off is not in the file any more, whoever holds it. */
  resize(size: bigint): void {
    if (size > this.size) {
      for (let index = 0n; index * PAGE < size; index++) {
        if (!this.#pages.has(index)) this.#pages.set(index, this.#newPage(index));
      }
    } else {
      for (const index of [...this.#pages.keys()]) if (index * PAGE >= size) this.#pages.delete(index);
      if (size % PAGE !== 0n) this.#pages.get(size / PAGE)?.bytes.fill(0, Number(size % PAGE));
    }
    this.size = size;
  }
}

/** Memory of a device. */
export class NaiveDmaBuf {
  readonly size: bigint;
  /** The first of its frames. */
  readonly frame: bigint;
  /** New mappings are refused. */
  revoked = false;
  /** How often what is mapped was taken back. */
  invalidations = 0;

  constructor(size: bigint, frame: bigint) {
    this.size = size;
    this.frame = frame;
  }

  /** ENODEV or EINVAL where `[start, start + length)` cannot be mapped. */
  requireRange(start: bigint, length: bigint): void {
    if (start + length > this.size) throw new Refusal('EINVAL');
    if (this.revoked) throw new Refusal('ENODEV');
  }
}
