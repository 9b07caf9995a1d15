/** Code of others that is called with locks held, or that throws what is no error: calls end, and are undone whole. */
import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { refuse } from '../../src/errors.js';
import type { UserMemory } from '../../src/memory/user-memory.js';
import { expectError } from '../helpers/expect-error.js';
import { settled, watch } from '../helpers/watch.js';
import { PAGE, USER, World } from '../helpers/world.js';
import { oddMemory } from './odd-memory.js';

const AREA = { iova: 0x1000n, uptr: USER, length: 2n * PAGE, prot: 'rw' } as const;

describe('an undo', () => {
  test.each(['map', 'mapSync'] as const)(
    'of a %s begun inside a pin waits for the lock it needs',
    async (name) => {
      const world = new World();
      const [outer, inner] = [world.table(), world.table()];
      for (const table of [outer, inner]) await world.domain(table, new RadixDomain());
      await inner.map({ ...AREA, iova: 0x10_0000n });
      const access = new IoptAccess({ needsPin: false });
      await access.attach(inner);
      // A reader holds the lock of the inner table from the moment at which the map in it pins, and that pin fails.
      const reading: Promise<void>[] = [];
      world.memory.close();
      const failing = oddMemory(world.process, {
        pin: () => {
          reading.push(access.read(0x10_0000n, new Uint8Array(4), { slow: true, caller: world.memory }));
          throw refuse('EFAULT', 'fault', 'the pin fails');
        },
      });
      const begun: Promise<unknown>[] = [];
      const nesting = oddMemory(world.process, {
        pin: (...request) => {
          const call = async () => inner[name]({ ...AREA, memory: failing });
          begun.push(expectError(call(), 'EFAULT'));
          return world.process.pin(...request);
        },
      });
      await outer.map({ ...AREA, memory: nesting });
      await settled();
      expect(world.memory.pending).toHaveLength(1);
      world.memory.open();
      await Promise.all([...begun, ...reading]);
      await settled();
      expect(inner.snapshot().areas.map(({ iova }) => iova)).toEqual(['0x100000']);
      world.check();
    },
  );
});

describe('an access whose unmap callback answers late', () => {
  test.each([
    ['unmap', 'inside'],
    ['unmap', 'after'],
    ['detach', 'inside'],
    ['detach', 'after'],
  ])('%s is aborted %s it, and the answer is a rejection', async (name, when) => {
    const world = new World();
    const table = world.table();
    await table.map(AREA);
    const unheard: unknown[] = [];
    const hear = (reason: unknown) => unheard.push(reason);
    process.on('unhandledRejection', hear);
    try {
      const abort = new AbortController();
      const { signal } = abort;
      let reject!: (reason: unknown) => void;
      const access = new IoptAccess({
        needsPin: true,
        onUnmap: () => {
          if (when === 'inside') abort.abort('stop');
          return new Promise<void>((_, no) => {
            reject = no;
          });
        },
      });
      await access.attach(table);
      await access.pin(AREA.iova, PAGE);
      const call = watch<unknown>(
        name === 'unmap' ? table.unmap(AREA.iova, AREA.length, { signal }) : access.detach({ signal }),
      );
      await settled();
      if (when === 'after') abort.abort('stop');
      await settled();
      expect(call).toMatchObject({ state: 'rejected', error: 'stop' });
      reject(new Error('late'));
      await settled();
      expect(unheard).toEqual([]);
      await access.unpin(AREA.iova, PAGE);
      world.check();
    } finally {
      process.off('unhandledRejection', hear);
    }
  });
});

describe('what is thrown is no error', () => {
  const UNHANDLED = expect.objectContaining({ code: 'ERR_UNHANDLED_ERROR' });

  test.each([null, undefined, 0, 'no', Symbol('no'), () => 'no'])('%o gets a code', async (thrown) => {
    const world = new World();
    const table = world.table();
    const throws = () => {
      throw thrown;
    };
    const domain = await world.domain(table, new RadixDomain({ dirty: true }));
    await table.map({ ...AREA, iova: 0x10_0000n });
    await table.setDirtyTracking(domain, true);
    domain.dirty!.mark(0x10_0000n, PAGE);
    const dirty = { domain, iova: 0x10_0000n, length: PAGE, pageSize: PAGE, bitmap: throws };
    await expect(table.readDirty(dirty)).rejects.toEqual(UNHANDLED);
    const memories: UserMemory[] = [
      oddMemory(world.process, { pin: throws }),
      oddMemory(world.process, { pin: () => Promise.reject(thrown) }),
    ];
    for (const memory of memories) {
      await expect(table.map({ ...AREA, memory })).rejects.toEqual(UNHANDLED);
      await expect(table.map({ ...AREA, memory })).rejects.toHaveProperty('cause', thrown);
      world.check();
    }
    expect(() => table.mapSync({ ...AREA, memory: memories[0]! })).toThrow(UNHANDLED);
    world.check();
  });

  test('but the reason of a signal is given on as it is', async () => {
    const world = new World();
    const table = world.table();
    for (const reason of ['stop', null, 0]) {
      const signal = AbortSignal.abort(reason);
      await expect(table.map({ ...AREA, signal })).rejects.toBe(reason);
      await expect(table.unmapAll({ signal })).rejects.toBe(reason);
    }
  });
});

describe('explain', () => {
  test.each(['in the request', 'in the options'])('hears a signal %s', async (where) => {
    const world = new World();
    const table = world.table();
    await table.map(AREA);
    const { memory } = world;
    const abort = new AbortController();
    memory.close();
    const { signal } = abort;
    const request = { call: 'addDomain', domain: new RadixDomain() } as const;
    const call =
      where === 'in the request' ? table.explain({ ...request, signal }) : table.explain(request, { signal });
    const explained = watch(call);
    while (memory.pending.length === 0) await settled();
    abort.abort('stop');
    await settled();
    expect(explained).toMatchObject({ state: 'rejected', error: 'stop' });
    memory.open();
    await settled();
    expect(world.physical.pinned).toBe(0);
    world.check();
  });
});
