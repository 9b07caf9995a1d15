/**
 * Memory that answers late and in small portions, so that every operation that pins or copies has to wait.
 */
import type { FrameRuns, ProcessMemory, UserMemory } from 'io-pagetable';

/** A `ProcessMemory` behind promises. */
export class LateMemory implements UserMemory {
  readonly #memory: ProcessMemory;
  readonly #portion: number;

  /**
   * @param portion - the most pages that one call pins
   */
  constructor(memory: ProcessMemory, portion: number) {
    this.#memory = memory;
    this.#portion = portion;
  }

  get exited(): boolean {
    return this.#memory.exited;
  }

  get locked(): ProcessMemory['locked'] {
    return this.#memory.locked;
  }

  resident(): boolean {
    return false;
  }

  async pin(page: number, count: number, write: boolean, into: FrameRuns): Promise<number> {
    await undefined;
    return this.#memory.pin(page, Math.min(count, this.#portion), write, into);
  }

  unpin(pfn: number, count: number): void {
    this.#memory.unpin(pfn, count);
  }

  frames(pfn: number, count: number): Uint8Array {
    return this.#memory.frames(pfn, count);
  }

  async copyFromUser(...request: Parameters<ProcessMemory['copyFromUser']>): Promise<number> {
    await undefined;
    return this.#memory.copyFromUser(...request);
  }

  async copyToUser(...request: Parameters<ProcessMemory['copyToUser']>): Promise<number> {
    await undefined;
    return this.#memory.copyToUser(...request);
  }
}
