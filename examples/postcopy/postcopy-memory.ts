/**
 * Memory of a guest that runs here already, while its pages are still elsewhere: `userfaultfd`, in small.
 */
import { ForwardingMemory, type FrameRuns, IommuError, type ProcessMemory } from 'io-pagetable';

const PAGE_SIZE = 4096n;

/** Gets a page of the guest, counted from 0, from where it still is. */
export type FetchPage = (page: number) => Promise<Uint8Array>;

/** A `ProcessMemory` with a region whose pages are fetched when they are touched first. */
export class PostcopyMemory extends ForwardingMemory<ProcessMemory> {
  readonly #fetch: FetchPage;
  /** User page number of the first page of the region. */
  readonly #first: number;
  /** User page numbers of the pages that are not here. */
  readonly #missing = new Set<number>();
  /** Those of them that are on their way, so that nobody asks twice. */
  readonly #coming = new Map<number, Promise<void>>();

  /** @param uptr - user address of the region, of `pages` pages, that are all elsewhere */
  constructor(memory: ProcessMemory, uptr: bigint, pages: number, fetch: FetchPage) {
    super(memory);
    this.#fetch = fetch;
    this.#first = Number(uptr / PAGE_SIZE);
    for (let page = this.#first; page < this.#first + pages; page++) this.#missing.add(page);
  }

  /** Pages that are still elsewhere. */
  get missing(): number {
    return this.#missing.size;
  }

  /** What `readSync` and `writeSync` go by: EAGAIN before the first byte is copied, not after some. */
  override resident(page: number, count: number): boolean {
    return this.#here(page, count) === count;
  }

  /** Pins the pages that are here, up to the first that is not; that one is fetched if it is the first of all. */
  override pin(page: number, count: number, write: boolean, into: FrameRuns): number | Promise<number> {
    const here = this.#here(page, count);
    if (here > 0) return this.memory.pin(page, here, write, into);
    return this.#bring(page).then(() => this.memory.pin(page, 1, write, into));
  }

  override copyFromUser(
    page: number,
    offset: number,
    target: Uint8Array,
    targetOffset: number,
    length: number,
  ) {
    return this.#onceHere(page, offset, length, () =>
      this.memory.copyFromUser(page, offset, target, targetOffset, length),
    );
  }

  override copyToUser(
    page: number,
    offset: number,
    source: Uint8Array,
    sourceOffset: number,
    length: number,
  ) {
    return this.#onceHere(page, offset, length, () =>
      this.memory.copyToUser(page, offset, source, sourceOffset, length),
    );
  }

  /** Fetches a page before anybody needs it. Gives whether there was one left. */
  async prefetch(): Promise<boolean> {
    const [page] = this.#missing;
    if (page === undefined) return false;
    await this.#bring(page);
    return true;
  }

  /** How many of `count` pages from `page` on can be touched now. */
  #here(page: number, count: number): number {
    for (let number = 0; number < count; number++) {
      if (this.#missing.has(page + number)) return number;
    }
    return count;
  }

  #onceHere(page: number, offset: number, length: number, copy: () => number): number | Promise<number> {
    const pages = Math.ceil((offset + length) / Number(PAGE_SIZE));
    if (this.resident(page, pages)) return copy();
    const coming = Array.from({ length: pages }, (_, number) => this.#bring(page + number));
    return Promise.all(coming).then(copy);
  }

  #bring(page: number): Promise<void> {
    if (!this.#missing.has(page)) return Promise.resolve();
    let coming = this.#coming.get(page);
    if (coming === undefined) {
      coming = this.#arrive(page).finally(() => this.#coming.delete(page));
      this.#coming.set(page, coming);
    }
    return coming;
  }

  async #arrive(page: number): Promise<void> {
    const uptr = BigInt(page) * PAGE_SIZE;
    let bytes: Uint8Array;
    try {
      bytes = await this.#fetch(page - this.#first);
    } catch (error) {
      const detail = `cannot be fetched: ${error instanceof Error ? error.message : String(error)}`;
      throw new IommuError('EFAULT', { check: 'memory', uptr: `0x${uptr.toString(16)}`, detail });
    }
    this.memory.write(uptr, bytes);
    this.#missing.delete(page);
  }
}
