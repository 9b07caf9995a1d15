/**
 * An NVMe controller with one namespace over a disk: what a guest's own driver needs to have a file system on it. As in
 * the public specification "NVM Express" 1.4, without what is optional there.
 */
import { type AccessWidth, PciDevice } from 'io-pagetable/vfio-user';
import type { Disk } from './disk.js';
import { BLOCK_SIZE, identify, MAX_TRANSFER_SHIFT, NAMESPACE, VERSION } from './identify.js';
import { dataPieces, type Piece } from './prp.js';
import { Command, CompletionQueue, SUBMISSION_SIZE, SubmissionQueue } from './queues.js';

const Register = {
  capabilities: 0x00,
  capabilitiesHigh: 0x04,
  version: 0x08,
  configuration: 0x14,
  status: 0x1c,
  adminSizes: 0x24,
  adminSubmission: 0x28,
  adminCompletion: 0x30,
  doorbells: 0x1000,
} as const;

const MAX_ENTRIES = 256;
/** Pairs of queues beside the admin queues. */
const IO_QUEUES = 4;
/** Contiguous queues only; ready within 10 seconds. The high half: the NVM command set; pages of 4096 bytes. */
const CAPABILITIES = (20 << 24) | (1 << 16) | (MAX_ENTRIES - 1);
const CAPABILITIES_HIGH = 1 << 5;

const ENABLED = 1;
const SHUTDOWN = 3 << 14;
const READY = 1;
const FATAL = 2;
const SHUTDOWN_DONE = 2 << 2;

const Admin = {
  deleteSubmission: 0x00,
  createSubmission: 0x01,
  getLogPage: 0x02,
  deleteCompletion: 0x04,
  createCompletion: 0x05,
  identify: 0x06,
  abort: 0x08,
  setFeatures: 0x09,
  getFeatures: 0x0a,
  asyncEvent: 0x0c,
} as const;

const Io = { flush: 0x00, write: 0x01, read: 0x02 } as const;

const NUMBER_OF_QUEUES = 0x07;

/** Status codes: what is wrong, and the type of the code in the upper byte. */
const Status = {
  success: 0,
  invalidOpcode: 0x01,
  invalidField: 0x02,
  dataTransfer: 0x04,
  invalidNamespace: 0x0b,
  outOfRange: 0x80,
  invalidCompletionQueue: 0x100,
  invalidQueueId: 0x101,
  invalidQueueSize: 0x102,
  invalidLogPage: 0x109,
  /** The completion queue still has submission queues. */
  invalidDeletion: 0x10c,
} as const;

/** The answer to a command: a status, or the result of one that succeeded. */
type Answer = { readonly status: number } | { readonly result: number };
const DONE: Answer = { result: 0 };
const failed = (status: number): Answer => ({ status });

/** What the controller is made of and plugged into. */
export interface NvmeOptions {
  readonly disk: Disk;
  /** Whether the VMM passes descriptors: MSI-X needs them, MSI does not. */
  readonly descriptors: boolean;
}

export class NvmeController {
  readonly device: PciDevice;
  readonly #disk: Disk;
  readonly #blocks: number;
  readonly #vectors: number;
  #configuration = 0;
  #status = 0;
  /** The registers of the admin queues: sizes, a gap, two addresses. */
  readonly #admin = new DataView(new ArrayBuffer(0x38 - Register.adminSizes));
  readonly #submissions = new Map<number, SubmissionQueue>();
  readonly #completions = new Map<number, CompletionQueue>();

  constructor({ disk, descriptors }: NvmeOptions) {
    this.#disk = disk;
    this.#blocks = Math.floor(disk.size / BLOCK_SIZE);
    this.#vectors = descriptors ? IO_QUEUES + 1 : 1;
    this.device = new PciDevice({
      vendor: 0x1b36,
      device: 0x0010,
      class: 0x010802,
      express: true,
      powerManagement: true,
      bars: {
        0: {
          size: 0x4000,
          kind: 'memory64',
          read: (offset, width) => this.#read(offset, width),
          write: (offset, width, value) => this.#write(offset, width, value),
        },
      },
      ...(descriptors ? { msix: { vectors: this.#vectors, bar: 2 } } : { msi: { vectors: 1 } }),
    });
    this.device.on('reset', () => {
      this.#disable();
      this.#configuration = 0;
      this.#status = 0;
    });
  }

  #read(offset: number, width: AccessWidth): number {
    if (width !== 4) return 0;
    if (offset >= Register.adminSizes && offset < Register.adminSizes + this.#admin.byteLength) {
      return this.#admin.getUint32(offset - Register.adminSizes, true);
    }
    switch (offset) {
      case Register.capabilities:
        return CAPABILITIES;
      case Register.capabilitiesHigh:
        return CAPABILITIES_HIGH;
      case Register.version:
        return VERSION;
      case Register.configuration:
        return this.#configuration;
      case Register.status:
        return this.#status;
      default:
        return 0;
    }
  }

  #write(offset: number, width: AccessWidth, value: number): Promise<void> | undefined {
    if (width !== 4) return;
    if (offset >= Register.doorbells) return this.#ring((offset - Register.doorbells) / 4, value & 0xffff);
    if (offset >= Register.adminSizes && offset < Register.adminSizes + this.#admin.byteLength) {
      this.#admin.setUint32(offset - Register.adminSizes, value, true);
    } else if (offset === Register.configuration) {
      this.#configure(value);
    }
    return;
  }

  #configure(value: number): void {
    const before = this.#configuration;
    this.#configuration = value;
    if ((value & ENABLED) !== 0 && (before & ENABLED) === 0) this.#enable();
    if ((value & ENABLED) === 0 && (before & ENABLED) !== 0) this.#disable();
    if ((value & SHUTDOWN) !== 0) this.#status |= SHUTDOWN_DONE;
  }

  #enable(): void {
    const at = (register: number) => register - Register.adminSizes;
    const sizes = this.#admin.getUint32(0, true);
    const submission = this.#admin.getBigUint64(at(Register.adminSubmission), true);
    const completion = this.#admin.getBigUint64(at(Register.adminCompletion), true);
    const completions = new CompletionQueue(0, completion, ((sizes >>> 16) & 0xfff) + 1, 0);
    this.#completions.set(0, completions);
    this.#submissions.set(0, new SubmissionQueue(0, submission, (sizes & 0xfff) + 1, completions));
    this.#status = READY;
  }

  #disable(): void {
    for (const queue of [...this.#submissions.values(), ...this.#completions.values()]) queue.gone = true;
    this.#submissions.clear();
    this.#completions.clear();
    this.#status = 0;
  }

  /** A doorbell: the driver has added commands to a queue, or has seen completions. */
  #ring(doorbell: number, value: number): Promise<void> | undefined {
    const id = doorbell >> 1;
    if ((doorbell & 1) === 0) {
      const queue = this.#submissions.get(id);
      if (queue === undefined || value >= queue.entries) return;
      queue.tail = value;
      return queue.busy ? undefined : this.#fetch(queue);
    }
    const queue = this.#completions.get(id);
    if (queue === undefined || value >= queue.entries) return;
    queue.head = value;
    return this.#complete(queue);
  }

  /** Takes commands out of a queue until there is none; they run side by side. */
  async #fetch(queue: SubmissionQueue): Promise<void> {
    queue.busy = true;
    try {
      while (queue.head !== queue.tail && !queue.gone) {
        // All up to the tail, or to the end of the ring.
        const last = queue.tail > queue.head ? queue.tail : queue.entries;
        const bytes = new Uint8Array((last - queue.head) * SUBMISSION_SIZE);
        await this.device.dma.read(queue.iova + BigInt(queue.head * SUBMISSION_SIZE), bytes);
        if (queue.gone) return;
        queue.head = last % queue.entries;
        for (let at = 0; at < bytes.length; at += SUBMISSION_SIZE) {
          void this.#run(queue, new Command(bytes.subarray(at, at + SUBMISSION_SIZE)));
        }
      }
    } catch {
      this.#fail(queue);
    } finally {
      queue.busy = false;
    }
  }

  /** The queues themselves cannot be reached: nothing goes any more until the driver resets the controller. */
  #fail(queue: { readonly gone: boolean }): void {
    if (!queue.gone) this.#status |= FATAL;
  }

  async #run(queue: SubmissionQueue, command: Command): Promise<void> {
    const answer = await (queue.id === 0 ? this.#admitted(command) : this.#io(command)).catch(() =>
      failed(Status.dataTransfer),
    );
    if (answer === undefined || queue.gone) return;
    const { result, status } = { result: 0, status: Status.success, ...answer };
    queue.completions.waiting.push({ queue, command: command.id, result, status });
    await this.#complete(queue.completions);
  }

  /** Writes the completions that there is room for, and interrupts. */
  async #complete(queue: CompletionQueue): Promise<void> {
    const written: Promise<unknown>[] = [];
    while (queue.waiting.length > 0 && !queue.full && !queue.gone) {
      const { iova, bytes } = queue.place(queue.waiting.shift()!);
      written.push(this.device.dma.write(iova, bytes));
    }
    if (written.length === 0) return;
    try {
      await Promise.all(written);
    } catch {
      this.#fail(queue);
      return;
    }
    if (!queue.gone && queue.vector !== undefined) this.device.interrupt(queue.vector % this.#vectors);
  }

  /** An admin command; nothing is answered to requests for events, of which there are none. */
  async #admitted(command: Command): Promise<Answer | undefined> {
    switch (command.opcode) {
      case Admin.createCompletion:
        return this.#createCompletionQueue(command);
      case Admin.createSubmission:
        return this.#createSubmissionQueue(command);
      case Admin.deleteSubmission:
        return this.#deleteSubmissionQueue(command.word(10) & 0xffff);
      case Admin.deleteCompletion:
        return this.#deleteCompletionQueue(command.word(10) & 0xffff);
      case Admin.identify: {
        const answer = identify(command.word(10) & 0xff, this.#blocks);
        if (answer === undefined) return failed(Status.invalidField);
        await this.#toGuest(command, answer);
        return DONE;
      }
      case Admin.getLogPage: {
        // Errors, health, firmware: nothing has happened.
        if (![1, 2, 3].includes(command.word(10) & 0xff)) return failed(Status.invalidLogPage);
        const words = ((command.word(10) >>> 16) | ((command.word(11) & 0xffff) << 16)) + 1;
        if (words < 1 || words > 1024) return failed(Status.invalidField);
        await this.#toGuest(command, new Uint8Array(words * 4));
        return DONE;
      }
      case Admin.setFeatures:
      case Admin.getFeatures:
        if ((command.word(10) & 0xff) !== NUMBER_OF_QUEUES) return DONE;
        return { result: ((IO_QUEUES - 1) << 16) | (IO_QUEUES - 1) };
      case Admin.abort:
        return { result: 1 }; // not aborted
      case Admin.asyncEvent:
        return undefined;
      default:
        return failed(Status.invalidOpcode);
    }
  }

  #createCompletionQueue(command: Command): Answer {
    const { id, entries } = queueOf(command);
    const flags = command.word(11);
    if (id === 0 || id > IO_QUEUES || this.#completions.has(id)) return failed(Status.invalidQueueId);
    if (entries < 2 || entries > MAX_ENTRIES) return failed(Status.invalidQueueSize);
    if ((flags & 1) === 0) return failed(Status.invalidField);
    const vector = (flags & 2) !== 0 ? flags >>> 16 : undefined;
    this.#completions.set(id, new CompletionQueue(id, command.prp1, entries, vector));
    return DONE;
  }

  #createSubmissionQueue(command: Command): Answer {
    const { id, entries } = queueOf(command);
    const flags = command.word(11);
    const completions = this.#completions.get(flags >>> 16);
    if (completions === undefined || completions.id === 0) return failed(Status.invalidCompletionQueue);
    if (id === 0 || id > IO_QUEUES || this.#submissions.has(id)) return failed(Status.invalidQueueId);
    if (entries < 2 || entries > MAX_ENTRIES) return failed(Status.invalidQueueSize);
    if ((flags & 1) === 0) return failed(Status.invalidField);
    this.#submissions.set(id, new SubmissionQueue(id, command.prp1, entries, completions));
    return DONE;
  }

  #deleteSubmissionQueue(id: number): Answer {
    const queue = this.#submissions.get(id);
    if (queue === undefined || id === 0) return failed(Status.invalidQueueId);
    queue.gone = true;
    this.#submissions.delete(id);
    return DONE;
  }

  #deleteCompletionQueue(id: number): Answer {
    const queue = this.#completions.get(id);
    if (queue === undefined || id === 0) return failed(Status.invalidQueueId);
    if ([...this.#submissions.values()].some(({ completions }) => completions === queue)) {
      return failed(Status.invalidDeletion);
    }
    queue.gone = true;
    this.#completions.delete(id);
    return DONE;
  }

  async #io(command: Command): Promise<Answer> {
    if (command.opcode === Io.flush) {
      await this.#disk.flush();
      return DONE;
    }
    if (command.opcode !== Io.read && command.opcode !== Io.write) return failed(Status.invalidOpcode);
    if (command.namespace !== NAMESPACE) return failed(Status.invalidNamespace);
    const blocks = (command.word(12) & 0xffff) + 1;
    const length = blocks * BLOCK_SIZE;
    if (length > 4096 << MAX_TRANSFER_SHIFT) return failed(Status.invalidField);
    if (command.firstBlock + BigInt(blocks) > BigInt(this.#blocks)) return failed(Status.outOfRange);
    const offset = Number(command.firstBlock) * BLOCK_SIZE;
    const bytes = new Uint8Array(length);
    if (command.opcode === Io.read) {
      await this.#disk.read(offset, bytes);
      await this.#toGuest(command, bytes);
    } else {
      await this.#fromGuest(command, bytes);
      await this.#disk.write(offset, bytes);
    }
    return DONE;
  }

  async #toGuest(command: Command, bytes: Uint8Array): Promise<void> {
    await this.device.dma.writeList(await this.#dataOf(command, bytes.length), bytes);
  }

  async #fromGuest(command: Command, bytes: Uint8Array): Promise<void> {
    await this.device.dma.readList(await this.#dataOf(command, bytes.length), bytes);
  }

  #dataOf({ prp1, prp2 }: Command, length: number): Promise<Piece[]> {
    const { dma } = this.device;
    return dataPieces((iova, target) => dma.read(iova, target), prp1, prp2, length);
  }
}

/** The queue that is to be made. */
const queueOf = (command: Command) => ({
  id: command.word(10) & 0xffff,
  entries: (command.word(10) >>> 16) + 1,
});
