/**
 * Memory behind a socket, so to speak: no byte of it can be looked at, everything is asked for and answered later.
 */

import { copyFrames } from '../../src/memory/frame-bytes.js';
import type { FrameRuns } from '../../src/memory/frame-runs.js';
import type { ProcessMemory } from '../../src/memory/process-memory.js';
import type { PinRecord, UserMemory } from '../../src/memory/user-memory.js';

/** A `ProcessMemory` without live views. */
export class RemoteMemory implements UserMemory {
  readonly #memory: ProcessMemory;

  constructor(memory: ProcessMemory) {
    this.#memory = memory;
  }

  get exited(): boolean {
    return this.#memory.exited;
  }

  get locked(): UserMemory['locked'] {
    return this.#memory.locked;
  }

  get pinRecord(): PinRecord {
    return this.#memory.physical;
  }

  resident(): boolean {
    return false;
  }

  async pin(page: number, count: number, write: boolean, into: FrameRuns): Promise<number> {
    await undefined;
    return this.#memory.pin(page, count, write, into);
  }

  unpin(pfn: number, count: number): void {
    this.#memory.unpin(pfn, count);
  }

  async copyFromFrames(
    pfn: number,
    offset: number,
    target: Uint8Array,
    at: number,
    length: number,
  ): Promise<number> {
    await undefined;
    copyFrames(this.#memory, pfn, offset, target, at, length, false);
    return length;
  }

  async copyToFrames(
    pfn: number,
    offset: number,
    source: Uint8Array,
    at: number,
    length: number,
  ): Promise<number> {
    await undefined;
    copyFrames(this.#memory, pfn, offset, source, at, length, true);
    return length;
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
