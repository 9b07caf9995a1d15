/**
 * Memory whose pins take their time, as with demand paging.
 */
import type { FrameRuns, ProcessMemory, UserMemory } from './core.js';

/** While it is late, pins wait; `settle` answers them in the order in which they came. */
export class LateMemory implements UserMemory {
  late = true;
  readonly #memory: ProcessMemory;
  #waiting: (() => void)[] = [];

  constructor(memory: ProcessMemory) {
    this.#memory = memory;
  }

  pin(page: number, count: number, write: boolean, into: FrameRuns): number | Promise<number> {
    if (!this.late) return this.#memory.pin(page, count, write, into);
    return new Promise((resolve) => {
      this.#waiting.push(() => resolve(this.#memory.pin(page, count, write, into)));
    });
  }

  /** Answers the pins that wait and, until `late` is set again, those that come. */
  settle(): void {
    this.late = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const answer of waiting) answer();
  }

  unpin(pfn: number, count: number): void {
    this.#memory.unpin(pfn, count);
  }

  frames(pfn: number, count: number): Uint8Array {
    return this.#memory.frames(pfn, count);
  }

  copyFromUser(
    page: number,
    offset: number,
    target: Uint8Array,
    targetOffset: number,
    length: number,
  ): number {
    return this.#memory.copyFromUser(page, offset, target, targetOffset, length);
  }

  copyToUser(page: number, offset: number, source: Uint8Array, sourceOffset: number, length: number): number {
    return this.#memory.copyToUser(page, offset, source, sourceOffset, length);
  }

  resident(): boolean {
    return !this.late;
  }
}
