/**
 * Where the frame of a page comes from: the pinned store, a domain that already holds it, or user memory.
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
import type { IoptPages } from './iopt-pages.js';
import { indexInterval, iovaOfIndex, isPageAligned, type MappedArea } from './mapped-area.js';

/** The frames of an index interval, and which of them were pinned to get them. */
export class ReadFrames {
  /** First index read. */
  readonly first: number;
  /** All frames, in order of index. */
  readonly frames = new FrameRuns();
  /** What was pinned: first indexes and lengths in pairs, ascending. */
  fresh: number[] = NOTHING;
  /** What came from a domain: first indexes and lengths in pairs, ascending. */
  fromDomain: number[] = NOTHING;

  constructor(first: number) {
    this.first = first;
  }
}

/** Shared by all lists that stay empty; a list is replaced, not filled, when it gets its first pair. */
const NOTHING: number[] = [];

/**
 * Reads the frames of [first, last], pinning what nobody holds yet. The caller holds the pages' mutex.
 *
 * Gives an operation to be run instead if the memory makes it wait.
 *
 * @throws what `UserMemory.pin` throws; everything pinned here is unpinned again.
 */
export function readFrames(
  pages: IoptPages,
  first: number,
  last: number,
): ReadFrames | Operation<ReadFrames> {
  faultPoint(pages.faults, 'batch');
  const read = new ReadFrames(first);
  if (pages.accessTree !== undefined || pages.domainsTree !== undefined) return readSpans(pages, read, last);
  return pinHole(pages, first, last, read) ?? read;
}

function* readSpans(pages: IoptPages, read: ReadFrames, last: number): Operation<ReadFrames> {
  try {
    for (const span of doubleSpans(pages.accessTree, pages.domainsTree, indexInterval(read.first, last))) {
      if (span.used === 1) pages.store!.read(span.page, span.lastPage, read.frames);
      else if (span.used === 2) {
        readFromDomains(pages, span.page, span.lastPage, read.frames);
        read.fromDomain = withPair(read.fromDomain, span.page, span.lastPage - span.page + 1);
      } else {
        const waiting = pinHole(pages, span.page, span.lastPage, read);
        if (waiting !== undefined) yield* waiting;
      }
    }
    return read;
  } catch (error) {
    releaseFresh(pages, read);
    throw error;
  }
}

/** Pins [first, last]; gives an operation that does the rest if the memory makes it wait, and gives what was read. */
function pinHole(
  pages: IoptPages,
  first: number,
  last: number,
  read: ReadFrames,
): Operation<ReadFrames> | undefined {
  const { frames } = read;
  try {
    for (let index = first; index <= last; ) {
      const before = frames.frames;
      const answer = askToPin(pages, index, last, frames);
      if (isThenable(answer)) return pinRest(pages, index, last, read, before, answer);
      index += countPinned(pages, read, index, last, before, answer);
    }
    return undefined;
  } catch (error) {
    releaseFresh(pages, read);
    throw error;
  }
}

/** Goes on where the memory answers later: `answer` is about the pages from `first` on, `before` frames were there. */
function* pinRest(
  pages: IoptPages,
  first: number,
  last: number,
  read: ReadFrames,
  before: number,
  answer: number | PromiseLike<number>,
): Operation<ReadFrames> {
  const { frames } = read;
  try {
    for (let index = first; ; ) {
      const pinned = isThenable(answer) ? yield* whenPinned(pages, frames, before, answer) : answer;
      index += countPinned(pages, read, index, last, before, pinned);
      if (index > last) return read;
      before = frames.frames;
      answer = askToPin(pages, index, last, frames);
    }
  } catch (error) {
    releaseFresh(pages, read);
    throw error;
  }
}

/** Asks the memory for the pages [index, last], of which it may give the first ones only. */
function askToPin(
  pages: IoptPages,
  index: number,
  last: number,
  into: FrameRuns,
): number | PromiseLike<number> {
  const { memory, faults } = pages;
  let count = last - index + 1;
  if (memory.exited) throw refuse('EFAULT', 'state', 'the process whose memory would be pinned is gone');
  if (faults !== undefined) {
    faultPoint(faults, 'process');
    faultPoint(faults, 'pin');
    if (count > 1 && faults.fails('short-pin')) count = 1;
  }
  enterCallOut();
  try {
    return memory.pin(pages.userPage + index, count, pages.writable, into);
  } finally {
    leaveCallOut();
  }
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
  index: number,
  last: number,
  before: number,
  pinned: number,
): number {
  const asked = last - index + 1;
  const count = read.frames.frames - before;
  if (count > 0) {
    pages.npinned += count;
    read.fresh = withPair(read.fresh, index, count);
  }
  checkPinned(asked, count, pinned);
  if (logPages.enabled) logPages('pinned %d pages from index %d on', count, index);
  return count;
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
  const { memory, writable } = pages;
  if (frames.runs > 1 && memory.unpinAll !== undefined) memory.unpinAll(frames, writable);
  else
    for (let run = 0; run < frames.runs; run++)
      memory.unpin(frames.pfnOf(run), frames.countOf(run), writable);
  pages.npinned -= frames.frames;
}

function unpinPart(pages: IoptPages, frames: FrameRuns, from: number, count: number): void {
  frames.forEachRun(from, count, (pfn, length) => pages.memory.unpin(pfn, length, pages.writable));
}
