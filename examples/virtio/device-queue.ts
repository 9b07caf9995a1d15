/**
 * The device's side of a virtqueue: takes chains and gives them back used. The driver is not trusted.
 */
import type { DeviceMemory } from './device-memory.js';
import { type Descriptor, NEXT, type SplitVirtqueue, WRITE } from './split-virtqueue.js';

/** The driver broke the rules of the queue: the device cannot go on before it is reset. */
export class BrokenQueueError extends Error {
  override readonly name = 'BrokenQueueError';
}

/** A row of buffers as one range of bytes, counted from 0. */
export class Buffers {
  /** Bytes of all buffers. */
  readonly length: number;
  readonly #memory: DeviceMemory;
  readonly #buffers: readonly Descriptor[];

  constructor(memory: DeviceMemory, buffers: readonly Descriptor[]) {
    this.#memory = memory;
    this.#buffers = buffers;
    this.length = buffers.reduce((sum, { length }) => sum + length, 0);
  }

  /** A copy of bytes `from` to `from + length − 1`. @throws as the memory */
  read(from: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (const part of this.#parts(from, length)) {
      bytes.set(this.#memory.read(part.address, part.length), part.at);
    }
    return bytes;
  }

  /** Writes bytes from byte `from` on. @throws as the memory; earlier buffers are written then */
  write(from: number, bytes: Uint8Array): void {
    for (const { address, at, length } of this.#parts(from, bytes.length)) {
      this.#memory.write(address, bytes.subarray(at, at + length));
    }
  }

  /** The pieces of buffers that a range of bytes is made of; `at` counts from the start of the range. */
  *#parts(from: number, length: number): Generator<{ address: bigint; at: number; length: number }> {
    let start = 0;
    for (const buffer of this.#buffers) {
      const first = Math.max(from, start);
      const past = Math.min(from + length, start + buffer.length);
      if (first < past) {
        yield { address: buffer.address + BigInt(first - start), at: first - from, length: past - first };
      }
      start += buffer.length;
    }
  }
}

/** A chain of buffers. */
export interface Chain {
  /** The number of its first descriptor. */
  readonly head: number;
  /** What the device reads. */
  readonly readable: Buffers;
  /** What the device writes. */
  readonly writable: Buffers;
}

/** A queue that a device works off. */
export class DeviceQueue {
  readonly #queue: SplitVirtqueue;
  #availableSeen = 0;

  constructor(queue: SplitVirtqueue) {
    this.#queue = queue;
  }

  /** The next available chain. @throws BrokenQueueError; and as the memory, if the rings are not there */
  take(): Chain | undefined {
    const queue = this.#queue;
    const waiting = (queue.availableIndex - this.#availableSeen) & 0xffff;
    if (waiting === 0) return undefined;
    if (waiting > queue.size) throw new BrokenQueueError(`${waiting} chains in a queue of ${queue.size}`);
    const head = queue.readAvailable(queue.slot(this.#availableSeen));
    const chain = this.#chain(head);
    this.#availableSeen = (this.#availableSeen + 1) & 0xffff;
    return chain;
  }

  /** Gives a chain back. @param written - bytes of it that the device wrote */
  give({ head }: Chain, written: number): void {
    const queue = this.#queue;
    const index = queue.usedIndex;
    queue.writeUsed(queue.slot(index), { head, written });
    queue.usedIndex = index + 1;
  }

  #chain(head: number): Chain {
    const queue = this.#queue;
    const readable: Descriptor[] = [];
    const writable: Descriptor[] = [];
    for (let number: number | undefined = head; number !== undefined; ) {
      if (number >= queue.size) throw new BrokenQueueError(`there is no descriptor ${number}`);
      if (readable.length + writable.length === queue.size) throw new BrokenQueueError('a chain is a circle');
      const descriptor = queue.readDescriptor(number);
      if ((descriptor.flags & WRITE) !== 0) writable.push(descriptor);
      else if (writable.length === 0) readable.push(descriptor);
      else throw new BrokenQueueError('a buffer to read follows one to write');
      number = (descriptor.flags & NEXT) !== 0 ? descriptor.next : undefined;
    }
    return {
      head,
      readable: new Buffers(queue.memory, readable),
      writable: new Buffers(queue.memory, writable),
    };
  }
}
