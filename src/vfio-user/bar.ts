/** What is behind a base address register: handlers, plain memory, and what the library keeps there itself. */

import { refuse } from '../errors.js';
import { isThenable } from '../operation.js';
import type { DeviceCalls } from './device-calls.js';
import type { AccessWidth, BarOptions, BarPart } from './pci-options.js';

/** Bytes in a BAR that are not the handlers': a part, and who has it. */
export interface BarWindow extends BarPart {
  /** Fills `target` with the bytes from byte `at` of the window on. */
  read(at: number, target: Uint8Array): void;
  /** Writes `source` to the bytes from byte `at` of the window on. */
  write(at: number, source: Uint8Array): void;
}

/** A region of a device that is addressed by a base address register. */
export class Bar {
  readonly size: number;
  readonly options: BarOptions;
  /** The parts that are plain memory. */
  readonly parts: readonly BarPart[];
  readonly #calls: DeviceCalls;
  readonly #windows: BarWindow[] = [];
  #memory: Uint8Array | undefined;

  constructor(options: BarOptions, calls: DeviceCalls) {
    this.size = options.size;
    this.options = options;
    this.#calls = calls;
    this.parts = options.memory === true ? [{ offset: 0, size: options.size }] : (options.memory ?? []);
    if (this.parts.length > 0) this.#memory = new Uint8Array(options.size);
    for (const { offset, size } of this.parts) {
      this.addWindow({
        offset,
        size,
        read: (at, target) => target.set(this.#memory!.subarray(offset + at, offset + at + target.length)),
        write: (at, source) => this.#memory!.set(source, offset + at),
      });
    }
  }

  /** All bytes of the BAR, of which the parts that are plain memory mean something. */
  get memory(): Uint8Array | undefined {
    return this.#memory;
  }

  /** Puts its memory elsewhere. */
  moveMemory(memory: Uint8Array): void {
    memory.set(this.#memory!);
    this.#memory = memory;
  }

  /** Adds what comes before the handlers, and before the windows that are there. */
  addWindow(window: BarWindow): void {
    this.#windows.unshift(window);
  }

  /** The bytes from `offset` on; all are in it. */
  read(offset: number, count: number): Uint8Array {
    const bytes = new Uint8Array(count);
    const view = new DataView(bytes.buffer);
    for (let done = 0; done < count; ) {
      const at = offset + done;
      const window = this.#windowAt(at);
      if (window === undefined) {
        const width = widthAt(at, count - done);
        this.#put(view, done, width, this.#readRegister(at, width));
        done += width;
      } else {
        const from = at - window.offset;
        const length = Math.min(count - done, window.size - from);
        window.read(from, bytes.subarray(done, done + length));
        done += length;
      }
    }
    return bytes;
  }

  /** Writes bytes from `offset` on; all are in it. */
  write(offset: number, bytes: Uint8Array): void {
    const count = bytes.length;
    for (let done = 0; done < count; ) {
      const at = offset + done;
      const window = this.#windowAt(at);
      if (window === undefined) {
        const width = widthAt(at, count - done);
        this.#writeRegister(at, width, numberAt(bytes, done, width));
        done += width;
      } else {
        const from = at - window.offset;
        const length = Math.min(count - done, window.size - from);
        window.write(from, bytes.subarray(done, done + length));
        done += length;
      }
    }
  }

  #windowAt(offset: number): BarWindow | undefined {
    for (const window of this.#windows) {
      if (offset >= window.offset && offset < window.offset + window.size) return window;
    }
    return undefined;
  }

  #readRegister(offset: number, width: AccessWidth): number {
    const { read } = this.options;
    return read === undefined ? 0 : this.#calls.read(() => checkNumber(read(offset, width)));
  }

  #writeRegister(offset: number, width: AccessWidth, value: number): void {
    const { write } = this.options;
    if (write !== undefined) this.#calls.write(() => write(offset, width, value));
  }

  #put(view: DataView, at: number, width: AccessWidth, value: number): void {
    if (width === 4) view.setUint32(at, value, true);
    else if (width === 2) view.setUint16(at, value, true);
    else view.setUint8(at, value);
  }
}

/** @throws EDEADLOCK if a read handler gave a promise, EINVAL if it gave anything else but a number */
function checkNumber(value: unknown): number {
  if (typeof value === 'number') return value;
  if (isThenable(value)) {
    value.then(undefined, () => undefined);
    throw refuse(
      'EDEADLOCK',
      'state',
      'the read handler of a register gave a promise; the guest waits for a number, and answers nothing until it has it',
    );
  }
  throw refuse('EINVAL', 'argument', `the read handler of a register gave a ${typeof value}, not a number`);
}

/** The widest natural access at an offset, of at most `most` bytes. */
function widthAt(offset: number, most: number): AccessWidth {
  if (most >= 4 && (offset & 3) === 0) return 4;
  return most >= 2 && (offset & 1) === 0 ? 2 : 1;
}

function numberAt(bytes: Uint8Array, at: number, width: AccessWidth): number {
  if (width === 1) return bytes[at]!;
  const low = bytes[at]! | (bytes[at + 1]! << 8);
  return width === 2 ? low : (low | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}
