/** Configuration space: bytes, and which bits of them the guest can write. */

/** Offsets of the fields that every device has, and bits in them. */
export const CONFIG = Object.freeze({
  VENDOR: 0x00,
  DEVICE: 0x02,
  COMMAND: 0x04,
  STATUS: 0x06,
  REVISION: 0x08,
  CLASS: 0x09,
  CACHE_LINE: 0x0c,
  HEADER_TYPE: 0x0e,
  BAR0: 0x10,
  SUBSYSTEM_VENDOR: 0x2c,
  SUBSYSTEM: 0x2e,
  ROM: 0x30,
  CAPABILITIES: 0x34,
  INTERRUPT_LINE: 0x3c,
  INTERRUPT_PIN: 0x3d,
  FIRST_CAPABILITY: 0x40,
} as const);

/** Bits of the command register. */
export const COMMAND_BIT = Object.freeze({
  IO: 1,
  MEMORY: 2,
  BUS_MASTER: 4,
  PARITY: 0x40,
  SERR: 0x100,
  INTX_DISABLE: 0x400,
} as const);

/** Bits of the status register. */
export const STATUS_BIT = Object.freeze({ INTERRUPT: 8, CAPABILITIES: 0x10 } as const);

/** Length of conventional configuration space. */
export const CONVENTIONAL_SIZE = 256;
/** Length of the one of PCI Express. */
export const EXPRESS_SIZE = 4096;

/**
 * A device's configuration space. What the guest writes goes to the bits that are writable; the others stay as they are.
 */
export class ConfigSpace {
  readonly size: number;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #writable: Uint8Array;
  #powerOn: Uint8Array = new Uint8Array(0);
  #lastCapability = CONFIG.CAPABILITIES - 1;
  #free: number = CONFIG.FIRST_CAPABILITY;

  constructor(size: number) {
    this.size = size;
    this.#bytes = new Uint8Array(size);
    this.#view = new DataView(this.#bytes.buffer);
    this.#writable = new Uint8Array(size);
  }

  /** The number at an offset. */
  get(offset: number, width: 1 | 2 | 4): number {
    switch (width) {
      case 1:
        return this.#view.getUint8(offset);
      case 2:
        return this.#view.getUint16(offset, true);
      case 4:
        return this.#view.getUint32(offset, true);
    }
  }

  /** Sets the number at an offset, whatever the guest may write there. */
  set(offset: number, width: 1 | 2 | 4, value: number): void {
    write(this.#view, offset, width, value);
  }

  /** Sets bits of the number at an offset, or clears them. */
  setBits(offset: number, width: 1 | 2 | 4, bits: number, on: boolean): void {
    const value = this.get(offset, width);
    this.set(offset, width, on ? value | bits : value & ~bits);
  }

  /** Lets the guest write bits of the number at an offset. */
  allow(offset: number, width: 1 | 2 | 4, bits: number): void {
    write(new DataView(this.#writable.buffer), offset, width, bits);
  }

  /**
   * Appends a capability to the chain and gives its offset.
   *
   * @param data - all after the id and the link
   * @throws RangeError if there is no room
   */
  addCapability(id: number, data: Uint8Array): number {
    const at = this.#free;
    const past = at + 2 + data.length;
    if (past > CONVENTIONAL_SIZE)
      throw new RangeError(`no room for a capability of ${2 + data.length} bytes`);
    this.#bytes[this.#lastCapability + 1] = at;
    this.#bytes[at] = id;
    this.#bytes.set(data, at + 2);
    this.#lastCapability = at;
    this.#free = (past + 3) & ~3;
    this.setBits(CONFIG.STATUS, 2, STATUS_BIT.CAPABILITIES, true);
    return at;
  }

  /** Makes what is there now the state after power-on. */
  seal(): void {
    this.#powerOn = this.#bytes.slice();
  }

  /** Goes back to the state after power-on. */
  reset(): void {
    this.#bytes.set(this.#powerOn);
  }

  /** A copy of bytes that lie in it. */
  read(offset: number, count: number): Uint8Array {
    return this.#bytes.slice(offset, offset + count);
  }

  /** Writes bytes that lie in it, as the guest does. */
  write(offset: number, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at++) {
      const mask = this.#writable[offset + at]!;
      this.#bytes[offset + at] = (this.#bytes[offset + at]! & ~mask) | (bytes[at]! & mask);
    }
  }

  /** All of it, for a migration. */
  save(): Uint8Array {
    return this.#bytes.slice();
  }

  /** Takes what the guest can write, and nothing else, from a state that `save` gave. */
  load(state: Uint8Array): void {
    this.write(0, state.subarray(0, this.size));
  }
}

function write(view: DataView, offset: number, width: 1 | 2 | 4, value: number): void {
  switch (width) {
    case 1:
      view.setUint8(offset, value);
      break;
    case 2:
      view.setUint16(offset, value, true);
      break;
    case 4:
      view.setUint32(offset, value, true);
      break;
  }
}
