/**
 * A pinned range of IOVA with its bytes at hand, as `IoPagetable.access` gives it.
 */
import { frameBytes } from '../memory/frame-bytes.js';
import { type Abortable, type Operation, start, unstoppable } from '../operation.js';
import type { IovaSpace } from '../table/iova-space.js';
import {
  byteLength,
  firstOf,
  type Interval,
  intersects,
  intervalOf,
  join,
  lengthOf,
  PAGE_SIZE,
  split,
} from '../u64.js';
import { IoptAccess, type UnmapNotice } from './iopt-access.js';
import type { PinnedPart } from './pin.js';

/** How a range is to be pinned. */
export interface PinnedRangeOptions extends Abortable {
  /** Pin for writing; a read-only mapping is refused then. */
  readonly write?: boolean;
  /**
   * Called when an area that the range reaches into is to be unmapped, with the whole area and the pinned range, which
   * may come before the promise of `access` is seen to resolve. The unmap waits for it; it must release the range, or
   * the unmap fails (EDEADLOCK). Without it the range releases itself.
   */
  readonly onUnmap?: (area: UnmapNotice, pinned: PinnedRange) => void | PromiseLike<void>;
}

/**
 * A pinned range. The pages stay where they are until it is released, by `release`, `using`, or an unmap; views
 * must not be used after that.
 */
export class PinnedRange implements Disposable {
  /** First IOVA. */
  readonly iova: bigint;
  /** Length in bytes. */
  readonly length: bigint;
  readonly #access: IoptAccess;
  readonly #parts: readonly PinnedPart[];
  #pages: Uint8Array[] | undefined;
  #released = false;

  /** @internal */
  constructor(access: IoptAccess, range: Interval, parts: readonly PinnedPart[]) {
    this.iova = join(range.page, range.offset);
    this.length = byteLength(range);
    this.#access = access;
    this.#parts = parts;
  }

  /** Whether the range was given back. */
  get released(): boolean {
    return this.#released;
  }

  /** The pages behind the range, in order: a live view of 4096 bytes for each, made at the first call. */
  get pages(): readonly Uint8Array[] {
    this.#pages ??= this.#views();
    return this.#pages;
  }

  #views(): Uint8Array[] {
    const views: Uint8Array[] = [];
    for (const { memory, frames } of this.#parts) {
      frames.forEachRun(0, frames.frames, (pfn, count) => {
        for (let frame = 0; frame < count; ) {
          const bytes = frameBytes(memory, pfn + frame, count - frame);
          for (let at = 0; at < bytes.length; at += PAGE_SIZE) views.push(bytes.subarray(at, at + PAGE_SIZE));
          frame += bytes.length / PAGE_SIZE;
        }
      });
    }
    return views;
  }

  /** Unpins the range. Doing it again does nothing. */
  release(): Promise<void> {
    return start(this.#release());
  }

  *#release(): Operation<void> {
    if (this.#released) return;
    this.#released = true;
    yield* this.#access.unpinning(this.iova, this.length);
    yield* this.#access.detachment();
  }

  /** Unpins the range, for `using`; where that has to wait for another call it is done right after it. */
  [Symbol.dispose](): void {
    void this.release();
  }
}

/** Pins a range with an access of its own. @throws as `IoptAccess.attach` and `IoptAccess.pin` */
export function* pinForUse(
  table: IovaSpace,
  range: Interval,
  options: PinnedRangeOptions,
): Operation<PinnedRange> {
  let pinned: PinnedRange | undefined;
  const access = new IoptAccess({
    needsPin: true,
    onUnmap(area) {
      if (pinned === undefined || pinned.released || !reaches(area, range)) return undefined;
      return options.onUnmap === undefined ? pinned.release() : options.onUnmap(area, pinned);
    },
  });
  yield* access.attachment(table);
  try {
    const { page, offset } = lengthOf(range);
    const first = firstOf(range);
    const parts = yield* access.pinning(join(first.page, first.offset), join(page, offset), options);
    pinned = new PinnedRange(access, range, parts);
    return pinned;
  } catch (error) {
    yield* unstoppable(access.detachment());
    throw error;
  }
}

function reaches(area: UnmapNotice, range: Interval): boolean {
  const unmapped = intervalOf(split(area.iova), split(area.length));
  return unmapped !== undefined && intersects(unmapped, range);
}
