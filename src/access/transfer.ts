/**
 * Reading and writing mapped memory through the CPU, byte-exact.
 *
 * All functions are called with the iova lock held for reading.
 */
import { outOfRange } from '../arguments.js';
import { enterCallOut, leaveCallOut } from '../call-out.js';
import { IommuError, notMapped, refuse, wouldWait } from '../errors.js';
import { faultPoint } from '../faults.js';
import { byteCount, setBytes, viewOf } from '../memory/bytes.js';
import { copyingFrames, frameBytes } from '../memory/frame-bytes.js';
import { FrameRuns } from '../memory/frame-runs.js';
import type { UserFile } from '../memory/user-file.js';
import type { UserMemory } from '../memory/user-memory.js';
import { type Abortable, answerOf, isThenable, type Operation } from '../operation.js';
import { checkPinned, readFrames, readFromDomains, releaseFresh, whenPinned } from '../pages/frame-reader.js';
import type { IoptPages } from '../pages/iopt-pages.js';
import { indexInterval, pageBehind } from '../pages/mapped-area.js';
import { checkHasPages } from '../pages/pages-access.js';
import { doubleSpans } from '../spans.js';
import { walkContiguous } from '../table/area-lookup.js';
import type { TableState } from '../table/table-state.js';
import { type Address, between, hex, type Interval, lengthOf, PAGE_SIZE } from '../u64.js';
import { checkAccessible, checkPermission } from './pin.js';

/** How a read or write goes about its work. */
export interface TransferOptions extends Abortable {
  /** Go through pinned frames even where a plain copy would do (the kernel's test-only SLOW_PATH flag). */
  readonly slow?: boolean;
  /** The memory of the calling process; absent: the one that made the mapping. */
  readonly caller?: UserMemory;
  /** The caller is a kernel thread, which can borrow the address space of the mapping's process. */
  readonly kernelThread?: boolean;
}

/** What is to be copied, and how. */
export interface Transfer {
  /** As in `TransferOptions`. */
  readonly slow: boolean;
  readonly caller: UserMemory | undefined;
  readonly kernelThread: boolean;
  /** A view of the caller's buffer. */
  readonly buffer: Uint8Array;
  /** Bytes to copy: the length of the buffer when the call began. */
  readonly length: number;
  /** From the buffer into the mapping. */
  readonly write: boolean;
  /** The caller cannot wait: refuse before the first byte what would have to. */
  readonly now: boolean;
}

/**
 * Copies between a buffer and a range of IOVA, area by area in ascending order. What earlier areas got stays when
 * a later one fails.
 *
 * @throws EINVAL if an area is being unmapped, EPERM if one does not grant the access, EFAULT if memory cannot be
 * had, EINVAL if that is of a file, or an area is of a dma-buf, ENOENT at a hole.
 */
export function* transferRange(table: TableState, range: Interval, transfer: Transfer): Operation<void> {
  if (transfer.now) checkNeedsNoWait(table, range, transfer);
  const walk = walkContiguous(table.areas, range);
  let done = 0;
  let step = walk.next();
  for (; !step.done; step = walk.next()) {
    const { area, first, last } = step.value;
    checkAccessible(area);
    checkPermission(area, transfer.write);
    const pages = area.pages!;
    checkHasPages(pages);
    const length = lengthOf(between(first, last));
    const bytes = length.page * PAGE_SIZE + length.offset;
    const start = pageBehind(area, first);
    yield* wayOf(pages, start, bytes, transfer)(pages, start, done, bytes, transfer);
    done += bytes;
  }
  if (step.value !== undefined) throw notMapped(step.value);
}

/** @throws EAGAIN if a part of the range is busy, or its memory says that it is not there right now. */
function checkNeedsNoWait(table: TableState, range: Interval, transfer: Transfer): void {
  for (const { area, first, last } of walkContiguous(table.areas, range)) {
    const pages = area.pages!;
    // The transfer ends here, without a wait.
    if (pages.dmaBuf !== undefined) return;
    const start = pageBehind(area, first);
    const lastIndex = pageBehind(area, last).page;
    const { page, offset } = lengthOf(between(first, last));
    const way = wayOf(pages, start, page * PAGE_SIZE + offset, transfer);
    const needsNoWait =
      way === transferFrames
        ? pages.mutex.free && framesAreThere(pages, start.page, lastIndex, transfer.write)
        : isThere(pages, start.page, lastIndex, transfer.write);
    if (!needsNoWait) throw wouldWait();
  }
}

/** Whether the frames of an index interval can be had and copied now: those that nobody holds would be pinned. */
function framesAreThere(pages: IoptPages, first: number, last: number, write: boolean): boolean {
  const { copyFromFrames, copyToFrames } = pages.holder;
  const copies = (write ? copyToFrames : copyFromFrames) !== undefined;
  for (const span of doubleSpans(pages.accessTree, pages.domainsTree, indexInterval(first, last))) {
    if (span.used === 0 && !isThere(pages, span.page, span.lastPage, pages.writable)) return false;
    // What has live views can always be copied; a memory that may be without them is asked.
    const viewed =
      !copies || (span.used !== 0 && heldInView(pages, span.page, span.lastPage, span.used === 1));
    if (!viewed && !isThere(pages, span.page, span.lastPage, write)) return false;
  }
  return true;
}

/** Whether there are live views of all frames of an interval that accesses (`stored`) or domains hold. */
function heldInView(pages: IoptPages, first: number, last: number, stored: boolean): boolean {
  const held = new FrameRuns();
  if (stored) pages.store!.read(first, last, held);
  else readFromDomains(pages, first, last, held);
  let viewed = true;
  held.forEachRun(0, held.frames, (pfn, count) => {
    for (let at = 0; at < count && viewed; ) {
      const bytes = frameBytes(pages.holder, pfn + at, count - at);
      viewed = bytes !== undefined;
      at += (bytes?.length ?? 0) / PAGE_SIZE;
    }
  });
  return viewed;
}

function isThere(
  { memory, file, firstPage }: IoptPages,
  first: number,
  last: number,
  write: boolean,
): boolean {
  const count = last - first + 1;
  const there =
    memory === undefined
      ? file!.file.resident?.(firstPage + first, count)
      : memory.resident?.(firstPage + first, count, write);
  return there ?? true;
}

/** How the bytes of one area are copied, of which the first is byte `start` of the pages. */
function wayOf({ memory }: IoptPages, start: Address, bytes: number, transfer: Transfer) {
  // A file is in no address space.
  if (memory === undefined) return transferFrames;
  const own = !transfer.slow && (transfer.caller ?? memory) === memory;
  if (memory.exited) return transferFrames;
  if (own || transfer.kernelThread) return transferDirectly;
  return start.offset + bytes <= PAGE_SIZE ? transferOnePage : transferFrames;
}

/** As the process's own loads and stores, at its present addresses. */
function* transferDirectly(
  pages: IoptPages,
  start: Address,
  done: number,
  bytes: number,
  transfer: Transfer,
): Operation<void> {
  const { write } = transfer;
  const memory = pages.memory!;
  const page = pages.firstPage + start.page;
  const ends = bufferEnds(memory, transfer, done, bytes);
  let answer: number | PromiseLike<number>;
  enterCallOut();
  try {
    answer = write
      ? memory.copyToUser(page, start.offset, ends.buffer, ends.at, bytes)
      : memory.copyFromUser(page, start.offset, ends.buffer, ends.at, bytes);
  } finally {
    leaveCallOut();
  }
  const copied = isThenable(answer) ? yield* answerOf(answer) : answer;
  if (!(Number.isInteger(copied) && copied >= 0 && copied <= bytes)) {
    const detail = `the memory was asked to copy ${bytes} bytes and says it copied ${String(copied)}`;
    throw refuse('EFAULT', 'fault', detail);
  }
  handOver(ends, transfer, done, copied);
  if (copied < bytes) throw fault(pages, start, copied, write);
}

function* transferOnePage(
  pages: IoptPages,
  start: Address,
  done: number,
  bytes: number,
  transfer: Transfer,
): Operation<void> {
  const { write } = transfer;
  const { faults } = pages;
  const memory = pages.memory!;
  const frames = new FrameRuns();
  faultPoint(faults, 'page-transfer');
  faultPoint(faults, 'pin');
  let answer: number | PromiseLike<number>;
  enterCallOut();
  try {
    answer = memory.pin(pages.firstPage + start.page, 1, write, frames);
  } catch (error) {
    throw asSinglePageFault(error);
  } finally {
    leaveCallOut();
  }
  const pinned = isThenable(answer) ? yield* whenPinned(pages, frames, 0, answer) : answer;
  try {
    checkPinned(1, frames.frames, pinned);
    yield* throughFrames(pages, frames, start.offset, done, bytes, transfer);
  } finally {
    frames.forEachRun(0, frames.frames, (pfn, count) => memory.unpin(pfn, count, write));
  }
}

/** A page that is had one by one is missing or there: that a run of pages reaches 2^64 is no concern of its. */
function asSinglePageFault(error: unknown): unknown {
  return error instanceof IommuError && error.code === 'EOVERFLOW'
    ? new IommuError('EFAULT', error.reason)
    : error;
}

/** Through the frames that domains and accesses hold, pinning the others for the while. Nothing is charged. */
function* transferFrames(
  pages: IoptPages,
  start: Address,
  done: number,
  bytes: number,
  transfer: Transfer,
): Operation<void> {
  const last = start.page + Math.floor((start.offset + bytes - 1) / PAGE_SIZE);
  if (!pages.mutex.tryWrite()) yield () => pages.mutex.write();
  try {
    const read = yield* readFrames(pages, start.page, last);
    try {
      yield* throughFrames(pages, read.frames, start.offset, done, bytes, transfer);
    } finally {
      releaseFresh(pages, read);
    }
  } finally {
    pages.mutex.releaseWrite();
  }
}

/** Copies between the buffer and frames, from byte `offset` of the first frame on. */
function* throughFrames(
  { holder }: IoptPages,
  frames: FrameRuns,
  offset: number,
  done: number,
  bytes: number,
  transfer: Transfer,
): Operation<void> {
  const ends = bufferEnds(holder, transfer, done, bytes);
  let copied = 0;
  let skip = offset;
  for (let run = 0; run < frames.runs && copied < bytes; run++) {
    const length = Math.min(frames.countOf(run) * PAGE_SIZE - skip, bytes - copied);
    const pfn = frames.pfnOf(run);
    checkBuffer(transfer);
    yield* copyingFrames(holder, pfn, skip, ends.buffer, ends.at + copied, length, transfer.write);
    copied += length;
    skip = 0;
  }
  handOver(ends, transfer, done, bytes);
}

/** The buffer that a memory is given, and where in it. */
interface BufferEnds {
  readonly buffer: Uint8Array;
  readonly at: number;
}

/**
 * What a memory copies from or to: the caller's buffer or, if it may answer later, one that it can be left with when the
 * call is aborted before that.
 */
function bufferEnds(
  memory: UserMemory | UserFile,
  transfer: Transfer,
  done: number,
  bytes: number,
): BufferEnds {
  const { buffer, write, now } = transfer;
  checkBuffer(transfer);
  if (now || memory.resident === undefined) return { buffer, at: done };
  const own = new Uint8Array(bytes);
  if (write) setBytes(own, viewOf(buffer, done, bytes), 0);
  return { buffer: own, at: 0 };
}

/** Gives the caller what was read into a buffer that is not its own. */
function handOver(ends: BufferEnds, transfer: Transfer, done: number, bytes: number): void {
  const { buffer, write } = transfer;
  if (ends.buffer === buffer) return;
  checkBuffer(transfer);
  if (!write) setBytes(buffer, viewOf(ends.buffer, 0, bytes), done);
}

/** @throws RangeError if the caller's buffer has shrunk while the call waited */
function checkBuffer({ buffer, length }: Transfer): void {
  const now = byteCount(buffer);
  if (now < length) throw outOfRange(now, 'buffer.length', 'what it was when the call began');
}

function fault(pages: IoptPages, start: Address, copied: number, write: boolean): IommuError {
  const bytes = start.offset + copied;
  const page = start.page + Math.floor(bytes / PAGE_SIZE);
  return new IommuError('EFAULT', {
    check: 'memory',
    uptr: hex(pages.addressOf(page, bytes % PAGE_SIZE)),
    detail: write ? 'cannot be written by the process' : 'cannot be read by the process',
  });
}
