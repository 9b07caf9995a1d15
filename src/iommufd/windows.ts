/** Windows: memory of drivers that programs map by mmap of the device. */
import { invalidType, outOfRange } from '../arguments.js';
import { PAGE_SIZE } from '../u64.js';
import type { IommufdObject } from './object-table.js';

const PAGE = BigInt(PAGE_SIZE);

/** Memory at an offset of the device. */
export interface Window {
  readonly bytes: Uint8Array;
  /** The object that it belongs to, once that can be found; whoever maps the window uses it. */
  readonly owner: () => IommufdObject | undefined;
}

/** The windows of a context by their offsets. */
export class Windows {
  readonly #byOffset = new Map<bigint, Window>();

  /**
   * Adds a window at the lowest free offset that is not 0.
   *
   * @throws TypeError or RangeError unless `bytes` are whole pages
   */
  add(bytes: Uint8Array, owner: Window['owner']): bigint {
    if (!(bytes instanceof Uint8Array)) throw invalidType(bytes, 'bytes', 'a Uint8Array');
    if (bytes.length === 0 || bytes.length % PAGE_SIZE !== 0) {
      throw outOfRange(bytes.length, 'bytes.length', `a multiple of ${PAGE_SIZE}`);
    }
    let offset = PAGE;
    for (const [taken, window] of [...this.#byOffset].sort(([a], [b]) => Number(a - b))) {
      if (taken - offset >= BigInt(bytes.length)) break;
      offset = taken + BigInt(window.bytes.length);
    }
    this.#byOffset.set(offset, { bytes, owner });
    return offset;
  }

  /** Removes a window; its offset is free again. */
  remove(offset: bigint): void {
    this.#byOffset.delete(offset);
  }

  /** The window that begins at an offset, if there is one. */
  at(offset: bigint): Window | undefined {
    return this.#byOffset.get(offset);
  }
}
