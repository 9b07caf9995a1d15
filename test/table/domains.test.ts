/** Adding and removing domains: rows D of docs/checks.md. */
import { describe, expect, test } from 'vitest';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { MAX_U64 } from '../../src/u64.js';
import { expectError } from '../helpers/expect-error.js';
import { RecordingDomain } from '../helpers/recording-domain.js';
import { settled, watch } from '../helpers/watch.js';
import { PAGE, USER, World } from '../helpers/world.js';

const APERTURE = { start: 0x1000n, last: 0xf_ffffn };

describe('adding a domain, row by row', () => {
  test('1: it is there already: EEXIST', async () => {
    const world = new World();
    const table = world.table();
    const domain = await world.domain(table);
    await world.unchanged(() => expectError(table.addDomain(domain), 'EEXIST'));
  });

  test('2: its smallest page is larger than 4096 bytes: EINVAL', async () => {
    const world = new World();
    const table = world.table();
    for (const pageSize of [8192, 2 ** 21, 2 ** 30]) {
      const error = await expectError(table.addDomain(new RadixDomain({ pageSizes: [pageSize] })), 'EINVAL');
      expect(error.message).toContain(`${pageSize} bytes`);
    }
    // The alignment does not fit a 32-bit number, nor even a safe integer.
    for (const ioPage of [2 ** 32, 2 ** 60]) {
      await world.unchanged(() => expectError(table.addDomain(new RecordingDomain({ ioPage })), 'EINVAL'));
    }
  });

  test.each([
    ['iova', { uptr: USER, iova: 0x10200n, length: PAGE }, '0x10200'],
    ['length', { uptr: USER, iova: 0x10000n, length: 0x1200n }, '0x1200'],
    ['page offset', { uptr: USER + 0x200n, iova: 0x10000n, length: PAGE }, '0x200'],
  ])('3: an area whose %s does not fit: EADDRINUSE', async (what, map, value) => {
    const world = new World();
    const table = world.table();
    await table.map({ ...map, prot: 'rw' });
    await world.unchanged(async () => {
      const error = await expectError(table.addDomain(new RecordingDomain({ ioPage: 1024 })), 'EADDRINUSE');
      expect(error.reason).toMatchObject({ check: 'alignment', what, value, alignment: 1024 });
    });
    await world.domain(table, new RecordingDomain({ ioPage: 512 }));
    expect(table.alignment).toBe(512);
    world.check();
  });

  test.each([
    ['4: an area below its aperture', 0n, { start: 0x2000n, last: MAX_U64 }],
    ['5: an area above its aperture', 0x10_0000n, APERTURE],
    ['5: an area that reaches out of it', 0xf_f000n, APERTURE],
  ])('%s: EADDRINUSE', async (_row, iova, aperture) => {
    const world = new World();
    const table = world.table();
    await table.map({ uptr: USER, iova, length: 4n * PAGE, prot: 'rw' });
    await world.unchanged(async () => {
      const error = await expectError(table.addDomain(new RecordingDomain({ aperture })), 'EADDRINUSE');
      expect(error.reason).toMatchObject({ check: 'overlap' });
    });
  });

  test('4, 5: an allowed range outside the aperture: EADDRINUSE', async () => {
    for (const range of [
      { start: 0n, last: 0x1000n },
      { start: 0xf_ffffn, last: 0x10_0000n },
    ]) {
      const world = new World();
      const table = world.table();
      await table.setAllowedIova([range]);
      await world.unchanged(async () => {
        const error = await expectError(
          table.addDomain(new RecordingDomain({ aperture: APERTURE })),
          'EADDRINUSE',
        );
        expect(error.reason).toMatchObject({ check: 'allowed' });
      });
    }
  });

  test('what lies outside its aperture is reserved for it, and free again when it goes', async () => {
    const world = new World();
    const table = world.table();
    const domain = await world.domain(table, new RecordingDomain({ aperture: APERTURE }));
    expect(await table.iovaRanges()).toEqual({ ranges: [APERTURE], alignment: 4096 });
    expect(table.snapshot().reserved).toEqual([
      { start: '0x0', last: '0xfff', owner: 'a RecordingDomain' },
      { start: '0x100000', last: '0xffffffffffffffff', owner: 'a RecordingDomain' },
    ]);
    await table.removeDomain(domain);
    expect(await table.iovaRanges()).toEqual({ ranges: [{ start: 0n, last: MAX_U64 }], alignment: 1 });
  });

  test('an aperture of all 64 bits reserves nothing', async () => {
    const world = new World();
    const table = world.table();
    await world.domain(table);
    expect(table.snapshot().reserved).toEqual([]);
  });
});

describe('removing domains', () => {
  async function threeDomains() {
    const world = new World();
    const table = world.table();
    const domains: RecordingDomain[] = [];
    for (let at = 0; at < 3; at++) domains.push(await world.domain(table, new RecordingDomain()));
    await table.map({ uptr: USER, iova: 0x1000n, length: 2n * PAGE, prot: 'rw' });
    await table.map({ uptr: USER + 8n * PAGE, iova: 0x8000n, length: PAGE, prot: 'rw' });
    const [a, b, c] = domains as [RecordingDomain, RecordingDomain, RecordingDomain];
    return { world, table, a, b, c };
  }

  test('the last one takes the place of the removed one, and the first one is the storage (10.18)', async () => {
    const { world, table, a, b, c } = await threeDomains();
    expect(table.domains).toEqual([a, b, c]);
    await table.removeDomain(a);
    expect(table.domains).toEqual([c, b]);
    for (const area of table.state.areas) expect(area.storageDomain).toBe(c);
    expect(a.requests.slice(2)).toEqual(['unmap 0x1000 + 0x2000', 'unmap 0x8000 + 0x1000']);
    expect(world.physical.pinned).toBe(3);
    world.check();
  });

  test('storage stays where it is when another one goes', async () => {
    const { world, table, a, b, c } = await threeDomains();
    await table.removeDomain(b);
    expect(table.domains).toEqual([a, c]);
    await table.removeDomain(c);
    for (const area of table.state.areas) expect(area.storageDomain).toBe(a);
    world.check();
    await table.removeDomain(a);
    for (const area of table.state.areas) expect(area.storageDomain).toBeUndefined();
    expect([world.physical.pinned, table.areaCount]).toEqual([0, 2]);
    world.check();
  });

  test('one that is not there: nothing', async () => {
    const { world, table } = await threeDomains();
    await world.unchanged(() => table.removeDomain(new RecordingDomain()));
    await world.unchanged(() => new World().table().removeDomain(table.domains[0]!));
  });

  test('the alignment is what the remaining ones demand', async () => {
    const world = new World();
    const table = world.table();
    const domains = [512, 2048, 1024].map((ioPage) => new RecordingDomain({ ioPage }));
    const [small, large, middle] = domains as [RecordingDomain, RecordingDomain, RecordingDomain];
    for (const domain of domains) await world.domain(table, domain);
    expect(table.alignment).toBe(2048);
    for (const [domain, alignment] of [
      [small, 2048],
      [large, 1024],
      [middle, 1],
    ] as const) {
      await table.removeDomain(domain);
      expect(table.alignment).toBe(alignment);
    }
  });

  test('only its own reservations go', async () => {
    const world = new World();
    const table = world.table();
    const [first, second] = [
      await world.domain(table, new RecordingDomain({ aperture: APERTURE })),
      await world.domain(table, new RecordingDomain({ aperture: { start: 0x2000n, last: 0xf_ffffn } })),
    ];
    await table.reserveIova({ start: 0x5000n, last: 0x5fffn });
    await table.removeDomain(first);
    expect(await table.iovaRanges()).toMatchObject({
      ranges: [
        { start: 0x2000n, last: 0x4fffn },
        { start: 0x6000n, last: 0xf_ffffn },
      ],
    });
    await table.removeDomain(second);
    expect(table.snapshot().reserved).toEqual([
      { start: '0x5000', last: '0x5fff', owner: 'nobody in particular' },
    ]);
  });
});

describe('while a map is pending', () => {
  test('a domain that is added waits for it and is filled with it; one that is removed gives it up', async () => {
    const world = new World();
    const table = world.table();
    const [first, second] = [await world.domain(table, new RecordingDomain()), new RecordingDomain()];
    world.domains.push(second);
    world.memory.close();
    const map = watch(table.map({ uptr: USER, iova: 0x1000n, length: PAGE, prot: 'rw' }));
    const add = watch(table.addDomain(second));
    const remove = watch(table.removeDomain(first));
    await settled();
    expect([map.state, add.state, remove.state]).toEqual(['pending', 'pending', 'pending']);
    world.memory.open();
    await settled();
    expect([map.state, add.state, remove.state]).toEqual(['fulfilled', 'fulfilled', 'fulfilled']);
    expect([first.mappedBytes, second.mappedBytes, world.physical.pinned]).toEqual([0n, PAGE, 1]);
    expect(table.domains).toEqual([second]);
    world.check();
  });

  test('maps of other areas go on, and are had in the order in which their memory comes', async () => {
    const world = new World();
    const table = world.table();
    await world.domain(table);
    world.memory.close();
    const maps = [0n, 1n, 2n].map((page) =>
      watch(table.map({ uptr: USER + page * PAGE, iova: page * PAGE, length: PAGE, prot: 'rw' })),
    );
    expect(world.memory.pending).toHaveLength(3);
    world.memory.pending[1]!.settle();
    await settled();
    expect(maps.map(({ state }) => state)).toEqual(['pending', 'fulfilled', 'pending']);
    expect(await table.unmap(PAGE, PAGE)).toBe(PAGE);
    world.memory.open();
    await settled();
    expect(maps.map(({ state }) => state)).toEqual(['fulfilled', 'fulfilled', 'fulfilled']);
    world.check();
  });
});

test('a domain may be in several tables, if their areas do not meet in it', async () => {
  const world = new World();
  const [a, b] = [world.table(), world.table()];
  const domain = new RecordingDomain();
  for (const table of [a, b]) await world.domain(table, domain);
  await a.map({ uptr: USER, iova: 0x1000n, length: PAGE, prot: 'rw' });
  await b.map({ uptr: USER, iova: 0x2000n, length: PAGE, prot: 'rw' });
  await a.removeDomain(domain);
  expect(domain.mappedBytes).toBe(PAGE);
  world.check();
});
