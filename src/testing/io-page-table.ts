/** A mock domain's page table that keeps io pages one by one; a huge page is a mark on the io pages that it is of. */
import { refuse } from '../errors.js';
import { hex, MAX_U64 } from '../u64.js';
import { BOUNDARY, CHUNK, chunkOf, DIRTY, HUGE, IoPages, indexOf } from './io-pages.js';
import type { MockEntry, MockMapCall, MockMapRequest, MockTable, MockTableEvents } from './mock-table.js';

const HUGE_PAGE = 0x10_0000n;
/** Io pages that a table keeps: 32 GiB of the usual ones. */
const MOST_IO_PAGES = 2n ** 24n;

/** The page table of earlier kernels' mock domains. */
export class IoPageTable implements MockTable {
  readonly pageSizeBitmap: bigint;
  readonly #pages = new IoPages();
  readonly #ioPage: bigint;
  readonly #huge: boolean;
  readonly #events: MockTableEvents;

  /**
   * @param ioPage - bytes of an io page, a power of two from 8 on
   * @param huge - whether it has huge pages, too, of 512 io pages
   */
  constructor(ioPage: bigint, huge: boolean, events: MockTableEvents) {
    this.pageSizeBitmap = huge ? ioPage | HUGE_PAGE : ioPage;
    this.#ioPage = ioPage;
    this.#huge = huge;
    this.#events = events;
  }

  get mappedBytes(): bigint {
    return BigInt(this.#pages.size) * this.#ioPage;
  }

  /** In up to three calls of the driver: io pages up to a huge page boundary, huge pages, io pages. */
  map({ iova, physical, size }: MockMapRequest): void {
    let done = 0n;
    try {
      for (const [pageSize, bytes] of this.#split(iova, physical, size)) {
        this.#mapCall({ iova: iova + done, physical: physical + done, pageSize, count: bytes / pageSize });
        done += bytes;
      }
    } catch (error) {
      if (done > 0n) this.#pages.erase(iova / this.#ioPage, done / this.#ioPage);
      throw error;
    }
  }

  /** Warns, without huge pages, if the range begins or ends in the middle of what a call of the driver mapped. */
  unmap(iova: bigint, size: bigint): void {
    const [first, count] = [iova / this.#ioPage, size / this.#ioPage];
    if (!this.#huge) {
      this.#checkBoundary(first, 'begins');
      this.#checkBoundary(first + count - 1n, 'ends');
    }
    this.#pages.erase(first, count);
  }

  clear(): void {
    this.#pages.clear();
  }

  physicalAt(iova: bigint): bigint | undefined {
    const ioPage = iova / this.#ioPage;
    if (this.#pages.flags(ioPage) === 0) return undefined;
    return BigInt(this.#pages.frame(ioPage)) * this.#ioPage + (iova % this.#ioPage);
  }

  /** The io page, or the huge page that it is part of. */
  entry(iova: bigint): MockEntry | undefined {
    const flags = this.#pages.flags(iova / this.#ioPage);
    if (flags === 0) return undefined;
    const size = (flags & HUGE) !== 0 ? HUGE_PAGE : this.#ioPage;
    const start = iova & -size;
    const dirty = this.#pages.some(start / this.#ioPage, size / this.#ioPage, DIRTY);
    return { iova: start, size, physical: this.physicalAt(start)!, dirty };
  }

  mark(iova: bigint, size: bigint): void {
    const first = iova / this.#ioPage;
    this.#pages.markAll(first, (iova + size - 1n) / this.#ioPage - first + 1n, DIRTY);
  }

  /**
   * As in the kernel, the io page is looked up by the address divided by `pageSize`: another page size than the io page
   * reaches other io pages, mostly none.
   */
  markPage(iova: bigint, pageSize: bigint): boolean {
    return this.#pages.mark(iova / pageSize, DIRTY);
  }

  /**
   * As the kernel's mock domain: it looks at least at one io page; an io page of a huge page stands for all of that
   * huge page, and is reported with its length from where the walk is.
   */
  readAndClear(
    iova: bigint,
    size: bigint,
    keep: boolean,
    report: ((iova: bigint, size: bigint) => void) | undefined,
  ): void {
    const inside = iova % this.#ioPage;
    const past = (iova + size - inside + this.#ioPage - 1n) / this.#ioPage;
    const [pastChunk, pastIndex] = [chunkOf(past), indexOf(past)];
    let number = chunkOf(iova / this.#ioPage);
    let index = indexOf(iova / this.#ioPage);
    do {
      const flags = this.#pages.chunk(number)?.flags;
      if (flags === undefined) {
        number = this.#pages.chunkAfter(number) ?? Number.POSITIVE_INFINITY;
        index = 0;
      } else if ((flags[index]! & HUGE) !== 0) {
        if (flags.some(isDirty)) {
          report?.(this.#address(number, index) + inside, HUGE_PAGE);
          if (!keep) for (let at = 0; at < CHUNK; at++) flags[at]! &= ~DIRTY;
        }
        number += 1;
      } else {
        if (isDirty(flags[index]!)) {
          report?.(this.#address(number, index) + inside, this.#ioPage);
          if (!keep) flags[index]! &= ~DIRTY;
        }
        index += 1;
      }
      if (index === CHUNK) {
        number += 1;
        index = 0;
      }
    } while (number < pastChunk || (number === pastChunk && index < pastIndex));
  }

  /** The driver calls of a map request: page size and bytes of each. */
  #split(iova: bigint, physical: bigint, size: bigint): (readonly [pageSize: bigint, bytes: bigint])[] {
    const head = -iova & (HUGE_PAGE - 1n);
    const huge = size > head && (iova ^ physical) % HUGE_PAGE === 0n ? (size - head) & -HUGE_PAGE : 0n;
    if (!this.#huge || huge === 0n) return [[this.#ioPage, size]];
    const calls = [
      [this.#ioPage, head],
      [HUGE_PAGE, huge],
      [this.#ioPage, size - head - huge],
    ] as const;
    return calls.filter(([, bytes]) => bytes > 0n);
  }

  #mapCall(call: MockMapCall): void {
    this.#events.onCall(call);
    const first = call.iova / this.#ioPage;
    const count = (call.count * call.pageSize) / this.#ioPage;
    const frame = call.physical / this.#ioPage;
    if (first + count - 1n > MAX_U64 / this.#ioPage)
      throw refuse('EINVAL', 'domain', 'the range passes 2^64 - 1');
    if (frame + count > Number.MAX_SAFE_INTEGER) {
      throw refuse(
        'EINVAL',
        'domain',
        `physical address ${hex(call.physical)} is too high for a mock domain`,
      );
    }
    if (BigInt(this.#pages.size) + count > MOST_IO_PAGES) {
      throw refuse('ENOMEM', 'domain', `a mock domain keeps ${MOST_IO_PAGES} io pages at most`);
    }
    const taken = this.#pages.firstIn(first, count);
    if (taken !== undefined) this.#events.onWarning(`io page ${hex(taken * this.#ioPage)} is mapped already`);
    this.#pages.fill(first, count, Number(frame), call.pageSize > this.#ioPage ? HUGE : 0);
    this.#pages.mark(first, BOUNDARY);
    this.#pages.mark(first + count - 1n, BOUNDARY);
  }

  #checkBoundary(ioPage: bigint, verb: string): void {
    const flags = this.#pages.flags(ioPage);
    if (flags === 0 || (flags & BOUNDARY) !== 0) return;
    const at = hex(ioPage * this.#ioPage);
    this.#events.onWarning(`an unmap ${verb} at io page ${at}, in the middle of a mapping`);
  }

  #address(chunk: number, index: number): bigint {
    return (BigInt(chunk) * BigInt(CHUNK) + BigInt(index)) * this.#ioPage;
  }
}

function isDirty(flags: number): boolean {
  return (flags & DIRTY) !== 0;
}
