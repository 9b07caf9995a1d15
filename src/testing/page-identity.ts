/** Telling pages of user memory apart, as the test driver does. */
import { IommuError } from '../errors.js';
import { FrameRuns } from '../memory/frame-runs.js';
import type { UserMemory } from '../memory/user-memory.js';
import { isThenable, type Operation } from '../operation.js';
import { checkPinned } from '../pages/frame-reader.js';
import { hex } from '../u64.js';

/** User memory that the test driver can look into. `ProcessMemory` is such memory. */
export interface TestMemory extends UserMemory {
  /**
   * Frame number of a user page (the user address divided by 4096), or `undefined` if there is no page. Pages that
   * have the same frame are the same memory. Without it the test driver pins a page to learn its frame.
   */
  frameAt?(page: number): number | undefined;

  /**
   * How often a user page is pinned, by anybody on the machine; `undefined` if there is no page, `'uncounted'` if it
   * belongs to a huge page, whose pins the kernel's check passes over.
   */
  pinsAt?(page: number): number | 'uncounted' | undefined;

  /** Whether a user page is known to belong to a huge page, so that its pins are passed over. Absent: none is. */
  hugeAt?(page: number): boolean;
}

/**
 * The frame of a user page.
 *
 * @throws EFAULT if there is no page, or (where it has to be pinned for that) what the memory throws.
 */
export function* frameBehind(memory: TestMemory, page: number): Operation<number> {
  if (memory.frameAt !== undefined) {
    const frame = memory.frameAt(page);
    if (frame === undefined) throw noPage(page);
    return frame;
  }
  const frames = new FrameRuns();
  const answer = memory.pin(page, 1, false, frames);
  const pinned = isThenable(answer) ? ((yield () => answer) as number) : answer;
  try {
    checkPinned(1, frames.frames, pinned);
    return frames.at(0);
  } finally {
    frames.forEachRun(0, frames.frames, (pfn, count) => memory.unpin(pfn, count, false));
  }
}

/** EFAULT: there is no memory at a user page. */
export function noPage(page: number): IommuError {
  return new IommuError('EFAULT', {
    check: 'memory',
    uptr: hex({ page, offset: 0 }),
    detail: 'is not mapped',
  });
}
