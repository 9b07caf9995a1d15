/** A machine whose guest's RAM is a file, and a VMM that has it. */
import { MemoryFile, PhysicalMemory, ProcessMemory } from 'io-pagetable';

/** Bytes of the guest's RAM. */
export const RAM_BYTES = 0x10_0000n;

/** The machine that VMMs run on, and the guest's RAM, which outlives each of them. */
export class Machine {
  readonly physical = new PhysicalMemory();
  readonly ram = new MemoryFile({ physical: this.physical, size: RAM_BYTES });
}

/** A VMM: a process that may lock so much memory, with the guest's RAM mapped. */
export class Vmm {
  readonly memory: ProcessMemory;
  /** Where it has the guest's RAM; each VMM somewhere else. */
  readonly ram: bigint;

  constructor({ physical, ram }: Machine, lockedLimit: bigint) {
    this.memory = new ProcessMemory({ physical, lockedLimit });
    this.ram = this.memory.mmap({ file: ram, length: RAM_BYTES }).uptr;
  }

  /** Bytes that it is charged for. */
  get lockedBytes(): number {
    return (this.memory.locked?.user.lockedPages ?? 0) * 4096;
  }

  /** What the guest has in its RAM. */
  read(guest: bigint, length: number): Uint8Array {
    return this.memory.read(this.ram + guest, length);
  }

  /** The process ends. */
  exit(): void {
    this.memory.exit();
  }
}
