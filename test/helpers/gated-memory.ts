/** Process memory that answers when the test says so, as demand paging does. */
import { ForwardingMemory } from '../../src/memory/forwarding-memory.js';
import type { FrameRuns } from '../../src/memory/frame-runs.js';
import type { ProcessMemory } from '../../src/memory/process-memory.js';

/** A call that waits for the test. */
export interface PendingCall {
  readonly kind: 'pin' | 'read' | 'write';
  /** User page number of the first page. */
  readonly page: number;
  /** Pages to pin, or bytes to copy. */
  readonly count: number;
  readonly write: boolean;
  /** Does it now, and gives what it gave. */
  settle(): void;
  /** Rejects it; nothing is pinned or copied. */
  fail(error: Error): void;
}

/** Memory of a process, with a gate before it. While the gate is closed, calls wait in `pending`. */
export class GatedMemory extends ForwardingMemory<ProcessMemory> {
  /** The most pages that one call pins. */
  mostPerPin = Number.POSITIVE_INFINITY;
  /** Pages asked for by each `pin`, in order. */
  readonly pins: { readonly page: number; readonly count: number; readonly write: boolean }[] = [];
  #closed = false;
  readonly #pending: PendingCall[] = [];

  /** The calls that wait, oldest first. */
  get pending(): readonly PendingCall[] {
    return this.#pending;
  }

  /** Lets calls wait from now on. */
  close(): void {
    this.#closed = true;
  }

  /** Settles all calls that wait, and lets later ones through. */
  open(): void {
    this.#closed = false;
    while (this.#pending.length > 0) this.#pending[0]!.settle();
  }

  override pin(page: number, count: number, write: boolean, into: FrameRuns): number | Promise<number> {
    this.pins.push({ page, count, write });
    return this.#gated({ kind: 'pin', page, count, write }, () =>
      this.memory.pin(page, Math.min(count, this.mostPerPin), write, into),
    );
  }

  override copyFromUser(
    page: number,
    offset: number,
    target: Uint8Array,
    targetOffset: number,
    length: number,
  ): number | Promise<number> {
    return this.#gated({ kind: 'read', page, count: length, write: false }, () =>
      this.memory.copyFromUser(page, offset, target, targetOffset, length),
    );
  }

  override copyToUser(
    page: number,
    offset: number,
    source: Uint8Array,
    sourceOffset: number,
    length: number,
  ): number | Promise<number> {
    return this.#gated({ kind: 'write', page, count: length, write: true }, () =>
      this.memory.copyToUser(page, offset, source, sourceOffset, length),
    );
  }

  override resident(_page: number, _count: number, _write: boolean): boolean {
    return !this.#closed;
  }

  #gated(call: Omit<PendingCall, 'settle' | 'fail'>, now: () => number): number | Promise<number> {
    if (!this.#closed) return now();
    return new Promise((resolve, reject) => {
      const leave = () => this.#pending.splice(this.#pending.indexOf(pending), 1);
      const pending: PendingCall = {
        ...call,
        settle() {
          leave();
          try {
            resolve(now());
          } catch (error) {
            reject(error);
          }
        },
        fail(error) {
          leave();
          reject(error);
        },
      };
      this.#pending.push(pending);
    });
  }
}
