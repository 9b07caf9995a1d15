/**
 * Memory that counts how often it is asked for anything.
 */
import { ForwardingMemory, type FrameRuns, type ProcessMemory } from './core.js';

/** Another memory, with its calls counted. */
export class CountingMemory extends ForwardingMemory<ProcessMemory> {
  calls = 0;

  override pin(page: number, count: number, write: boolean, into: FrameRuns): number | Promise<number> {
    this.calls += 1;
    return super.pin(page, count, write, into);
  }

  override unpin(pfn: number, count: number, dirty: boolean): void {
    this.calls += 1;
    super.unpin(pfn, count, dirty);
  }

  override frames(pfn: number, count: number): Uint8Array | undefined {
    this.calls += 1;
    return super.frames(pfn, count);
  }

  override copyFromUser(...request: Parameters<ProcessMemory['copyFromUser']>): number | Promise<number> {
    this.calls += 1;
    return super.copyFromUser(...request);
  }

  override copyToUser(...request: Parameters<ProcessMemory['copyToUser']>): number | Promise<number> {
    this.calls += 1;
    return super.copyToUser(...request);
  }
}
