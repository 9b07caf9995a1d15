import { describe, expect, test } from 'vitest';
import type { MapOptions } from '../../src/io-pagetable.js';
import { PROFILES } from '../../src/rules.js';
import { MAX_U64 } from '../../src/u64.js';
import { expectError } from '../helpers/expect-error.js';
import { RecordingDomain } from '../helpers/recording-domain.js';
import { settled, watch } from '../helpers/watch.js';
import { NOWHERE, PAGE, READ_ONLY, USER, World } from '../helpers/world.js';

const LAST_PAGE = 0xffff_ffff_ffff_f000n;
const rw = { uptr: USER, length: PAGE, prot: 'rw' } as const;

/** A table with alignment 4096, an area at [0x10000, 0x11fff] and a reservation [0x20000, 0x20fff]. */
async function occupied() {
  const world = new World();
  const table = world.table();
  await world.domain(table);
  await table.map({ ...rw, iova: 0x10000n, length: 2n * PAGE });
  await table.reserveIova({ start: 0x20000n, last: 0x20fffn, owner: { name: 'the test' } });
  return { world, table };
}

test('user memory may not end at 2^64, nor past it: EOVERFLOW', async () => {
  const world = new World();
  const table = world.table();
  for (const [below, length] of [
    [0x1800n, 0x1800n],
    [0x1800n, 0x1801n],
    [0x1001n, 0x1001n],
    [PAGE, PAGE],
  ] as const) {
    const uptr = MAX_U64 - below + 1n;
    await world.unchanged(() => expectError(table.map({ uptr, length, prot: 'r' }), 'EOVERFLOW'));
    await table.map({ uptr, length: length - 2n, prot: 'r' });
    await table.unmapAll();
  }
});

describe('the checks of a map, row by row (docs/checks.md)', () => {
  const refused: [
    row: string,
    request: Partial<MapOptions>,
    code: 'EINVAL' | 'EOVERFLOW' | 'EEXIST',
    reason: object,
  ][] = [
    ['M1 length 0', { length: 0 }, 'EINVAL', { check: 'argument' }],
    ['M1 length 0 before M2', { uptr: MAX_U64, length: 0 }, 'EINVAL', { check: 'argument' }],
    ['M1 length above 2^64 - 1 - 4096', { uptr: 0, length: LAST_PAGE }, 'EINVAL', { check: 'argument' }],
    [
      'M2 before M1, but for length 0',
      { uptr: MAX_U64, length: MAX_U64 },
      'EOVERFLOW',
      { check: 'overflow' },
    ],
    [
      'M2 user memory up to 2^64 exactly',
      { uptr: LAST_PAGE, length: PAGE },
      'EOVERFLOW',
      { check: 'overflow' },
    ],
    ['M2 before M10', { uptr: LAST_PAGE, iova: 0x10000n, length: PAGE }, 'EOVERFLOW', { check: 'overflow' }],
    ['M2 before M3', { uptr: LAST_PAGE, length: 0x1800 }, 'EOVERFLOW', { check: 'overflow' }],
    ['M3 length', { length: 0x1800 }, 'EINVAL', { check: 'alignment', what: 'length', value: '0x1800' }],
    ['M3 before M7', { iova: 0x800, length: 0x1800 }, 'EINVAL', { check: 'alignment', what: 'length' }],
    ['M7 iova', { iova: 0x800 }, 'EINVAL', { check: 'alignment', what: 'iova', value: '0x800' }],
    ['M7 before M8', { iova: MAX_U64, length: 2n * PAGE }, 'EINVAL', { check: 'alignment', what: 'iova' }],
    ['M8 iova', { iova: LAST_PAGE, length: 2n * PAGE }, 'EOVERFLOW', { check: 'overflow' }],
    [
      'M9 reserved',
      { iova: 0x1f000n, length: 2n * PAGE },
      'EINVAL',
      { check: 'reserved', range: '[0x20000, 0x20fff]', owner: 'Object the test' },
    ],
    ['M9 before M10', { iova: 0x10000n, length: 0x11000n }, 'EINVAL', { check: 'reserved' }],
    [
      'M10 overlap at the start',
      { iova: 0xf000n, length: 2n * PAGE },
      'EEXIST',
      { check: 'overlap', area: { iova: '0x10000', last: '0x11fff', uptr: '0x10000000' } },
    ],
    ['M10 overlap at the end', { iova: 0x11000n }, 'EEXIST', { check: 'overlap' }],
    ['M10 the same range', { iova: 0x10000n, length: 2n * PAGE }, 'EEXIST', { check: 'overlap' }],
    ['M10 all around', { iova: 0xf000n, length: 4n * PAGE }, 'EEXIST', { check: 'overlap' }],
    ['M10 before M12', { iova: 0x10000n, uptr: USER + 0x800n }, 'EEXIST', { check: 'overlap' }],
    [
      'M12 user address',
      { iova: 0x30000n, uptr: USER + 0x800n },
      'EINVAL',
      { check: 'alignment', what: 'user address', value: '0x10000800', alignment: 4096 },
    ],
  ];

  test.each(refused)('%s', async (_row, request, code, reason) => {
    const { world, table } = await occupied();
    await world.unchanged(async () => {
      const error = await expectError(table.map({ ...rw, iova: 0x50000n, ...request }), code);
      expect(error.reason).toMatchObject(reason);
      expect(error.syscall).toBe('map');
    });
  });

  test.each(PROFILES)('M1 and M2 of %s', async (profile) => {
    const table = new World().table({ profile });
    const first = profile === 'linux-7.3' ? 'EOVERFLOW' : 'EINVAL';
    await expectError(table.map({ ...rw, uptr: 0x1000n, length: MAX_U64 - 1n }), first);
    await expectError(table.map({ ...rw, uptr: 0n, length: MAX_U64 - 1n }), 'EINVAL');
  });

  test('M10 a half-initialised area is in the way, too', async () => {
    const { world, table } = await occupied();
    world.memory.close();
    const first = table.map({ ...rw, iova: 0x40000n });
    const error = await expectError(table.map({ ...rw, iova: 0x40000n }), 'EEXIST');
    expect(error.reason).toEqual({ check: 'overlap', area: { iova: '0x40000', last: '0x40fff' } });
    world.memory.open();
    expect(await first).toBe(0x40000n);
    world.check();
  });

  test('the longest length and the highest user address that M1 and M2 let through', async () => {
    const world = new World();
    const table = world.table();
    expect(await table.map({ uptr: 0, iova: 0, length: MAX_U64 - PAGE, prot: 'r' })).toBe(0n);
    await table.unmapAll();
    const top = { uptr: MAX_U64 - 0x1fffn, iova: 0n, length: 0x1fffn, prot: 'r' } as const;
    expect(await table.map(top)).toBe(0n);
    world.check();
  });

  test('an area may end at 2^64 - 1', async () => {
    const world = new World();
    const table = world.table();
    await world.domain(table);
    expect(await table.map({ ...rw, iova: LAST_PAGE })).toBe(LAST_PAGE);
    expect(await table.unmap(LAST_PAGE, PAGE)).toBe(PAGE);
    world.check();
  });

  test('what is not checked: the allowed list, for a fixed map', async () => {
    const world = new World();
    const table = world.table();
    await table.setAllowedIova([{ start: 0x100000n, last: 0x1fffffn }]);
    expect(await table.map({ ...rw, iova: 0x5000n })).toBe(0x5000n);
  });
});

describe('what a map does', () => {
  test('pins nothing while there is no domain, so it needs no memory', async () => {
    const world = new World();
    const table = world.table();
    await table.map({ ...rw, uptr: NOWHERE, iova: 0x1000n });
    expect(world.memory.pins).toEqual([]);
    expect(table.snapshot().pages).toMatchObject([
      { uptr: '0x40000000', npages: 1, pinned: 0, references: 1 },
    ]);
  });

  test('with a domain pins each page once and maps it in every domain before it succeeds', async () => {
    const world = new World();
    const table = world.table();
    const first = await world.domain(table, new RecordingDomain());
    const second = await world.domain(table, new RecordingDomain({ wholePages: true }));
    await table.map({ ...rw, iova: 0x4000n, length: 3n * PAGE });
    const physical = world.process.frameOf(USER) * 0x1000;
    const request = `map 0x4000 to 0x${physical.toString(16)} + 0x3000 rw`;
    expect([first.requests, second.requests]).toEqual([[request], [request]]);
    expect(world.physical.pinned).toBe(3);
    expect(world.memory.pins).toEqual([{ page: Number(USER / PAGE), count: 3, write: true }]);
    world.check();
  });

  test('pins for writing only what may be written', async () => {
    const world = new World();
    const table = world.table();
    await world.domain(table);
    await table.map({ uptr: READ_ONLY, iova: 0x1000n, length: PAGE, prot: 'r' });
    expect(world.memory.pins.map(({ write }) => write)).toEqual([false]);
    await world.unchanged(() =>
      expectError(table.map({ uptr: READ_ONLY, iova: 0x2000n, length: PAGE, prot: 'rw' }), 'EFAULT'),
    );
  });

  test.each(['', 'r', 'w', 'rw'] as const)("grants devices '%s'", async (prot) => {
    const world = new World();
    const table = world.table();
    const domain = await world.domain(table);
    await table.map({ ...rw, iova: 0x1000n, prot });
    expect(table.snapshot().areas[0]!.prot).toBe(prot);
    expect(domain.translate(0x1000n)?.protection).toBe(['', 'r', 'w', 'rw'].indexOf(prot));
  });

  test('a page that is no memory: EFAULT naming it, in the middle of a range, too', async () => {
    const world = new World();
    const table = world.table();
    await world.domain(table);
    const last = USER + 511n * PAGE;
    await world.unchanged(async () => {
      const error = await expectError(
        table.map({ uptr: last, iova: 0, length: 2n * PAGE, prot: 'rw' }),
        'EFAULT',
      );
      expect(error.reason).toMatchObject({ check: 'memory', uptr: '0x10200000' });
    });
  });

  test('uses the memory and the accounting of the call before those of the table', async () => {
    const [own, other] = [new World(100), new World(100)];
    const table = own.table({ accounting: 'mm' });
    await own.domain(table);
    await table.map({ ...rw, iova: 0x1000n, memory: other.memory });
    await table.map({ ...rw, iova: 0x2000n, accounting: 'user' });
    await table.map({ ...rw, iova: 0x3000n, accounting: 'none' });
    const counters = [own, other].map(({ process }) => [
      process.locked!.user.lockedPages,
      process.locked!.mm.lockedPages,
    ]);
    expect(counters).toEqual([
      [1, 0],
      [0, 1],
    ]);
    expect([own.physical.pinned, other.physical.pinned]).toEqual([2, 1]);
  });

  test('waits to publish its area while others read the table', async () => {
    const world = new World();
    const table = world.table();
    await world.domain(table);
    world.memory.close();
    const map = watch(table.map({ ...rw, iova: 0x20000n }));
    // A reader comes while the map waits for its memory, and stays longer.
    await table.state.iovaLock.read();
    world.memory.open();
    await settled();
    expect([map.state, table.snapshot().areas[0]!.uptr]).toEqual(['pending', null]);
    table.state.iovaLock.releaseRead();
    await settled();
    expect([map.value, table.snapshot().areas[0]!.uptr]).toEqual([0x20000n, '0x10000000']);
    world.check();
  });

  test('makes an area that knows what it shows', async () => {
    const table = new World().table();
    await table.map({ uptr: USER + 0x10n, iova: 0x1010n, length: 0x1ff0n, prot: 'r' });
    const [area] = [...table.state.areas];
    const { iova, lastIova, length, uptr, protection, pages } = area!;
    expect({ iova, lastIova, length, uptr, protection }).toEqual({
      iova: 0x1010n,
      lastIova: 0x2fffn,
      length: 0x1ff0n,
      uptr: USER + 0x10n,
      protection: 'r',
    });
    expect([pages!.uptr, pages!.length, pages!.npages]).toEqual([USER, 2n * PAGE, 2]);
  });

  test('runs to its end before the promise is returned', () => {
    const world = new World();
    const table = world.table();
    void table.map({ ...rw, iova: 0x1000n });
    expect(table.snapshot().areas).toMatchObject([{ iova: '0x1000', uptr: '0x10000000' }]);
    void table.addDomain(new RecordingDomain());
    expect(world.physical.pinned).toBe(1);
    void table.unmap(0x1000n, PAGE);
    expect(table.snapshot().areas).toEqual([]);
    expect(world.physical.pinned).toBe(0);
    world.check();
  });
});
