/**
 * Memory of a modelled device that it lets others use, such as one of its BARs.
 */
import { checkObject, invalidType, readU64 } from '../arguments.js';
import { refuse } from '../errors.js';
import { isThenable } from '../operation.js';
import { join, PAGE_SIZE, type U64Input } from '../u64.js';
import type { DmaBuf } from './dma-buf.js';
import { BufferContent } from './page-content.js';
import { type Backing, PhysicalMemory } from './physical-memory.js';

/** How a dma-buf is made. */
export interface DmaBufOptions {
  /** The machine that it is in. Absent: one of its own. */
  readonly physical?: PhysicalMemory | undefined;
  /** Length in bytes, a multiple of 4096. Absent: that of the buffer. */
  readonly size?: U64Input | undefined;
  /** Its bytes. Absent: new, zeroed ones. */
  readonly buffer?: ArrayBuffer | SharedArrayBuffer | undefined;
}

/**
 * A dma-buf with its exporter's side: a BAR of a device, for example.
 *
 * Its frames are consecutive and begin at a multiple of its size, rounded up to a power of two. They are frames of the
 * machine: whoever reads frames there (`ProcessMemory.frames`) reads the device's memory.
 */
export class DmaBufExporter implements DmaBuf {
  /** The machine that it is in. */
  readonly physical: PhysicalMemory;
  /** Its bytes. */
  readonly buffer: ArrayBuffer | SharedArrayBuffer;
  readonly size: bigint;
  readonly #backing: Backing;
  readonly #listeners = new Set<() => void | PromiseLike<void>>();
  #revoked = false;
  #invalidations = 0;
  #freed = false;

  /**
   * @throws TypeError or RangeError if an option is of the wrong type; IommuError EINVAL if the size is 0, no multiple of
   * 4096, or larger than the buffer; ENOMEM if there is no room for it
   */
  constructor(options: DmaBufOptions) {
    checkObject(options, 'options');
    const { physical = new PhysicalMemory(), buffer } = options;
    if (!(physical instanceof PhysicalMemory)) throw invalidType(physical, 'physical', 'a PhysicalMemory');
    const size = readU64(options.size ?? buffer?.byteLength ?? 0, 'size');
    if (size.page === 0 || size.offset !== 0) {
      throw refuse('EINVAL', 'argument', 'the size of a dma-buf is a multiple of 4096, and not 0');
    }
    this.buffer = buffer ?? new ArrayBuffer(size.page * PAGE_SIZE);
    const content = new BufferContent(this.buffer);
    if (size.page > content.capacity) {
      throw refuse('EINVAL', 'argument', `the buffer has ${content.capacity} pages, not ${size.page}`);
    }
    this.physical = physical;
    this.size = join(size.page, 0);
    this.#backing = physical.addAligned(content, powerOfTwoFrom(size.page));
    this.#backing.mappings++;
  }

  get pfn(): number {
    return this.#backing.pfn;
  }

  get revoked(): boolean {
    return this.#revoked;
  }

  get invalidations(): number {
    return this.#invalidations;
  }

  onInvalidate(listener: () => void | PromiseLike<void>): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Takes the memory back: new mappings are refused (ENODEV), and what is mapped is empty, for good, when this returns.
   * The promise is settled when no device uses it any more.
   */
  revoke(): Promise<void> {
    this.#revoked = true;
    return this.invalidate();
  }

  /** Lets new mappings be made again. Those that were taken back stay empty. */
  restore(): void {
    this.#revoked = false;
  }

  /** Takes back what is mapped, as `revoke`, and goes on accepting new mappings, as when the memory moves. */
  async invalidate(): Promise<void> {
    this.#invalidations += 1;
    const flushes: PromiseLike<void>[] = [];
    for (const listener of [...this.#listeners]) {
      const answer = listener();
      if (isThenable(answer)) flushes.push(answer);
    }
    await Promise.all(flushes);
  }

  /** Revokes it, and gives its frames back to the machine: the device is gone. */
  async free(): Promise<void> {
    const revoked = this.revoke();
    if (!this.#freed) this.physical.unmap(this.#backing);
    this.#freed = true;
    await revoked;
  }
}

function powerOfTwoFrom(pages: number): number {
  let power = 1;
  while (power < pages) power *= 2;
  return power;
}
