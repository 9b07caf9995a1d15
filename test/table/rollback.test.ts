/** A call that fails half-way leaves everything as it was, and succeeds when the cause is gone. */
import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import { refuse } from '../../src/errors.js';
import type { IoPagetable } from '../../src/io-pagetable.js';
import { expectError } from '../helpers/expect-error.js';
import { RecordingDomain } from '../helpers/recording-domain.js';
import { settled, watch } from '../helpers/watch.js';
import { NOWHERE, PAGE, SCATTERED, USER, World } from '../helpers/world.js';

/** A table with three domains, of which the second knows whole pages; nothing is mapped. */
async function threeDomains() {
  const world = new World();
  const table = world.table();
  const domains = [
    await world.domain(table, new RecordingDomain()),
    await world.domain(table, new RecordingDomain({ wholePages: true })),
    await world.domain(table, new RecordingDomain({ ioPage: 2048 })),
  ];
  return { world, table, domains };
}

describe("a domain's map fails", () => {
  test('in any domain, at any run of a map', async () => {
    const { world, table, domains } = await threeDomains();
    const map = () => table.map({ uptr: SCATTERED, iova: 0x8000n, length: 4n * PAGE, prot: 'rw' });
    for (const domain of domains) {
      for (let run = 0; run < 4; run++) {
        domain.mapsLeft = run;
        await world.unchanged(async () => {
          const error = await expectError(map(), 'ENOMEM');
          expect([error.syscall, error.range]).toEqual(['map', '[0x8000, 0xbfff]']);
        });
      }
      domain.mapsLeft = Number.POSITIVE_INFINITY;
    }
    expect(await map()).toBe(0x8000n);
    world.check();
  });

  test('of a map that does not begin at a page boundary', async () => {
    const world = new World();
    const table = world.table();
    const domain = await world.domain(table, new RecordingDomain({ ioPage: 512 }));
    const map = () => table.map({ uptr: SCATTERED + 0x200n, iova: 0x8600n, length: 4n * PAGE, prot: 'rw' });
    for (let run = 0; run < 5; run++) {
      domain.mapsLeft = run;
      await world.unchanged(() => expectError(map(), 'ENOMEM'));
    }
    domain.mapsLeft = Number.POSITIVE_INFINITY;
    await map();
    world.check();
  });

  test.each([false, true])('page by page, without large pages (whole pages: %s)', async (wholePages) => {
    const world = new World();
    const table = world.table();
    await table.setLargePages(false);
    const domain = await world.domain(table, new RecordingDomain({ wholePages }));
    const map = () => table.map({ uptr: USER, iova: 0x8000n, length: 4n * PAGE, prot: 'rw' });
    for (let page = 0; page < 4; page++) {
      domain.mapsLeft = page;
      await world.unchanged(() => expectError(map(), 'ENOMEM'));
    }
    domain.mapsLeft = Number.POSITIVE_INFINITY;
    domain.requests.length = 0;
    await map();
    expect(domain.requests.map((request) => request.split(' ')[1])).toEqual([
      '0x8000',
      '0x9000',
      '0xa000',
      '0xb000',
    ]);
    world.check();
  });

  test('with an error of its own, which is passed on', async () => {
    const { world, table, domains } = await threeDomains();
    const broken = new Error('the driver has a bug');
    domains[2]!.map = () => {
      throw broken;
    };
    await world.unchanged(() =>
      expect(table.map({ uptr: USER, iova: 0n, length: PAGE, prot: 'r' })).rejects.toBe(broken),
    );
  });
});

/** A lazy table with three areas in a row from 0x1000 on, of 1, 2 and 3 scattered pages. */
async function sourceOfThree(world: World): Promise<IoPagetable> {
  const from = world.table();
  const map = (page: bigint, iova: bigint, pages: bigint) =>
    from.map({ uptr: SCATTERED + page * PAGE, iova, length: pages * PAGE, prot: 'rw' });
  await map(0n, 0x1000n, 1n);
  await map(10n, 0x2000n, 2n);
  await map(20n, 0x4000n, 3n);
  return from;
}

describe('a part of a copy fails', () => {
  test("in any domain's map", async () => {
    const { world, table, domains } = await threeDomains();
    const from = await sourceOfThree(world);
    const copy = () => table.copy({ from, srcIova: 0x1000n, iova: 0x1000n, length: 6n * PAGE, prot: 'rw' });
    for (const domain of domains) {
      for (let run = 0; run < 6; run++) {
        domain.mapsLeft = run;
        await world.unchanged(() => expectError(copy(), 'ENOMEM'));
      }
      domain.mapsLeft = Number.POSITIVE_INFINITY;
    }
    expect(await copy()).toBe(0x1000n);
    world.check();
  });

  test('as its memory cannot be pinned', async () => {
    const { world, table } = await threeDomains();
    const from = await sourceOfThree(world);
    await from.map({ uptr: NOWHERE, iova: 0x7000n, length: PAGE, prot: 'rw' });
    const copy = () => table.copy({ from, srcIova: 0x1000n, iova: 0x1000n, length: 7n * PAGE, prot: 'rw' });
    await world.unchanged(() => expectError(copy(), 'EFAULT'));
    world.process.mmap({ uptr: NOWHERE, length: PAGE });
    await copy();
    world.check();
  });

  test('at the locked-memory limit', async () => {
    const world = new World(5);
    const table = world.table();
    await world.domain(table);
    const from = await sourceOfThree(world);
    const copy = (length: bigint) =>
      table.copy({ from, srcIova: 0x1000n, iova: 0x1000n, length, prot: 'rw' });
    await world.unchanged(() => expectError(copy(6n * PAGE), 'ENOMEM'));
    await copy(5n * PAGE);
    world.check();
  });

  test('for lack of permission, when parts before it are in the tree already', async () => {
    const { world, table } = await threeDomains();
    const from = await sourceOfThree(world);
    await from.map({ uptr: USER, iova: 0x7000n, length: PAGE, prot: 'r' });
    const copy = (prot: 'r' | 'rw') =>
      table.copy({ from, srcIova: 0x1000n, iova: 0x1000n, length: 7n * PAGE, prot });
    await world.unchanged(() => expectError(copy('rw'), 'EPERM'));
    await copy('r');
    world.check();
  });
});

describe('adding a domain fails', () => {
  test.each([0, 1])('at any area and run, beside %d other domains', async (others) => {
    const world = new World();
    const table = await sourceOfThree(world);
    for (let number = 0; number < others; number++) await world.domain(table, new RecordingDomain());
    const domain = new RecordingDomain({ wholePages: true, aperture: { start: 0x1000n, last: 0xffffn } });
    world.domains.push(domain);
    for (let run = 0; run < 6; run++) {
      domain.mapsLeft = run;
      await world.unchanged(async () => {
        const error = await expectError(table.addDomain(domain), 'ENOMEM');
        expect([error.syscall, error.range]).toEqual(['addDomain', undefined]);
      });
    }
    domain.mapsLeft = Number.POSITIVE_INFINITY;
    await table.addDomain(domain);
    world.check();
  });

  test('as memory cannot be pinned, or the limit is reached', async () => {
    const world = new World(5);
    const table = await sourceOfThree(world);
    const domain = new RecordingDomain();
    world.domains.push(domain);
    await world.unchanged(() => expectError(table.addDomain(domain), 'ENOMEM'));
    world.process.munmap(SCATTERED + 22n * PAGE, PAGE);
    await world.unchanged(() => expectError(table.addDomain(domain), 'EFAULT'));
    await table.unmap(0x4000n, 3n * PAGE);
    await table.addDomain(domain);
    world.check();
  });

  test('and pages that an access or another table holds stay pinned', async () => {
    const world = new World();
    const table = await sourceOfThree(world);
    const other = world.table();
    await world.domain(other);
    await other.copy({ from: table, srcIova: 0x4000n, iova: 0n, length: 2n * PAGE, prot: 'r' });
    const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
    await access.attach(table);
    await access.pin(0x2000n, PAGE);
    const domain = new RecordingDomain();
    world.domains.push(domain);
    expect(world.physical.pinned).toBe(3);
    for (let run = 0; run < 6; run++) {
      domain.mapsLeft = run;
      await world.unchanged(() => expectError(table.addDomain(domain), 'ENOMEM'));
    }
  });
});

describe('memory that pins fewer pages than asked', () => {
  test.each([1, 2, 3])('%d at a time: the rest is asked for', async (most) => {
    const { world, table, domains } = await threeDomains();
    world.memory.mostPerPin = most;
    await table.map({ uptr: USER, iova: 0x8000n, length: 7n * PAGE, prot: 'rw' });
    expect(world.physical.pinned).toBe(7);
    expect(world.memory.pins.map(({ count }) => count)).toEqual(
      Array.from({ length: Math.ceil(7 / most) }, (_, call) => 7 - call * most),
    );
    // What is consecutive is one run all the same.
    expect(domains[0]!.requests).toHaveLength(1);
    world.check();
  });

  test('a fault at any call: what earlier calls pinned is unpinned', async () => {
    const { world, table } = await threeDomains();
    world.memory.mostPerPin = 2;
    for (let page = 1n; page <= 6n; page++) {
      world.process.munmap(SCATTERED + page * PAGE, PAGE);
      const map = table.map({ uptr: SCATTERED, iova: 0x8000n, length: 7n * PAGE, prot: 'rw' });
      await world.unchanged(async () => {
        const error = await expectError(map, 'EFAULT');
        expect(error.reason).toMatchObject({ uptr: `0x${(SCATTERED + page * PAGE).toString(16)}` });
      });
      world.process.mmap({ uptr: SCATTERED + page * PAGE, length: PAGE });
    }
  });
});

describe('memory that answers late fails', () => {
  /** Lets `good` of the calls that wait succeed, one after the other, and the next one fail. */
  async function failAfter(world: World, good: number, late: Error): Promise<void> {
    for (let call = 0; call < good; call++) {
      world.memory.pending[0]!.settle();
      await settled();
    }
    world.memory.pending[0]!.fail(late);
    await settled();
  }

  const CALLS: [string, calls: number, prepare: (world: World) => Promise<() => Promise<unknown>>][] = [
    [
      'map',
      3,
      async (world) => {
        const table = world.table();
        await world.domain(table, new RecordingDomain());
        return () => table.map({ uptr: USER, iova: 0n, length: 5n * PAGE, prot: 'rw' });
      },
    ],
    [
      'copy',
      4,
      async (world) => {
        const from = await sourceOfThree(world);
        const table = world.table();
        await world.domain(table, new RecordingDomain());
        return () => table.copy({ from, srcIova: 0x1000n, iova: 0n, length: 6n * PAGE, prot: 'rw' });
      },
    ],
    [
      'addDomain',
      4,
      async (world) => {
        const table = await sourceOfThree(world);
        const domain = new RecordingDomain({ aperture: { start: 0x1000n, last: 0xffffn } });
        world.domains.push(domain);
        return () => table.addDomain(domain);
      },
    ],
    [
      'pin',
      4,
      async (world) => {
        const table = await sourceOfThree(world);
        const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
        await access.attach(table);
        return () => access.pin(0x1000n, 6n * PAGE);
      },
    ],
    [
      'access',
      4,
      async (world) => {
        const table = await sourceOfThree(world);
        return () => table.access(0x1000n, 6n * PAGE);
      },
    ],
    [
      'read',
      2,
      async (world) => {
        const table = await sourceOfThree(world);
        const access = new IoptAccess({ needsPin: false });
        await access.attach(table);
        return () => access.read(0x4000n, new Uint8Array(3 * 4096), { slow: true });
      },
    ],
  ];

  test.each(CALLS)('%s, at any of its %d calls', async (_name, calls, prepare) => {
    const world = new World();
    const call = await prepare(world);
    world.memory.mostPerPin = 2;
    for (let good = 0; good < calls; good++) {
      world.memory.close();
      await world.unchanged(async () => {
        const outcome = watch(call());
        const late = refuse('EFAULT', 'fault', 'the page server has gone');
        await failAfter(world, good, late);
        expect([outcome.state, outcome.error]).toEqual(['rejected', late]);
        expect(world.memory.pending).toEqual([]);
      });
      world.memory.open();
    }
    await call();
    world.check();
  });
});
