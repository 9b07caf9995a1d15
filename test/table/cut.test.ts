/** Splitting areas, and the large-pages option: rows T and G of docs/checks.md. */
import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import type { IoPagetable } from '../../src/io-pagetable.js';
import { expectError } from '../helpers/expect-error.js';
import { RecordingDomain } from '../helpers/recording-domain.js';
import { PAGE, USER, World } from '../helpers/world.js';

const areasOf = (table: IoPagetable) =>
  table.snapshot().areas.map(({ iova, last, uptr }) => `${iova}-${last} of ${uptr}`);

/** A table without large pages, with a domain and an area [0x10000, 0x13fff]. */
async function splittable() {
  const world = new World();
  const table = world.table();
  await table.setLargePages(false);
  const domain = await world.domain(table, new RecordingDomain());
  await table.map({ uptr: USER, iova: 0x10000n, length: 4n * PAGE, prot: 'rw' });
  return { world, table, domain };
}

describe('cut', () => {
  test('makes two areas of the same pages; domains, frames and pins stay as they are', async () => {
    const { world, table, domain } = await splittable();
    const before = [domain.contents, [...domain.requests], world.physical.pinned];
    await table.cutIova([0x11fffn]);
    expect(areasOf(table)).toEqual(['0x10000-0x11fff of 0x10000000', '0x12000-0x13fff of 0x10002000']);
    expect(table.snapshot().pages).toMatchObject([{ npages: 4, pinned: 4, references: 2 }]);
    expect([domain.contents, domain.requests, world.physical.pinned]).toEqual(before);
    world.check();
    expect(await table.unmap(0x10000n, 2n * PAGE)).toBe(2n * PAGE);
    expect(world.physical.pinned).toBe(2);
    world.check();
    expect(await table.unmapAll()).toBe(2n * PAGE);
    world.check();
  });

  test('takes a list, in its order; what lies in no area is skipped', async () => {
    const { world, table } = await splittable();
    await table.cutIova([0x5000n, 0x12fffn, 0x10fffn, 0x99999n]);
    expect(areasOf(table)).toEqual([
      '0x10000-0x10fff of 0x10000000',
      '0x11000-0x12fff of 0x10001000',
      '0x13000-0x13fff of 0x10003000',
    ]);
    world.check();
  });

  test('1: at the first or the last byte of an area: nothing', async () => {
    const { world, table } = await splittable();
    await world.unchanged(() => table.cutIova([0x10000n, 0x13fffn]));
  });

  test('1: so no left part of one byte is ever made', async () => {
    const world = new World();
    const table = world.table();
    await table.map({ uptr: USER, iova: 0x1000n, length: 4n, prot: 'r' });
    await table.cutIova([0x1000n, 0x1001n]);
    expect(areasOf(table)).toEqual(['0x1000-0x1001 of 0x10000000', '0x1002-0x1003 of 0x10000002']);
    world.check();
  });

  test('3: not aligned in iova: EINVAL; cuts before it stay', async () => {
    const { world, table } = await splittable();
    const error = await expectError(table.cutIova([0x10fffn, 0x12800n, 0x12fffn]), 'EINVAL');
    expect(error.reason).toMatchObject({ check: 'alignment', what: 'cut at iova', value: '0x12801' });
    expect(error.syscall).toBe('cutIova');
    expect(table.areaCount).toBe(2);
    world.check();
  });

  test('3: aligned in iova, but not in the pages: EINVAL', async () => {
    const world = new World();
    const from = world.table();
    await from.map({ uptr: USER, iova: 0x10000n, length: 2560n, prot: 'rw' });
    await from.map({ uptr: USER + PAGE, iova: 0x10a00n, length: 1536n + 4096n, prot: 'rw' });
    const table = world.table();
    await new IoptAccess({ needsPin: true, onUnmap: () => undefined }).attach(table);
    // A copy of several areas may leave areas that are less aligned than the table.
    await table.copy({ from, srcIova: 0x10000n, iova: 0x1000n, length: 8192n, prot: 'rw' });
    await world.unchanged(async () => {
      const error = await expectError(table.cutIova([0x1fffn]), 'EINVAL');
      expect(error.reason).toMatchObject({ what: 'cut at page offset', value: '0x600' });
    });
  });

  test('inside a page of the memory: both parts show that page', async () => {
    const world = new World();
    const table = world.table();
    await table.map({ uptr: USER + 0x200n, iova: 0x10000n, length: 0x1000n, prot: 'rw' });
    await table.cutIova([0x10ffen]);
    expect(areasOf(table)).toEqual(['0x10000-0x10ffe of 0x10000200', '0x10fff-0x10fff of 0x100011ff']);
    const indexes = [...table.state.areas].map(({ index, lastIndex, pageOffset }) => [
      index,
      lastIndex,
      pageOffset,
    ]);
    expect(indexes).toEqual([
      [0, 1, 0x200],
      [1, 1, 0x1ff],
    ]);
    world.check();
  });

  test('5: an area that an access has pinned: EINVAL', async () => {
    const { world, table } = await splittable();
    const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
    await access.attach(table);
    await access.pin(0x13000n, PAGE);
    await world.unchanged(async () => {
      expect((await expectError(table.cutIova([0x10fffn]), 'EINVAL')).reason.check).toBe('area-in-use');
    });
    await access.unpin(0x13000n, PAGE);
    await table.cutIova([0x10fffn]);
  });

  test('6: with a domain while large pages are enabled: EINVAL', async () => {
    const { world, table } = await splittable();
    await table.setLargePages(true);
    await world.unchanged(async () => {
      expect((await expectError(table.cutIova([0x10fffn]), 'EINVAL')).reason.check).toBe('state');
    });
    await table.removeDomain(table.domains[0]!);
    // Without a domain there is nothing that a large page could hold together.
    await table.cutIova([0x10fffn]);
    expect(table.areaCount).toBe(2);
    world.check();
  });

  test('waits for pages that are busy', async () => {
    const { world, table } = await splittable();
    const other = world.table();
    await other.map({ uptr: USER, iova: 0n, length: 4n * PAGE, prot: 'rw' });
    const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
    await access.attach(other);
    await table.copy({ from: other, srcIova: 0n, iova: 0x20000n, length: 2n * PAGE, prot: 'rw' });
    world.memory.close();
    const pin = access.pin(0x2000n, PAGE);
    const cut = table.cutIova([0x20fffn]);
    expect(table.areaCount).toBe(2);
    world.memory.open();
    await Promise.all([pin, cut]);
    expect(table.areaCount).toBe(3);
    world.check();
  });
});

describe('the large-pages option', () => {
  test('disabled: the alignment is 4096; enabled: what the others demand', async () => {
    const world = new World();
    const table = world.table();
    await table.setLargePages(false);
    expect([table.largePages, table.alignment]).toEqual([false, 4096]);
    await table.setLargePages(false);
    await world.domain(table, new RecordingDomain({ ioPage: 512 }));
    expect(table.alignment).toBe(4096);
    await table.map({ uptr: USER, iova: 0n, length: 2n * PAGE, prot: 'r' });
    await table.setLargePages(true);
    expect([table.largePages, table.alignment]).toEqual([true, 512]);
    world.check();
  });

  test('cannot be disabled with a domain and an area: EINVAL, but with either alone', async () => {
    const world = new World();
    const table = world.table();
    const domain = await world.domain(table);
    await table.setLargePages(false);
    await table.setLargePages(true);
    await table.map({ uptr: USER, iova: 0n, length: PAGE, prot: 'r' });
    await world.unchanged(() => expectError(table.setLargePages(false), 'EINVAL'));
    await table.removeDomain(domain);
    await table.setLargePages(false);
    await world.domain(table, domain);
    // Saying it again is fine.
    await table.setLargePages(false);
    world.check();
  });

  test.each([
    ['iova', { uptr: USER, iova: 0x800n, length: PAGE }],
    ['length', { uptr: USER, iova: 0n, length: 0x800n }],
    ['page offset', { uptr: USER + 0x800n, iova: 0x1001000n, length: PAGE }],
  ])('cannot be disabled with an area whose %s is no whole page: EADDRINUSE', async (what, map) => {
    const world = new World();
    const table = world.table();
    await table.map({ ...map, prot: 'r' });
    await world.unchanged(async () => {
      const error = await expectError(table.setLargePages(false), 'EADDRINUSE');
      expect(error.reason).toMatchObject({ check: 'alignment', what, alignment: 4096 });
    });
    await table.unmapAll();
    await table.setLargePages(false);
  });
});
