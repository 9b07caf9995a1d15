/** Memory in front of another memory. */
import { invalidType } from '../arguments.js';
import { copyFrames } from './frame-bytes.js';
import { FrameRuns } from './frame-runs.js';
import { checkMemory, type UserMemory } from './user-memory.js';

/**
 * A memory that hands every request on to another one: to be extended by what counts, delays, records or refuses some
 * of them, and says only what differs.
 *
 * What stands in for requests is not handed on (`window`, `pinRecord`), so none goes past an override. `unpinAll` calls
 * an `unpin` of the class's own.
 */
export class ForwardingMemory<Behind extends UserMemory = UserMemory> implements UserMemory {
  /** The memory behind it. */
  readonly memory: Behind;

  /** @throws TypeError if `memory` is no `UserMemory` */
  constructor(memory: Behind) {
    checkMemory(memory, 'memory');
    this.memory = memory;
  }

  get exited(): boolean {
    return this.memory.exited ?? false;
  }

  get locked(): UserMemory['locked'] {
    return this.memory.locked;
  }

  pin(page: number, count: number, write: boolean, into: FrameRuns): number | Promise<number> {
    return this.memory.pin(page, count, write, into);
  }

  unpin(pfn: number, count: number, dirty: boolean): void {
    this.memory.unpin(pfn, count, dirty);
  }

  unpinAll(frames: FrameRuns, dirty: boolean): void {
    if (!(frames instanceof FrameRuns)) throw invalidType(frames, 'frames', 'a FrameRuns');
    if (this.unpin === ForwardingMemory.prototype.unpin && this.memory.unpinAll !== undefined) {
      this.memory.unpinAll(frames, dirty);
      return;
    }
    for (let run = 0; run < frames.runs; run++) this.unpin(frames.pfnOf(run), frames.countOf(run), dirty);
  }

  frames(pfn: number, count: number): Uint8Array | undefined {
    return this.memory.frames?.(pfn, count);
  }

  copyFromFrames(
    pfn: number,
    offset: number,
    target: Uint8Array,
    targetOffset: number,
    length: number,
  ): number | Promise<number> {
    return allOf(length, copyFrames(this.memory, pfn, offset, target, targetOffset, length, false));
  }

  copyToFrames(
    pfn: number,
    offset: number,
    source: Uint8Array,
    sourceOffset: number,
    length: number,
  ): number | Promise<number> {
    return allOf(length, copyFrames(this.memory, pfn, offset, source, sourceOffset, length, true));
  }

  copyFromUser(
    page: number,
    offset: number,
    target: Uint8Array,
    targetOffset: number,
    length: number,
  ): number | Promise<number> {
    return this.memory.copyFromUser(page, offset, target, targetOffset, length);
  }

  copyToUser(
    page: number,
    offset: number,
    source: Uint8Array,
    sourceOffset: number,
    length: number,
  ): number | Promise<number> {
    return this.memory.copyToUser(page, offset, source, sourceOffset, length);
  }

  resident(page: number, count: number, write: boolean): boolean {
    return this.memory.resident?.(page, count, write) ?? true;
  }
}

function allOf(length: number, copied: undefined | PromiseLike<void>): number | Promise<number> {
  return copied === undefined ? length : Promise.resolve(copied).then(() => length);
}
