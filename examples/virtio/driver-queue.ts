/**
 * The driver's side of a virtqueue: makes chains available and takes them back when they are used.
 */
import { NEXT, type SplitVirtqueue, type UsedElement, WRITE } from './split-virtqueue.js';

/** A buffer of a chain, by the address that the device knows it by. */
export interface Buffer {
  readonly address: bigint;
  /** Bytes. */
  readonly length: number;
  /** Whether the device writes it; those that it reads come first in a chain. */
  readonly deviceWrites: boolean;
}

/** A queue that a driver fills. */
export class DriverQueue {
  readonly #queue: SplitVirtqueue;
  readonly #free: number[];
  /** The descriptors of the chains that the device has, by their heads. */
  readonly #lent = new Map<number, readonly number[]>();
  #usedSeen = 0;

  constructor(queue: SplitVirtqueue) {
    this.#queue = queue;
    this.#free = Array.from({ length: queue.size }, (_, number) => number);
  }

  /** Makes a chain of buffers available and gives its head. @throws Error if there are not enough descriptors */
  add(buffers: readonly Buffer[]): number {
    const queue = this.#queue;
    if (this.#free.length < buffers.length) throw new Error('the queue is full');
    const numbers = this.#free.splice(0, buffers.length);
    for (const [at, { address, length, deviceWrites }] of buffers.entries()) {
      const next = numbers[at + 1];
      const flags = (next === undefined ? 0 : NEXT) | (deviceWrites ? WRITE : 0);
      queue.writeDescriptor(numbers[at]!, { address, length, flags, next: next ?? 0 });
    }
    const head = numbers[0]!;
    this.#lent.set(head, numbers);
    const index = queue.availableIndex;
    queue.writeAvailable(queue.slot(index), head);
    queue.availableIndex = index + 1;
    return head;
  }

  /** The next chain that the device has used; its descriptors are free again. */
  takeUsed(): UsedElement | undefined {
    const queue = this.#queue;
    if (this.#usedSeen === queue.usedIndex) return undefined;
    const element = queue.readUsed(queue.slot(this.#usedSeen));
    this.#usedSeen = (this.#usedSeen + 1) & 0xffff;
    this.#free.push(...(this.#lent.get(element.head) ?? []));
    this.#lent.delete(element.head);
    return element;
  }
}
