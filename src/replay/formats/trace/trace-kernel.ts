/** What a trace of an iommufd is replayed on, reached in one way or another. */
import { refuse } from '../../../errors.js';
import type { BoundDevice } from '../../../iommufd/bound-device.js';
import { IOAS_MAP, ioasMapFile } from '../../../iommufd/ioas-commands.js';
import { Iommufd } from '../../../iommufd/iommufd.js';
import { NoIommuDevice } from '../../../iommufd/no-iommu.js';
import { type Protection, protectionBits, READ, WRITE } from '../../../protection.js';
import type { Profile } from '../../../rules.js';
import { TestDriver } from '../../../testing/test-driver.js';
import type { CallerFile } from '../../../uapi/device-caller.js';
import { TraceError } from './trace-arguments.js';
import type { TraceHeader } from './trace-header.js';
import type { TraceProcess } from './trace-process.js';
import { memoryInspector, type PinInspector } from './trace-target.js';

/** The calls on a context that traces have. */
export type TraceIommufd = Pick<
  Iommufd,
  | 'check'
  | 'close'
  | 'destroy'
  | 'getDirtyBitmap'
  | 'hwQueueAlloc'
  | 'hwptAlloc'
  | 'ioasAlloc'
  | 'ioasAllowIovas'
  | 'ioasCopy'
  | 'ioasIovaRanges'
  | 'ioasMap'
  | 'ioasNoiommuGetPa'
  | 'ioasTable'
  | 'ioasUnmap'
  | 'option'
  | 'setDirtyTracking'
  | 'vfioCheckExtension'
  | 'vfioInfo'
  | 'vfioIoasClear'
  | 'vfioIoasGet'
  | 'vfioIoasSet'
  | 'vfioMap'
  | 'vfioSetIommu'
  | 'vfioUnmap'
  | 'viommuAlloc'
>;

/** The operations of the test driver that traces have. */
export type TraceDriver = Pick<
  TestDriver,
  | 'accessPages'
  | 'accessReplaceIoas'
  | 'accessRw'
  | 'addReserved'
  | 'checkMap'
  | 'closeAccess'
  | 'createAccess'
  | 'destroyAccessPages'
  | 'dirty'
  | 'mockDomain'
>;

/** Calls of traces that name descriptors, processes and devices, by the numbers that they have there. */
export interface TraceHost {
  /** IOAS_MAP_FILE. @throws as `Iommufd.ioasMapFile`, EBADF if the descriptor is not open */
  mapFile(request: FileMapping & { readonly ioas: number }): Promise<bigint>;
  /** IOAS_CHANGE_PROCESS, by a process. @throws as `Iommufd.changeProcess` */
  changeProcess(process: number): Promise<void>;
  /** Opens a dma-buf of the test driver and gives its descriptor. @throws as `TestDriver.dmaBufGet` */
  openDmaBuf(length: bigint): Promise<number>;
  /** Revokes one, or makes it usable again. @throws as `TestDriver.dmaBufRevoke`, EBADF, and EINVAL if it is none */
  revokeDmaBuf(fd: number, revoked: boolean): Promise<void>;
  /** Attaches a device without an IOMMU, or moves it. @throws as `BoundDevice.replace` */
  attachDevice(device: number, ioas: number): Promise<void>;
  /** Detaches one. */
  detachDevice(device: number): Promise<void>;
}

/** A part of a file to be mapped. */
export interface FileMapping {
  readonly fd: number;
  readonly start: bigint;
  readonly length: bigint;
  readonly prot: Protection;
  readonly iova: bigint | undefined;
}

/** A kernel with one iommufd open. */
export interface TraceKernel {
  readonly iommufd: TraceIommufd;
  readonly driver: TraceDriver;
  readonly host: TraceHost;
  readonly inspector: PinInspector;
}

/** Reached by the typed methods. */
export function typedKernel(header: TraceHeader, process: TraceProcess, profile: Profile): TraceKernel {
  const { accounting, noIommu } = header;
  const { memory } = process;
  const iommufd = new Iommufd({
    memory,
    accounting,
    profile,
    noIommu: noIommu !== undefined,
  });
  const driver = new TestDriver(iommufd, { memory });
  return {
    iommufd,
    driver,
    host: new TypedHost(iommufd, driver, process),
    inspector: memoryInspector(memory),
  };
}

/** The devices of a trace that have no IOMMU: no call of an iommufd binds them, their driver does. */
export class DevicesWithoutIommu {
  readonly #iommufd: Iommufd;
  readonly #bound = new Map<number, BoundDevice>();

  constructor(iommufd: Iommufd) {
    this.#iommufd = iommufd;
  }

  /** Attaches a device, or moves it. */
  async attach(device: number, ioas: number): Promise<void> {
    const bound = await this.#device(device);
    await (bound.hwpt === undefined ? bound.attach(ioas) : bound.replace(ioas));
  }

  /** Detaches a device. */
  async detach(device: number): Promise<void> {
    const bound = await this.#device(device);
    if (bound.hwpt !== undefined) await bound.detach();
  }

  async #device(device: number): Promise<BoundDevice> {
    const known = this.#bound.get(device);
    if (known !== undefined) return known;
    const bound = await this.#iommufd.deviceBind(new NoIommuDevice({ name: `device ${device}` }));
    this.#bound.set(device, bound);
    return bound;
  }
}

class TypedHost implements TraceHost {
  readonly #iommufd: Iommufd;
  readonly #driver: TestDriver;
  readonly #process: TraceProcess;
  readonly #devices: DevicesWithoutIommu;

  constructor(iommufd: Iommufd, driver: TestDriver, process: TraceProcess) {
    this.#iommufd = iommufd;
    this.#driver = driver;
    this.#process = process;
    this.#devices = new DevicesWithoutIommu(iommufd);
  }

  mapFile({ ioas, fd, start, length, prot, iova }: FileMapping & { readonly ioas: number }): Promise<bigint> {
    const { context } = this.#iommufd;
    const bits = protectionBits(prot) ?? 0;
    const flags =
      (iova === undefined ? 0 : IOAS_MAP.FIXED_IOVA) |
      (bits & WRITE ? IOAS_MAP.WRITEABLE : 0) |
      (bits & READ ? IOAS_MAP.READABLE : 0);
    // The file is looked for as late as the kernel does.
    const file = () => this.#file(fd).file;
    return context.run('ioas_map_file', () =>
      ioasMapFile(context, { flags, ioasId: ioas, file, start, length, iova: iova ?? 0n }),
    );
  }

  async changeProcess(process: number): Promise<void> {
    const memory = this.#process.all[process];
    if (memory === undefined) throw new TraceError(`there is no process ${process}`);
    await this.#iommufd.changeProcess(memory);
  }

  async openDmaBuf(length: bigint): Promise<number> {
    const file = this.#driver.dmaBufGet(Number(length));
    return this.#process.files.open({ kind: 'dma-buf', file });
  }

  async revokeDmaBuf(fd: number, revoked: boolean): Promise<void> {
    const { kind, file } = this.#file(fd);
    if (kind !== 'dma-buf') throw refuse('EINVAL', 'argument', `descriptor ${fd} is of no dma-buf`);
    await this.#driver.dmaBufRevoke(file, revoked);
  }

  #file(fd: number): CallerFile {
    const file = this.#process.files.get(fd);
    if (file === undefined) throw refuse('EBADF', 'argument', `descriptor ${fd} is not open`);
    return file;
  }

  attachDevice(device: number, ioas: number): Promise<void> {
    return this.#devices.attach(device, ioas);
  }

  detachDevice(device: number): Promise<void> {
    return this.#devices.detach(device);
  }
}
