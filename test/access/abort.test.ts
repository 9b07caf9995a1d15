/** Calls of accesses, aborted before, inside and after each call of the user's code: nothing of them is left. */

import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import type { PinnedRange } from '../../src/access/pinned-range.js';
import type { IoPagetable } from '../../src/io-pagetable.js';
import type { Abortable } from '../../src/operation.js';
import { settled, type Watched, watch } from '../helpers/watch.js';
import { PAGE, SCATTERED, USER, World } from '../helpers/world.js';
import { oddMemory } from '../hostile/odd-memory.js';

/** Calls of the user's code, each of which can be made the one at which the signal is aborted. */
class Turns {
  abort = new AbortController();
  /** Abort inside this one, counted from 0; answer after that, or never. */
  at = Number.POSITIVE_INFINITY;
  seen = 0;
  late = true;

  pass<T>(now: () => T): T | Promise<Awaited<T>> {
    const turn = this.seen++;
    if (turn === this.at) this.abort.abort();
    if (!this.late) return now();
    return settled().then(now) as Promise<Awaited<T>>;
  }
}

async function setting(pinned = true) {
  const world = new World(1000);
  const turns = new Turns();
  turns.late = false;
  const memory = oddMemory(world.process, {
    pin: (page, _count, write, into) => turns.pass(() => world.process.pin(page, 1, write, into)),
    frames: () => undefined,
    copyFromFrames: (pfn, _offset, target, at, length) =>
      turns.pass(() => {
        target.set(world.process.frames(pfn, 1).subarray(0, length), at);
        return length;
      }),
    copyToFrames: (_pfn, _offset, _source, _at, length) => turns.pass(() => length),
    copyFromUser: (...request) => turns.pass(() => world.process.copyFromUser(...request)),
    copyToUser: (_page, _offset, _source, _at, length) => turns.pass(() => length),
    resident: () => !turns.late,
  });
  const tables: IoPagetable[] = [world.table(), world.table()];
  const [table, other] = tables as [IoPagetable, IoPagetable];
  for (const each of tables) {
    await each.map({ iova: 0x1000n, uptr: USER, length: PAGE, prot: 'rw', memory });
    await each.map({ iova: 0x2000n, uptr: SCATTERED, length: 2n * PAGE, prot: 'rw', memory });
  }
  const access: IoptAccess = new IoptAccess({
    needsPin: true,
    onUnmap: () => turns.pass(() => undefined),
  });
  const loose = new IoptAccess({ needsPin: true, onUnmap: () => turns.pass(() => undefined) });
  await access.attach(table);
  if (pinned) await access.pin(0x1000n, 3n * PAGE);
  return { world, turns, table, other, access, loose };
}

type Setting = Awaited<ReturnType<typeof setting>>;
const caller = new World().process;

const CALLS: Record<string, (given: Setting, options: Abortable) => Promise<unknown>> = {
  attach: ({ loose, other }, options) => loose.attach(other, options),
  replace: ({ access, other }, options) => access.replace(other, options),
  detach: ({ access }, options) => access.detach(options),
  pin: ({ access }, options) => access.pin(0x1000n, 2n * PAGE, options),
  unpin: ({ access }, options) => access.unpin(0x1000n, 3n * PAGE, options),
  read: ({ access }, options) => access.read(0x1800n, new Uint8Array(5000), options),
  'read slowly': ({ access }, options) =>
    access.read(0x1800n, new Uint8Array(5000), { slow: true, ...options }),
  'read of one page': ({ access }, options) =>
    access.read(0x1800n, new Uint8Array(50), { caller, ...options }),
  write: ({ access }, options) => access.write(0x1800n, new Uint8Array(5000), options),
  'write slowly': ({ access }, options) =>
    access.write(0x1800n, new Uint8Array(5000), { slow: true, ...options }),
  access: ({ other }, options) => other.access(0x1000n, 3n * PAGE, options),
};

describe.each(Object.entries(CALLS))('%s', (name, call) => {
  // What is pinned cannot be pinned again when an access has let go.
  const prepare = () => setting(name !== 'replace' && name !== 'detach');

  test('aborted before it begins changes nothing', async () => {
    const given = await prepare();
    const before = given.world.state();
    const signal = AbortSignal.abort();
    await expect(call(given, { signal })).rejects.toBe(signal.reason);
    expect(given.world.state()).toEqual(before);
    given.world.check();
  });

  test('aborted inside each call of the code around it', async () => {
    for (let at = 0; ; at++) {
      const given = await prepare();
      const { world, turns, access, loose } = given;
      const before = world.state();
      Object.assign(turns, { at, seen: 0, late: true });
      const outcome = watch(call(given, { signal: turns.abort.signal }));
      for (let turn = 0; outcome.state === 'pending' && turn < 50; turn++) await settled();
      if (turns.seen <= at) {
        expect(outcome.state).toBe('fulfilled');
        break;
      }
      expect([outcome.state, outcome.error]).toEqual(['rejected', turns.abort.signal.reason]);
      for (let turn = 0; turn < 5; turn++) await settled();
      expect(world.state()).toEqual(before);
      world.check();
      expect([access.table, loose.table]).toEqual([given.table, undefined]);
      turns.at = Number.POSITIVE_INFINITY;
      const again = watch(call(given, {}));
      for (let turn = 0; again.state === 'pending' && turn < 50; turn++) await settled();
      expect([name, again.state]).toEqual([name, 'fulfilled']);
      world.check();
    }
  });

  test.each(['domainsLock', 'iovaLock'] as const)('aborted while it waits for the %s', async (lock) => {
    for (const which of ['table', 'other'] as const) {
      const given = await prepare();
      const { world, turns } = given;
      const before = world.state();
      await given[which].state[lock].write();
      const outcome: Watched<unknown> = watch(call(given, { signal: turns.abort.signal }));
      await settled();
      const waited = outcome.state === 'pending';
      turns.abort.abort();
      await settled();
      given[which].state[lock].releaseWrite();
      await settled();
      if (!waited) continue;
      expect([outcome.state, outcome.error]).toEqual(['rejected', turns.abort.signal.reason]);
      expect(world.state()).toEqual(before);
      await call(given, {});
      world.check();
    }
  });
});

test('an answer that is a failure, after the abort, concerns nobody', async () => {
  const { world, turns, table } = await setting();
  const access = new IoptAccess({
    needsPin: true,
    onUnmap: async () => {
      turns.abort.abort();
      throw new Error('too late');
    },
  });
  await access.attach(table);
  await expect(access.detach({ signal: turns.abort.signal })).rejects.toBe(turns.abort.signal.reason);
  await settled();
  world.check();
});

describe('PinnedRange.release', () => {
  /** A range, and a lock that the release waits for. */
  async function waiting(lock: 'unpin' | 'detach') {
    const given = await setting();
    const { other, world } = given;
    const before = world.state();
    const range = await other.access(0x1000n, 3n * PAGE);
    const blocked = lock === 'unpin' ? other.state.iovaLock : other.state.domainsLock;
    await blocked.write();
    return { ...given, before, range, blocked };
  }

  test.each(['unpin', 'detach'] as const)('aborted where it waits to %s can be repeated', async (lock) => {
    const { world, turns, range, blocked, before } = await waiting(lock);
    const release = watch(range.release({ signal: turns.abort.signal }));
    await settled();
    expect(release.state).toBe('pending');
    turns.abort.abort();
    await settled();
    expect([release.state, release.error]).toEqual(['rejected', turns.abort.signal.reason]);
    expect(range.released).toBe(lock === 'detach');
    blocked.releaseWrite();
    await range.release();
    expect(world.state()).toEqual(before);
    world.check();
  });

  test.each(['unpin', 'detach'] as const)('done twice waits for the same end (%s)', async (lock) => {
    const { world, turns, range, blocked, before } = await waiting(lock);
    const first = watch(range.release({ signal: turns.abort.signal }));
    const second = watch(range.release());
    await settled();
    expect([first.state, second.state]).toEqual(['pending', 'pending']);
    turns.abort.abort();
    await settled();
    expect([first.state, second.state]).toEqual(['rejected', 'pending']);
    blocked.releaseWrite();
    await settled();
    expect(second.state).toBe('fulfilled');
    expect(world.state()).toEqual(before);
    world.check();
  });

  test.each(['unpin', 'detach'] as const)('refused inside a pin (%s) can be repeated', async (lock) => {
    const world = new World();
    const table = world.table();
    let inside = (): void => undefined;
    const memory = oddMemory(world.process, {
      pin(...request) {
        inside();
        return world.process.pin(...request);
      },
    });
    const another = world.table();
    await world.domain(table);
    await table.map({ iova: 0x1000n, uptr: USER, length: PAGE, prot: 'rw', memory });
    await another.map({ iova: 0x1000n, uptr: SCATTERED, length: PAGE, prot: 'rw', memory });
    await another.map({ iova: 0x2000n, uptr: SCATTERED + 8n * PAGE, length: PAGE, prot: 'rw', memory });
    const blocking = lock === 'unpin' ? another : table;
    const ranges: PinnedRange[] = [
      await blocking.access(0x1000n, PAGE),
      await blocking.access(0x1000n, PAGE),
    ];
    const outcomes: Watched<void>[] = [];
    inside = () => {
      inside = () => undefined;
      outcomes.push(watch(ranges[0]!.release()));
      ranges[1]![Symbol.dispose]();
    };
    if (lock === 'unpin') await world.domain(another);
    else await table.map({ iova: 0x8000n, uptr: USER + 8n * PAGE, length: PAGE, prot: 'rw', memory });
    await settled();
    expect(outcomes[0]).toMatchObject({ state: 'rejected', error: { code: 'EDEADLOCK' } });
    expect([ranges[0]!.released, ranges[1]!.released]).toEqual([lock === 'detach', true]);
    await ranges[0]!.release();
    expect([ranges[0]!.released, blocking.snapshot().accesses]).toEqual([true, 0]);
    await blocking.unmapAll();
    world.check();
  });
});
