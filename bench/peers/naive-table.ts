/**
 * The straightforward composition: what one would build from packages in an afternoon.
 *
 * Reader-writer locks are `async-mutex` semaphores of 64 (a reader takes 1, a writer all) around each part of a call
 * with `runExclusive`, as the package's README shows; areas are in a plain `@flatten-js/interval-tree`; the page table
 * is a `Map` with an entry a page; pages are pinned through the same `ProcessMemory` as the library's. Addresses are
 * bigint, as the library's are: exact over 64 bits.
 *
 * There are two locks for a call, and no third one for shared pages; no reservations, alignments, accesses or copies;
 * and a failure half-way is not undone.
 */
import { Semaphore } from 'async-mutex';
import { FrameRuns, type UserMemory } from '../scene/core.js';
import { createPlainTree } from './translators.js';

const PAGE = 4096n;
/** Readers at a time; a writer needs them all. */
const READERS = 64;

interface NaiveArea {
  readonly iova: bigint;
  readonly last: bigint;
  readonly writable: boolean;
}

/** An IOVA space. */
export class NaiveTable {
  readonly #memory: UserMemory;
  readonly #areas = createPlainTree<NaiveArea, bigint>();
  readonly #domainsLock = new Semaphore(READERS);
  readonly #iovaLock = new Semaphore(READERS);
  /** Frames by page of IOVA, if there is a domain. */
  readonly #frames: Map<bigint, number> | undefined;

  constructor(memory: UserMemory, domain: boolean) {
    this.#memory = memory;
    if (domain) this.#frames = new Map();
  }

  async map(iova: bigint, uptr: bigint, length: bigint, writable: boolean): Promise<bigint> {
    const area = { iova, last: iova + length - 1n, writable };
    await this.#iovaLock.runExclusive(() => {
      if (this.#areas.search([iova, area.last]).length > 0) throw new Error('EEXIST');
      this.#areas.insert([iova, area.last], area);
    }, READERS);
    await this.#domainsLock.runExclusive(async () => {
      if (this.#frames !== undefined) await this.#fill(this.#frames, iova, uptr, length, writable);
    });
    return iova;
  }

  async #fill(
    domain: Map<bigint, number>,
    iova: bigint,
    uptr: bigint,
    length: bigint,
    writable: boolean,
  ): Promise<void> {
    const frames = new FrameRuns();
    const first = Number(uptr / PAGE);
    const pages = Number(length / PAGE);
    while (frames.frames < pages) {
      await this.#memory.pin(first + frames.frames, pages - frames.frames, writable, frames);
    }
    for (let page = 0; page < pages; page++) domain.set(iova / PAGE + BigInt(page), frames.at(page));
  }

  async unmap(iova: bigint, length: bigint): Promise<bigint> {
    let unmapped = 0n;
    const last = iova + length - 1n;
    await this.#domainsLock.runExclusive(() =>
      this.#iovaLock.runExclusive(() => {
        for (const area of this.#areas.search([iova, last])) {
          if (area.iova < iova || area.last > last) throw new Error('ENOENT');
          this.#areas.remove([area.iova, area.last], area);
          if (this.#frames !== undefined) this.#empty(this.#frames, area);
          unmapped += area.last - area.iova + 1n;
        }
      }, READERS),
    );
    return unmapped;
  }

  #empty(domain: Map<bigint, number>, area: NaiveArea): void {
    for (let page = area.iova / PAGE; page <= area.last / PAGE; page++) {
      this.#memory.unpin(domain.get(page)!, 1, area.writable);
      domain.delete(page);
    }
  }

  /** The physical address behind an IOVA. */
  iovaToPhys(iova: bigint): bigint | undefined {
    const frame = this.#frames?.get(iova / PAGE);
    return frame === undefined ? undefined : BigInt(frame) * PAGE + (iova % PAGE);
  }
}
