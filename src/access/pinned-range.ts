/**
 * A pinned range of IOVA with its bytes at hand, as `IoPagetable.access` gives it.
 */
import { refuse } from '../errors.js';
import { byteCount, viewOf } from '../memory/bytes.js';
import { frameBytes } from '../memory/frame-bytes.js';
import { type Abortable, type Operation, start, unstoppable } from '../operation.js';
import { RwLock } from '../rw-lock.js';
import type { IovaSpace } from '../table/iova-space.js';
import { byteLength, type Interval, intersects, intervalOf, join, PAGE_SIZE, split } from '../u64.js';
import { Attachment, type UnmapNotice } from './attachment.js';
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
  readonly #access: Attachment;
  readonly #range: Interval;
  readonly #parts: readonly PinnedPart[];
  #views: Views | undefined;
  /** Held while the range is being released: who does it again waits for the same end. */
  readonly #releasing = new RwLock();
  #released = false;

  /** @internal */
  constructor(access: Attachment, range: Interval, parts: readonly PinnedPart[]) {
    this.iova = join(range.page, range.offset);
    this.length = byteLength(range);
    this.#access = access;
    this.#range = range;
    this.#parts = parts;
  }

  /** Whether the pages were given back. */
  get released(): boolean {
    return this.#released;
  }

  /**
   * The pages behind the range, in order: a live view of 4096 bytes for each, made at the first call.
   *
   * A `WebAssembly.Memory` that grows, and a buffer that is detached or shrinks, end the views of before: ask again after
   * that.
   *
   * @throws EOPNOTSUPP if the memory has no live views: read and write through an `IoptAccess`. EFAULT if pages are in a
   * part of a buffer that is gone
   */
  get pages(): readonly Uint8Array[] {
    if (this.#views?.live !== true) this.#views = new Views(this.#parts);
    return this.#views.pages;
  }

  /**
   * Unpins the range. Whoever does it again waits for the same end; once it is released that does nothing. If the call is
   * aborted or refused it can be repeated.
   *
   * @throws EDEADLOCK if it would have to wait for another call inside a `pin` or copy of a memory
   */
  release(options?: Abortable): Promise<void> {
    return start(this.#release(), options);
  }

  *#release(): Operation<void> {
    if (!this.#releasing.tryWrite()) yield () => this.#releasing.write();
    try {
      if (!this.#released) {
        yield* this.#access.unpinning(this.#range);
        this.#released = true;
      }
      yield* this.#access.detaching();
    } finally {
      this.#releasing.releaseWrite();
    }
  }

  /** Unpins the range, for `using`; where that has to wait for another call it is done right after it. */
  [Symbol.dispose](): void {
    // Refused inside a call of a memory: it is over by then, and queueing for a lock allowed.
    this.release().catch(() => this.release());
  }
}

/** Views of pages, and what shows whether they are still live. */
class Views {
  readonly pages: Uint8Array[] = [];
  /** How long each buffer has to be. The buffers are asked, not the views: see `Piece.length`. */
  readonly #ends = new Map<ArrayBufferLike, number>();

  constructor(parts: readonly PinnedPart[]) {
    for (const { memory, frames } of parts) {
      frames.forEachRun(0, frames.frames, (pfn, count) => {
        for (let frame = 0; frame < count; ) {
          const bytes = frameBytes(memory, pfn + frame, count - frame);
          if (bytes === undefined) {
            throw refuse('EOPNOTSUPP', 'unsupported', 'the memory has no live views of its pages');
          }
          const size = byteCount(bytes);
          for (let at = 0; at < size; at += PAGE_SIZE) this.#push(viewOf(bytes, at, PAGE_SIZE));
          frame += size / PAGE_SIZE;
        }
      });
    }
  }

  #push(page: Uint8Array): void {
    this.pages.push(page);
    const { buffer, byteOffset } = page;
    this.#ends.set(buffer, Math.max(this.#ends.get(buffer) ?? 0, byteOffset + PAGE_SIZE));
  }

  /** Whether no view has lost its bytes. */
  get live(): boolean {
    for (const [buffer, end] of this.#ends) if (buffer.byteLength < end) return false;
    return true;
  }
}

/** What `pinForUse` needs of the options. */
interface Pinning {
  readonly write: boolean | undefined;
  readonly onUnmap?: PinnedRangeOptions['onUnmap'] | undefined;
}

/** Pins a range with an access of its own. @throws as `IoptAccess.attach` and `IoptAccess.pin` */
export function* pinForUse(
  table: IovaSpace,
  range: Interval,
  { write, onUnmap }: Pinning,
): Operation<PinnedRange> {
  let pinned: PinnedRange | undefined;
  const access = new Attachment(true, (area) => {
    if (pinned === undefined || pinned.released || !reaches(area, range)) return undefined;
    return onUnmap === undefined ? pinned.release() : onUnmap(area, pinned);
  });
  yield* access.attaching(table);
  try {
    pinned = new PinnedRange(access, range, yield* access.pinning(range, write === true));
    return pinned;
  } catch (error) {
    yield* unstoppable(access.detaching());
    throw error;
  }
}

function reaches(area: UnmapNotice, range: Interval): boolean {
  const unmapped = intervalOf(split(area.iova), split(area.length));
  return unmapped !== undefined && intersects(unmapped, range);
}
