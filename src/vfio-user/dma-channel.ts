/** DMA_READ and DMA_WRITE: memory that is reached by asking the client. */
import { ERRNO, type ErrorCode, type IommuError, refuse } from '../errors.js';
import { COMMAND, DMA_ACCESS, HEADER, HEADER_SIZE, MESSAGE_FLAG } from './protocol.js';
import type { Message, Transport } from './transport.js';

/** Bytes that one command moves: a reply of more than some 200 KiB does not come whole from every client. */
const PIECE = 2 ** 16;
/** Commands that are under way at the same time. */
const WINDOW = 16;
/**
 * Bytes that are being read at the same time, unless a single command reads more. QEMU drops what its socket does not take of a
 * reply, about 200 KiB with Linux's defaults, and the connection with it.
 */
const READ_WINDOW = 2 ** 17;
const PREFIX = HEADER_SIZE + DMA_ACCESS.length;

/** A transfer by message. */
export interface RemoteTransfer {
  /** Settles when all of it was answered, or it failed. */
  readonly done: Promise<void>;
  /** Ends it at once: `done` rejects with `error`, and answers that are still to come are dropped. */
  abort(error: unknown): void;
}

/** A transfer, and how far it has come. */
class Job implements RemoteTransfer {
  readonly done: Promise<void>;
  /** Bytes that were asked for. */
  asked = 0;
  /** Commands without an answer. */
  open = 0;
  settled = false;
  #resolve: () => void = () => undefined;
  #reject: (error: unknown) => void = () => undefined;

  constructor(
    readonly write: boolean,
    readonly address: bigint,
    readonly buffer: Uint8Array,
  ) {
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  get allAsked(): boolean {
    return this.settled || this.asked === this.buffer.length;
  }

  finish(): void {
    if (this.settled || this.open > 0 || this.asked < this.buffer.length) return;
    this.settled = true;
    this.#resolve();
  }

  abort(error: unknown): void {
    if (this.settled) return;
    this.settled = true;
    this.#reject(error);
  }
}

/** A command that was sent. */
interface Request {
  readonly job: Job;
  /** Where its bytes are in the job's buffer. */
  readonly at: number;
  readonly count: number;
}

/** Moves bytes by asking the client, in pieces, several of them at a time, in the order of the calls. */
export class DmaChannel {
  readonly #transport: Transport;
  readonly #piece: number;
  readonly #requests = new Map<number, Request>();
  /** What has not been asked for wholly. */
  readonly #queue: Job[] = [];
  /** Messages of interrupts in the queue, by address and data: one says as much as two. */
  readonly #messages = new Map<string, Job>();
  #nextId = 0;
  /** Bytes that were asked for and have not come. */
  #reading = 0;
  #closed: unknown;

  /** @param most - bytes that the client lets one command move */
  constructor(transport: Transport, most: number) {
    this.#transport = transport;
    this.#piece = Math.min(most, PIECE);
  }

  /** Reads `target.length` bytes from `address` on. */
  read(address: bigint, target: Uint8Array): RemoteTransfer {
    return this.#start(new Job(false, address, target));
  }

  /** Writes `source` to `address` and after. It must not change until the transfer is done. */
  write(address: bigint, source: Uint8Array): RemoteTransfer {
    return this.#start(new Job(true, address, source));
  }

  /** Writes a 32-bit number to an address, after all that was begun before. Nobody hears whether it arrived. */
  message(address: bigint, data: number): void {
    const key = `${address} ${data}`;
    if (this.#closed !== undefined || this.#messages.has(key)) return;
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, data, true);
    const job = new Job(true, address, bytes);
    job.done.catch(() => undefined);
    this.#messages.set(key, job);
    this.#start(job);
    if (job.allAsked) this.#messages.delete(key);
  }

  #start(job: Job): Job {
    if (this.#closed !== undefined) job.abort(this.#closed);
    else {
      this.#queue.push(job);
      this.#pump();
    }
    return job;
  }

  #pump(): void {
    while (this.#requests.size < WINDOW) {
      const job = this.#queue[0];
      if (job === undefined) return;
      if (!job.settled) {
        const count = Math.min(this.#piece, job.buffer.length - job.asked);
        if (!job.write && this.#reading > 0 && this.#reading + count > READ_WINDOW) return;
        this.#ask(job);
      }
      if (job.allAsked) {
        this.#queue.shift();
        for (const [key, message] of this.#messages) if (message === job) this.#messages.delete(key);
      }
    }
  }

  #ask(job: Job): void {
    const at = job.asked;
    const count = Math.min(this.#piece, job.buffer.length - at);
    const bytes = new Uint8Array(PREFIX + (job.write ? count : 0));
    while (this.#requests.has(this.#nextId)) this.#nextId = (this.#nextId + 1) & 0xffff;
    const id = this.#nextId;
    this.#nextId = (id + 1) & 0xffff;
    HEADER.write(bytes, {
      id,
      command: job.write ? COMMAND.DMA_WRITE : COMMAND.DMA_READ,
      size: bytes.length,
      flags: 0,
    });
    DMA_ACCESS.write(bytes, { address: job.address + BigInt(at), count }, HEADER_SIZE);
    if (job.write) bytes.set(job.buffer.subarray(at, at + count), PREFIX);
    job.asked += count;
    job.open += 1;
    if (!job.write) this.#reading += count;
    this.#requests.set(id, { job, at, count });
    this.#transport.send([bytes]);
  }

  /**
   * Takes a reply.
   *
   * @throws Error if nobody has asked for it, or it is not what was asked for
   */
  reply({ header, payload }: Message): void {
    const request = this.#requests.get(header.id);
    if (request === undefined) throw new Error(`a reply to command ${header.id}, which was not sent`);
    const { job, at, count } = request;
    if (header.command !== (job.write ? COMMAND.DMA_WRITE : COMMAND.DMA_READ)) {
      throw new Error(`a reply to command ${header.id} of another kind: ${header.command}`);
    }
    this.#requests.delete(header.id);
    job.open -= 1;
    if (!job.write) this.#reading -= count;
    if ((header.flags & MESSAGE_FLAG.ERROR) !== 0) {
      job.abort(refused(header.error, job.address + BigInt(at), count, job.write));
    } else if (job.write) {
      job.finish();
    } else {
      if (payload.length !== DMA_ACCESS.length + count) {
        const error = new Error(`a reply of ${payload.length} bytes to a read of ${count}`);
        job.abort(refuse('EIO', 'fault', error.message));
        throw error;
      }
      this.#fill(job, at, payload.subarray(DMA_ACCESS.length));
      job.finish();
    }
    this.#pump();
  }

  #fill(job: Job, at: number, bytes: Uint8Array): void {
    if (job.settled) return;
    try {
      job.buffer.set(bytes, at);
    } catch (error) {
      // The buffer was detached, or has shrunk.
      job.abort(error);
    }
  }

  /** Ends everything that is under way, and all that comes later. */
  close(error: unknown): void {
    if (this.#closed !== undefined) return;
    this.#closed = error;
    for (const { job } of this.#requests.values()) job.abort(error);
    for (const job of this.#queue) job.abort(error);
    this.#requests.clear();
    this.#queue.length = 0;
    this.#messages.clear();
  }
}

const NAMES = new Map<number, ErrorCode>();
for (const [name, number] of Object.entries(ERRNO)) NAMES.set(number, name as ErrorCode);

/** The error of a transfer that the client has refused. */
function refused(errno: number, address: bigint, count: number, write: boolean): IommuError {
  const what = write ? 'a write' : 'a read';
  return refuse(
    NAMES.get(errno) ?? 'EIO',
    'fault',
    `the client refused ${what} of ${count} bytes at 0x${address.toString(16)} with errno ${errno}`,
  );
}
