/**
 * Memory that hardware uses by itself, such as the queue of a command processor: pinned and locked, as nobody could ask the
 * hardware to let go.
 */
import type { FrameRuns } from '../memory/frame-runs.js';
import { type Operation, unstoppable } from '../operation.js';
import { addAccess, removeAccess } from '../table/access-list.js';
import type { IovaSpace } from '../table/iova-space.js';
import { withBoth } from '../table/table-locks.js';
import type { AttachedAccess, TableState } from '../table/table-state.js';
import { between, firstOf, type Interval, lastOf, PAGE_MASK, PAGE_SIZE } from '../u64.js';
import { type PinnedPart, pinRange, unpinRange } from './pin.js';

/** An access that is never asked to let go. While it lives the alignment of its table is 4096. */
class InternalAccess implements AttachedAccess {
  readonly iovaAlignment = PAGE_SIZE;
  readonly internal = true;

  notifyUnmap(): void {}
}

/** A range of IOVA, in whole pages, that is pinned for reading, and whose areas cannot be unmapped. */
export class LockedRange {
  /** The frames of its pages, area by area. */
  readonly frames: readonly FrameRuns[];
  readonly #table: TableState;
  readonly #access: AttachedAccess;
  readonly #range: Interval;

  constructor(table: TableState, access: AttachedAccess, range: Interval, parts: readonly PinnedPart[]) {
    this.frames = parts.map((part) => part.frames);
    this.#table = table;
    this.#access = access;
    this.#range = range;
  }

  /** The first frame, if all frames are consecutive. */
  get contiguousFrom(): number | undefined {
    const first = this.frames[0]!.pfnOf(0);
    let next = first;
    for (const list of this.frames) {
      for (let run = 0; run < list.runs; run++) {
        if (list.pfnOf(run) !== next) return undefined;
        next += list.countOf(run);
      }
    }
    return first;
  }

  /** Unpins and unlocks it. Never fails, and cannot be stopped. */
  *releasing(): Operation<void> {
    yield* unstoppable(this.#releasing());
  }

  *#releasing(): Operation<void> {
    yield* reading(this.#table, unpinRange(this.#table, this.#range, true));
    yield* withBoth(this.#table, () => removeAccess(this.#table, this.#access));
  }
}

/**
 * Pins all pages that a range touches for reading, and locks their areas.
 *
 * @throws EBUSY if the table has 65536 accesses, EADDRINUSE if an area of it is not page aligned; else as
 * `IoptAccess.pin`. Nothing has changed then.
 */
export function* lockRange(space: IovaSpace, range: Interval): Operation<LockedRange> {
  const table = space.state;
  const access = new InternalAccess();
  yield* withBoth(table, () => addAccess(table, access));
  const pages = between(
    { page: firstOf(range).page, offset: 0 },
    { page: lastOf(range).page, offset: PAGE_MASK },
  );
  try {
    const parts = yield* reading(table, pinRange(table, pages, false, true));
    return new LockedRange(table, access, pages, parts);
  } catch (error) {
    yield* unstoppable(
      withBoth(table, () => removeAccess(table, access)),
      { error },
    );
    throw error;
  }
}

/** Runs an operation with the iova lock held for reading. */
function* reading<T>({ iovaLock }: TableState, operation: Operation<T>): Operation<T> {
  if (!iovaLock.tryRead()) yield () => iovaLock.read();
  try {
    return yield* operation;
  } finally {
    iovaLock.releaseRead();
  }
}
