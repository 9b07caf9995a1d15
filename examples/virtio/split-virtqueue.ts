/**
 * The layout of a split virtqueue (virtio 1.2, section 2.7): descriptor table, available ring, used ring. Little
 * endian. Both sides use it, each with the memory and the addresses as it sees them.
 */
import type { DeviceMemory } from './device-memory.js';

/** Descriptor flag: the chain goes on with descriptor `next`. */
export const NEXT = 1;
/** Descriptor flag: the buffer is for the device to write. */
export const WRITE = 2;

/** A buffer, and where its chain goes on. */
export interface Descriptor {
  readonly address: bigint;
  /** Bytes. */
  readonly length: number;
  readonly flags: number;
  /** The next descriptor of the chain, if `flags` has `NEXT`. */
  readonly next: number;
}

/** A chain that the device has done with. */
export interface UsedElement {
  /** The first descriptor of the chain. */
  readonly head: number;
  /** Bytes that the device wrote. */
  readonly written: number;
}

const DESCRIPTOR_SIZE = 16;
const USED_ELEMENT_SIZE = 8;
/** Both rings begin with flags and an index, 16 bits each. */
const INDEX_OFFSET = 2n;
const RING_OFFSET = 4n;

/** A queue somewhere in memory. */
export class SplitVirtqueue {
  readonly memory: DeviceMemory;
  /** Number of descriptors, and of entries in each ring: a power of two. */
  readonly size: number;
  readonly #descriptors: bigint;
  readonly #available: bigint;
  readonly #used: bigint;

  /** A queue whose three parts follow each other from `start` on, a multiple of 16. */
  constructor(memory: DeviceMemory, size: number, start: bigint) {
    this.memory = memory;
    this.size = size;
    this.#descriptors = start;
    this.#available = start + BigInt(DESCRIPTOR_SIZE * size);
    const ringEnd = this.#available + RING_OFFSET + BigInt(2 * size) + 2n;
    this.#used = (ringEnd + 3n) & ~3n;
  }

  /** The slot of a ring that a running index stands for. */
  slot(index: number): number {
    return index % this.size;
  }

  readDescriptor(number: number): Descriptor {
    const view = this.#view(this.#descriptor(number), DESCRIPTOR_SIZE);
    return {
      address: view.getBigUint64(0, true),
      length: view.getUint32(8, true),
      flags: view.getUint16(12, true),
      next: view.getUint16(14, true),
    };
  }

  writeDescriptor(number: number, { address, length, flags, next }: Descriptor): void {
    const view = new DataView(new ArrayBuffer(DESCRIPTOR_SIZE));
    view.setBigUint64(0, address, true);
    view.setUint32(8, length, true);
    view.setUint16(12, flags, true);
    view.setUint16(14, next, true);
    this.#store(this.#descriptor(number), view);
  }

  /** How many chains were ever made available, modulo 2^16. */
  get availableIndex(): number {
    return this.#readU16(this.#available + INDEX_OFFSET);
  }

  set availableIndex(index: number) {
    this.#writeU16(this.#available + INDEX_OFFSET, index);
  }

  /** The first descriptor of the chain in a slot of the available ring. */
  readAvailable(slot: number): number {
    return this.#readU16(this.#available + RING_OFFSET + BigInt(2 * slot));
  }

  writeAvailable(slot: number, head: number): void {
    this.#writeU16(this.#available + RING_OFFSET + BigInt(2 * slot), head);
  }

  /** How many chains were ever used, modulo 2^16. */
  get usedIndex(): number {
    return this.#readU16(this.#used + INDEX_OFFSET);
  }

  set usedIndex(index: number) {
    this.#writeU16(this.#used + INDEX_OFFSET, index);
  }

  readUsed(slot: number): UsedElement {
    const view = this.#view(this.#usedElement(slot), USED_ELEMENT_SIZE);
    return { head: view.getUint32(0, true), written: view.getUint32(4, true) };
  }

  writeUsed(slot: number, { head, written }: UsedElement): void {
    const view = new DataView(new ArrayBuffer(USED_ELEMENT_SIZE));
    view.setUint32(0, head, true);
    view.setUint32(4, written, true);
    this.#store(this.#usedElement(slot), view);
  }

  #descriptor(number: number): bigint {
    return this.#descriptors + BigInt(DESCRIPTOR_SIZE * number);
  }

  #usedElement(slot: number): bigint {
    return this.#used + RING_OFFSET + BigInt(USED_ELEMENT_SIZE * slot);
  }

  #readU16(address: bigint): number {
    return this.#view(address, 2).getUint16(0, true);
  }

  #writeU16(address: bigint, value: number): void {
    const view = new DataView(new ArrayBuffer(2));
    view.setUint16(0, value, true);
    this.#store(address, view);
  }

  #view(address: bigint, length: number): DataView {
    const bytes = this.memory.read(address, length);
    return new DataView(bytes.buffer, bytes.byteOffset, length);
  }

  #store(address: bigint, view: DataView): void {
    this.memory.write(address, new Uint8Array(view.buffer));
  }
}
