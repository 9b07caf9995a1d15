/** What a server does for each command of a client. No answer waits for the client. */
import { refuse } from '../errors.js';
import { type Interval, intervalOf, split } from '../u64.js';
import type { Decoded, Fields, Struct } from '../uapi/struct.js';
import type { ClientDma } from './client-dma.js';
import type { DescriptorSupport } from './descriptors.js';
import type { DmaChannel } from './dma-channel.js';
import { MIGRATION_FLAGS } from './migration.js';
import type { ClientLimits } from './negotiation.js';
import type { PciDevice } from './pci-device.js';
import {
  COMMAND,
  DEVICE_FEATURE,
  DEVICE_FLAG,
  DEVICE_INFO,
  DMA_MAP,
  DMA_MAP_FLAG,
  DMA_UNMAP,
  FEATURE,
  FEATURE_FLAG,
  FEATURE_MASK,
  FEATURE_MIG_STATE,
  FEATURE_MIGRATION,
  IRQ_COUNT,
  IRQ_INFO,
  IRQ_SET,
  LOGGING_RANGE,
  LOGGING_REPORT,
  LOGGING_START,
  MAX_DATA_XFER_SIZE,
  MIG_DATA,
  MULTI_WRITE,
  REGION_ACCESS,
  REGION_COUNT,
  REGION_INFO,
  REGION_IO_FDS,
  SPARSE_AREA,
  SPARSE_MMAP,
  WRITE_MULTI,
} from './protocol.js';

/** What a command is answered with. */
export interface Answer {
  readonly payload: Uint8Array;
  /** Descriptors that go with it; they stay open. */
  readonly descriptors?: readonly number[];
}

/** A client that has said what it can do, and what it uses. */
export interface Session {
  readonly device: PciDevice;
  readonly channel: DmaChannel;
  readonly dma: ClientDma;
  readonly descriptors: DescriptorSupport | undefined;
  readonly limits: ClientLimits;
}

type Handler = (
  session: Session,
  payload: Uint8Array,
  descriptors: readonly number[],
) => Answer | Promise<Answer>;

const NOTHING: Answer = { payload: new Uint8Array(0) };
const UNMAP_ALL = 2;

/** Handlers that take the descriptors of their message over; of the others they are closed. */
const TAKING: ReadonlyMap<number, Handler> = new Map<number, Handler>([
  [COMMAND.DMA_MAP, dmaMap],
  [COMMAND.DEVICE_SET_IRQS, setIrqs],
]);

const HANDLERS: ReadonlyMap<number, Handler> = new Map<number, Handler>([
  [COMMAND.DMA_UNMAP, dmaUnmap],
  [COMMAND.DEVICE_GET_INFO, getInfo],
  [COMMAND.DEVICE_GET_REGION_INFO, getRegionInfo],
  [COMMAND.DEVICE_GET_REGION_IO_FDS, getRegionIoFds],
  [COMMAND.DEVICE_GET_IRQ_INFO, getIrqInfo],
  [COMMAND.REGION_READ, regionRead],
  [COMMAND.REGION_WRITE, regionWrite],
  [COMMAND.REGION_WRITE_MULTI, regionWriteMulti],
  [COMMAND.DEVICE_RESET, reset],
  [COMMAND.DEVICE_FEATURE, feature],
  [COMMAND.MIG_DATA_READ, migDataRead],
  [COMMAND.MIG_DATA_WRITE, migDataWrite],
]);

/** Handles a command. @throws (or rejects with) an error whose errno is the answer; ENOTTY if there is no such command */
export function answerCommand(
  session: Session,
  command: number,
  payload: Uint8Array,
  descriptors: readonly number[],
): Answer | Promise<Answer> {
  const taking = TAKING.get(command);
  if (taking !== undefined) return taking(session, payload, descriptors);
  closeAll(session, descriptors);
  const handler = HANDLERS.get(command);
  if (handler === undefined) throw refuse('ENOTTY', 'unsupported', `there is no command ${command}`);
  return handler(session, payload, descriptors);
}

function closeAll({ descriptors: support }: Session, descriptors: readonly number[]): void {
  for (const descriptor of descriptors) support?.close(descriptor);
}

/** The struct that a payload begins with. @throws EINVAL if it is shorter */
function read<F extends Fields>(struct: Struct<F>, payload: Uint8Array, from = 0): Decoded<F> {
  if (payload.length < from + struct.length) {
    throw refuse('EINVAL', 'argument', `a payload of ${payload.length} bytes, not ${from + struct.length}`);
  }
  return struct.decode(payload, from);
}

/** As `read`, of a struct that says how much of an answer the client can take. */
function readSized<F extends Fields>(
  struct: Struct<F>,
  payload: Uint8Array,
): Decoded<F> & { readonly argsz: number } {
  const value: Decoded<F> & { readonly argsz?: unknown } = read(struct, payload);
  const { argsz } = value;
  if (typeof argsz !== 'number' || argsz < struct.length) {
    throw refuse('EINVAL', 'argument', `argsz ${String(argsz)} of a struct of ${struct.length} bytes`);
  }
  return { ...value, argsz };
}

function dmaMap(session: Session, payload: Uint8Array, descriptors: readonly number[]) {
  let handedOver = false;
  try {
    const request = readSized(DMA_MAP, payload);
    if ((request.flags & ~(DMA_MAP_FLAG.READ | DMA_MAP_FLAG.WRITE)) !== 0) {
      throw refuse('EINVAL', 'argument', `flags 0x${request.flags.toString(16)} of a map`);
    }
    if (descriptors.length > 1) throw refuse('EINVAL', 'argument', 'a map of more than one file');
    handedOver = true;
    return then(session.dma.map(request, descriptors[0]), () => NOTHING);
  } finally {
    if (!handedOver) closeAll(session, descriptors);
  }
}

/** Goes on at once, or later. */
function then(wait: void | Promise<void>, next: () => Answer): Answer | Promise<Answer> {
  return wait === undefined ? next() : wait.then(next);
}

function dmaUnmap({ dma }: Session, payload: Uint8Array) {
  const { flags, address, size } = readSized(DMA_UNMAP, payload);
  const answer = () => ({ payload: payload.slice(0, DMA_UNMAP.length) });
  if (flags === UNMAP_ALL && address === 0n && size === 0n) return then(dma.unmapAll(), answer);
  if (flags !== 0) throw refuse('EINVAL', 'argument', `flags 0x${flags.toString(16)} of an unmap`);
  return then(dma.unmap(address, size), answer);
}

function getInfo(_: Session, payload: Uint8Array): Answer {
  readSized(DEVICE_INFO, payload);
  return {
    payload: DEVICE_INFO.encode({
      argsz: DEVICE_INFO.length,
      flags: DEVICE_FLAG.RESET | DEVICE_FLAG.PCI,
      numRegions: REGION_COUNT,
      numIrqs: IRQ_COUNT,
    }),
  };
}

function getRegionInfo({ device, descriptors }: Session, payload: Uint8Array): Answer {
  const { argsz, index } = readSized(REGION_INFO, payload);
  const { size, flags, shared } = device.function.region(index);
  if (shared === undefined || descriptors === undefined) {
    const plain = shared === undefined ? flags : flags & 3;
    return { payload: REGION_INFO.encode({ argsz: REGION_INFO.length, flags: plain, index, size }) };
  }
  const { areas, descriptor } = shared;
  const sparse = areas.length === 0 ? 0 : SPARSE_MMAP.length + areas.length * SPARSE_AREA.length;
  const needed = REGION_INFO.length + sparse;
  if (needed > argsz) return { payload: REGION_INFO.encode({ argsz: needed, flags, index, size }) };
  const bytes = new Uint8Array(needed);
  const capOffset = sparse === 0 ? 0 : REGION_INFO.length;
  REGION_INFO.write(bytes, { argsz: needed, flags, index, capOffset, size });
  if (sparse > 0) SPARSE_MMAP.write(bytes, { id: 1, version: 1, count: areas.length }, capOffset);
  for (const [at, area] of areas.entries()) {
    SPARSE_AREA.write(bytes, area, capOffset + SPARSE_MMAP.length + at * SPARSE_AREA.length);
  }
  return { payload: bytes, descriptors: [descriptor] };
}

function getRegionIoFds({ device }: Session, payload: Uint8Array): Answer {
  const { index } = readSized(REGION_IO_FDS, payload);
  device.function.region(index);
  return { payload: REGION_IO_FDS.encode({ argsz: REGION_IO_FDS.length, index }) };
}

function getIrqInfo({ device }: Session, payload: Uint8Array): Answer {
  const { index } = readSized(IRQ_INFO, payload);
  const { flags, count } = device.function.interrupts.info(index);
  return { payload: IRQ_INFO.encode({ argsz: IRQ_INFO.length, flags, index, count }) };
}

function setIrqs(session: Session, payload: Uint8Array, descriptors: readonly number[]): Answer {
  let handedOver = false;
  try {
    const request = readSized(IRQ_SET, payload);
    const chosen = payload.subarray(IRQ_SET.length);
    handedOver = true;
    session.device.function.interrupts.set({ ...request, chosen, descriptors });
    return NOTHING;
  } finally {
    if (!handedOver) closeAll(session, descriptors);
  }
}

function regionRead({ device }: Session, payload: Uint8Array): Answer {
  const { offset, region, count } = read(REGION_ACCESS, payload);
  checkCount(count);
  const data = device.function.read(region, offset, count);
  const bytes = new Uint8Array(REGION_ACCESS.length + count);
  bytes.set(payload.subarray(0, REGION_ACCESS.length));
  bytes.set(data, REGION_ACCESS.length);
  return { payload: bytes };
}

function checkCount(count: number): void {
  if (count > MAX_DATA_XFER_SIZE) throw refuse('EINVAL', 'argument', `${count} bytes of a region at once`);
}

function regionWrite({ device }: Session, payload: Uint8Array): Answer {
  const { offset, region, count } = read(REGION_ACCESS, payload);
  const data = payload.subarray(REGION_ACCESS.length);
  if (data.length !== count) {
    throw refuse('EINVAL', 'argument', `${data.length} bytes in a write of ${count}`);
  }
  checkCount(count);
  device.function.write(region, offset, data);
  return { payload: payload.slice(0, REGION_ACCESS.length) };
}

/** All are made, whatever becomes of those before. */
function regionWriteMulti({ device }: Session, payload: Uint8Array): Answer {
  const { count } = read(WRITE_MULTI, payload);
  if (BigInt(payload.length - WRITE_MULTI.length) !== count * BigInt(MULTI_WRITE.length)) {
    throw refuse('EINVAL', 'argument', `${payload.length} bytes for ${count} writes`);
  }
  let failure: { readonly error: unknown } | undefined;
  for (let at = WRITE_MULTI.length; at < payload.length; at += MULTI_WRITE.length) {
    try {
      const { offset, region, count: length } = MULTI_WRITE.decode(payload, at);
      if (length > 8) throw refuse('EINVAL', 'argument', `${length} bytes in one of several writes`);
      device.function.write(region, offset, payload.subarray(at + 16, at + 16 + length));
    } catch (error) {
      failure ??= { error };
    }
  }
  if (failure !== undefined) throw failure.error;
  return { payload: payload.slice(0, WRITE_MULTI.length) };
}

function reset({ device }: Session): Answer {
  device.function.reset();
  return NOTHING;
}

/** What can be done with a feature, and what it does. */
interface FeatureRow {
  readonly get?: (session: Session, data: Uint8Array, most: number) => Uint8Array | Promise<Uint8Array>;
  readonly set?: (session: Session, data: Uint8Array) => void | Promise<void>;
}

const MIGRATION_FEATURES: ReadonlyMap<number, FeatureRow> = new Map<number, FeatureRow>([
  [FEATURE.MIGRATION, { get: () => FEATURE_MIGRATION.encode({ flags: MIGRATION_FLAGS }) }],
  [
    FEATURE.MIG_DEVICE_STATE,
    {
      get: ({ device }) => FEATURE_MIG_STATE.encode({ state: device.migration.state, dataFd: 0xffff_ffff }),
      set: ({ device }, data) => device.migration.goTo(read(FEATURE_MIG_STATE, data).state),
    },
  ],
]);

const LOGGING_FEATURES: ReadonlyMap<number, FeatureRow> = new Map<number, FeatureRow>([
  [FEATURE.DMA_LOGGING_START, { set: startLogging }],
  [FEATURE.DMA_LOGGING_STOP, { set: ({ dma }) => dma.stopLogging() }],
  [FEATURE.DMA_LOGGING_REPORT, { get: reportLogging }],
]);

async function feature(session: Session, payload: Uint8Array): Promise<Answer> {
  const { argsz, flags } = readSized(DEVICE_FEATURE, payload);
  const number = flags & FEATURE_MASK;
  const row =
    LOGGING_FEATURES.get(number) ??
    (session.device.migration.supported ? MIGRATION_FEATURES.get(number) : undefined);
  if (row === undefined) throw refuse('ENOTTY', 'unsupported', `the device has no feature ${number}`);
  const wanted = flags & ~FEATURE_MASK;
  const { GET, SET, PROBE } = FEATURE_FLAG;
  const can = (row.get === undefined ? 0 : GET) | (row.set === undefined ? 0 : SET) | PROBE;
  const both = (wanted & (GET | SET)) === (GET | SET);
  const none = (wanted & (GET | SET)) === 0;
  if ((wanted & ~can) !== 0 || ((both || none) && (wanted & PROBE) === 0)) {
    throw refuse('EINVAL', 'argument', `feature ${number} with flags 0x${wanted.toString(16)}`);
  }
  if ((wanted & PROBE) !== 0)
    return { payload: DEVICE_FEATURE.encode({ argsz: DEVICE_FEATURE.length, flags }) };
  const data = payload.subarray(DEVICE_FEATURE.length);
  if ((wanted & SET) !== 0) {
    await row.set?.(session, data);
    return { payload: payload.slice() };
  }
  const most = argsz - DEVICE_FEATURE.length;
  const answer = (await row.get?.(session, data, most)) ?? new Uint8Array(0);
  if (answer.length > most) {
    throw refuse('EINVAL', 'argument', `${answer.length} bytes for a client that takes ${most}`);
  }
  const bytes = new Uint8Array(DEVICE_FEATURE.length + answer.length);
  DEVICE_FEATURE.write(bytes, { argsz: bytes.length, flags });
  bytes.set(answer, DEVICE_FEATURE.length);
  return { payload: bytes };
}

function startLogging({ dma }: Session, data: Uint8Array): Promise<void> {
  const { pageSize, numRanges } = read(LOGGING_START, data);
  if (pageSize === 0n || (pageSize & (pageSize - 1n)) !== 0n) {
    throw refuse('EINVAL', 'argument', `pages of ${pageSize} bytes`);
  }
  if (data.length < LOGGING_START.length + numRanges * LOGGING_RANGE.length) {
    throw refuse('EINVAL', 'argument', `${data.length} bytes for ${numRanges} ranges`);
  }
  const ranges: Interval[] = [];
  for (let at = 0; at < numRanges; at++) {
    const { iova, length } = LOGGING_RANGE.decode(data, LOGGING_START.length + at * LOGGING_RANGE.length);
    const range = length === 0n ? undefined : intervalOf(split(iova), split(length));
    if (range === undefined) throw refuse('EINVAL', 'argument', `a range of ${length} bytes at ${iova}`);
    ranges.push(range);
  }
  return dma.startLogging(ranges);
}

async function reportLogging({ dma }: Session, data: Uint8Array, most: number): Promise<Uint8Array> {
  const { iova, length, pageSize } = read(LOGGING_REPORT, data);
  const bitmap = await dma.dirtyBitmap(iova, length, pageSize, most - LOGGING_REPORT.length);
  const bytes = new Uint8Array(LOGGING_REPORT.length + bitmap.length);
  bytes.set(data.subarray(0, LOGGING_REPORT.length));
  bytes.set(bitmap, LOGGING_REPORT.length);
  return bytes;
}

function migDataRead({ device, limits }: Session, payload: Uint8Array): Answer {
  const { argsz, size } = readSized(MIG_DATA, payload);
  const most = Math.min(size, argsz - MIG_DATA.length, MAX_DATA_XFER_SIZE, limits.maxDataXferSize);
  checkMigration(device);
  const data = device.migration.read(most);
  const bytes = new Uint8Array(MIG_DATA.length + data.length);
  MIG_DATA.write(bytes, { argsz: bytes.length, size: data.length });
  bytes.set(data, MIG_DATA.length);
  return { payload: bytes };
}

function migDataWrite({ device }: Session, payload: Uint8Array): Answer {
  const { size } = readSized(MIG_DATA, payload);
  const data = payload.subarray(MIG_DATA.length);
  if (data.length !== size) throw refuse('EINVAL', 'argument', `${data.length} bytes of ${size}`);
  checkMigration(device);
  device.migration.write(data);
  return NOTHING;
}

function checkMigration({ migration }: PciDevice): void {
  if (!migration.supported) throw refuse('ENOTTY', 'unsupported', 'the device cannot migrate');
}
