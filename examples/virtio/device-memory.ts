/**
 * Memory as a virtio device or driver addresses it.
 */
import { IommuError, type IoptAccess, type ProcessMemory } from 'io-pagetable';

/** Bytes by address. What an address is depends on who looks: guest physical, or an IOVA. */
export interface DeviceMemory {
  /** A copy of `length` bytes. @throws IommuError if one of them is not there or may not be read */
  read(address: bigint, length: number): Uint8Array;
  /** @throws IommuError if one of the bytes is not there or may not be written */
  write(address: bigint, bytes: Uint8Array): void;
}

/** The RAM of a guest, by guest physical address: a region of the VMM's memory. */
export class GuestRam implements DeviceMemory {
  /** The memory of the VMM. */
  readonly memory: ProcessMemory;
  /** Bytes. */
  readonly length: bigint;
  readonly #uptr: bigint;

  /** New RAM. Neighbouring pages of it have frames apart, as they often do. */
  constructor(memory: ProcessMemory, length: bigint) {
    this.memory = memory;
    this.length = length;
    this.#uptr = memory.mmap({ length, frames: 'scattered' }).uptr;
  }

  /** The VMM's address of guest physical `address`. @throws IommuError EFAULT if the range is not all RAM */
  userAddress(address: bigint, length: bigint): bigint {
    const uptr = this.#uptr + address;
    if (address + length <= this.length) return uptr;
    const detail = 'is past the end of guest RAM';
    throw new IommuError('EFAULT', { check: 'memory', uptr: `0x${uptr.toString(16)}`, detail });
  }

  read(address: bigint, length: number): Uint8Array {
    return this.memory.read(this.userAddress(address, BigInt(length)), length);
  }

  write(address: bigint, bytes: Uint8Array): void {
    this.memory.write(this.userAddress(address, BigInt(bytes.length)), bytes);
  }
}

/** What a device behind an IOMMU sees: memory by IOVA, through an access. */
export class AccessMemory implements DeviceMemory {
  readonly #access: IoptAccess;

  constructor(access: IoptAccess) {
    this.#access = access;
  }

  read(address: bigint, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.#access.readSync(address, bytes);
    return bytes;
  }

  write(address: bigint, bytes: Uint8Array): void {
    this.#access.writeSync(address, bytes);
  }
}
