/** Which locks a call takes, and how: it waits for each, and then goes on as if it had not waited. */
import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import type { IoPagetable } from '../../src/io-pagetable.js';
import type { Profile } from '../../src/rules.js';
import type { RwLock } from '../../src/rw-lock.js';
import { MockDomain } from '../../src/testing/mock-domain.js';
import { RecordingDomain } from '../helpers/recording-domain.js';
import { settled, watch } from '../helpers/watch.js';
import { PAGE, USER, World } from '../helpers/world.js';

/** A table and another one, with an area each, of pages of their own; and accesses. */
async function stage(profile: Profile, domains: number) {
  const world = new World();
  const [table, other] = [world.table({ profile }), world.table({ profile })];
  await table.map({ uptr: USER, iova: 0x1000n, length: 4n * PAGE, prot: 'rw' });
  await other.map({ uptr: USER + 16n * PAGE, iova: 0x1000n, length: 2n * PAGE, prot: 'rw' });
  const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
  await access.attach(table);
  const free = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
  const domain = () => new MockDomain({ aperture: { start: 0n, last: 0xff_ffffn }, dirty: true });
  const spare = domain();
  const mocks: MockDomain[] = [];
  for (let count = 0; count < domains; count++) {
    mocks.push(await world.domain(table, domain()));
  }
  const locks: Record<string, RwLock> = {};
  for (const [name, { state }] of [
    ['', table],
    ['other ', other],
  ] as const) {
    locks[`${name}domains`] = state.domainsLock;
    locks[`${name}iova`] = state.iovaLock;
    locks[`${name}pages`] = state.areas.head()!.value.pages!.mutex;
  }
  return { world, table, other, access, free, spare, mocks, locks };
}

type Stage = Awaited<ReturnType<typeof stage>>;

interface Case {
  readonly call: (stage: Stage) => Promise<unknown>;
  /** Each lock that is taken, and whether for reading (r) or writing (w). */
  readonly takes: string;
  /** What happens before, with all locks free. */
  readonly before?: (stage: Stage) => Promise<unknown>;
  /** Domains of the table; default 1. */
  readonly domains?: number;
  readonly profile?: Profile;
}

const map = ({ table }: Stage) =>
  table.map({ uptr: USER + 8n * PAGE, iova: 0x9000n, length: PAGE, prot: 'rw' });
const copy = ({ table, other }: Stage) =>
  table.copy({ from: other, srcIova: 0x1000n, iova: 0x9000n, length: 2n * PAGE, prot: 'rw' });
const bitmap = new Uint8Array(1);

const CASES: Record<string, Case> = {
  map: { call: map, takes: 'domains r, iova w' },
  'map anywhere': {
    call: ({ table }) => table.map({ uptr: USER + 8n * PAGE, length: PAGE, prot: 'r' }),
    takes: 'domains r, iova w',
  },
  'map without a domain': { call: map, takes: 'domains r, iova w', domains: 0 },
  copy: { call: copy, takes: 'domains r, iova w, other iova r, other pages w' },
  'copy without a domain': { call: copy, takes: 'domains r, iova w, other iova r', domains: 0 },
  unmap: { call: ({ table }) => table.unmap(0x1000n, 4n * PAGE), takes: 'domains r, iova w, pages w' },
  'unmap of nothing': { call: ({ table }) => table.unmap(0x8000n, PAGE), takes: 'domains r, iova w' },
  unmapAll: { call: ({ table }) => table.unmapAll(), takes: 'domains r, iova w, pages w', domains: 2 },
  'unmap (rfc-v1)': {
    call: ({ table }) => table.unmap(0x1000n, 4n * PAGE),
    takes: 'domains r, iova w, pages w',
    profile: 'rfc-v1',
  },
  'unmapAll (rfc-v1)': {
    call: ({ table }) => table.unmapAll(),
    takes: 'domains r, iova w, pages w',
    profile: 'rfc-v1',
  },
  addDomain: { call: ({ table, spare }) => table.addDomain(spare), takes: 'domains w, iova w, pages w' },
  'addDomain, the first': {
    call: ({ table, spare }) => table.addDomain(spare),
    takes: 'domains w, iova w, pages w',
    domains: 0,
  },
  removeDomain: {
    call: ({ table, mocks }) => table.removeDomain(mocks[0]!),
    takes: 'domains w, iova w, pages w',
    domains: 2,
  },
  'removeDomain, the only one': {
    call: ({ table, mocks }) => table.removeDomain(mocks[0]!),
    takes: 'domains w, iova w, pages w',
  },
  reserveIova: {
    call: ({ table }) => table.reserveIova({ start: 0x10_0000n, last: 0x10_ffffn, owner: null }),
    takes: 'iova w',
  },
  removeReservedIova: {
    before: ({ table }) => table.reserveIova({ start: 0x10_0000n, last: 0x10_ffffn }),
    call: ({ table }) => table.removeReservedIova(null),
    takes: 'iova w',
  },
  enforceReservedRegions: {
    call: ({ table }) =>
      table.enforceReservedRegions({}, [{ start: 0x10_0000n, length: PAGE, type: 'sw-msi' }]),
    takes: 'iova w',
  },
  setAllowedIova: {
    call: ({ table }) => table.setAllowedIova([{ start: 0n, last: 0xffffn }]),
    takes: 'iova w',
  },
  iovaRanges: { call: ({ table }) => table.iovaRanges(), takes: 'iova r' },
  setLargePages: {
    call: ({ table }) => table.setLargePages(false),
    takes: 'domains w, iova w',
    domains: 0,
  },
  cutIova: {
    before: ({ table }) => table.setLargePages(false),
    call: ({ table }) => table.cutIova([0x2fffn]),
    takes: 'iova w, pages w',
    domains: 0,
  },
  'setDirtyTracking on': {
    call: ({ table, mocks }) => table.setDirtyTracking(mocks[0]!, true),
    takes: 'iova r',
  },
  'setDirtyTracking off': {
    before: ({ table, mocks }) => table.setDirtyTracking(mocks[0]!, true),
    call: ({ table, mocks }) => table.setDirtyTracking(mocks[0]!, false),
    takes: 'iova r',
  },
  readDirty: {
    call: ({ table, mocks }) =>
      table.readDirty({ domain: mocks[0]!, iova: 0x1000n, length: 4n * PAGE, pageSize: PAGE, bitmap }),
    takes: 'iova r',
  },
  access: {
    call: async ({ table }) => {
      const range = await table.access(0x1000n, PAGE);
      return range.pages.length;
    },
    takes: 'domains w, iova w, pages w',
  },
  'attach of an access': { call: ({ free, table }) => free.attach(table), takes: 'domains w, iova w' },
  'detach of an access': { call: ({ access }) => access.detach(), takes: 'domains w, iova w' },
  'replace of the table of an access': {
    call: ({ access, other }) => access.replace(other),
    takes: 'domains w, iova w, other domains w, other iova w',
  },
  pin: {
    call: async ({ access }) => (await access.pin(0x1000n, 2n * PAGE)).frames,
    takes: 'iova r, pages w',
  },
  unpin: {
    before: ({ access }) => access.pin(0x1000n, 2n * PAGE),
    call: ({ access }) => access.unpin(0x1000n, 2n * PAGE),
    takes: 'iova r, pages w',
  },
  read: { call: ({ access }) => access.read(0x1000n, new Uint8Array(8)), takes: 'iova r' },
  write: { call: ({ access }) => access.write(0x1000n, new Uint8Array(8)), takes: 'iova r' },
  'write of a page of another process': {
    call: ({ access }) => access.write(0x1000n, new Uint8Array(8), { slow: true }),
    takes: 'iova r',
  },
  'write through frames': {
    call: ({ access }) => access.write(0x1ffcn, new Uint8Array(8), { slow: true }),
    takes: 'iova r, pages w',
  },
};

const MODES = ['r', 'w'] as const;
const hold = {
  r: { take: (lock: RwLock) => lock.tryRead(), giveBack: (lock: RwLock) => lock.releaseRead() },
  w: { take: (lock: RwLock) => lock.tryWrite(), giveBack: (lock: RwLock) => lock.releaseWrite() },
};

async function prepared({ before, domains = 1, profile = 'linux-6.12' }: Case): Promise<Stage> {
  const made = await stage(profile, domains);
  await before?.(made);
  return made;
}

/** Makes the call while a lock is held so, and lets go of it then. Gives whether the call waited. */
async function waits(one: Case, name: string, mode: 'r' | 'w', wanted: unknown): Promise<boolean> {
  const held = await prepared(one);
  const lock = held.locks[name]!;
  expect(hold[mode].take(lock)).toBe(true);
  const outcome = watch(one.call(held));
  await settled();
  const waited = outcome.state === 'pending';
  hold[mode].giveBack(lock);
  await settled();
  expect([outcome.state, outcome.error, outcome.value, held.world.state()]).toEqual(wanted);
  held.world.check();
  return waited;
}

describe('the locks that a call takes', () => {
  test.each(Object.entries(CASES))('%s', async (_name, one) => {
    const plain = await prepared(one);
    const value = await one.call(plain);
    const wanted = ['fulfilled', undefined, value, plain.world.state()];
    const takes: string[] = [];
    for (const name of Object.keys(plain.locks)) {
      const [forReaders, forWriters] = [
        await waits(one, name, 'r', wanted),
        await waits(one, name, 'w', wanted),
      ];
      if (forWriters) takes.push(`${name} ${forReaders ? 'w' : 'r'}`);
      else expect(forReaders).toBe(false);
    }
    expect(takes.join(', ')).toBe(one.takes);
  });
});

describe('a call that is given up while it waits', () => {
  const CALLS: Record<string, (stage: Stage, signal: AbortSignal) => Promise<unknown>> = {
    map: ({ table }, signal) =>
      table.map({ uptr: USER + 8n * PAGE, iova: 0x9000n, length: PAGE, prot: 'rw', signal }),
    copy: ({ table, other }, signal) =>
      table.copy({ from: other, srcIova: 0x1000n, iova: 0x9000n, length: 2n * PAGE, prot: 'rw', signal }),
    unmap: ({ table }, signal) => table.unmap(0x1000n, 4n * PAGE, { signal }),
    unmapAll: ({ table }, signal) => table.unmapAll({ signal }),
    addDomain: ({ table, spare }, signal) => table.addDomain(spare, { signal }),
    access: ({ table }, signal) => table.access(0x1000n, PAGE, { signal }),
    pin: ({ access }, signal) => access.pin(0x1000n, PAGE, { signal }),
    write: ({ access }, signal) => access.write(0x1ffcn, new Uint8Array(8), { slow: true, signal }),
  };

  test.each(Object.entries(CALLS))('%s: gives back what it has, and leaves no trace', async (_name, call) => {
    let given = 0;
    for (const name of Object.keys((await stage('linux-6.12', 1)).locks)) {
      const held = await stage('linux-6.12', 1);
      const { world, locks } = held;
      const before = world.state();
      hold.w.take(locks[name]!);
      const abort = new AbortController();
      const outcome = watch(call(held, abort.signal));
      await settled();
      const waited = outcome.state === 'pending';
      abort.abort();
      await settled();
      hold.w.giveBack(locks[name]!);
      await settled();
      if (waited) {
        given += 1;
        expect([outcome.state, outcome.error]).toEqual(['rejected', abort.signal.reason]);
        expect(world.state()).toEqual(before);
      }
      for (const lock of Object.values(locks)) expect(lock.free).toBe(true);
      world.check();
    }
    expect(given).toBeGreaterThan(0);
  });
});

describe('a call that is halfway when another one has a lock', () => {
  /** A domain that does something whenever it maps or unmaps. */
  class BusyDomain extends RecordingDomain {
    onMap = () => {};
    onUnmap = () => {};

    override map(...request: Parameters<RecordingDomain['map']>): void {
      this.onMap();
      super.map(...request);
    }

    override unmap(...request: Parameters<RecordingDomain['unmap']>): void {
      super.unmap(...request);
      this.onUnmap();
    }
  }

  async function busy() {
    const world = new World();
    const table = world.table();
    const domain = await world.domain(table, new BusyDomain());
    await table.map({ uptr: USER, iova: 0x1000n, length: 2n * PAGE, prot: 'rw' });
    return { world, table, domain, lock: table.state.iovaLock };
  }

  const failure = new Error('the test says so');

  test('unmap: waits to take the area out', async () => {
    const { world, table, domain, lock } = await busy();
    domain.onUnmap = () => expect(lock.tryRead()).toBe(true);
    const unmap = watch(table.unmapAll());
    await settled();
    expect([unmap.state, table.areaCount, domain.mappedBytes]).toEqual(['pending', 1, 0n]);
    lock.releaseRead();
    await settled();
    expect([unmap.state, unmap.value, table.areaCount]).toEqual(['fulfilled', 2n * PAGE, 0]);
    world.check();
  });

  test('unmap of a domain that fails: waits to put the area back', async () => {
    const { world, table, domain, lock } = await busy();
    domain.unmap = () => {
      expect(lock.tryRead()).toBe(true);
      throw failure;
    };
    const unmap = watch(table.unmapAll());
    await settled();
    const [area] = [...table.state.areas];
    expect([unmap.state, area!.pages]).toEqual(['pending', undefined]);
    lock.releaseRead();
    await settled();
    expect([unmap.state, unmap.error, area!.pages?.npages]).toEqual(['rejected', failure, 2]);
    world.check();
  });

  test('map: waits to publish its areas', async () => {
    const { world, table, domain, lock } = await busy();
    domain.onMap = () => expect(lock.tryRead()).toBe(true);
    const map = watch(table.map({ uptr: USER, iova: 0x8000n, length: PAGE, prot: 'rw' }));
    await settled();
    expect([map.state, table.areaCount]).toEqual(['pending', 2]);
    lock.releaseRead();
    await settled();
    expect([map.state, map.value]).toEqual(['fulfilled', 0x8000n]);
    world.check();
  });

  test('a map that fails: waits to take its areas out', async () => {
    const { world, table, domain, lock } = await busy();
    const before = world.state();
    domain.onMap = () => {
      expect(lock.tryRead()).toBe(true);
      throw failure;
    };
    const map = watch(table.map({ uptr: USER, iova: 0x8000n, length: PAGE, prot: 'rw' }));
    await settled();
    expect([map.state, table.areaCount]).toEqual(['pending', 2]);
    lock.releaseRead();
    await settled();
    expect([map.state, map.error]).toEqual(['rejected', failure]);
    expect(world.state()).toEqual(before);
    world.check();
  });

  test('a copy that fails in its second part: waits for the pages of the first to undo it', async () => {
    const { world, table, domain } = await busy();
    const from = world.table();
    await from.map({ uptr: USER + 8n * PAGE, iova: 0x1000n, length: PAGE, prot: 'rw' });
    await from.map({ uptr: USER + 16n * PAGE, iova: 0x2000n, length: PAGE, prot: 'rw' });
    const first = from.state.areas.head()!.value.pages!;
    const before = world.state();
    let maps = 0;
    domain.onMap = () => {
      maps += 1;
      if (maps === 1) return;
      expect(first.mutex.tryWrite()).toBe(true);
      throw failure;
    };
    const copy = watch(table.copy({ from, srcIova: 0x1000n, iova: 0x8000n, length: 2n * PAGE, prot: 'rw' }));
    await settled();
    expect([copy.state, table.areaCount, world.physical.pinned]).toEqual(['pending', 3, 3]);
    first.mutex.releaseWrite();
    await settled();
    expect([copy.state, copy.error]).toEqual(['rejected', failure]);
    expect(world.state()).toEqual(before);
    world.check();
  });

  test('a copy whose memory answers late: keeps the pages to itself until they are mapped', async () => {
    const { world, table } = await busy();
    const from = world.table();
    await from.map({ uptr: USER + 8n * PAGE, iova: 0x1000n, length: PAGE, prot: 'rw' });
    const { mutex } = from.state.areas.head()!.value.pages!;
    world.memory.close();
    const copy = watch(table.copy({ from, srcIova: 0x1000n, iova: 0x8000n, length: PAGE, prot: 'rw' }));
    await settled();
    expect([copy.state, mutex.writing]).toEqual(['pending', true]);
    world.memory.open();
    await settled();
    expect([copy.state, mutex.free]).toEqual(['fulfilled', true]);
    world.check();
  });

  test('an unmap whose devices answer late: keeps the pages to itself until they are unpinned', async () => {
    const { world, table, domain } = await busy();
    const { mutex } = table.state.areas.head()!.value.pages!;
    let flushed: () => void = () => undefined;
    const flush = new Promise<void>((resolve) => {
      flushed = resolve;
    });
    Object.assign(domain, { flush: () => flush });
    const unmap = watch(table.unmapAll());
    await settled();
    expect([unmap.state, mutex.writing, world.physical.pinned]).toEqual(['pending', true, 2]);
    flushed();
    await settled();
    expect([unmap.state, mutex.free, world.physical.pinned]).toEqual(['fulfilled', true, 0]);
    world.check();
  });

  test('removeDomain: skips an area whose map has not got the domains yet', async () => {
    const { world, table, domain } = await busy();
    const { domainsLock } = table.state;
    expect(domainsLock.tryRead()).toBe(true);
    const removal = watch(table.removeDomain(domain));
    const map = watch(table.map({ uptr: USER, iova: 0x8000n, length: PAGE, prot: 'rw' }));
    await settled();
    expect([removal.state, map.state, table.areaCount]).toEqual(['pending', 'pending', 2]);
    domainsLock.releaseRead();
    await settled();
    expect([removal.state, map.state, table.domains]).toEqual(['fulfilled', 'fulfilled', []]);
    expect([domain.mappedBytes, world.physical.pinned]).toEqual([0n, 0]);
    world.check();
  });
});

describe('a call behind one that waits', () => {
  /** Calls of which the first waits for a reader to end, and the second has no lock in common with that reader. */
  const first = (table: IoPagetable) => table.reserveIova({ start: 0x10_0000n, last: 0x10_ffffn });

  test.each(MODES)('waits its turn, though the lock is held only to %s', async (mode) => {
    const { world, table, locks } = await stage('linux-6.12', 1);
    hold[mode].take(locks.iova!);
    const order: string[] = [];
    const calls = [
      first(table).then(() => order.push('reserve')),
      table.iovaRanges().then(({ ranges }) => order.push(`ranges ${ranges.length}`)),
      table.unmapAll().then((bytes) => order.push(`unmapAll ${bytes}`)),
    ];
    await settled();
    expect(order).toEqual([]);
    hold[mode].giveBack(locks.iova!);
    await Promise.all(calls);
    expect(order).toEqual(['reserve', 'ranges 2', `unmapAll ${4n * PAGE}`]);
    world.check();
  });
});
