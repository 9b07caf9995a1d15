/** Who is charged for pinned pages, and when. */
import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import { IoPagetable } from '../../src/io-pagetable.js';
import type { FrameRuns } from '../../src/memory/frame-runs.js';
import type { AccountingMode } from '../../src/memory/locked-memory.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import { expectError } from '../helpers/expect-error.js';
import { RecordingDomain } from '../helpers/recording-domain.js';
import { PAGE, USER, World } from '../helpers/world.js';

const charged = (world: World) => [
  world.process.locked!.user.lockedPages,
  world.process.locked!.mm.lockedPages,
];

function map(table: IoPagetable, page: bigint, pages: bigint): Promise<bigint> {
  return table.map({ uptr: USER + page * PAGE, iova: page * PAGE, length: pages * PAGE, prot: 'rw' });
}

describe.each([
  ['user', [4, 0]],
  ['mm', [0, 4]],
  ['none', [0, 0]],
] as [AccountingMode, number[]][])('mode %s', (accounting, counters) => {
  test('charges at the end of a map and credits at the end of an unmap', async () => {
    const world = new World(4);
    const table = world.table({ accounting });
    await map(table, 0n, 4n);
    expect(charged(world)).toEqual([0, 0]);
    const domain = await world.domain(table, new RecordingDomain());
    expect(charged(world)).toEqual(counters);
    await table.removeDomain(domain);
    expect(charged(world)).toEqual([0, 0]);
    await world.domain(table, domain);
    await table.unmapAll();
    expect(charged(world)).toEqual([0, 0]);
    world.check();
  });

  test('allows to reach the limit exactly, and no page more', async () => {
    const world = new World(4);
    const table = world.table({ accounting });
    const domain = await world.domain(table, new RecordingDomain());
    await map(table, 0n, 4n);
    expect(charged(world)).toEqual(counters);
    if (accounting === 'none') {
      await map(table, 8n, 1n);
      expect([charged(world), world.physical.pinned]).toEqual([counters, 5]);
      return;
    }
    const requests = domain.requests.length;
    await world.unchanged(async () => {
      const error = await expectError(map(table, 8n, 1n), 'ENOMEM');
      expect(error.reason).toEqual({
        check: 'locked-memory',
        of: accounting === 'user' ? 'user' : 'process',
        limitBytes: 16384n,
        lockedBytes: 16384n,
        neededBytes: 4096n,
      });
    });
    // The fill was done before the charge, and is undone.
    expect(domain.requests.slice(requests).map((request) => request.split(' ')[0])).toEqual(['map', 'unmap']);
    // A copy of what is charged already costs nothing.
    await table.copy({ from: table, srcIova: 0n, iova: 0x20000n, length: 4n * PAGE, prot: 'rw' });
    expect(charged(world)).toEqual(counters);
    await table.unmap(0n, 4n * PAGE);
    expect(charged(world)).toEqual(counters);
    await table.unmap(0x20000n, 4n * PAGE);
    await map(table, 8n, 1n);
    world.check();
  });

  test('charges pins of accesses, and refuses them at the limit', async () => {
    const world = new World(4);
    const table = world.table({ accounting });
    await map(table, 0n, 8n);
    const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
    await access.attach(table);
    await access.pin(0x1000n, 4n * PAGE);
    expect(charged(world)).toEqual(counters);
    // Two pages of it are pinned already.
    await access.unpin(0x1000n, 4n * PAGE);
    await access.pin(0x1000n, 3n * PAGE);
    await access.pin(0x2000n, 3n * PAGE);
    expect(charged(world)).toEqual(counters);
    if (accounting === 'none') return;
    await world.unchanged(() => expectError(access.pin(0x3000n, 3n * PAGE), 'ENOMEM'));
    await access.unpin(0x1000n, 3n * PAGE);
    await access.pin(0x3000n, 3n * PAGE);
    expect(charged(world)).toEqual(counters);
    world.check();
  });
});

describe('charges', () => {
  test('two maps of the same memory are charged twice', async () => {
    const world = new World(10);
    const table = world.table();
    await world.domain(table);
    for (const iova of [0x10000n, 0x20000n])
      await table.map({ uptr: USER, iova, length: 3n * PAGE, prot: 'rw' });
    expect([charged(world), world.physical.pinned]).toEqual([[6, 0], 6]);
  });

  test('user and process have a counter each, shared by all tables', async () => {
    const world = new World(4);
    const [user, mm] = [world.table(), world.table({ accounting: 'mm' })];
    for (const table of [user, mm]) await world.domain(table);
    await map(user, 0n, 4n);
    await map(mm, 0n, 4n);
    expect(charged(world)).toEqual([4, 4]);
    const second = world.table();
    await world.domain(second);
    await world.unchanged(() => expectError(map(second, 8n, 1n), 'ENOMEM'));
  });

  test('a copy of pages goes on with the mode of their map', async () => {
    const world = new World(10);
    const [from, to] = [world.table({ accounting: 'mm' }), world.table({ accounting: 'none' })];
    await map(from, 0n, 2n);
    await world.domain(to);
    await to.copy({ from, srcIova: 0n, iova: 0n, length: 2n * PAGE, prot: 'rw' });
    expect(charged(world)).toEqual([0, 2]);
  });

  test('domain and access count once together; what the domain leaves to the access stays charged', async () => {
    const world = new World(10);
    const table = world.table();
    const domain = await world.domain(table, new RecordingDomain());
    await map(table, 0n, 4n);
    const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
    await access.attach(table);
    await access.pin(0x1000n, 2n * PAGE);
    expect(charged(world)).toEqual([4, 0]);
    await table.removeDomain(domain);
    expect(charged(world)).toEqual([2, 0]);
    await access.unpin(0x1000n, 2n * PAGE);
    expect(charged(world)).toEqual([0, 0]);
    world.check();
  });

  test('reading and writing charges nothing, even where it pins', async () => {
    const world = new World(1);
    const table = world.table();
    await map(table, 0n, 8n);
    const access = new IoptAccess({ needsPin: false });
    await access.attach(table);
    await access.read(0n, new Uint8Array(8 * 4096), { slow: true });
    expect([charged(world), world.memory.pins.length, world.physical.pinned]).toEqual([[0, 0], 1, 0]);
    world.check();
  });
});

describe('a process that is gone', () => {
  test('cannot be charged: EINVAL in mode mm, and nothing is pinned', async () => {
    const world = new World(10);
    const [table, other] = [world.table({ accounting: 'mm' }), world.table()];
    await map(table, 0n, 4n);
    const domain = new RecordingDomain();
    world.domains.push(domain);
    // It goes after its pages were pinned, before they are charged.
    const pin = world.process.pin.bind(world.process);
    world.memory.pin = (...asked) => {
      const count = pin(...asked);
      world.process.exit();
      return count;
    };
    await world.unchanged(async () => {
      const error = await expectError(table.addDomain(domain), 'EINVAL');
      expect(error.reason.check).toBe('state');
    });
    expect(other.snapshot().areas).toEqual([]);
  });

  test('is EFAULT where pages would have to be pinned', async () => {
    const world = new World(10);
    const table = world.table();
    await map(table, 0n, 4n);
    world.process.exit();
    await world.unchanged(() => expectError(table.addDomain(new RecordingDomain()), 'EFAULT'));
    const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
    await access.attach(table);
    await world.unchanged(() => expectError(access.pin(0n, PAGE), 'EFAULT'));
  });

  test('keeps its user charged until the pages go; its own counter is gone with it', async () => {
    const world = new World(10);
    const [user, mm] = [world.table(), world.table({ accounting: 'mm' })];
    for (const table of [user, mm]) {
      await world.domain(table);
      await map(table, 0n, 4n);
    }
    world.process.exit();
    // Another domain is filled from the first one.
    await world.domain(mm, new RecordingDomain());
    await user.unmapAll();
    await mm.unmapAll();
    expect([charged(world), world.physical.pinned]).toEqual([[0, 4], 0]);
    world.check();
  });
});

describe('a process that exits while its memory is being pinned', () => {
  /** Memory whose process exits when some of its pages have been pinned. */
  class Leaving extends ProcessMemory {
    gone = false;

    override get exited(): boolean {
      return this.gone;
    }

    override pin(page: number, count: number, write: boolean, into: FrameRuns): number {
      const pinned = super.pin(page, Math.min(count, 2), write, into);
      this.gone = true;
      return pinned;
    }
  }

  async function leaving(accounting: AccountingMode) {
    const memory = new Leaving({ lockedLimit: 8n * PAGE });
    memory.mmap({ uptr: USER, length: 8n * PAGE });
    const table = new IoPagetable({ memory, accounting });
    await table.addDomain(new RecordingDomain());
    return { memory, table };
  }

  test('the user goes on being charged, the process cannot be: EINVAL', async () => {
    const request = { uptr: USER, iova: 0x1000n, length: 2n * PAGE, prot: 'rw' } as const;
    const user = await leaving('user');
    await user.table.map(request);
    expect(user.memory.locked!.user.lockedPages).toBe(2);
    const mm = await leaving('mm');
    const error = await expectError(mm.table.map(request), 'EINVAL');
    expect(error.reason).toEqual({
      check: 'state',
      detail: 'the process whose locked memory would be charged is gone',
    });
    expect([mm.memory.locked!.mm.lockedPages, mm.memory.physical.pinned]).toEqual([0, 0]);
  });

  test('is not asked for more: EFAULT, and nothing stays pinned', async () => {
    const { memory, table } = await leaving('user');
    const map = table.map({ uptr: USER, iova: 0x1000n, length: 3n * PAGE, prot: 'rw' });
    const error = await expectError(map, 'EFAULT');
    expect(error.reason).toEqual({
      check: 'state',
      detail: 'the process whose memory would be pinned is gone',
    });
    expect([memory.locked!.user.lockedPages, memory.physical.pinned, table.areaCount]).toEqual([0, 0, 0]);
  });
});
