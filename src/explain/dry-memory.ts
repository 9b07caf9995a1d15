/**
 * The outside world of a dry run: memory that is asked but not kept pinned, and domains that take everything.
 */
import type { IommuDomain, PageOperations } from '../domain/iommu-domain.js';
import { IommuError } from '../errors.js';
import { FrameRuns } from '../memory/frame-runs.js';
import type { LockedMemory } from '../memory/locked-memory.js';
import type { UserMemory } from '../memory/user-memory.js';
import { isThenable } from '../operation.js';
import { LAST_PAGE, MAX_U64, PAGE_SIZE } from '../u64.js';

/** User pages, first and last, that a call needs and the memory cannot give. */
export interface MissingPages {
  readonly page: number;
  lastPage: number;
  /** Whether they have to be writable. */
  writable: boolean;
}

/** How memory is asked. */
export interface DryMemoryOptions {
  /** Copies of the locked-memory counters, if the memory has any. */
  readonly locked: { readonly user: LockedMemory; readonly mm: LockedMemory } | undefined;
  /** Pages that are taken for memory, whatever the real one says. */
  readonly provided: readonly MissingPages[];
  /** Take pages that cannot be pinned for pinned, and note them. */
  readonly lenient: boolean;
}

/** More missing pages than these are not looked for: each of them is an error of the memory, and costs as much. */
const MOST_MISSING = 8192;

/**
 * Pins through another memory and unpins at once. Frame numbers that come out of it mean nothing.
 */
export class DryMemory implements UserMemory {
  readonly locked?: { readonly user: LockedMemory; readonly mm: LockedMemory };
  /** Pages that were pinned, each as often as it was. */
  pinnedPages = 0;
  /** What was missing, in the order in which it was asked for. */
  readonly missing: MissingPages[] = [];
  readonly #provided: readonly MissingPages[];
  readonly #memory: UserMemory;
  readonly #lenient: boolean;
  #missingPages = 0;

  constructor(memory: UserMemory, { locked, provided, lenient }: DryMemoryOptions) {
    this.#memory = memory;
    this.#provided = provided;
    this.#lenient = lenient;
    if (locked !== undefined) this.locked = locked;
  }

  get exited(): boolean {
    return this.#memory.exited ?? false;
  }

  pin(page: number, count: number, write: boolean, into: FrameRuns): number | Promise<number> {
    const provided = this.#provided.find((run) => run.page <= page && page <= run.lastPage);
    if (provided !== undefined && (provided.writable || !write)) {
      return this.#count(page, Math.min(count, provided.lastPage - page + 1), into);
    }
    const pinned = new FrameRuns();
    const done = (answer: number) => {
      for (let run = 0; run < pinned.runs; run++) {
        this.#memory.unpin(pinned.pfnOf(run), pinned.countOf(run), false);
      }
      return this.#count(page, answer, into);
    };
    const failed = (error: unknown) => this.#forgive(error, page, write, into);
    try {
      const answer = this.#memory.pin(page, count, write, pinned);
      return isThenable(answer) ? answer.then(done, failed) : done(answer);
    } catch (error) {
      return failed(error);
    }
  }

  #count(page: number, count: number, into: FrameRuns): number {
    this.pinnedPages += count;
    into.push(page, count);
    return count;
  }

  #forgive(error: unknown, page: number, write: boolean, into: FrameRuns): number {
    const isMissing =
      error instanceof IommuError && error.code === 'EFAULT' && error.reason.check === 'memory';
    if (!this.#lenient || !isMissing || page === LAST_PAGE || this.#missingPages === MOST_MISSING)
      throw error;
    this.#missingPages += 1;
    const last = this.missing.at(-1);
    if (last?.lastPage === page - 1 && last.writable === write) last.lastPage = page;
    else this.missing.push({ page, lastPage: page, writable: write });
    return this.#count(page, 1, into);
  }

  /** What is pinned here was never kept. */
  unpin(): void {}

  /** A dry run has no frames. @throws always */
  frames(): Uint8Array {
    throw noBytes();
  }

  /** A dry run copies nothing. @throws always */
  copyFromUser(): number {
    throw noBytes();
  }

  /** A dry run copies nothing. @throws always */
  copyToUser(): number {
    throw noBytes();
  }
}

function noBytes(): Error {
  return new Error('a dry run touches no bytes');
}

/** A domain that takes every request and keeps nothing. Tables know its geometry from the domain it stands in for. */
export class DryDomain implements IommuDomain {
  readonly pageSizeBitmap = BigInt(PAGE_SIZE);
  readonly aperture = { start: 0n, last: MAX_U64 };
  readonly pages: PageOperations = {
    map: () => undefined,
    unmap: () => undefined,
    frames: (_page, count, into) => into.push(0, count),
  };

  map(): void {}

  unmap(): void {}

  /** Every frame read back is frame 0: the number is never used. */
  iovaToPhys(): bigint {
    return 0n;
  }
}
