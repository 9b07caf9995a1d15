/** The bytes of frames, with what a memory says of them looked at. */
import { refuse } from '../errors.js';
import { PAGE_SIZE } from '../u64.js';
import type { UserMemory } from './user-memory.js';

/**
 * The bytes of frames from `pfn` on: of all `count`, or of as many as are in one piece.
 *
 * @throws EFAULT if the memory gives less than a frame or parts of frames; what `UserMemory.frames` throws
 */
export function frameBytes(memory: Pick<UserMemory, 'frames'>, pfn: number, count: number): Uint8Array {
  const bytes = memory.frames(pfn, count);
  const { length } = bytes;
  if (length >= PAGE_SIZE && length % PAGE_SIZE === 0) return bytes;
  const detail = `the memory gave ${String(length)} bytes for ${count} frames from 0x${pfn.toString(16)} on`;
  throw refuse('EFAULT', 'fault', detail);
}
