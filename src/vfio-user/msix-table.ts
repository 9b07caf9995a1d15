/** The table and the pending bits of MSI-X, as bytes in a BAR. */
import type { BarWindow } from './bar.js';

const ENTRY = 16;
const MASKED = 1;

/** Where a message goes. */
export interface MsixMessage {
  readonly address: bigint;
  readonly data: number;
}

/** The table and the pending bits of MSI-X. */
export class MsixTable {
  readonly vectors: number;
  readonly #table: DataView;
  readonly #pending: Uint8Array;
  readonly #written: () => void;
  /** A VMM may keep the table to itself; this one says nothing then. */
  #used = false;

  /** @param written - called when the table was written: a vector may have been unmasked */
  constructor(vectors: number, written: () => void) {
    this.vectors = vectors;
    this.#table = new DataView(new ArrayBuffer(vectors * ENTRY));
    this.#pending = new Uint8Array(Math.ceil(vectors / 64) * 8);
    this.#written = written;
    this.reset();
  }

  /** Bytes of the table. */
  static sizeOf(vectors: number): number {
    return vectors * ENTRY;
  }

  /** Bytes of the pending bits. */
  static pendingSizeOf(vectors: number): number {
    return Math.ceil(vectors / 64) * 8;
  }

  /** The windows onto the table and the pending bits. */
  windows(tableOffset: number, pendingOffset: number): BarWindow[] {
    const table = new Uint8Array(this.#table.buffer);
    const pending = this.#pending;
    return [
      {
        offset: tableOffset,
        size: table.length,
        read: (at, target) => target.set(table.subarray(at, at + target.length)),
        write: (at, source) => {
          table.set(source, at);
          for (let vector = 0; vector < this.vectors; vector++) {
            const control = vector * ENTRY + 12;
            if (control + 4 > at && control < at + source.length) {
              this.#table.setUint32(control, this.#table.getUint32(control, true) & MASKED, true);
            }
          }
          this.#used = true;
          this.#written();
        },
      },
      {
        offset: pendingOffset,
        size: pending.length,
        read: (at, target) => target.set(pending.subarray(at, at + target.length)),
        write: () => undefined,
      },
    ];
  }

  /** Whether a vector is masked. */
  masked(vector: number): boolean {
    return this.#used && (this.#table.getUint32(vector * ENTRY + 12, true) & MASKED) !== 0;
  }

  /** Where a vector's message goes, if the table says so. */
  message(vector: number): MsixMessage | undefined {
    if (!this.#used) return undefined;
    const at = vector * ENTRY;
    return { address: this.#table.getBigUint64(at, true), data: this.#table.getUint32(at + 8, true) };
  }

  /** Whether a vector is waiting to be told. */
  pending(vector: number): boolean {
    return (this.#pending[vector >> 3]! & (1 << (vector & 7))) !== 0;
  }

  setPending(vector: number, pending: boolean): void {
    const bit = 1 << (vector & 7);
    if (pending) this.#pending[vector >> 3]! |= bit;
    else this.#pending[vector >> 3]! &= ~bit;
  }

  /** The state after power-on: everything masked, nothing pending. */
  reset(): void {
    new Uint8Array(this.#table.buffer).fill(0);
    for (let vector = 0; vector < this.vectors; vector++) {
      this.#table.setUint32(vector * ENTRY + 12, MASKED, true);
    }
    this.#pending.fill(0);
    this.#used = false;
  }

  /** All of it, for a migration. */
  save(): Uint8Array {
    const table = new Uint8Array(this.#table.buffer);
    const state = new Uint8Array(1 + table.length + this.#pending.length);
    state[0] = this.#used ? 1 : 0;
    state.set(table, 1);
    state.set(this.#pending, 1 + table.length);
    return state;
  }

  /** Takes a state that `save` gave; one of another length says nothing. */
  load(state: Uint8Array): void {
    const table = new Uint8Array(this.#table.buffer);
    if (state.length !== 1 + table.length + this.#pending.length) return;
    this.#used = state[0] === 1;
    table.set(state.subarray(1, 1 + table.length));
    this.#pending.set(state.subarray(1 + table.length));
  }
}
