/**
 * An iommufd: the context in which address spaces, page tables, devices and accesses live, as a program that has
 * opened `/dev/iommu` sees it.
 *
 * The methods here take and give values as TypeScript programs have them. The commands they call, one function each
 * in the files of this folder, take the fields and flag bits of the kernel's structs and hold all the rules.
 */
import {
  checkBoolean,
  checkInteger,
  checkObject,
  checkWord,
  type IovaRange,
  invalidType,
  readProtection,
  readValue,
} from '../arguments.js';
import type { IommuDomain } from '../domain/iommu-domain.js';
import { checkFaults, type FaultInjector } from '../faults.js';
import type { IoPagetable } from '../io-pagetable.js';
import type { DmaBuf } from '../memory/dma-buf.js';
import { checkSource, type UserFile } from '../memory/user-file.js';
import { checkMemory, type UserMemory } from '../memory/user-memory.js';
import { type Abortable, type Operation, start } from '../operation.js';
import { type Protection, READ, WRITE } from '../protection.js';
import { type Profile, type ProfileName, readProfile } from '../rules.js';
import type { PhysicalRange } from '../table/contiguous.js';
import type { U64Input } from '../u64.js';
import { type AccessOptions, IommufdAccess } from './access-object.js';
import { BoundDevice } from './bound-device.js';
import { type Caller, readCaller } from './caller.js';
import { ioasChangeProcess } from './change-process.js';
import { checkObjects } from './check.js';
import { Context, type ContextAccounting } from './context.js';
import {
  bitmapFor,
  GET_DIRTY_BITMAP,
  getDirtyBitmap,
  SET_DIRTY_TRACKING,
  setDirtyTracking,
} from './dirty.js';
import type { ReadData } from './driver-data.js';
import { DriverObject, type DriverObjectParts } from './driver-object.js';
import { GET_HW_INFO, getHwInfo, type HwInfo } from './hw-info.js';
import { HwQueue, hwQueueAlloc } from './hw-queue.js';
import { HwPagetable } from './hwpt.js';
import { HWPT_ALLOC, hwptAlloc } from './hwpt-alloc.js';
import { Ioas } from './ioas.js';
import {
  IOAS_MAP,
  type IovaRanges,
  ioasAlloc,
  ioasAllowIovas,
  ioasCopy,
  ioasIovaRanges,
  ioasMap,
  ioasMapFile,
  ioasUnmap,
} from './ioas-commands.js';
import type { IommuDevice } from './iommu-device.js';
import { type LockedBytesAnswer, type LockedBytesQuestion, lockedBytesIfMapped } from './locked-bytes.js';
import { checkNoIommu, NoIommuDevice, noIommuGetPa } from './no-iommu.js';
import { type IommufdObject, noSuchId, type ObjectType } from './object-table.js';
import { OPTION, OPTION_OP, option } from './option.js';
import {
  VFIO_IOAS_OP,
  VFIO_UNMAP,
  vfioCheckExtension,
  vfioIoas,
  vfioMap,
  vfioSetIommu,
  vfioUnmap,
} from './vfio.js';
import { type VfioInfo, vfioInfo } from './vfio-info.js';
import { Viommu, viommuAlloc } from './viommu.js';

const LARGEST_U32 = 0xffff_ffff;

/** How an iommufd is opened. */
export interface IommufdOptions extends Caller {
  /** Whose behaviour its address spaces have; by default the newest Linux's. */
  readonly profile?: ProfileName | undefined;
  /**
   * Whom mappings of callers without CAP_IPC_LOCK charge for pinned pages: the user (default) or the process
   * (`'mm'`, as when the device was opened through the VFIO container node). `option` changes it.
   */
  readonly accounting?: ContextAccounting;
  /**
   * Whether devices that have no IOMMU can be bound (`NoIommuDevice`), as in a kernel built with that option. Default
   * false.
   */
  readonly noIommu?: boolean | undefined;
  /** What makes calls fail, in tests: see `FaultCounter` of `io-pagetable/testing`. */
  readonly faults?: FaultInjector;
}

/** What `ioasMap` takes. */
export interface IoasMapRequest extends Caller, Abortable {
  /** Id of the address space. */
  readonly ioas: number;
  /** User address of the first byte. */
  readonly uptr: U64Input;
  /** Number of bytes. */
  readonly length: U64Input;
  /** What devices may do. */
  readonly prot: Protection;
  /** Where to map; absent: the lowest place that fits is chosen, as the kernel does. */
  readonly iova?: U64Input | undefined;
}

/** What `ioasMapFile` takes. */
export interface IoasMapFileRequest extends Caller, Abortable {
  /** Id of the address space. */
  readonly ioas: number;
  /** The file or the dma-buf. */
  readonly file: UserFile | DmaBuf;
  /** Offset of the first byte in it. */
  readonly start: U64Input;
  /** Number of bytes. */
  readonly length: U64Input;
  /** What devices may do. */
  readonly prot: Protection;
  /** Where to map; absent: the lowest place that fits is chosen, as the kernel does. */
  readonly iova?: U64Input | undefined;
}

/** What `ioasCopy` takes. */
export interface IoasCopyRequest extends Abortable {
  /** Id of the address space to copy from. */
  readonly from: number;
  /** First IOVA of the source. */
  readonly srcIova: U64Input;
  /** Id of the address space to copy to; may be the same. */
  readonly to: number;
  /** Where to map; absent: chosen. */
  readonly iova?: U64Input | undefined;
  /** Number of bytes. */
  readonly length: U64Input;
  /** What devices may do; not more than the first mapping of the pages asked for in `prot: '…w'`. */
  readonly prot: Protection;
}

/** What `ioasUnmap` takes. */
export interface IoasUnmapRequest extends Abortable {
  /** Id of the address space. */
  readonly ioas: number;
  /** First byte of the range. */
  readonly iova: U64Input;
  /** Number of bytes. */
  readonly length: U64Input;
}

/** What `vfioMap` takes. */
export interface VfioMapRequest extends Caller, Abortable {
  /** Where to map. */
  readonly iova: U64Input;
  /** User address of the first byte. */
  readonly uptr: U64Input;
  /** Number of bytes. */
  readonly length: U64Input;
  /** What devices may do. */
  readonly prot: Protection;
}

/** What `vfioUnmap` takes. */
export interface VfioUnmapRequest extends Abortable {
  /** First byte of the range; default 0. */
  readonly iova?: U64Input | undefined;
  /** Number of bytes; default 0. */
  readonly length?: U64Input | undefined;
  /** Everything, whatever is mapped where. */
  readonly all?: boolean | undefined;
}

/** What `getDirtyBitmap` takes. */
export interface DirtyBitmapRequest extends Abortable {
  /** Id of the page table. */
  readonly hwpt: number;
  /** First byte of the range. */
  readonly iova: U64Input;
  /** Number of bytes. */
  readonly length: U64Input;
  /** Bytes that one bit of the bitmap stands for. */
  readonly pageSize: U64Input;
  /** Where to set bits; absent: a new bitmap. Bits past its end are dropped. */
  readonly bitmap?: Uint8Array | undefined;
  /** Leave the marks as they are. */
  readonly noClear?: boolean | undefined;
}

/** A context of address spaces and what uses them (the kernel's iommufd). */
export class Iommufd implements AsyncDisposable {
  /** @internal */
  readonly context: Context;

  /**
   * Opens a context.
   *
   * `memory` is the memory of the process that opens it, where user addresses point unless a call says otherwise.
   */
  constructor(options: IommufdOptions = {}) {
    checkObject(options, 'options');
    const { profile: asked, accounting = 'user', noIommu = false, faults } = options;
    const profile = readProfile(asked, 'options.profile');
    checkBoolean(noIommu, 'options.noIommu');
    checkWord(accounting, 'options.accounting', ['user', 'mm']);
    const caller = readCaller(options, 'options');
    checkFaults(faults);
    this.context = new Context(caller, { profile, noIommu }, accounting, faults);
  }

  /** Whose behaviour it has. A name that stands for the newest kernel has become that one's. */
  get profile(): Profile {
    return this.context.profile;
  }

  // Objects

  /**
   * Destroys the object with an id: an address space with all its mappings, or a page table.
   *
   * @throws ENOENT if there is no such object, EBUSY if it is in use: an address space by page tables or accesses, a
   * page table by devices, devices and accesses by their drivers, any object by a call in progress; as
   * `IoPagetable.unmapAll` where a program has attached an access to an address space's table itself. The object stays
   * then and can be destroyed later, an address space perhaps with fewer mappings.
   */
  destroy(id: number, options?: Abortable): Promise<void> {
    return this.context.perform('destroy', this.#destroy(id), options);
  }

  *#destroy(id: number): Operation<void> {
    const { objects } = this.context;
    const object = objects.find(id);
    if (object === undefined) throw noSuchId(id);
    yield* objects.destruction(object);
  }

  /**
   * Adds an object of a driver, which has an id like the others and goes with DESTROY and `close`.
   *
   * @param make - called with the id, which is free again if it fails
   * @returns the id
   */
  addDriverObject(make: (id: number) => Promise<DriverObjectParts>, options?: Abortable): Promise<number> {
    return this.context.perform('object', this.#addDriverObject(make), options);
  }

  *#addDriverObject(make: (id: number) => Promise<DriverObjectParts>): Operation<number> {
    if (typeof make !== 'function') throw invalidType(make, 'make', 'a function');
    const { objects, callbacks } = this.context;
    const making = function* (id: number): Operation<DriverObject> {
      return new DriverObject(id, callbacks, yield* callbacks.answer(() => make(id)));
    };
    return (yield* objects.creation(making)).id;
  }

  /**
   * Closes the context: waits for the calls in progress, then releases what drivers added, accesses (their callbacks
   * are called), devices, page tables and address spaces. Nothing of it is pinned or charged afterwards. Done twice,
   * the second call waits for the first one, and releases what that had to leave.
   *
   * A signal that stops it while it waits for calls in progress leaves the context open. While it releases, the signal
   * is heard where an access is asked to let go: what has been released is gone, and `close` can be called again.
   *
   * @throws EDEADLOCK, and closes nothing, if a callback calls it: it would wait for the call that waits for the
   * callback. (A callback that is called because the context is closing has nothing to wait for.) Behind the first
   * `await` of a callback, browsers cannot tell, and the call waits for ever.
   * AggregateError with what callbacks and drivers threw meanwhile; all has been released but what a program that has
   * attached an access to an address space's table itself holds on to.
   */
  async close(options?: Abortable): Promise<void> {
    const signal = options?.signal;
    const closing = this.context.close(() => this.#releaseAll(signal));
    await start(closing, { signal });
  }

  *#releaseAll(signal: AbortSignal | undefined): Operation<void> {
    const { objects } = this.context;
    const order: readonly ObjectType<IommufdObject>[] = [
      DriverObject,
      HwQueue,
      Viommu,
      IommufdAccess,
      BoundDevice,
      HwPagetable,
      Ioas,
    ];
    const complaints: unknown[] = [];
    for (const type of order) {
      for (const object of objects.remaining(type)) {
        try {
          yield* object.exclusively(objects.removal(object));
        } catch (error) {
          if (signal?.aborted && objects.has(object)) throw error;
          complaints.push(error);
        }
      }
    }
    if (complaints.length > 0) throw new AggregateError(complaints, 'not all drivers let go in good order');
  }

  /** As `close`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /**
   * The table of an address space, for inspection and for what the ioctls don't offer.
   *
   * @throws ENOENT if there is no such address space.
   */
  ioasTable(ioas: number): IoPagetable {
    return this.context.objects.get(ioas, Ioas).table;
  }

  /**
   * The domain of a page table: what translates for its devices.
   *
   * @throws ENOENT if there is no such page table.
   */
  hwptDomain(hwpt: number): IommuDomain {
    return this.context.objects.get(hwpt, HwPagetable).domain;
  }

  /**
   * Checks all tables and the bookkeeping of the objects; to be called while no call is in progress.
   *
   * @throws InvariantError naming what is broken.
   */
  check(): void {
    checkObjects(this.context);
  }

  // Address spaces

  /** IOAS_ALLOC: makes an address space and gives its id. */
  ioasAlloc(): Promise<number> {
    return this.context.run('ioas_alloc', () => ioasAlloc(this.context, { flags: 0 }));
  }

  /**
   * IOAS_IOVA_RANGES: the IOVA that is not reserved.
   *
   * @param request - `max`: room for so many ranges; absent: for all
   * @throws ENOENT if there is no such address space; EMSGSIZE if there are more ranges than `max`: the error is a
   * `PartialAnswerError` with the first ones and their total.
   */
  ioasIovaRanges(
    request: { readonly ioas: number; readonly max?: number | undefined } & Abortable,
  ): Promise<IovaRanges> {
    return this.context.run('ioas_iova_ranges', () => {
      checkObject(request, 'request');
      const { ioas, max, signal } = request;
      const numIovas = max === undefined ? Number.POSITIVE_INFINITY : Number(readValue(max, 'request.max'));
      return ioasIovaRanges(this.context, { ioasId: ioas, numIovas }, { signal });
    });
  }

  /**
   * IOAS_ALLOW_IOVAS: replaces the list of ranges that may not become reserved, and that automatic placement keeps to;
   * none: no such list.
   *
   * @throws ENOENT if there is no such address space, EINVAL if a range has fewer than two bytes or meets another,
   * EADDRINUSE if one meets a reserved range. The old list stays then.
   */
  ioasAllowIovas(
    request: { readonly ioas: number; readonly ranges: Iterable<IovaRange> } & Abortable,
  ): Promise<void> {
    return this.context.run('ioas_allow_iovas', () => {
      checkObject(request, 'request');
      const { ioas, ranges, signal } = request;
      // A string is iterable, too, but has no ranges.
      if (typeof ranges !== 'object' || typeof ranges?.[Symbol.iterator] !== 'function') {
        throw invalidType(ranges, 'request.ranges', 'an iterable');
      }
      return ioasAllowIovas(this.context, { ioasId: ioas, ranges }, { signal });
    });
  }

  /**
   * IOAS_MAP: maps user memory and gives the IOVA.
   *
   * @throws EOVERFLOW if `iova` or `length` is 2^64 − 1, EINVAL if `prot` is empty, ENOENT if there is no such address
   * space, and as `IoPagetable.map`. Nothing has changed then.
   */
  ioasMap(request: IoasMapRequest): Promise<bigint> {
    return this.context.run('ioas_map', () => {
      const caller = readCaller(request, 'request');
      const { ioas, uptr, length, iova, prot, signal } = request;
      const flags = mapFlags(prot, iova);
      const fields = { flags, ioasId: ioas, userVa: uptr, length, iova: iova ?? 0n };
      return ioasMap(this.context, fields, { ...caller, signal });
    });
  }

  /**
   * IOAS_MAP_FILE: maps pages of a file, or a dma-buf, and gives the IOVA. The caller is charged for pages that are pinned.
   *
   * @throws EOVERFLOW if `iova` or `length` is 2^64 − 1, EINVAL if `prot` is empty, ENOENT if there is no such address
   * space, and as `IoPagetable.map` with a file. Nothing has changed then.
   */
  ioasMapFile(request: IoasMapFileRequest): Promise<bigint> {
    return this.context.run('ioas_map_file', () => {
      const caller = readCaller(request, 'request');
      const { ioas, file, start: from, length, iova, prot, signal } = request;
      checkSource(file, 'request.file');
      const flags = mapFlags(prot, iova);
      const fields = { flags, ioasId: ioas, file, start: from, length, iova: iova ?? 0n };
      return ioasMapFile(this.context, fields, { ...caller, signal });
    });
  }

  /**
   * IOAS_CHANGE_PROCESS: hands everything that is mapped over to another process, as when a VMM is replaced by its
   * successor. Only files can be handed over. Pages that are pinned are charged to the process from now on, and no longer to who had
   * them; those that are pinned later will be. Nothing is unmapped meanwhile.
   *
   * @param memory - of the process that calls
   * @throws EBUSY at an area that another call sets up or tears down, EINVAL at one that is not of a file; ENOMEM if the
   * process may not lock so much: it is charged before others get something back, so one user needs room for all of it
   * twice. Nothing has changed then.
   */
  changeProcess(memory: UserMemory, options?: Abortable): Promise<void> {
    return this.context.run('ioas_change_process', () => {
      checkMemory(memory, 'memory');
      return ioasChangeProcess(this.context, { reserved: 0 }, { memory, signal: options?.signal });
    });
  }

  /**
   * IOAS_COPY: maps what another address space has mapped and gives the IOVA. The pages are shared: what is pinned
   * is not pinned again.
   *
   * @throws EOVERFLOW if an IOVA or the length is 2^64 − 1, EINVAL if `prot` is empty, ENOENT if an address space does
   * not exist, and as `IoPagetable.copy`. Nothing has changed then.
   */
  ioasCopy(request: IoasCopyRequest): Promise<bigint> {
    return this.context.run('ioas_copy', () => {
      checkObject(request, 'request');
      const { from, srcIova, to, iova, length, prot, signal } = request;
      const flags = mapFlags(prot, iova);
      const fields = { flags, dstIoasId: to, srcIoasId: from, length, srcIova, dstIova: iova ?? 0n };
      return ioasCopy(this.context, fields, { signal });
    });
  }

  /**
   * IOAS_UNMAP: unmaps all areas inside a range and gives their bytes together; with `iova` 0 and `length` 2^64 − 1
   * everything there is, which may be nothing.
   *
   * @throws ENOENT if there is no such address space or nothing is mapped in the range, EOVERFLOW if `iova` or
   * `length` is 2^64 − 1 otherwise, and as `IoPagetable.unmap`. Areas below the one that failed are gone; the error's
   * `unmapped` has their bytes.
   */
  ioasUnmap(request: IoasUnmapRequest): Promise<bigint> {
    return this.context.run('ioas_unmap', () => {
      checkObject(request, 'request');
      const { ioas, iova, length, signal } = request;
      return ioasUnmap(this.context, { ioasId: ioas, iova, length }, { signal });
    });
  }

  /**
   * OPTION: reads a setting, or changes it where a `value` is given; gives the value, 0 or 1.
   *
   * `'rlimit-mode'`: whom mappings charge, 0 the user or 1 the process. `'huge-pages'` of an address space: whether its
   * page tables may use pages above 4096 bytes.
   *
   * @throws EINVAL for another value. Mode: EPERM without CAP_SYS_RESOURCE, EBUSY if there are objects already. Huge
   * pages: ENOENT if there is no such address space, and as `IoPagetable.setLargePages`. Nothing has changed then.
   */
  option(request: IommufdOptionRequest): Promise<bigint> {
    return this.context.run('option', () => {
      const caller = readCaller(request, 'request');
      const { option: name, ioas, value, signal } = request;
      checkWord(name, 'request.option', ['rlimit-mode', 'huge-pages']);
      const fields = {
        optionId: name === 'rlimit-mode' ? OPTION.RLIMIT_MODE : OPTION.HUGE_PAGES,
        op: value === undefined ? OPTION_OP.GET : OPTION_OP.SET,
        objectId: name === 'rlimit-mode' ? 0 : ioas,
        value: value === undefined ? 0n : readValue(value, 'request.value'),
      };
      return option(this.context, fields, { ...caller, signal });
    });
  }

  /**
   * IOAS_NOIOMMU_GET_PA: where a device that has no IOMMU finds what is mapped at `iova`. Gives the physical address, and
   * how many bytes from there on are physically consecutive: at most `length`, and inside of one area.
   *
   * @throws EOPNOTSUPP if the context was opened without the `noIommu` option, EPERM without CAP_SYS_RAWIO, EINVAL for a
   * length of 0, EOVERFLOW if `iova` is 2^64 − 1, ENOENT if there is no such address space or nothing is mapped there,
   * EINVAL if that is a dma-buf that has been taken back, EOPNOTSUPP if the first page table of the address space is not
   * one of devices without IOMMU.
   */
  ioasNoiommuGetPa(
    request: {
      readonly ioas: number;
      readonly iova: U64Input;
      readonly length: U64Input;
    } & Caller &
      Abortable,
  ): Promise<PhysicalRange> {
    return this.context.run('ioas_noiommu_get_pa', () => {
      const caller = readCaller(request, 'request');
      const { ioas, iova, length, signal } = request;
      const fields = { flags: 0, reserved: 0, ioasId: ioas, iova, length };
      return noIommuGetPa(this.context, fields, { ...caller, signal });
    });
  }

  /**
   * What if: how many bytes would these mappings lock, in each accounting mode? Nothing is mapped.
   *
   * @throws ENOENT if an address space does not exist or the source of a copy is not wholly mapped, EINVAL for a
   * length of 0, EOVERFLOW for a range that passes 2^64 − 1.
   */
  lockedBytesIfMapped(question: LockedBytesQuestion): Promise<LockedBytesAnswer> {
    return this.context.run('locked_bytes', async () => lockedBytesIfMapped(this.context, question));
  }

  // Devices and page tables

  /**
   * Binds a device to the context; attaching it is up to the result.
   *
   * @param caller - who binds it, if it is not who opened the context
   * @throws for a `NoIommuDevice` EOPNOTSUPP if the context was opened without the `noIommu` option, and EPERM without
   * CAP_SYS_RAWIO.
   */
  deviceBind(device: IommuDevice, caller?: Caller): Promise<BoundDevice> {
    const { context } = this;
    return context.run('device_bind', async () => {
      checkObject(device, 'device');
      if (typeof device.createDomain !== 'function') throw invalidType(device, 'device', 'an IommuDevice');
      const binder = caller && readCaller(caller, 'caller');
      if (device instanceof NoIommuDevice) checkNoIommu(context, binder);
      return await start(context.objects.creation((id) => new BoundDevice(id, context, device)));
    });
  }

  /**
   * GET_HW_INFO: what a bound device tells about its IOMMU.
   *
   * @param request - `device`: id of the bound device; `type`: which type of data is wanted; absent: whatever it has
   * @throws ENOENT if there is no such bound device, EOPNOTSUPP if it has no data of the type, or the profile is of a
   * kernel that cannot be asked for one.
   */
  getHwInfo(request: { readonly device: number; readonly type?: number | undefined }): Promise<HwInfo> {
    return this.context.run('get_hw_info', () => {
      checkObject(request, 'request');
      const { device, type } = request;
      if (type !== undefined) checkInteger(type, 'request.type', 0, LARGEST_U32);
      const flags = type === undefined ? 0 : GET_HW_INFO.TYPE_WANTED;
      return getHwInfo(this.context, { flags, devId: device, outDataType: type ?? 0 });
    });
  }

  /**
   * HWPT_ALLOC: makes a page table for a device on an address space and gives its id. It lives until it is destroyed;
   * devices are attached to it by its id.
   *
   * @param request - `device`: id of a bound device; `dirtyTracking`: it must be able to track dirty pages;
   * `nestParent`: it may become the parent of nested tables and virtual IOMMUs; `pasid`: single address spaces of devices
   * can be attached to it; `data`: what the device's driver is told
   * @throws ENOENT if there is no such device, EINVAL if there is no such address space, EOPNOTSUPP for dirty tracking
   * that the device lacks, data that its driver does not take and what the profile's kernel does not know, EINVAL for a
   * length of data that it does not take, what the device's driver throws, and as `IoPagetable.addDomain`. No id is used
   * up then.
   */
  hwptAlloc(
    request: {
      readonly device: number;
      readonly ioas: number;
      readonly dirtyTracking?: boolean | undefined;
      readonly nestParent?: boolean | undefined;
      readonly pasid?: boolean | undefined;
      readonly data?: { readonly type: number; readonly bytes: Uint8Array } | undefined;
    } & Abortable,
  ): Promise<number> {
    return this.context.run('hwpt_alloc', () => {
      checkObject(request, 'request');
      const {
        device,
        ioas,
        nestParent = false,
        dirtyTracking = false,
        pasid = false,
        data,
        signal,
      } = request;
      checkBoolean(nestParent, 'request.nestParent');
      checkBoolean(dirtyTracking, 'request.dirtyTracking');
      checkBoolean(pasid, 'request.pasid');
      const flags =
        (nestParent ? HWPT_ALLOC.NEST_PARENT : 0) |
        (dirtyTracking ? HWPT_ALLOC.DIRTY_TRACKING : 0) |
        (pasid ? HWPT_ALLOC.ALLOC_PASID : 0);
      const fields = { flags, devId: device, ptId: ioas, faultId: 0, ...readData(data) };
      return hwptAlloc(this.context, fields, undefined, { signal });
    });
  }

  /**
   * VIOMMU_ALLOC: makes a virtual IOMMU, what a guest is given of a device's IOMMU, and gives its id. It keeps its page
   * table in use, and is kept in use by its hardware queues.
   *
   * @param request - `device`: id of a bound device; `type`: which kind of virtual IOMMU, as its driver numbers them;
   * `hwpt`: id of a page table made with `nestParent`; `data`: what the driver is told, and writes its answer into
   * @throws ENOENT if there is no such device, EOPNOTSUPP if it has no virtual IOMMU of this type, ENOENT if there is no
   * such page table, EINVAL if that is no nesting parent or the data has a wrong length, and what the driver throws. No id
   * is used up then.
   */
  viommuAlloc(
    request: {
      readonly device: number;
      readonly type: number;
      readonly hwpt: number;
      readonly data?: Uint8Array | undefined;
    } & Abortable,
  ): Promise<number> {
    return this.context.run('viommu_alloc', () => {
      checkObject(request, 'request');
      const { device, type, hwpt, data, signal } = request;
      checkInteger(type, 'request.type', 0, LARGEST_U32);
      const { dataLen, readData: read } = readData(data === undefined ? undefined : { type, bytes: data });
      const writeData = (bytes: Uint8Array) => data?.set(bytes);
      const fields = { flags: 0, type, devId: device, hwptId: hwpt, dataLen, readData: read, writeData };
      return viommuAlloc(this.context, fields, { signal });
    });
  }

  /**
   * HW_QUEUE_ALLOC: makes a hardware queue of a virtual IOMMU, in memory that is mapped for the guest, and gives its id.
   * While it lives the memory is pinned, and the areas there cannot be unmapped (EBUSY). The access that does it takes an
   * id, too.
   *
   * @param request - `viommu`: id of the virtual IOMMU; `type`: the type of queue, as the driver numbers them; `index`:
   * which of the queues; `iova`, `length`: its memory, in whatever pages it is
   * @throws EINVAL for a length of 0, EOVERFLOW if the range passes 2^64 − 1, ENOENT if there is no such virtual IOMMU,
   * EOPNOTSUPP if it has no queues of this type, ERANGE if whole pages do not fit, ENOMEM for too many of them, EADDRINUSE
   * if a mapping does not fit the alignment of 4096 bytes, ENOENT if the range is not wholly mapped, EPERM if devices may
   * not read it, what pinning throws, EFAULT if the pages are not physically consecutive, and what the driver throws. No
   * id is used up then.
   */
  hwQueueAlloc(
    request: {
      readonly viommu: number;
      readonly type: number;
      readonly index: number;
      readonly iova: U64Input;
      readonly length: U64Input;
    } & Abortable,
  ): Promise<number> {
    return this.context.run('hw_queue_alloc', () => {
      checkObject(request, 'request');
      const { viommu, type, index, iova, length, signal } = request;
      checkInteger(type, 'request.type', 0, LARGEST_U32);
      checkInteger(index, 'request.index', 0, LARGEST_U32);
      const fields = { flags: 0, viommuId: viommu, type, index, nestingParentIova: iova, length };
      return hwQueueAlloc(this.context, fields, { signal });
    });
  }

  /**
   * HWPT_SET_DIRTY_TRACKING: switches dirty tracking of a page table. Enabling forgets what was dirty before.
   *
   * @throws ENOENT if there is no such page table, EOPNOTSUPP if it was not made for dirty tracking.
   */
  setDirtyTracking(request: { readonly hwpt: number; readonly enable: boolean } & Abortable): Promise<void> {
    return this.context.run('hwpt_set_dirty_tracking', () => {
      checkObject(request, 'request');
      const { hwpt, enable, signal } = request;
      checkBoolean(enable, 'request.enable');
      const flags = enable ? SET_DIRTY_TRACKING.ENABLE : 0;
      return setDirtyTracking(this.context, { flags, hwptId: hwpt }, { signal });
    });
  }

  /**
   * HWPT_GET_DIRTY_BITMAP: reads which pages of a range devices have written, and clears the marks. Bit n of the
   * bitmap (bit n mod 8 of byte n div 8) stands for the `pageSize` bytes from `iova + n * pageSize` on. The walk
   * silently ends at the first gap between mappings.
   *
   * @returns the bitmap given, or a new one that reaches as far as the range and the page table's aperture do
   * @throws ENOENT if there is no such page table, EINVAL if the length or page size is 0 or the range is not aligned
   * to the page size and the table's alignment, EOVERFLOW if it passes 2^64 − 1, EOPNOTSUPP if the page table
   * was not made for dirty tracking, ENOMEM if a new bitmap would be too large.
   */
  getDirtyBitmap(request: DirtyBitmapRequest): Promise<Uint8Array> {
    return this.context.run('hwpt_get_dirty_bitmap', async () => {
      checkObject(request, 'request');
      const { hwpt, iova, length, pageSize, noClear = false, signal, bitmap: given } = request;
      checkBoolean(noClear, 'request.noClear');
      const bitmap = given ?? bitmapFor(this.hwptDomain(hwpt), iova, length, pageSize);
      const fields = { flags: noClear ? GET_DIRTY_BITMAP.NO_CLEAR : 0, hwptId: hwpt, iova, length, pageSize };
      await getDirtyBitmap(this.context, { ...fields, bitmap }, { signal });
      return bitmap;
    });
  }

  // Accesses

  /**
   * Makes an access: a driver that works on mapped memory through the CPU. Attached at once if `ioas` is given.
   *
   * @throws ENOENT if there is no such address space, EADDRINUSE if a mapping does not fit the alignment that a pinning
   * access demands. No id is used up then.
   */
  accessCreate(options: AccessOptions = {}): Promise<IommufdAccess> {
    const { context } = this;
    return context.run('access_create', () => {
      checkObject(options, 'options');
      const { ioas, signal, needsPin, onUnmap } = options;
      const making = function* (id: number): Operation<IommufdAccess> {
        const access = new IommufdAccess(id, context, { needsPin, onUnmap });
        if (ioas !== undefined) yield* access.entering(ioas);
        return access;
      };
      return start(context.objects.creation(making), { signal });
    });
  }

  // VFIO type 1 compatibility

  /**
   * VFIO_IOAS GET: id of the address space that VFIO calls act on.
   *
   * @throws ENODEV if none was set, or it was destroyed.
   */
  vfioIoasGet(): Promise<number> {
    return this.context.run('vfio_ioas', () => vfioIoas(this.context, { op: VFIO_IOAS_OP.GET, ioasId: 0 }));
  }

  /**
   * VFIO_IOAS SET: makes VFIO calls act on an address space. It can be destroyed all the same.
   *
   * @throws ENOENT if there is no such address space.
   */
  async vfioIoasSet(ioas: number): Promise<void> {
    const fields = { op: VFIO_IOAS_OP.SET, ioasId: ioas };
    await this.context.run('vfio_ioas', () => vfioIoas(this.context, fields));
  }

  /** VFIO_IOAS CLEAR: makes VFIO calls act on nothing. */
  async vfioIoasClear(): Promise<void> {
    await this.context.run('vfio_ioas', () => vfioIoas(this.context, { op: VFIO_IOAS_OP.CLEAR, ioasId: 0 }));
  }

  /**
   * VFIO CHECK_EXTENSION: 1 if an extension is supported, else 0. Extensions: 1 type 1, 3 type 1 v2, 4 cache coherency
   * of all devices, 8 devices without IOMMU, 9 unmapping everything.
   *
   * @throws ENODEV for extension 4 if no address space was set.
   */
  vfioCheckExtension(extension: number): Promise<number> {
    return this.context.run('vfio_check_extension', () => {
      checkInteger(extension, 'extension', 0, LARGEST_U32);
      return vfioCheckExtension(this.context, extension);
    });
  }

  /**
   * VFIO SET_IOMMU: 1 chooses type 1, which may unmap parts of mappings and therefore disables large pages; 3 chooses
   * type 1 v2, which changes nothing.
   *
   * @throws EINVAL for another type, ENODEV if no address space was set; type 1: as `IoPagetable.setLargePages`.
   */
  vfioSetIommu(type: number, options?: Abortable): Promise<void> {
    return this.context.run('vfio_set_iommu', () => {
      checkInteger(type, 'type', 0, LARGEST_U32);
      return vfioSetIommu(this.context, type, options);
    });
  }

  /**
   * VFIO MAP_DMA: maps user memory at an IOVA. An empty `prot` is allowed.
   *
   * @throws ENODEV if no address space was set, and as `IoPagetable.map`. Nothing has changed then.
   */
  vfioMap(request: VfioMapRequest): Promise<void> {
    return this.context.run('vfio_map', () => {
      const caller = readCaller(request, 'request');
      const { iova, uptr, length, prot, signal } = request;
      const fields = { flags: readProtection(prot, 'prot'), vaddr: uptr, iova, size: length };
      return vfioMap(this.context, fields, { ...caller, signal });
    });
  }

  /**
   * VFIO UNMAP_DMA: unmaps a range, or with `all` (and a range of 0, 0) everything; gives the bytes unmapped, 0 if
   * nothing was mapped there. In type 1 areas are split where the range begins and ends.
   *
   * @throws ENODEV if no address space was set, EINVAL for `all` with a range, as `IoPagetable.cutIova` and
   * `IoPagetable.unmap`. The error's `unmapped` has the bytes that went, or is undefined if the unmap was not reached;
   * splits stay.
   */
  vfioUnmap(request: VfioUnmapRequest): Promise<bigint> {
    return this.context.run('vfio_unmap', () => {
      checkObject(request, 'request');
      const { iova = 0n, length = 0n, all = false, signal } = request;
      checkBoolean(all, 'request.all');
      const fields = { flags: all ? VFIO_UNMAP.ALL : 0, iova, size: length };
      return vfioUnmap(this.context, fields, { signal });
    });
  }

  /**
   * VFIO IOMMU_GET_INFO: page sizes, and the chain of capabilities: IOVA ranges and how many mappings can be made.
   *
   * @throws ENODEV if no address space was set.
   */
  vfioInfo(options?: Abortable): Promise<VfioInfo> {
    return this.context.run('vfio_get_info', () => vfioInfo(this.context, options));
  }
}

/** What `Iommufd.option` takes. */
export type IommufdOptionRequest = Caller &
  Abortable & {
    /** The new value, 0 or 1; absent: the setting is only read. */
    readonly value?: number | bigint | undefined;
  } & (
    | { readonly option: 'rlimit-mode'; readonly ioas?: undefined }
    | {
        readonly option: 'huge-pages';
        /** Id of the address space. */
        readonly ioas: number;
      }
  );

/** Data for a driver, as the commands take it. */
function readData(data: { readonly type: number; readonly bytes: Uint8Array } | undefined): {
  readonly dataType: number;
  readonly dataLen: number;
  readonly readData: ReadData;
} {
  if (data === undefined) return { dataType: 0, dataLen: 0, readData: () => new Uint8Array(0) };
  checkObject(data, 'request.data');
  const { type, bytes } = data;
  checkInteger(type, 'request.data.type', 0, LARGEST_U32);
  if (!(bytes instanceof Uint8Array)) throw invalidType(bytes, 'request.data.bytes', 'a Uint8Array');
  return { dataType: type, dataLen: bytes.length, readData: () => bytes };
}

function mapFlags(prot: Protection, iova: U64Input | undefined): number {
  const bits = readProtection(prot, 'prot');
  return (
    (iova === undefined ? 0 : IOAS_MAP.FIXED_IOVA) |
    (bits & WRITE ? IOAS_MAP.WRITEABLE : 0) |
    (bits & READ ? IOAS_MAP.READABLE : 0)
  );
}
