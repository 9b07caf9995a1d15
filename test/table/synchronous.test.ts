/** The calls that never wait: EAGAIN where the promise would be pending, and nothing changed. */
import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import { expectErrorNow } from '../helpers/expect-error.js';
import { RecordingDomain } from '../helpers/recording-domain.js';
import { settled, watch } from '../helpers/watch.js';
import { PAGE, USER, World } from '../helpers/world.js';

/** A table with a domain (or none), an access, and areas at [0x1000, 0x1fff] and [0x3000, 0x3fff]; and a lazy second table. */
async function stage({ domain = true } = {}) {
  const world = new World();
  const [table, lazy] = [world.table(), world.table()];
  if (domain) await world.domain(table);
  await table.map({ uptr: USER, iova: 0x1000n, length: PAGE, prot: 'rw' });
  await table.map({ uptr: USER + PAGE, iova: 0x3000n, length: PAGE, prot: 'rw' });
  await lazy.map({ uptr: USER + 32n * PAGE, iova: 0x1000n, length: 2n * PAGE, prot: 'rw' });
  const access: IoptAccess = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
  await access.attach(table);
  return { world, table, lazy, access };
}

type Stage = Awaited<ReturnType<typeof stage>>;

const CALLS: Record<string, (stage: Stage) => unknown> = {
  mapSync: ({ table }) => table.mapSync({ uptr: USER + 8n * PAGE, iova: 0x9000n, length: PAGE, prot: 'rw' }),
  copySync: ({ table, lazy }) =>
    table.copySync({ from: lazy, srcIova: 0x1000n, iova: 0x9000n, length: 2n * PAGE, prot: 'rw' }),
  unmapSync: ({ table }) => table.unmapSync(0x1000n, PAGE),
  unmapAllSync: ({ table }) => table.unmapAllSync(),
  pinSync: ({ access }) => access.pinSync(0x1000n, PAGE),
  readSync: ({ access }) => access.readSync(0x1000n, new Uint8Array(8)),
  writeSync: ({ access }) => access.writeSync(0x1000n, new Uint8Array(8)),
};

function refusedWithoutTrace(stage: Stage, name: string): void {
  const before = stage.world.state();
  const error = expectErrorNow(() => CALLS[name]!(stage), 'EAGAIN');
  expect(error.reason.check).toBe('would-wait');
  expect(error.syscall).toBe(name.replace('Sync', ''));
  expect(stage.world.state()).toEqual(before);
}

describe('with nobody in the way', () => {
  test('they give what the promises would give', async () => {
    const stageNow = await stage();
    const { world, table, access } = stageNow;
    expect(CALLS.mapSync!(stageNow)).toBe(0x9000n);
    expect(table.unmapSync(0x9000n, PAGE)).toBe(PAGE);
    expect(CALLS.copySync!(stageNow)).toBe(0x9000n);
    access.writeSync(0x1ffen, Uint8Array.of(1, 2));
    const bytes = new Uint8Array(4);
    access.readSync(0x1ffcn, bytes);
    expect([...bytes]).toEqual([0, 0, 1, 2]);
    expect(access.pinSync(0x1000n, PAGE).frames).toBe(1);
    access.unpinSync(0x1000n, PAGE);
    world.check();
    expect(table.unmapSync(0x1000n, PAGE)).toBe(PAGE);
    expect(table.unmapAllSync()).toBe(3n * PAGE);
    world.check();
  });

  test('they refuse what the promises would refuse, with the same errno and range', async () => {
    const { world, table, lazy, access } = await stage();
    await world.unchanged(() => {
      const map = expectErrorNow(
        () => table.mapSync({ uptr: USER, iova: 0x1000n, length: PAGE, prot: 'r' }),
        'EEXIST',
      );
      expect([map.syscall, map.range]).toEqual(['map', '[0x1000, 0x1fff]']);
      expectErrorNow(() => table.copySync({ from: lazy, srcIova: 0n, length: PAGE, prot: 'r' }), 'ENOENT');
      expect(expectErrorNow(() => table.unmapSync(0x1800n, PAGE), 'ENOENT').unmapped).toBe(0n);
      expectErrorNow(() => access.pinSync(0x2000n, PAGE), 'ENOENT');
      expectErrorNow(() => access.unpinSync(0x1000n, PAGE), 'EINVAL');
      expectErrorNow(() => access.readSync(0x2000n, new Uint8Array(1)), 'ENOENT');
      expectErrorNow(() => access.writeSync(0x2000n, new Uint8Array(1)), 'ENOENT');
    });
  });
});

describe('EAGAIN, and nothing changed', () => {
  test.each(['mapSync', 'copySync', 'unmapSync', 'unmapAllSync'])(
    '%s while the iova lock is held',
    async (name) => {
      const held = await stage({ domain: false });
      const { world } = held;
      const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
      await access.attach(held.table);
      world.memory.close();
      const pin = access.pin(0x3000n, PAGE);
      expect(held.table.state.iovaLock.free).toBe(false);
      refusedWithoutTrace(held, name);
      world.memory.open();
      await pin;
      world.check();
    },
  );

  test.each(Object.keys(CALLS))('%s while both locks are held for writing', async (name) => {
    const held = await stage({ domain: false });
    const { world, table } = held;
    world.memory.close();
    const adding = table.addDomain(new RecordingDomain());
    expect([table.state.iovaLock.writing, table.state.domainsLock.writing]).toEqual([true, true]);
    refusedWithoutTrace(held, name);
    world.memory.open();
    await adding;
    world.check();
  });

  test.each(['mapSync', 'copySync', 'unmapSync', 'unmapAllSync'])(
    '%s while another call waits for the domains lock',
    async (name) => {
      const held = await stage();
      const { world, table } = held;
      world.memory.close();
      const map = watch(table.map({ uptr: USER + 16n * PAGE, iova: 0x20000n, length: PAGE, prot: 'r' }));
      const adding = watch(table.addDomain(new RecordingDomain()));
      refusedWithoutTrace(held, name);
      world.memory.open();
      await settled();
      expect([map.state, adding.state]).toEqual(['fulfilled', 'fulfilled']);
      world.check();
    },
  );

  test.each(['pinSync', 'readSync', 'writeSync'])('%s while the access itself is busy', async (name) => {
    const held = await stage({ domain: false });
    const { world, table, lazy, access } = held;
    await table.copy({ from: lazy, srcIova: 0x1000n, iova: 0x5000n, length: PAGE, prot: 'rw' });
    world.memory.close();
    const pin = access.pin(0x5000n, PAGE);
    refusedWithoutTrace(held, name);
    world.memory.open();
    await pin;
    world.check();
  });

  test.each(['mapSync', 'copySync'])(
    '%s when pinning has to wait; what is pinned late is unpinned',
    async (name) => {
      const held = await stage();
      const { world } = held;
      const pinned = world.physical.pinned;
      world.memory.close();
      refusedWithoutTrace(held, name);
      world.check();
      expect(world.memory.pending).toHaveLength(1);
      // The frames do arrive one day.
      world.memory.open();
      expect(world.physical.pinned).toBeGreaterThan(pinned);
      await settled();
      expect(world.physical.pinned).toBe(pinned);
      world.check();
    },
  );

  test('a late pin that fails is no unhandled rejection', async () => {
    const held = await stage();
    held.world.memory.close();
    refusedWithoutTrace(held, 'mapSync');
    held.world.memory.pending[0]!.fail(new Error('nobody listens'));
    await settled();
    held.world.check();
  });

  test('mapSync when only the last part has to wait: what was pinned before is unpinned', async () => {
    const { world, table } = await stage();
    world.memory.mostPerPin = 3;
    const memory = world.memory;
    const pin = memory.pin.bind(memory);
    memory.pin = (page, count, write, into) => {
      if (count === 2) memory.close();
      return pin(page, count, write, into);
    };
    const before = world.state();
    const map = () => table.mapSync({ uptr: USER + 8n * PAGE, iova: 0x9000n, length: 8n * PAGE, prot: 'rw' });
    expectErrorNow(map, 'EAGAIN');
    expect(world.state()).toEqual(before);
    memory.open();
    await settled();
    expect(world.state()).toEqual(before);
    world.check();
  });

  test('copySync while its pages are busy, the first or a later part', async () => {
    const held = await stage();
    const { world, table, lazy } = held;
    await lazy.map({ uptr: USER + 64n * PAGE, iova: 0x3000n, length: PAGE, prot: 'rw' });
    const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
    await access.attach(lazy);
    world.memory.close();
    const pin = access.pin(0x3000n, PAGE);
    const before = world.state();
    world.memory.resident = () => true;
    // The first part can be filled, as soon as memory answers at once again.
    const close = world.memory.pin;
    world.memory.pin = (page, count, write, into) => world.process.pin(page, count, write, into);
    const copy = (srcIova: bigint, length: bigint) => () =>
      table.copySync({ from: lazy, srcIova, iova: 0x9000n, length, prot: 'rw' });
    expectErrorNow(copy(0x3000n, PAGE), 'EAGAIN');
    expectErrorNow(copy(0x1000n, 3n * PAGE), 'EAGAIN');
    expect(world.state()).toEqual(before);
    world.memory.pin = close;
    world.memory.open();
    await pin;
    expect(copy(0x1000n, 3n * PAGE)()).toBe(0x9000n);
    world.check();
  });

  test('unmapSync and unmapAllSync of an area whose pages are busy', async () => {
    const held = await stage({ domain: false });
    const { world, table, lazy } = held;
    await lazy.copy({ from: table, srcIova: 0x1000n, iova: 0x8000n, length: PAGE, prot: 'r' });
    const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
    await access.attach(lazy);
    world.memory.close();
    const pin = access.pin(0x8000n, PAGE);
    refusedWithoutTrace(held, 'unmapSync');
    refusedWithoutTrace(held, 'unmapAllSync');
    expect(table.unmapSync(0x3000n, PAGE)).toBe(PAGE);
    world.memory.open();
    await pin;
    world.check();
  });

  test('unmapSync and unmapAllSync of an area that is pinned, wherever it is in the range', async () => {
    const held = await stage();
    const { world, table, access } = held;
    await access.pin(0x3000n, PAGE);
    refusedWithoutTrace(held, 'unmapAllSync');
    const before = world.state();
    expectErrorNow(() => table.unmapSync(0x1000n, 3n * PAGE), 'EAGAIN');
    expect(world.state()).toEqual(before);
    expect(table.snapshot().areas[1]!.preventAccess).toBe(false);
    expect(table.unmapSync(0x1000n, 2n * PAGE)).toBe(PAGE);
    world.check();
  });

  test('unmapSync where a check fails before it would wait says so', async () => {
    const { world, table, access } = await stage();
    await access.pin(0x3000n, PAGE);
    await world.unchanged(() => {
      expectErrorNow(() => table.unmapSync(0x2800n, PAGE), 'ENOENT');
      expectErrorNow(() => table.unmapSync(0x3000n, 0x800n), 'ENOENT');
    });
  });

  test('rfc-v1 does not wait for pins: EBUSY', async () => {
    const world = new World();
    const table = world.table({ profile: 'rfc-v1' });
    await table.map({ uptr: USER, iova: 0x1000n, length: PAGE, prot: 'rw' });
    await table.access(0x1000n, PAGE);
    await world.unchanged(() => {
      expectErrorNow(() => table.unmapSync(0x1000n, PAGE), 'EBUSY');
      expectErrorNow(() => table.unmapAllSync(), 'EBUSY');
    });
  });

  test.each(['readSync', 'writeSync'])('%s of memory that is not there now, in any area', async (name) => {
    const held = await stage();
    const { world, table, access } = held;
    const other = new World();
    await table.map({ memory: other.memory, uptr: USER, iova: 0x2000n, length: PAGE, prot: 'rw' });
    world.process.write(USER, Uint8Array.of(1, 2, 3));
    other.memory.close();
    const before = [world.state(), world.process.read(USER, 16n)];
    const bytes = new Uint8Array(2 * 4096).fill(7);
    const call = () =>
      name === 'readSync' ? access.readSync(0x1000n, bytes) : access.writeSync(0x1000n, bytes);
    expectErrorNow(call, 'EAGAIN');
    expect([world.state(), world.process.read(USER, 16n)]).toEqual(before);
    expect(bytes.every((byte) => byte === 7)).toBe(true);
    expect(other.memory.pending).toEqual([]);
    other.memory.open();
    call();
    world.check();
  });

  test.each([
    ['slow', 4096],
    ['slow', 8],
    ['of another process', 8],
    ['of another process', 4096],
  ])('a transfer that is %s, %d bytes, of memory that is not there now', async (how, length) => {
    const { world, lazy } = await stage();
    const access = new IoptAccess({ needsPin: false });
    await access.attach(lazy);
    world.memory.close();
    const before = world.state();
    const options = how === 'slow' ? { slow: true } : { caller: new World().memory };
    // Frames are pinned for writing where the pages are writable, whatever the direction.
    const { resident } = world.memory;
    world.memory.resident = (_page, _count, write) => length > 8 && !write;
    expectErrorNow(() => access.readSync(0x1800n, new Uint8Array(length), options), 'EAGAIN');
    expectErrorNow(() => access.writeSync(0x1800n, new Uint8Array(length), options), 'EAGAIN');
    expect(world.state()).toEqual(before);
    expect(world.memory.pending).toEqual([]);
    world.memory.resident = resident;
    world.memory.open();
    access.writeSync(0x1800n, new Uint8Array(length), options);
    expect(world.physical.pinned).toBe(2);
    world.check();
  });

  test('a slow transfer does not wait for frames that are held already', async () => {
    const { world, lazy } = await stage();
    const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
    await access.attach(lazy);
    await access.pin(0x2000n, PAGE);
    world.memory.close();
    const read = () => access.readSync(0x1ff8n, new Uint8Array(16), { slow: true });
    expectErrorNow(read, 'EAGAIN');
    world.memory.open();
    await access.pin(0x1000n, PAGE);
    world.memory.close();
    const pins = world.memory.pins.length;
    read();
    expect(world.memory.pins).toHaveLength(pins);
  });

  test('a direct transfer does not wait for pages that are busy, a slow one does', async () => {
    const { world, lazy } = await stage();
    const [pinner, reader] = [
      new IoptAccess({ needsPin: true, onUnmap: () => undefined }),
      new IoptAccess({ needsPin: false }),
    ];
    await pinner.attach(lazy);
    await reader.attach(lazy);
    world.memory.close();
    const pin = pinner.pin(0x1000n, PAGE);
    world.memory.resident = () => true;
    world.memory.copyFromUser = (page, offset, target, at, length) =>
      world.process.copyFromUser(page, offset, target, at, length);
    expectErrorNow(
      () => reader.readSync(0x1000n, new Uint8Array(8), { slow: true, caller: world.memory }),
      'EAGAIN',
    );
    reader.readSync(0x1000n, new Uint8Array(8));
    world.memory.open();
    await pin;
    world.check();
  });
});
