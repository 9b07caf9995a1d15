/** Tables over one process's memory, and all that can be seen of them from outside. */
import { expect } from 'vitest';
import type { IommuDomain } from '../../src/domain/iommu-domain.js';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { checkTables } from '../../src/inspect/check.js';
import { IoPagetable, type IoPagetableOptions } from '../../src/io-pagetable.js';
import { PhysicalMemory } from '../../src/memory/physical-memory.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import { GatedMemory } from './gated-memory.js';
import { RecordingDomain } from './recording-domain.js';

export const PAGE = 0x1000n;
/** User address of 512 writable pages with consecutive frames. */
export const USER = 0x1000_0000n;
/** User address of 16 pages without permission to write. */
export const READ_ONLY = 0x2000_0000n;
/** User address of 64 writable pages, no two of which have consecutive frames. */
export const SCATTERED = 0x3000_0000n;
/** A user address at which nothing is mapped. */
export const NOWHERE = 0x4000_0000n;

/** Some tables over the same memory. */
export class World {
  readonly physical = new PhysicalMemory();
  readonly process: ProcessMemory;
  readonly memory: GatedMemory;
  readonly tables: IoPagetable[] = [];
  readonly domains: IommuDomain[] = [];

  constructor(lockedPages?: number) {
    const { physical } = this;
    this.process = new ProcessMemory(
      lockedPages === undefined ? { physical } : { physical, lockedLimit: BigInt(lockedPages) * PAGE },
    );
    this.process.mmap({ uptr: USER, length: 512n * PAGE });
    this.process.mmap({ uptr: READ_ONLY, length: 16n * PAGE, writable: false });
    this.process.mmap({ uptr: SCATTERED, length: 64n * PAGE, frames: 'scattered' });
    this.memory = new GatedMemory(this.process);
  }

  /** A new table over the memory. */
  table(options: Omit<IoPagetableOptions, 'memory'> = {}): IoPagetable {
    const table = new IoPagetable({ memory: this.memory, ...options });
    this.tables.push(table);
    return table;
  }

  /** Attaches a domain, by default one with 4 KiB, 2 MiB and 1 GiB pages. */
  async domain<T extends IommuDomain>(table: IoPagetable, domain: T): Promise<T>;
  async domain(table: IoPagetable): Promise<RadixDomain>;
  async domain(table: IoPagetable, domain: IommuDomain = new RadixDomain()): Promise<IommuDomain> {
    if (!this.domains.includes(domain)) this.domains.push(domain);
    await table.addDomain(domain);
    return domain;
  }

  /** Everything that a failed call must not change. */
  state(): object {
    const { locked } = this.process;
    return {
      tables: this.tables.map((table) => table.snapshot()),
      pinned: this.physical.pinned,
      locked: locked && [locked.user.lockedPages, locked.mm.lockedPages],
      domains: this.domains.map((domain) =>
        domain instanceof RecordingDomain ? domain.contents : domain.mappedBytes,
      ),
      locks: this.tables.map(({ state }) => [state.domainsLock.free, state.iovaLock.free]),
    };
  }

  /** Checks the invariants of all tables together; no call is in progress. */
  check(): void {
    checkTables(this.tables.map((table) => table.state));
    for (const { state } of this.tables) {
      expect([state.domainsLock.free, state.iovaLock.free]).toEqual([true, true]);
    }
  }

  /** Runs a call that must fail, or be refused, without a trace. */
  async unchanged(call: () => unknown): Promise<void> {
    const before = this.state();
    await call();
    expect(this.state()).toEqual(before);
    this.check();
  }
}
