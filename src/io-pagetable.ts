/**
 * `IoPagetable`: which I/O virtual addresses a device may use, and which pages of a process are behind them.
 */
import { type PinnedRange, type PinnedRangeOptions, pinForUse } from './access/pinned-range.js';
import {
  checkBoolean,
  checkCallback,
  checkedInterval,
  checkFlag,
  checkObject,
  checkWord,
  type IovaRange,
  readProtection,
  readRange,
} from './arguments.js';
import { checkDomain, type IommuDomain } from './domain/iommu-domain.js';
import { during, IommuError, wouldWait } from './errors.js';
import type { Explanation } from './explain/explanation.js';
import { type ExplainRequest, readRequest } from './explain/request.js';
import { checkFaults, type FaultInjector } from './faults.js';
import { checkTable } from './inspect/check.js';
import { snapshotTable, type TableSnapshot } from './inspect/snapshot.js';
import { logCopy, logDomain, logMap, logUnmap } from './log.js';
import { ACCOUNTING_MODES, type AccountingMode } from './memory/locked-memory.js';
import { checkMemory, type UserMemory } from './memory/user-memory.js';
import {
  type Abortable,
  finishStep,
  followed,
  guarded,
  type Operation,
  type Outcome,
  start,
  startStep,
} from './operation.js';
import type { Protection } from './protection.js';
import { copyPages } from './table/copy.js';
import { cutAreas } from './table/cut.js';
import { type BitSink, readDirty, setDirtyTracking } from './table/dirty.js';
import { addDomain, removeDomain } from './table/domains.js';
import { IovaSpace } from './table/iova-space.js';
import { setLargePages } from './table/large-pages.js';
import { mapUserMemory } from './table/map.js';
import {
  allowedTree,
  type DeviceRegion,
  type ReservedRegion,
  type ReservedRegionType,
  removeReservations,
  replaceAllowed,
  reserve,
  reserveRegions,
  usableRanges,
} from './table/reservations.js';
import { releaseBoth, tryWriteBoth, writeBoth } from './table/table-locks.js';
import type { Profile } from './table/table-state.js';
import { unmapEverything, unmapExactly, unmapNow, unmapRange } from './table/unmap.js';
import {
  type Address,
  firstOf,
  hex,
  invalidType,
  join,
  lastOf,
  readU64,
  type U64Input,
  WHOLE_SPACE,
} from './u64.js';

/** How a table is made. */
export interface IoPagetableOptions {
  /** The memory that `map` maps; each call can name another. */
  readonly memory?: UserMemory;
  /** Whose behaviour: Linux 6.12's (`'linux'`, the default) or the first public patch's of 2022 (`'rfc-v1'`). */
  readonly profile?: Profile;
  /** Who is charged for pinned pages: `'user'` (the default), `'mm'` (the process) or `'none'`. */
  readonly accounting?: AccountingMode;
  /** What makes calls fail, in tests: see `FaultCounter` of `io-pagetable/testing`. */
  readonly faults?: FaultInjector;
}

/** What to map, and where. */
export interface MapOptions extends Abortable {
  /** Where to; absent: the lowest free IOVA that suits the user memory, as the kernel chooses it. */
  readonly iova?: U64Input | undefined;
  /** User address of the first byte. */
  readonly uptr: U64Input;
  /** Bytes. */
  readonly length: U64Input;
  /** What devices may do with it. `''` maps without any permission, as VFIO allows. */
  readonly prot: Protection;
  /** The memory `uptr` is an address of; absent: the table's. */
  readonly memory?: UserMemory | undefined;
  /** Who is charged; absent: as the table says. */
  readonly accounting?: AccountingMode | undefined;
}

/** What to copy, and where. */
export interface CopyOptions extends Abortable {
  /** The table to copy from; may be the same one. */
  readonly from: IoPagetable;
  /** First IOVA of the source. */
  readonly srcIova: U64Input;
  /** Where to; absent: chosen as by `map`. */
  readonly iova?: U64Input | undefined;
  /** Bytes. */
  readonly length: U64Input;
  /** What devices may do with the copy; `w` only if the memory was first mapped with it. */
  readonly prot: Protection;
}

/** A request to read dirty bits. */
export interface ReadDirtyOptions {
  /** The domain whose marks are read. */
  readonly domain: IommuDomain;
  /** First IOVA. */
  readonly iova: U64Input;
  /** Bytes. */
  readonly length: U64Input;
  /** Bytes that one bit of the bitmap stands for. */
  readonly pageSize: U64Input;
  /**
   * Bit n (byte n / 8, bit n % 8) stands for `pageSize` bytes at iova + n · pageSize. Bits are only ever set. A
   * function is told which bits those are.
   */
  readonly bitmap: Uint8Array | BitSink;
  /** Leave the marks in the domain as they are. */
  readonly keep?: boolean | undefined;
}

const REGION_TYPES: readonly ReservedRegionType[] = [
  'direct',
  'direct-relaxable',
  'reserved',
  'msi',
  'sw-msi',
];

/** An I/O virtual address space with its areas, reservations and domains (the kernel's `io_pagetable`). */
export class IoPagetable extends IovaSpace {
  readonly #memory: UserMemory | undefined;
  readonly #accounting: AccountingMode;

  constructor(options: IoPagetableOptions = {}) {
    checkObject(options, 'options');
    const { memory, profile = 'linux', accounting = 'user', faults } = options;
    checkWord(profile, ['linux', 'rfc-v1'], 'options.profile');
    checkWord(accounting, ACCOUNTING_MODES, 'options.accounting');
    if (memory !== undefined) checkMemory(memory, 'options.memory');
    checkFaults(faults);
    super(profile, faults);
    this.#memory = memory;
    this.#accounting = accounting;
  }

  /**
   * Maps user memory (IOMMU_IOAS_MAP) and gives the IOVA.
   *
   * While the table has no domain nothing is pinned; with domains every page is, once, before the call succeeds.
   *
   * @throws EINVAL if the length is 0 or above 2^64 − 1 − 4096, if the IOVA, the length or the user address is not a
   * multiple of the alignment, or a reservation is in the way (`rfc-v1`: ENOENT); EOVERFLOW if the user memory
   * reaches 2^64 or the IOVA passes 2^64 − 1; EEXIST if an area is in the way (`rfc-v1`: EADDRINUSE); ENOSPC if no
   * hole fits; EFAULT if a page cannot be pinned; ENOMEM at the locked-memory limit; and what a domain throws.
   * Nothing has changed then.
   */
  map(options: MapOptions): Promise<bigint> {
    return startStep(() => this.#map(options), options);
  }

  /** As `map`, now. @throws EAGAIN where it would have to wait, with nothing changed; else as `map` */
  mapSync(options: MapOptions): bigint {
    return finishStep(this.#map(options), wouldWait);
  }

  #map(options: MapOptions): Outcome<bigint> {
    checkObject(options, 'options');
    const { memory = this.#memory, accounting = this.#accounting } = options;
    if (memory === undefined)
      throw invalidType('options.memory', 'a UserMemory, as the table has none', memory);
    if (memory !== this.#memory) checkMemory(memory, 'options.memory');
    checkWord(accounting, ACCOUNTING_MODES, 'options.accounting');
    const iova = options.iova === undefined ? undefined : readU64(options.iova, 'options.iova');
    const uptr = readU64(options.uptr, 'options.uptr');
    const length = readU64(options.length, 'options.length');
    const prot = readProtection(options.prot, 'options.prot');
    const request = { memory, accounting, uptr, length, iova, prot };
    const mapped = guarded(
      () => mapUserMemory(this.state, request),
      (error) => this.#advised(during(error, 'map', iova, length), { call: 'map', ...options }),
    );
    if (!logMap.enabled) return mapped;
    return followed(mapped, (at) =>
      logMap('%s + %s at %s %s', hex(uptr), hex(length), hex(at), options.prot),
    );
  }

  /**
   * Maps again what is mapped in a table already (IOMMU_IOAS_COPY) and gives the IOVA. The pages are shared: what is
   * pinned is not pinned again. Any part of one or several adjacent areas can be copied (`rfc-v1`: one whole area);
   * each becomes an area.
   *
   * @throws EINVAL, EOVERFLOW if the source range is empty or passes 2^64 − 1; ENOENT if it is not wholly mapped;
   * EPERM for `w` if the memory was first mapped without; else as `map`. Nothing has changed then.
   */
  copy(options: CopyOptions): Promise<bigint> {
    return startStep(() => this.#copy(options), options);
  }

  /** As `copy`, now. @throws EAGAIN where it would have to wait, with nothing changed; else as `copy` */
  copySync(options: CopyOptions): bigint {
    return finishStep(this.#copy(options), wouldWait);
  }

  #copy(options: CopyOptions): Outcome<bigint> {
    checkObject(options, 'options');
    if (!(options.from instanceof IoPagetable))
      throw invalidType('options.from', 'an IoPagetable', options.from);
    const from = options.from.state;
    const srcIova = readU64(options.srcIova, 'options.srcIova');
    const iova = options.iova === undefined ? undefined : readU64(options.iova, 'options.iova');
    const length = readU64(options.length, 'options.length');
    const prot = readProtection(options.prot, 'options.prot');
    const request = { from, srcIova, length, iova, prot };
    const copied = guarded(
      () => copyPages(this.state, request),
      (error) => this.#advised(during(error, 'copy', iova ?? srcIova, length), { call: 'copy', ...options }),
    );
    if (!logCopy.enabled) return copied;
    return followed(copied, (at) =>
      logCopy('%s + %s to %s %s', hex(srcIova), hex(length), hex(at), options.prot),
    );
  }

  /**
   * Unmaps all areas in [iova, iova + length) (IOMMU_IOAS_UNMAP) and gives their bytes together: 0 if there is none.
   * Accesses with pins in an area are asked to let go first.
   *
   * @throws EINVAL if the length is 0; EOVERFLOW if the range passes 2^64 − 1; ENOENT at an area that reaches
   * outside the range; EBUSY at one that another call sets up or tears down; EDEADLOCK if an access does not let
   * go. Areas before it are gone then; the error's `unmapped` has their bytes. `rfc-v1`: ENOENT unless the range is
   * exactly one area, EBUSY if that is pinned.
   */
  unmap(iova: U64Input, length: U64Input, options?: Abortable): Promise<bigint> {
    return startStep(() => this.#unmap(iova, length, false), options);
  }

  /**
   * As `unmap`, now.
   *
   * @throws EAGAIN where it would have to wait, which includes every area that accesses have pins in, and all areas
   * while a reader of a shared domain may be using translations, with nothing changed; else as `unmap`
   */
  unmapSync(iova: U64Input, length: U64Input): bigint {
    return finishStep(this.#unmap(iova, length, true), wouldWait);
  }

  #unmap(iova: U64Input, length: U64Input, now: boolean): Outcome<bigint> {
    const from = readU64(iova, 'iova');
    const bytes = readU64(length, 'length');
    const unmap = this.profile === 'linux' ? unmapRange : unmapExactly;
    const unmapped = guarded(
      () => {
        const range = checkedInterval(from, bytes);
        return now ? unmapNow(this.state, range, unmap) : unmap(this.state, range);
      },
      (error) => this.#advised(during(error, 'unmap', from, bytes), { call: 'unmap', iova, length }),
    );
    if (!logUnmap.enabled) return unmapped;
    return followed(unmapped, (gone) => logUnmap('%s + %s: %s bytes', hex(from), hex(bytes), hex(gone)));
  }

  /** Unmaps everything. @throws EBUSY, EDEADLOCK as `unmap` */
  unmapAll(options?: Abortable): Promise<bigint> {
    return startStep(() => this.#unmapAll(false), options);
  }

  /** As `unmapAll`, now. @throws EAGAIN as `unmapSync`; EBUSY as `unmap` */
  unmapAllSync(): bigint {
    return finishStep(this.#unmapAll(true), wouldWait);
  }

  #unmapAll(now: boolean): Outcome<bigint> {
    const unmap = this.profile === 'linux' ? unmapRange : unmapEverything;
    return guarded(
      () => (now ? unmapNow(this.state, WHOLE_SPACE, unmap) : unmap(this.state, WHOLE_SPACE)),
      (error) => during(error, 'unmapAll'),
    );
  }

  /**
   * Pins a range for use through the CPU and gives a handle with its pages; the handle is an access of its own.
   * While it lives the alignment of the table is 4096.
   *
   * @throws EADDRINUSE if an area is not page aligned; else as `IoptAccess.pin`. Nothing is pinned then.
   */
  access(iova: U64Input, length: U64Input, options: PinnedRangeOptions = {}): Promise<PinnedRange> {
    return start(this.#access(iova, length, options), options);
  }

  *#access(iova: U64Input, length: U64Input, options: PinnedRangeOptions): Operation<PinnedRange> {
    const from = readU64(iova, 'iova');
    const bytes = readU64(length, 'length');
    checkObject(options, 'options');
    checkFlag(options.write, 'options.write');
    checkCallback(options.onUnmap, 'options.onUnmap');
    try {
      return yield* pinForUse(this, checkedInterval(from, bytes), options);
    } catch (error) {
      const { write } = options;
      throw this.#advised(during(error, 'access', from, bytes), { call: 'access', iova, length, write });
    }
  }

  /**
   * Attaches a domain: reserves what its aperture leaves out, fills it with all areas, and keeps it in step.
   *
   * @throws EEXIST if it is attached already; EINVAL if its smallest page is larger than 4096 bytes; EADDRINUSE if an
   * area does not fit its page size or its aperture, or an allowed range its aperture; EFAULT, ENOMEM from
   * pinning; and what the domain throws. Nothing has changed then.
   */
  addDomain(domain: IommuDomain, options?: Abortable): Promise<void> {
    return start(this.#addDomain(domain), options);
  }

  *#addDomain(domain: IommuDomain): Operation<void> {
    try {
      yield* this.#withBoth('addDomain', () => {
        checkDomain(domain, 'domain');
        if (logDomain.enabled) logDomain('add a domain to %d others', this.state.domains.length);
        return addDomain(this.state, domain);
      });
    } catch (error) {
      throw this.#advised(error, { call: 'addDomain', domain });
    }
  }

  /** Empties a domain and detaches it; pages that nobody else holds are unpinned. Does nothing for an unknown one. */
  removeDomain(domain: IommuDomain): Promise<void> {
    return this.#exclusively('removeDomain', () => {
      checkDomain(domain, 'domain');
      return removeDomain(this.state, domain);
    });
  }

  /**
   * Reserves a range (both bounds inclusive): nothing can be mapped there.
   *
   * @param options - `owner` is any object, by which `removeReservedIova` finds the range again
   * @throws EADDRINUSE if an area or an allowed range is in the way
   */
  reserveIova(options: IovaRange & { readonly owner?: object | null }): Promise<void> {
    return start(
      this.#withIova('reserveIova', () => {
        const range = readRange(options, 'options');
        const { owner = null } = options;
        checkOwner(owner, 'options.owner');
        reserve(this.state, range, owner);
      }),
    );
  }

  /** Removes all reservations of an owner. */
  removeReservedIova(owner: object | null): Promise<void> {
    return start(
      this.#withIova('removeReservedIova', () => {
        checkOwner(owner, 'owner');
        removeReservations(this.state, owner);
      }),
    );
  }

  /**
   * Replaces the list of allowed ranges (IOMMU_IOAS_ALLOW_IOVAS; both bounds inclusive): automatic placement stays
   * inside, and they cannot become reserved. Fixed maps are not bound by it; an empty list lifts it.
   *
   * @throws EINVAL if a range has fewer than two bytes or two intersect, EADDRINUSE if one meets a reservation; the
   * old list stays then.
   */
  setAllowedIova(ranges: readonly IovaRange[]): Promise<void> {
    return start(this.#setAllowed(ranges));
  }

  *#setAllowed(ranges: readonly IovaRange[]): Operation<void> {
    if (!Array.isArray(ranges)) throw invalidType('ranges', 'an array', ranges);
    const read = Array.from(ranges, (range: IovaRange, at) => {
      checkObject(range, `ranges[${at}]`);
      const first = readU64(range.start, `ranges[${at}].start`);
      const last = readU64(range.last, `ranges[${at}].last`);
      return { ...first, lastPage: last.page, lastOffset: last.offset };
    });
    yield* this.#withIova('setAllowedIova', () =>
      replaceAllowed(this.state, allowedTree(read, this.state.faults)),
    );
  }

  /** What is not reserved (IOMMU_IOAS_IOVA_RANGES), ascending, both bounds inclusive, and the alignment in force. */
  iovaRanges(): Promise<{ ranges: { start: bigint; last: bigint }[]; alignment: number }> {
    return start(this.#iovaRanges());
  }

  *#iovaRanges(): Operation<{ ranges: { start: bigint; last: bigint }[]; alignment: number }> {
    const { iovaLock } = this.state;
    if (!iovaLock.tryRead()) yield () => iovaLock.read();
    const ranges = usableRanges(this.state).map((range) => {
      const [first, last] = [firstOf(range), lastOf(range)];
      return { start: join(first.page, first.offset), last: join(last.page, last.offset) };
    });
    const { alignment } = this.state;
    iovaLock.releaseRead();
    return { ranges, alignment };
  }

  /**
   * Reserves the regions of a device, with the device as their owner; direct-relaxable ones are left out. Gives the
   * start of its software MSI window, if it has one.
   *
   * @throws EADDRINUSE if an area or an allowed range is in the way; EINVAL if a software MSI region stands beside
   * another MSI region, or a region is empty; EOVERFLOW if one passes 2^64 − 1. All reservations of the device are
   * removed then, as in the kernel also earlier ones.
   */
  enforceReservedRegions(
    device: object,
    regions: readonly ReservedRegion[],
  ): Promise<{ swMsiStart: bigint | undefined }> {
    return start(this.#enforce(device, regions));
  }

  *#enforce(
    device: object,
    regions: readonly ReservedRegion[],
  ): Operation<{ swMsiStart: bigint | undefined }> {
    checkObject(device, 'device');
    if (!Array.isArray(regions)) throw invalidType('regions', 'an array', regions);
    const read = Array.from(regions, (region: ReservedRegion, at) => {
      const name = `regions[${at}]`;
      checkObject(region, name);
      checkWord(region.type, REGION_TYPES, `${name}.type`);
      const first = readU64(region.start, `${name}.start`);
      return { first, length: readU64(region.length, `${name}.length`), type: region.type };
    });
    return yield* this.#withIova('enforceReservedRegions', () => {
      const checked = read.map(({ first, length, type }): DeviceRegion => {
        return { range: checkedInterval(first, length), type };
      });
      const software = reserveRegions(this.state, device, checked);
      return { swMsiStart: software && join(software.page, software.offset) };
    });
  }

  /**
   * Lets domains use page sizes above 4096 bytes, or not (IOMMU_OPTION_HUGE_PAGES). Without them areas can be split.
   *
   * @throws when disabling: EINVAL if the table has a domain and an area, EADDRINUSE if an area is not page aligned.
   */
  setLargePages(enable: boolean): Promise<void> {
    return this.#exclusively('setLargePages', () => {
      checkBoolean(enable, 'enable');
      setLargePages(this.state, enable);
    });
  }

  /**
   * Splits areas: each address becomes the last byte of the left part; addresses in no area are skipped.
   *
   * @throws EBUSY if an area is being set up, torn down or unmapped; EINVAL if a cut is not aligned, an access has
   * pins in the area, or the table has domains and large pages. Cuts made before stay.
   */
  cutIova(addresses: readonly U64Input[]): Promise<void> {
    return start(this.#cut(addresses));
  }

  *#cut(addresses: readonly U64Input[]): Operation<void> {
    if (!Array.isArray(addresses)) throw invalidType('addresses', 'an array', addresses);
    const read: Address[] = Array.from(addresses, (value: U64Input, at) =>
      readU64(value, `addresses[${at}]`),
    );
    const { iovaLock } = this.state;
    try {
      if (!iovaLock.tryWrite()) yield () => iovaLock.write();
      try {
        yield* cutAreas(this.state, read);
      } finally {
        iovaLock.releaseWrite();
      }
    } catch (error) {
      throw during(error, 'cutIova');
    }
  }

  /**
   * Switches the dirty tracking of a domain; enabling it forgets what was dirty before.
   *
   * @throws EOPNOTSUPP if the domain cannot track
   */
  setDirtyTracking(domain: IommuDomain, enable: boolean): Promise<void> {
    return start(this.#setDirtyTracking(domain, enable));
  }

  *#setDirtyTracking(domain: IommuDomain, enable: boolean): Operation<void> {
    checkDomain(domain, 'domain');
    checkBoolean(enable, 'enable');
    try {
      yield* setDirtyTracking(this.state, domain, enable);
    } catch (error) {
      throw during(error, 'setDirtyTracking');
    }
  }

  /**
   * Reads which pages devices have written, and clears the marks unless told to keep them. Only the mapped run that
   * begins at `iova` is reported: the walk ends silently at the first gap, or where the domain refuses.
   *
   * @throws EINVAL if the length or the page size is 0 or the range is not a multiple of the alignment and of the
   * page size; EOVERFLOW if it passes 2^64 − 1; EOPNOTSUPP if the domain cannot track. No mark has changed then.
   */
  readDirty(options: ReadDirtyOptions): Promise<void> {
    return start(this.#readDirty(options));
  }

  *#readDirty(options: ReadDirtyOptions): Operation<void> {
    checkObject(options, 'options');
    const { domain, bitmap, keep = false } = options;
    checkDomain(domain, 'options.domain');
    checkBoolean(keep, 'options.keep');
    if (!(bitmap instanceof Uint8Array || typeof bitmap === 'function')) {
      throw invalidType('options.bitmap', 'a Uint8Array or a function', bitmap);
    }
    const iova = readU64(options.iova, 'options.iova');
    const length = readU64(options.length, 'options.length');
    const pageSize = readU64(options.pageSize, 'options.pageSize');
    try {
      yield* readDirty(this.state, { domain, iova, length, pageSize, bitmap, keep });
    } catch (error) {
      throw during(error, 'readDirty', iova, length);
    }
  }

  /**
   * Says what a call would do, without doing it: would it succeed, and if not, with which errno, because of which
   * check and which object in the way, and what near to it would. The call is run on a copy of what it can see, so
   * the answer is the call's own; it holds for this moment, with other calls in progress stopped where they are.
   *
   * Nothing changes. Memory that the call would pin is pinned and unpinned on the way; memory that answers later is
   * waited for, as is the code that explains: it is loaded when it is first asked for. What cannot be foreseen is an error of a domain's own, and whether accesses let go (`letGo`).
   *
   * @throws TypeError or RangeError as the call
   */
  explain(request: ExplainRequest): Promise<Explanation> {
    return start(this.#explain(request));
  }

  *#explain(request: ExplainRequest): Operation<Explanation> {
    const asked = { table: this.state, memory: this.#memory, accounting: this.#accounting };
    const { subject, call } = readRequest(request, asked);
    const explainCall = (yield loadExplainCall) as Awaited<ReturnType<typeof loadExplainCall>>;
    return yield* explainCall(subject, call);
  }

  /** Lets an error be asked for advice. Nothing is worked out before that. */
  #advised(error: unknown, request: ExplainRequest): unknown {
    if (error instanceof IommuError) error.adviseBy(async () => (await this.explain(request)).text);
    return error;
  }

  /** The table as plain data that JSON can hold: addresses are hex strings, bounds inclusive. */
  snapshot(): TableSnapshot {
    return snapshotTable(this.state);
  }

  /** Checks every invariant of the table. @throws InvariantError naming the one that is broken */
  check(): void {
    checkTable(this.state);
  }

  #exclusively(syscall: string, begin: () => Operation<void> | void): Promise<void> {
    return start(this.#withBoth(syscall, begin));
  }

  *#withBoth(syscall: string, begin: () => Operation<void> | void): Operation<void> {
    try {
      if (!tryWriteBoth(this.state)) yield* writeBoth(this.state);
      try {
        const operation = begin();
        if (operation !== undefined) yield* operation;
      } finally {
        releaseBoth(this.state);
      }
    } catch (error) {
      throw during(error, syscall);
    }
  }

  *#withIova<T>(syscall: string, step: () => T): Operation<T> {
    const { iovaLock } = this.state;
    try {
      if (!iovaLock.tryWrite()) yield () => iovaLock.write();
      try {
        return step();
      } finally {
        iovaLock.releaseWrite();
      }
    } catch (error) {
      throw during(error, syscall);
    }
  }
}

/** Few programs ask for explanations; the others need not load what makes them. */
async function loadExplainCall() {
  const { explainCall } = await import('./explain/explain.js');
  return explainCall;
}

function checkOwner(owner: object | null, name: string): void {
  if (owner !== null) checkObject(owner, name);
}
