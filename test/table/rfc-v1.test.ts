/** What the first public patch does otherwise (docs/profiles.md). */
import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import type { Profile } from '../../src/rules.js';
import { MAX_U64 } from '../../src/u64.js';
import { expectError } from '../helpers/expect-error.js';
import { RecordingDomain } from '../helpers/recording-domain.js';
import { settled, watch } from '../helpers/watch.js';
import { PAGE, READ_ONLY, USER, World } from '../helpers/world.js';

function fresh(profile: Profile = 'rfc-v1') {
  const world = new World();
  return { world, table: world.table({ profile }) };
}

/** As `fresh`, with areas [0x1000, 0x1fff] and [0x2000, 0x3fff]. */
async function twoAreas(profile: Profile = 'rfc-v1') {
  const { world, table } = fresh(profile);
  await table.map({ uptr: USER, iova: 0x1000n, length: PAGE, prot: 'rw' });
  await table.map({ uptr: USER + 8n * PAGE, iova: 0x2000n, length: 2n * PAGE, prot: 'rw' });
  return { world, table };
}

describe('the reported bug: an unmap of more than is mapped, then a map over it', () => {
  test.each(['linux-6.12', 'rfc-v1'] as const)('%s', async (profile) => {
    const { world, table } = fresh(profile);
    await table.map({ uptr: USER, iova: 0xffff_f000n, length: PAGE, prot: 'rw' });
    const unmap = table.unmap(0xff00_0000n, 0x100_0000n);
    const remap = () => table.map({ uptr: USER + PAGE, iova: 0xfffc_0000n, length: 0x40000n, prot: 'rw' });
    if (profile === 'linux-6.12') {
      expect(await unmap).toBe(0x1000n);
      expect(await remap()).toBe(0xfffc_0000n);
    } else {
      await expectError(unmap, 'ENOENT');
      const error = await expectError(remap(), 'EADDRINUSE');
      expect(error.reason).toMatchObject({
        check: 'overlap',
        area: { iova: '0xfffff000', last: '0xffffffff' },
      });
      expect(table.areaCount).toBe(1);
    }
    world.check();
  });
});

describe('map', () => {
  test('over an area: EADDRINUSE; over a reservation: ENOENT, which comes first', async () => {
    const { world, table } = await twoAreas();
    await table.reserveIova({ start: 0x4000n, last: 0x4fffn });
    const map = (iova: bigint, length: bigint) => table.map({ uptr: USER, iova, length, prot: 'rw' });
    await world.unchanged(() => expectError(map(0x3000n, PAGE), 'EADDRINUSE'));
    await world.unchanged(() => expectError(map(0x4000n, PAGE), 'ENOENT'));
    await world.unchanged(() => expectError(map(0x3000n, 2n * PAGE), 'ENOENT'));
  });

  test('EPERM comes before all else, then the iova range, then the alignment', async () => {
    const { world, table } = fresh();
    await world.domain(table);
    await table.reserveIova({ start: 0x8000n, last: 0x8fffn });
    await table.map({ uptr: READ_ONLY, iova: 0x1000n, length: PAGE, prot: 'r' });
    const copy = (iova: bigint, prot: 'r' | 'rw') =>
      table.copy({ from: table, srcIova: 0x1000n, iova, length: PAGE, prot });
    for (const iova of [0x1000n, 0x8000n, 0x123n, MAX_U64]) {
      await world.unchanged(() => expectError(copy(iova, 'rw'), 'EPERM'));
    }
    await world.unchanged(() => expectError(copy(MAX_U64, 'r'), 'EOVERFLOW'));
    await world.unchanged(() => expectError(copy(0x8123n, 'r'), 'EINVAL'));
    await world.unchanged(() => expectError(copy(0x8000n, 'r'), 'ENOENT'));
    await world.unchanged(() => expectError(copy(0x1000n, 'r'), 'EADDRINUSE'));
  });

  test('checks length and user address of an automatic placement as of a fixed one', async () => {
    const { world, table } = fresh();
    await world.domain(table, new RecordingDomain({ ioPage: 2048 }));
    await world.unchanged(() => expectError(table.map({ uptr: USER, length: 3000n, prot: 'r' }), 'EINVAL'));
    await world.unchanged(() =>
      expectError(table.map({ uptr: USER + 1024n, iova: 0x1000n, length: 2048n, prot: 'r' }), 'EINVAL'),
    );
  });

  test('length 0: EINVAL from the creation of the pages', async () => {
    const { world, table } = fresh();
    await world.unchanged(() => expectError(table.map({ uptr: USER, length: 0n, prot: 'r' }), 'EINVAL'));
  });
});

describe('copy', () => {
  test.each([
    ['part of an area', 0x2000n, PAGE],
    ['two areas', 0x1000n, 3n * PAGE],
    ['more than an area', 0x1000n, 8n * PAGE],
    ['as much as an area, but from its middle on', 0x3000n, 2n * PAGE],
  ])('of %s: ENOENT, and it says which area it is', async (_what, srcIova, length) => {
    const { world, table } = await twoAreas();
    await world.unchanged(async () => {
      const copy = table.copy({ from: table, srcIova, iova: 0x10000n, length, prot: 'r' });
      const { reason } = await expectError(copy, 'ENOENT');
      expect(reason.check === 'not-exact' && reason.area.iova).toBe(
        srcIova === 0x1000n ? '0x1000' : '0x2000',
      );
    });
  });

  test('of nothing: ENOENT', async () => {
    const { world, table } = await twoAreas();
    const copy = { from: table, srcIova: 0x8000n, iova: 0x10000n, length: PAGE, prot: 'r' } as const;
    await world.unchanged(async () => {
      const { reason } = await expectError(table.copy(copy), 'ENOENT');
      expect(reason.check).toBe('not-mapped');
    });
  });

  test('of a whole area shares its pages', async () => {
    const { world, table } = await twoAreas();
    await table.copy({ from: table, srcIova: 0x2000n, iova: 0x10000n, length: 2n * PAGE, prot: 'r' });
    expect(table.snapshot().pages.map(({ references }) => references)).toEqual([1, 2]);
    world.check();
  });
});

describe('unmap', () => {
  test.each([
    ['larger', 0x1000n, 2n * PAGE],
    ['smaller', 0x2000n, PAGE],
    ['of several areas', 0x1000n, 3n * PAGE],
    ['of nothing', 0x8000n, PAGE],
  ])('%s: ENOENT, nothing changes', async (_what, iova, length) => {
    const { world, table } = await twoAreas();
    await world.unchanged(() => expectError(table.unmap(iova, length), 'ENOENT'));
  });

  test('of exactly one area', async () => {
    const { world, table } = await twoAreas();
    expect(await table.unmap(0x2000n, 2n * PAGE)).toBe(2n * PAGE);
    expect(table.areaCount).toBe(1);
    world.check();
  });

  test('of a half-initialised area: ENOENT; unmap all: EBUSY', async () => {
    const { world, table } = fresh();
    await world.domain(table);
    world.memory.close();
    const map = table.map({ uptr: USER, iova: 0x1000n, length: PAGE, prot: 'rw' });
    await expectError(table.unmap(0x1000n, PAGE), 'ENOENT');
    await expectError(table.unmapAll(), 'EBUSY');
    world.memory.open();
    await map;
    expect(await table.unmapAll()).toBe(PAGE);
    world.check();
  });

  test('of a pinned area: EBUSY, nobody is asked, and the area is as good as before', async () => {
    const { world, table } = await twoAreas();
    const access = new IoptAccess({ needsPin: true, onUnmap: () => expect.fail('nobody is to be asked') });
    await access.attach(table);
    await access.pin(0x2000n, PAGE);
    await world.unchanged(async () => {
      expect((await expectError(table.unmap(0x2000n, 2n * PAGE), 'EBUSY')).reason.check).toBe('area-in-use');
    });
    const error = await expectError(table.unmapAll(), 'EBUSY');
    expect(error.unmapped).toBe(PAGE);
    await access.pin(0x3000n, PAGE);
    await access.unpin(0x3000n, PAGE);
    await access.unpin(0x2000n, PAGE);
    expect(await table.unmap(0x2000n, 2n * PAGE)).toBe(2n * PAGE);
    world.check();
  });
});

describe('access', () => {
  test('a hole is EINVAL, wherever it is', async () => {
    const { world, table } = await twoAreas();
    const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
    await access.attach(table);
    for (const [iova, length] of [
      [0x0000n, 2n * PAGE],
      [0x3000n, 2n * PAGE],
      [0x8000n, PAGE],
    ] as const) {
      await world.unchanged(() => expectError(access.pin(iova, length), 'EINVAL'));
    }
    expect((await access.pin(0x1000n, 3n * PAGE)).frames).toBe(3);
  });
});

describe('the rest', () => {
  test('a half-initialised area is skipped by a domain that is added, and fills it', async () => {
    const { world, table } = fresh();
    await world.domain(table);
    world.memory.close();
    const first = watch(table.map({ uptr: USER, iova: 0x1000n, length: PAGE, prot: 'rw' }));
    const added = new RadixDomain();
    world.domains.push(added);
    const adding = watch(table.addDomain(added));
    const second = watch(table.map({ uptr: USER + PAGE, iova: 0x2000n, length: PAGE, prot: 'rw' }));
    world.memory.open();
    await settled();
    expect([first.state, adding.state, second.state]).toEqual(['fulfilled', 'fulfilled', 'fulfilled']);
    expect(added.mappedBytes).toBe(2n * PAGE);
    world.check();
  });

  test('the alignment after a domain goes is that of the remaining ones (D17 repaired)', async () => {
    const { world, table } = fresh();
    const [fine, coarse] = [new RecordingDomain({ ioPage: 2048 }), new RecordingDomain()];
    await world.domain(table, fine);
    await world.domain(table, coarse);
    await table.removeDomain(fine);
    expect(table.alignment).toBe(4096);
    await world.domain(table, fine);
    await table.removeDomain(coarse);
    expect(table.alignment).toBe(2048);
    world.check();
  });

  test('a hardware MSI region overrides a software one, in any order and number', async () => {
    const { table } = fresh();
    const region = (start: bigint, type: 'msi' | 'sw-msi') => ({ start, length: PAGE, type });
    for (const [types, start] of [
      [['sw-msi'], 0n],
      [['sw-msi', 'msi'], undefined],
      [['msi', 'sw-msi'], undefined],
      [['sw-msi', 'sw-msi', 'msi'], undefined],
    ] as const) {
      const device = {};
      const regions = types.map((type, at) => region(BigInt(at) * PAGE, type));
      expect(await table.enforceReservedRegions(device, regions)).toEqual({ swMsiStart: start });
      await table.removeReservedIova(device);
    }
  });
});
