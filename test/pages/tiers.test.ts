/** Where frames come from and who keeps them pinned. */
import { beforeEach, describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import type { IoPagetable } from '../../src/io-pagetable.js';
import type { FrameRuns } from '../../src/memory/frame-runs.js';
import type { IoptPages } from '../../src/pages/iopt-pages.js';
import { RecordingDomain } from '../helpers/recording-domain.js';
import { PAGE, SCATTERED, USER, World } from '../helpers/world.js';

const frames = (runs: FrameRuns) => Array.from({ length: runs.frames }, (_, at) => runs.at(at));

/** The pages of the area at an IOVA. */
function pagesAt(table: IoPagetable, iova: bigint): IoptPages {
  for (const area of table.state.areas) if (area.iova === iova) return area.pages!;
  throw new Error('no such area');
}

/** The indexes in the pinned store. */
function stored(pages: IoptPages): number[] {
  const segments = [...(pages.store?.segments() ?? [])];
  return segments.flatMap(({ first, frames }) =>
    Array.from({ length: frames.frames }, (_, at) => first + at),
  );
}

describe('transitions', () => {
  let world: World;
  let table: IoPagetable;
  let access: IoptAccess;
  let pages: IoptPages;

  beforeEach(async () => {
    world = new World();
    table = world.table();
    await table.map({ uptr: SCATTERED, iova: 0x10000n, length: 6n * PAGE, prot: 'rw' });
    access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
    await access.attach(table);
    pages = pagesAt(table, 0x10000n);
  });

  /** [pins of each page, indexes in the store, calls of pin] */
  const state = () => [
    Array.from({ length: 6 }, (_, at) => world.process.pins(SCATTERED + BigInt(at) * PAGE)).join(''),
    stored(pages).join(','),
    world.memory.pins.length,
  ];

  const physical = (page: bigint) => BigInt(world.process.frameOf(SCATTERED + page * PAGE)) * PAGE;

  test('no domain, no access: map, copy, cut and unmap pin nothing', async () => {
    await table.copy({ from: table, srcIova: 0x11000n, iova: 0x20000n, length: PAGE, prot: 'rw' });
    await table.cutIova([0x11fffn]);
    expect(state()).toEqual(['000000', '', 0]);
    await table.unmapAll();
    expect(state()).toEqual(['000000', '', 0]);
    world.check();
  });

  test('domain only, an access comes: frames are copied from the domain to the store, nothing is pinned', async () => {
    await world.domain(table, new RecordingDomain());
    expect(state()).toEqual(['111111', '', 1]);
    const pinned = await access.pin(0x11000n, 3n * PAGE);
    expect(state()).toEqual(['111111', '1,2,3', 1]);
    expect(frames(pinned).map((pfn) => BigInt(pfn) * PAGE)).toEqual([1n, 2n, 3n].map(physical));
    world.check();
  });

  test('access only, a domain comes: it is filled from the store, only the rest is pinned', async () => {
    await access.pin(0x11000n, 3n * PAGE);
    expect(state()).toEqual(['011100', '1,2,3', 1]);
    const domain = await world.domain(table, new RecordingDomain());
    expect(state()).toEqual(['111111', '1,2,3', 3]);
    for (let page = 0n; page < 6n; page++) {
      expect(domain.iovaToPhys(0x10000n + page * PAGE)).toBe(physical(page));
    }
    world.check();
  });

  test('both, the last domain goes: what the access holds stays pinned, in the store', async () => {
    const domain = await world.domain(table, new RecordingDomain());
    await access.pin(0x11000n, 3n * PAGE);
    await table.removeDomain(domain);
    expect(state()).toEqual(['011100', '1,2,3', 1]);
    world.check();
  });

  test('both, the access goes: the store is empty, the domain keeps the pages', async () => {
    await world.domain(table, new RecordingDomain());
    await access.pin(0x11000n, 3n * PAGE);
    await access.unpin(0x11000n, 3n * PAGE);
    expect(state()).toEqual(['111111', '', 1]);
    expect([pages.store, pages.accessTree]).toEqual([undefined, undefined]);
    world.check();
  });

  test('both, the last area with a domain goes: what an access of another table holds stays pinned', async () => {
    const other = world.table();
    await other.copy({ from: table, srcIova: 0x10000n, iova: 0n, length: 6n * PAGE, prot: 'rw' });
    await access.replace(other);
    await access.pin(0x2000n, 2n * PAGE);
    await world.domain(table, new RecordingDomain());
    await table.unmapAll();
    expect(state()).toEqual(['001100', '2,3', 3]);
    await access.unpin(0x2000n, 2n * PAGE);
    expect(state()).toEqual(['000000', '', 3]);
    world.check();
  });

  test('area and copy, each with a domain: unmapping one leaves all that the other covers', async () => {
    const other = world.table();
    await world.domain(table, new RecordingDomain());
    await world.domain(other, new RecordingDomain());
    await other.copy({ from: table, srcIova: 0x12000n, iova: 0n, length: 3n * PAGE, prot: 'rw' });
    expect(state()).toEqual(['111111', '', 1]);
    await table.unmapAll();
    expect(state()).toEqual(['001110', '', 1]);
    world.check();
    await other.unmapAll();
    expect(state()).toEqual(['000000', '', 1]);
    world.check();
  });

  test('two domains, the storage domain goes: storage is handed over, no pin changes', async () => {
    const [first, second] = [
      await world.domain(table, new RecordingDomain()),
      await world.domain(table, new RecordingDomain({ ioPage: 2048 })),
    ];
    expect(state()).toEqual(['111111', '', 1]);
    await table.removeDomain(first);
    expect(first.mappedBytes).toBe(0n);
    expect(table.snapshot().areas[0]!.storageDomain).toBe(0);
    // Frames come from the second domain now.
    expect(frames(await access.pin(0x10000n, PAGE))).toEqual([world.process.frameOf(SCATTERED)]);
    expect(state()).toEqual(['111111', '0', 1]);
    await access.unpin(0x10000n, PAGE);
    await table.removeDomain(second);
    expect(state()).toEqual(['000000', '', 1]);
    world.check();
  });

  test('a frame in store, domain and user memory is taken from the store first, then from the domain', async () => {
    const domain = await world.domain(table, new RecordingDomain());
    await access.pin(0x11000n, PAGE);
    // The process maps other memory there: what is held already stays what it is.
    const before = world.process.frameOf(SCATTERED + PAGE);
    world.process.munmap(SCATTERED, 6n * PAGE);
    world.process.mmap({ uptr: SCATTERED, length: 6n * PAGE });
    expect(world.process.frameOf(SCATTERED + PAGE)).not.toBe(before);
    const second = await world.domain(table, new RecordingDomain());
    expect(second.contents).toEqual(domain.contents);
    expect(frames(await access.pin(0x11000n, 2n * PAGE))[0]).toBe(before);
    expect(world.memory.pins).toHaveLength(1);
    world.check();
  });
});

describe('pins of accesses', () => {
  let world: World;
  let table: IoPagetable;
  let access: IoptAccess;
  let pages: IoptPages;

  beforeEach(async () => {
    world = new World();
    table = world.table();
    await table.map({ uptr: USER, iova: 0n, length: 8n * PAGE, prot: 'rw' });
    access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
    await access.attach(table);
    pages = pagesAt(table, 0n);
  });

  const users = () => [...pages.accessTree!].map(({ users }) => users);

  test('the same range twice: one node with two users, one pin of each page', async () => {
    const [a, b] = [await access.pin(0x1000n, 3n * PAGE), await access.pin(0x1000n, 3n * PAGE)];
    expect(frames(a)).toEqual(frames(b));
    expect([users(), table.snapshot().areas[0]!.pins, world.physical.pinned]).toEqual([[2], 2, 3]);
    await access.unpin(0x1000n, 3n * PAGE);
    expect([users(), world.physical.pinned]).toEqual([[1], 3]);
    await access.unpin(0x1000n, 3n * PAGE);
    expect([pages.accessTree, world.physical.pinned]).toEqual([undefined, 0]);
    world.check();
  });

  test.each(['in that order', 'in the other order'])(
    'overlapping ranges have a node each; unpinned %s',
    async (order) => {
      const [lower, upper] = [0x1000n, 0x3000n];
      for (const iova of [lower, upper]) await access.pin(iova, 4n * PAGE);
      expect([users(), world.physical.pinned, pages.npinned]).toEqual([[1, 1], 6, 6]);
      await access.unpin(order === 'in that order' ? lower : upper, 4n * PAGE);
      expect([users(), world.physical.pinned]).toEqual([[1], 4]);
      world.check();
      await access.unpin(order === 'in that order' ? upper : lower, 4n * PAGE);
      expect(world.physical.pinned).toBe(0);
      world.check();
    },
  );

  test('nested ranges with the same start, in any order', async () => {
    for (const [first, second] of [
      [4n, 2n],
      [2n, 4n],
    ] as const) {
      await access.pin(0x1000n, 4n * PAGE);
      await access.pin(0x1000n, 2n * PAGE);
      await access.unpin(0x1000n, first * PAGE);
      expect(world.physical.pinned).toBe(Number(second));
      world.check();
      await access.unpin(0x1000n, second * PAGE);
      expect(world.physical.pinned).toBe(0);
    }
  });

  test('a pin over the holes between others pins only the holes', async () => {
    await access.pin(0x1000n, PAGE);
    await access.pin(0x3000n, 2n * PAGE);
    world.memory.pins.length = 0;
    expect(frames(await access.pin(0n, 7n * PAGE))).toEqual(
      Array.from({ length: 7 }, (_, at) => world.process.frameOf(USER) + at),
    );
    expect(world.memory.pins.map(({ count }) => count)).toEqual([1, 1, 2]);
    expect(stored(pages)).toEqual([0, 1, 2, 3, 4, 5, 6]);
    world.check();
    await access.unpin(0n, 7n * PAGE);
    expect(stored(pages)).toEqual([1, 3, 4]);
    world.check();
  });

  test('pins of several tables on the same pages share frames and count once', async () => {
    const other = world.table();
    await other.copy({ from: table, srcIova: 0x2000n, iova: 0x70000n, length: 4n * PAGE, prot: 'rw' });
    const second = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
    await second.attach(other);
    await access.pin(0x2000n, 2n * PAGE);
    await second.pin(0x70000n, 2n * PAGE);
    expect([users(), world.physical.pinned]).toEqual([[2], 2]);
    expect([table, other].map((each) => each.snapshot().areas[0]!.pins)).toEqual([1, 1]);
    await access.unpin(0x2000n, 2n * PAGE);
    expect(world.physical.pinned).toBe(2);
    world.check();
    await second.unpin(0x70000n, 2n * PAGE);
    world.check();
  });
});

test('pages that memory gave in several goes are kept in one piece', async () => {
  const world = new World();
  const table = world.table();
  world.memory.mostPerPin = 2;
  await table.map({ uptr: SCATTERED, iova: 0x10000n, length: 7n * PAGE, prot: 'rw' });
  const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
  await access.attach(table);
  await access.pin(0x10000n, 7n * PAGE);
  const segments = [...pagesAt(table, 0x10000n).store!.segments()];
  expect(segments.map(({ first, frames }) => [first, frames.frames])).toEqual([[0, 7]]);
  world.check();
});
