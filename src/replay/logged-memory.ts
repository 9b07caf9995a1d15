/**
 * The memory behind the user addresses of a log.
 */
import { IommuError, refuse } from '../errors.js';
import { ForwardingMemory } from '../memory/forwarding-memory.js';
import type { FrameRuns } from '../memory/frame-runs.js';
import type { LockedMemory } from '../memory/locked-memory.js';
import type { UserFile } from '../memory/user-file.js';
import type { UserMemory } from '../memory/user-memory.js';
import { hex, intervalOf, PAGE_SIZE, split } from '../u64.js';

/** Pages of user space on x86-64 with four levels: addresses below 2^47. */
const USER_PAGES = 2 ** 35;
/** Pages of a file: offsets are below 2^63. */
const FILE_PAGES = 2 ** 51;
/** The first frame given out, so that no physical address equals its user address. */
const FIRST_FRAME = 2 ** 20;

/**
 * Memory of a process of which only addresses are known: every user address below 2^47 is mapped, writable and
 * has a frame of its own, in the order of addresses. Its bytes are unknown: all read as 0, and what is written is
 * dropped.
 */
export class LoggedMemory implements UserMemory {
  readonly locked?: { readonly user: LockedMemory; readonly mm: LockedMemory };
  /** User pages, first and last, that are not there for the moment. */
  #missing: { readonly page: number; readonly lastPage: number } | undefined;

  /** @param locked - the locked-memory counters; absent: no limit */
  constructor(locked?: { readonly user: LockedMemory; readonly mm: LockedMemory }) {
    if (locked !== undefined) this.locked = locked;
  }

  /** Makes a call for which a range of user memory is not there: the log says that the kernel could not pin it. */
  async without<T>(uptr: bigint, length: bigint, call: () => Promise<T>): Promise<T> {
    this.#missing = length === 0n ? undefined : intervalOf(split(uptr), split(length));
    try {
      return await call();
    } finally {
      this.#missing = undefined;
    }
  }

  pin(page: number, count: number, _write: boolean, into: FrameRuns): number {
    if (page >= USER_PAGES) throw missing(page, 'is not below 2^47');
    const gone = this.#missing;
    if (gone !== undefined && gone.page <= page && page <= gone.lastPage) {
      throw missing(page, 'is not memory that can be pinned, as the log itself says');
    }
    const pinned = Math.min(count, USER_PAGES - page);
    into.push(page + FIRST_FRAME, pinned);
    return pinned;
  }

  unpin(): void {}

  frames(): Uint8Array {
    return new Uint8Array(PAGE_SIZE);
  }

  copyFromUser(
    _page: number,
    _offset: number,
    target: Uint8Array,
    targetOffset: number,
    length: number,
  ): number {
    target.fill(0, targetOffset, targetOffset + length);
    return length;
  }

  copyToUser(
    _page: number,
    _offset: number,
    _source: Uint8Array,
    _sourceOffset: number,
    length: number,
  ): number {
    return length;
  }
}

/**
 * A file of which only its descriptor is known: every page below 2^63 is in it, and has a frame of its own. Its bytes are
 * unknown, as those of `LoggedMemory`.
 */
export class LoggedFile implements UserFile {
  readonly #meter: PinMeter;
  #tooShort = false;

  /** @param meter - what counts its pins */
  constructor(meter: PinMeter) {
    this.#meter = meter;
  }

  /** Makes a call for which the file has no pages: the log says that the kernel could not pin them. */
  async without<T>(call: () => Promise<T>): Promise<T> {
    this.#tooShort = true;
    try {
      return await call();
    } finally {
      this.#tooShort = false;
    }
  }

  pin(page: number, count: number, into: FrameRuns): number {
    if (page >= FILE_PAGES) throw notInFile(page, 'is not below 2^63');
    if (this.#tooShort) throw notInFile(page, 'is not in the file, as the log itself says');
    const pinned = Math.min(count, FILE_PAGES - page);
    into.push(page + FIRST_FRAME, pinned);
    this.#meter.add(pinned);
    return pinned;
  }

  unpin(_pfn: number, count: number): void {
    this.#meter.remove(count);
  }

  frames(): Uint8Array {
    return new Uint8Array(PAGE_SIZE);
  }
}

function notInFile(page: number, detail: string): IommuError {
  return refuse('EINVAL', 'argument', `byte ${hex({ page, offset: 0 })} of the file ${detail}`);
}

function missing(page: number, detail: string): IommuError {
  return new IommuError('EFAULT', { check: 'memory', uptr: hex({ page, offset: 0 }), detail });
}

/** Pins of several memories, counted together. */
export class PinMeter {
  /** Pins that are held now: a page counts once for each pin of it. */
  pinnedPages = 0;
  /** The most that were held at a time. */
  peakPinnedPages = 0;

  /** Counts so many more. */
  add(pages: number): void {
    this.pinnedPages += pages;
    this.peakPinnedPages = Math.max(this.peakPinnedPages, this.pinnedPages);
  }

  /** Counts so many fewer. */
  remove(pages: number): void {
    this.pinnedPages -= pages;
  }
}

/** Another memory with its pins counted. */
export class MeteredMemory extends ForwardingMemory {
  /** What counts the pins. */
  readonly meter: PinMeter;

  constructor(memory: UserMemory, meter = new PinMeter()) {
    super(memory);
    this.meter = meter;
  }

  override pin(page: number, count: number, write: boolean, into: FrameRuns): number | Promise<number> {
    const pinned = super.pin(page, count, write, into);
    return typeof pinned === 'number' ? this.#add(pinned) : pinned.then((later) => this.#add(later));
  }

  #add(pages: number): number {
    this.meter.add(pages);
    return pages;
  }

  override unpin(pfn: number, count: number, dirty: boolean): void {
    this.meter.remove(count);
    super.unpin(pfn, count, dirty);
  }
}
