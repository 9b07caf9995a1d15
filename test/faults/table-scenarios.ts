/** Calls on tables and accesses, each on a state in which it has something to undo. */
import type { FaultPoint } from '../../src/faults.js';
import type { IoPagetable } from '../../src/io-pagetable.js';
import type { FaultCounter } from '../../src/testing/fault-injector.js';
import type { FaultScenario } from '../../src/testing/sweep-faults.js';
import {
  FaultWorld,
  type FaultWorldOptions,
  PAGE,
  READ_ONLY,
  type Rich,
  rich,
  SCATTERED,
  USER,
} from './fault-world.js';

/** A scenario of the sweep. */
export interface Scenario {
  readonly name: string;
  /** By the kernel's contract the call cannot fail: it has no fault point. */
  readonly neverFails: boolean;
  readonly prepare: (faults: FaultCounter) => Promise<FaultScenario>;
}

interface Traits extends FaultWorldOptions {
  readonly neverFails?: boolean;
  readonly partial?: readonly FaultPoint[];
  /** More that must be as it was. */
  readonly watch?: (world: FaultWorld) => unknown;
}

type Call = () => Promise<unknown>;

/** A call on what `build` makes of an empty world. */
function onWorld(name: string, build: (world: FaultWorld) => Promise<Call>, traits: Traits = {}): Scenario {
  return {
    name,
    neverFails: traits.neverFails ?? false,
    prepare: async (faults) => {
      const world = new FaultWorld(faults, traits);
      return {
        call: await build(world),
        state: () => ({ ...world.state(), watched: traits.watch?.(world) }),
        check: () => world.check(),
        partial: traits.partial,
      };
    },
  };
}

/** A call on a rich table with 0 to 3 domains. */
function onRich(
  name: string,
  domains: number,
  build: (setting: Rich) => Call | Promise<Call>,
  traits: Traits = {},
): Scenario {
  const full = `${name}, ${domains} domain${domains === 1 ? '' : 's'}`;
  return onWorld(full, async (world) => build(await rich(world, domains)), traits);
}

/** A table with four adjacent areas of two pages each from 0x1000 on, and nothing pinned. */
async function fourParts(world: FaultWorld): Promise<IoPagetable> {
  const table = world.table();
  for (const [at, uptr] of [USER, SCATTERED + 4n * PAGE, READ_ONLY, USER + 32n * PAGE].entries()) {
    await table.map({ iova: 0x1000n + BigInt(at) * 2n * PAGE, uptr, length: 2n * PAGE, prot: 'r' });
  }
  return table;
}

const mapping: Scenario[] = [0, 1, 2, 3].flatMap((domains) => [
  onRich(
    'map at an IOVA',
    domains,
    ({ table }) =>
      () =>
        table.map({ iova: 0x40000n, uptr: SCATTERED + 8n * PAGE, length: 5n * PAGE, prot: 'rw' }),
  ),
  onRich(
    'map anywhere',
    domains,
    ({ table }) =>
      () =>
        table.map({ uptr: READ_ONLY, length: 3n * PAGE, prot: 'r' }),
  ),
  onRich('copy of four areas', domains, async ({ world, table }) => {
    const from = await fourParts(world);
    return () => table.copy({ from, srcIova: 0x1000n, length: 8n * PAGE, prot: 'r' });
  }),
  onRich(
    'copy of parts of areas, of which some pages are pinned, within a table',
    domains,
    ({ table }) =>
      () =>
        table.copy({ from: table, srcIova: 0x12000n, iova: 0x50000n, length: 4n * PAGE, prot: 'rw' }),
  ),
]);

const mappingOtherwise: Scenario[] = [
  onWorld('map of half pages into io pages of half a page', async (world) => {
    const table = world.table();
    await table.addDomain(world.domain('mock'));
    return () => table.map({ iova: 0x800n, uptr: SCATTERED + 0x800n, length: 3n * PAGE, prot: 'rw' });
  }),
  ...(['radix', 'mock'] as const).map((kind) =>
    onWorld(`map with large pages off into a ${kind} domain`, async (world) => {
      const table = world.table();
      await table.setLargePages(false);
      await table.addDomain(world.domain(kind));
      await table.addDomain(world.domain('small'));
      return () => table.map({ iova: 0x4000n, uptr: USER, length: 4n * PAGE, prot: 'rw' });
    }),
  ),
  onWorld(
    'map charged to the process, inside allowed ranges',
    async (world) => {
      const table = world.table();
      await table.addDomain(world.domain());
      await table.setAllowedIova([{ start: 0x8000n, last: 0x1ffffn }]);
      return () => table.map({ uptr: SCATTERED, length: 3n * PAGE, prot: 'w' });
    },
    { accounting: 'mm' },
  ),
  onRich(
    'map of memory that answers late',
    2,
    ({ table }) =>
      () =>
        table.map({ iova: 0x40000n, uptr: USER + 8n * PAGE, length: 7n * PAGE, prot: 'rw' }),
    { late: true },
  ),
  onRich(
    'mapSync',
    2,
    ({ table }) =>
      async () =>
        table.mapSync({ iova: 0x40000n, uptr: USER + 8n * PAGE, length: 3n * PAGE, prot: 'rw' }),
  ),
  onRich('copySync', 2, async ({ world, table }) => {
    const from = await fourParts(world);
    return async () =>
      table.copySync({ from, srcIova: 0x3000n, iova: 0x40000n, length: 5n * PAGE, prot: 'r' });
  }),
];

const unmapping: Scenario[] = [0, 1, 2, 3].flatMap((domains) => [
  onRich(
    'unmap of two areas, one of them pinned',
    domains,
    ({ table }) =>
      () =>
        table.unmap(0x10000n, 0x7000n),
  ),
  onRich(
    'unmapAll',
    domains,
    ({ table }) =>
      () =>
        table.unmapAll(),
  ),
  onRich(
    'unmapSync',
    domains,
    ({ table }) =>
      async () =>
        table.unmapSync(0x20000n, 0x2000n),
    { neverFails: true },
  ),
]);

const accessing: Scenario[] = [
  ...[0, 1, 2, 3].flatMap((domains) => [
    onRich(
      'pin of two areas, of which an access holds a part',
      domains,
      ({ access }) =>
        () =>
          access.pin(0x12000n, 5n * PAGE, { write: true }),
    ),
    onRich(
      'access to a range of two areas',
      domains,
      ({ table }) =>
        () =>
          table.access(0x13000n, 2n * PAGE),
    ),
    onRich(
      'a pin that is held twice, and its unpins',
      domains,
      ({ access }) =>
        async () => {
          await access.pin(0x15000n, 2n * PAGE);
          await access.unpin(0x15000n, 2n * PAGE);
        },
      { neverFails: true },
    ),
    onRich(
      'unpin',
      domains,
      ({ access }) =>
        () =>
          access.unpin(0x15000n, 2n * PAGE),
      { neverFails: true },
    ),
    onRich(
      'detach of an access with pins',
      domains,
      ({ access }) =>
        () =>
          access.detach(),
      {
        neverFails: true,
      },
    ),
    onRich(
      'replace of the table of an access with pins',
      domains,
      ({ access, other }) =>
        () =>
          access.replace(other),
    ),
  ]),
  onRich(
    'pin of memory that answers late',
    1,
    ({ access }) =>
      () =>
        access.pin(0x30000n, 2n * PAGE),
    {
      late: true,
    },
  ),
  onRich(
    'pin of memory that answers late',
    0,
    ({ access }) =>
      () =>
        access.pin(0x10000n, 7n * PAGE),
    {
      late: true,
    },
  ),
  onRich('attach of an access', 1, async ({ world, other }) => {
    const access = await world.access();
    return () => access.attach(other);
  }),
  ...(['read', 'write'] as const).flatMap((direction) => [
    onRich(
      `${direction} through frames, over two areas`,
      0,
      async ({ world, table }) => {
        const access = await world.access(table, { needsPin: false });
        const buffer = new Uint8Array(3 * 4096).fill(7);
        return () => access[direction](0x13000n, buffer, { slow: true });
      },
      { partial: ['batch', 'pin', 'process'] },
    ),
    onRich(
      `${direction} of one page of another process, and of the next`,
      1,
      async ({ world, table }) => {
        const access = await world.access(table, { needsPin: false });
        const buffer = new Uint8Array(200).fill(7);
        return () => access[direction](0x14000n - 100n, buffer, { caller: new FaultWorld(NO_FAULTS).memory });
      },
      { partial: ['page-transfer', 'pin'] },
    ),
  ]),
];

const NO_FAULTS = { fails: () => false };

const attaching: Scenario[] = [
  ...(['radix', 'mock', 'narrow'] as const).flatMap((kind) =>
    [0, 1, 2, 3].map((domains) =>
      onRich(`addDomain (${kind})`, domains, ({ world, table }) => {
        const domain = world.domain(kind);
        return () => table.addDomain(domain);
      }),
    ),
  ),
  onRich(
    'addDomain over memory that answers late',
    0,
    ({ world, table }) => {
      const domain = world.domain();
      return () => table.addDomain(domain);
    },
    { late: true },
  ),
  onWorld('addDomain with large pages off', async (world) => {
    const table = await fourParts(world);
    await table.setLargePages(false);
    const domain = world.domain();
    return () => table.addDomain(domain);
  }),
  onWorld(
    'addDomain charged to the process',
    async (world) => {
      const table = await fourParts(world);
      const domain = world.domain('mock');
      return () => table.addDomain(domain);
    },
    { accounting: 'mm' },
  ),
  ...[1, 2, 3].map((domains) =>
    onRich(
      'removeDomain',
      domains,
      ({ table }) =>
        () =>
          table.removeDomain(table.domains[0]!),
      { neverFails: true },
    ),
  ),
];

const others: Scenario[] = [
  onRich(
    'reserveIova',
    1,
    ({ table }) =>
      () =>
        table.reserveIova({ start: 0x60000n, last: 0x60fffn, owner: null }),
  ),
  onRich(
    'removeReservedIova',
    1,
    async ({ table }) => {
      await table.reserveIova({ start: 0x60000n, last: 0x60fffn });
      return () => table.removeReservedIova(null);
    },
    { neverFails: true },
  ),
  onRich('setAllowedIova', 1, async ({ table }) => {
    await table.setAllowedIova([{ start: 0n, last: 0xffffn }]);
    const ranges = [0x10_0000n, 0x20_0000n, 0x30_0000n].map((start) => ({ start, last: start + 0xffffn }));
    return () => table.setAllowedIova(ranges);
  }),
  onRich('enforceReservedRegions', 1, ({ table }) => {
    const device = { name: 'nic' };
    const regions = [
      { start: 0x60000n, length: 0x1000n, type: 'direct' },
      { start: 0x70000n, length: 0x1000n, type: 'direct-relaxable' },
      { start: 0xfee0_0000n, length: 0x10_0000n, type: 'reserved' },
      { start: 0x800_0000n, length: 0x10_0000n, type: 'sw-msi' },
    ] as const;
    return () => table.enforceReservedRegions(device, regions);
  }),
  onRich(
    'setLargePages',
    0,
    ({ table }) =>
      async () => {
        await table.setLargePages(false);
        await table.setLargePages(true);
      },
    { neverFails: true },
  ),
  ...[0, 1, 2].map((domains) =>
    onWorld(
      `cutIova, domains: ${domains}`,
      async (world) => {
        const table = world.table();
        await table.setLargePages(false);
        for (let count = 0; count < domains; count++) await table.addDomain(world.domain());
        await table.map({ iova: 0x10000n, uptr: USER, length: 8n * PAGE, prot: 'rw' });
        return () => table.cutIova([0x11fffn, 0x13fffn, 0x16fffn]);
      },
      { partial: ['split'] },
    ),
  ),
  onRich('readDirty', 2, async ({ world, table }) => {
    const [domain] = world.domains;
    await table.setDirtyTracking(domain!, true);
    return async () => {
      // The marks are read where they stay, so that reading them again gives the same.
      domain!.dirty!.mark(0x11000n, PAGE);
      const bitmap = new Uint8Array(1);
      await table.readDirty({ domain: domain!, iova: 0x10000n, length: 7n * PAGE, pageSize: PAGE, bitmap });
      if (bitmap[0] !== 2) throw new Error(`the bitmap is ${bitmap[0]}`);
    };
  }),
  onRich(
    'setDirtyTracking',
    1,
    ({ table }) =>
      () =>
        table.setDirtyTracking(table.domains[0]!, true),
    { neverFails: true },
  ),
];

const rfc: Scenario[] = [
  onWorld(
    'rfc-v1: map',
    async (world) => {
      const table = world.table();
      await table.addDomain(world.domain());
      return () => table.map({ uptr: SCATTERED, length: 3n * PAGE, prot: 'rw' });
    },
    { profile: 'rfc-v1' },
  ),
  onWorld(
    'rfc-v1: copy',
    async (world) => {
      const from = world.table();
      await from.map({ iova: 0x1000n, uptr: SCATTERED, length: 3n * PAGE, prot: 'rw' });
      const table = world.table();
      await table.addDomain(world.domain('mock'));
      return () => table.copy({ from, srcIova: 0x1000n, iova: 0x9000n, length: 3n * PAGE, prot: 'rw' });
    },
    { profile: 'rfc-v1' },
  ),
  onWorld(
    'rfc-v1: unmap',
    async (world) => {
      const table = world.table();
      await table.addDomain(world.domain());
      await table.map({ iova: 0x1000n, uptr: SCATTERED, length: 3n * PAGE, prot: 'rw' });
      return () => table.unmap(0x1000n, 3n * PAGE);
    },
    { profile: 'rfc-v1', neverFails: true },
  ),
];

/** All of them. */
export const TABLE_SCENARIOS: readonly Scenario[] = [
  ...mapping,
  ...mappingOtherwise,
  ...unmapping,
  ...accessing,
  ...attaching,
  ...others,
  ...rfc,
];
