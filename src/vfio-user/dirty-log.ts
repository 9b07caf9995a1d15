/** Which pages a device has written since a client asked for that: a domain that translates for nobody. */
import type { DirtyOperations, IommuDomain, PageOperations } from '../domain/iommu-domain.js';
import { refuse } from '../errors.js';
import { IntervalTree, type TreeNode } from '../interval-tree.js';
import type { FrameRuns } from '../memory/frame-runs.js';
import { type Interval, intervalOf, join, LAST_PAGE, MAX_U64, PAGE_MASK, PAGE_SIZE, split } from '../u64.js';

/** Pages whose marks are kept in one piece. */
const CHUNK = 2 ** 15;

/** Frames of consecutive pages. */
interface Run {
  readonly page: number;
  readonly pfn: number;
  readonly count: number;
}

/** A domain that only keeps marks: a mapping costs its runs of frames, whatever it spans, and a mark one bit. */
export class DirtyLog implements IommuDomain {
  readonly pageSizeBitmap = BigInt(PAGE_SIZE);
  readonly aperture = { start: 0n, last: MAX_U64 };
  readonly pages: PageOperations;
  readonly dirty: DirtyOperations;
  readonly #runs = new IntervalTree<Run>();
  readonly #marks = new Map<number, Uint32Array>();
  /** Where writes are noted; absent: everywhere. */
  readonly #ranges: readonly Interval[] | undefined;
  #tracking = false;

  /** @param ranges - where writes are noted; none: everywhere */
  constructor(ranges: readonly Interval[]) {
    this.#ranges = ranges.length === 0 ? undefined : ranges;
    this.pages = {
      map: (page, frames, from, count) => this.#map(page, frames, from, count),
      unmap: (page, count) => this.#unmap(page, count),
      frames: (page, count, into) => this.#frames(page, count, into),
    };
    const tracking = () => this.#tracking;
    this.dirty = {
      get tracking() {
        return tracking();
      },
      setTracking: (enable) => {
        this.#tracking = enable;
      },
      mark: (iova, size) => this.#mark(iova, size),
      readAndClear: (iova, size, keep, report) => this.#readAndClear(iova, size, keep, report),
    };
  }

  map(iova: bigint, physical: bigint, size: bigint): void {
    const count = Number(size / BigInt(PAGE_SIZE));
    this.#add({ page: split(iova).page, pfn: split(physical).page, count });
  }

  unmap(iova: bigint, size: bigint): void {
    this.#unmap(split(iova).page, Number(size / BigInt(PAGE_SIZE)));
  }

  iovaToPhys(iova: bigint): bigint | undefined {
    const { page, offset } = split(iova);
    const run = this.#runs.first(pagesOf(page, page))?.value;
    return run === undefined ? undefined : join(run.pfn + page - run.page, offset);
  }

  #map(page: number, frames: FrameRuns, from: number, count: number): void {
    let at = page;
    frames.forEachRun(from, count, (pfn, length) => {
      this.#add({ page: at, pfn, count: length });
      at += length;
    });
  }

  #add(run: Run): void {
    this.#runs.insert(pagesOf(run.page, run.page + run.count - 1), run);
  }

  #unmap(page: number, count: number): void {
    const range = pagesOf(page, page + count - 1);
    for (let node = this.#runs.first(range); node !== undefined; node = this.#runs.first(range)) {
      this.#runs.delete(node);
    }
    this.#visit(page, page + count - 1, false, () => undefined);
  }

  #frames(page: number, count: number, into: FrameRuns): void {
    const before = into.frames;
    for (const { first, last, run } of this.#runsIn(page, page + count - 1)) {
      into.push(run.pfn + first - run.page, last - first + 1);
    }
    if (into.frames === before + count) return;
    into.truncate(before);
    throw refuse(
      'EFAULT',
      'domain',
      `one of ${count} pages from page 0x${page.toString(16)} on is not mapped`,
    );
  }

  *#runsIn(page: number, lastPage: number): Generator<{ first: number; last: number; run: Run }> {
    const range = pagesOf(page, lastPage);
    let node: TreeNode<Run> | undefined = this.#runs.first(range);
    for (; node !== undefined; node = this.#runs.nextIn(node, range)) {
      const run = node.value;
      yield { first: Math.max(page, run.page), last: Math.min(lastPage, run.page + run.count - 1), run };
    }
  }

  #mark(iova: bigint, size: bigint): void {
    const touched = intervalOf(split(iova), split(size));
    if (!this.#tracking || touched === undefined) return;
    for (const { first, last } of this.#runsIn(touched.page, touched.lastPage)) {
      for (const range of this.#ranges ?? [touched]) {
        const until = Math.min(last, range.lastPage);
        for (let page = Math.max(first, range.page); page <= until; page++) this.#markPage(page);
      }
    }
  }

  #markPage(page: number): void {
    const chunk = Math.floor(page / CHUNK);
    let marks = this.#marks.get(chunk);
    if (marks === undefined) {
      marks = new Uint32Array(CHUNK / 32);
      this.#marks.set(chunk, marks);
    }
    const bit = page - chunk * CHUNK;
    marks[bit >>> 5]! |= 1 << (bit & 31);
  }

  #readAndClear(
    iova: bigint,
    size: bigint,
    keep: boolean,
    report: ((iova: bigint, size: bigint) => void) | undefined,
  ): void {
    if (report !== undefined && !this.#tracking) throw refuse('EINVAL', 'domain', 'dirty tracking is off');
    const range = intervalOf(split(iova), split(size));
    if (range === undefined) return;
    this.#visit(range.page, range.lastPage, keep, (page) => report?.(join(page, 0), BigInt(PAGE_SIZE)));
  }

  /** Visits marked pages in ascending order. */
  #visit(page: number, lastPage: number, keep: boolean, visit: (page: number) => void): void {
    if (this.#marks.size === 0) return;
    const chunks = [...this.#marks.keys()].filter(
      (chunk) => chunk * CHUNK <= lastPage && chunk * CHUNK + CHUNK > page,
    );
    for (const chunk of chunks.sort((a, b) => a - b)) {
      const marks = this.#marks.get(chunk)!;
      const base = chunk * CHUNK;
      const until = Math.min(lastPage - base, CHUNK - 1);
      for (let bit = Math.max(page - base, 0); bit <= until; bit++) {
        const word = marks[bit >>> 5]!;
        if (word === 0) {
          bit |= 31;
        } else if ((word & (1 << (bit & 31))) !== 0) {
          if (!keep) marks[bit >>> 5] = word & ~(1 << (bit & 31));
          visit(base + bit);
        }
      }
    }
  }
}

function pagesOf(page: number, lastPage: number): Interval {
  return { page, offset: 0, lastPage: Math.min(lastPage, LAST_PAGE), lastOffset: PAGE_MASK };
}
