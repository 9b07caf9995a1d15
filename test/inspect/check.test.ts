/** Each invariant is broken by hand in a live table, and it is the one that is named. */
import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { checkTables, InvariantError } from '../../src/inspect/check.js';
import { IntervalTree, type TreeNode } from '../../src/interval-tree.js';
import { IoPagetable } from '../../src/io-pagetable.js';
import { DmaBufExporter } from '../../src/memory/dma-buf-exporter.js';
import { FrameRuns } from '../../src/memory/frame-runs.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import { addToDomainsTree, removeFromDomainsTree } from '../../src/pages/domains-tree.js';
import type { IoptPages } from '../../src/pages/iopt-pages.js';
import { indexInterval, type MappedArea } from '../../src/pages/mapped-area.js';
import { IoptArea } from '../../src/table/iopt-area.js';
import type { TableState } from '../../src/table/table-state.js';
import { type Interval, intervalOf, split } from '../../src/u64.js';
import { RecordingDomain } from '../helpers/recording-domain.js';
import { PAGE, USER, World } from '../helpers/world.js';

function rangeOf(start: bigint, length: bigint): Interval {
  return intervalOf(split(start), split(length))!;
}

/** A live table, and what there is to break in it. */
interface Live {
  readonly world: World;
  readonly table: IoPagetable;
  readonly state: TableState;
  /** Both domains have 2048-byte io pages. */
  readonly domain: RecordingDomain;
  readonly second: RecordingDomain;
  readonly access: IoptAccess;
  /** [0x10000, 0x13fff], rw, pinned at [0x11000, 0x12fff]. */
  readonly area: IoptArea;
  readonly pages: IoptPages;
  /** [0x20000, 0x20fff], a read-only copy of the second page of `area`. */
  readonly copy: IoptArea;
}

async function live(): Promise<Live> {
  const world = new World(64);
  const table = world.table();
  const memory = world.process;
  const aperture = { start: 0x1000n, last: 0xff_ffffn };
  const domain = await world.domain(table, new RecordingDomain({ ioPage: 2048, aperture }));
  const second = await world.domain(table, new RecordingDomain({ ioPage: 2048 }));
  await table.map({ memory, uptr: USER, iova: 0x10000n, length: 4n * PAGE, prot: 'rw' });
  await table.copy({ from: table, srcIova: 0x11000n, iova: 0x20000n, length: PAGE, prot: 'r' });
  await table.setAllowedIova([{ start: 0x30000n, last: 0x30fffn }]);
  const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
  await access.attach(table);
  await access.pin(0x11000n, 2n * PAGE);
  const [area, copy] = [...table.state.areas] as [IoptArea, IoptArea];
  checkTables([table.state], true, true);
  return { world, table, state: table.state, domain, second, access, area, pages: area.pages!, copy };
}

/** Puts another area in the place of one, with the same pages and domains. */
function replaceArea(live: Live, old: IoptArea, made: IoptArea): void {
  made.pages = old.pages;
  made.storageDomain = old.storageDomain;
  made.pins = old.pins;
  live.state.areas.delete(old.node!);
  made.node = live.state.areas.insert(made, made);
  if (old.storageNode === undefined) return;
  removeFromDomainsTree(live.pages, old);
  addToDomainsTree(live.pages, made);
}

const BLACK = 0;
const RED = 1;

type Linked<V> = TreeNode<V> & { readonly parent?: Linked<V> | null };

/** The domains tree of pages that are shown by more than one area. */
function treeOf(pages: IoptPages): IntervalTree<MappedArea> {
  return pages.domainsTree as IntervalTree<MappedArea>;
}

function rootOf<V>(tree: IntervalTree<V>): TreeNode<V> {
  let node: Linked<V> = tree.head()!;
  while (node.parent) node = node.parent;
  return node;
}

function* nodesOf<V>(tree: IntervalTree<V>): Generator<TreeNode<V>> {
  for (let node = tree.head(); node !== undefined; node = tree.next(node)) yield node;
}

function framesFrom(pfn: number, count: number): FrameRuns {
  const frames = new FrameRuns();
  frames.push(pfn, count);
  return frames;
}

function charge(world: World, pages: number): void {
  world.process.locked!.user.lockedPages += pages;
}

/** As an area that shows the same bytes, with something else about it. */
function alike(old: IoptArea, other: Partial<Record<'index' | 'lastIndex' | 'pageOffset' | 'prot', number>>) {
  const { index, lastIndex, pageOffset, prot } = { ...old, ...other };
  return new IoptArea(old, index, lastIndex, pageOffset, prot);
}

/** Maps three pages of a dma-buf at 0x50000. */
function mapDmaBuf({ table, world }: Live): { bar: DmaBufExporter; area: IoptArea } {
  const bar = new DmaBufExporter({ physical: world.physical, size: 3n * PAGE });
  table.mapSync({ file: bar, start: 0n, iova: 0x50000n, length: 3n * PAGE, prot: 'rw' });
  return { bar, area: [...table.state.areas].at(-1)! };
}

const BREAKS: [invariant: string, how: string, breakIt: (live: Live) => unknown][] = [
  [
    'area tree is sound',
    'a node that knows too little of those below it',
    ({ area }) => Object.assign(area.node!, { maxHigh: 0, maxLow: 0 }),
  ],
  [
    'reserved tree is sound',
    'a node that knows too little of those below it',
    ({ state }) => Object.assign(state.reserved.head()!, { maxHigh: 0, maxLow: 0 }),
  ],
  [
    'allowed tree is sound',
    'a count that is wrong',
    ({ state }) => Object.assign(state.allowed, { count: 2 }),
  ],
  [
    'alignment is what domains, accesses and options demand',
    'an alignment of the past',
    ({ state }) => Object.assign(state, { alignment: 2048 }),
  ],
  [
    'alignment is at most a page',
    'a domain that changes its page size',
    ({ state, domain }) => {
      Object.assign(domain, { pageSizeBitmap: 8192n });
      state.alignment = 8192;
    },
  ],
  [
    'no area is reserved',
    'a reservation behind its back',
    ({ state }) => state.reserved.insert(rangeOf(0x13fffn, 1n), { owner: null }),
  ],
  [
    'nothing allowed is reserved',
    'a reservation behind its back',
    ({ state }) => state.reserved.insert(rangeOf(0x30000n, 1n), { owner: null }),
  ],
  [
    'allowed ranges are disjoint',
    'one that begins in the middle of another',
    ({ state }) => state.allowed.insert(rangeOf(0x30800n, PAGE), undefined),
  ],
  [
    'allowed ranges are disjoint',
    'the same twice',
    ({ state }) => state.allowed.insert(rangeOf(0x30000n, PAGE), undefined),
  ],
  [
    'what lies outside an aperture is reserved',
    'a reservation that is gone',
    ({ state }) => state.reserved.delete(state.reserved.head()!),
  ],
  [
    'what lies outside an aperture is reserved',
    "someone else's reservation",
    ({ state }) => {
      const node = state.reserved.head()!;
      state.reserved.delete(node);
      state.reserved.insert(node, { owner: null });
    },
  ],
  [
    'what lies outside an aperture is reserved',
    'a reservation that is too short',
    ({ state, domain }) => {
      state.reserved.delete(state.reserved.head()!);
      state.reserved.insert(rangeOf(0n, 0xfffn), { owner: domain });
    },
  ],
  ['domains are distinct', 'one twice', ({ state, domain }) => state.domains.push(domain)],
  [
    'areas are disjoint',
    'an area over another',
    ({ state, copy }) => {
      const made = new IoptArea(rangeOf(0x20fffn, PAGE), 1, 1, 0, 1);
      made.pages = copy.pages;
      made.node = state.areas.insert(made, made);
    },
  ],
  [
    'areas have pages while no call is in progress',
    'an area without',
    ({ area }) => Object.assign(area, { pages: undefined }),
  ],
  [
    'an area shows the page indexes its length implies',
    'a last index too far',
    (all) => replaceArea(all, all.copy, alike(all.copy, { lastIndex: 2 })),
  ],
  [
    'an area shows the page indexes its length implies',
    'more than its pages',
    (all) => replaceArea(all, all.copy, alike(all.copy, { index: 4, lastIndex: 4 })),
  ],
  [
    'areas conform to the io pages of domains',
    'an area in the middle of a page',
    (all) => replaceArea(all, all.copy, alike(all.copy, { pageOffset: 0x400, lastIndex: 2 })),
  ],
  [
    'writable areas have writable pages',
    'pages that are not',
    ({ pages }) => Object.assign(pages, { writable: false }),
  ],
  [
    'an area has a storage domain of its table exactly when the table has domains',
    'none',
    ({ area }) => Object.assign(area, { storageDomain: undefined }),
  ],
  [
    'an area has a storage domain of its table exactly when the table has domains',
    'a stranger',
    ({ area }) => Object.assign(area, { storageDomain: new RecordingDomain() }),
  ],
  [
    'pinned areas have an attached access',
    'nobody there any more',
    ({ state }) => state.accesses.fill(undefined) && Object.assign(state, { alignment: 2048 }),
  ],
  ['domains map every area', 'the storage domain lost a page', ({ domain }) => domain.unmap(0x12000n, PAGE)],
  ['domains map every area', 'another domain lost a page', ({ second }) => second.unmap(0x12000n, PAGE)],
  ['domains map every area', 'a domain lost the last bytes', ({ second }) => second.unmap(0x13800n, 0x800n)],
  [
    'all domains agree on the frames of an area',
    'one of them shows another frame',
    ({ second }) => {
      second.unmap(0x12000n, PAGE);
      second.map(0x12000n, 0x5000n, PAGE, 3);
    },
  ],
  [
    'domains map the byte the area shows',
    'one of them shows another byte',
    ({ second }) => {
      const physical = second.iovaToPhys(0x20000n)!;
      second.unmap(0x20000n, 0x800n);
      second.map(0x20000n, physical + 0x800n, 0x800n, 1);
    },
  ],
  [
    'domains map the areas and nothing else',
    'something was left behind',
    ({ second }) => second.map(0x80000n, 0x5000n, PAGE, 1),
  ],
  ['references = areas', 'one too many', ({ pages }) => Object.assign(pages, { references: 3 })],
  ['references = areas', 'one too few', ({ pages }) => Object.assign(pages, { references: 1 })],
  [
    'the domains tree holds the areas with a storage domain',
    'one is missing',
    ({ pages, copy }) => treeOf(pages).delete(copy.storageNode!),
  ],
  [
    'the domains tree holds the areas with a storage domain',
    'one is there that is gone',
    ({ pages, copy }) =>
      treeOf(pages).insert(indexInterval(1, 1), new IoptArea(rangeOf(0x50000n, PAGE), 1, 1, 0, copy.prot)),
  ],
  [
    'the domains tree is keyed by page index',
    'another key',
    ({ pages, copy }) => {
      treeOf(pages).delete(copy.storageNode!);
      copy.storageNode = treeOf(pages).insert(indexInterval(2, 2), copy);
    },
  ],
  [
    'every pinned interval has a user',
    'none',
    ({ pages, area }) => {
      Object.assign([...pages.accessTree!][0]!, { users: 0 });
      area.pins = 0;
    },
  ],
  [
    'pins of areas = users of pinned intervals',
    'a pin too many',
    ({ area }) => Object.assign(area, { pins: 2 }),
  ],
  [
    'pins of areas = users of pinned intervals',
    'a user too many',
    ({ pages }) => Object.assign([...pages.accessTree!][0]!, { users: 2 }),
  ],
  [
    'the pinned store holds what accesses cover',
    'a page is missing',
    ({ pages }) => pages.store!.erase(2, 2),
  ],
  [
    'the pinned store holds what accesses cover',
    'all is missing',
    ({ pages }) => Object.assign(pages, { store: undefined }),
  ],
  [
    'the pinned store holds nothing else',
    'a page nobody pinned',
    ({ pages }) => pages.store!.insert(3, framesFrom(77, 1)),
  ],
  [
    'pinned = covered by accesses and domains',
    'a count that is wrong',
    ({ pages }) => Object.assign(pages, { npinned: 5 }),
  ],
  [
    'what is pinned is accounted for',
    'a count that is wrong',
    ({ pages }) => Object.assign(pages, { lastNpinned: 3 }),
  ],
  [
    'the pinned store agrees with the domains',
    'it has frames in another order',
    ({ pages }) => {
      const [one, two] = [pages.store!.erase(1, 1), pages.store!.erase(2, 2)];
      pages.store!.insert(1, two);
      pages.store!.insert(2, one);
    },
  ],
  [
    'all areas agree on the frames of their pages',
    'the copy shows another page',
    ({ domain, second }) => {
      for (const each of [domain, second]) {
        each.unmap(0x20000n, PAGE);
        each.map(0x20000n, 0x5000n, PAGE, 1);
      }
    },
  ],

  [
    'locks are free while no call is in progress',
    'somebody writes still',
    ({ state }) => state.iovaLock.tryWrite(),
  ],
  [
    'locks are free while no call is in progress',
    'somebody reads still',
    ({ state }) => state.domainsLock.tryRead(),
  ],
  [
    'locks are free while no call is in progress',
    'somebody works on the pages still',
    ({ pages }) => pages.mutex.tryWrite(),
  ],
  [
    'no access is asked to let go while no call is in progress',
    'an area that nobody waits for any more',
    ({ state, area }) => state.asking.set(area, { calls: 1, times: 1 }),
  ],
  ['accesses are distinct', 'one twice', ({ state, access }) => state.accesses.push(access)],
  [
    'accesses are attached to their table',
    'one that knows nothing of it',
    ({ state }) => state.accesses.push(new IoptAccess({ needsPin: false })),
  ],
  [
    'areas are where the tree has them',
    'an area that takes another place for its own',
    ({ area, copy }) => Object.assign(copy, { node: area.node }),
  ],
  [
    'areas are where the tree has them',
    'an area at another address',
    ({ state, copy }) => {
      state.areas.delete(copy.node!);
      copy.node = state.areas.insert(rangeOf(0x21000n, PAGE), copy);
    },
  ],
  ['area tree is sound', 'a red root', ({ state }) => Object.assign(rootOf(state.areas), { color: RED })],
  [
    'area tree is sound',
    'a node that is linked to by none of its neighbours',
    ({ state }) => Object.assign(rootOf(state.areas), { parent: state.areas.head() }),
  ],
  [
    'area tree is sound',
    'paths with different numbers of black nodes',
    ({ state }) => {
      const leaf = [...nodesOf(state.areas)].find((node) => node !== rootOf(state.areas));
      Object.assign(leaf!, { color: BLACK });
    },
  ],
  [
    'domains tree of pages is sound',
    'a red root',
    ({ pages }) => Object.assign(rootOf(treeOf(pages)), { color: RED }),
  ],
  [
    'domains tree of pages is sound',
    'a node that knows too little of those below it',
    ({ pages }) => Object.assign(rootOf(treeOf(pages)), { maxHigh: 0, maxLow: 0 }),
  ],
  [
    'access tree of pages is sound',
    'a red root',
    ({ pages }) => Object.assign(rootOf(pages.accessTree!), { color: RED }),
  ],
  [
    'access tree of pages is sound',
    'a count that is wrong',
    ({ pages }) => Object.assign(pages.accessTree!, { count: 2 }),
  ],
  [
    'pinned store of pages is sound',
    'two frames for one page',
    ({ pages }) => pages.store!.insert(2, framesFrom(77, 1)),
  ],
  [
    'pinned store of pages is sound',
    'more frames than pages',
    ({ pages }) => [...pages.store!.segments()][0]!.frames.push(77, 1),
  ],
  [
    'what lies outside an aperture is reserved for attached domains only',
    'the reservation of a domain that is gone',
    ({ state, domain }) => {
      const gone = new RecordingDomain({ aperture: domain.aperture });
      state.reserved.insert(rangeOf(0n, 0x1000n), { owner: gone });
    },
  ],
  [
    'allowed ranges have at least two bytes',
    'one byte',
    ({ state }) => state.allowed.insert(rangeOf(0x31000n, 1n), undefined),
  ],
  ['domains map every area', 'half a page is missing', ({ second }) => second.unmap(0x12800n, 0x800n)],
  [
    'domains map the byte the area shows',
    'the second half of a page shows the first',
    ({ second }) => {
      const physical = second.iovaToPhys(0x12000n)!;
      second.unmap(0x12800n, 0x800n);
      second.map(0x12800n, physical, 0x800n, 3);
    },
  ],
  [
    'the domains tree holds the areas with a storage domain',
    'one is there twice',
    ({ pages, copy }) => treeOf(pages).insert(indexInterval(1, 1), copy),
  ],
  [
    'the domains tree holds the areas with a storage domain',
    'an area that does not know its place',
    ({ copy }) => Object.assign(copy, { storageNode: undefined }),
  ],
  [
    'the domains tree holds the areas with a storage domain',
    'a place that is no longer in the tree',
    ({ pages, area, copy }) => {
      treeOf(pages).delete(copy.storageNode!);
      treeOf(pages).insert(indexInterval(1, 1), area);
    },
  ],
  [
    'pinned intervals are distinct',
    'one twice',
    ({ pages, area }) => {
      pages.accessTree!.insert(indexInterval(1, 2), { users: 1 });
      area.pins = 2;
    },
  ],
  [
    'locks are pins',
    'a lock without a pin',
    ({ copy }) => {
      copy.locks = 1;
    },
  ],
  [
    'a dma-buf is never pinned',
    'a pinned page of one',
    (live) => {
      mapDmaBuf(live).area.pages!.npinned = 1;
    },
  ],
  [
    'domains have entries of a dma-buf until it is revoked',
    'an area that is taken out without the domain',
    (live) => {
      const { area } = mapDmaBuf(live);
      area.pages!.dmaBuf!.leave(area, live.second);
    },
  ],
  [
    'domains have entries of a dma-buf until it is revoked',
    'an entry of an area that is gone',
    (live) => {
      const { area } = mapDmaBuf(live);
      const stray = alike(area, {});
      area.pages!.dmaBuf!.enter(stray, new RecordingDomain(), framesFrom(1, 3), true, undefined);
    },
  ],
  [
    'domains map nothing of a revoked dma-buf',
    'a domain that keeps a page',
    (live) => {
      void mapDmaBuf(live).bar.revoke();
      live.second.map(0x52000n, 0n, PAGE, 3);
    },
  ],
  [
    'domains map the frames of a dma-buf',
    'other frames',
    (live) => {
      mapDmaBuf(live);
      live.second.unmap(0x50000n, 3n * PAGE);
      live.second.map(0x50000n, 0x1000n, 3n * PAGE, 3);
    },
  ],
  [
    'what is pinned is pinned in memory',
    'a page that the memory has let go',
    ({ world }) => world.process.unpin(world.process.frameOf(USER + 3n * PAGE), 1),
  ],
  [
    'the pins of memory = what is pinned',
    'a pin that was forgotten',
    ({ world }) => world.process.pin(Number(USER / PAGE), 1, true, new FrameRuns()),
  ],
  ['charged = accounted for', 'a charge that was forgotten', ({ world }) => charge(world, 1)],
  ['charged = accounted for', 'a charge that was given back twice', ({ world }) => charge(world, -1)],
];

describe('a broken invariant is named', () => {
  test.each(BREAKS)('%s: %s', async (invariant, _how, breakIt) => {
    const broken = await live();
    breakIt(broken);
    const check = () => checkTables([broken.state], true, true);
    expect(check).toThrow(InvariantError);
    expect(check).toThrow(expect.objectContaining({ invariant }));
    expect(check).toThrow(`invariant broken: ${invariant}: `);
  });

  test('every invariant that is checked is among them', async () => {
    const { readFile } = await import('node:fs/promises');
    const sources = ['check.ts', 'check-pages.ts'].map((file) =>
      readFile(new URL(`../../src/inspect/${file}`, import.meta.url), 'utf8'),
    );
    const named = (await Promise.all(sources)).flatMap((source) => [
      ...[...source.matchAll(/broken\(\s*'([^']*)'/g)].map(([, invariant]) => invariant!),
      ...[...source.matchAll(/checkTree\('([^']*)'/g)].map(([, tree]) => `${tree} is sound`),
    ]);
    expect([...new Set(named)].sort()).toEqual([...new Set(BREAKS.map(([invariant]) => invariant))].sort());
  });
});

describe('what is no broken invariant', () => {
  test("one table's check does not count what other tables hold", async () => {
    const { world, table } = await live();
    const other = world.table();
    await world.domain(other);
    await other.copy({ from: table, srcIova: 0x10000n, iova: 0n, length: 4n * PAGE, prot: 'rw' });
    const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
    await access.attach(other);
    await access.pin(0n, 3n * PAGE);
    table.check();
    other.check();
    world.check();
    // Counts that must add up exactly show that a table is missing.
    expect(() => checkTables([table.state])).toThrow(
      expect.objectContaining({ invariant: 'references = areas' }),
    );
  });

  test('what others pin and are charged for', async () => {
    const { world, table } = await live();
    world.process.pin(Number(USER / PAGE), 1, true, new FrameRuns());
    charge(world, 3);
    table.check();
    world.check();
  });

  test('memory that pins in a way of its own', async () => {
    class OtherFrames extends ProcessMemory {
      override pin(_page: number, count: number, _write: boolean, into: FrameRuns): number {
        into.push(0x77, count);
        return count;
      }
      override unpin(): void {}
    }
    const table = new IoPagetable({ memory: new OtherFrames() });
    await table.addDomain(new RecordingDomain());
    await table.map({ uptr: 0n, iova: 0n, length: 2n * PAGE, prot: 'rw' });
    checkTables([table.state], true, true);
  });

  test('a long run of frames', async () => {
    const memory = new ProcessMemory();
    const { uptr } = memory.mmap({ length: 1n << 30n, sparse: true });
    const table = new IoPagetable({ memory });
    const domain = new RadixDomain();
    await table.addDomain(domain);
    const iova = await table.map({ uptr, length: 1n << 30n, prot: 'rw' });
    checkTables([table.state], true, true);
    memory.unpin(memory.frameOf(uptr + (1n << 30n) - PAGE), 1);
    expect(() => table.check()).toThrow('what is pinned is pinned in memory');
    expect(iova % (1n << 21n)).toBe(0n);
  });

  test('more reservations in the name of a domain, and mappings that others made in it', async () => {
    const { table, domain } = await live();
    await table.reserveIova({ start: 0x40000n, last: 0x4ffffn, owner: domain });
    domain.map(0x40000n, 0xfee0_0000n, PAGE, 2);
    table.check();
  });

  test.each([0, 512])('a copy of several areas that is less aligned inside, io page %d', async (ioPage) => {
    const world = new World();
    const [from, table] = [world.table(), world.table()];
    await from.map({ uptr: USER, iova: 0n, length: 2560n, prot: 'rw' });
    await from.map({ uptr: USER + PAGE, iova: 2560n, length: 1536n, prot: 'rw' });
    if (ioPage > 0) await world.domain(table, new RecordingDomain({ ioPage }));
    await new IoptAccess({ needsPin: true, onUnmap: () => undefined }).attach(table);
    await table.copy({ from, srcIova: 0n, iova: 0n, length: 4096n, prot: 'rw' });
    table.check();
  });

  test('pages of a process that is gone, whose own counter went with it', async () => {
    const world = new World(10);
    const table = world.table({ accounting: 'mm' });
    const domain = await world.domain(table);
    await table.map({ uptr: USER, iova: 0n, length: PAGE, prot: 'rw' });
    world.process.exit();
    await table.removeDomain(domain);
    const { pages } = [...table.state.areas][0]!;
    expect([pages!.npinned, pages!.lastNpinned]).toEqual([0, 1]);
    table.check();
  });

  test('an empty tree of a table that was used', () => {
    const { state } = new World().table();
    state.allowed = new IntervalTree();
    checkTables([state]);
  });
});
