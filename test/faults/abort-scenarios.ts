/** Calls that can be aborted, each on a state in which it has something to undo. */

import { IoptAccess } from '../../src/access/iopt-access.js';
import { checkTables } from '../../src/inspect/check.js';
import { IoPagetable } from '../../src/io-pagetable.js';
import { PhysicalMemory } from '../../src/memory/physical-memory.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import type { Abortable } from '../../src/operation.js';
import type { RwLock } from '../../src/rw-lock.js';
import { RecordingDomain } from '../helpers/recording-domain.js';
import { type AbortScenario, type Moments, momentousDomain, momentousMemory } from './aborts.js';

const PAGE = 0x1000n;
const USER = 0x1000_0000n;
const SCATTERED = 0x2000_0000n;

/** Whether memory and devices answer at once or later. */
interface Manner {
  readonly lateMemory: boolean;
  readonly lateFlush: boolean;
}

/** Two tables over one process's memory. */
class AbortWorld {
  readonly moments: Moments;
  readonly process = new ProcessMemory({ physical: new PhysicalMemory(), lockedLimit: 1024n * PAGE });
  /** Has two domains, three areas, and in the second an access that pins and lets go when it is asked to. */
  readonly table: IoPagetable;
  /** Has no domain, two areas, and an access with nothing pinned. */
  readonly lazy: IoPagetable;
  readonly domains: RecordingDomain[];
  readonly holder: IoptAccess;
  readonly idle = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
  /** A domain that is in no table. */
  readonly spare: RecordingDomain;
  #held = false;

  constructor(moments: Moments, { lateMemory, lateFlush }: Manner) {
    this.moments = moments;
    this.process.mmap({ uptr: USER, length: 64n * PAGE });
    this.process.mmap({ uptr: SCATTERED, length: 64n * PAGE, frames: 'scattered' });
    const memory = momentousMemory(this.process, moments, lateMemory);
    this.table = new IoPagetable({ memory });
    this.lazy = new IoPagetable({ memory });
    const aperture = { start: 0x1000n, last: 0xff_ffffn };
    const domain = () => momentousDomain(new RecordingDomain({ aperture }), moments, lateFlush);
    this.domains = [domain(), domain()];
    this.spare = domain();
    this.holder = new IoptAccess({
      needsPin: true,
      onUnmap: ({ iova }) => moments.callOut('onUnmap', true, () => this.#letGo(iova)),
    });
  }

  static async setUp(moments: Moments, manner: Manner): Promise<AbortWorld> {
    const world = new AbortWorld(moments, manner);
    const { table, lazy, domains, holder, idle } = world;
    for (const domain of domains) await table.addDomain(domain);
    await table.map({ iova: 0x1000n, uptr: USER, length: 2n * PAGE, prot: 'rw' });
    await table.map({ iova: 0x3000n, uptr: SCATTERED, length: 3n * PAGE, prot: 'rw' });
    await lazy.map({ iova: 0x1000n, uptr: USER + 32n * PAGE, length: 2n * PAGE, prot: 'rw' });
    await lazy.map({ iova: 0x3000n, uptr: SCATTERED + 32n * PAGE, length: 3n * PAGE, prot: 'rw' });
    await table.copy({ from: lazy, srcIova: 0x3000n, iova: 0x9000n, length: PAGE, prot: 'r' });
    await holder.attach(table);
    await idle.attach(lazy);
    await holder.pin(0x3000n, PAGE);
    world.#held = true;
    return world;
  }

  async #letGo(iova: bigint): Promise<void> {
    if (!this.#held || (iova !== 0x3000n && iova !== 0n)) return;
    this.#held = false;
    await this.holder.unpin(0x3000n, PAGE);
  }

  get locks(): RwLock[] {
    const { table, lazy } = this;
    const tables = [table, lazy].flatMap(({ state }) => [state.domainsLock, state.iovaLock]);
    const pages = new Set([table, lazy].flatMap(({ state }) => [...state.areas].map((area) => area.pages!)));
    return [...tables, ...[...pages].map(({ mutex }) => mutex)];
  }

  state(): unknown {
    const { table, lazy, domains, spare, process } = this;
    return {
      tables: [table.snapshot(), lazy.snapshot()],
      domains: [...domains, spare].map(({ contents }) => contents),
      pinned: process.physical.pinned,
      locked: process.locked?.user.lockedPages,
    };
  }

  check(): void {
    const { table, lazy, locks } = this;
    checkTables([table.state, lazy.state]);
    for (const [at, lock] of locks.entries()) if (!lock.free) throw new Error(`lock ${at} is held`);
  }
}

type Call = (world: AbortWorld, options: Abortable) => Promise<unknown>;

/** A domain that keeps no marks. */
const DIRTY = Object.assign(new RecordingDomain(), {
  dirty: {
    tracking: true,
    setTracking: () => undefined,
    mark: () => undefined,
    readAndClear: () => undefined,
  },
});
const RANGES = [{ start: 0x1000n, last: 0xf_ffffn }];
const REGIONS = [{ start: 0x60000n, length: 0x1000n, type: 'direct' }] as const;
const DEVICE = { name: 'nic' };
const RESERVED = { start: 0x60000n, last: 0x60fffn, owner: DEVICE };

/** Every call of a table and of an access that can wait. */
const CALLS: Readonly<Record<string, Call>> = {
  map: ({ table }, options) =>
    table.map({ iova: 0x2_0000n, uptr: USER + 8n * PAGE, length: 3n * PAGE, prot: 'rw', ...options }),
  'map anywhere': ({ table }, options) =>
    table.map({ uptr: SCATTERED + 8n * PAGE, length: 3n * PAGE, prot: 'r', ...options }),
  'copy of two areas': ({ table, lazy }, options) =>
    table.copy({ from: lazy, srcIova: 0x2000n, iova: 0x2_0000n, length: 3n * PAGE, prot: 'rw', ...options }),
  unmap: ({ table }, options) => table.unmap(0x1000n, 2n * PAGE, options),
  'unmap of what is pinned': ({ table }, options) => table.unmap(0x3000n, 3n * PAGE, options),
  'unmap of three areas': ({ table }, options) => table.unmap(0n, 0x10_0000n, options),
  unmapAll: ({ table }, options) => table.unmapAll(options),
  addDomain: ({ lazy, spare }, options) => lazy.addDomain(spare, options),
  'addDomain as the third': ({ table, spare }, options) => table.addDomain(spare, options),
  removeDomain: ({ table, domains }, options) => table.removeDomain(domains[0]!, options),
  access: async ({ lazy }, options) => {
    const range = await lazy.access(0x1000n, 5n * PAGE, options);
    await range.release();
  },
  pin: async ({ idle }, options) => {
    await idle.pin(0x1000n, 5n * PAGE, options);
    await idle.unpin(0x1000n, 5n * PAGE);
  },
  read: ({ idle }, options) => idle.read(0x1800n, new Uint8Array(0x2800), options),
  'read through frames': ({ idle }, options) =>
    idle.read(0x1800n, new Uint8Array(0x2800), { slow: true, ...options }),
  write: ({ idle }, options) => idle.write(0x1800n, new Uint8Array(0x2800), options),
  reserveIova: async ({ table }, options) => {
    await table.reserveIova({ ...RESERVED, ...options });
    await table.removeReservedIova(DEVICE);
  },
  removeReservedIova: ({ table }, options) => table.removeReservedIova(DEVICE, options),
  setAllowedIova: ({ table }, options) => table.setAllowedIova(RANGES, options),
  iovaRanges: ({ table }, options) => table.iovaRanges(options),
  enforceReservedRegions: async ({ table }, options) => {
    await table.enforceReservedRegions(DEVICE, REGIONS, options);
    await table.removeReservedIova(DEVICE);
  },
  setLargePages: ({ lazy }, options) => lazy.setLargePages(false, options),
  cutIova: ({ lazy }, options) => lazy.cutIova([0x1fffn, 0x4fffn], options),
  setDirtyTracking: ({ table }, options) => table.setDirtyTracking(DIRTY, true, options),
  readDirty: ({ table }, options) =>
    table.readDirty({
      domain: DIRTY,
      iova: 0x1000n,
      length: 2n * PAGE,
      pageSize: PAGE,
      bitmap: new Uint8Array(1),
      ...options,
    }),
  explain: ({ lazy, spare }, options) => lazy.explain({ call: 'addDomain', domain: spare }, options),
};

/** Calls of which a part may stay done. */
const PARTIAL = new Set(['unmap of three areas', 'unmap of what is pinned', 'unmapAll', 'cutIova']);

/** All of them, with memory and devices that answer at once, or later. */
export const ABORT_SCENARIOS = [true, false].flatMap((lateMemory) =>
  [true, false].flatMap((lateFlush) =>
    Object.entries(CALLS).map(([name, call]) => ({
      name: `${name}, memory answers ${when(lateMemory)}, devices ${when(lateFlush)}`,
      prepare: async (moments: Moments): Promise<AbortScenario> => {
        const world = await AbortWorld.setUp(moments, { lateMemory, lateFlush });
        return {
          call: (options) => call(world, options),
          state: () => world.state(),
          check: () => world.check(),
          locks: world.locks,
          partial: PARTIAL.has(name),
        };
      },
    })),
  ),
);

function when(late: boolean): string {
  return late ? 'later' : 'at once';
}
