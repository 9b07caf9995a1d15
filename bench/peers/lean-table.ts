/**
 * The naive composition made lean by somebody who profiled it: `acquire` and not `runExclusive`, and numbers as
 * addresses, so it is exact only below 2^53. All else is as in `NaiveTable`.
 */
import { Semaphore } from 'async-mutex';
import { FrameRuns, type UserMemory } from '../scene/core.js';
import { createPlainTree } from './translators.js';

const PAGE = 4096;
/** Readers at a time; a writer needs them all. */
const READERS = 64;

interface LeanArea {
  readonly iova: number;
  readonly last: number;
  readonly writable: boolean;
}

/** An IOVA space. */
export class LeanTable {
  readonly #memory: UserMemory;
  readonly #areas = createPlainTree<LeanArea>();
  readonly #domainsLock = new Semaphore(READERS);
  readonly #iovaLock = new Semaphore(READERS);
  /** Frames by page of IOVA, if there is a domain. */
  readonly #frames: Map<number, number> | undefined;

  constructor(memory: UserMemory, domain: boolean) {
    this.#memory = memory;
    if (domain) this.#frames = new Map();
  }

  async map(iova: number, uptr: number, length: number, writable: boolean): Promise<number> {
    const area = { iova, last: iova + length - 1, writable };
    const [, releaseIova] = await this.#iovaLock.acquire(READERS);
    try {
      if (this.#areas.search([iova, area.last]).length > 0) throw new Error('EEXIST');
      this.#areas.insert([iova, area.last], area);
    } finally {
      releaseIova();
    }
    const [, releaseDomains] = await this.#domainsLock.acquire(1);
    try {
      if (this.#frames !== undefined) await this.#fill(this.#frames, iova, uptr, length, writable);
    } finally {
      releaseDomains();
    }
    return iova;
  }

  async #fill(
    domain: Map<number, number>,
    iova: number,
    uptr: number,
    length: number,
    writable: boolean,
  ): Promise<void> {
    const frames = new FrameRuns();
    const pages = length / PAGE;
    while (frames.frames < pages) {
      const page = uptr / PAGE + frames.frames;
      const pinned = this.#memory.pin(page, pages - frames.frames, writable, frames);
      if (typeof pinned !== 'number') await pinned;
    }
    for (let page = 0; page < pages; page++) domain.set(iova / PAGE + page, frames.at(page));
  }

  async unmap(iova: number, length: number): Promise<number> {
    let unmapped = 0;
    const [, releaseDomains] = await this.#domainsLock.acquire(1);
    const [, releaseIova] = await this.#iovaLock.acquire(READERS);
    try {
      const last = iova + length - 1;
      for (const area of this.#areas.search([iova, last])) {
        if (area.iova < iova || area.last > last) throw new Error('ENOENT');
        this.#areas.remove([area.iova, area.last], area);
        if (this.#frames !== undefined) this.#empty(this.#frames, area);
        unmapped += area.last - area.iova + 1;
      }
    } finally {
      releaseIova();
      releaseDomains();
    }
    return unmapped;
  }

  #empty(domain: Map<number, number>, area: LeanArea): void {
    for (let page = area.iova / PAGE; page * PAGE < area.last; page++) {
      this.#memory.unpin(domain.get(page)!, 1, area.writable);
      domain.delete(page);
    }
  }

  /** The physical address behind an IOVA. */
  iovaToPhys(iova: number): number | undefined {
    const offset = iova % PAGE;
    const frame = this.#frames?.get((iova - offset) / PAGE);
    return frame === undefined ? undefined : frame * PAGE + offset;
  }
}
