/** The capabilities that the library knows: what they look like, and what the guest can write of them. */
import type { ConfigSpace } from './config-space.js';

const ID = Object.freeze({ POWER: 1, MSI: 5, VENDOR: 9, EXPRESS: 0x10, MSIX: 0x11 });

/** The id of a vendor-specific capability. */
export const VENDOR_SPECIFIC = ID.VENDOR;

/** Bits of the control register of MSI. */
const MSI_ENABLE = 1;
const MSI_64_BIT = 0x80;
/** Bits of the control register of MSI-X. */
const MSIX_ENABLE = 0x8000;
const MSIX_MASK_ALL = 0x4000;
/** Bits of the capability registers of PCI Express. */
const ROLE_BASED_ERRORS = 0x8000;
const HAS_FUNCTION_RESET = 0x1000_0000;
const FUNCTION_RESET = 0x8000;
const DEVICE_CONTROL_BITS = 0x7aff;
const GEN1_X1 = 0x11;

/** Power management: D0 and D3hot, which keeps the registers. */
export class PowerCapability {
  readonly #config: ConfigSpace;
  readonly #at: number;

  constructor(config: ConfigSpace) {
    this.#config = config;
    this.#at = config.addCapability(ID.POWER, Uint8Array.of(3, 0, 8, 0, 0, 0));
    config.allow(this.#at + 4, 1, 3);
  }

  /** Whether the device is switched on. */
  get on(): boolean {
    return (this.#config.get(this.#at + 4, 1) & 3) === 0;
  }

  /** After a write: there are no states in between, and one that is not there is not entered. */
  wrote(wasOn: boolean): void {
    const state = this.#config.get(this.#at + 4, 1) & 3;
    if (state === 1 || state === 2) this.#config.setBits(this.#at + 4, 1, 3, false);
    if ((state === 1 || state === 2) && !wasOn) this.#config.setBits(this.#at + 4, 1, 3, true);
  }
}

/** MSI with 64-bit addresses. */
export class MsiCapability {
  readonly vectors: number;
  readonly #config: ConfigSpace;
  readonly #at: number;

  constructor(config: ConfigSpace, vectors: number) {
    this.vectors = vectors;
    this.#config = config;
    const most = Math.log2(vectors);
    this.#at = config.addCapability(ID.MSI, new Uint8Array(12));
    config.set(this.#at + 2, 2, MSI_64_BIT | (most << 1));
    config.allow(this.#at + 2, 2, MSI_ENABLE | 0x70);
    config.allow(this.#at + 4, 4, 0xffff_fffc);
    config.allow(this.#at + 8, 4, 0xffff_ffff);
    config.allow(this.#at + 12, 2, 0xffff);
  }

  get enabled(): boolean {
    return (this.#config.get(this.#at + 2, 2) & MSI_ENABLE) !== 0;
  }

  /** How many the guest has granted. */
  get granted(): number {
    return Math.min(this.vectors, 2 ** ((this.#config.get(this.#at + 2, 2) >> 4) & 7));
  }

  /** The address that a message is written to. */
  get address(): bigint {
    return (BigInt(this.#config.get(this.#at + 8, 4)) << 32n) | BigInt(this.#config.get(this.#at + 4, 4));
  }

  /** What is written there for a vector: the low bits of the data say which one. */
  data(vector: number): number {
    const data = this.#config.get(this.#at + 12, 2);
    return (data & ~(this.granted - 1)) | (vector % this.granted);
  }
}

/** MSI-X: where the table is, and whether it is used. The table itself is elsewhere. */
export class MsixCapability {
  readonly vectors: number;
  readonly #config: ConfigSpace;
  readonly #at: number;

  constructor(config: ConfigSpace, vectors: number, bar: number, table: number, pending: number) {
    this.vectors = vectors;
    this.#config = config;
    this.#at = config.addCapability(ID.MSIX, new Uint8Array(10));
    config.set(this.#at + 2, 2, vectors - 1);
    config.set(this.#at + 4, 4, table | bar);
    config.set(this.#at + 8, 4, pending | bar);
    config.allow(this.#at + 2, 2, MSIX_ENABLE | MSIX_MASK_ALL);
  }

  get enabled(): boolean {
    return (this.#config.get(this.#at + 2, 2) & MSIX_ENABLE) !== 0;
  }

  /** Whether all vectors are masked. */
  get masked(): boolean {
    return (this.#config.get(this.#at + 2, 2) & MSIX_MASK_ALL) !== 0;
  }
}

/** An endpoint of PCI Express. */
export class ExpressCapability {
  readonly #config: ConfigSpace;
  readonly #at: number;

  constructor(config: ConfigSpace) {
    this.#config = config;
    const at = config.addCapability(ID.EXPRESS, new Uint8Array(58));
    this.#at = at;
    config.set(at + 2, 2, 2);
    config.set(at + 4, 4, ROLE_BASED_ERRORS | HAS_FUNCTION_RESET);
    config.set(at + 12, 4, GEN1_X1);
    config.set(at + 18, 2, GEN1_X1);
    // The bit that asks for a reset can be written and is taken back, so that it always reads as 0.
    config.allow(at + 8, 2, DEVICE_CONTROL_BITS | FUNCTION_RESET);
    config.allow(at + 16, 2, 0x0fc3);
  }

  /** Whether the guest has just asked for a function-level reset. */
  takeResetRequest(): boolean {
    const asked = (this.#config.get(this.#at + 8, 2) & FUNCTION_RESET) !== 0;
    if (asked) this.#config.setBits(this.#at + 8, 2, FUNCTION_RESET, false);
    return asked;
  }
}
