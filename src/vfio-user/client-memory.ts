/** The memory that a client lets a device use. */
import { IoptAccess } from '../access/iopt-access.js';
import { IommuError, refuse } from '../errors.js';
import { IoPagetable } from '../io-pagetable.js';
import { ProcessMemory } from '../memory/process-memory.js';
import type { Protection } from '../protection.js';
import { PAGE_SIZE } from '../u64.js';
import type { DescriptorSupport } from './descriptors.js';

/** Memory of a client. */
export interface ClientRam {
  /** All bytes; also what the device writes is seen here. */
  readonly bytes: Uint8Array;
  /** The file that it is, where descriptors are passed. */
  readonly descriptor: number | undefined;
}

/** Memory and what of it is mapped where. */
export class ClientMemory {
  readonly #support: DescriptorSupport | undefined;
  readonly #memory = new ProcessMemory();
  readonly #table = new IoPagetable({ memory: this.#memory });
  readonly #access = new IoptAccess({ needsPin: false });
  readonly #addresses = new Map<ClientRam, bigint>();
  readonly #ended: (() => void)[] = [];
  readonly #attached: Promise<void>;

  /** @param support - absent: memory that only messages reach */
  constructor(support: DescriptorSupport | undefined) {
    this.#support = support;
    this.#attached = this.#access.attach(this.#table);
  }

  /** The table of what is mapped. */
  get table(): IoPagetable {
    return this.#table;
  }

  /** New memory, zeroed. @throws EINVAL if the length is 0, or not a multiple of 4096 */
  allocate(length: number): ClientRam {
    if (!Number.isSafeInteger(length) || length <= 0 || length % PAGE_SIZE !== 0) {
      throw refuse('EINVAL', 'argument', `memory has a multiple of 4096 bytes, not ${length}`);
    }
    const ram = this.#support === undefined ? privateRam(length) : this.#sharedRam(this.#support, length);
    const { uptr } = this.#memory.mmap({ length, buffer: ram.bytes.buffer });
    this.#addresses.set(ram, uptr);
    return ram;
  }

  #sharedRam(support: DescriptorSupport, length: number): ClientRam {
    const descriptor = support.createMemory(length);
    try {
      const { bytes, unmap } = support.map(descriptor, length, true);
      this.#ended.push(() => {
        unmap();
        support.close(descriptor);
      });
      return { bytes, descriptor };
    } catch (error) {
      support.close(descriptor);
      throw error;
    }
  }

  /** Maps. @throws EINVAL if the memory is not of this client, or not as long as that; as `IoPagetable.map` */
  async map(ram: ClientRam, offset: bigint, iova: bigint, length: bigint, prot: Protection): Promise<void> {
    const uptr = this.#addresses.get(ram);
    if (uptr === undefined || offset + length > BigInt(ram.bytes.length)) {
      throw refuse('EINVAL', 'argument', `no memory of this client has ${length} bytes from ${offset} on`);
    }
    await this.#table.map({ iova, uptr: uptr + offset, length, prot });
  }

  /** Reads for a device. @throws as `IoptAccess.read` */
  async read(address: bigint, count: number): Promise<Uint8Array> {
    await this.#attached;
    const bytes = new Uint8Array(count);
    if (count > 0) await this.#access.read(address, bytes);
    return bytes;
  }

  /** Writes for a device. @throws as `IoptAccess.write` */
  async write(address: bigint, bytes: Uint8Array): Promise<void> {
    await this.#attached;
    if (bytes.length > 0) await this.#access.write(address, bytes);
  }

  /** Gives everything back. Views of memory that was shared read as zeroes from here on. */
  async close(): Promise<void> {
    await this.#attached;
    await this.#access.detach();
    await this.#table.unmapAll();
    for (const end of this.#ended.splice(0)) end();
    this.#addresses.clear();
  }
}

function privateRam(length: number): ClientRam {
  return { bytes: new Uint8Array(length), descriptor: undefined };
}

/** The errno that a device is told. */
export function errnoOf(error: unknown): number {
  return error instanceof IommuError ? -error.errno : 5;
}
