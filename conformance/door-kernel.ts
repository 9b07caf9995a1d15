/** The calls that traces have, made through the binary door only. */
import { type IovaRange, readValue } from '../src/arguments.js';
import { refuse } from '../src/errors.js';
import type { IoPagetable } from '../src/io-pagetable.js';
import { type IovaRanges, PartialAnswerError } from '../src/iommufd/ioas-commands.js';
import type {
  DirtyBitmapRequest,
  IoasCopyRequest,
  IoasMapRequest,
  IommufdOptionRequest,
} from '../src/iommufd/iommufd.js';
import type { VfioInfo } from '../src/iommufd/vfio-info.js';
import { type Protection, protectionBits, READ, WRITE } from '../src/protection.js';
import { TraceError } from '../src/replay/formats/trace/trace-arguments.js';
import type { TraceHeader } from '../src/replay/formats/trace/trace-header.js';
import {
  DevicesWithoutIommu,
  type FileMapping,
  type TraceDriver,
  type TraceHost,
  type TraceIommufd,
} from '../src/replay/formats/trace/trace-kernel.js';
import type { TraceProcess } from '../src/replay/formats/trace/trace-process.js';
import type { PageRange, PinInspector } from '../src/replay/formats/trace/trace-target.js';
import type { Profile } from '../src/rules.js';
import type { PhysicalRange } from '../src/table/contiguous.js';
import type { PinRun } from '../src/testing/checks.js';
import { type AccessPagesRequest, type AccessRwRequest, MOCK_ACCESS } from '../src/testing/mock-access.js';
import type { MockDomainIds } from '../src/testing/test-driver.js';
import { testCommands } from '../src/testing/uapi-test-commands.js';
import { PAGE_SIZE, type U64Input } from '../src/u64.js';
import {
  decodeRanges,
  decodeVfioInfo,
  encodeRanges,
  GET_DIRTY_BITMAP,
  HWPT_ALLOC,
  IOAS_MAP,
  IommufdDevice,
  OPTION,
  OPTION_OP,
  VFIO_IOAS_OP,
  VFIO_REQUEST,
  VFIO_UNMAP,
} from '../src/uapi/index.js';
import { DoorProgram } from './door-program.js';

/** Bytes of an entry in an array of ranges. */
const RANGE_LENGTH = 16;
/** Bytes of VFIO's GET_INFO without capabilities. */
const INFO_HEAD = 24;

/** A kernel that is reached through the door. */
export function doorKernel(header: TraceHeader, process: TraceProcess, profile: Profile): DoorKernel {
  const { accounting, noIommu } = header;
  const { memory, files } = process;
  const device = new IommufdDevice({
    memory,
    commands: testCommands(),
    accounting,
    profile,
    noIommu: noIommu !== undefined,
    file: (fd) => files.get(fd),
    openFile: (file) => files.open(file),
  });
  return new DoorKernel(device, process);
}

/** The typed calls, each as encoded bytes and an ioctl. */
export class DoorKernel implements TraceIommufd, TraceDriver, TraceHost, PinInspector {
  readonly #program: DoorProgram;
  readonly #process: TraceProcess;
  /** The processes beside it that have called, by number. */
  readonly #helpers = new Map<number, DoorProgram>();
  readonly #devices: DevicesWithoutIommu;
  readonly #files = new Set<number>();

  constructor(device: IommufdDevice, process: TraceProcess) {
    this.#program = new DoorProgram(device, process.memory);
    this.#process = process;
    this.#devices = new DevicesWithoutIommu(device.iommufd);
  }

  /** The device behind the door. */
  get device(): IommufdDevice {
    return this.#program.device;
  }

  check(): void {
    this.device.check();
  }

  /** The end of the process: all its files are closed. */
  async close(): Promise<void> {
    await this.device.close();
    for (const file of this.#files) await this.device.closeFile(file);
  }

  async destroy(id: number): Promise<void> {
    await this.#program.call('DESTROY', { id });
  }

  async ioasAlloc(): Promise<number> {
    const { outIoasId } = await this.#program.call('IOAS_ALLOC', {});
    return outIoasId;
  }

  ioasTable(ioas: number): IoPagetable {
    return this.device.iommufd.ioasTable(ioas);
  }

  async ioasMap({ ioas, uptr, length, iova, prot }: IoasMapRequest): Promise<bigint> {
    const flags = mapFlags(prot, iova);
    const fields = { flags, ioasId: ioas, userVa: uptr, length, iova: iova ?? 0n };
    return (await this.#program.call('IOAS_MAP', fields)).iova;
  }

  async ioasCopy({ from, srcIova, to, iova, length, prot }: IoasCopyRequest): Promise<bigint> {
    const flags = mapFlags(prot, iova);
    const fields = { flags, dstIoasId: to, srcIoasId: from, length, srcIova, dstIova: iova ?? 0n };
    return (await this.#program.call('IOAS_COPY', fields)).dstIova;
  }

  async ioasUnmap(request: { ioas: number; iova: U64Input; length: U64Input }): Promise<bigint> {
    const { ioas, iova, length } = request;
    return (await this.#program.call('IOAS_UNMAP', { ioasId: ioas, iova, length })).length;
  }

  async ioasIovaRanges(request: { ioas: number; max?: number | undefined }): Promise<IovaRanges> {
    const room = Math.floor(this.#program.bufferLength / RANGE_LENGTH);
    const { ioas, max = room } = request;
    const { fields, error } = await this.#program.issue('IOAS_IOVA_RANGES', {
      ioasId: ioas,
      numIovas: max,
      allowedIovas: this.#program.buffer,
    });
    if (error !== undefined && error.code !== 'EMSGSIZE') throw error;
    const count = Math.min(max, fields.numIovas);
    const ranges = decodeRanges(this.#program.readBuffer(count * RANGE_LENGTH), count);
    const answer = { ranges, total: fields.numIovas, alignment: Number(fields.outIovaAlignment) };
    if (error !== undefined) throw new PartialAnswerError<IovaRanges>(error.reason, answer);
    return answer;
  }

  async ioasAllowIovas({ ioas, ranges }: { ioas: number; ranges: Iterable<IovaRange> }): Promise<void> {
    const list = [...ranges];
    this.#program.writeBuffer(encodeRanges(list));
    await this.#program.call('IOAS_ALLOW_IOVAS', {
      ioasId: ioas,
      numIovas: list.length,
      allowedIovas: this.#program.buffer,
    });
  }

  async option(request: IommufdOptionRequest): Promise<bigint> {
    const { value } = request;
    const { val64 } = await this.#program.call('OPTION', {
      optionId: request.option === 'rlimit-mode' ? OPTION.RLIMIT_MODE : OPTION.HUGE_PAGES,
      op: value === undefined ? OPTION_OP.GET : OPTION_OP.SET,
      objectId: request.option === 'rlimit-mode' ? 0 : request.ioas,
      val64: value ?? 0n,
    });
    return val64;
  }

  async hwptAlloc(request: {
    device: number;
    ioas: number;
    dirtyTracking?: boolean | undefined;
    nestParent?: boolean | undefined;
    data?: { readonly type: number; readonly bytes: Uint8Array } | undefined;
  }): Promise<number> {
    const { device, ioas, dirtyTracking, nestParent, data } = request;
    const flags =
      (dirtyTracking === true ? HWPT_ALLOC.DIRTY_TRACKING : 0) |
      (nestParent === true ? HWPT_ALLOC.NEST_PARENT : 0);
    if (data !== undefined) this.#program.writeBuffer(data.bytes);
    const told =
      data === undefined
        ? {}
        : { dataType: data.type, dataLen: data.bytes.length, dataUptr: this.#program.buffer };
    const fields = { flags, devId: device, ptId: ioas, ...told };
    return (await this.#program.call('HWPT_ALLOC', fields)).outHwptId;
  }

  async viommuAlloc(request: { device: number; type: number; hwpt: number }): Promise<number> {
    const { device, type, hwpt } = request;
    const fields = { type, devId: device, hwptId: hwpt };
    return (await this.#program.call('VIOMMU_ALLOC', fields)).outViommuId;
  }

  async hwQueueAlloc(request: {
    viommu: number;
    type: number;
    index: number;
    iova: U64Input;
    length: U64Input;
  }): Promise<number> {
    const { viommu, type, index, iova, length } = request;
    const fields = { viommuId: viommu, type, index, nestingParentIova: iova, length };
    return (await this.#program.call('HW_QUEUE_ALLOC', fields)).outHwQueueId;
  }

  async ioasNoiommuGetPa(request: {
    ioas: number;
    iova: U64Input;
    length: U64Input;
  }): Promise<PhysicalRange> {
    const { ioas, iova, length } = request;
    const answer = await this.#program.call('IOAS_NOIOMMU_GET_PA', { ioasId: ioas, iova, length });
    return { physical: answer.outPhys, length: answer.length };
  }

  async mapFile({ ioas, fd, start, length, prot, iova }: FileMapping & { ioas: number }): Promise<bigint> {
    const fields = { flags: mapFlags(prot, iova), ioasId: ioas, fd, start, length, iova: iova ?? 0n };
    return (await this.#program.call('IOAS_MAP_FILE', fields)).iova;
  }

  async changeProcess(process: number): Promise<void> {
    await this.#processOf(process).call('IOAS_CHANGE_PROCESS', {});
  }

  #processOf(number: number): DoorProgram {
    const known = number === 0 ? this.#program : this.#helpers.get(number);
    if (known !== undefined) return known;
    const memory = this.#process.all[number];
    if (memory === undefined) throw new TraceError(`there is no process ${number}`);
    const program = new DoorProgram(this.device, memory, { memory });
    this.#helpers.set(number, program);
    return program;
  }

  /** The kernel's own call gives no descriptor: it is the lowest free one. */
  async openDmaBuf(length: bigint): Promise<number> {
    const fd = this.#process.files.lowest;
    await this.#program.call('TEST_DMABUF_GET', { length: Number(length) });
    return fd;
  }

  async revokeDmaBuf(fd: number, revoked: boolean): Promise<void> {
    await this.#program.call('TEST_DMABUF_REVOKE', { fd, revoked: revoked ? 1 : 0 });
  }

  attachDevice(device: number, ioas: number): Promise<void> {
    return this.#devices.attach(device, ioas);
  }

  detachDevice(device: number): Promise<void> {
    return this.#devices.detach(device);
  }

  async setDirtyTracking({ hwpt, enable }: { hwpt: number; enable: boolean }): Promise<void> {
    await this.#program.call('HWPT_SET_DIRTY_TRACKING', { hwptId: hwpt, flags: enable ? 1 : 0 });
  }

  async getDirtyBitmap(request: DirtyBitmapRequest): Promise<Uint8Array> {
    const { hwpt, iova, length, pageSize, noClear } = request;
    const page = readValue(pageSize, 'pageSize');
    const bits = page === 0n ? 0n : readValue(length, 'length') / (page & -page);
    const bytes = Math.min(Number(bits / 8n) + 1, this.#program.bufferLength);
    this.#program.writeBuffer(new Uint8Array(bytes));
    await this.#program.call('HWPT_GET_DIRTY_BITMAP', {
      hwptId: hwpt,
      flags: noClear === true ? GET_DIRTY_BITMAP.NO_CLEAR : 0,
      iova,
      length,
      pageSize,
      data: this.#program.buffer,
    });
    const bitmap = this.#program.readBuffer(bytes);
    return bitmap.subarray(0, bitmap.findLastIndex((byte) => byte !== 0) + 1);
  }

  async vfioIoasSet(ioas: number): Promise<void> {
    await this.#program.call('VFIO_IOAS', { ioasId: ioas, op: VFIO_IOAS_OP.SET });
  }

  async vfioIoasGet(): Promise<number> {
    return (await this.#program.call('VFIO_IOAS', { ioasId: 0, op: VFIO_IOAS_OP.GET })).ioasId;
  }

  async vfioIoasClear(): Promise<void> {
    await this.#program.call('VFIO_IOAS', { ioasId: 0, op: VFIO_IOAS_OP.CLEAR });
  }

  vfioCheckExtension(extension: number): Promise<number> {
    return this.#program.callWithValue(VFIO_REQUEST.CHECK_EXTENSION, extension);
  }

  async vfioSetIommu(type: number): Promise<void> {
    await this.#program.callWithValue(VFIO_REQUEST.SET_IOMMU, type);
  }

  async vfioMap(request: {
    iova: U64Input;
    uptr: U64Input;
    length: U64Input;
    prot: Protection;
  }): Promise<void> {
    const { iova, uptr, length, prot } = request;
    await this.#program.call('VFIO_IOMMU_MAP_DMA', {
      flags: bitsOf(prot),
      vaddr: uptr,
      iova,
      size: length,
    });
  }

  async vfioUnmap(request: {
    iova?: U64Input | undefined;
    length?: U64Input | undefined;
    all?: boolean | undefined;
  }): Promise<bigint> {
    const { iova = 0n, length = 0n, all = false } = request;
    const flags = all ? VFIO_UNMAP.ALL : 0;
    const { fields, error } = await this.#program.issue('VFIO_IOMMU_UNMAP_DMA', {
      flags,
      iova,
      size: length,
    });
    if (error === undefined) return fields.size;
    error.unmapped = fields.size;
    throw error;
  }

  async vfioInfo(): Promise<VfioInfo> {
    const { argsz } = await this.#program.call('VFIO_IOMMU_GET_INFO', { argsz: INFO_HEAD });
    const { bytes, error } = await this.#program.issue('VFIO_IOMMU_GET_INFO', { argsz });
    if (error !== undefined) throw error;
    const { flags, iovaPgsizes, capabilities } = decodeVfioInfo(bytes);
    const known = capabilities.filter((capability) => capability.id !== 'unknown');
    const ranges = known.flatMap((capability) => (capability.id === 1 ? capability.ranges : []));
    return { flags, pageSizes: iovaPgsizes, ranges, capabilities: known, size: argsz };
  }

  async addReserved(request: { ioas: number; start: U64Input; length: U64Input }): Promise<void> {
    const { ioas, start, length } = request;
    await this.#program.call('TEST_ADD_RESERVED', { id: ioas, start, length });
  }

  async mockDomain({ pt, flags = 0 }: { pt: number; flags?: number | undefined }): Promise<MockDomainIds> {
    const ids = await this.#program.call('TEST_MOCK_DOMAIN_FLAGS', { id: pt, devFlags: flags });
    return { testDevice: ids.outStdevId, device: ids.outIdevId, hwpt: ids.outHwptId };
  }

  async checkMap(request: { hwpt: number; iova: U64Input; length: U64Input; uptr: U64Input }): Promise<void> {
    const { hwpt, iova, length, uptr } = request;
    await this.#program.call('TEST_MD_CHECK_MAP', { id: hwpt, iova, length, uptr });
  }

  async checkRefs({ uptr, length, refs }: PageRange & { refs: number }): Promise<void> {
    await this.#program.call('TEST_MD_CHECK_REFS', { uptr, length, refs });
  }

  /** There is no command that tells the count: it is found by asking whether it is 0, 1, 2 … */
  async pagePins({ uptr, length }: PageRange): Promise<readonly PinRun[]> {
    const runs: PinRun[] = [];
    const page = BigInt(PAGE_SIZE);
    const first = uptr - (uptr % page);
    for (let at = 0n; at < length; at += page) {
      const run = runs.at(-1);
      if (run !== undefined && (await this.#isPinned(first + at, run.pins))) {
        run.pages += 1;
        continue;
      }
      let pins = 0;
      while (!(await this.#isPinned(first + at, pins))) pins += 1;
      runs.push({ pages: 1, pins });
    }
    return runs;
  }

  async #isPinned(uptr: bigint, refs: number): Promise<boolean> {
    const { error } = await this.#program.issue('TEST_MD_CHECK_REFS', { uptr, length: PAGE_SIZE, refs });
    if (error === undefined) return true;
    if (error.code === 'EIO') return false;
    throw error;
  }

  async createAccess({ ioas, flags }: { ioas: number; flags: number }): Promise<number> {
    const { outAccessFd } = await this.#program.call('TEST_CREATE_ACCESS', { id: ioas, flags });
    this.#files.add(outAccessFd);
    return outAccessFd;
  }

  async closeAccess(file: number): Promise<void> {
    const answer = await this.device.closeFile(file);
    if (answer !== 0) throw refuse('EBADFD', 'state', `closing file ${file} gave ${answer}`);
    this.#files.delete(file);
  }

  async accessPages(file: number, request: AccessPagesRequest): Promise<number> {
    const { iova, length, flags, uptr = 0n } = request;
    const fields = { id: file, flags, iova, length, uptr };
    return (await this.#program.call('TEST_ACCESS_PAGES', fields)).outAccessPagesId;
  }

  async destroyAccessPages(file: number, item: number): Promise<void> {
    await this.#program.call('TEST_DESTROY_ACCESS_PAGES', { id: file, accessPagesId: item });
  }

  async accessRw(file: number, request: AccessRwRequest): Promise<Uint8Array> {
    const { iova, flags, source } = request;
    const length = readValue(request.length, 'length');
    // What is refused for its length needs no bytes.
    const bytes = length > BigInt(this.#program.bufferLength) ? 0 : Number(length);
    if (flags & MOCK_ACCESS.WRITE && source !== undefined) {
      this.#program.writeBuffer(await source(bytes));
    }
    const fields = { id: file, iova, length, uptr: this.#program.buffer, flags };
    await this.#program.call('TEST_ACCESS_RW', fields);
    return this.#program.readBuffer(bytes);
  }

  async accessReplaceIoas(file: number, ioas: number): Promise<void> {
    await this.#program.call('TEST_ACCESS_REPLACE_IOAS', { id: file, ioasId: ioas });
  }

  async dirty(request: {
    hwpt: number;
    iova: U64Input;
    length: U64Input;
    pageSize: U64Input;
    bitmap: Uint8Array | (() => Uint8Array | Promise<Uint8Array>);
  }): Promise<number> {
    const { hwpt, iova, length, pageSize, bitmap } = request;
    this.#program.writeBuffer(typeof bitmap === 'function' ? await bitmap() : bitmap);
    const uptr = this.#program.buffer;
    const fields = { id: hwpt, iova, length, pageSize, uptr };
    return Number((await this.#program.call('TEST_DIRTY', fields)).outNrDirty);
  }
}

function mapFlags(prot: Protection, iova: U64Input | undefined): number {
  const bits = bitsOf(prot);
  return (
    (iova === undefined ? 0 : IOAS_MAP.FIXED_IOVA) |
    (bits & WRITE ? IOAS_MAP.WRITEABLE : 0) |
    (bits & READ ? IOAS_MAP.READABLE : 0)
  );
}

function bitsOf(prot: Protection): number {
  return protectionBits(prot) ?? 0;
}
