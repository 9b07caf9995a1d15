/** The two kinds of queues that a driver and the controller share in the guest's memory. */

export const SUBMISSION_SIZE = 64;
export const COMPLETION_SIZE = 16;

/** A command as it is fetched from a submission queue. */
export class Command {
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, SUBMISSION_SIZE);
  }

  get opcode(): number {
    return this.#view.getUint8(0);
  }
  get id(): number {
    return this.#view.getUint16(2, true);
  }
  get namespace(): number {
    return this.#view.getUint32(4, true);
  }
  get prp1(): bigint {
    return this.#view.getBigUint64(24, true);
  }
  get prp2(): bigint {
    return this.#view.getBigUint64(32, true);
  }
  /** A 32-bit word of the command, by its number: 10 to 15. */
  word(number: number): number {
    return this.#view.getUint32(number * 4, true);
  }
  /** The first block that a read or write is about. */
  get firstBlock(): bigint {
    return this.#view.getBigUint64(40, true);
  }
}

/** Commands: the driver writes them, and moves the tail. */
export class SubmissionQueue {
  head = 0;
  tail = 0;
  /** Whether commands are being fetched. */
  busy = false;
  /** Whether a reset or the driver has taken the queue away: what is under way for it is dropped. */
  gone = false;

  constructor(
    readonly id: number,
    readonly iova: bigint,
    readonly entries: number,
    readonly completions: CompletionQueue,
  ) {}
}

/** How a command went. */
export interface Completion {
  readonly queue: SubmissionQueue;
  readonly command: number;
  readonly result: number;
  readonly status: number;
}

/** What became of commands: the controller writes it, and the driver moves the head. */
export class CompletionQueue {
  head = 0;
  /** Completions that wait for room. */
  readonly waiting: Completion[] = [];
  gone = false;
  #tail = 0;
  #phase = 1;

  constructor(
    readonly id: number,
    readonly iova: bigint,
    readonly entries: number,
    /** The interrupt vector, if there is one. */
    readonly vector: number | undefined,
  ) {}

  get full(): boolean {
    return (this.#tail + 1) % this.entries === this.head;
  }

  /** The next entry, and where it goes. */
  place({ queue, command, result, status }: Completion): { iova: bigint; bytes: Uint8Array } {
    const bytes = new Uint8Array(COMPLETION_SIZE);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, result, true);
    view.setUint16(8, queue.head, true);
    view.setUint16(10, queue.id, true);
    view.setUint16(12, command, true);
    view.setUint16(14, (status << 1) | this.#phase, true);
    const iova = this.iova + BigInt(this.#tail * COMPLETION_SIZE);
    this.#tail += 1;
    if (this.#tail === this.entries) {
      this.#tail = 0;
      this.#phase ^= 1;
    }
    return { iova, bytes };
  }
}
