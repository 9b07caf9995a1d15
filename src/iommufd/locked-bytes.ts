/** What-if: how many bytes mappings would lock, before anything is mapped. */
import { checkedInterval, checkFlag, checkObject, invalidType, readU64, readValue } from '../arguments.js';
import { notMapped, refuse } from '../errors.js';
import { IntervalTree } from '../interval-tree.js';
import type { LockedMemory } from '../memory/locked-memory.js';
import { checkMemory, type UserMemory } from '../memory/user-memory.js';
import type { IoptPages } from '../pages/iopt-pages.js';
import { indexInterval, pageBehind } from '../pages/mapped-area.js';
import { doubleSpans, spans } from '../spans.js';
import { walkContiguous } from '../table/area-lookup.js';
import { MAX_U64, PAGE_SIZE, type U64Input } from '../u64.js';
import type { Caller } from './caller.js';
import type { Context } from './context.js';
import { Ioas } from './ioas.js';

/** A mapping of user memory that is planned. */
export interface PlannedMap {
  /** Id of the address space. */
  readonly ioas: number;
  /** User address of the first byte. */
  readonly uptr: U64Input;
  /** Number of bytes. */
  readonly length: U64Input;
}

/** A copy of mappings that exist already. */
export interface PlannedCopy {
  /** Id of the address space to copy to. */
  readonly ioas: number;
  /** Id of the address space to copy from. */
  readonly from: number;
  /** First IOVA of the source. */
  readonly srcIova: U64Input;
  /** Number of bytes. */
  readonly length: U64Input;
}

/** What is asked. */
export interface LockedBytesQuestion extends Pick<Caller, 'memory'> {
  /** The planned mappings, in any order. */
  readonly mappings: readonly (PlannedMap | PlannedCopy)[];
  /**
   * Answer for the time when every address space has a page table. Without it, mappings in address spaces that have
   * none now lock nothing: their pages are pinned when the first device is attached.
   */
  readonly attached?: boolean | undefined;
}

/** What the mappings would do to one locked-memory counter. */
export interface LockedBytes {
  /** Bytes that would be added to the counter. */
  readonly bytes: bigint;
  /** Bytes that the counter holds now. */
  readonly lockedBytes: bigint;
  /** The limit of the counter; `undefined` if there is none. */
  readonly limitBytes: bigint | undefined;
  /** Whether all of it stays within the limit; else some mapping would fail with ENOMEM. */
  readonly fits: boolean;
}

/** The answer, for each accounting mode the mappings may be made in. */
export interface LockedBytesAnswer {
  /** Bytes that would be pinned, in every mode: a page counts once for each mapping made anew, never for a copy. */
  readonly pinnedBytes: bigint;
  /** For a caller with CAP_IPC_LOCK: no counter moves. */
  readonly none: LockedBytes;
  /** What would be charged to the user. Copies count where the mapping they come from is charged to the user. */
  readonly user: LockedBytes;
  /** What would be charged to the process. Copies count where the mapping they come from is charged to it. */
  readonly mm: LockedBytes;
}

/**
 * How many bytes planned mappings would lock. Nothing is mapped, and nothing but the locked memory is looked into:
 * the mappings may still fail for other reasons.
 *
 * @throws ENOENT if an address space does not exist or the source of a copy is not wholly mapped, EINVAL for a length
 * of 0, EOVERFLOW for a range that passes 2^64 − 1.
 *
 * @internal
 */
export function lockedBytesIfMapped(context: Context, question: LockedBytesQuestion): LockedBytesAnswer {
  checkObject(question, 'question');
  const { mappings, attached, memory: named } = question;
  if (!Array.isArray(mappings)) throw invalidType(mappings, 'question.mappings', 'an array');
  checkFlag(attached, 'question.attached');
  if (named !== undefined) checkMemory(named, 'question.memory');
  const memory = context.memoryOf({ memory: named });
  const copied = new CopiedPages();
  let mapped = 0n;
  for (const mapping of mappings) {
    checkObject(mapping, 'a mapping');
    const { table } = context.objects.get(mapping.ioas, Ioas);
    const locks = attached === true || table.domains.length > 0;
    if ('from' in mapping) {
      const source = context.objects.get(mapping.from, Ioas);
      copied.plan(source, mapping, locks);
    } else {
      const pages = pagesOf(mapping);
      if (locks) mapped += pages;
    }
  }
  const inMode = (mode: 'user' | 'mm') =>
    forecast(mapped + copied.chargedTo(memory, mode), memory?.locked?.[mode]);
  return {
    pinnedBytes: (mapped + copied.pages) * BigInt(PAGE_SIZE),
    none: forecast(0n, undefined),
    user: inMode('user'),
    mm: inMode('mm'),
  };
}

/** Number of pages that a range of user memory touches. */
function pagesOf({ uptr, length }: PlannedMap): bigint {
  const start = readValue(uptr, 'uptr');
  const bytes = readValue(length, 'length');
  if (bytes === 0n) throw refuse('EINVAL', 'argument', 'the length is 0');
  if (start + bytes > MAX_U64) {
    throw refuse('EOVERFLOW', 'overflow', 'the user range reaches past 2^64 - 1');
  }
  const page = BigInt(PAGE_SIZE);
  return ((start % page) + bytes + page - 1n) / page;
}

function forecast(pages: bigint, account: LockedMemory | undefined): LockedBytes {
  const page = BigInt(PAGE_SIZE);
  const bytes = pages * page;
  if (account === undefined) return { bytes, lockedBytes: 0n, limitBytes: undefined, fits: true };
  const lockedBytes = BigInt(account.lockedPages) * page;
  if (account.limitPages === Infinity) return { bytes, lockedBytes, limitBytes: undefined, fits: true };
  const limitBytes = BigInt(Math.floor(account.limitPages)) * page;
  return { bytes, lockedBytes, limitBytes, fits: bytes === 0n || lockedBytes + bytes <= limitBytes };
}

/** Pages that planned copies would pin: those that no access and no domain holds, each counted once. */
class CopiedPages {
  readonly #planned = new Map<IoptPages, { readonly indexes: IntervalTree<undefined>; count: number }>();

  /** Pages in all. */
  get pages(): bigint {
    let count = 0;
    for (const planned of this.#planned.values()) count += planned.count;
    return BigInt(count);
  }

  /** Pages that would be charged to one counter of a process. */
  chargedTo(memory: UserMemory | undefined, mode: 'user' | 'mm'): bigint {
    let count = 0;
    for (const [pages, planned] of this.#planned) {
      if (pages.owner === memory && pages.mode === mode) count += planned.count;
    }
    return BigInt(count);
  }

  /** Adds a copy; if it locks nothing, its source is only checked. */
  plan(source: Ioas, { srcIova, length }: PlannedCopy, locks: boolean): void {
    const range = checkedInterval(readU64(srcIova, 'srcIova'), readU64(length, 'length'));
    const walk = walkContiguous(source.table.state.areas, range);
    let step = walk.next();
    for (; !step.done; step = walk.next()) {
      const { area, first, last } = step.value;
      if (locks && area.pages!.dmaBuf === undefined)
        this.#pin(area.pages!, pageBehind(area, first).page, pageBehind(area, last).page);
    }
    if (step.value !== undefined) throw notMapped(step.value);
  }

  #pin(pages: IoptPages, first: number, last: number): void {
    let planned = this.#planned.get(pages);
    if (planned === undefined) {
      planned = { indexes: new IntervalTree(), count: 0 };
      this.#planned.set(pages, planned);
    }
    for (const span of doubleSpans(pages.accessTree, pages.domainsTree, indexInterval(first, last))) {
      if (span.used !== 0) continue;
      for (const hole of [...spans(planned.indexes, span)]) {
        if (hole.used) continue;
        planned.indexes.insert(indexInterval(hole.page, hole.lastPage), undefined);
        planned.count += hole.lastPage - hole.page + 1;
      }
    }
  }
}
