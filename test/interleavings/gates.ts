/**
 * Gates: every wait for something outside the library, memory or a callback, ends when the schedule says so.
 */
import { ForwardingMemory } from '../../src/memory/forwarding-memory.js';
import type { FrameRuns } from '../../src/memory/frame-runs.js';
import type { ProcessMemory } from '../../src/memory/process-memory.js';

/** Something that waits for the schedule. */
export interface Gate {
  /** Its number in order of appearance: a schedule names it by this. */
  readonly number: number;
  /** What waits there. */
  readonly what: string;
  open(): void;
}

/** The gates of one run. While they are not closed everything goes straight through. */
export class Gates {
  /** Whether what comes has to wait. */
  closed = false;
  readonly #waiting: Gate[] = [];
  #made = 0;

  /** What waits now, oldest first. */
  get waiting(): readonly Gate[] {
    return this.#waiting;
  }

  /** How many gates there have been. */
  get made(): number {
    return this.#made;
  }

  /** Does something now, or when its gate is opened. */
  pass<T>(what: string, now: () => T): T | Promise<Awaited<T>> {
    if (!this.closed) return now();
    return new Promise((resolve, reject) => {
      const gate: Gate = {
        number: this.#made++,
        what,
        open: () => {
          this.#waiting.splice(this.#waiting.indexOf(gate), 1);
          try {
            resolve(now() as Awaited<T>);
          } catch (error) {
            reject(error);
          }
        },
      };
      this.#waiting.push(gate);
    });
  }
}

/** The memory of a process behind gates. It pins one page at a time. */
export class GatedProcess extends ForwardingMemory<ProcessMemory> {
  readonly #gates: Gates;

  constructor(process: ProcessMemory, gates: Gates) {
    super(process);
    this.#gates = gates;
  }

  override resident(): boolean {
    return !this.#gates.closed;
  }

  override pin(page: number, count: number, write: boolean, into: FrameRuns): number | Promise<number> {
    const what = `pin page 0x${page.toString(16)} of ${count}`;
    return this.#gates.pass(what, () => this.memory.pin(page, 1, write, into));
  }

  override copyFromUser(...request: Parameters<ProcessMemory['copyFromUser']>): number | Promise<number> {
    return this.#gates.pass('read', () => this.memory.copyFromUser(...request));
  }

  override copyToUser(...request: Parameters<ProcessMemory['copyToUser']>): number | Promise<number> {
    return this.#gates.pass('write', () => this.memory.copyToUser(...request));
  }
}
