/** The processes that the fuzzer plays: their memory, and how it behaves. */
import type { FrameRuns } from '../../src/memory/frame-runs.js';
import type { LockedMemory } from '../../src/memory/locked-memory.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import type { TestMemory } from '../../src/testing/index.js';
import type { Random } from './random.js';

export const PAGE = 0x1000n;
/** Where structs and arrays are, with nothing before and behind it. */
export const ROOM = 0x5000_0000n;
export const ROOM_PAGES = 16n;
/** Memory to be mapped. */
export const RAM = 0x1000_0000n;
export const RAM_PAGES = 48n;
/** Read-only memory right behind it. */
export const ROM = RAM + RAM_PAGES * PAGE;
export const ROM_PAGES = 8n;
/** Memory with huge pages. */
export const BIG = 0x4000_0000n;
const BIG_LENGTH = 0x40_0000n;
/** The end of the address space, but for its last page. */
export const TOP = 0xffff_ffff_ffff_c000n;
const TOP_LENGTH = 0x3000n;

/** A process. Its memory answers at once or later, as the dice say. */
export class FuzzedProcess implements TestMemory {
  readonly memory: ProcessMemory;
  readonly #random: Random;
  /** Percent of answers that come later. */
  readonly #lag: number;

  constructor(memory: ProcessMemory, random: Random, lag: number) {
    this.memory = memory;
    this.#random = random;
    this.#lag = lag;
  }

  /** The first process of a machine. */
  static first(random: Random): FuzzedProcess {
    const memory = new ProcessMemory(random.chance(30) ? { lockedLimit: 24n * PAGE } : {});
    memory.mmap({ uptr: ROOM, length: ROOM_PAGES * PAGE });
    memory.mmap({ uptr: RAM, length: RAM_PAGES * PAGE, frames: random.one(['contiguous', 'scattered']) });
    memory.mmap({ uptr: ROM, length: ROM_PAGES * PAGE, writable: false });
    memory.mmap({ uptr: BIG, length: BIG_LENGTH, sparse: true });
    memory.mmap({ uptr: TOP, length: TOP_LENGTH });
    return new FuzzedProcess(memory, random, random.one([0, 0, 20, 60]));
  }

  fork(): FuzzedProcess {
    return new FuzzedProcess(this.memory.fork(), this.#random, this.#lag);
  }

  get exited(): boolean {
    return this.memory.exited;
  }

  get locked(): { readonly user: LockedMemory; readonly mm: LockedMemory } | undefined {
    return this.memory.locked;
  }

  /** Writes as the process itself; what cannot be written is left out. */
  poke(address: bigint, bytes: Uint8Array): void {
    const past = 2n ** 64n - address;
    const length = past < BigInt(bytes.length) ? Number(past) : bytes.length;
    this.memory.copyToUser(Number(address / PAGE), Number(address % PAGE), bytes, 0, length);
  }

  /** Reads as the process itself; what cannot be read is 0. */
  peek(address: bigint, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    const past = 2n ** 64n - address;
    const most = past < BigInt(length) ? Number(past) : length;
    this.memory.copyFromUser(Number(address / PAGE), Number(address % PAGE), bytes, 0, most);
    return bytes;
  }

  pin(page: number, count: number, write: boolean, into: FrameRuns): number | Promise<number> {
    const most = this.#lag > 0 && this.#random.chance(30) ? Math.min(count, 3) : count;
    return this.#answer(() => this.memory.pin(page, most, write, into));
  }

  unpin(pfn: number, count: number): void {
    this.memory.unpin(pfn, count);
  }

  frames(pfn: number, count: number): Uint8Array {
    return this.memory.frames(pfn, count);
  }

  copyFromUser(
    page: number,
    offset: number,
    target: Uint8Array,
    at: number,
    length: number,
  ): number | Promise<number> {
    return this.#answer(() => this.memory.copyFromUser(page, offset, target, at, length));
  }

  copyToUser(
    page: number,
    offset: number,
    source: Uint8Array,
    at: number,
    length: number,
  ): number | Promise<number> {
    return this.#answer(() => this.memory.copyToUser(page, offset, source, at, length));
  }

  resident(): boolean {
    return this.#lag === 0;
  }

  frameAt(page: number): number | undefined {
    return this.memory.frameAt(page);
  }

  pinsAt(page: number): number | undefined {
    return this.memory.pinsAt(page);
  }

  #answer(now: () => number): number | Promise<number> {
    return this.#random.chance(this.#lag) ? Promise.resolve().then(now) : now();
  }
}
