/** A mock domain's page table with entries of several sizes, each of which has one dirty mark. */
import { RadixTable } from '../domain/radix-table.js';
import { FRAME_LIMIT, INDEX_BITS, TOP_LEAF_LEVEL } from '../domain/table-entry.js';
import { refuse } from '../errors.js';
import { FrameRuns } from '../memory/frame-runs.js';
import { READ, WRITE } from '../protection.js';
import { hex, MAX_U64 } from '../u64.js';
import type { MockEntry, MockMapRequest, MockTable, MockTableEvents } from './mock-table.js';

/** Levels of a table that pages can be of. */
const LEVELS = Array.from({ length: TOP_LEAF_LEVEL + 1 }, (_, level) => level);

/**
 * The page table of later kernels' mock domains. A request is cut into entries, each time the largest that the IOVA and
 * the physical address are aligned to and that is not longer than what is left.
 *
 * It is a `RadixTable` in which a page is not of 4096 bytes, but of the smallest entry's size.
 */
export class EntryTable implements MockTable {
  readonly pageSizeBitmap: bigint;
  readonly #granule: bigint;
  readonly #table: RadixTable;
  readonly #events: MockTableEvents;

  /** @param sizes - the sizes of entries: powers of two from 2048 to 2^36, ascending, at least one */
  constructor(sizes: readonly bigint[], events: MockTableEvents) {
    const granule = sizes[0]!;
    this.pageSizeBitmap = sizes.reduce((bitmap, size) => bitmap | size, 0n);
    this.#granule = granule;
    this.#events = events;
    const orders = sizes.map((size) => Math.log2(Number(size / granule)));
    this.#table = new RadixTable({
      leafLevels: LEVELS.filter((level) => orders.includes(level * INDEX_BITS)),
      contiguousOrders: orders,
      firstPage: 0,
      lastPage: Number(MAX_U64 / granule),
    });
  }

  get mappedBytes(): bigint {
    return BigInt(this.#table.mappedPages) * this.#granule;
  }

  map({ iova, physical, size }: MockMapRequest): void {
    const count = size / this.#granule;
    this.#events.onCall({ iova, physical, pageSize: this.#granule, count });
    if (iova + size - 1n > MAX_U64) throw refuse('EINVAL', 'domain', 'the range passes 2^64 - 1');
    const frame = physical / this.#granule;
    if (frame + count > FRAME_LIMIT) {
      throw refuse('EINVAL', 'domain', `physical address ${hex(physical)} is too high for a mock domain`);
    }
    const taken = this.#table.firstMapped(this.#pageOf(iova), Number(count));
    if (taken !== undefined) {
      const detail = `IOVA ${hex(BigInt(taken) * this.#granule)} is mapped already`;
      this.#events.onWarning(detail);
      throw refuse('EADDRINUSE', 'domain', detail);
    }
    const frames = new FrameRuns();
    frames.push(Number(frame), Number(count));
    this.#table.map(this.#pageOf(iova), frames, 0, Number(count), READ | WRITE);
  }

  /** Warns if the range begins or ends in the middle of an entry, which is cut then. */
  unmap(iova: bigint, size: bigint): void {
    const first = this.entry(iova);
    if (first !== undefined && first.iova < iova) this.#warnOfCut('begins', iova);
    const past = iova + size;
    const last = this.entry(past - 1n);
    if (last !== undefined && last.iova + last.size > past) this.#warnOfCut('ends', past);
    this.#table.unmap(this.#pageOf(iova), Number(size / this.#granule));
  }

  clear(): void {
    this.#table.unmap(0, Number(MAX_U64 / this.#granule) + 1);
  }

  physicalAt(iova: bigint): bigint | undefined {
    const frame = this.#table.frameAt(this.#pageOf(iova));
    return frame < 0 ? undefined : BigInt(frame) * this.#granule + (iova % this.#granule);
  }

  entry(iova: bigint): MockEntry | undefined {
    const page = this.#table.pageAt(this.#pageOf(iova));
    if (page === undefined) return undefined;
    return {
      iova: BigInt(page.first) * this.#granule,
      size: BigInt(page.count) * this.#granule,
      physical: BigInt(page.firstFrame) * this.#granule,
      dirty: page.dirty,
    };
  }

  mark(iova: bigint, size: bigint): void {
    const first = this.#pageOf(iova);
    this.#table.mark(first, this.#pageOf(iova + size - 1n) - first + 1);
  }

  markPage(iova: bigint): boolean {
    if (this.#table.frameAt(this.#pageOf(iova)) < 0) return false;
    this.#table.mark(this.#pageOf(iova), 1);
    return true;
  }

  readAndClear(
    iova: bigint,
    size: bigint,
    keep: boolean,
    report: ((iova: bigint, size: bigint) => void) | undefined,
  ): void {
    if (size === 0n) return;
    const first = this.#pageOf(iova);
    const count = this.#pageOf(iova + size - 1n) - first + 1;
    this.#table.readDirty(first, count, keep, (page, pages) =>
      report?.(BigInt(page) * this.#granule, BigInt(pages) * this.#granule),
    );
  }

  #pageOf(iova: bigint): number {
    return Number(iova / this.#granule);
  }

  #warnOfCut(verb: string, iova: bigint): void {
    this.#events.onWarning(`an unmap ${verb} at IOVA ${hex(iova)}, in the middle of an entry`);
  }
}
