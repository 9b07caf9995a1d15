import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import { MAX_U64 } from '../../src/u64.js';
import { expectError } from '../helpers/expect-error.js';
import { RecordingDomain } from '../helpers/recording-domain.js';
import { NOWHERE, PAGE, READ_ONLY, USER, World } from '../helpers/world.js';

/** Two neighbouring areas, [0x10000, 0x10fff] and [0x11000, 0x12fff], and one at [0x20000, 0x20fff]. */
async function source() {
  const world = new World();
  const from = world.table();
  await from.map({ uptr: USER, iova: 0x10000n, length: PAGE, prot: 'rw' });
  await from.map({ uptr: USER + 8n * PAGE, iova: 0x11000n, length: 2n * PAGE, prot: 'r' });
  await from.map({ uptr: USER + 16n * PAGE, iova: 0x20000n, length: PAGE, prot: 'rw' });
  return { world, from, to: world.table() };
}

describe('the source of a copy, C1 to C3 of docs/checks.md', () => {
  test.each([
    ['length 0', 0x10000n, 0n, 'EINVAL', { check: 'argument' }],
    ['past 2^64 - 1', 0x10000n, MAX_U64, 'EOVERFLOW', { check: 'overflow' }],
    ['nothing mapped', 0x5000n, PAGE, 'ENOENT', { check: 'not-mapped', iova: '0x5000' }],
    ['a hole at the start', 0xf000n, 2n * PAGE, 'ENOENT', { check: 'not-mapped', iova: '0xf000' }],
    ['a hole at the end', 0x12000n, 2n * PAGE, 'ENOENT', { check: 'not-mapped', iova: '0x13000' }],
    ['a hole in the middle', 0x10000n, 0x11000n, 'ENOENT', { check: 'not-mapped', iova: '0x13000' }],
  ] as const)('%s: %s + %s is %s', async (_what, srcIova, length, code, reason) => {
    const { world, from, to } = await source();
    await world.unchanged(async () => {
      const error = await expectError(to.copy({ from, srcIova, iova: 0x1000n, length, prot: 'r' }), code);
      expect(error.reason).toMatchObject(reason);
      expect(error.syscall).toBe('copy');
    });
  });

  test('may be any part of neighbouring areas, byte-exact; each gives an area with the same pages', async () => {
    const { world, from, to } = await source();
    await to.copy({ from, srcIova: 0x10801n, iova: 0x1001n, length: 0x1000n, prot: 'r' });
    const { areas, pages } = to.snapshot();
    expect(areas).toMatchObject([
      { iova: '0x1001', last: '0x17ff', uptr: '0x10000801', prot: 'r' },
      { iova: '0x1800', last: '0x2000', uptr: '0x10008000', prot: 'r' },
    ]);
    expect(pages.map(({ references }) => references)).toEqual([2, 2]);
    world.check();
  });

  test('may be gone before the destination is filled: its pages live on', async () => {
    const { world, from, to } = await source();
    await world.domain(to);
    world.memory.close();
    const copying = to.copy({ from, srcIova: 0x10000n, iova: 0x1000n, length: 3n * PAGE, prot: 'r' });
    // The first part of the copy is being pinned now; the second area goes.
    expect(await from.unmap(0x11000n, 2n * PAGE)).toBe(2n * PAGE);
    world.memory.open();
    expect(await copying).toBe(0x1000n);
    expect(to.snapshot().pages.map(({ references }) => references)).toEqual([2, 1]);
    world.check();
  });
});

describe('the destination of a copy', () => {
  test('goes through the checks of a map, total first, then part by part', async () => {
    const { world, from, to } = await source();
    await world.domain(to);
    await to.reserveIova({ start: 0x40000n, last: 0x40fffn });
    await to.map({ uptr: USER, iova: 0x50000n, length: PAGE, prot: 'r' });
    const copy = (iova: bigint, length = 3n * PAGE, srcIova = 0x10000n) =>
      to.copy({ from, srcIova, iova, length, prot: 'r' });
    for (const [call, code, reason] of [
      [() => copy(0x1000n, 0x800n), 'EINVAL', { check: 'alignment', what: 'length' }],
      [() => copy(0x1800n), 'EINVAL', { check: 'alignment', what: 'iova' }],
      [() => copy(MAX_U64 - 0x1fffn), 'EOVERFLOW', { check: 'overflow' }],
      [() => copy(0x3e000n), 'EINVAL', { check: 'reserved' }],
      [() => copy(0x4e000n), 'EEXIST', { check: 'overlap', area: { iova: '0x50000' } }],
      [() => copy(0x1000n, PAGE, 0x10800n), 'EINVAL', { check: 'alignment', what: 'user address' }],
    ] as const) {
      await world.unchanged(async () =>
        expect((await expectError(call(), code)).reason).toMatchObject(reason),
      );
    }
  });

  test('may not be writable if the memory was first mapped read-only: EPERM, in any part', async () => {
    const { world, from, to } = await source();
    await world.unchanged(async () => {
      const copy = to.copy({ from, srcIova: 0x10000n, iova: 0x1000n, length: 3n * PAGE, prot: 'rw' });
      expect((await expectError(copy, 'EPERM')).reason).toMatchObject({
        check: 'permission',
        wanted: 'write',
      });
    });
  });

  test('M10 comes before M11', async () => {
    const { world, from, to } = await source();
    await to.map({ uptr: USER, iova: 0x1000n, length: PAGE, prot: 'r' });
    const copy = (iova: bigint) => to.copy({ from, srcIova: 0x11000n, iova, length: PAGE, prot: 'rw' });
    await world.unchanged(() => expectError(copy(0x1000n), 'EEXIST'));
    await world.unchanged(() => expectError(copy(0x2000n), 'EPERM'));
  });

  test('M10 comes before M11 also where the areas in the way meet later parts only', async () => {
    const { world, from, to } = await source();
    await from.map({ uptr: READ_ONLY, iova: 0x30000n, length: PAGE, prot: 'r' });
    await from.map({ uptr: USER, iova: 0x31000n, length: PAGE, prot: 'rw' });
    await to.map({ uptr: USER, iova: 0x2000n, length: PAGE, prot: 'r' });
    const copy = to.copy({ from, srcIova: 0x30000n, iova: 0x1000n, length: 2n * PAGE, prot: 'rw' });
    await world.unchanged(() => expectError(copy, 'EEXIST'));
  });

  test('shares the pages: they are pinned and charged once, however often they are mapped', async () => {
    const world = new World(4);
    const tables = [world.table(), world.table()] as const;
    for (const table of tables) await world.domain(table);
    await tables[0].map({ uptr: USER, iova: 0x1000n, length: 4n * PAGE, prot: 'rw' });
    await tables[1].copy({ from: tables[0], srcIova: 0x1000n, iova: 0x9000n, length: 4n * PAGE, prot: 'rw' });
    await tables[0].copy({ from: tables[0], srcIova: 0x2000n, iova: 0x8000n, length: PAGE, prot: 'r' });
    expect([world.physical.pinned, world.process.locked!.user.lockedPages]).toEqual([4, 4]);
    expect(world.memory.pins).toHaveLength(1);
    expect(world.domains[0]!.iovaToPhys(0x8000n)).toBe(world.domains[1]!.iovaToPhys(0xa000n));
    world.check();
  });

  test('into the same table', async () => {
    const { world, from } = await source();
    expect(await from.copy({ from, srcIova: 0x10000n, length: PAGE, prot: 'r' })).toBe(0x1000n);
    world.check();
  });

  test('part lengths are not checked; a domain refuses the misaligned request, an access lets it be', async () => {
    const world = new World();
    const from = world.table();
    await from.map({ uptr: USER, iova: 0x10000n, length: 2560n, prot: 'rw' });
    await from.map({ uptr: USER + PAGE, iova: 0x10a00n, length: 1536n, prot: 'rw' });
    const to = world.table();
    const domain = await world.domain(to, new RecordingDomain({ ioPage: 2048 }));
    const copy = { from, srcIova: 0x10000n, iova: 0x1000n, length: 4096n, prot: 'rw' } as const;
    await world.unchanged(() => expectError(to.copy(copy), 'EINVAL'));
    await to.removeDomain(domain);
    await new IoptAccess({ needsPin: true, onUnmap: () => undefined }).attach(to);
    expect(to.alignment).toBe(4096);
    expect(await to.copy(copy)).toBe(0x1000n);
    expect(to.snapshot().areas.map(({ iova }) => iova)).toEqual(['0x1000', '0x1a00']);
    world.check();
  });

  test('a copy without domains pins nothing, wherever its memory is', async () => {
    const world = new World();
    const [from, to] = [world.table(), world.table()];
    await from.map({ uptr: NOWHERE, iova: 0x1000n, length: PAGE, prot: 'rw' });
    await to.copy({ from, srcIova: 0x1000n, iova: 0x1000n, length: PAGE, prot: 'rw' });
    expect([world.physical.pinned, world.memory.pins]).toEqual([0, []]);
    world.check();
  });

  test('a source that is being unmapped from under accesses can be copied', async () => {
    const { world, from, to } = await source();
    const pinned = await from.access(0x10000n, PAGE, {
      onUnmap: async () => {
        expect(await to.copy({ from, srcIova: 0x10000n, length: PAGE, prot: 'r' })).toBe(0x1000n);
        await pinned.release();
      },
    });
    expect(await from.unmap(0x10000n, PAGE)).toBe(PAGE);
    expect(to.snapshot().areas).toHaveLength(1);
    world.check();
  });

  test('read-only memory can be copied read-only', async () => {
    const world = new World();
    const [from, to] = [world.table(), world.table()];
    await world.domain(to);
    await from.map({ uptr: READ_ONLY, iova: 0x1000n, length: PAGE, prot: 'r' });
    await to.copy({ from, srcIova: 0x1000n, iova: 0x1000n, length: PAGE, prot: 'r' });
    expect(world.physical.pinned).toBe(1);
    world.check();
  });
});
