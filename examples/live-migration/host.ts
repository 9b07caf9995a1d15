/**
 * One side of a migration: a process with the guest's memory, mapped for a device.
 */
import { deviceWrite, IoPagetable, IoptAccess, ProcessMemory, RadixDomain } from 'io-pagetable';

export const PAGE_SIZE = 4096;
/** Where the guest's memory is for devices: at the same place on both sides. */
const RAM_IOVA = 0x1000_0000n;

/** A host of the guest. */
export class Host {
  /** The guest's memory, in pages. */
  readonly pages: number;
  readonly memory = new ProcessMemory();
  readonly #table = new IoPagetable({ memory: this.memory });
  /** Dirty marks are as fine as the pages of the domain: with 4 KiB ones alone, a mark is a page. */
  readonly #domain = new RadixDomain({ pageSizes: [PAGE_SIZE], dirty: true });
  readonly #access = new IoptAccess({ needsPin: false });

  private constructor(pages: number) {
    this.pages = pages;
  }

  static async start(pages: number): Promise<Host> {
    const host = new Host(pages);
    const length = pages * PAGE_SIZE;
    const { uptr } = host.memory.mmap({ length, frames: 'scattered' });
    await host.#table.addDomain(host.#domain);
    await host.#table.map({ iova: RAM_IOVA, uptr, length, prot: 'rw' });
    await host.#access.attach(host.#table);
    return host;
  }

  /** A device writes to guest memory by DMA, from byte `at` on. */
  dma(at: number, bytes: Uint8Array): void {
    deviceWrite(this.#domain, this.memory, RAM_IOVA + BigInt(at), bytes);
  }

  readPage(page: number): Promise<Uint8Array> {
    return this.#read(page * PAGE_SIZE, PAGE_SIZE);
  }

  async writePage(page: number, bytes: Uint8Array): Promise<void> {
    await this.#access.write(RAM_IOVA + BigInt(page * PAGE_SIZE), bytes);
  }

  /** All of the guest's memory. */
  image(): Promise<Uint8Array> {
    return this.#read(0, this.pages * PAGE_SIZE);
  }

  async #read(at: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    await this.#access.read(RAM_IOVA + BigInt(at), bytes);
    return bytes;
  }

  /** Remembers from now on which pages devices write, or no longer. */
  trackDirty(enable: boolean): Promise<void> {
    return this.#table.setDirtyTracking(this.#domain, enable);
  }

  /** The pages that devices have written since the last call; they are clean then. */
  async takeDirty(): Promise<number[]> {
    const dirty: number[] = [];
    await this.#table.readDirty({
      domain: this.#domain,
      iova: RAM_IOVA,
      length: this.pages * PAGE_SIZE,
      pageSize: PAGE_SIZE,
      bitmap: (first, last) => {
        for (let page = first; page <= last; page++) dirty.push(Number(page));
      },
    });
    return dirty;
  }

  /** Ends: nothing is mapped or pinned any more. */
  async stop(): Promise<void> {
    await this.#access.detach();
    await this.#table.unmapAll();
    await this.#table.removeDomain(this.#domain);
  }
}
