/** Memory that hardware uses by itself: nobody can ask it to let go. */
import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import { lockRange } from '../../src/access/locked-range.js';
import { checkedInterval } from '../../src/arguments.js';
import type { IoPagetable } from '../../src/io-pagetable.js';
import { start } from '../../src/operation.js';
import { PROFILES, type Profile } from '../../src/rules.js';
import { split } from '../../src/u64.js';
import { expectError, expectErrorNow } from '../helpers/expect-error.js';
import { PAGE, READ_ONLY, SCATTERED, USER, World } from '../helpers/world.js';

function lock(table: IoPagetable, iova: bigint, length: bigint) {
  return start(lockRange(table, checkedInterval(split(iova), split(length))));
}

/** Areas at [0x10000, 0x11fff], [0x12000, 0x12fff] and [0x14000, 0x14fff]. */
async function setting(lockedPages?: number, profile?: Profile) {
  const world = new World(lockedPages);
  const table = world.table(profile === undefined ? {} : { profile });
  await table.map({ uptr: USER, iova: 0x10000n, length: 2n * PAGE, prot: 'rw' });
  await table.map({ uptr: USER + 2n * PAGE, iova: 0x12000n, length: PAGE, prot: 'r' });
  await table.map({ uptr: SCATTERED, iova: 0x14000n, length: 2n * PAGE, prot: 'rw' });
  return { world, table };
}

describe('a locked range', () => {
  test('pins whole pages for reading, across areas, and raises the alignment', async () => {
    const { world, table } = await setting();
    const locked = await lock(table, 0x11800n, 0x1000n);
    expect(locked.contiguousFrom).toBe(world.process.frameOf(USER + PAGE));
    expect(world.physical.pinned).toBe(2);
    expect([...table.state.areas].map(({ pins, locks }) => [pins, locks])).toEqual([
      [1, 1],
      [1, 1],
      [0, 0],
    ]);
    expect((await table.iovaRanges()).alignment).toBe(4096);
    world.check();
    await start(locked.releasing());
    expect([world.physical.pinned, table.state.alignment]).toEqual([0, 1]);
    world.check();
  });

  test('tells whether its frames are consecutive', async () => {
    const { table } = await setting();
    expect((await lock(table, 0x14000n, 2n * PAGE)).contiguousFrom).toBeUndefined();
    expect((await lock(table, 0x14000n, PAGE)).contiguousFrom).toBeDefined();
  });

  const refused: [string, string, bigint, bigint][] = [
    ['a hole', 'ENOENT', 0x12000n, 2n * PAGE],
    ['nothing mapped', 'ENOENT', 0x90000n, 1n],
  ];
  for (const [name, code, iova, length] of refused) {
    test(`is refused at ${name}, with nothing changed`, async () => {
      const { world, table } = await setting();
      await world.unchanged(() => expectError(lock(table, iova, length), code as 'ENOENT'));
      expect([...table.state.areas].every(({ locks, pins }) => locks === 0 && pins === 0)).toBe(true);
    });
  }

  test('is refused by the alignment of an area, the limit, or memory that cannot be pinned', async () => {
    const { world, table } = await setting(1);
    await world.unchanged(() => expectError(lock(table, 0x10000n, 2n * PAGE), 'ENOMEM'));
    await table.map({ uptr: READ_ONLY, iova: 0x30000n, length: PAGE, prot: 'rw' });
    await world.unchanged(() => expectError(lock(table, 0x30000n, PAGE), 'EFAULT'));
    await table.map({ uptr: USER + 1n, iova: 0x40001n, length: 1n, prot: 'rw' });
    await world.unchanged(() => expectError(lock(table, 0x10000n, PAGE), 'EADDRINUSE'));
    await table.unmap(0x40001n, 1n);
    await start((await lock(table, 0x10000n, PAGE)).releasing());
    world.check();
  });
});

describe('an unmap that meets a locked area', () => {
  for (const profile of PROFILES) {
    test(`${profile}: EBUSY, and nobody is asked to let go`, async () => {
      const { world, table } = await setting(undefined, profile);
      const asked: bigint[] = [];
      const access = new IoptAccess({ needsPin: true, onUnmap: ({ iova }) => void asked.push(iova) });
      await access.attach(table);
      await access.pin(0x10000n, PAGE);
      const locked = await lock(table, 0x10000n, PAGE);
      await world.unchanged(async () => {
        await expectError(table.unmap(0x10000n, 2n * PAGE), 'EBUSY');
        expectErrorNow(() => table.unmapSync(0x10000n, 2n * PAGE), 'EBUSY');
        await expectError(table.unmapAll(), 'EBUSY');
        // Before it is noticed that the area reaches outside of the range.
        await expectError(table.unmap(0x10000n, PAGE), 'EBUSY');
        await expectError(table.unmap(0x11000n, PAGE), 'EBUSY');
      });
      expect(asked).toEqual([]);
      await access.unpin(0x10000n, PAGE);
      await start(locked.releasing());
      expect(await table.unmap(0x10000n, 2n * PAGE)).toBe(2n * PAGE);
      world.check();
      await access.detach();
    });
  }

  test('areas before it are gone, with and without a domain', async () => {
    for (const domain of [false, true]) {
      for (const sync of [false, true]) {
        const { world, table } = await setting();
        if (domain) await world.domain(table);
        await lock(table, 0x12000n, PAGE);
        const error = sync
          ? expectErrorNow(() => table.unmapSync(0x10000n, 8n * PAGE), 'EBUSY')
          : await expectError(table.unmap(0x10000n, 8n * PAGE), 'EBUSY');
        expect(error.unmapped).toBe(2n * PAGE);
        expect(table.areaCount).toBe(2);
        world.check();
      }
    }
  });

  test('another one asks accesses, but not the hardware', async () => {
    const { world, table } = await setting();
    await lock(table, 0x10000n, PAGE);
    const asked: bigint[] = [];
    const access: IoptAccess = new IoptAccess({
      needsPin: true,
      onUnmap: ({ iova }) => {
        asked.push(iova);
        return access.unpin(0x12000n, PAGE);
      },
    });
    await access.attach(table);
    await access.pin(0x12000n, PAGE);
    expect(await table.unmap(0x12000n, PAGE)).toBe(PAGE);
    expect(asked).toEqual([0x12000n]);
    world.check();
  });

  test('the area cannot be split either: an access has pins in it', async () => {
    const { table } = await setting();
    await lock(table, 0x10000n, PAGE);
    await expectError(table.cutIova([0x10fffn]), 'EINVAL');
  });
});
