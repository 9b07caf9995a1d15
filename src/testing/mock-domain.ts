/** The kernel's test domain. */
import { checkBoolean, checkCallback, checkObject, outOfRange, readValue } from '../arguments.js';
import type { DirtyOperations, IommuDomain } from '../domain/iommu-domain.js';
import { misaligned, refuse } from '../errors.js';
import { checkFaults, type FaultInjector, faultPoint } from '../faults.js';
import { readBytes } from '../memory/read-bytes.js';
import { type ProfileName, type Rules, readProfile, rulesOf } from '../rules.js';
import { hex, split, type U64Input } from '../u64.js';
import { EntryTable } from './entry-table.js';
import { IoPageTable } from './io-page-table.js';
import type { MockEntry, MockMapCall, MockTable, MockTableEvents } from './mock-table.js';

/** What the page tables of a kernel are like. */
interface Format {
  /** Bytes of the io page, without huge pages and with them. */
  readonly ioPage: bigint;
  readonly ioPageOfHuge: bigint;
  /** The least and the most bytes of another io page. */
  readonly least: bigint;
  readonly most: bigint;
  readonly aperture: Aperture;
  readonly apertureOfHuge: Aperture;
  table(ioPage: bigint, huge: boolean, events: MockTableEvents): MockTable;
}

interface Aperture {
  readonly start: U64Input;
  readonly last: U64Input;
}

const APERTURE: Aperture = { start: 0x100_0000n, last: 0x7fff_ffffn };
const LARGEST_ENTRY = 2n ** 36n;
const HUGE_ENTRY = 2n ** 20n;

const FORMATS: Readonly<Record<Rules['testPageTables'], Format>> = {
  'io-pages': {
    ioPage: 2048n,
    ioPageOfHuge: 2048n,
    // With smaller io pages their numbers would not fit.
    least: 8n,
    most: 2n ** 63n,
    aperture: APERTURE,
    apertureOfHuge: APERTURE,
    table: (ioPage, huge, events) => new IoPageTable(ioPage, huge, events),
  },
  entries: {
    ioPage: 2048n,
    ioPageOfHuge: 4096n,
    least: 2048n,
    most: LARGEST_ENTRY,
    aperture: APERTURE,
    apertureOfHuge: { start: 0n, last: 2n ** 38n - 1n },
    table: (ioPage, huge, events) => new EntryTable(huge ? [ioPage, HUGE_ENTRY] : sizesFrom(ioPage), events),
  },
};

/** Bits that one `makeDirty` may have. */
const MOST_DIRTY_BITS = 2n ** 27n;

/** How a mock domain is made. */
export interface MockDomainOptions {
  /** Of which kernel it is: how it keeps what is mapped differs. By default the newest Linux. */
  readonly profile?: ProfileName | undefined;
  /** Whether it has huge pages of 1 MiB; later kernels have 4 KiB besides, and nothing else. Default false. */
  readonly huge?: boolean | undefined;
  /** Whether it can track dirty io pages. Default false. */
  readonly dirty?: boolean | undefined;
  /**
   * Whether what the kernel reports as a WARN ("cannot happen") is thrown as a plain `Error`. Default true; else it
   * is added to `warnings` and the domain goes on as the kernel does.
   */
  readonly strict?: boolean | undefined;
  /**
   * Bytes of an io page, the smallest page: a power of two from 8 on, under later kernels from 2048 to 2^36. Default 2048,
   * or 4096 where later kernels have huge pages; another one goes with `huge: false` only.
   */
  readonly ioPageSize?: U64Input | undefined;
  /** First and last IOVA (inclusive). Default 0x1000000 and 0x7fffffff; 0 and 2^38 − 1 for later kernels' huge pages. */
  readonly aperture?: { readonly start: U64Input; readonly last: U64Input } | undefined;
  /**
   * Called before each map call: one for a request, or up to three where earlier kernels have huge pages. What it throws
   * fails the request: a fault point.
   */
  readonly onMap?: ((call: MockMapCall) => void) | undefined;
  /** What makes its map calls fail: each is a fault point `domain-map`. */
  readonly faults?: FaultInjector | undefined;
}

/**
 * The kernel's mock domain, and a watch on how it is used. It keeps no permissions.
 *
 * Under earlier kernels each io page is kept by itself. Later ones have entries of every power of two from the io page to
 * 64 GiB: a request is cut into the largest that addresses and length allow, and a dirty mark is that of a whole entry.
 */
export class MockDomain implements IommuDomain {
  readonly pageSizeBitmap: bigint;
  readonly aperture: { readonly start: bigint; readonly last: bigint };
  /** Dirty tracking, if the domain was made with `dirty: true`. */
  readonly dirty?: DirtyOperations;
  /** The WARN conditions that a domain which is not strict has met, in words. */
  readonly warnings: string[] = [];

  readonly #table: MockTable;
  readonly #ioPage: bigint;
  readonly #strict: boolean;
  readonly #countsUnmapped: boolean;

  /** @throws TypeError or RangeError if an option is not as `MockDomainOptions` says. */
  constructor(options: MockDomainOptions = {}) {
    checkObject(options, 'options');
    const { profile, huge = false, dirty = false, strict = true, onMap, faults } = options;
    const rules = rulesOf(readProfile(profile, 'profile'));
    checkBoolean(huge, 'huge');
    checkBoolean(dirty, 'dirty');
    checkBoolean(strict, 'strict');
    const format = FORMATS[rules.testPageTables];
    const usual = huge ? format.ioPageOfHuge : format.ioPage;
    const { ioPageSize = usual, aperture = huge ? format.apertureOfHuge : format.aperture } = options;
    checkObject(aperture, 'aperture');
    const ioPage = readValue(ioPageSize, 'ioPageSize');
    const { least, most } = format;
    if (ioPage < least || ioPage > most || (ioPage & (ioPage - 1n)) !== 0n) {
      throw outOfRange(ioPage, 'ioPageSize', `a power of two from ${least} to ${most}`);
    }
    if (huge && ioPage !== usual) throw outOfRange(ioPage, 'ioPageSize', `${usual} with huge`);
    this.aperture = {
      start: readValue(aperture.start, 'aperture.start'),
      last: readValue(aperture.last, 'aperture.last'),
    };
    checkCallback(onMap, 'onMap');
    checkFaults(faults);
    this.#ioPage = ioPage;
    this.#strict = strict;
    this.#countsUnmapped = rules.testDirtyCounts === 'all';
    this.#table = format.table(ioPage, huge, {
      onCall: (call) => {
        faultPoint(faults, 'domain-map');
        onMap?.(call);
      },
      onWarning: (what) => this.#warn(what),
    });
    this.pageSizeBitmap = this.#table.pageSizeBitmap;
    if (dirty) this.dirty = new MockDirty(this.#table);
  }

  /** Bytes that are mapped. */
  get mappedBytes(): bigint {
    return this.#table.mappedBytes;
  }

  /** The entry that an IOVA is in, if it is mapped. */
  entry(iova: U64Input): MockEntry | undefined {
    return this.#table.entry(readValue(iova, 'iova'));
  }

  /**
   * Maps `size` bytes at `iova` to the physical address `physical`, all or nothing. The protection is not kept.
   *
   * @throws EINVAL if one of the three is not a multiple of the io page or it is too high, ENOMEM for too much (earlier
   * kernels: 2^24 io pages), what `onMap` throws, and (strict) a plain `Error` if a part is mapped already.
   */
  map(iova: U64Input, physical: U64Input, size: U64Input, _protection?: number): void {
    const request = {
      iova: this.#aligned('iova', iova),
      physical: this.#aligned('physical', physical),
      size: this.#aligned('size', size),
    };
    if (request.size > 0n) this.#table.map(request);
  }

  /**
   * Unmaps `size` bytes at `iova`, whether or not they are mapped.
   *
   * @throws (strict) a plain `Error` if `iova` or `size` is not a multiple of the io page, or the range begins or ends in
   * the middle of an entry; under earlier kernels, without huge pages, in the middle of what a map call mapped.
   */
  unmap(iova: U64Input, size: U64Input): void {
    const [from, length] = [readValue(iova, 'iova'), readValue(size, 'size')];
    if (length === 0n) return;
    if ((from | length) % this.#ioPage !== 0n) {
      this.#warn(`unmap of ${hex(length)} bytes at ${hex(from)} is not in whole io pages`);
      return;
    }
    this.#table.unmap(from, length);
  }

  /** The physical address behind `iova`, or `undefined` if nothing is mapped there. Any byte address. */
  iovaToPhys(iova: U64Input): bigint | undefined {
    return this.#table.physicalAt(readValue(iova, 'iova'));
  }

  /**
   * What the test driver's DIRTY does, a simulated device: for each set bit n of `bitmap` (bit n mod 8 of byte n
   * div 8) marks the entry at `iova + n * pageSize`, if it is mapped, and gives the number of those; under later
   * kernels, of all set bits.
   *
   * Earlier kernels look the io page up by that address divided by `pageSize`: another page size than the io page reaches
   * other io pages, mostly none.
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
      if (this.#table.markPage(address, step) || this.#countsUnmapped) marked += 1;
    }
    return marked;
  }

  /** The end of the domain. @throws (strict) a plain `Error` if something is still mapped. */
  free(): void {
    if (this.mappedBytes > 0n) this.#warn(`the domain ends with ${this.mappedBytes} bytes mapped`);
    this.#table.clear();
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
  readonly #table: MockTable;
  #tracking = false;

  constructor(table: MockTable) {
    this.#table = table;
  }

  get tracking(): boolean {
    return this.#tracking;
  }

  setTracking(enable: boolean): void {
    this.#tracking = enable;
  }

  mark(iova: U64Input, size: U64Input): void {
    const [from, length] = [readValue(iova, 'iova'), readValue(size, 'size')];
    if (this.#tracking && length > 0n) this.#table.mark(from, length);
  }

  readAndClear(
    iova: U64Input,
    size: U64Input,
    keep: boolean,
    report: ((iova: bigint, size: bigint) => void) | undefined,
  ): void {
    this.#table.readAndClear(readValue(iova, 'iova'), readValue(size, 'size'), keep, report);
  }
}

/** Every power of two from the smallest entry to the largest. */
function sizesFrom(smallest: bigint): bigint[] {
  const sizes: bigint[] = [];
  for (let size = smallest; size <= LARGEST_ENTRY; size *= 2n) sizes.push(size);
  return sizes;
}
