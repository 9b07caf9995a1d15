/**
 * Where the frame of a page comes from: the pinned store, a domain that already holds it, or user memory.
 */

import type { IommuDomain } from '../domain/iommu-domain.js';
import { refuse } from '../errors.js';
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
  const read = new ReadFrames(first);
  if (pages.accessTree !== undefined || pages.domainsTree !== undefined) return readSpans(pages, read, last);
  const waiting = pinHole(pages, first, last, read);
  return waiting === undefined ? read : readAfter(waiting, read);
}

function* readAfter(waiting: Operation<void>, read: ReadFrames): Operation<ReadFrames> {
  yield* waiting;
  return read;
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

/** Pins [first, last]; gives an operation that does the rest if the memory makes it wait. */
function pinHole(
  pages: IoptPages,
  first: number,
  last: number,
  read: ReadFrames,
): Operation<void> | undefined {
  const { memory } = pages;
  const { frames } = read;
  try {
    for (let index = first; index <= last; ) {
      if (memory.exited) throw refuse('EFAULT', 'state', 'the process whose memory would be pinned is gone');
      const before = frames.frames;
      const asked = last - index + 1;
      const answer = memory.pin(pages.userPage + index, asked, pages.writable, frames);
      if (isThenable(answer)) return pinRest(pages, index, last, read, before, answer);
      index += countPinned(pages, read, index, asked, before, answer);
    }
    return undefined;
  } catch (error) {
    releaseFresh(pages, read);
    throw error;
  }
}

function* pinRest(
  pages: IoptPages,
  index: number,
  last: number,
  read: ReadFrames,
  before: number,
  answer: PromiseLike<number>,
): Operation<void> {
  const asked = last - index + 1;
  let settled = false;
  let count: number;
  try {
    const pinned = (yield () => answer) as number;
    settled = true;
    count = countPinned(pages, read, index, asked, before, pinned);
  } catch (error) {
    if (!settled) unpinLate(pages, read.frames, before, answer);
    releaseFresh(pages, read);
    throw error;
  }
  const waiting = pinHole(pages, index + count, last, read);
  if (waiting !== undefined) yield* waiting;
}

/** A caller that cannot wait has left; what the memory still pins for it must not stay pinned. */
function unpinLate(pages: IoptPages, frames: FrameRuns, before: number, answer: PromiseLike<number>): void {
  answer.then(
    (late) => unpinPart(pages, frames, before, late),
    () => undefined,
  );
}

function countPinned(
  pages: IoptPages,
  read: ReadFrames,
  index: number,
  asked: number,
  before: number,
  pinned: number,
): number {
  const count = read.frames.frames - before;
  pages.npinned += count;
  read.fresh = withPair(read.fresh, index, count);
  if (pinned !== count || count < 1 || count > asked) {
    throw new Error(`the memory was asked to pin ${asked} pages, gave ${count} and says ${pinned}`);
  }
  if (logPages.enabled) logPages('pinned %d pages from index %d on', count, index);
  return count;
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
    if (physical === undefined) throw new Error(`the storage domain lost page ${index} of an area`);
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
  for (let run = 0; run < frames.runs; run++) {
    pages.memory.unpin(frames.pfnOf(run), frames.countOf(run), pages.writable);
  }
  pages.npinned -= frames.frames;
}

function unpinPart(pages: IoptPages, frames: FrameRuns, from: number, count: number): void {
  frames.forEachRun(from, count, (pfn, length) => pages.memory.unpin(pfn, length, pages.writable));
}
