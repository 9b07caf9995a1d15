/** The other side: who uses a device that is in another process. */
import { EventEmitter } from 'node:events';
import { connect as connectSocket } from 'node:net';
import { checkWord, readValue } from '../arguments.js';
import { type IommuError, refuse } from '../errors.js';
import { type Protection, protectionBits } from '../protection.js';
import type { U64Input } from '../u64.js';
import { proposal, readAnswer, type ServerCapabilities } from './client-capabilities.js';
import { ClientInterrupts, type InterruptHandler } from './client-interrupts.js';
import { ClientMemory, type ClientRam, errnoOf } from './client-memory.js';
import { ClientRequests, commandName, headerOf, type Reply } from './client-requests.js';
import type { DescriptorSupport, MappedFile } from './descriptors.js';
import { loadDescriptorSupport } from './native-transport.js';
import {
  COMMAND,
  DEVICE_FEATURE,
  DEVICE_INFO,
  DMA_ACCESS,
  DMA_MAP,
  DMA_UNMAP,
  FEATURE,
  FEATURE_FLAG,
  FEATURE_MIG_STATE,
  FEATURE_MIGRATION,
  IRQ_INFO,
  IRQ_SET,
  IRQ_SET_FLAG,
  LOGGING_RANGE,
  LOGGING_REPORT,
  LOGGING_START,
  MAX_DATA_XFER_SIZE,
  MESSAGE_FLAG,
  MESSAGE_OVERHEAD,
  MIG_DATA,
  MULTI_WRITE,
  REGION_ACCESS,
  REGION_FLAG,
  REGION_INFO,
  SPARSE_AREA,
  SPARSE_MMAP,
  WRITE_MULTI,
} from './protocol.js';
import { SocketTransport } from './socket-transport.js';
import type { Message, Transport } from './transport.js';

/** How to connect. */
export interface ClientOptions {
  /**
   * Whether to pass descriptors: `'auto'` (the default) where the optional package `koffi` is installed, `'always'`, or
   * `'never'`. With them memory is shared, and all kinds of interrupts work.
   */
  readonly descriptors?: 'auto' | 'always' | 'never' | undefined;
  /** Milliseconds after which a command without an answer is given up. Default 5000, as with QEMU; 0: never. */
  readonly timeout?: number | undefined;
  /**
   * Whether the device may use memory by message while an answer of it is waited for. QEMU does not let it, so a server that
   * wants to be QEMU's is tested with `false`. Default true.
   */
  readonly dmaWhileWaiting?: boolean | undefined;
}

/** What a device is. */
export interface DeviceInfo {
  /** `DEVICE_FLAG`: 1 it can be reset, 2 it is a PCI device. */
  readonly flags: number;
  readonly regions: number;
  readonly interrupts: number;
}

/** A part of a region that can be mapped. */
export interface MappableArea {
  readonly offset: bigint;
  readonly size: bigint;
}

/** What a region is. */
export interface RegionInfo {
  readonly index: number;
  /** `REGION_FLAG`: 1 read, 2 write, 4 mappable, 8 it has capabilities. */
  readonly flags: number;
  /** Bytes; 0: there is no such region. */
  readonly size: bigint;
  /** Where it begins in its file. */
  readonly offset: bigint;
  /** What of it can be mapped. */
  readonly areas: readonly MappableArea[];
}

/** A part of a region in memory. */
export interface MappedArea {
  /** Where it begins in the region. */
  readonly offset: bigint;
  readonly bytes: Uint8Array;
}

/** What an interrupt is. */
export interface InterruptInfo {
  readonly index: number;
  /** `IRQ_FLAG`. */
  readonly flags: number;
  /** How many vectors it has; 0: there is no such interrupt. */
  readonly count: number;
}

/** One write of several. */
export interface RegionWrite {
  readonly region: number;
  readonly offset: U64Input;
  /** 1 to 8 bytes. */
  readonly data: Uint8Array;
}

/** What the device may use, and where it finds it. */
export interface DmaMapping {
  readonly iova: U64Input;
  /** The memory. */
  readonly ram: ClientRam;
  /** Where in it the mapping begins. Default 0. */
  readonly offset?: U64Input | undefined;
  /** Bytes. Default: to the end of the memory. */
  readonly length?: U64Input | undefined;
  /** Default 'rw'. */
  readonly prot?: Protection | undefined;
  /** Leave the descriptor out, so that only messages reach it. Default false. */
  readonly byMessage?: boolean | undefined;
}

/** What a client tells of. */
export interface ClientEvents {
  /** A message signalled interrupt: a write of 4 bytes to 0xfee00000 … 0xfeefffff. */
  msi: [address: bigint, data: number];
  /** The connection is closed; with an error, unless that was asked for. */
  close: [error: Error | undefined];
}

const MSI_FIRST = 0xfee0_0000n;
const MSI_LAST = 0xfeef_ffffn;
/** The longest description of a region that is asked for. */
const LONGEST_INFO = 65_536;
/** Commands of the server that wait for their turn before it is left to wait. */
const MOST_WAITING = 64;
const LIMITS = { maxMessageSize: MAX_DATA_XFER_SIZE + MESSAGE_OVERHEAD };
const NOTHING = new Uint8Array(0);

/**
 * A connection to a device of a vfio-user server: for tests without a VMM, and for VMMs.
 *
 * The commands are methods; each rejects with the error that the server has answered with (`IommuError`, with the
 * command's name as `syscall`), ETIMEDOUT, or EPIPE once the connection is closed. What the device reads and writes by
 * message is served from the memory that is mapped.
 */
export class VfioUserClient extends EventEmitter<ClientEvents> implements AsyncDisposable {
  readonly #transport: Transport;
  readonly #support: DescriptorSupport | undefined;
  readonly #requests: ClientRequests;
  readonly #memory: ClientMemory;
  readonly #interrupts: ClientInterrupts | undefined;
  readonly #dmaWhileWaiting: boolean;
  readonly #mapped: MappedFile[] = [];
  /** Commands of the server that are still to be served. */
  readonly #waiting: Message[] = [];
  #serving = false;
  #loggedPageSize = 4096n;
  #closed = false;
  #capabilities: ServerCapabilities | undefined;

  /**
   * Connects to the server that listens at a path, and negotiates.
   *
   * @throws (rejects with) EOPNOTSUPP if descriptors are asked for and cannot be had; ENOENT, ECONNREFUSED if nobody
   * listens; EBADE if the server is of another version
   */
  static async connect(path: string, options: ClientOptions = {}): Promise<VfioUserClient> {
    const { descriptors = 'auto' } = options;
    checkWord(descriptors, 'options.descriptors', ['auto', 'always', 'never']);
    const support = await supportFor(descriptors);
    const transport = support === undefined ? await socketTo(path) : await support.connect(path, LIMITS);
    return await VfioUserClient.over(transport, support, options);
  }

  /** As `connect`, over a connection that there is already. */
  static async over(
    transport: Transport,
    support: DescriptorSupport | undefined,
    options: ClientOptions = {},
  ): Promise<VfioUserClient> {
    const client = new VfioUserClient(transport, support, options);
    try {
      const { payload } = await client.request(COMMAND.VERSION, proposal());
      client.#capabilities = readAnswer(payload);
      return client;
    } catch (error) {
      await client.close();
      throw error;
    }
  }

  private constructor(transport: Transport, support: DescriptorSupport | undefined, options: ClientOptions) {
    super();
    const { timeout = 5000, dmaWhileWaiting = true } = options;
    this.#transport = transport;
    this.#support = transport.passesDescriptors ? support : undefined;
    this.#requests = new ClientRequests(transport, timeout);
    this.#memory = new ClientMemory(this.#support);
    this.#interrupts = this.#support === undefined ? undefined : new ClientInterrupts(this.#support);
    this.#dmaWhileWaiting = dmaWhileWaiting;
    transport.listen({
      message: (message) => this.#message(message),
      closed: (error) => this.#ended(error),
    });
  }

  /** What the server can do. */
  get capabilities(): ServerCapabilities {
    return this.#capabilities!;
  }

  /** Whether descriptors are passed. */
  get passesDescriptors(): boolean {
    return this.#support !== undefined;
  }

  /** Sends a command as it is, and gives the payload of the reply, with its descriptors, which are the caller's to close. */
  request(command: number, parts: readonly Uint8Array[], descriptors?: readonly number[]): Promise<Reply> {
    const answered = this.#requests.request(command, parts, descriptors);
    if (this.#dmaWhileWaiting) return answered;
    const goOn = () => this.#serve();
    answered.then(goOn, goOn);
    return answered;
  }

  /** As `request`, for what has no descriptors in its reply: those that come are closed. */
  async #ask(
    command: number,
    parts: readonly Uint8Array[],
    least: number,
    descriptors?: readonly number[],
  ): Promise<Uint8Array> {
    const reply = await this.request(command, parts, descriptors);
    this.#drop(reply.descriptors);
    return long(reply.payload, least, command);
  }

  #drop(descriptors: readonly number[]): void {
    for (const each of descriptors) this.#support?.close(each);
  }

  /** What the device is (DEVICE_GET_INFO). */
  async deviceInfo(): Promise<DeviceInfo> {
    const request = DEVICE_INFO.encode({ argsz: DEVICE_INFO.length });
    const reply = DEVICE_INFO.decode(await this.#ask(COMMAND.DEVICE_GET_INFO, [request], DEVICE_INFO.length));
    return { flags: reply.flags, regions: reply.numRegions, interrupts: reply.numIrqs };
  }

  /** What a region is (DEVICE_GET_REGION_INFO): asked for again where the server has more to say than there was room for. */
  async regionInfo(index: number): Promise<RegionInfo> {
    const { info, descriptors } = await this.#regionInfo(index);
    this.#drop(descriptors);
    return info;
  }

  async #regionInfo(index: number): Promise<{ info: RegionInfo; descriptors: readonly number[] }> {
    let argsz = REGION_INFO.length;
    for (let attempt = 0; ; attempt++) {
      const request = REGION_INFO.encode({ argsz, index });
      const { payload, descriptors } = await this.request(COMMAND.DEVICE_GET_REGION_INFO, [request]);
      try {
        const reply = REGION_INFO.decode(long(payload, REGION_INFO.length, COMMAND.DEVICE_GET_REGION_INFO));
        if (reply.argsz > argsz && reply.argsz <= LONGEST_INFO && attempt === 0) {
          argsz = reply.argsz;
          this.#drop(descriptors);
          continue;
        }
        const { flags, size, offset } = reply;
        return { info: { index, flags, size, offset, areas: areasOf(payload, reply) }, descriptors };
      } catch (error) {
        this.#drop(descriptors);
        throw error;
      }
    }
  }

  /**
   * Maps what of a region can be mapped: reads and writes there need no message. Gives nothing where there is none, or no
   * descriptor.
   */
  async mapRegion(index: number): Promise<readonly MappedArea[]> {
    const { info, descriptors } = await this.#regionInfo(index);
    try {
      const [descriptor] = descriptors;
      if (descriptor === undefined || this.#support === undefined || info.areas.length === 0) return [];
      const ends = info.areas.map(({ offset, size }) => Number(info.offset + offset + size));
      const file = this.#support.map(descriptor, Math.max(...ends), true);
      this.#mapped.push(file);
      return info.areas.map(({ offset, size }) => {
        const first = Number(info.offset + offset);
        return { offset, bytes: file.bytes.subarray(first, first + Number(size)) };
      });
    } finally {
      this.#drop(descriptors);
    }
  }

  /** What an interrupt is (DEVICE_GET_IRQ_INFO). */
  async interruptInfo(index: number): Promise<InterruptInfo> {
    const request = IRQ_INFO.encode({ argsz: IRQ_INFO.length, index });
    const reply = IRQ_INFO.decode(await this.#ask(COMMAND.DEVICE_GET_IRQ_INFO, [request], IRQ_INFO.length));
    return { index, flags: reply.flags, count: reply.count };
  }

  /** Reads a region (REGION_READ). @param count - bytes */
  async regionRead(region: number, offset: U64Input, count: number): Promise<Uint8Array> {
    const request = REGION_ACCESS.encode({ offset, region, count });
    const reply = await this.#ask(COMMAND.REGION_READ, [request], REGION_ACCESS.length + count);
    return reply.subarray(REGION_ACCESS.length, REGION_ACCESS.length + count);
  }

  /** Writes a region (REGION_WRITE), and waits until the server says that it is done. */
  async regionWrite(region: number, offset: U64Input, data: Uint8Array): Promise<void> {
    const request = REGION_ACCESS.encode({ offset, region, count: data.length });
    await this.#ask(COMMAND.REGION_WRITE, [request, data], 0);
  }

  /** As `regionWrite`, without an answer: as QEMU writes registers. @throws EPIPE if the connection is closed */
  regionPost(region: number, offset: U64Input, data: Uint8Array): void {
    const request = REGION_ACCESS.encode({ offset, region, count: data.length });
    this.#requests.post(COMMAND.REGION_WRITE, [request, data.slice()]);
  }

  /** Several writes of 1 to 8 bytes in one message (REGION_WRITE_MULTI), without an answer. @throws EPIPE; EINVAL */
  regionPostMany(writes: readonly RegionWrite[]): void {
    this.#requests.post(COMMAND.REGION_WRITE_MULTI, multiWrite(writes));
  }

  /** As `regionPostMany`, with an answer. */
  async regionWriteMany(writes: readonly RegionWrite[]): Promise<void> {
    await this.#ask(COMMAND.REGION_WRITE_MULTI, multiWrite(writes), 0);
  }

  /** New memory for `dmaMap`, zeroed: shared where descriptors are passed. @throws EINVAL unless whole pages; ENOMEM */
  allocate(length: number): ClientRam {
    return this.#memory.allocate(length);
  }

  /**
   * Lets the device use memory (DMA_MAP).
   *
   * @throws (rejects with) what the server answers, with nothing mapped then; EINVAL, EOVERFLOW, EEXIST as `IoPagetable.map`
   */
  async dmaMap({ iova, ram, offset = 0, length, prot = 'rw', byMessage = false }: DmaMapping): Promise<void> {
    const from = readValue(offset, 'offset');
    const size = length === undefined ? BigInt(ram.bytes.length) - from : readValue(length, 'length');
    const address = readValue(iova, 'iova');
    await this.#memory.map(ram, from, address, size, prot);
    const descriptors = ram.descriptor === undefined || byMessage ? [] : [ram.descriptor];
    const flags = protectionBits(prot) ?? 0;
    const map = DMA_MAP.encode({ argsz: DMA_MAP.length, flags, offset: from, address, size });
    try {
      await this.#ask(COMMAND.DMA_MAP, [map], 0, descriptors);
    } catch (error) {
      await this.#memory.table.unmap(address, size);
      throw error;
    }
  }

  /** Takes memory away (DMA_UNMAP). The device has let go of it once this resolves. @throws (rejects with) what the server answers */
  async dmaUnmap(iova: U64Input, length: U64Input): Promise<void> {
    const unmap = DMA_UNMAP.encode({ argsz: DMA_UNMAP.length, address: iova, size: length });
    await this.#ask(COMMAND.DMA_UNMAP, [unmap], 0);
    await this.#memory.table.unmap(iova, length);
  }

  /**
   * Waits for interrupts (DEVICE_SET_IRQS with eventfds).
   *
   * @param index - `IRQ`: which kind
   * @param count - vectors, from 0 on
   * @throws (rejects with) EOPNOTSUPP without descriptors: only MSI works then, as the event `msi`
   */
  async enableInterrupts(index: number, count: number, handler: InterruptHandler): Promise<void> {
    if (this.#interrupts === undefined) {
      throw refuse('EOPNOTSUPP', 'unsupported', 'interrupts by eventfd need descriptors');
    }
    const most = Math.max(1, this.capabilities.maxMessageDescriptors);
    for (let start = 0; start < count; start += most) {
      const part = Math.min(most, count - start);
      const descriptors = this.#interrupts.add(index, start, part, handler);
      const flags = IRQ_SET_FLAG.DATA_EVENTFD | IRQ_SET_FLAG.TRIGGER;
      await this.#setInterrupts(index, flags, start, part, descriptors);
    }
  }

  /** Ends what `enableInterrupts` began. */
  async disableInterrupts(index: number): Promise<void> {
    await this.#setInterrupts(index, IRQ_SET_FLAG.DATA_NONE | IRQ_SET_FLAG.TRIGGER, 0, 0);
    this.#interrupts?.clear(index);
  }

  /** Keeps interrupts from coming, as of INTx. */
  async maskInterrupts(index: number, start = 0, count = 1): Promise<void> {
    await this.#setInterrupts(index, IRQ_SET_FLAG.DATA_NONE | IRQ_SET_FLAG.MASK, start, count);
  }

  /** Lets interrupts come again. Of INTx: one that came is acknowledged, and comes again if its cause has stayed. */
  async unmaskInterrupts(index: number, start = 0, count = 1): Promise<void> {
    await this.#setInterrupts(index, IRQ_SET_FLAG.DATA_NONE | IRQ_SET_FLAG.UNMASK, start, count);
  }

  /** Has the device signal vectors, as a test of the way. */
  async triggerInterrupts(index: number, start: number, count: number): Promise<void> {
    await this.#setInterrupts(index, IRQ_SET_FLAG.DATA_NONE | IRQ_SET_FLAG.TRIGGER, start, count);
  }

  async #setInterrupts(
    index: number,
    flags: number,
    start: number,
    count: number,
    descriptors?: readonly number[],
  ): Promise<void> {
    const set = IRQ_SET.encode({ argsz: IRQ_SET.length, flags, index, start, count });
    await this.#ask(COMMAND.DEVICE_SET_IRQS, [set], 0, descriptors);
  }

  /** Resets the device (DEVICE_RESET). Mappings and interrupts stay. */
  async reset(): Promise<void> {
    await this.#ask(COMMAND.DEVICE_RESET, [], 0);
  }

  /** Whether the device has a feature for `flags`: `FEATURE_FLAG.GET`, `SET` or both. */
  async hasFeature(feature: number, flags: number): Promise<boolean> {
    try {
      await this.#feature(feature, FEATURE_FLAG.PROBE | flags, NOTHING, 0);
      return true;
    } catch (error) {
      if (isRefusal(error)) return false;
      throw error;
    }
  }

  /** Sends a DEVICE_FEATURE and gives what follows its struct in the reply. @param room - bytes of data in the reply */
  async #feature(feature: number, flags: number, data: Uint8Array, room: number): Promise<Uint8Array> {
    const argsz = DEVICE_FEATURE.length + Math.max(data.length, room);
    const request = DEVICE_FEATURE.encode({ argsz, flags: feature | flags });
    const least = DEVICE_FEATURE.length + room;
    const reply = await this.#ask(COMMAND.DEVICE_FEATURE, [request, data], least);
    return reply.subarray(DEVICE_FEATURE.length);
  }

  /** What kinds of migration the device knows: bits 1 stop-copy, 2 peer to peer, 4 pre-copy. */
  async migrationFlags(): Promise<bigint> {
    const { length } = FEATURE_MIGRATION;
    return FEATURE_MIGRATION.decode(await this.#feature(FEATURE.MIGRATION, FEATURE_FLAG.GET, NOTHING, length))
      .flags;
  }

  /** The state of the device's migration: `MIG_STATE`. */
  async migrationState(): Promise<number> {
    const { length } = FEATURE_MIG_STATE;
    return FEATURE_MIG_STATE.decode(
      await this.#feature(FEATURE.MIG_DEVICE_STATE, FEATURE_FLAG.GET, NOTHING, length),
    ).state;
  }

  /** Brings the device into a state of migration: `MIG_STATE`. */
  async setMigrationState(state: number): Promise<void> {
    const set = FEATURE_MIG_STATE.encode({ state, dataFd: 0xffff_ffff });
    await this.#feature(FEATURE.MIG_DEVICE_STATE, FEATURE_FLAG.SET, set, 0);
  }

  /** The next bytes of the device's state, at most `most` (MIG_DATA_READ). None: that was all. */
  async readMigrationData(most: number): Promise<Uint8Array> {
    const request = MIG_DATA.encode({ argsz: MIG_DATA.length + most, size: most });
    const reply = await this.#ask(COMMAND.MIG_DATA_READ, [request], MIG_DATA.length);
    const { size } = MIG_DATA.decode(reply);
    return long(reply, MIG_DATA.length + size, COMMAND.MIG_DATA_READ)
      .subarray(MIG_DATA.length)
      .subarray(0, size);
  }

  /** Gives the device the next bytes of a state (MIG_DATA_WRITE). */
  async writeMigrationData(data: Uint8Array): Promise<void> {
    const request = MIG_DATA.encode({ argsz: MIG_DATA.length + data.length, size: data.length });
    await this.#ask(COMMAND.MIG_DATA_WRITE, [request, data], 0);
  }

  /**
   * Has the device remember which pages it writes.
   *
   * @param ranges - where; none: everywhere
   */
  async startDirtyLogging(
    pageSize: U64Input,
    ranges: readonly { readonly iova: U64Input; readonly length: U64Input }[] = [],
  ): Promise<void> {
    const start = LOGGING_START.encode({ pageSize, numRanges: ranges.length });
    const data = joined([start, ...ranges.map((range) => LOGGING_RANGE.encode(range))]);
    await this.#feature(FEATURE.DMA_LOGGING_START, FEATURE_FLAG.SET, data, 0);
    this.#loggedPageSize = readValue(pageSize, 'pageSize');
  }

  /** Ends it. */
  async stopDirtyLogging(): Promise<void> {
    // Nothing has to follow; libvfio-user's own client sends the struct of the start, so its servers are used to that.
    const stop = LOGGING_START.encode({ pageSize: this.#loggedPageSize, numRanges: 0 });
    await this.#feature(FEATURE.DMA_LOGGING_STOP, FEATURE_FLAG.SET, stop, 0);
  }

  /** The pages that were written since this was last asked: bit n (byte n / 8, bit n % 8) is page n of the range. */
  async dirtyPages(iova: U64Input, length: U64Input, pageSize: U64Input): Promise<Uint8Array> {
    const bytes = readValue(length, 'length');
    const page = readValue(pageSize, 'pageSize');
    if (page === 0n || bytes === 0n) throw refuse('EINVAL', 'argument', 'there are no pages in that range');
    const words = ((bytes + page - 1n) / page + 63n) / 64n;
    const room = LOGGING_REPORT.length + Number(words) * 8;
    if (room > MAX_DATA_XFER_SIZE) throw refuse('E2BIG', 'argument', `a bitmap of ${words * 8n} bytes`);
    const request = LOGGING_REPORT.encode({ iova, length, pageSize });
    const reply = await this.#feature(FEATURE.DMA_LOGGING_REPORT, FEATURE_FLAG.GET, request, room);
    return reply.subarray(LOGGING_REPORT.length, room);
  }

  /** Closes the connection and gives back all memory, which reads as zeroes from then on where it was shared. */
  async close(): Promise<void> {
    this.#transport.close();
    await this.#memory.close();
    for (const file of this.#mapped.splice(0)) file.unmap();
  }

  /** As `close`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #ended(error: Error | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#requests.close(error);
    this.#interrupts?.clear();
    this.#waiting.length = 0;
    this.emit('close', error);
  }

  #message(message: Message): void {
    if ((message.header.flags & MESSAGE_FLAG.TYPE) === MESSAGE_FLAG.REPLY) {
      try {
        this.#requests.settle(message, (descriptor) => this.#support?.close(descriptor));
      } catch (error) {
        this.#transport.close(error instanceof Error ? error : undefined);
      }
      return;
    }
    this.#drop(message.descriptors);
    this.#waiting.push(message);
    if (this.#waiting.length >= MOST_WAITING) this.#transport.pause();
    this.#serve();
  }

  /** Serves what waits, one after the other. */
  async #serve(): Promise<void> {
    if (this.#serving) return;
    this.#serving = true;
    while (this.#waiting.length > 0 && (this.#dmaWhileWaiting || this.#requests.open === 0)) {
      await this.#answer(this.#waiting.shift()!);
      if (this.#waiting.length < MOST_WAITING) this.#transport.resume();
    }
    this.#serving = false;
  }

  async #answer({ header, payload }: Message): Promise<void> {
    let flags: number = MESSAGE_FLAG.REPLY;
    let error = 0;
    let parts: Uint8Array[] = [];
    try {
      parts = await this.#dma(header.command, payload);
    } catch (thrown) {
      flags |= MESSAGE_FLAG.ERROR;
      error = errnoOf(thrown);
    }
    if ((header.flags & MESSAGE_FLAG.NO_REPLY) !== 0) return;
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    this.#transport.send([headerOf(header.id, header.command, length, flags, error), ...parts]);
  }

  /** Does what the device asks for, and gives the payload of the reply. */
  async #dma(command: number, payload: Uint8Array): Promise<Uint8Array[]> {
    if (command !== COMMAND.DMA_READ && command !== COMMAND.DMA_WRITE) {
      throw refuse('EOPNOTSUPP', 'unsupported', `${commandName(command)} is no command of a server`);
    }
    const { address, count } = DMA_ACCESS.decode(long(payload, DMA_ACCESS.length, command));
    if (count > MAX_DATA_XFER_SIZE) throw refuse('E2BIG', 'argument', `${count} bytes in one command`);
    const prefix = payload.subarray(0, DMA_ACCESS.length);
    if (command === COMMAND.DMA_READ) return [prefix, await this.#memory.read(address, Number(count))];
    const data = payload.subarray(DMA_ACCESS.length);
    if (BigInt(data.length) !== count)
      throw refuse('EINVAL', 'argument', `${data.length} bytes for ${count}`);
    if (data.length === 4 && address >= MSI_FIRST && address <= MSI_LAST) {
      this.emit('msi', address, new DataView(data.buffer, data.byteOffset).getUint32(0, true));
    } else await this.#memory.write(address, data);
    return [prefix];
  }
}

async function supportFor(wanted: 'auto' | 'always' | 'never'): Promise<DescriptorSupport | undefined> {
  if (wanted === 'never') return undefined;
  try {
    return await loadDescriptorSupport('descriptors');
  } catch (error) {
    if (wanted === 'always') throw error;
    return undefined;
  }
}

function socketTo(path: string): Promise<Transport> {
  return new Promise((resolve, reject) => {
    const socket = connectSocket(path);
    const failed = ({ code, message }: NodeJS.ErrnoException) => {
      const known = code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'EACCES' ? code : 'EIO';
      reject(refuse(known, 'state', message).during('connect'));
    };
    socket.once('error', failed);
    socket.once('connect', () => {
      socket.off('error', failed);
      resolve(new SocketTransport(socket, LIMITS));
    });
  });
}

/** @throws EBADE if the payload of a reply is not as long as it must be */
function long(payload: Uint8Array, least: number, command: number): Uint8Array {
  if (payload.length >= least) return payload;
  const detail = `the message has ${payload.length} bytes, not ${least}`;
  throw refuse('EBADE', 'state', detail).during(commandName(command));
}

function isRefusal(error: unknown): error is IommuError {
  return error instanceof Error && 'code' in error && error.code !== 'EPIPE' && error.code !== 'ETIMEDOUT';
}

/** What of a region can be mapped, as its description says. */
function areasOf(
  payload: Uint8Array,
  { flags, size, capOffset }: { readonly flags: number; readonly size: bigint; readonly capOffset: number },
): MappableArea[] {
  if ((flags & REGION_FLAG.MMAP) === 0) return [];
  let at = (flags & REGION_FLAG.CAPS) === 0 ? 0 : capOffset;
  // A list that leads back into itself ends here, too.
  for (let steps = 0; at !== 0 && steps < payload.length / SPARSE_MMAP.length; steps++) {
    const { id, next, count } = SPARSE_MMAP.decode(
      long(payload, at + SPARSE_MMAP.length, COMMAND.DEVICE_GET_REGION_INFO),
      at,
    );
    if (id === 1) {
      const first = at + SPARSE_MMAP.length;
      long(payload, first + count * SPARSE_AREA.length, COMMAND.DEVICE_GET_REGION_INFO);
      return Array.from({ length: count }, (_, each) => {
        const area = SPARSE_AREA.decode(payload, first + each * SPARSE_AREA.length);
        if (area.offset + area.size > size)
          throw refuse('EBADE', 'state', 'an area is outside of its region');
        return area;
      });
    }
    at = next;
  }
  return [{ offset: 0n, size }];
}

function multiWrite(writes: readonly RegionWrite[]): Uint8Array[] {
  const head = WRITE_MULTI.encode({ count: writes.length });
  return [
    head,
    ...writes.map(({ region, offset, data }) => {
      if (data.length < 1 || data.length > 8) {
        throw refuse('EINVAL', 'argument', `a write of several has 1 to 8 bytes, not ${data.length}`);
      }
      const bytes = MULTI_WRITE.encode({ offset, region, count: data.length, data: 0n });
      bytes.set(data, MULTI_WRITE.length - 8);
      return bytes;
    }),
  ];
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
