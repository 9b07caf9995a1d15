/** An NVMe controller with one namespace: what a guest's own driver needs to make a file system on it. */
import { PciDevice } from 'io-pagetable/vfio-user';
import {
  identifyController,
  identifyNamespace,
  MAX_TRANSFER_SHIFT,
  namespaceDescriptors,
  namespaceList,
} from './identify.js';
import {
  ADMIN,
  BLOCK_SIZE,
  decodeCommand,
  FEATURE_QUEUES,
  IO,
  type NvmeCommand,
  NvmeError,
  PAGE_SIZE,
  REGISTER,
  SQE_SIZE,
  STATUS,
} from './protocol.js';
import { followPrps } from './prp.js';
import { CompletionQueue, type SubmissionQueue } from './queues.js';
import type { Storage } from './storage.js';

const MOST_ENTRIES = 256;
/** Pairs of I/O queues. */
const MOST_QUEUES = 4;
const MOST_ASYNC = 4;
/** Bytes of a log page that are given at once. */
const LARGEST_LOG = 2 ** 17;
/** Queues are contiguous, the NVM command set is there, and a start takes at most 10 s. */
const CAPABILITIES = BigInt(MOST_ENTRIES - 1) | (1n << 16n) | (20n << 24n) | (1n << 37n);
const ENABLED = 1;
const READY = 1;
const FATAL = 2;
const SHUTDOWN_DONE = 8;

/** An NVMe controller over some storage. */
export class NvmeController {
  readonly pci: PciDevice;
  readonly #storage: Storage;
  readonly #submissions = new Map<number, SubmissionQueue>();
  readonly #completions = new Map<number, CompletionQueue>();
  readonly #features = new Map<number, number>();
  #config = 0;
  #status = 0;
  #adminSizes = 0;
  #adminSubmission = 0n;
  #adminCompletion = 0n;
  #asyncRequests = 0;
  /** Commands of before a reset belong to another one, and are not answered. */
  #session = {};

  constructor(storage: Storage) {
    this.#storage = storage;
    this.pci = new PciDevice({
      vendor: 0x1b36,
      device: 0x0010,
      class: 0x010802,
      revision: 2,
      subsystemVendor: 0x1af4,
      subsystem: 0x1100,
      bars: {
        0: {
          size: 0x4000,
          kind: 'memory64',
          read: (offset) => this.#read(offset),
          write: (offset, _width, value) => this.#write(offset, value),
        },
      },
      intx: 'A',
      msi: { vectors: 1 },
      msix: { vectors: MOST_QUEUES + 1, bar: 0, tableOffset: 0x2000, pendingOffset: 0x3000 },
    });
    this.pci.on('reset', () => {
      this.#config = 0;
      this.#adminSizes = 0;
      this.#adminSubmission = 0n;
      this.#adminCompletion = 0n;
      this.#stop();
    });
  }

  #read(offset: number): number {
    switch (offset) {
      case REGISTER.CAP:
        return Number(CAPABILITIES & 0xffff_ffffn);
      case REGISTER.CAP + 4:
        return Number(CAPABILITIES >> 32n);
      case REGISTER.VS:
        return 0x0001_0400;
      case REGISTER.CC:
        return this.#config;
      case REGISTER.CSTS:
        return this.#status;
      case REGISTER.AQA:
        return this.#adminSizes;
      case REGISTER.ASQ:
        return Number(this.#adminSubmission & 0xffff_ffffn);
      case REGISTER.ASQ + 4:
        return Number(this.#adminSubmission >> 32n);
      case REGISTER.ACQ:
        return Number(this.#adminCompletion & 0xffff_ffffn);
      case REGISTER.ACQ + 4:
        return Number(this.#adminCompletion >> 32n);
      default:
        return 0;
    }
  }

  #write(offset: number, value: number): void {
    if (offset >= REGISTER.DOORBELLS) {
      this.#ring((offset - REGISTER.DOORBELLS) / 4, value);
      return;
    }
    switch (offset) {
      case REGISTER.CC:
        this.#configure(value);
        break;
      case REGISTER.AQA:
        this.#adminSizes = value;
        break;
      case REGISTER.ASQ:
        this.#adminSubmission = (this.#adminSubmission & ~0xffff_ffffn) | BigInt(value & ~0xfff);
        break;
      case REGISTER.ASQ + 4:
        this.#adminSubmission = (this.#adminSubmission & 0xffff_ffffn) | (BigInt(value) << 32n);
        break;
      case REGISTER.ACQ:
        this.#adminCompletion = (this.#adminCompletion & ~0xffff_ffffn) | BigInt(value & ~0xfff);
        break;
      case REGISTER.ACQ + 4:
        this.#adminCompletion = (this.#adminCompletion & 0xffff_ffffn) | (BigInt(value) << 32n);
        break;
    }
  }

  #configure(value: number): void {
    const was = this.#config & ENABLED;
    this.#config = value;
    if (was === 0 && (value & ENABLED) !== 0) this.#start();
    if (was !== 0 && (value & ENABLED) === 0) this.#stop();
    // A shutdown has nothing to write back: what is written is in the storage.
    if (((value >> 14) & 3) !== 0) this.#status |= SHUTDOWN_DONE;
  }

  #start(): void {
    const completions = new CompletionQueue(this.pci, {
      id: 0,
      address: this.#adminCompletion,
      size: ((this.#adminSizes >> 16) & 0xfff) + 1,
      vector: 0,
      interrupts: true,
    });
    this.#completions.set(0, completions);
    this.#addSubmission(0, this.#adminSubmission, (this.#adminSizes & 0xfff) + 1, completions);
    this.#status = READY;
  }

  #stop(): void {
    this.#session = {};
    this.#submissions.clear();
    this.#completions.clear();
    this.#features.clear();
    this.#asyncRequests = 0;
    this.#status = 0;
    this.pci.clearInterrupt();
  }

  #addSubmission(id: number, address: bigint, size: number, completions: CompletionQueue): void {
    completions.users += 1;
    this.#submissions.set(id, { id, address, size, completions, head: 0, tail: 0, fetching: false });
  }

  /** A doorbell: even ones are of submission queues, odd ones of completion queues. */
  #ring(doorbell: number, value: number): void {
    const id = doorbell >> 1;
    if (doorbell % 2 === 0) {
      const queue = this.#submissions.get(id);
      if (queue === undefined || value >= queue.size) return;
      queue.tail = value;
      if (!queue.fetching) void this.#fetch(queue);
      return;
    }
    if (this.#completions.get(id)?.seen(value) !== true) return;
    if ([...this.#completions.values()].every(({ empty }) => empty)) this.pci.clearInterrupt();
  }

  /** Fetches commands until there are no more, and begins them. */
  async #fetch(queue: SubmissionQueue): Promise<void> {
    const session = this.#session;
    queue.fetching = true;
    try {
      while (queue.head !== queue.tail && this.#session === session) {
        const last = queue.tail > queue.head ? queue.tail : queue.size;
        const entries = new Uint8Array((last - queue.head) * SQE_SIZE);
        await this.pci.dma.read(queue.address + BigInt(queue.head * SQE_SIZE), entries);
        if (this.#session !== session) return;
        queue.head = last % queue.size;
        for (let at = 0; at < entries.length; at += SQE_SIZE) {
          void this.#run(queue, decodeCommand(entries.subarray(at, at + SQE_SIZE)), session);
        }
      }
    } catch {
      if (this.#session === session) this.#status |= FATAL;
    } finally {
      queue.fetching = false;
    }
  }

  async #run(queue: SubmissionQueue, command: NvmeCommand, session: object): Promise<void> {
    let status: number = STATUS.SUCCESS;
    let result: number | undefined = 0;
    try {
      result = queue.id === 0 ? await this.#admin(command) : await this.#io(command);
    } catch (error) {
      status = error instanceof NvmeError ? error.status : STATUS.DATA_TRANSFER_ERROR;
    }
    if (result === undefined || this.#session !== session) return;
    queue.completions.complete({ queue, command: command.id, status, result });
  }

  /** Runs an admin command and gives its result; `undefined`: it is answered some other time. */
  async #admin(command: NvmeCommand): Promise<number | undefined> {
    const [word10 = 0, word11 = 0] = command.words;
    switch (command.opcode) {
      case ADMIN.IDENTIFY:
        await this.#give(command, this.#identify(word10 & 0xff, command.namespace));
        return 0;
      case ADMIN.CREATE_CQ:
        this.#createCompletion(word10, word11, command.prp1);
        return 0;
      case ADMIN.CREATE_SQ:
        this.#createSubmission(word10, word11, command.prp1);
        return 0;
      case ADMIN.DELETE_CQ:
        this.#deleteCompletion(word10 & 0xffff);
        return 0;
      case ADMIN.DELETE_SQ:
        this.#deleteSubmission(word10 & 0xffff);
        return 0;
      case ADMIN.GET_LOG_PAGE: {
        const size = ((word11 & 0xffff) * 0x1_0000 + (word10 >>> 16) + 1) * 4;
        const page = word10 & 0xff;
        if (page < 1 || page > 3) throw new NvmeError(STATUS.INVALID_LOG_PAGE);
        if (size > LARGEST_LOG) throw new NvmeError(STATUS.INVALID_FIELD);
        await this.#give(command, new Uint8Array(size));
        return 0;
      }
      case ADMIN.SET_FEATURES:
        return this.#setFeature(word10 & 0xff, word11);
      case ADMIN.GET_FEATURES:
        return this.#features.get(word10 & 0xff) ?? 0;
      case ADMIN.ABORT:
        // Too late: nothing takes long.
        return 1;
      case ADMIN.ASYNC_EVENT_REQUEST:
        if (this.#asyncRequests === MOST_ASYNC) throw new NvmeError(STATUS.ASYNC_LIMIT);
        this.#asyncRequests += 1;
        return undefined;
      default:
        throw new NvmeError(STATUS.INVALID_OPCODE);
    }
  }

  #identify(what: number, namespace: number): Uint8Array {
    switch (what) {
      case 0:
        if (namespace !== 1) throw new NvmeError(STATUS.INVALID_NAMESPACE);
        return identifyNamespace(this.#storage.size);
      case 1:
        return identifyController();
      case 2:
        return namespaceList(namespace);
      case 3:
        if (namespace !== 1) throw new NvmeError(STATUS.INVALID_NAMESPACE);
        return namespaceDescriptors();
      default:
        throw new NvmeError(STATUS.INVALID_FIELD);
    }
  }

  #setFeature(feature: number, value: number): number {
    if (feature === 0 || feature > 0x20) throw new NvmeError(STATUS.INVALID_FIELD);
    const pairs = Math.min(value & 0xffff, value >>> 16, MOST_QUEUES - 1);
    const result = feature === FEATURE_QUEUES ? pairs | (pairs << 16) : value;
    this.#features.set(feature, result);
    return feature === FEATURE_QUEUES ? result : 0;
  }

  #createCompletion(word10: number, word11: number, address: bigint): void {
    const { id, size } = this.#newQueue(word10, word11, this.#completions);
    const vector = word11 >>> 16;
    if (vector > MOST_QUEUES) throw new NvmeError(STATUS.INVALID_VECTOR);
    const interrupts = (word11 & 2) !== 0;
    this.#completions.set(id, new CompletionQueue(this.pci, { id, address, size, vector, interrupts }));
  }

  #createSubmission(word10: number, word11: number, address: bigint): void {
    const { id, size } = this.#newQueue(word10, word11, this.#submissions);
    const completions = this.#completions.get(word11 >>> 16);
    if (completions === undefined || completions.id === 0) throw new NvmeError(STATUS.INVALID_CQ);
    this.#addSubmission(id, address, size, completions);
  }

  #newQueue(word10: number, word11: number, queues: ReadonlyMap<number, unknown>) {
    const id = word10 & 0xffff;
    const size = (word10 >>> 16) + 1;
    if (id === 0 || id > MOST_QUEUES || queues.has(id)) throw new NvmeError(STATUS.INVALID_QUEUE);
    if (size < 2 || size > MOST_ENTRIES) throw new NvmeError(STATUS.INVALID_QUEUE_SIZE);
    if ((word11 & 1) === 0) throw new NvmeError(STATUS.INVALID_FIELD);
    return { id, size };
  }

  #deleteCompletion(id: number): void {
    const queue = this.#completions.get(id);
    if (queue === undefined || id === 0 || queue.users > 0) throw new NvmeError(STATUS.INVALID_QUEUE);
    this.#completions.delete(id);
  }

  #deleteSubmission(id: number): void {
    const queue = this.#submissions.get(id);
    if (queue === undefined || id === 0) throw new NvmeError(STATUS.INVALID_QUEUE);
    queue.completions.users -= 1;
    this.#submissions.delete(id);
  }

  async #io(command: NvmeCommand): Promise<number> {
    if (command.opcode === IO.FLUSH) {
      await this.#storage.flush();
      return 0;
    }
    if (command.namespace !== 1) throw new NvmeError(STATUS.INVALID_NAMESPACE);
    const [low = 0, high = 0, word12 = 0] = command.words;
    const offset = (high * 2 ** 32 + low) * BLOCK_SIZE;
    const length = ((word12 & 0xffff) + 1) * BLOCK_SIZE;
    if (offset + length > this.#storage.size) throw new NvmeError(STATUS.LBA_OUT_OF_RANGE);
    switch (command.opcode) {
      case IO.READ: {
        const bytes = this.#newBuffer(length);
        await this.#storage.read(offset, bytes);
        await this.#give(command, bytes);
        return 0;
      }
      case IO.WRITE: {
        const bytes = this.#newBuffer(length);
        const { dma } = this.pci;
        await dma.readList(await followPrps(dma, command.prp1, command.prp2, length), bytes);
        await this.#storage.write(offset, bytes);
        return 0;
      }
      case IO.WRITE_ZEROES:
        await this.#storage.write(offset, new Uint8Array(length));
        return 0;
      default:
        throw new NvmeError(STATUS.INVALID_OPCODE);
    }
  }

  #newBuffer(length: number): Uint8Array {
    if (length > PAGE_SIZE * 2 ** MAX_TRANSFER_SHIFT) throw new NvmeError(STATUS.INVALID_FIELD);
    return new Uint8Array(length);
  }

  /** Writes the data of a command into the guest's memory. */
  async #give({ prp1, prp2 }: NvmeCommand, bytes: Uint8Array): Promise<void> {
    const { dma } = this.pci;
    await dma.writeList(await followPrps(dma, prp1, prp2, bytes.length), bytes);
  }
}
