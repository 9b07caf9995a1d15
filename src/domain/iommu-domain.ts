/**
 * The driver side of a page table: an IOMMU domain, which translates a device's addresses.
 */

import { invalidType, outOfRange } from '../arguments.js';
import type { FrameRuns } from '../memory/frame-runs.js';
import { MAX_U64 } from '../u64.js';

/** An IOMMU page table that an `IoPagetable` fills with its areas. All operations are synchronous. */
export interface IommuDomain {
  /** Bit mask of the supported page sizes in bytes (the kernel's `pgsize_bitmap`). Its lowest bit is the io page. */
  readonly pageSizeBitmap: bigint;

  /** First and last IOVA (inclusive) that the domain can translate. */
  readonly aperture: { readonly start: bigint; readonly last: bigint };

  /**
   * Maps `size` bytes at `iova` to the physical address `physical`; all three are multiples of the io page.
   * Splits the request into the largest page sizes that fit. Maps all or nothing.
   *
   * @param protection - bits: 1 read, 2 write
   * @throws the domain's own error, best an `IommuError` (EINVAL, ENOMEM …); the call that caused it fails with it.
   */
  map(iova: bigint, physical: bigint, size: bigint, protection: number): void;

  /** Unmaps `size` bytes at `iova`: exactly what one or several `map` calls mapped. Never fails. */
  unmap(iova: bigint, size: bigint): void;

  /**
   * Waits until no device uses a translation any more that it got before an `unmap`, as an IOTLB flush does: gives a
   * promise, or nothing if no device does. Called after each unmap, before the frames are unpinned and the call that
   * unmaps succeeds. Absent: devices use no translation after it is gone.
   *
   * - While it waits, the call waits, and cannot be aborted; other calls go on, but for what is being unmapped.
   * - If it throws, or its promise rejects, which it never should, the call fails with that. What was unmapped stays
   *   unmapped, and its frames stay pinned for good, as a device may be using them. A domain that is being removed is
   *   gone all the same.
   * - A call that cannot wait (`unmapSync`) asks also before it unmaps. It gives EAGAIN for a promise, and what `flush`
   *   throws; nothing has changed then.
   * - A map that a later domain refuses is undone with it, too. It fails with what that domain threw, not with EAGAIN; a
   *   map that cannot wait does not wait for the flush, which goes on behind it.
   */
  flush?(): PromiseLike<void> | void;

  /**
   * For a call that cannot wait and whose devices run at the same time, so that what `flush` says may not last: takes
   * [start, last] away from devices as `unmap` does, with everything still mapped, if none of them uses a
   * translation. Gives a function that gives back to them what is mapped there by then; or nothing, with nothing changed,
   * if `flush` would have to wait: the call gives EAGAIN then. Meanwhile `flush` need not wait because of that range.
   *
   * It cannot wait: a promise is not waited for. If it throws, the call fails with that, and nothing has changed. What it
   * gives is called once and never throws; if it does, the call fails with that.
   */
  hide?(start: bigint, last: bigint): (() => void) | undefined;

  /** The physical address behind `iova`, or `undefined` if nothing is mapped there. Any byte address. */
  iovaToPhys(iova: bigint): bigint | undefined;

  /**
   * What a device's access to `iova` meets, or `undefined` if nothing is mapped there. Any byte address. A domain
   * that keeps no permissions leaves it out; devices may then read and write whatever is mapped.
   */
  translate?(iova: bigint): Translation | undefined;

  /** Bytes that are mapped now, where the domain counts them. */
  readonly mappedBytes?: bigint;

  /** Dirty tracking, where the domain has it. */
  readonly dirty?: DirtyOperations;

  /**
   * The same operations on whole 4096-byte pages, in page numbers instead of bigints. A domain whose io page is
   * at most a CPU page may offer them; the table then uses them wherever a request is page aligned.
   */
  readonly pages?: PageOperations;
}

/** What a domain knows of an address. */
export interface Translation {
  /** The physical address. */
  readonly physical: bigint;
  /** What a device may do: bits 1 read, 2 write. */
  readonly protection: number;
  /** Bytes from the address to the end of its page, whatever the page's size: their translations follow on. */
  readonly length: bigint;
}

/** `IommuDomain`'s operations in units of 4096-byte pages; page and frame numbers are below 2^52. */
export interface PageOperations {
  /**
   * Maps frames to consecutive io-virtual pages from `iovaPage` on: frames `from` to `from + count − 1` of
   * `frames`, run by run. Maps all or nothing.
   *
   * @throws as `IommuDomain.map`
   */
  map(iovaPage: number, frames: FrameRuns, from: number, count: number, protection: number): void;

  /** Unmaps `count` pages from `iovaPage` on. Never fails. */
  unmap(iovaPage: number, count: number): void;

  /**
   * Appends the frames behind `count` mapped pages from `iovaPage` on to `into`.
   *
   * @throws EFAULT if one of them is not mapped; nothing is appended then.
   */
  frames(iovaPage: number, count: number, into: FrameRuns): void;
}

/** A domain's dirty tracking: one mark per mapped page, whatever its size, set when a device writes. */
export interface DirtyOperations {
  /** Whether tracking is on. */
  readonly tracking: boolean;

  /** Switches tracking on or off. Marks stay as they are. */
  setTracking(enable: boolean): void;

  /**
   * What a device's write leaves behind: marks the mapped io pages that [iova, iova + size) touches. Nothing
   * while tracking is off.
   */
  mark(iova: bigint, size: bigint): void;

  /**
   * Visits the dirty pages that [iova, iova + size) touches, clearing their marks unless `keep` is set, also while
   * tracking is off. Of a page that reaches out of the range a domain may split off what is inside, or take the page as a
   * whole: then all of it is reported, and all of it is clean.
   *
   * @param report - called with each dirty page's start and size in bytes, ascending; `undefined` only clears.
   * It may not change the domain.
   */
  readAndClear(
    iova: bigint,
    size: bigint,
    keep: boolean,
    report: ((iova: bigint, size: bigint) => void) | undefined,
  ): void;
}

const FUNCTIONS = ['map', 'unmap', 'iovaToPhys'] as const;

/** @throws TypeError or RangeError if `domain` lacks what every `IommuDomain` has. */
export function checkDomain(domain: IommuDomain, name: string): void {
  for (const part of FUNCTIONS) {
    if (typeof domain?.[part] !== 'function')
      throw invalidType(domain, name, `an IommuDomain: it has no ${part}`);
  }
  const { pageSizeBitmap, aperture } = domain;
  const parts = { pageSizeBitmap, 'aperture.start': aperture?.start, 'aperture.last': aperture?.last };
  for (const [part, value] of Object.entries(parts)) {
    if (typeof value !== 'bigint') throw invalidType(value, `${name}.${part}`, 'a bigint');
    if (value < 0n || value > MAX_U64) throw outOfRange(value, `${name}.${part}`, 'between 0 and 2^64 - 1');
  }
  if (pageSizeBitmap === 0n) throw outOfRange(0n, `${name}.pageSizeBitmap`, 'at least one page size');
  if (aperture.start > aperture.last) {
    throw outOfRange(aperture.last, `${name}.aperture.last`, 'at or above its start');
  }
}
