import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import type { IoPagetable } from '../../src/io-pagetable.js';
import { MAX_U64 } from '../../src/u64.js';
import { expectError } from '../helpers/expect-error.js';
import { RecordingDomain } from '../helpers/recording-domain.js';
import { PAGE, USER, World } from '../helpers/world.js';

/** Maps [first, last]. */
function map(table: IoPagetable, first: bigint, last: bigint): Promise<bigint> {
  return table.map({ uptr: USER, iova: first, length: last - first + 1n, prot: 'rw' });
}

const areasOf = (table: IoPagetable) => table.snapshot().areas.map(({ iova, last }) => `${iova}-${last}`);

async function twoAreas() {
  const world = new World();
  const table = world.table();
  await world.domain(table, new RecordingDomain());
  await map(table, 0x1000n, 0x1fffn);
  await map(table, 0x3000n, 0x4fffn);
  return { world, table };
}

describe('unmap, rows U of docs/checks.md', () => {
  test('length 0: EINVAL; past 2^64 - 1: EOVERFLOW; neither says how much was unmapped', async () => {
    const { world, table } = await twoAreas();
    for (const [length, code] of [
      [0n, 'EINVAL'],
      [MAX_U64, 'EOVERFLOW'],
    ] as const) {
      await world.unchanged(async () => {
        const error = await expectError(table.unmap(0x1000n, length), code);
        expect([error.syscall, error.unmapped]).toEqual(['unmap', undefined]);
      });
    }
  });

  test('nothing there: success with 0 bytes', async () => {
    const { world, table } = await twoAreas();
    await world.unchanged(async () => expect(await table.unmap(0x2000n, PAGE)).toBe(0n));
  });

  test.each([
    ['below', 0x2000n, 0x2000n, ['0x3000', '0x4fff']],
    ['above', 0x4000n, 0x2000n, ['0x3000', '0x4fff']],
    ['on both sides', 0x3800n, 0x800n, ['0x3000', '0x4fff']],
  ])('an area that reaches out %s: ENOENT, nothing is split', async (_where, iova, length, [first, last]) => {
    const { world, table } = await twoAreas();
    await world.unchanged(async () => {
      const error = await expectError(table.unmap(iova, length), 'ENOENT');
      expect(error.reason).toMatchObject({ check: 'partial-area', area: { iova: first, last } });
      expect(error.unmapped).toBe(0n);
    });
  });

  test('[0x1000, 0x3fff] takes the first area and stops at the second; [0x1800, 0x4fff] takes none', async () => {
    const { world, table } = await twoAreas();
    await world.unchanged(() => expectError(table.unmap(0x1800n, 0x3800n), 'ENOENT'));
    const error = await expectError(table.unmap(0x1000n, 0x3000n), 'ENOENT');
    expect([error.unmapped, error.range]).toEqual([0x1000n, '[0x1000, 0x3fff]']);
    expect(areasOf(table)).toEqual(['0x3000-0x4fff']);
    expect(world.physical.pinned).toBe(2);
    world.check();
  });

  test('a superset takes all areas, in ascending order, and whole', async () => {
    const { world, table } = await twoAreas();
    const domain = world.domains[0] as RecordingDomain;
    domain.requests.length = 0;
    expect(await table.unmap(0x800n, 0x8000n)).toBe(0x3000n);
    expect(domain.requests).toEqual(['unmap 0x1000 + 0x1000', 'unmap 0x3000 + 0x2000']);
    expect(world.physical.pinned).toBe(0);
    world.check();
  });

  test('the last area of the space', async () => {
    const world = new World();
    const table = world.table();
    await map(table, MAX_U64 - 0xfffn, MAX_U64);
    expect(await table.unmap(1n << 63n, 1n << 63n)).toBe(0x1000n);
    expect(areasOf(table)).toEqual([]);
  });

  test('unmapAll takes everything, and nothing when there is nothing', async () => {
    const { world, table } = await twoAreas();
    expect(await table.unmapAll()).toBe(0x3000n);
    expect(await table.unmapAll()).toBe(0n);
    expect(await table.unmap(0n, MAX_U64)).toBe(0n);
    world.check();
  });
});

/** An access that lets go of a range after it was asked `patience` times. */
function holder(table: IoPagetable, iova: bigint, patience: number) {
  let asked = 0;
  const access: IoptAccess = new IoptAccess({
    needsPin: true,
    async onUnmap(area) {
      if (area.iova !== iova) return;
      asked += 1;
      if (asked === patience) await access.unpin(iova, PAGE);
    },
  });
  return {
    access,
    pin: async () => {
      await access.attach(table);
      await access.pin(iova, PAGE);
    },
    get asked() {
      return asked;
    },
  };
}

describe('unmap asks accesses to let go', () => {
  test('with the whole range of the area, before anything is unmapped', async () => {
    const { world, table } = await twoAreas();
    const notices: unknown[] = [];
    const access: IoptAccess = new IoptAccess({
      needsPin: true,
      async onUnmap(area) {
        notices.push(area, areasOf(table), world.physical.pinned);
        await access.unpin(0x4000n, PAGE);
      },
    });
    await access.attach(table);
    await access.pin(0x4000n, PAGE);
    expect(await table.unmap(0x3000n, 0x2000n)).toBe(0x2000n);
    expect(notices).toEqual([{ iova: 0x3000n, length: 0x2000n }, ['0x1000-0x1fff', '0x3000-0x4fff'], 3]);
    world.check();
  });

  test('all of them in the order of their numbers, also those with nothing pinned', async () => {
    const { world, table } = await twoAreas();
    const told: string[] = [];
    const make = (name: string): IoptAccess => {
      const access: IoptAccess = new IoptAccess({
        needsPin: true,
        async onUnmap({ iova }) {
          if (iova === 0n) return;
          told.push(name);
          if (name === 'c') await access.unpin(0x1000n, PAGE);
        },
      });
      return access;
    };
    const [a, b, c, d] = ['a', 'b', 'c', 'd'].map(make) as [IoptAccess, IoptAccess, IoptAccess, IoptAccess];
    for (const access of [a, b, c]) await access.attach(table);
    await a.detach();
    // The lowest free number is taken first.
    await d.attach(table);
    await c.pin(0x1000n, PAGE);
    await table.unmap(0x1000n, PAGE);
    expect(told).toEqual(['d', 'b', 'c']);
    for (const access of [b, c, d]) await access.detach();
    world.check();
  });

  test('but not one that left while the others were asked', async () => {
    const { world, table } = await twoAreas();
    const told: string[] = [];
    const second = new IoptAccess({
      needsPin: true,
      onUnmap: ({ iova }) => void told.push(`second ${iova}`),
    });
    const first: IoptAccess = new IoptAccess({
      needsPin: true,
      async onUnmap() {
        told.push('first');
        await first.unpin(0x1000n, PAGE);
        await second.detach();
      },
    });
    await first.attach(table);
    await second.attach(table);
    await first.pin(0x1000n, PAGE);
    await table.unmap(0x1000n, PAGE);
    expect(told).toEqual(['first', 'second 0']);
    world.check();
  });

  test('nobody, when only another table has pins in the pages', async () => {
    const { world, table } = await twoAreas();
    const other = world.table();
    const access = new IoptAccess({ needsPin: true, onUnmap: () => expect.fail('nobody was to be asked') });
    await other.copy({ from: table, srcIova: 0x1000n, iova: 0x1000n, length: PAGE, prot: 'rw' });
    await access.attach(other);
    await access.pin(0x1000n, PAGE);
    expect(await table.unmapAll()).toBe(0x3000n);
    expect(world.physical.pinned).toBe(1);
    world.check();
    await access.unpin(0x1000n, PAGE);
    world.check();
  });

  test('100 times; after the 101st it gives up, though that let go', async () => {
    for (const patience of [100, 101]) {
      const { world, table } = await twoAreas();
      const held = holder(table, 0x3000n, patience);
      await held.pin();
      if (patience === 100) {
        expect(await table.unmapAll()).toBe(0x3000n);
      } else {
        const error = await expectError(table.unmapAll(), 'EDEADLOCK');
        expect([error.unmapped, error.syscall, error.range]).toEqual([0x1000n, 'unmapAll', undefined]);
        expect(error.reason).toMatchObject({
          check: 'area-in-use',
          area: { iova: '0x3000', last: '0x4fff' },
        });
        expect(areasOf(table)).toEqual(['0x3000-0x4fff']);
        expect(await table.unmapAll()).toBe(0x2000n);
      }
      expect(held.asked).toBe(patience);
      world.check();
    }
  });

  test('an access that never lets go: 101 calls, then the area is mapped but can be pinned no more', async () => {
    const { world, table } = await twoAreas();
    const held = holder(table, 0x3000n, Number.POSITIVE_INFINITY);
    await held.pin();
    const error = await expectError(table.unmap(0x3000n, 0x2000n), 'EDEADLOCK');
    expect([error.unmapped, held.asked]).toEqual([0n, 101]);
    expect(table.snapshot().areas[1]).toMatchObject({ iova: '0x3000', pins: 1, preventAccess: true });
    expect(world.domains[0]!.iovaToPhys(0x3000n)).toBeDefined();
    await expectError(held.access.pin(0x4000n, PAGE), 'EINVAL');
    await expectError(held.access.read(0x3000n, new Uint8Array(8)), 'EINVAL');
    await held.access.unpin(0x3000n, PAGE);
    await expectError(held.access.pin(0x3000n, PAGE), 'EINVAL');
    expect(await table.unmap(0x3000n, 0x2000n)).toBe(0x2000n);
    world.check();
  });

  test('neighbouring areas share the budget of 100', async () => {
    for (const [second, code] of [
      [40, undefined],
      [41, 'EDEADLOCK'],
    ] as const) {
      const { world, table } = await twoAreas();
      await map(table, 0x2000n, 0x2fffn);
      const [a, b] = [holder(table, 0x1000n, 60), holder(table, 0x2000n, second)];
      await a.pin();
      await b.pin();
      if (code === undefined) expect(await table.unmap(0x1000n, 0x2000n)).toBe(0x2000n);
      else {
        const error = await expectError(table.unmap(0x1000n, 0x2000n), code);
        expect([error.unmapped, error.reason]).toMatchObject([0x1000n, { area: { iova: '0x2000' } }]);
      }
      expect([a.asked, b.asked]).toEqual([60, second]);
      world.check();
    }
  });

  test('areas with a gap between them have a budget each', async () => {
    const { world, table } = await twoAreas();
    const [a, b] = [holder(table, 0x1000n, 60), holder(table, 0x3000n, 60)];
    await a.pin();
    await b.pin();
    expect(await table.unmapAll()).toBe(0x3000n);
    expect([a.asked, b.asked]).toEqual([60, 60]);
    world.check();
  });

  test('what a callback throws ends the unmap, and the area is as it was', async () => {
    const { world, table } = await twoAreas();
    const broken = new Error('the callback is broken');
    let fail = true;
    const access: IoptAccess = new IoptAccess({
      needsPin: true,
      onUnmap: () => (fail ? Promise.reject(broken) : access.unpin(0x3000n, PAGE)),
    });
    await access.attach(table);
    await access.pin(0x3000n, PAGE);
    await world.unchanged(() => expect(table.unmap(0x3000n, 0x2000n)).rejects.toBe(broken));
    await access.pin(0x4000n, PAGE);
    await access.unpin(0x4000n, PAGE);
    fail = false;
    expect(await table.unmap(0x3000n, 0x2000n)).toBe(0x2000n);
    world.check();
  });

  test('what is mapped meanwhile goes ahead of the cursor and stays behind it', async () => {
    const { world, table } = await twoAreas();
    const access: IoptAccess = new IoptAccess({
      needsPin: true,
      async onUnmap() {
        await access.unpin(0x3000n, PAGE);
        await map(table, 0x1000n, 0x1fffn);
        await map(table, 0x8000n, 0x8fffn);
      },
    });
    await access.attach(table);
    await access.pin(0x3000n, PAGE);
    expect(await table.unmap(0x1000n, 0xf000n)).toBe(0x4000n);
    expect(areasOf(table)).toEqual(['0x1000-0x1fff']);
    world.check();
  });

  test('one that is mapped meanwhile across the end of the range is ENOENT', async () => {
    const { world, table } = await twoAreas();
    const access: IoptAccess = new IoptAccess({
      needsPin: true,
      async onUnmap() {
        await access.unpin(0x3000n, PAGE);
        await map(table, 0x8000n, 0x9fffn);
      },
    });
    await access.attach(table);
    await access.pin(0x3000n, PAGE);
    const error = await expectError(table.unmap(0x1000n, 0x8000n), 'ENOENT');
    expect(error.unmapped).toBe(0x3000n);
    world.check();
  });
});

test('all 2^64 bytes can be mapped, and unmapped at once', async () => {
  const world = new World();
  const table = world.table();
  const half = 2n ** 63n;
  for (const iova of [0n, half]) await table.map({ uptr: USER, iova, length: half, prot: 'r' });
  const error = await expectError(table.unmap(1n, MAX_U64), 'ENOENT');
  expect(error.unmapped).toBe(0n);
  expect(await table.unmapAll()).toBe(2n ** 64n);
  for (const iova of [0n, half]) await table.map({ uptr: USER, iova, length: half, prot: 'r' });
  expect(await table.unmap(half, half)).toBe(half);
  expect(table.unmapAllSync()).toBe(half);
});

test('an access that comes while others are told to let go has not been asked', async () => {
  const world = new World();
  const table = world.table();
  const told: string[] = [];
  const late = new IoptAccess({ needsPin: true, onUnmap: () => void told.push('late') });
  const access: IoptAccess = new IoptAccess({
    needsPin: true,
    onUnmap: async () => {
      told.push('first');
      await late.attach(table);
      await access.unpin(0x1000n, PAGE);
    },
  });
  await access.attach(table);
  await table.map({ uptr: USER, iova: 0x1000n, length: PAGE, prot: 'rw' });
  await access.pin(0x1000n, PAGE);
  expect(await table.unmapAll()).toBe(PAGE);
  expect(told).toEqual(['first']);
  world.check();
});
