/**
 * Memory whose pins take their time, as with demand paging.
 */
import { ForwardingMemory, type FrameRuns, type ProcessMemory } from './core.js';

/** While it is late, pins wait; `settle` answers them in the order in which they came. */
export class LateMemory extends ForwardingMemory<ProcessMemory> {
  late = true;
  #waiting: (() => void)[] = [];

  override pin(page: number, count: number, write: boolean, into: FrameRuns): number | Promise<number> {
    if (!this.late) return this.memory.pin(page, count, write, into);
    return new Promise((resolve) => {
      this.#waiting.push(() => resolve(this.memory.pin(page, count, write, into)));
    });
  }

  /** Answers the pins that wait and, until `late` is set again, those that come. */
  settle(): void {
    this.late = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const answer of waiting) answer();
  }

  override resident(): boolean {
    return !this.late;
  }
}
