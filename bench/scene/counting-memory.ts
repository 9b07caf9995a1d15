/**
 * Memory that counts how often it is asked for anything.
 */
import type { FrameRuns, ProcessMemory, UserMemory } from './core.js';

/** Another memory, with its calls counted. */
export class CountingMemory implements UserMemory {
  calls = 0;
  readonly #memory: ProcessMemory;

  constructor(memory: ProcessMemory) {
    this.#memory = memory;
  }

  pin(page: number, count: number, write: boolean, into: FrameRuns): number {
    this.calls += 1;
    return this.#memory.pin(page, count, write, into);
  }

  unpin(pfn: number, count: number): void {
    this.calls += 1;
    this.#memory.unpin(pfn, count);
  }

  frames(pfn: number, count: number): Uint8Array {
    this.calls += 1;
    return this.#memory.frames(pfn, count);
  }

  copyFromUser(
    page: number,
    offset: number,
    target: Uint8Array,
    targetOffset: number,
    length: number,
  ): number {
    this.calls += 1;
    return this.#memory.copyFromUser(page, offset, target, targetOffset, length);
  }

  copyToUser(page: number, offset: number, source: Uint8Array, sourceOffset: number, length: number): number {
    this.calls += 1;
    return this.#memory.copyToUser(page, offset, source, sourceOffset, length);
  }
}
