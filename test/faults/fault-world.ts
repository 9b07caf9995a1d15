/** Tables, domains and accesses over one process's memory, in a state in which everything has something to undo. */

import { IoptAccess, type IoptAccessOptions } from '../../src/access/iopt-access.js';
import type { IommuDomain } from '../../src/domain/iommu-domain.js';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import type { FaultInjector } from '../../src/faults.js';
import { checkTables } from '../../src/inspect/check.js';
import { IoPagetable } from '../../src/io-pagetable.js';
import { PhysicalMemory } from '../../src/memory/physical-memory.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import type { UserMemory } from '../../src/memory/user-memory.js';
import type { RwLock } from '../../src/rw-lock.js';
import { MockDomain } from '../../src/testing/mock-domain.js';
import { LateMemory } from '../model/late-memory.js';

export const PAGE = 0x1000n;
/** 64 writable pages with consecutive frames. */
export const USER = 0x1000_0000n;
/** 64 writable pages, no two of which have consecutive frames. */
export const SCATTERED = 0x2000_0000n;
/** 16 pages without permission to write. */
export const READ_ONLY = 0x3000_0000n;
const REGIONS = [
  { uptr: USER, length: 64n * PAGE },
  { uptr: SCATTERED, length: 64n * PAGE, frames: 'scattered' },
  { uptr: READ_ONLY, length: 16n * PAGE, writable: false },
] as const;

/** How a world is made. */
export interface FaultWorldOptions {
  /** The memory answers with promises, two pages at a time. */
  readonly late?: boolean;
  readonly accounting?: 'user' | 'mm';
  readonly profile?: 'linux-6.12' | 'rfc-v1';
}

/** Tables that share a fault injector, over the memory of a process with a locked-memory limit. */
export class FaultWorld {
  readonly physical = new PhysicalMemory();
  readonly process = new ProcessMemory({ physical: this.physical, lockedLimit: 1024n * PAGE });
  readonly memory: UserMemory;
  readonly tables: IoPagetable[] = [];
  readonly domains: IommuDomain[] = [];
  readonly accesses: IoptAccess[] = [];
  readonly #faults: FaultInjector;
  readonly #options: FaultWorldOptions;

  constructor(faults: FaultInjector, options: FaultWorldOptions = {}) {
    for (const region of REGIONS) this.process.mmap(region);
    this.memory = options.late ? new LateMemory(this.process, 2) : this.process;
    this.#faults = faults;
    this.#options = options;
  }

  /** Another table. */
  table(): IoPagetable {
    const { memory } = this;
    const { accounting = 'user', profile = 'linux-6.12' } = this.#options;
    const table = new IoPagetable({ memory, accounting, profile, faults: this.#faults });
    this.tables.push(table);
    return table;
  }

  /** A domain of each kind: with whole pages, with io pages of half a page, of a small aperture, … */
  domain(kind: 'radix' | 'small' | 'mock' | 'narrow' = 'radix'): IommuDomain {
    const domain =
      kind === 'mock'
        ? new MockDomain({ aperture: { start: 0n, last: 0xffff_ffffn }, dirty: true })
        : new RadixDomain({
            ...(kind === 'small' ? { pageSizes: [4096] } : {}),
            ...(kind === 'narrow' ? { aperture: { start: 0x1_0000n, last: 0xff_ffffn } } : {}),
            dirty: true,
          });
    this.domains.push(domain);
    return domain;
  }

  /** An access; without `onUnmap` it lets go by itself of what `pin` of this world pinned. */
  access(table?: IoPagetable, options: Partial<IoptAccessOptions> = {}): Promise<IoptAccess> {
    const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined, ...options });
    this.accesses.push(access);
    return (table === undefined ? Promise.resolve() : access.attach(table)).then(() => access);
  }

  /** An access with one pinned range, which it lets go of when it is told to. */
  async pinner(table: IoPagetable, iova: bigint, length: bigint): Promise<IoptAccess> {
    let pinned = false;
    const access: IoptAccess = await this.access(table, {
      onUnmap: async () => {
        if (!pinned) return;
        pinned = false;
        await access.unpin(iova, length);
      },
    });
    await access.pin(iova, length);
    pinned = true;
    return access;
  }

  /** Everything there is to be seen. */
  state(): object {
    const { locked } = this.process;
    const free = ({ free }: RwLock) => free;
    return {
      tables: this.tables.map((table) => table.snapshot()),
      pinned: this.physical.pinned,
      pins: this.#pins(),
      locked: locked && [locked.user.lockedPages, locked.mm.lockedPages],
      mapped: this.domains.map((domain) => domain.mappedBytes),
      accesses: this.accesses.map(
        (access) => access.table && this.tables.findIndex(({ state }) => state === access.table?.state),
      ),
      locks: this.tables.map(({ state }) => [state.domainsLock, state.iovaLock].map(free)),
    };
  }

  /** Checks the invariants of all tables together. */
  check(): void {
    checkTables(this.tables.map((table) => table.state));
  }

  #pins(): string {
    const counts: number[] = [];
    for (const { uptr, length } of REGIONS) {
      for (let at = 0n; at < length; at += PAGE) counts.push(this.process.pins(uptr + at));
    }
    return counts.join('');
  }
}

/** What most scenarios begin with. */
export interface Rich {
  readonly world: FaultWorld;
  /** Areas: [0x10000, 4 pages], [0x14000, 3 pages], [0x20000, 2 pages, read-only], and at 0x30000 copies of the page
   * on each side of 0x14000. */
  readonly table: IoPagetable;
  /** Another table with a domain, and a copy of a page of the first area. */
  readonly other: IoPagetable;
  /** Has the second and third page of the second area pinned. */
  readonly access: IoptAccess;
}

/** A table with areas, copies, pins and `domains` domains. */
export async function rich(world: FaultWorld, domains: number): Promise<Rich> {
  const table = world.table();
  const kinds = ['radix', 'mock', 'small'] as const;
  for (const kind of kinds.slice(0, domains)) await table.addDomain(world.domain(kind));
  await table.map({ iova: 0x10000n, uptr: USER, length: 4n * PAGE, prot: 'rw' });
  await table.map({ iova: 0x14000n, uptr: SCATTERED, length: 3n * PAGE, prot: 'rw' });
  await table.map({ iova: 0x20000n, uptr: READ_ONLY, length: 2n * PAGE, prot: 'r' });
  await table.copy({ from: table, srcIova: 0x13000n, iova: 0x30000n, length: 2n * PAGE, prot: 'r' });
  const other = world.table();
  await other.addDomain(world.domain());
  await other.copy({ from: table, srcIova: 0x11000n, iova: 0n, length: PAGE, prot: 'rw' });
  const access = await world.pinner(table, 0x15000n, 2n * PAGE);
  return { world, table, other, access };
}
