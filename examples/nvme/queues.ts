/** The queues that a driver and its controller share. */
import type { PciDevice } from 'io-pagetable/vfio-user';
import { CQE_SIZE } from './protocol.js';

/** Where commands come from: a ring of 64-byte entries. */
export interface SubmissionQueue {
  readonly id: number;
  readonly address: bigint;
  readonly size: number;
  readonly completions: CompletionQueue;
  /** The next entry that is fetched. */
  head: number;
  /** The driver's: the entry after the last one. */
  tail: number;
  /** Whether entries are being fetched. */
  fetching: boolean;
}

/** An answer. */
interface Completion {
  readonly queue: SubmissionQueue;
  readonly command: number;
  readonly status: number;
  readonly result: number;
}

/** Where answers go: a ring of 16-byte entries. */
export class CompletionQueue {
  readonly id: number;
  readonly size: number;
  readonly vector: number;
  readonly #pci: PciDevice;
  readonly #address: bigint;
  readonly #interrupts: boolean;
  readonly #waiting: Completion[] = [];
  #head = 0;
  #tail = 0;
  #phase = 1;
  /** How many submission queues use it. */
  users = 0;

  constructor(
    pci: PciDevice,
    parts: {
      readonly id: number;
      readonly address: bigint;
      readonly size: number;
      readonly vector: number;
      readonly interrupts: boolean;
    },
  ) {
    this.#pci = pci;
    this.id = parts.id;
    this.size = parts.size;
    this.vector = parts.vector;
    this.#address = parts.address;
    this.#interrupts = parts.interrupts;
  }

  /** Whether the driver has seen all answers. */
  get empty(): boolean {
    return this.#head === this.#tail;
  }

  /** The driver has seen all before entry `head`. Gives `false` if there is no such entry. */
  seen(head: number): boolean {
    if (head >= this.size) return false;
    this.#head = head;
    this.#post();
    return true;
  }

  /** Answers a command, once there is room. */
  complete(completion: Completion): void {
    this.#waiting.push(completion);
    this.#post();
  }

  #post(): void {
    for (let next = (this.#tail + 1) % this.size; next !== this.#head; next = (this.#tail + 1) % this.size) {
      const completion = this.#waiting.shift();
      if (completion === undefined) return;
      const at = this.#address + BigInt(this.#tail * CQE_SIZE);
      const entry = encode(completion, this.#phase);
      this.#tail = next;
      if (next === 0) this.#phase ^= 1;
      this.#pci.dma.write(at, entry).then(
        () => {
          if (this.#interrupts) this.#pci.interrupt(this.vector);
        },
        // The driver has taken the memory away, or the client has gone: nobody is left to be told.
        () => undefined,
      );
    }
  }
}

function encode({ queue, command, status, result }: Completion, phase: number): Uint8Array {
  const bytes = new Uint8Array(CQE_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, result, true);
  view.setUint16(8, queue.head, true);
  view.setUint16(10, queue.id, true);
  view.setUint16(12, command, true);
  view.setUint16(14, (status << 1) | phase, true);
  return bytes;
}
