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
  invalidType,
  readProtection,
  readRange,
  readU64,
} from './arguments.js';
import { checkDomain, type IommuDomain } from './domain/iommu-domain.js';
import { during, wouldWait } from './errors.js';
import type { Explanation } from './explain/explanation.js';
import type { ExplainRequest } from './explain/request.js';
import { checkFaults, type FaultInjector } from './faults.js';
import { checkTable } from './inspect/check.js';
import { snapshotTable, type TableSnapshot } from './inspect/snapshot.js';
import { logDomain } from './log.js';
import type { DmaBuf } from './memory/dma-buf.js';
import { ACCOUNTING_MODES, type AccountingMode } from './memory/locked-memory.js';
import { checkSource, type UserFile } from './memory/user-file.js';
import { checkMemory, type UserMemory } from './memory/user-memory.js';
import {
  type Abortable,
  finishQuickly,
  type Operation,
  type QuickCall,
  quickCall,
  start,
  startQuickly,
} from './operation.js';
import type { Protection } from './protection.js';
import { type ProfileName, readProfile } from './rules.js';
import { type PhysicalRange, readContiguous } from './table/contiguous.js';
import { cutAreas } from './table/cut.js';
import { type BitSink, readDirty, setDirtyTracking } from './table/dirty.js';
import { addDomain, removeDomain } from './table/domains.js';
import { IovaSpace } from './table/iova-space.js';
import { setLargePages } from './table/large-pages.js';
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
import { withBoth, withIova } from './table/table-locks.js';
import { unmapRange } from './table/unmap.js';
import { unmapNow } from './table/unmap-now.js';
import { advised, CopyCall, MapCall, UnmapAllCall, UnmapCall } from './table-calls.js';
import { type Address, firstOf, join, lastOf, type U64Input } from './u64.js';

/** How a table is made. */
export interface IoPagetableOptions {
  /** The memory that `map` maps; each call can name another. */
  readonly memory?: UserMemory;
  /** Whose behaviour; by default the newest Linux's. */
  readonly profile?: ProfileName | undefined;
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
  /** A file is mapped with other options: `MapFileOptions`. */
  readonly file?: undefined;
}

/** What to map of a file or of a dma-buf, and where. */
export interface MapFileOptions extends Abortable {
  /** Where to; absent: the lowest free IOVA that suits the offset in the file, as the kernel chooses it. */
  readonly iova?: U64Input | undefined;
  /** The file or the dma-buf. */
  readonly file: UserFile | DmaBuf;
  /** Offset of the first byte in it. */
  readonly start: U64Input;
  /** Bytes. */
  readonly length: U64Input;
  /** What devices may do with it, whatever the file's descriptor or its seals allow. */
  readonly prot: Protection;
  /** The process that is charged for pinned pages of a file; absent: the table's. */
  readonly memory?: UserMemory | undefined;
  /** Which of its counters is charged; absent: as the table says. */
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
export interface ReadDirtyOptions extends Abortable {
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
    const { memory, accounting = 'user', faults } = options;
    const profile = readProfile(options.profile, 'options.profile');
    checkWord(accounting, 'options.accounting', ACCOUNTING_MODES);
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
   * With a `file` it maps pages of that instead, or a dma-buf (IOMMU_IOAS_MAP_FILE). Neither the size of a file nor what it is
   * matters before it is pinned. A dma-buf is never pinned; when its exporter revokes it, it is gone from all domains for good.
   *
   * @throws EINVAL if the length is 0 or above 2^64 − 1 − 4096, if the IOVA, the length or the user address is not a
   * multiple of the alignment, or a reservation is in the way; EOVERFLOW if the user memory reaches 2^64 or the IOVA
   * passes 2^64 − 1; EEXIST if an area is in the way; ENOSPC if no hole fits; EFAULT if a page cannot be pinned; ENOMEM
   * at the locked-memory limit; and what a domain throws. Nothing has changed then. Profiles may have other errnos for
   * what is in the way: ENOENT for a reservation, EADDRINUSE for an area. Of a file: EINVAL if a page cannot be pinned. Of a
   * dma-buf: EINVAL if the range is not inside of it, ENODEV if it is revoked, both before anything of the table is looked at.
   */
  map(options: MapOptions | MapFileOptions): Promise<bigint> {
    return startQuickly(() => this.#map(options), options);
  }

  /** As `map`, now. @throws EAGAIN where it would have to wait, with nothing changed; else as `map` */
  mapSync(options: MapOptions | MapFileOptions): bigint {
    return finishQuickly(this.#map(options), wouldWait);
  }

  #map(options: MapOptions | MapFileOptions): QuickCall<bigint> {
    checkObject(options, 'options');
    const { memory = this.#memory, accounting = this.#accounting, file } = options;
    if (file !== undefined) checkSource(file, 'options.file');
    else if (memory === undefined)
      throw invalidType(memory, 'options.memory', 'a UserMemory, as the table has none');
    if (memory !== undefined && memory !== this.#memory) checkMemory(memory, 'options.memory');
    checkWord(accounting, 'options.accounting', ACCOUNTING_MODES);
    const iova = options.iova === undefined ? undefined : readU64(options.iova, 'options.iova');
    const from =
      file === undefined
        ? readU64((options as MapOptions).uptr, 'options.uptr')
        : readU64((options as MapFileOptions).start, 'options.start');
    const length = readU64(options.length, 'options.length');
    const prot = readProtection(options.prot, 'options.prot');
    return new MapCall(this, { memory, file, accounting, from, length, iova, prot });
  }

  /**
   * Maps again what is mapped in a table already (IOMMU_IOAS_COPY) and gives the IOVA. The pages are shared: what is
   * pinned is not pinned again. Any part of one or several adjacent areas can be copied (with some profiles: one whole area);
   * each becomes an area.
   *
   * @throws EINVAL, EOVERFLOW if the source range is empty or passes 2^64 − 1; ENOENT if it is not wholly mapped;
   * EPERM for `w` if the memory was first mapped without; else as `map`. Nothing has changed then.
   */
  copy(options: CopyOptions): Promise<bigint> {
    return startQuickly(() => this.#copy(options), options);
  }

  /** As `copy`, now. @throws EAGAIN where it would have to wait, with nothing changed; else as `copy` */
  copySync(options: CopyOptions): bigint {
    return finishQuickly(this.#copy(options), wouldWait);
  }

  #copy(options: CopyOptions): QuickCall<bigint> {
    checkObject(options, 'options');
    if (!(options.from instanceof IoPagetable))
      throw invalidType(options.from, 'options.from', 'an IoPagetable');
    const from = options.from.state;
    const srcIova = readU64(options.srcIova, 'options.srcIova');
    const iova = options.iova === undefined ? undefined : readU64(options.iova, 'options.iova');
    const length = readU64(options.length, 'options.length');
    const prot = readProtection(options.prot, 'options.prot');
    return new CopyCall(this, options.from, { from, srcIova, length, iova, prot });
  }

  /**
   * Unmaps all areas in [iova, iova + length) (IOMMU_IOAS_UNMAP) and gives their bytes together: 0 if there is none.
   * Accesses with pins in an area are asked to let go first.
   *
   * @throws EINVAL if the length is 0; EOVERFLOW if the range passes 2^64 − 1; ENOENT at an area that reaches
   * outside the range; EBUSY at one that another call sets up or tears down, or that a hardware queue is in; EDEADLOCK if an access does not let
   * go. Areas before it are gone then; the error's `unmapped` has their bytes. Profiles may want
   * exactly one area, and answer ENOENT for all else, or refuse what is pinned with EBUSY.
   */
  unmap(iova: U64Input, length: U64Input, options?: Abortable): Promise<bigint> {
    return startQuickly(() => this.#unmap(iova, length, unmapRange), options);
  }

  /**
   * As `unmap`, now.
   *
   * @throws EAGAIN where it would have to wait, which includes every area that accesses have pins in, and all areas
   * while a reader of a shared domain may be using translations, with nothing changed; else as `unmap`
   */
  unmapSync(iova: U64Input, length: U64Input): bigint {
    return finishQuickly(this.#unmap(iova, length, unmapNow), wouldWait);
  }

  #unmap(iova: U64Input, length: U64Input, rest: typeof unmapRange): QuickCall<bigint> {
    return new UnmapCall(this, readU64(iova, 'iova'), readU64(length, 'length'), rest);
  }

  /** Unmaps everything. @throws EBUSY, EDEADLOCK as `unmap` */
  unmapAll(options?: Abortable): Promise<bigint> {
    return startQuickly(() => new UnmapAllCall(this, unmapRange), options);
  }

  /** As `unmapAll`, now. @throws EAGAIN as `unmapSync`; EBUSY as `unmap` */
  unmapAllSync(): bigint {
    return finishQuickly(new UnmapAllCall(this, unmapNow), wouldWait);
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
    const { write, onUnmap } = options;
    checkFlag(write, 'options.write');
    checkCallback(onUnmap, 'options.onUnmap');
    try {
      return yield* pinForUse(this, checkedInterval(from, bytes), { write, onUnmap });
    } catch (error) {
      throw advised(this, during(error, 'access', from, bytes), { call: 'access', iova, length, write });
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
      const geometry = checkDomain(domain, 'domain');
      if (logDomain.enabled) logDomain('add a domain to %d others', this.state.domains.length);
      yield* addDomain(this.state, domain, geometry);
    } catch (error) {
      throw advised(this, during(error, 'addDomain'), { call: 'addDomain', domain });
    }
  }

  /**
   * Empties a domain and detaches it; pages that nobody else holds are unpinned. Does nothing for an unknown one. Once
   * it has the table's locks a signal does not stop it any more.
   */
  removeDomain(domain: IommuDomain, options?: Abortable): Promise<void> {
    return start(this.removingDomain(domain), options);
  }

  /**
   * Reserves a range (both bounds inclusive): nothing can be mapped there.
   *
   * @param options - `owner` is any object, by which `removeReservedIova` finds the range again
   * @throws EADDRINUSE if an area or an allowed range is in the way
   */
  reserveIova(options: IovaRange & Abortable & { readonly owner?: object | null }): Promise<void> {
    return start(this.#reserve(options), options);
  }

  *#reserve(options: IovaRange & { readonly owner?: object | null }): Operation<void> {
    const range = readRange(options, 'options');
    const { owner = null } = options;
    checkOwner(owner, 'options.owner');
    yield* this.#withIova('reserveIova', () => reserve(this.state, range, owner));
  }

  /** Removes all reservations of an owner. */
  removeReservedIova(owner: object | null, options?: Abortable): Promise<void> {
    return start(this.removingReservedIova(owner), options);
  }

  /**
   * Replaces the list of allowed ranges (IOMMU_IOAS_ALLOW_IOVAS; both bounds inclusive): automatic placement stays
   * inside, and they cannot become reserved. Fixed maps are not bound by it; an empty list lifts it.
   *
   * @throws EINVAL if a range has fewer than two bytes or two intersect, EADDRINUSE if one meets a reservation; the
   * old list stays then.
   */
  setAllowedIova(ranges: readonly IovaRange[], options?: Abortable): Promise<void> {
    return start(this.#setAllowed(ranges), options);
  }

  *#setAllowed(ranges: readonly IovaRange[]): Operation<void> {
    if (!Array.isArray(ranges)) throw invalidType(ranges, 'ranges', 'an array');
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
  iovaRanges(options?: Abortable): Promise<{ ranges: { start: bigint; last: bigint }[]; alignment: number }> {
    return start(this.#iovaRanges(), options);
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
   * @throws EINVAL if a region is empty, EOVERFLOW if one passes 2^64 − 1; nothing has changed then. EADDRINUSE if an
   * area or an allowed range is in the way, EINVAL if a software MSI region stands beside another MSI region: all
   * reservations of the device are removed then, as in the kernel also earlier ones.
   */
  enforceReservedRegions(
    device: object,
    regions: readonly ReservedRegion[],
    options?: Abortable,
  ): Promise<{ swMsiStart: bigint | undefined }> {
    return start(this.#enforce(device, regions), options);
  }

  *#enforce(
    device: object,
    regions: readonly ReservedRegion[],
  ): Operation<{ swMsiStart: bigint | undefined }> {
    checkObject(device, 'device');
    if (!Array.isArray(regions)) throw invalidType(regions, 'regions', 'an array');
    const read = Array.from(regions, (region: ReservedRegion, at) => {
      const name = `regions[${at}]`;
      checkObject(region, name);
      checkWord(region.type, `${name}.type`, REGION_TYPES);
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
  setLargePages(enable: boolean, options?: Abortable): Promise<void> {
    return start(this.settingLargePages(enable), options);
  }

  /**
   * Splits areas: each address becomes the last byte of the left part; addresses in no area are skipped.
   *
   * @throws EBUSY if an area is being set up, torn down or unmapped; EOPNOTSUPP if it is of a dma-buf; EINVAL if a cut is not aligned, an access has
   * pins in the area, or the table has domains and large pages. Cuts made before stay.
   */
  cutIova(addresses: readonly U64Input[], options?: Abortable): Promise<void> {
    return start(this.#cut(addresses), options);
  }

  *#cut(addresses: readonly U64Input[]): Operation<void> {
    if (!Array.isArray(addresses)) throw invalidType(addresses, 'addresses', 'an array');
    const read: Address[] = Array.from(addresses, (value: U64Input, at) =>
      readU64(value, `addresses[${at}]`),
    );
    try {
      yield* cutAreas(this.state, read);
    } catch (error) {
      throw during(error, 'cutIova');
    }
  }

  /**
   * Switches the dirty tracking of a domain; enabling it forgets what was dirty before.
   *
   * @throws EOPNOTSUPP if the domain cannot track
   */
  setDirtyTracking(domain: IommuDomain, enable: boolean, options?: Abortable): Promise<void> {
    return start(this.#setDirtyTracking(domain, enable), options);
  }

  *#setDirtyTracking(domain: IommuDomain, enable: boolean): Operation<void> {
    this.#checkDomain(domain, 'domain');
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
    return start(this.#readDirty(options), options);
  }

  *#readDirty(options: ReadDirtyOptions): Operation<void> {
    checkObject(options, 'options');
    const { domain, bitmap, keep = false } = options;
    this.#checkDomain(domain, 'options.domain');
    checkBoolean(keep, 'options.keep');
    if (!(bitmap instanceof Uint8Array || typeof bitmap === 'function')) {
      throw invalidType(bitmap, 'options.bitmap', 'a Uint8Array or a function');
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
   * waited for, as is the code that explains: it is loaded when it is first asked for. What cannot be foreseen is an
   * error of a domain's own, and whether accesses let go (`letGo`).
   *
   * @param options - has the signal; absent: the request has it, as the options of `map` and `copy` do
   * @throws TypeError or RangeError as the call
   */
  explain(request: ExplainRequest & Abortable, options: Abortable = request): Promise<Explanation> {
    return start(this.#explain(request), options);
  }

  *#explain(request: ExplainRequest): Operation<Explanation> {
    checkObject(request, 'request');
    // What is asked must not change while the code that reads it is loaded.
    const asked = { ...request };
    const explainRequest = (yield loadExplainRequest) as Awaited<ReturnType<typeof loadExplainRequest>>;
    const table = { table: this.state, memory: this.#memory, accounting: this.#accounting };
    return yield* explainRequest(asked, table);
  }

  // The calls as parts of larger operations

  /** @internal */
  mapping(options: MapOptions | MapFileOptions): Operation<bigint> {
    return quickCall(() => this.#map(options));
  }

  /** @internal */
  copying(options: CopyOptions): Operation<bigint> {
    return quickCall(() => this.#copy(options));
  }

  /** @internal */
  unmapping(iova: U64Input, length: U64Input): Operation<bigint> {
    return quickCall(() => this.#unmap(iova, length, unmapRange));
  }

  /** @internal */
  unmappingAll(): Operation<bigint> {
    return quickCall(() => new UnmapAllCall(this, unmapRange));
  }

  /** @internal */
  addingDomain(domain: IommuDomain): Operation<void> {
    return this.#addDomain(domain);
  }

  /** @internal */
  *removingDomain(domain: IommuDomain): Operation<void> {
    try {
      this.#checkDomain(domain, 'domain');
      yield* removeDomain(this.state, domain);
    } catch (error) {
      throw during(error, 'removeDomain');
    }
  }

  /** @internal */
  *removingReservedIova(owner: object | null): Operation<void> {
    checkOwner(owner, 'owner');
    yield* this.#withIova('removeReservedIova', () => removeReservations(this.state, owner));
  }

  /** @internal */
  settingAllowedIova(ranges: readonly IovaRange[]): Operation<void> {
    return this.#setAllowed(ranges);
  }

  /** @internal */
  listingIovaRanges(): Operation<{ ranges: { start: bigint; last: bigint }[]; alignment: number }> {
    return this.#iovaRanges();
  }

  /** @internal */
  readingContiguous(
    iova: Address,
    most: bigint,
    check: (domain: IommuDomain | undefined) => IommuDomain,
  ): Operation<PhysicalRange> {
    return readContiguous(this.state, iova, most, check);
  }

  /** @internal */
  enforcingReservedRegions(
    device: object,
    regions: readonly ReservedRegion[],
  ): Operation<{ swMsiStart: bigint | undefined }> {
    return this.#enforce(device, regions);
  }

  /** @internal */
  *settingLargePages(enable: boolean): Operation<void> {
    checkBoolean(enable, 'enable');
    try {
      yield* withBoth(this.state, () => setLargePages(this.state, enable));
    } catch (error) {
      throw during(error, 'setLargePages');
    }
  }

  /** @internal */
  cuttingIova(addresses: readonly U64Input[]): Operation<void> {
    return this.#cut(addresses);
  }

  /** @internal */
  settingDirtyTracking(domain: IommuDomain, enable: boolean): Operation<void> {
    return this.#setDirtyTracking(domain, enable);
  }

  /** @internal */
  readingDirty(options: ReadDirtyOptions): Operation<void> {
    return this.#readDirty(options);
  }

  /** The table as plain data that JSON can hold: addresses are hex strings, bounds inclusive. */
  snapshot(): TableSnapshot {
    return snapshotTable(this.state);
  }

  /** Checks every invariant of the table. @throws InvariantError naming the one that is broken */
  check(): void {
    checkTable(this.state);
  }

  /** A domain of the table has been checked; it need not say the same again. */
  #checkDomain(domain: IommuDomain, name: string): void {
    if (!this.state.geometries.has(domain)) checkDomain(domain, name);
  }

  *#withIova<T>(syscall: string, step: () => T): Operation<T> {
    try {
      return yield* withIova(this.state, step);
    } catch (error) {
      throw during(error, syscall);
    }
  }
}

/** Few programs ask for explanations; the others need not load what makes them. */
async function loadExplainRequest() {
  const { explainRequest } = await import('./explain/explain.js');
  return explainRequest;
}

function checkOwner(owner: object | null, name: string): void {
  if (owner !== null) checkObject(owner, name);
}
