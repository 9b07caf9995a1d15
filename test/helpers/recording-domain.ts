/** A domain that keeps a list of the requests it gets, and fails when the test says so. */
import type { IommuDomain, PageOperations } from '../../src/domain/iommu-domain.js';
import { refuse } from '../../src/errors.js';
import { protectionName } from '../../src/protection.js';
import { hex, join, MAX_U64, split } from '../../src/u64.js';

/** How a recording domain is made. */
export interface RecordingDomainOptions {
  /** Size of its io pages in bytes; default 4096. */
  readonly ioPage?: number;
  /** Page sizes besides the io page. */
  readonly largePages?: bigint;
  readonly aperture?: { readonly start: bigint; readonly last: bigint };
  /** Whether it offers the operations on whole pages. */
  readonly wholePages?: boolean;
}

/** A page table of the simplest kind: a list of io pages. */
export class RecordingDomain implements IommuDomain {
  readonly pageSizeBitmap: bigint;
  readonly aperture: { readonly start: bigint; readonly last: bigint };
  readonly pages?: PageOperations;
  /** The requests in words, in order. */
  readonly requests: string[] = [];
  /** How many more map requests succeed. */
  mapsLeft = Number.POSITIVE_INFINITY;
  readonly #ioPage: bigint;
  /** Physical address of each mapped io page, by number. */
  readonly #mapped = new Map<bigint, bigint>();

  constructor(options: RecordingDomainOptions = {}) {
    const { ioPage = 4096, largePages = 0n, aperture = { start: 0n, last: MAX_U64 } } = options;
    this.#ioPage = BigInt(ioPage);
    this.pageSizeBitmap = this.#ioPage | largePages;
    this.aperture = aperture;
    if (options.wholePages) this.pages = this.#pageOperations();
  }

  get mappedBytes(): bigint {
    return BigInt(this.#mapped.size) * this.#ioPage;
  }

  /** What is mapped: io pages and what is behind them. */
  get contents(): Record<string, string> {
    const entries = [...this.#mapped].sort(([a], [b]) => (a < b ? -1 : 1));
    return Object.fromEntries(entries.map(([page, at]) => [hex(page * this.#ioPage), hex(at)]));
  }

  map(iova: bigint, physical: bigint, size: bigint, protection: number): void {
    if (this.mapsLeft === 0) throw refuse('ENOMEM', 'domain', 'the test says that this map fails');
    this.mapsLeft -= 1;
    if ((iova | physical | size) % this.#ioPage !== 0n) {
      throw refuse('EINVAL', 'domain', 'the request is not a multiple of the io page');
    }
    this.requests.push(`map ${hex(iova)} to ${hex(physical)} + ${hex(size)} ${protectionName(protection)}`);
    for (let at = 0n; at < size; at += this.#ioPage) {
      const page = (iova + at) / this.#ioPage;
      if (this.#mapped.has(page)) throw new Error(`${hex(iova + at)} is mapped twice`);
      this.#mapped.set(page, physical + at);
    }
  }

  unmap(iova: bigint, size: bigint): void {
    this.requests.push(`unmap ${hex(iova)} + ${hex(size)}`);
    for (let at = 0n; at < size; at += this.#ioPage) {
      const page = (iova + at) / this.#ioPage;
      if (!this.#mapped.delete(page)) throw new Error(`${hex(iova + at)} is unmapped but not mapped`);
    }
  }

  iovaToPhys(iova: bigint): bigint | undefined {
    const at = this.#mapped.get(iova / this.#ioPage);
    return at === undefined ? undefined : at + (iova % this.#ioPage);
  }

  #pageOperations(): PageOperations {
    return {
      map: (iovaPage, frames, from, count, protection) => {
        const done: [bigint, bigint][] = [];
        try {
          frames.forEachRun(from, count, (pfn, length, position) => {
            const [iova, size] = [join(iovaPage + position - from, 0), join(length, 0)];
            this.map(iova, join(pfn, 0), size, protection);
            done.push([iova, size]);
          });
        } catch (error) {
          for (const [iova, size] of done) this.unmap(iova, size);
          throw error;
        }
      },
      unmap: (iovaPage, count) => this.unmap(join(iovaPage, 0), join(count, 0)),
      frames: (iovaPage, count, into) => {
        for (let at = 0; at < count; at++) {
          const physical = this.iovaToPhys(join(iovaPage + at, 0));
          if (physical === undefined) throw new Error(`nothing is mapped at page ${iovaPage + at}`);
          into.push(split(physical).page, 1);
        }
      },
    };
  }
}
