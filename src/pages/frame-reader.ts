/**
 * Where the frame of a page comes from: the pinned store, a domain that already holds it, or user memory or a file.
 * Frames of a dma-buf are known.
 */

import { enterCallOut, leaveCallOut } from '../call-out.js';
import type { IommuDomain } from '../domain/iommu-domain.js';
import { refuse } from '../errors.js';
import { faultPoint } from '../faults.js';
import { logPages } from '../log.js';
import { FrameRuns } from '../memory/frame-runs.js';
import { isThenable, type Operation } from '../operation.js';
import { doubleSpans } from '../spans.js';
import { join, split } from '../u64.js';
import { flushDomains } from './flush.js';
import type { IoptPages } from './iopt-pages.js';
import { indexInterval, iovaOfIndex, isPageAligned, type MappedArea } from './mapped-area.js';

/** The frames of an index interval, as far as they have been read, and which of them were pinned to get them. */
export class ReadFrames {
  /** First index to be read. */
  readonly first: number;
  /** Last index to be read (inclusive). */
  readonly last: number;
  /** All frames so far, in order of index. */
  readonly frames = new FrameRuns();
  /** What was pinned: first indexes and lengths in pairs, ascending. */
  fresh: number[] = NOTHING;
  /** What came from a domain: first indexes and lengths in pairs, ascending. */
  fromDomain: number[] = NOTHING;
  /** What the memory will answer, where it answers later. */
  pending: Pending | undefined = undefined;
  /** Domains that had some of the frames for a moment: they are flushed before what was pinned is unpinned. */
  unflushed: readonly IommuDomain[] = [];

  constructor(first: number, last: number) {
    this.first = first;
    this.last = last;
  }
}

/** An answer that a memory gives later, about the pages from the first one on that has not been read. */
interface Pending {
  readonly answer: PromiseLike<number>;
  /** How many pages it was asked for. */
  readonly asked: number;
  /** How many frames were there before. */
  readonly before: number;
}

/** Offsets in files are below 2^63. */
const LAST_FILE_PAGE = 2 ** 51 - 1;

/** Shared by all lists that stay empty; a list is replaced, not filled, when it gets its first pair. */
const NOTHING: number[] = [];

/**
 * Reads the frames of [first, last], pinning what nobody holds yet. The caller holds the pages' mutex.
 *
 * @throws what `UserMemory.pin` throws; everything pinned here is unpinned again.
 */
export function* readFrames(pages: IoptPages, first: number, last: number): Operation<ReadFrames> {
  faultPoint(pages.faults, 'batch');
  const read = new ReadFrames(first, last);
  yield* readRest(pages, read);
  return read;
}

/** Reads all that has not been read yet. @throws as `readFrames` */
export function* readRest(pages: IoptPages, read: ReadFrames): Operation<void> {
  try {
    while (!readNow(pages, read)) {
      const { answer, asked, before } = read.pending!;
      const pinned = yield* whenPinned(pages, read.frames, before, answer);
      read.pending = undefined;
      countPinned(pages, read, asked, before, pinned);
    }
  } catch (error) {
    releaseFresh(pages, read);
    throw error;
  }
}

/**
 * Reads on until all has been read, or until the memory answers later: `false`. Nothing more is asked for then.
 *
 * @throws what `UserMemory.pin` throws; what was pinned stays so.
 */
export function readNow(pages: IoptPages, read: ReadFrames): boolean {
  if (read.pending !== undefined) return false;
  const { first, last, frames } = read;
  const from = first + frames.frames;
  if (pages.dmaBuf !== undefined) {
    if (from <= last) frames.push(pages.dmaBuf.buffer.pfn + pages.firstPage + from, last - from + 1);
    return true;
  }
  if (pages.accessTree === undefined && pages.domainsTree === undefined) {
    return from > last || pinNow(pages, read, last);
  }
  if (from > last) return true;
  for (const span of doubleSpans(pages.accessTree, pages.domainsTree, indexInterval(from, last))) {
    if (span.used === 1) pages.store!.read(span.page, span.lastPage, frames);
    else if (span.used === 2) {
      readFromDomains(pages, span.page, span.lastPage, frames);
      read.fromDomain = withPair(read.fromDomain, span.page, span.lastPage - span.page + 1);
    } else if (!pinNow(pages, read, span.lastPage)) return false;
  }
  return true;
}

/** Pins all up to `last` that has not been read, which nobody holds. `false`: the memory answers later. */
function pinNow(pages: IoptPages, read: ReadFrames, last: number): boolean {
  const { frames } = read;
  for (let index = read.first + frames.frames; index <= last; index = read.first + frames.frames) {
    const before = frames.frames;
    const asked = last - index + 1;
    const answer = askToPin(pages, index, last, frames);
    if (isThenable(answer)) {
      read.pending = { answer, asked, before };
      return false;
    }
    countPinned(pages, read, asked, before, answer);
  }
  return true;
}

/** Asks the memory or the file for the pages [index, last], of which it may give the first ones only. */
function askToPin(
  pages: IoptPages,
  index: number,
  last: number,
  into: FrameRuns,
): number | PromiseLike<number> {
  const { memory, faults } = pages;
  let count = last - index + 1;
  if (memory?.exited) throw refuse('EFAULT', 'state', 'the process whose memory would be pinned is gone');
  if (faults !== undefined) {
    if (memory !== undefined) faultPoint(faults, 'process');
    faultPoint(faults, 'pin');
    if (count > 1 && faults.fails('short-pin')) count = 1;
  }
  enterCallOut();
  try {
    if (memory === undefined) return pinOfFile(pages, index, count, into);
    return memory.pin(pages.firstPage + index, count, pages.writable, into);
  } finally {
    leaveCallOut();
  }
}

function pinOfFile(
  pages: IoptPages,
  index: number,
  count: number,
  into: FrameRuns,
): number | PromiseLike<number> {
  const page = pages.firstPage + index;
  if (page > LAST_FILE_PAGE) throw refuse('EINVAL', 'fault', 'a file has no bytes from 2^63 on');
  return pages.file!.file.pin(page, count, into);
}

/**
 * Waits for a pin. If the wait is stopped, what the memory pins all the same is unpinned when it is there.
 *
 * @param before - frames that are in the list apart from those
 */
export function* whenPinned(
  pages: IoptPages,
  frames: FrameRuns,
  before: number,
  answer: PromiseLike<number>,
): Operation<number> {
  const promise = Promise.resolve(answer);
  try {
    return (yield () => promise) as number;
  } catch (error) {
    promise.then(
      () => unpinPart(pages, frames, before, frames.frames - before),
      () => undefined,
    );
    throw error;
  }
}

/** Books the pages that a pin gave; those that came are booked also if their number is wrong, to be unpinned. */
function countPinned(
  pages: IoptPages,
  read: ReadFrames,
  asked: number,
  before: number,
  pinned: number,
): void {
  const index = read.first + before;
  const count = read.frames.frames - before;
  if (count > 0) {
    pages.npinned += count;
    read.fresh = withPair(read.fresh, index, count);
  }
  checkPinned(asked, count, pinned);
  if (logPages.enabled) logPages('pinned %d pages from index %d on', count, index);
}

/**
 * Checks what a memory says of a pin.
 *
 * @throws EFAULT if it gave none of the pages asked for, more than those, or another number than it says
 */
export function checkPinned(asked: number, given: number, said: number): void {
  if (said === given && given > 0 && given <= asked) return;
  const detail = `the memory was asked to pin ${asked} pages, gave ${given} and says it gave ${String(said)}`;
  throw refuse('EFAULT', 'fault', detail);
}

function withPair(pairs: number[], first: number, count: number): number[] {
  const at = pairs.length;
  if (at === 0) return [first, count];
  if (pairs[at - 2]! + pairs[at - 1]! === first) pairs[at - 1]! += count;
  else pairs.push(first, count);
  return pairs;
}

/** Appends the frames of [first, last], all of which a domain holds, to `into`. */
export function readFromDomains(pages: IoptPages, first: number, last: number, into: FrameRuns): void {
  for (let index = first; index <= last; ) {
    const area = pages.domainsTree!.first(indexInterval(index, index))!.value;
    const until = Math.min(area.lastIndex, last);
    readFromDomain(area, area.storageDomain!, index, until, into);
    index = until + 1;
  }
}

/** Appends the frames of the indexes [first, last] of an area, read back from a domain that maps it. */
export function readFromDomain(
  area: MappedArea,
  domain: IommuDomain,
  first: number,
  last: number,
  into: FrameRuns,
): void {
  if (domain.pages !== undefined && isPageAligned(area)) {
    domain.pages.frames(area.page + (first - area.index), last - first + 1, into);
    return;
  }
  for (let index = first; index <= last; index++) {
    const iova = iovaOfIndex(area, index);
    const physical = domain.iovaToPhys(join(iova.page, iova.offset));
    if (physical === undefined) {
      throw refuse('EFAULT', 'domain', `the storage domain lost page ${index} of an area`);
    }
    into.push(split(physical).page, 1);
  }
}

/** Gives back what a read pinned, when no device can be using it any more. */
export function* giveBack(pages: IoptPages, read: ReadFrames): Operation<void> {
  yield* flushDomains(read.unflushed);
  releaseFresh(pages, read);
}

/** Unpins what a read pinned, all of it. Doing it again does nothing. */
export function releaseFresh(pages: IoptPages, read: ReadFrames): void {
  const { fresh, first } = read;
  read.fresh = NOTHING;
  for (let at = 0; at < fresh.length; at += 2) {
    unpinPart(pages, read.frames, fresh[at]! - first, fresh[at + 1]!);
    pages.npinned -= fresh[at + 1]!;
  }
}

/** Unpins all frames of a list. */
export function unpinFrames(pages: IoptPages, frames: FrameRuns): void {
  if (frames.frames === 0) return;
  const { holder, writable } = pages;
  if (frames.runs > 1 && holder.unpinAll !== undefined) holder.unpinAll(frames, writable);
  else
    for (let run = 0; run < frames.runs; run++)
      holder.unpin(frames.pfnOf(run), frames.countOf(run), writable);
  pages.npinned -= frames.frames;
}

function unpinPart(pages: IoptPages, frames: FrameRuns, from: number, count: number): void {
  frames.forEachRun(from, count, (pfn, length) => pages.holder.unpin(pfn, length, pages.writable));
}
