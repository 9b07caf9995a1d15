/**
 * Process memory of the naive model: pages that exist, are perhaps read-only, and have bytes.
 */
import { type NaiveFile, NaiveFrames, NaivePage } from './naive-memory.js';
import { PAGE, type Range } from './naive-ranges.js';

/** A stretch of process memory; page aligned. */
export interface Region extends Range {
  readonly writable: boolean;
  /** The file that it shows, from its first page on; absent: memory of its own. */
  readonly file?: NaiveFile | undefined;
}

/** Number of the last page of the 64-bit address space. */
const LAST_PAGE = 2n ** 52n - 1n;
/** The kernel pins at most that many pages at once. */
const PIN_RUN = 8192n;

/** The memory of one process and the limit on what it may lock. */
export class NaiveProcess {
  readonly regions: readonly Region[];
  /** The most (backing, page) pairs that may be pinned; `undefined`: no limit. */
  readonly limitPages: bigint | undefined;
  /** The process has ended: nothing more can be pinned or touched. */
  exited = false;
  readonly #initial: (address: bigint) => number;
  readonly #frameOf: (page: bigint) => bigint;
  readonly #pages = new Map<bigint, NaivePage>();
  /** Pages that are no longer as their region says. */
  readonly #changed = new Map<bigint, 'read-only' | 'writable' | 'gone'>();

  /**
   * @param options - `initial`: the byte that an address holds until it is written; `frameOf`: the frame of a user
   * page, by default one that follows no other
   */
  constructor(
    regions: readonly Region[],
    options: {
      limitPages?: bigint | undefined;
      initial?: (address: bigint) => number;
      frameOf?: (page: bigint) => bigint;
    } = {},
  ) {
    const frames = new NaiveFrames();
    this.#frameOf = options.frameOf ?? (() => frames.lonely());
    this.regions = regions;
    this.limitPages = options.limitPages;
    this.#initial = options.initial ?? (() => 0);
  }

  /** Changes what the process can do with a page that it has. */
  change(page: bigint, state: 'read-only' | 'writable' | 'gone'): void {
    if (this.accessible(page, false)) this.#changed.set(page, state);
  }

  /** Whether the process can read, or write, user page `page`. */
  accessible(page: bigint, write: boolean): boolean {
    if (this.exited) return false;
    const changed = this.#changed.get(page);
    if (changed !== undefined) return changed === 'writable' || (changed === 'read-only' && !write);
    const region = this.#region(page);
    return region !== undefined && (region.writable || !write) && this.pageAt(page) !== undefined;
  }

  #region(page: bigint): Region | undefined {
    const at = page * PAGE;
    return this.regions.find((region) => region.start <= at && at <= region.last);
  }

  /** What is at a user page, whether or not the process can touch it; of a file only what it has now. */
  pageAt(page: bigint): NaivePage | undefined {
    const region = this.#region(page);
    if (region?.file !== undefined) return region.file.page(page - region.start / PAGE);
    let own = this.#pages.get(page);
    if (own === undefined && region !== undefined) {
      own = new NaivePage(this.#frameOf(page), (offset) => this.#initial(page * PAGE + BigInt(offset)));
      this.#pages.set(page, own);
    }
    return own;
  }

  /**
   * What pinning the pages `first` to `last` gives: the errno, or `undefined` if all can be pinned. A run that
   * ends exactly at 2^64 overflows in the kernel before it is looked at.
   */
  pinError(first: bigint, last: bigint, write: boolean): 'EFAULT' | 'EOVERFLOW' | undefined {
    if (this.exited) return 'EFAULT';
    let at = first;
    while (at <= last) {
      const runLast = at + PIN_RUN - 1n < last ? at + PIN_RUN - 1n : last;
      if (runLast === LAST_PAGE) return 'EOVERFLOW';
      if (!this.accessible(at, write)) return 'EFAULT';
      while (at <= runLast && this.accessible(at, write)) at += 1n;
    }
    return undefined;
  }

  /** The bytes of a page that there is. */
  page(page: bigint): Uint8Array {
    return this.pageAt(page)!.bytes;
  }
}
