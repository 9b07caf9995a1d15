/**
 * Memory that answers late and in small portions, so that every operation that pins or copies has to wait.
 */
import { ForwardingMemory } from '../../src/memory/forwarding-memory.js';
import type { FrameRuns } from '../../src/memory/frame-runs.js';
import type { ProcessMemory } from '../../src/memory/process-memory.js';

/** A `ProcessMemory` behind promises. */
export class LateMemory extends ForwardingMemory<ProcessMemory> {
  readonly #portion: number;

  /**
   * @param portion - the most pages that one call pins
   */
  constructor(memory: ProcessMemory, portion: number) {
    super(memory);
    this.#portion = portion;
  }

  override resident(): boolean {
    return false;
  }

  override async pin(page: number, count: number, write: boolean, into: FrameRuns): Promise<number> {
    await undefined;
    return this.memory.pin(page, Math.min(count, this.#portion), write, into);
  }

  override async copyFromUser(...request: Parameters<ProcessMemory['copyFromUser']>): Promise<number> {
    await undefined;
    return this.memory.copyFromUser(...request);
  }

  override async copyToUser(...request: Parameters<ProcessMemory['copyToUser']>): Promise<number> {
    await undefined;
    return this.memory.copyToUser(...request);
  }
}
