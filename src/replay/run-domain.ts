/**
 * The domain of a space whose memory is only known by its addresses.
 *
 * A log can name any size: one line that maps a terabyte would make 2 GiB of page tables. Here a mapping costs what
 * its runs of frames do, whatever they span, and a domain without mappings next to nothing.
 */
import type { DirtyOperations, IommuDomain, PageOperations, Translation } from '../domain/iommu-domain.js';
import { areaInTheWay, IommuError, misaligned, refuse } from '../errors.js';
import { type IntervalTree as Intervals, IntervalTree, type TreeNode } from '../interval-tree.js';
import { FrameRuns } from '../memory/frame-runs.js';
import { spans } from '../spans.js';
import {
  hex,
  type Interval,
  join,
  LAST_PAGE,
  MAX_U64,
  PAGE_MASK,
  PAGE_SIZE,
  split,
  WHOLE_SPACE,
} from '../u64.js';

import type { LogRoom } from './log-room.js';

/** Pages that are mapped to consecutive frames. */
interface Run {
  /** The frame behind the first page. */
  readonly frame: number;
  /** Bits: 1 read, 2 write. */
  readonly protection: number;
}

const PAGE_SIZES = 0x1000n | 0x20_0000n | 0x4000_0000n;

/** A domain that keeps runs of frames; it has the page sizes and the aperture that a `RadixDomain` has by default. */
export class RunDomain implements IommuDomain {
  readonly pageSizeBitmap = PAGE_SIZES;
  readonly aperture = { start: 0n, last: MAX_U64 };
  readonly pages: PageOperations;
  /** Dirty tracking, if the domain was made with it. */
  readonly dirty?: DirtyOperations;
  readonly #runs: Runs;

  /** @param room - what is asked for each mapping */
  constructor({ dirtyTracking }: { readonly dirtyTracking: boolean }, room: LogRoom) {
    this.#runs = new Runs(room);
    this.pages = this.#runs;
    if (dirtyTracking) this.dirty = new RunMarks(this.#runs);
  }

  /** Bytes that are mapped now. */
  get mappedBytes(): bigint {
    return BigInt(this.#runs.mappedPages) * BigInt(PAGE_SIZE);
  }

  map(iova: bigint, physical: bigint, size: bigint, protection: number): void {
    const [page, frame, count] = [pageOf('iova', iova), pageOf('physical', physical), pageOf('size', size)];
    if (count === 0) return;
    const frames = new FrameRuns();
    frames.push(frame, count);
    this.#runs.map(page, frames, 0, count, protection);
  }

  unmap(iova: bigint, size: bigint): void {
    this.#runs.unmap(pageOf('iova', iova), pageOf('size', size));
  }

  iovaToPhys(iova: bigint): bigint | undefined {
    return this.translate(iova)?.physical;
  }

  translate(iova: bigint): Translation | undefined {
    const { page, offset } = split(iova);
    const node = this.#runs.at(page);
    if (node === undefined) return undefined;
    return {
      physical: join(frameAt(node, page), offset),
      protection: node.value.protection,
      length: join(node.lastPage - page + 1, 0) - BigInt(offset),
    };
  }
}

/** What is mapped, in order of IOVA. */
class Runs implements PageOperations {
  readonly #tree: Intervals<Run> = new IntervalTree<Run>();
  readonly #room: LogRoom;
  /** Pages that devices have written; runs of them, which don't overlap. */
  readonly marks: Intervals<undefined> = new IntervalTree<undefined>();
  mappedPages = 0;

  constructor(room: LogRoom) {
    this.#room = room;
  }

  at(page: number): TreeNode<Run> | undefined {
    return this.#tree.first(pagesFrom(page, 1));
  }

  /** What of a range is mapped, in order. */
  *mapped(range: Interval): Generator<Interval, void, undefined> {
    for (const span of spans(this.#tree, range)) if (span.used) yield span;
  }

  map(iovaPage: number, frames: FrameRuns, from: number, count: number, protection: number): void {
    if (count === 0) return;
    if (iovaPage + count - 1 > LAST_PAGE) {
      throw refuse('EINVAL', 'domain', `${count} pages from IOVA ${pageInHex(iovaPage)} pass 2^64`);
    }
    const inTheWay = this.#tree.first(pagesFrom(iovaPage, count));
    if (inTheWay !== undefined) {
      throw new IommuError('EEXIST', { check: 'overlap', area: areaInTheWay(inTheWay) });
    }
    const runs: [page: number, count: number, frame: number][] = [];
    frames.forEachRun(from, count, (frame, length, position) => {
      runs.push([iovaPage + position - from, length, frame]);
    });
    this.#room.addMappings(runs.length);
    for (const [page, length, frame] of runs)
      this.#tree.insert(pagesFrom(page, length), { frame, protection });
    this.mappedPages += count;
  }

  unmap(iovaPage: number, count: number): void {
    const past = Math.min(iovaPage + count, LAST_PAGE + 1);
    if (iovaPage >= past) return;
    const range = pagesFrom(iovaPage, past - iovaPage);
    const before = this.#tree.size;
    for (let node = this.#tree.first(range); node !== undefined; node = this.#tree.first(range)) {
      const { page, lastPage, value } = node;
      this.#tree.delete(node);
      if (page < iovaPage) this.#tree.insert(pagesFrom(page, iovaPage - page), value);
      if (lastPage >= past) {
        const rest = { ...value, frame: value.frame + past - page };
        this.#tree.insert(pagesFrom(past, lastPage - past + 1), rest);
      }
      this.mappedPages -= Math.min(lastPage + 1, past) - Math.max(page, iovaPage);
    }
    this.#room.removeMappings(before - this.#tree.size);
    this.clean(range);
  }

  frames(iovaPage: number, count: number, into: FrameRuns): void {
    const before = into.frames;
    const past = iovaPage + count;
    for (let page = iovaPage; page < past; ) {
      const node = this.at(page);
      if (node === undefined) {
        into.truncate(before);
        throw refuse('EFAULT', 'domain', `nothing is mapped at IOVA ${pageInHex(page)}`);
      }
      const length = Math.min(node.lastPage + 1, past) - page;
      into.push(frameAt(node, page), length);
      page += length;
    }
  }

  /** Takes the marks of a range of whole pages away. */
  clean(range: Interval): void {
    const { marks } = this;
    for (let node = marks.first(range); node !== undefined; node = marks.first(range)) {
      const { page, lastPage } = node;
      marks.delete(node);
      if (page < range.page) marks.insert(pagesFrom(page, range.page - page), undefined);
      if (lastPage > range.lastPage) {
        marks.insert(pagesFrom(range.lastPage + 1, lastPage - range.lastPage), undefined);
      }
    }
  }
}

class RunMarks implements DirtyOperations {
  readonly #runs: Runs;
  #tracking = false;

  constructor(runs: Runs) {
    this.#runs = runs;
  }

  get tracking(): boolean {
    return this.#tracking;
  }

  setTracking(enable: boolean): void {
    this.#tracking = enable;
  }

  mark(iova: bigint, size: bigint): void {
    const range = touched(iova, size);
    if (!this.#tracking || range === undefined) return;
    const { marks } = this.#runs;
    for (const part of [...this.#runs.mapped(range)]) {
      this.#runs.clean(part);
      marks.insert(part, undefined);
    }
  }

  readAndClear(
    iova: bigint,
    size: bigint,
    keep: boolean,
    report: ((iova: bigint, size: bigint) => void) | undefined,
  ): void {
    if (report !== undefined && !this.#tracking) throw refuse('EINVAL', 'domain', 'dirty tracking is off');
    const range = touched(iova, size);
    if (range === undefined) return;
    for (const { used, page, lastPage } of spans(this.#runs.marks, range)) {
      if (used) report?.(join(page, 0), join(lastPage - page + 1, 0));
    }
    if (!keep) this.#runs.clean(range);
  }
}

function pagesFrom(page: number, count: number): Interval {
  return { page, offset: 0, lastPage: page + count - 1, lastOffset: PAGE_MASK };
}

/** The whole pages that a range touches; it may reach past 2^64 − 1. */
function touched(iova: bigint, size: bigint): Interval | undefined {
  if (size === 0n) return undefined;
  const last = iova + size - 1n;
  const { page } = split(iova);
  const { page: lastPage } = last > MAX_U64 ? { page: WHOLE_SPACE.lastPage } : split(last);
  return pagesFrom(page, lastPage - page + 1);
}

function frameAt({ page: first, value }: TreeNode<Run>, page: number): number {
  return value.frame + page - first;
}

function pageOf(what: string, value: bigint): number {
  const address = split(value);
  if (address.offset !== 0) throw misaligned(what, address, PAGE_SIZE);
  return address.page;
}

function pageInHex(page: number): string {
  return hex({ page, offset: 0 });
}
