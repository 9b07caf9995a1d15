/** The bytes of frames, with what a memory says of them looked at. */
import { enterCallOut, leaveCallOut } from '../call-out.js';
import { refuse } from '../errors.js';
import { answerOf, isThenable, type Operation } from '../operation.js';
import { PAGE_SIZE } from '../u64.js';
import { byteCount, isBytes, setBytes, viewOf } from './bytes.js';
import type { FrameMemory } from './user-memory.js';

/**
 * A live view of frames from `pfn` on: of all `count`, or of as many as are in one piece. `undefined` if the memory has
 * none of them.
 *
 * @throws EFAULT if the memory gives less than a frame or parts of frames; what `UserMemory.frames` throws
 */
export function frameBytes(memory: FrameMemory, pfn: number, count: number): Uint8Array | undefined {
  const bytes = memory.frames?.(pfn, count);
  if (bytes === undefined) return undefined;
  const length = isBytes(bytes) ? byteCount(bytes) : Number.NaN;
  if (length >= PAGE_SIZE && length % PAGE_SIZE === 0) return bytes;
  throw wrongAnswer(pfn, `was asked for ${count} frames and gave ${length} bytes`);
}

/**
 * Copies between consecutive frames, from byte `offset` (below 4096) of frame `pfn` on, and `length` bytes of a buffer,
 * from byte `at` of it on. Gives a promise if the memory answers later.
 *
 * @throws (or rejects with) EFAULT if the memory says that it did not copy all of them; what the memory throws
 */
export function copyFrames(
  memory: FrameMemory,
  pfn: number,
  offset: number,
  buffer: Uint8Array,
  at: number,
  length: number,
  write: boolean,
): undefined | PromiseLike<void> {
  let frame = pfn;
  let skip = offset;
  for (let done = 0; done < length; ) {
    const left = length - done;
    const bytes = frameBytes(memory, frame, Math.ceil((skip + left) / PAGE_SIZE));
    if (bytes === undefined) return askToCopy(memory, frame, skip, buffer, at + done, left, write);
    const size = byteCount(bytes);
    const part = Math.min(left, size - skip);
    if (write) setBytes(bytes, viewOf(buffer, at + done, part), skip);
    else setBytes(buffer, part === size ? bytes : viewOf(bytes, skip, part), at + done);
    done += part;
    frame += size / PAGE_SIZE;
    skip = 0;
  }
  return undefined;
}

function askToCopy(
  memory: FrameMemory,
  pfn: number,
  offset: number,
  buffer: Uint8Array,
  at: number,
  length: number,
  write: boolean,
): undefined | PromiseLike<void> {
  const answer = write
    ? memory.copyToFrames?.(pfn, offset, buffer, at, length)
    : memory.copyFromFrames?.(pfn, offset, buffer, at, length);
  if (answer === undefined)
    throw wrongAnswer(pfn, 'gave neither a live view of it nor a number of bytes copied');
  const checked = (copied: number): undefined => {
    if (copied === length) return undefined;
    throw wrongAnswer(pfn, `was asked to copy ${length} bytes and says it copied ${String(copied)}`);
  };
  return isThenable(answer) ? Promise.resolve(answer).then(checked) : checked(answer);
}

/** As `copyFrames`, as a part of an operation, with the memory called as code of the user's. */
export function* copyingFrames(...request: Parameters<typeof copyFrames>): Operation<void> {
  let copying: PromiseLike<void> | undefined;
  enterCallOut();
  try {
    copying = copyFrames(...request);
  } finally {
    leaveCallOut();
  }
  if (copying !== undefined) yield* answerOf(copying);
}

function wrongAnswer(pfn: number, what: string) {
  return refuse('EFAULT', 'fault', `the memory of frame 0x${pfn.toString(16)} ${what}`);
}
