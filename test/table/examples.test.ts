/** Worked examples, from one call to whole stories. A "mock" is the kernel's test domain. */
import { describe, expect, test } from 'vitest';
import { IoptAccess, type UnmapNotice } from '../../src/access/iopt-access.js';
import type { IoPagetable } from '../../src/io-pagetable.js';
import { MockDomain } from '../../src/testing/mock-domain.js';
import { MAX_U64 } from '../../src/u64.js';
import { expectError } from '../helpers/expect-error.js';
import { PAGE, READ_ONLY, USER, World } from '../helpers/world.js';

const X = 0x100_0000n;

function lazy() {
  const world = new World();
  return { world, table: world.table() };
}

async function mocked() {
  const { world, table } = lazy();
  return { world, table, mock: await world.domain(table, new MockDomain()) };
}

function map(table: IoPagetable, iova: bigint, length: bigint, page = 0n): Promise<bigint> {
  return table.map({ uptr: USER + page * PAGE, iova, length, prot: 'rw' });
}

/** An access that unpins the ranges of `pins` when it is asked to let go of anything. */
function letsGo(pins: [iova: bigint, length: bigint][]) {
  const notices: UnmapNotice[] = [];
  const access: IoptAccess = new IoptAccess({
    needsPin: true,
    async onUnmap(notice) {
      notices.push(notice);
      for (const [iova, length] of pins.splice(0)) await access.unpin(iova, length);
    },
  });
  return { access, notices };
}

test('1: a fresh space is [0, 2^64 - 1] at alignment 1; a mock leaves 16 MiB to 2 GiB at 2048', async () => {
  const { table } = lazy();
  expect(await table.iovaRanges()).toEqual({ ranges: [{ start: 0n, last: MAX_U64 }], alignment: 1 });
  await table.addDomain(new MockDomain());
  expect(await table.iovaRanges()).toEqual({
    ranges: [{ start: 0x100_0000n, last: 0x7fff_ffffn }],
    alignment: 2048,
  });
});

test('2: unmap takes whole areas; unmap all of nothing is success', async () => {
  const { world, table } = await mocked();
  await map(table, X, 0x2000n);
  await expectError(table.unmap(X, PAGE), 'ENOENT');
  await expectError(table.unmap(X + PAGE, PAGE), 'ENOENT');
  await expectError(map(table, X + PAGE, PAGE), 'EEXIST');
  expect(await table.unmapAll()).toBe(0x2000n);
  expect(await table.unmapAll()).toBe(0n);
  world.check();
});

test('3: a map that is reserved in part is EINVAL', async () => {
  const { world, table } = await mocked();
  await world.unchanged(() => expectError(map(table, 0xff_f000n, 0x2000n), 'EINVAL'));
});

test('4: four areas with gaps and unmaps across them', async () => {
  const { world, table } = await mocked();
  const at = [0n, 16n, 32n, 48n].map((pages) => X + 0x10000n + pages * PAGE);
  const [first] = at as [bigint, ...bigint[]];
  const mapAll = async () => {
    for (const iova of at) await map(table, iova, 8n * PAGE);
  };
  const unmap = (from: bigint, pages: bigint) => table.unmap(first + from * PAGE, pages * PAGE);
  await mapAll();
  await world.unchanged(() => expectError(unmap(-4n, 8n), 'ENOENT'));
  await world.unchanged(() => expectError(unmap(52n, 8n), 'ENOENT'));
  const error = await expectError(unmap(-4n, 56n), 'ENOENT');
  expect([error.unmapped, table.areaCount]).toEqual([24n * PAGE, 1]);
  await table.unmapAll();
  await mapAll();
  expect(await unmap(-4n, 60n)).toBe(32n * PAGE);
  world.check();
});

test('5: at alignment 2048 a length must be a multiple of it; at 1 every length works', async () => {
  const { world, table } = await mocked();
  const any = lazy();
  const lengths = [1n, 2047n, 2048n, 2049n, 4095n, 4096n, 6143n, 6144n, 8191n];
  for (const length of lengths) {
    const call = { uptr: USER, length, prot: 'rw' } as const;
    if (length % 2048n === 0n) await table.map(call);
    else {
      const error = await expectError(table.map(call), 'EINVAL');
      expect(error.reason).toMatchObject({ check: 'alignment', what: 'length' });
    }
    await any.table.map(call);
  }
  world.check();
  any.world.check();
});

test('6: an area of odd length; copies of 2048 bytes at any offset, but not across its ends', async () => {
  const { world, table } = lazy();
  await map(table, X, 65535n);
  const copy = (offset: bigint) =>
    table.copy({ from: table, srcIova: X + offset, iova: 0x5000n, length: 2048n, prot: 'rw' });
  for (const offset of [0n, 1n, 2047n, 4095n, 63487n]) {
    expect(await copy(offset)).toBe(0x5000n);
    expect(await table.unmap(0x5000n, 2048n)).toBe(2048n);
  }
  for (const offset of [-1n, -2048n, 63488n, 65535n]) {
    await world.unchanged(() => expectError(copy(offset), 'ENOENT'));
  }
});

test('7: an area in the middle of a page keeps large pages from being disabled', async () => {
  const { world, table } = lazy();
  await table.map({ uptr: USER + 2048n, iova: 0x1001000n, length: PAGE, prot: 'rw' });
  await world.unchanged(() => expectError(table.setLargePages(false), 'EADDRINUSE'));
  await table.unmapAll();
  await table.setLargePages(false);
  expect(table.alignment).toBe(4096);
});

test('8: so do a mock and an area together', async () => {
  const { world, table } = await mocked();
  await map(table, X, PAGE);
  await world.unchanged(() => expectError(table.setLargePages(false), 'EINVAL'));
});

test('9: allowed ranges cannot be reserved, nor reservations allowed', async () => {
  const { world, table } = lazy();
  const allowed = [{ start: X, last: X + 600n * PAGE }];
  const inside = { start: X + 8n * PAGE, last: X + 9n * PAGE };
  await table.setAllowedIova(allowed);
  await world.unchanged(() => expectError(table.reserveIova(inside), 'EADDRINUSE'));
  await table.setAllowedIova([]);
  await table.reserveIova(inside);
  await expectError(table.setAllowedIova(allowed), 'EADDRINUSE');
  expect(table.snapshot().allowed).toEqual([]);
});

test('10: the same pin twice is one node; overlapping ones are two; any order of unpins ends the same', async () => {
  const orders = [
    [0, 1, 2],
    [2, 1, 0],
    [1, 2, 0],
  ];
  for (const order of orders) {
    const { world, table } = await mocked();
    await map(table, X, 8n * PAGE);
    const { access } = letsGo([]);
    await access.attach(table);
    const pins = [4n, 4n, 3n].map((pages) => pages * PAGE);
    for (const length of pins.slice(0, 2)) await access.pin(X + PAGE, length);
    const [area] = [...table.state.areas];
    const { accessTree } = area!.pages!;
    expect([...accessTree!]).toEqual([{ users: 2 }]);
    expect([area!.pins, world.process.pins(USER + PAGE)]).toEqual([2, 1]);
    await access.pin(X + PAGE, pins[2]!);
    expect([accessTree!.size, area!.pins, world.physical.pinned]).toEqual([2, 3, 8]);
    for (const number of order) await access.unpin(X + PAGE, pins[number]!);
    expect([area!.pages!.npinned, area!.pins]).toEqual([8, 0]);
    world.check();
  }
});

test('11: an unmap asks for the whole area; the pin is gone afterwards', async () => {
  const { world, table } = await mocked();
  await map(table, X, 4n * PAGE);
  const { access, notices } = letsGo([[X + PAGE, PAGE]]);
  await access.attach(table);
  await access.pin(X + PAGE, PAGE);
  expect(await table.unmap(X, 4n * PAGE)).toBe(4n * PAGE);
  expect(notices).toEqual([{ iova: X, length: 4n * PAGE }]);
  // The kernel's unpin of nothing only warns; the test driver's item is gone.
  await expectError(access.unpin(X + PAGE, PAGE), 'EINVAL');
  world.check();
});

test('12: a callback that does nothing is called 101 times; then EDEADLOCK', async () => {
  const { world, table } = await mocked();
  await map(table, X, PAGE);
  await map(table, X + 4n * PAGE, PAGE);
  const { access, notices } = letsGo([]);
  await access.attach(table);
  await access.pin(X + 4n * PAGE, PAGE);
  const error = await expectError(table.unmapAll(), 'EDEADLOCK');
  expect([error.unmapped, notices.length]).toEqual([PAGE, 101]);
  await expectError(access.pin(X + 4n * PAGE, PAGE), 'EINVAL');
  await access.unpin(X + 4n * PAGE, PAGE);
  expect(await table.unmapAll()).toBe(PAGE);
  world.check();
});

test('13: a copy of pinned pages pins nothing; replaced, the access empties the store', async () => {
  const { world, table: first } = lazy();
  await map(first, 0x5000n, 2n * PAGE);
  const { access, notices } = letsGo([[0x5000n, 2n * PAGE]]);
  await access.attach(first);
  const frames = await access.pin(0x5000n, 2n * PAGE);
  const [second, third] = [world.table(), world.table()];
  const mock = await world.domain(second, new MockDomain());
  await second.copy({ from: first, srcIova: 0x5000n, iova: X, length: 2n * PAGE, prot: 'rw' });
  expect([world.memory.pins.length, world.physical.pinned]).toEqual([1, 2]);
  expect(mock.iovaToPhys(X + PAGE)).toBe(BigInt(frames.at(1)) * PAGE);
  await access.replace(third);
  expect(notices).toEqual([{ iova: 0n, length: MAX_U64 }]);
  expect([...first.state.areas][0]!.pages!.store).toBeUndefined();
  expect(world.physical.pinned).toBe(2);
  world.check();
});

describe('14: the process exits', () => {
  test('before there is a domain: adding one is EFAULT', async () => {
    const { world, table } = lazy();
    await map(table, X, PAGE);
    world.process.exit();
    await world.unchanged(() => expectError(table.addDomain(new MockDomain()), 'EFAULT'));
  });

  test('with a domain: another one is filled from it', async () => {
    const { world, table, mock } = await mocked();
    await map(table, X, 3n * PAGE);
    world.process.exit();
    const second = await world.domain(table, new MockDomain());
    expect(second.iovaToPhys(X + 2n * PAGE)).toBe(mock.iovaToPhys(X + 2n * PAGE));
    expect(world.physical.pinned).toBe(3);
    world.check();
    await table.unmapAll();
    expect(world.physical.pinned).toBe(0);
  });
});

test('15: a read-only copy of a writable map can be copied writable, a read-only map cannot', async () => {
  const { world, table } = await mocked();
  const copy = (srcIova: bigint, iova: bigint, prot: 'r' | 'rw') =>
    table.copy({ from: table, srcIova, iova, length: PAGE, prot });
  await map(table, X, PAGE);
  await copy(X, X + PAGE, 'r');
  await copy(X + PAGE, X + 2n * PAGE, 'rw');
  await table.map({ uptr: READ_ONLY, iova: X + 8n * PAGE, length: PAGE, prot: 'r' });
  await world.unchanged(() => expectError(copy(X + 8n * PAGE, X + 9n * PAGE, 'rw'), 'EPERM'));
});

test('16: dirty pages are read up to a hole, and not at all while tracking is off; no error either way', async () => {
  const { world, table } = lazy();
  const mock = await world.domain(table, new MockDomain({ dirty: true }));
  await map(table, X, 2n * PAGE);
  await map(table, X + 3n * PAGE, PAGE, 8n);
  const read = async () => {
    const bitmap = new Uint8Array(1);
    await table.readDirty({ domain: mock, iova: X, length: 4n * PAGE, pageSize: PAGE, bitmap });
    return bitmap[0];
  };
  expect(await read()).toBe(0);
  await table.setDirtyTracking(mock, true);
  mock.makeDirty(X, 4n * PAGE, 2048n, Uint8Array.of(0b1111_1111));
  expect(await read()).toBe(0b0011);
  world.check();
});

test('17: four pages may be locked: a fifth is refused without a trace, a copy is free', async () => {
  const world = new World(4);
  const table = world.table();
  await world.domain(table, new MockDomain());
  await map(table, X, 4n * PAGE);
  await world.unchanged(() => expectError(map(table, X + 8n * PAGE, PAGE, 8n), 'ENOMEM'));
  await table.copy({ from: table, srcIova: X, iova: X + 8n * PAGE, length: 4n * PAGE, prot: 'rw' });
  world.check();
});

test('18: of the domains [D0, D1, D2], removing D0 leaves [D2, D1], and D2 is the storage', async () => {
  const { world, table, mock } = await mocked();
  const [second, third] = [
    await world.domain(table, new MockDomain()),
    await world.domain(table, new MockDomain()),
  ];
  await map(table, X, PAGE);
  await table.removeDomain(mock);
  expect(table.domains).toEqual([third, second]);
  expect([...table.state.areas].map(({ storageDomain }) => storageDomain === third)).toEqual([true]);
  world.check();
});
