/** Reserved and allowed IOVA, and the regions of devices: rows V and L of docs/checks.md. */
import { describe, expect, test } from 'vitest';
import type { ReservedRegion } from '../../src/table/reservations.js';
import { MAX_U64 } from '../../src/u64.js';
import { expectError } from '../helpers/expect-error.js';
import { PAGE, USER, World } from '../helpers/world.js';

const WHOLE = { start: 0n, last: MAX_U64 };

function fresh() {
  const world = new World();
  return { world, table: world.table() };
}

describe('reserving', () => {
  test('refuses what an area or an allowed range meets: EADDRINUSE naming it', async () => {
    const { world, table } = fresh();
    await table.map({ uptr: USER, iova: 0x1000n, length: PAGE, prot: 'r' });
    await table.setAllowedIova([{ start: 0x8000n, last: 0x8fffn }]);
    for (const [range, reason] of [
      [
        { start: 0n, last: 0x1000n },
        { check: 'overlap', area: { iova: '0x1000', last: '0x1fff' } },
      ],
      [{ start: 0x1fffn, last: 0x2fffn }, { check: 'overlap' }],
      [
        { start: 0x8fffn, last: 0x9000n },
        { check: 'allowed', range: '[0x8000, 0x8fff]' },
      ],
    ] as const) {
      await world.unchanged(async () => {
        const error = await expectError(table.reserveIova(range), 'EADDRINUSE');
        expect(error.reason).toMatchObject(reason);
        expect(error.syscall).toBe('reserveIova');
      });
    }
  });

  test('may overlap other reservations, and goes owner by owner', async () => {
    const { table } = fresh();
    const [a, b] = [{ name: 'a' }, { name: 'b' }];
    for (const owner of [a, a, b]) await table.reserveIova({ start: 0x1000n, last: 0x2fffn, owner });
    await table.reserveIova({ start: 0x2000n, last: 0x3fffn });
    await table.removeReservedIova(a);
    expect(table.snapshot().reserved).toEqual([
      { start: '0x1000', last: '0x2fff', owner: 'Object b' },
      { start: '0x2000', last: '0x3fff', owner: 'nobody in particular' },
    ]);
    await table.removeReservedIova(b);
    await table.removeReservedIova(b);
    await table.removeReservedIova(null);
    expect(table.snapshot().reserved).toEqual([]);
  });

  test('one byte, and everything', async () => {
    const { table } = fresh();
    await table.reserveIova({ start: MAX_U64, last: MAX_U64 });
    expect((await table.iovaRanges()).ranges).toEqual([{ start: 0n, last: MAX_U64 - 1n }]);
    await table.reserveIova(WHOLE);
    expect((await table.iovaRanges()).ranges).toEqual([]);
  });
});

describe('the ranges that can be used', () => {
  test('a fresh table: everything, alignment 1', async () => {
    expect(await fresh().table.iovaRanges()).toEqual({ ranges: [WHOLE], alignment: 1 });
  });

  test('are the holes between reservations; areas and allowed ranges do not matter', async () => {
    const { table } = fresh();
    await table.reserveIova({ start: 0n, last: 0xfffn });
    await table.reserveIova({ start: 0x1000n, last: 0x1fffn });
    await table.reserveIova({ start: 0x1800n, last: 0x2fffn });
    await table.reserveIova({ start: 0x8000n, last: 0x8fffn });
    await table.map({ uptr: USER, iova: 0x4000n, length: PAGE, prot: 'r' });
    await table.setAllowedIova([{ start: 0x5000n, last: 0x5fffn }]);
    expect((await table.iovaRanges()).ranges).toEqual([
      { start: 0x3000n, last: 0x7fffn },
      { start: 0x9000n, last: MAX_U64 },
    ]);
  });
});

describe('allowed ranges', () => {
  test('must have two bytes and be disjoint, in list order: EINVAL; the old list stays', async () => {
    const { world, table } = fresh();
    await table.setAllowedIova([{ start: 0x1000n, last: 0x1fffn }]);
    for (const ranges of [
      [{ start: 5n, last: 5n }],
      [{ start: 5n, last: 4n }],
      [
        { start: 0x1000n, last: 0x2fffn },
        { start: 0x2fffn, last: 0x3fffn },
      ],
      [
        { start: 0x1000n, last: 0x2fffn },
        { start: 0n, last: MAX_U64 },
      ],
    ]) {
      await world.unchanged(() => expectError(table.setAllowedIova(ranges), 'EINVAL'));
    }
  });

  test('may touch, in any order, and replace the old list', async () => {
    const { world, table } = fresh();
    await table.setAllowedIova([{ start: 0x1000n, last: 0x1fffn }]);
    await table.setAllowedIova([
      { start: 0x3000n, last: 0x3fffn },
      { start: 0x2000n, last: 0x2fffn },
    ]);
    expect(table.snapshot().allowed).toEqual([
      { start: '0x2000', last: '0x2fff' },
      { start: '0x3000', last: '0x3fff' },
    ]);
    await table.reserveIova({ start: 0x1000n, last: 0x1fffn });
    world.check();
    await table.setAllowedIova([]);
    await table.reserveIova({ start: 0x2000n, last: 0x2fffn });
    world.check();
  });

  test('may not meet a reservation: EADDRINUSE naming it; the old list stays (10.9)', async () => {
    const { world, table } = fresh();
    const [base, last] = [0x100000n, 0x100000n + 600n * PAGE - 1n];
    await table.setAllowedIova([{ start: base, last }]);
    await world.unchanged(() =>
      expectError(table.reserveIova({ start: base + PAGE, last: base + PAGE }), 'EADDRINUSE'),
    );
    await table.setAllowedIova([]);
    await table.reserveIova({ start: base + PAGE, last: base + PAGE });
    await world.unchanged(async () => {
      const error = await expectError(table.setAllowedIova([{ start: base, last }]), 'EADDRINUSE');
      expect(error.reason).toMatchObject({ check: 'reserved', range: '[0x101000, 0x101000]' });
    });
    expect(table.snapshot().allowed).toEqual([]);
  });
});

describe("a device's regions", () => {
  const region = (start: bigint, type: ReservedRegion['type']): ReservedRegion => ({
    start,
    length: PAGE,
    type,
  });

  test('are reserved for it, but for direct-relaxable ones; the software MSI window is told', async () => {
    const { world, table } = fresh();
    const device = { name: 'eth0' };
    const answer = await table.enforceReservedRegions(device, [
      region(0x1000n, 'direct'),
      region(0x3000n, 'direct-relaxable'),
      region(0x5000n, 'reserved'),
      region(0x7000n, 'sw-msi'),
    ]);
    expect(answer).toEqual({ swMsiStart: 0x7000n });
    expect(table.snapshot().reserved).toEqual([
      { start: '0x1000', last: '0x1fff', owner: 'Object eth0' },
      { start: '0x5000', last: '0x5fff', owner: 'Object eth0' },
      { start: '0x7000', last: '0x7fff', owner: 'Object eth0' },
    ]);
    world.check();
    await table.removeReservedIova(device);
    expect(table.snapshot().reserved).toEqual([]);
  });

  test('a hardware MSI region alone gives no window', async () => {
    const { table } = fresh();
    expect(await table.enforceReservedRegions({}, [region(0x1000n, 'msi'), region(0x2000n, 'msi')])).toEqual({
      swMsiStart: undefined,
    });
    expect(table.snapshot().reserved).toHaveLength(2);
  });

  test.each([
    ['two software MSI regions', [region(0x1000n, 'sw-msi'), region(0x2000n, 'sw-msi')]],
    ['a software beside a hardware MSI region', [region(0x1000n, 'msi'), region(0x2000n, 'sw-msi')]],
  ])('%s: EINVAL, nothing reserved', async (_what, regions) => {
    const { world, table } = fresh();
    await world.unchanged(() => expectError(table.enforceReservedRegions({}, regions), 'EINVAL'));
  });

  test('one that meets an area or an allowed range: EADDRINUSE, and all reservations of the device go', async () => {
    const { world, table } = fresh();
    const [device, other] = [{ name: 'a' }, { name: 'b' }];
    await table.map({ uptr: USER, iova: 0x1000n, length: PAGE, prot: 'r' });
    await table.setAllowedIova([{ start: 0x20000n, last: 0x2ffffn }]);
    await table.enforceReservedRegions(other, [region(0x9000n, 'reserved')]);
    for (const taken of [0x1000n, 0x20000n]) {
      await world.unchanged(() =>
        expectError(
          table.enforceReservedRegions(device, [region(0x5000n, 'msi'), region(taken, 'reserved')]),
          'EADDRINUSE',
        ),
      );
    }
    // An earlier reservation of the same device goes, too.
    await table.enforceReservedRegions(device, [region(0x8000n, 'reserved')]);
    await expectError(table.enforceReservedRegions(device, [region(0x1000n, 'reserved')]), 'EADDRINUSE');
    expect(table.snapshot().reserved).toEqual([{ start: '0x9000', last: '0x9fff', owner: 'Object b' }]);
  });

  test('an empty one: EINVAL; one past 2^64 - 1: EOVERFLOW; nothing reserved', async () => {
    const { world, table } = fresh();
    const empty = { start: 0x1000n, length: 0n, type: 'reserved' } as const;
    const long = { start: 0x1000n, length: MAX_U64, type: 'reserved' } as const;
    await world.unchanged(() => expectError(table.enforceReservedRegions({}, [empty]), 'EINVAL'));
    await world.unchanged(() => expectError(table.enforceReservedRegions({}, [long]), 'EOVERFLOW'));
  });
});

test.each([
  [null, 'nobody in particular'],
  [{ name: 'eth0' }, 'Object eth0'],
  [new Map(), 'a Map'],
  [Object.create(null), 'a nameless object'],
] as const)('whose a reservation is stands in the error: %o', async (owner, words) => {
  const { world, table } = fresh();
  await table.reserveIova({ start: 0x1000n, last: 0x1fffn, owner });
  const map = table.map({ uptr: USER, iova: 0x1000n, length: PAGE, prot: 'r' });
  const { reason } = await expectError(map, 'EINVAL');
  expect(reason).toMatchObject({ check: 'reserved', owner: words });
  world.check();
});
