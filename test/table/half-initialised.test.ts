/** What others see of an area between a map's first and last step, and while an unmap takes it down. */
import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import type { IoPagetable } from '../../src/io-pagetable.js';
import { expectError } from '../helpers/expect-error.js';
import { RecordingDomain } from '../helpers/recording-domain.js';
import { settled, watch } from '../helpers/watch.js';
import { PAGE, USER, World } from '../helpers/world.js';

const LENGTH = 2n * PAGE;

/** A table with a whole area at [0x1000, 0x1fff] and a half-initialised one after it, at [0x2000, 0x3fff]. */
interface Stage {
  readonly world: World;
  readonly table: IoPagetable;
  readonly domain: RadixDomain;
  /** Lets the call that is at work on the area end, and checks everything. */
  readonly finish: () => Promise<void>;
}

async function basis() {
  const world = new World();
  const table = world.table();
  const domain = await world.domain(table, new RadixDomain({ dirty: true }));
  await table.map({ uptr: USER, iova: 0x1000n, length: PAGE, prot: 'rw' });
  return { world, table, domain };
}

async function beingMapped(): Promise<Stage> {
  const { world, table, domain } = await basis();
  world.memory.close();
  const map = table.map({ uptr: USER + 8n * PAGE, iova: 0x2000n, length: LENGTH, prot: 'rw' });
  return {
    world,
    table,
    domain,
    async finish() {
      world.memory.open();
      expect(await map).toBe(0x2000n);
      world.check();
    },
  };
}

async function beingUnmapped(): Promise<Stage> {
  const { world, table, domain } = await basis();
  await table.map({ uptr: USER + 8n * PAGE, iova: 0x2000n, length: LENGTH, prot: 'rw' });
  // The pages belong to a longer map, so that an access to the rest of it keeps their mutex.
  const other = world.table();
  await other.map({ uptr: USER + 8n * PAGE, iova: 0n, length: 8n * PAGE, prot: 'rw' });
  await table.unmap(0x2000n, LENGTH);
  await table.copy({ from: other, srcIova: 0n, iova: 0x2000n, length: LENGTH, prot: 'rw' });
  const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
  await access.attach(other);
  world.memory.close();
  const pin = access.pin(4n * PAGE, PAGE);
  const unmap = table.unmap(0x2000n, LENGTH);
  return {
    world,
    table,
    domain,
    async finish() {
      world.memory.open();
      await pin;
      expect(await unmap).toBe(LENGTH);
      world.check();
    },
  };
}

describe.each([
  ['being mapped', beingMapped],
  ['being unmapped', beingUnmapped],
])('an area that is %s', (_state, begin) => {
  test('is in the snapshot, without its pages', async () => {
    const { table, finish } = await begin();
    expect(table.snapshot().areas[1]).toMatchObject({
      iova: '0x2000',
      last: '0x3fff',
      uptr: null,
      pages: null,
    });
    await finish();
  });

  test('map, and the destination of a copy: EEXIST', async () => {
    const { table, finish } = await begin();
    await expectError(table.map({ uptr: USER, iova: 0x3000n, length: LENGTH, prot: 'r' }), 'EEXIST');
    const copy = table.copy({ from: table, srcIova: 0x1000n, iova: 0x2000n, length: PAGE, prot: 'r' });
    await expectError(copy, 'EEXIST');
    await finish();
  });

  test('automatic IOVA avoids it', async () => {
    const { world, table, finish } = await begin();
    const map = table.map({ uptr: USER, length: PAGE, prot: 'r' });
    world.memory.open();
    expect(await map).toBe(0x4000n);
    await finish();
  });

  test.each([
    ['exactly', 0x2000n, LENGTH],
    ['in part', 0x3000n, PAGE],
    ['and more', 0x2000n, 8n * PAGE],
  ])('unmap of it %s: EBUSY', async (_what, iova, length) => {
    const { table, finish } = await begin();
    const error = await expectError(table.unmap(iova, length), 'EBUSY');
    expect(error.reason).toEqual({ check: 'area-busy', area: { iova: '0x2000', last: '0x3fff' } });
    expect(error.unmapped).toBe(0n);
    await finish();
  });

  test('unmap of more than it: EBUSY after what lies before it', async () => {
    const { table, finish } = await begin();
    const error = await expectError(table.unmapAll(), 'EBUSY');
    expect(error.unmapped).toBe(PAGE);
    await finish();
  });

  test.each([
    ['it', 0x2000n, PAGE],
    ['it and what is before it', 0x1000n, 2n * PAGE],
  ])('the source of a copy, pin and read of %s: ENOENT', async (_what, iova, length) => {
    const { world, table, finish } = await begin();
    const to = world.table();
    const copy = to.copy({ from: table, srcIova: iova, iova: 0n, length, prot: 'r' });
    expect((await expectError(copy, 'ENOENT')).reason).toEqual({ check: 'not-mapped', iova: '0x2000' });
    await finish();
  });

  test('pin, read and write: ENOENT, when they come to it', async () => {
    const { world, table } = await basis();
    const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
    await access.attach(table);
    // Half-initialised by a map that waits for memory; the mutex of the access is free.
    world.memory.close();
    const map = table.map({ uptr: USER + 8n * PAGE, iova: 0x2000n, length: LENGTH, prot: 'rw' });
    await expectError(access.pin(0x2000n, PAGE), 'ENOENT');
    await expectError(access.pin(0x1000n, 2n * PAGE), 'ENOENT');
    await expectError(access.read(0x2000n, new Uint8Array(1)), 'ENOENT');
    await expectError(access.write(0x2fffn, new Uint8Array(1)), 'ENOENT');
    world.memory.open();
    await map;
    world.check();
    await access.pin(0x1000n, 3n * PAGE);
  });

  test('reserve: EADDRINUSE', async () => {
    const { table, finish } = await begin();
    await expectError(table.reserveIova({ start: 0x3fffn, last: 0x4fffn }), 'EADDRINUSE');
    await finish();
  });

  test('cut inside it: EBUSY; at its first and last byte: nothing happens', async () => {
    const { table, finish } = await begin();
    await expectError(table.cutIova([0x2fffn]), 'EBUSY');
    const before = table.snapshot();
    await table.cutIova([0x2000n, 0x3fffn]);
    expect(table.snapshot()).toEqual(before);
    await finish();
  });

  test('dirty: enabling skips it, reading ends before it, and both succeed', async () => {
    const { table, domain, finish } = await begin();
    await table.setDirtyTracking(domain, true);
    domain.dirty!.mark(0x1000n, PAGE);
    domain.dirty!.mark(0x2000n, LENGTH);
    const bitmap = new Uint8Array(1);
    await table.readDirty({ domain, iova: 0x1000n, length: 4n * PAGE, pageSize: PAGE, bitmap });
    expect([...bitmap]).toEqual([0b1]);
    await table.readDirty({ domain, iova: 0x2000n, length: LENGTH, pageSize: PAGE, bitmap });
    expect([...bitmap]).toEqual([0b1]);
    await finish();
  });

  test('domains are added and removed only after it is settled', async () => {
    const { world, table, domain, finish } = await begin();
    const second = new RecordingDomain();
    world.domains.push(second);
    const adding = watch(table.addDomain(second));
    const removing = watch(table.removeDomain(domain));
    await settled();
    expect([adding.state, removing.state, table.domains]).toEqual(['pending', 'pending', [domain]]);
    world.memory.open();
    await settled();
    expect([adding.state, removing.state, table.domains]).toEqual(['fulfilled', 'fulfilled', [second]]);
    expect(second.iovaToPhys(0x1000n)).toBeDefined();
    expect(second.iovaToPhys(0x2000n) !== undefined).toBe(table.areaCount === 2);
    expect(domain.mappedBytes).toBe(0n);
    await finish();
  });
});

/**
 * A table in which one map waits for its memory, `queued` waits for both locks, and a second map has placed its
 * area, [0x20200, 0x205ff], but waits for `queued` before it fills domains.
 */
async function queueBetween(queued: (table: IoPagetable, world: World) => Promise<unknown>) {
  const world = new World();
  const table = world.table();
  const domain = await world.domain(table, new RecordingDomain({ ioPage: 512 }));
  world.memory.close();
  const first = watch(table.map({ uptr: USER, iova: 0x10000n, length: PAGE, prot: 'rw' }));
  const between = watch(queued(table, world));
  const second = watch(table.map({ uptr: USER + 0x200n, iova: 0x20200n, length: 0x400n, prot: 'rw' }));
  await settled();
  expect([first.state, between.state, second.state]).toEqual(['pending', 'pending', 'pending']);
  expect(table.areaCount).toBe(2);
  return { world, table, domain, first, between, second };
}

describe('an area that waits for its turn', () => {
  test('is skipped by a domain that is added, and fills it afterwards', async () => {
    const added = new RecordingDomain({ ioPage: 512 });
    const { world, between, second } = await queueBetween((table) => table.addDomain(added));
    world.domains.push(added);
    world.memory.open();
    await settled();
    expect([between.state, second.state]).toEqual(['fulfilled', 'fulfilled']);
    expect(added.requests.map((request) => request.split(' ')[1])).toEqual(['0x10000', '0x20200']);
    world.check();
  });

  test('is skipped by the last domain that is removed, and is a lazy map then', async () => {
    const { world, table, domain, second } = await queueBetween((table) =>
      table.removeDomain(table.domains[0]!),
    );
    world.memory.open();
    await settled();
    expect([second.state, table.areaCount, world.physical.pinned]).toEqual(['fulfilled', 2, 0]);
    expect(domain.mappedBytes).toBe(0n);
    world.check();
  });

  test.each([
    ['a domain', (table: IoPagetable) => table.addDomain(new RecordingDomain())],
    [
      'an access',
      (table: IoPagetable) => new IoptAccess({ needsPin: true, onUnmap: () => undefined }).attach(table),
    ],
  ])('counts when %s would raise the alignment: EADDRINUSE', async (_what, queued) => {
    const { world, table, between, second } = await queueBetween(queued);
    world.memory.open();
    await settled();
    expect([second.state, table.alignment]).toEqual(['fulfilled', 512]);
    expect(between.error).toMatchObject({
      code: 'EADDRINUSE',
      reason: {
        check: 'alignment',
        what: 'iova',
        value: '0x20200',
        area: { iova: '0x20200', last: '0x205ff' },
      },
    });
    world.check();
  });

  test('counts as an area when large pages are to be disabled: EINVAL', async () => {
    const { world, table, first, between, second } = await queueBetween((table) =>
      table.setLargePages(false),
    );
    // The first map fails, so the half-initialised area is the only one.
    world.memory.pending[0]!.fail(new Error('no memory'));
    await settled();
    expect([first.state, between.error]).toMatchObject(['rejected', { code: 'EINVAL' }]);
    world.memory.open();
    await settled();
    expect([second.state, table.areaCount, table.largePages]).toEqual(['fulfilled', 1, true]);
    world.check();
  });
});

describe('while an unmap waits for accesses', () => {
  /** An area in the middle of being unmapped; `letGo` ends that. */
  async function beingAsked() {
    const { world, table, domain } = await basis();
    let letGo = () => {};
    const gate = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    let asked = 0;
    const access: IoptAccess = new IoptAccess({
      needsPin: true,
      async onUnmap() {
        asked += 1;
        if (asked > 1) return;
        await gate;
        await access.unpin(0x1000n, PAGE);
      },
    });
    await access.attach(table);
    await access.pin(0x1000n, PAGE);
    const unmap = watch(table.unmap(0x1000n, PAGE));
    await settled();
    expect([unmap.state, asked]).toEqual(['pending', 1]);
    const finish = async () => {
      letGo();
      await settled();
      expect([unmap.state, unmap.value, table.areaCount]).toEqual(['fulfilled', PAGE, 0]);
      world.check();
    };
    return { world, table, domain, access, finish, asked: () => asked };
  }

  test('no lock is held and the area keeps its pages', async () => {
    const { table, finish } = await beingAsked();
    expect([table.state.iovaLock.free, table.state.domainsLock.free]).toEqual([true, true]);
    expect(table.snapshot().areas[0]).toMatchObject({ uptr: '0x10000000', pins: 1, preventAccess: true });
    await finish();
  });

  test('pin, read and write: EINVAL; interior cut: EBUSY; overlapping map: EEXIST; copy: fine', async () => {
    const { table, access, finish } = await beingAsked();
    await expectError(access.pin(0x1000n, PAGE), 'EINVAL');
    await expectError(access.read(0x1000n, new Uint8Array(4)), 'EINVAL');
    await expectError(access.write(0x1000n, new Uint8Array(4)), 'EINVAL');
    await expectError(table.cutIova([0x17ffn]), 'EBUSY');
    await table.cutIova([0x1000n, 0x1fffn]);
    await expectError(table.map({ uptr: USER, iova: 0x1000n, length: PAGE, prot: 'r' }), 'EEXIST');
    await table.copy({ from: table, srcIova: 0x1000n, iova: 0x9000n, length: PAGE, prot: 'r' });
    await table.unmap(0x9000n, PAGE);
    await finish();
  });

  test('domains come and go', async () => {
    const { world, table, domain, finish } = await beingAsked();
    const second = new RecordingDomain();
    await world.domain(table, second);
    await table.removeDomain(domain);
    expect(second.mappedBytes).toBe(PAGE);
    await finish();
    expect(second.mappedBytes).toBe(0n);
  });

  test('another unmap asks, too; together they ask 101 times', async () => {
    const { table, asked, finish } = await beingAsked();
    await expectError(table.unmapAll(), 'EDEADLOCK');
    expect(asked()).toBe(101);
    await finish();
  });
});
