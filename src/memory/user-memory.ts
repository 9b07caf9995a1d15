/**
 * The process side of a mapping: what the page table asks of the memory whose pages it maps.
 *
 * User addresses come as page numbers (the address divided by 4096, below 2^52) and byte offsets, physical
 * pages as frame numbers (pfn); both are exact in a double.
 */
import { invalidType } from '../u64.js';
import type { FrameRuns } from './frame-runs.js';
import type { LockedMemory } from './locked-memory.js';

/**
 * Memory of a process, as `IoPagetable` needs it. `ProcessMemory` implements it; bring your own for others.
 *
 * The table holds locks while it waits for `pin`, `copyFromUser` and `copyToUser`. They may call the library, but a call
 * that would have to queue for a lock is refused (EDEADLOCK). Only calls that they make before they wait for something
 * themselves are recognised: they must not wait for one that is made later.
 */
export interface UserMemory {
  /**
   * Pins up to `count` pages that begin with user page `page` and appends their frames to `into`.
   *
   * Gives the number of pages pinned, at least 1; fewer than `count` means "ask again for the rest". The answer
   * may be a promise (demand paging, post-copy); `into` is appended to before it settles.
   *
   * @param page - user page number: the user address divided by 4096
   * @param count - pages asked for, at least 1
   * @param write - pin for writing: a read-only page is refused
   * @throws (or rejects with) an `IommuError` EFAULT if page `page` itself cannot be pinned; nothing is pinned
   * then.
   */
  pin(page: number, count: number, write: boolean, into: FrameRuns): number | Promise<number>;

  /**
   * Takes back one pin of each of `count` consecutive frames. Never fails.
   *
   * @param dirty - the frames may have been written while they were pinned
   */
  unpin(pfn: number, count: number, dirty: boolean): void;

  /** Takes back one pin of each frame of a list, as `unpin` of each of its runs, which is what is done if it is absent. */
  unpinAll?(frames: FrameRuns, dirty: boolean): void;

  /**
   * The bytes of `count` consecutive pinned frames that begin with `pfn`, as one live view if they are one
   * piece of memory, else of as many frames as are (at least one).
   */
  frames(pfn: number, count: number): Uint8Array;

  /**
   * Copies bytes of the process, at user page `page` and byte `offset` in it, into `target`, as the process's
   * own loads would: up to the first byte that it cannot read. Gives the number of bytes copied; fewer than
   * `length` means that the next one faults.
   */
  copyFromUser(
    page: number,
    offset: number,
    target: Uint8Array,
    targetOffset: number,
    length: number,
  ): number | Promise<number>;

  /** The reverse of `copyFromUser`: as the process's own stores would, up to the first byte it cannot write. */
  copyToUser(
    page: number,
    offset: number,
    source: Uint8Array,
    sourceOffset: number,
    length: number,
  ): number | Promise<number>;

  /**
   * Whether `count` pages from user page `page` on can be pinned and copied right now. A memory whose `pin`,
   * `copyFromUser` or `copyToUser` may answer with a promise must have it, so that the synchronous calls can refuse
   * before they change anything; absent means always.
   */
  resident?(page: number, count: number, write: boolean): boolean;

  /** `true` once the process has gone: frames stay readable while they are pinned, nothing more can be pinned. */
  readonly exited?: boolean;

  /** The locked-memory counters of the process and its user; absent: no limit (CAP_IPC_LOCK), nothing charged. */
  readonly locked?: { readonly user: LockedMemory; readonly mm: LockedMemory } | undefined;
}

const FUNCTIONS = ['pin', 'unpin', 'frames', 'copyFromUser', 'copyToUser'] as const;

/** @throws TypeError if `memory` lacks one of the functions that every `UserMemory` has. */
export function checkMemory(memory: UserMemory, name: string): void {
  for (const part of FUNCTIONS) {
    if (typeof memory?.[part] !== 'function')
      throw invalidType(name, `a UserMemory: it has no ${part}`, memory);
  }
}
