/**
 * An endpoint: a device behind the virtual IOMMU, whose DMA goes through its domain.
 */
import { DmaFault, deviceRead, deviceWrite } from 'io-pagetable';
import type { GuestRam } from '../virtio/device-memory.js';
import type { Domain } from './domain.js';
import {
  FAULT_ADDRESS,
  FAULT_READ,
  FAULT_WRITE,
  type Fault,
  FaultReason,
  type ReservedMemory,
} from './protocol.js';

/** A device that does DMA. */
export class Endpoint {
  readonly id: number;
  /** Where it can do no DMA. */
  readonly reserved: readonly ReservedMemory[];
  /** The domain it is attached to. */
  domain: Domain | undefined;
  /** Told of each access that failed. */
  onFault: (fault: Fault) => void = () => {};
  readonly #ram: GuestRam;

  constructor(id: number, ram: GuestRam, reserved: readonly ReservedMemory[] = []) {
    this.id = id;
    this.#ram = ram;
    this.reserved = reserved;
  }

  /** DMA from memory: `length` bytes, or `undefined` after a fault. */
  read(iova: bigint, length: number): Uint8Array | undefined {
    const bytes = new Uint8Array(length);
    const done = this.#transfer(iova, FAULT_READ, (domain) =>
      deviceRead(domain.translation, this.#ram.memory, iova, bytes),
    );
    return done ? bytes : undefined;
  }

  /** DMA to memory. Gives whether all bytes were written, without a fault. */
  write(iova: bigint, bytes: Uint8Array): boolean {
    return this.#transfer(iova, FAULT_WRITE, (domain) =>
      deviceWrite(domain.translation, this.#ram.memory, iova, bytes),
    );
  }

  #transfer(iova: bigint, access: number, transfer: (domain: Domain) => void): boolean {
    const flags = access | FAULT_ADDRESS;
    if (this.domain === undefined) {
      this.onFault({ reason: FaultReason.DOMAIN, flags, endpoint: this.id, address: iova });
      return false;
    }
    try {
      transfer(this.domain);
      return true;
    } catch (error) {
      if (!(error instanceof DmaFault)) throw error;
      this.onFault({ reason: FaultReason.MAPPING, flags, endpoint: this.id, address: error.iova });
      return false;
    }
  }
}
