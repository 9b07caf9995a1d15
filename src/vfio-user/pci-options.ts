/** What a PCI device is made of, as its author says it. */

/** Width of a register access in bytes. */
export type AccessWidth = 1 | 2 | 4;

/** A part of a BAR, in bytes from its begin. */
export interface BarPart {
  readonly offset: number;
  readonly size: number;
}

/**
 * What a register read gives: a number of 0 to 2^(8 · width) − 1; what is above is cut off. It is needed at once: there
 * is no promise to wait for, as the client that asks would have to answer in between.
 */
export type ReadHandler = (offset: number, width: AccessWidth) => number;

/**
 * Takes a register write. It begins what the write asks for: nobody waits for the promise that it may return, but an
 * error it rejects with is reported by the device's `error` event.
 */
export type WriteHandler = (offset: number, width: AccessWidth, value: number) => unknown;

/** A base address register, and what is behind it. */
export interface BarOptions {
  /** Bytes: a power of two, at least 16 of memory, at least 4 and at most 256 of I/O ports. */
  readonly size: number;
  /** Memory that is addressed with 32 bits (the default) or 64 bits, which takes the next BAR, too; or I/O ports. */
  readonly kind?: 'memory32' | 'memory64' | 'io' | undefined;
  /** Whether reads have no side effects and writes may be combined. Default false. */
  readonly prefetchable?: boolean | undefined;
  /** Reads a register. Absent: reads as 0. Accesses are naturally aligned; 8 bytes come as two of 4, low half first. */
  readonly read?: ReadHandler | undefined;
  /** Writes a register. Absent: writes are lost. */
  readonly write?: WriteHandler | undefined;
  /**
   * Parts that are plain memory, or `true` for all of it: `PciDevice.barMemory` has the bytes, the handlers are not
   * called. Where descriptors can be passed, parts of whole pages are mapped into the guest, which then writes them
   * without a word.
   */
  readonly memory?: true | readonly BarPart[] | undefined;
}

/** Message signalled interrupts. */
export interface MsiOptions {
  /** How many: 1, 2, 4, 8, 16 or 32. */
  readonly vectors: number;
}

/** Message signalled interrupts with a table, which the library keeps in a BAR. */
export interface MsixOptions {
  /** How many: 1 to 2048. */
  readonly vectors: number;
  /** The BAR with table and pending bits: one that `bars` has, or a new one that has nothing else. */
  readonly bar: number;
  /** Where the table begins: a multiple of 8. Default: at the end of the BAR, or its begin if it is new. */
  readonly tableOffset?: number | undefined;
  /** Where the pending bits begin: a multiple of 8. Default: behind the table. */
  readonly pendingOffset?: number | undefined;
}

/** A capability whose meaning only the device knows. */
export interface VendorCapability {
  /** All after the capability's id and link; in vendor-specific ones (id 9) the first byte is the length, as everywhere. */
  readonly data: Uint8Array;
  /** The capability's id. Default 9, vendor-specific. */
  readonly id?: number | undefined;
  /** Which bits of `data` the guest can write. Default: none. */
  readonly writable?: Uint8Array | undefined;
}

/** What `new PciDevice()` is told. */
export interface PciDeviceOptions {
  /** Vendor id. */
  readonly vendor: number;
  /** Device id. */
  readonly device: number;
  /** Class, subclass and programming interface: 0x010802 is an NVMe controller. */
  readonly class: number;
  /** Revision. Default 0. */
  readonly revision?: number | undefined;
  /** Subsystem vendor id. Default 0. */
  readonly subsystemVendor?: number | undefined;
  /** Subsystem id. Default 0. */
  readonly subsystem?: number | undefined;
  /** Base address registers by number, 0 to 5. */
  readonly bars?: Readonly<Partial<Record<number, BarOptions>>> | undefined;
  /** Expansion ROM: its content, which is shown in a region of the next power of two (at least 2048). */
  readonly rom?: Uint8Array | undefined;
  /** A pin, and which: the line that `interrupt` raises while no message signalled interrupts are on. */
  readonly intx?: 'A' | 'B' | 'C' | 'D' | undefined;
  readonly msi?: MsiOptions | undefined;
  readonly msix?: MsixOptions | undefined;
  /** A PCI Express endpoint, with function-level reset, and a configuration space of 4096 bytes. Default false. */
  readonly express?: boolean | undefined;
  /** Power management (D0 and D3hot). Default false. */
  readonly powerManagement?: boolean | undefined;
  /** Further capabilities. */
  readonly capabilities?: readonly VendorCapability[] | undefined;
  /**
   * The state of the device for a migration; what the library keeps (configuration space, MSI-X table) is saved by
   * itself. Called while the device is stopped. Without it a device cannot migrate.
   */
  readonly saveState?: (() => Uint8Array) | undefined;
  /** Takes what `saveState` gave on the other machine. A device that has one needs the other. */
  readonly loadState?: ((state: Uint8Array) => void) | undefined;
}
