/** The kernel's test domain. */
import { checkBoolean, checkCallback, checkObject, outOfRange, readValue } from '../arguments.js';
import type { DirtyOperations, IommuDomain } from '../domain/iommu-domain.js';
import { misaligned, refuse } from '../errors.js';
import { checkFaults, type FaultInjector, faultPoint } from '../faults.js';
import { readBytes } from '../memory/read-bytes.js';
import { hex, MAX_U64, split, type U64Input } from '../u64.js';
import { BOUNDARY, CHUNK, chunkOf, DIRTY, HUGE, type IoPage, IoPages, indexOf } from './io-pages.js';

const IO_PAGE = 2048;
const HUGE_PAGE = 0x10_0000n;
const APERTURE = { start: 0x100_0000n, last: 0x7fff_ffffn };
/** Entries that a mock domain keeps: 32 GiB of its usual io pages. */
const MOST_IO_PAGES = 2n ** 24n;
/** With smaller io pages their numbers would not fit. */
const LEAST_IO_PAGE = 8n;
/** Bits that one `makeDirty` may have. */
const MOST_DIRTY_BITS = 2n ** 27n;

/** One call of the mock domain's driver: `count` io pages or huge pages of `pageSize` bytes. */
export interface MockMapCall {
  readonly iova: bigint;
  readonly physical: bigint;
  readonly pageSize: bigint;
  readonly count: bigint;
}

/** How a mock domain is made. */
export interface MockDomainOptions {
  /** Whether it has huge io pages of 1 MiB, too. Default false. */
  readonly huge?: boolean | undefined;
  /** Whether it can track dirty io pages. Default false. */
  readonly dirty?: boolean | undefined;
  /**
   * Whether what the kernel reports as a WARN ("cannot happen") is thrown as a plain `Error`. Default true; else it
   * is added to `warnings` and the domain goes on as the kernel does.
   */
  readonly strict?: boolean | undefined;
  /** Bytes of an io page, a power of two from 8 on. Default 2048; another one goes with `huge: false` only. */
  readonly ioPageSize?: U64Input | undefined;
  /** First and last IOVA (inclusive). Default 0x1000000 and 0x7fffffff. */
  readonly aperture?: { readonly start: U64Input; readonly last: U64Input } | undefined;
  /** Called before each map call, up to three in a request. What it throws fails the request: a fault point. */
  readonly onMap?: ((call: MockMapCall) => void) | undefined;
  /** What makes its map calls fail: each is a fault point `domain-map`. */
  readonly faults?: FaultInjector | undefined;
}

/**
 * The kernel's mock domain: an entry an io page, io pages of half a CPU page, and a watch on how it is used. It
 * keeps no permissions.
 */
export class MockDomain implements IommuDomain {
  readonly pageSizeBitmap: bigint;
  readonly aperture: { readonly start: bigint; readonly last: bigint };
  /** Dirty tracking, if the domain was made with `dirty: true`. */
  readonly dirty?: DirtyOperations;
  /** The WARN conditions that a domain which is not strict has met, in words. */
  readonly warnings: string[] = [];

  readonly #pages = new IoPages();
  readonly #ioPage: bigint;
  readonly #huge: boolean;
  readonly #strict: boolean;
  readonly #onMap: ((call: MockMapCall) => void) | undefined;
  readonly #faults: FaultInjector | undefined;

  /** @throws TypeError or RangeError if an option is not as `MockDomainOptions` says. */
  constructor(options: MockDomainOptions = {}) {
    checkObject(options, 'options');
    const { huge = false, dirty = false, strict = true, ioPageSize = IO_PAGE, aperture = APERTURE } = options;
    const { onMap, faults } = options;
    checkBoolean(huge, 'huge');
    checkBoolean(dirty, 'dirty');
    checkBoolean(strict, 'strict');
    checkObject(aperture, 'aperture');
    this.#ioPage = readValue(ioPageSize, 'ioPageSize');
    if (this.#ioPage < LEAST_IO_PAGE || (this.#ioPage & (this.#ioPage - 1n)) !== 0n) {
      throw outOfRange(this.#ioPage, 'ioPageSize', 'a power of two from 8 on');
    }
    if (huge && this.#ioPage !== BigInt(IO_PAGE))
      throw outOfRange(ioPageSize, 'ioPageSize', '2048 with huge');
    this.pageSizeBitmap = huge ? this.#ioPage | HUGE_PAGE : this.#ioPage;
    this.aperture = {
      start: readValue(aperture.start, 'aperture.start'),
      last: readValue(aperture.last, 'aperture.last'),
    };
    this.#huge = huge;
    this.#strict = strict;
    checkCallback(onMap, 'onMap');
    checkFaults(faults);
    this.#onMap = onMap;
    this.#faults = faults;
    if (dirty) this.dirty = new MockDirty(this.#pages, this.#ioPage);
  }

  /** Io pages that are mapped. */
  get entries(): number {
    return this.#pages.size;
  }

  /** Bytes that are mapped. */
  get mappedBytes(): bigint {
    return BigInt(this.#pages.size) * this.#ioPage;
  }

  /** The entry of the io page that an IOVA is in, if it is mapped. */
  entry(iova: U64Input): IoPage | undefined {
    return this.#pages.get(readValue(iova, 'iova') / this.#ioPage);
  }

  /**
   * Maps `size` bytes at `iova` to the physical address `physical`, all or nothing, in up to three calls of the
   * driver: io pages up to a huge page boundary, huge pages, io pages. The protection is not kept.
   *
   * @throws EINVAL if one of the three is not a multiple of the io page or it is too high, ENOMEM above 2^24 io pages, what
   * `onMap` throws, and (strict) a plain
   * `Error` if a part is mapped already.
   */
  map(iova: U64Input, physical: U64Input, size: U64Input, _protection?: number): void {
    const to = this.#aligned('iova', iova);
    const from = this.#aligned('physical', physical);
    const length = this.#aligned('size', size);
    let done = 0n;
    try {
      for (const [pageSize, bytes] of this.#split(to, from, length)) {
        this.#mapCall({ iova: to + done, physical: from + done, pageSize, count: bytes / pageSize });
        done += bytes;
      }
    } catch (error) {
      if (done > 0n) this.#pages.erase(to / this.#ioPage, done / this.#ioPage);
      throw error;
    }
  }

  /**
   * Unmaps `size` bytes at `iova`, whether or not they are mapped.
   *
   * @throws (strict) a plain `Error` if `iova` or `size` is not a multiple of the io page, or, without huge pages, if
   * the range begins or ends in the middle of what a map call mapped.
   */
  unmap(iova: U64Input, size: U64Input): void {
    const [from, length] = [readValue(iova, 'iova'), readValue(size, 'size')];
    if (length === 0n) return;
    if ((from | length) % this.#ioPage !== 0n) {
      this.#warn(`unmap of ${hex(length)} bytes at ${hex(from)} is not in whole io pages`);
      return;
    }
    const [first, count] = [from / this.#ioPage, length / this.#ioPage];
    if (!this.#huge) {
      this.#checkBoundary(first, 'begins');
      this.#checkBoundary(first + count - 1n, 'ends');
    }
    this.#pages.erase(first, count);
  }

  /** The physical address behind `iova`, or `undefined` if nothing is mapped there. Any byte address. */
  iovaToPhys(iova: U64Input): bigint | undefined {
    const address = readValue(iova, 'iova');
    const ioPage = address / this.#ioPage;
    if (this.#pages.flags(ioPage) === 0) return undefined;
    return BigInt(this.#pages.frame(ioPage)) * this.#ioPage + (address % this.#ioPage);
  }

  /**
   * What the test driver's DIRTY does, a simulated device: for each set bit n of `bitmap` (bit n mod 8 of byte n
   * div 8) marks the io page at `iova + n * pageSize`, if it is mapped, and gives the number of those.
   *
   * As in the kernel, the io page is looked up by that address divided by `pageSize`: another page size than the io
   * page reaches other entries, mostly none.
   *
   * @throws EINVAL if `pageSize` or `length` is 0 or `iova` or `length` is not a multiple of `pageSize`; EOVERFLOW for
   * more than 2^27 bits; EINVAL if tracking is off; EFAULT if `bitmap` has fewer than `length / pageSize` bits.
   */
  makeDirty(iova: U64Input, length: U64Input, pageSize: U64Input, bitmap: Uint8Array): number {
    const [from, bytes, step] = [
      readValue(iova, 'iova'),
      readValue(length, 'length'),
      readValue(pageSize, 'pageSize'),
    ];
    const marks = readBytes(bitmap, 'bitmap');
    const bits = countDirtyBits(from, bytes, step);
    if (!this.dirty?.tracking) throw refuse('EINVAL', 'state', 'dirty tracking is off');
    if (marks.length * 8 < bits) throw refuse('EFAULT', 'fault', `the bitmap has fewer than ${bits} bits`);
    let marked = 0;
    for (let bit = 0; bit < bits; bit++) {
      if ((marks[bit >> 3]! & (1 << (bit & 7))) === 0) continue;
      const address = BigInt.asUintN(64, from + BigInt(bit) * step);
      if (this.#pages.mark(address / step, DIRTY)) marked += 1;
    }
    return marked;
  }

  /** The end of the domain. @throws (strict) a plain `Error` if something is still mapped. */
  free(): void {
    if (this.#pages.size > 0) this.#warn(`the domain ends with ${this.#pages.size} io pages mapped`);
    this.#pages.clear();
  }

  /** The driver calls of a map request: page size and bytes of each. */
  #split(iova: bigint, physical: bigint, size: bigint): (readonly [pageSize: bigint, bytes: bigint])[] {
    const head = -iova & (HUGE_PAGE - 1n);
    const huge = size > head && (iova ^ physical) % HUGE_PAGE === 0n ? (size - head) & -HUGE_PAGE : 0n;
    if (!this.#huge || huge === 0n) return size === 0n ? [] : [[this.#ioPage, size]];
    const calls = [
      [this.#ioPage, head],
      [HUGE_PAGE, huge],
      [this.#ioPage, size - head - huge],
    ] as const;
    return calls.filter(([, bytes]) => bytes > 0n);
  }

  #mapCall(call: MockMapCall): void {
    faultPoint(this.#faults, 'domain-map');
    this.#onMap?.(call);
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
    if (taken !== undefined) this.#warn(`io page ${hex(taken * this.#ioPage)} is mapped already`);
    this.#pages.fill(first, count, Number(frame), call.pageSize > this.#ioPage ? HUGE : 0);
    this.#pages.mark(first, BOUNDARY);
    this.#pages.mark(first + count - 1n, BOUNDARY);
  }

  #checkBoundary(ioPage: bigint, verb: string): void {
    const entry = this.#pages.get(ioPage);
    if (entry === undefined || entry.boundary) return;
    this.#warn(`an unmap ${verb} at io page ${hex(ioPage * this.#ioPage)}, in the middle of a mapping`);
  }

  #aligned(what: string, value: U64Input): bigint {
    const whole = readValue(value, what);
    if (whole % this.#ioPage !== 0n) throw misaligned(what, split(whole), Number(this.#ioPage));
    return whole;
  }

  #warn(what: string): void {
    if (this.#strict) throw new Error(`mock domain: ${what}`);
    this.warnings.push(what);
  }
}

/**
 * The bits of a bitmap with one for each `pageSize` of `length` bytes from `iova` on.
 *
 * @throws EINVAL if `pageSize` or `length` is 0 or `iova` or `length` is not a multiple of `pageSize`; EOVERFLOW for
 * more than 2^27 bits.
 */
export function countDirtyBits(iova: bigint, length: bigint, pageSize: bigint): bigint {
  if (pageSize === 0n || length === 0n || iova % pageSize !== 0n || length % pageSize !== 0n) {
    throw refuse('EINVAL', 'argument', 'the range is empty or not aligned to the page size');
  }
  const bits = length / pageSize;
  if (bits > MOST_DIRTY_BITS) throw refuse('EOVERFLOW', 'overflow', `${bits} bits are more than 2^27`);
  return bits;
}

class MockDirty implements DirtyOperations {
  readonly #pages: IoPages;
  readonly #ioPage: bigint;
  #tracking = false;

  constructor(pages: IoPages, ioPage: bigint) {
    this.#pages = pages;
    this.#ioPage = ioPage;
  }

  get tracking(): boolean {
    return this.#tracking;
  }

  setTracking(enable: boolean): void {
    this.#tracking = enable;
  }

  mark(iova: U64Input, size: U64Input): void {
    const [from, length] = [readValue(iova, 'iova'), readValue(size, 'size')];
    if (!this.#tracking || length === 0n) return;
    const first = from / this.#ioPage;
    this.#pages.markAll(first, (from + length - 1n) / this.#ioPage - first + 1n, DIRTY);
  }

  /**
   * As the kernel's mock domain: it looks at least at one io page; an io page of a huge page stands for all of that
   * huge page, and is reported with its length from where the walk is.
   */
  readAndClear(
    iova: U64Input,
    size: U64Input,
    keep: boolean,
    report: ((iova: bigint, size: bigint) => void) | undefined,
  ): void {
    if (report !== undefined && !this.#tracking) throw refuse('EINVAL', 'domain', 'dirty tracking is off');
    const from = readValue(iova, 'iova');
    const inside = from % this.#ioPage;
    const past = (from + readValue(size, 'size') - inside + this.#ioPage - 1n) / this.#ioPage;
    const [pastChunk, pastIndex] = [chunkOf(past), indexOf(past)];
    let number = chunkOf(from / this.#ioPage);
    let index = indexOf(from / this.#ioPage);
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

  #address(chunk: number, index: number): bigint {
    return (BigInt(chunk) * BigInt(CHUNK) + BigInt(index)) * this.#ioPage;
  }
}

function isDirty(flags: number): boolean {
  return (flags & DIRTY) !== 0;
}
