import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { MAX_U64 } from '../../src/u64.js';
import { RecordingDomain } from '../helpers/recording-domain.js';
import { PAGE, USER, World } from '../helpers/world.js';

/** Some of everything. */
async function full() {
  const world = new World();
  const table = world.table();
  const radix = new RadixDomain({ aperture: { start: 0x1000n, last: MAX_U64 } });
  await world.domain(table, radix);
  await world.domain(table, new RecordingDomain({ ioPage: 2048, largePages: 0x20_0000n }));
  await table.map({ uptr: USER, iova: 0xffff_ffff_ffff_e000n, length: 2n * PAGE, prot: 'rw' });
  await table.copy({
    from: table,
    srcIova: 0xffff_ffff_ffff_f000n,
    iova: 0x1_0000_0000n,
    length: PAGE,
    prot: 'r',
  });
  await table.setAllowedIova([{ start: 0x2000n, last: 0x2fffn }]);
  await table.reserveIova({ start: 0x8000n, last: 0x8fffn, owner: { name: 'nic' } });
  const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
  await access.attach(table);
  await access.pin(0x1_0000_0000n, PAGE);
  return { world, table, radix };
}

describe('snapshot', () => {
  test('is the whole table as plain data', async () => {
    const { table } = await full();
    expect(table.snapshot()).toEqual({
      profile: 'linux-7.3',
      alignment: 4096,
      largePages: true,
      areas: [
        {
          iova: '0x100000000',
          last: '0x100000fff',
          uptr: '0x10001000',
          source: 'user',
          prot: 'r',
          pages: 0,
          pins: 1,
          preventAccess: false,
          storageDomain: 0,
        },
        {
          iova: '0xffffffffffffe000',
          last: '0xffffffffffffffff',
          uptr: '0x10000000',
          source: 'user',
          prot: 'rw',
          pages: 0,
          pins: 0,
          preventAccess: false,
          storageDomain: 0,
        },
      ],
      reserved: [
        { start: '0x0', last: '0xfff', owner: 'a RadixDomain' },
        { start: '0x8000', last: '0x8fff', owner: 'Object nic' },
      ],
      allowed: [{ start: '0x2000', last: '0x2fff' }],
      domains: [
        {
          pageSizes: ['0x1000', '0x200000', '0x40000000'],
          aperture: { start: '0x1000', last: '0xffffffffffffffff' },
        },
        { pageSizes: ['0x800', '0x200000'], aperture: { start: '0x0', last: '0xffffffffffffffff' } },
      ],
      pages: [
        {
          id: 0,
          uptr: '0x10000000',
          source: 'user',
          npages: 2,
          writable: true,
          revoked: false,
          pinned: 2,
          references: 2,
        },
      ],
      accesses: 1,
    });
  });

  test('is what JSON makes of it', async () => {
    const { table } = await full();
    const snapshot = table.snapshot();
    expect(JSON.parse(JSON.stringify(snapshot))).toEqual(snapshot);
  });

  test('is a picture of a moment: later changes do not show in it', async () => {
    const { table } = await full();
    const snapshot = table.snapshot();
    const text = JSON.stringify(snapshot);
    await table.map({ uptr: USER, iova: 0x20000n, length: PAGE, prot: 'r' });
    await table.setAllowedIova([]);
    expect(JSON.stringify(snapshot)).toBe(text);
    expect(table.snapshot()).not.toEqual(snapshot);
  });

  test('of an empty table', () => {
    expect(new World().table({ profile: 'rfc-v1' }).snapshot()).toEqual({
      profile: 'rfc-v1',
      alignment: 1,
      largePages: true,
      areas: [],
      reserved: [],
      allowed: [],
      domains: [],
      pages: [],
      accesses: 0,
    });
  });

  test('shows a half-initialised area without its pages, and the storage domain by its present number', async () => {
    const { world, table, radix } = await full();
    await table.removeDomain(radix);
    expect(table.snapshot().areas.map(({ storageDomain }) => storageDomain)).toEqual([0, 0]);
    world.memory.close();
    const map = table.map({ uptr: USER + 8n * PAGE, iova: 0x20000n, length: PAGE, prot: 'rw' });
    expect(table.snapshot().areas[0]).toEqual({
      iova: '0x20000',
      last: '0x20fff',
      uptr: null,
      source: null,
      prot: 'rw',
      pages: null,
      pins: 0,
      preventAccess: false,
      storageDomain: null,
    });
    world.memory.open();
    await map;
  });

  test('says how many pages are pinned', async () => {
    const { world, table } = await full();
    await table.map({ uptr: USER, iova: 0x20000n, length: 3n * PAGE, prot: 'r' });
    expect(table.snapshot().pages.map(({ pinned }) => pinned)).toEqual([3, 2]);
    expect(world.physical.pinned).toBe(5);
  });
});

test('the properties of a table say the same', async () => {
  const { table, radix } = await full();
  expect([table.profile, table.alignment, table.largePages, table.areaCount]).toEqual([
    'linux-7.3',
    4096,
    true,
    2,
  ]);
  expect(table.domains[0]).toBe(radix);
  // The list is a copy each time.
  expect(table.domains).not.toBe(table.domains);
});
