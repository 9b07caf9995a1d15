/**
 * The process side of a mapping: what the page table asks of the memory whose pages it maps.
 *
 * User addresses come as page numbers (the address divided by 4096, below 2^52) and byte offsets, physical
 * pages as frame numbers (pfn); both are exact in a double.
 */
import { invalidType } from '../arguments.js';
import type { FrameRuns } from './frame-runs.js';
import type { LockedMemory } from './locked-memory.js';
import type { MemoryWindow } from './memory-window.js';

/** How often the frames of a machine are pinned, by whomever. */
export interface PinRecord {
  /** Sum of the pins of all frames. */
  readonly pinned: number;
  /** How often frame `pfn` is pinned. */
  pins(pfn: number): number;
}

/**
 * What gives frames: it takes pins back, and has their bytes.
 *
 * The bytes of pinned frames are had in one of two ways: as live views (`frames`), or by copy (`copyFromFrames` and
 * `copyToFrames`) where there are none, as in the memory of another process, or behind a socket.
 */
export interface PinHolder {
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
   * piece of memory, else of as many frames as are (at least one). Where it is absent, or gives `undefined`, there is no
   * live view, and the frames are copied.
   */
  frames?(pfn: number, count: number): Uint8Array | undefined;

  /**
   * Copies bytes of consecutive pinned frames, from byte `offset` (below 4096) of frame `pfn` on, into `target`. Gives
   * the number of bytes copied: anything but `length` is a failure (EFAULT).
   */
  copyFromFrames?(
    pfn: number,
    offset: number,
    target: Uint8Array,
    targetOffset: number,
    length: number,
  ): number | Promise<number>;

  /** The reverse of `copyFromFrames`. */
  copyToFrames?(
    pfn: number,
    offset: number,
    source: Uint8Array,
    sourceOffset: number,
    length: number,
  ): number | Promise<number>;

  /** The pins of the machine, if `pin` and `unpin` are all that changes them there: `check()` compares. */
  readonly pinRecord?: PinRecord | undefined;
}

/**
 * Memory of a process, as `IoPagetable` needs it. `ProcessMemory` implements it; bring your own for others, or make one
 * from `ForwardingMemory`.
 *
 * The table holds locks while it waits for `pin` and the copies. They may call the library, but a call that would have
 * to queue for a lock is refused (EDEADLOCK). Only calls that they make before they wait for something themselves are
 * recognised: they must not wait for one that is made later. A call that is aborted does not wait for an answer that is
 * still to come: frames may be unpinned before they have been copied.
 */
export interface UserMemory extends PinHolder {
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
   * Whether `count` pages from user page `page` on can be pinned and copied right now. A memory whose `pin` or copies
   * may answer with a promise must have it, so that the synchronous calls can refuse before they change anything; absent
   * means always.
   */
  resident?(page: number, count: number, write: boolean): boolean;

  /**
   * Where user page `page` and its neighbours are, so that they can be read and written without a call of the memory;
   * `undefined` if that is not possible for now. Only ever a matter of speed, of `readSync` and `writeSync`: what is
   * copied there is as well copied by `copyFromUser` and `copyToUser`. A memory that has `resident` is not asked.
   */
  window?(page: number): MemoryWindow | undefined;

  /** `true` once the process has gone: frames stay readable while they are pinned, nothing more can be pinned. */
  readonly exited?: boolean;

  /** The locked-memory counters of the process and its user; absent: no limit (CAP_IPC_LOCK), nothing charged. */
  readonly locked?: { readonly user: LockedMemory; readonly mm: LockedMemory } | undefined;
}

/** What of a memory is about frames. */
export type FrameMemory = Pick<UserMemory, 'frames' | 'copyFromFrames' | 'copyToFrames'>;

const FUNCTIONS = ['pin', 'unpin', 'copyFromUser', 'copyToUser'] as const;

/** @throws TypeError if `memory` lacks one of the functions that every `UserMemory` has, or its frames cannot be read. */
export function checkMemory(memory: UserMemory, name: string): void {
  for (const part of FUNCTIONS) {
    if (typeof memory?.[part] !== 'function')
      throw invalidType(memory, name, `a UserMemory: it has no ${part}`);
  }
  checkFrameMemory(memory, name);
}

/** @throws TypeError if `memory` has neither live views of its frames nor both copies */
export function checkFrameMemory(memory: FrameMemory, name: string): void {
  if (typeof memory?.frames === 'function') return;
  for (const part of ['copyFromFrames', 'copyToFrames'] as const) {
    if (typeof memory?.[part] !== 'function') {
      throw invalidType(memory, name, `a UserMemory: it has neither frames nor ${part}`);
    }
  }
}
