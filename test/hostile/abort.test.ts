/** An `AbortSignal` ends a call wherever it waits, and undoes it. */
import { getEventListeners } from 'node:events';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import type { Abortable } from '../../src/operation.js';
import { RecordingDomain } from '../helpers/recording-domain.js';
import { settled, type Watched, watch } from '../helpers/watch.js';
import { PAGE, SCATTERED, USER, World } from '../helpers/world.js';

type Call = (options: Abortable) => Promise<unknown>;
type Setting = Awaited<ReturnType<typeof setting>>;

/** A call to be aborted. */
interface Stage {
  readonly world: World;
  readonly call: Call;
  /** A call that waits where the other one waits, after it. */
  readonly follower?: () => Promise<unknown>;
}

const MAP = { iova: 0x4_0000n, uptr: USER + 0x40n * PAGE, length: 4n * PAGE, prot: 'rw' } as const;

/** A table with a domain, three areas, an access with a pin in the first, and another table that shares pages. */
async function setting() {
  const world = new World(1000);
  const table = world.table();
  await world.domain(table, new RecordingDomain());
  await table.map({ iova: 0x1000n, uptr: USER, length: 2n * PAGE, prot: 'rw' });
  await table.map({ iova: 0x3000n, uptr: SCATTERED, length: 3n * PAGE, prot: 'rw' });
  const lazy = world.table();
  await lazy.map({ iova: 0x1000n, uptr: USER + 0x80n * PAGE, length: 2n * PAGE, prot: 'rw' });
  await lazy.map({ iova: 0x3000n, uptr: SCATTERED + 8n * PAGE, length: 3n * PAGE, prot: 'rw' });
  const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
  await access.attach(lazy);
  return { world, table, lazy, access };
}

/** Memory is asked for and does not answer. */
const WAITING_FOR_MEMORY: [string, () => Promise<Stage>][] = [
  [
    'map',
    async () => {
      const { world, table } = await setting();
      return { world, call: (options) => table.map({ ...MAP, ...options }) };
    },
  ],
  [
    'copy',
    async () => {
      const { world, table, lazy } = await setting();
      const request = {
        from: lazy,
        srcIova: 0x1000n,
        iova: 0x4_0000n,
        length: 5n * PAGE,
        prot: 'rw',
      } as const;
      return { world, call: (options) => table.copy({ ...request, ...options }) };
    },
  ],
  [
    'addDomain',
    async () => {
      const { world, lazy } = await setting();
      const domain = new RecordingDomain({ aperture: { start: 0x1000n, last: 0xffffffn } });
      world.domains.push(domain);
      return { world, call: (options) => lazy.addDomain(domain, options) };
    },
  ],
  [
    'access',
    async () => {
      const { world, lazy } = await setting();
      return { world, call: (options) => lazy.access(0x1000n, 5n * PAGE, options) };
    },
  ],
  [
    'pin',
    async () => {
      const { world, access } = await setting();
      return { world, call: (options) => access.pin(0x1000n, 5n * PAGE, options) };
    },
  ],
  ...(['read', 'write'] as const).flatMap((direction): [string, () => Promise<Stage>][] => [
    [
      `${direction} as the process does`,
      async () => {
        const { world, access } = await setting();
        return { world, call: (options) => access[direction](0x1000n, new Uint8Array(9000), options) };
      },
    ],
    [
      `${direction} through frames`,
      async () => {
        const { world, access } = await setting();
        const buffer = new Uint8Array(9000);
        return { world, call: (options) => access[direction](0x1000n, buffer, { slow: true, ...options }) };
      },
    ],
    [
      `${direction} of one page of another process`,
      async () => {
        const { world, access } = await setting();
        const caller = new World().process;
        return {
          world,
          call: (options) => access[direction](0x1000n, new Uint8Array(90), { caller, ...options }),
        };
      },
    ],
  ]),
];

describe('while memory does not answer', () => {
  test.each(WAITING_FOR_MEMORY)('%s: at each of its questions', async (_name, prepare) => {
    for (let answered = 0; ; answered++) {
      const { world, call } = await prepare();
      world.memory.mostPerPin = 2;
      const before = world.state();
      world.memory.close();
      const abort = new AbortController();
      const outcome = watch(call({ signal: abort.signal }));
      for (let at = 0; at < answered; at++) {
        world.memory.pending[0]?.settle();
        await settled();
      }
      if (outcome.state === 'fulfilled') {
        expect(answered).toBeGreaterThan(0);
        break;
      }
      expect(world.memory.pending).toHaveLength(1);
      abort.abort();
      await settled();
      expect([outcome.state, outcome.error]).toEqual(['rejected', abort.signal.reason]);
      expect(abort.signal.reason).toMatchObject({ name: 'AbortError' });
      expect(world.state()).toEqual(before);
      // What comes too late is given back.
      world.memory.open();
      await settled();
      expect(world.state()).toEqual(before);
      world.check();
      await call({});
      world.check();
    }
  });

  test('and never answers, nothing is held up', async () => {
    const { world, table, lazy } = await setting();
    const call = table.map.bind(table);
    const silent: typeof world.memory = Object.assign(Object.create(world.memory), {
      pin: () => new Promise<number>(() => undefined),
    });
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(call({ ...MAP, memory: silent, signal })).rejects.toBe(signal.reason);
    const abort = new AbortController();
    const map = watch(call({ ...MAP, memory: silent, signal: abort.signal }));
    const domain = watch(table.addDomain(new RecordingDomain()));
    const unmap = watch(table.unmap(0x1000n, 2n * PAGE));
    await settled();
    expect([map.state, domain.state, unmap.state]).toEqual(['pending', 'pending', 'pending']);
    abort.abort('changed my mind');
    await settled();
    expect([map.state, map.error]).toEqual(['rejected', 'changed my mind']);
    expect([domain.state, unmap.state]).toEqual(['fulfilled', 'fulfilled']);
    await lazy.unmapAll();
    await table.unmapAll();
    expect(world.physical.pinned).toBe(0);
    world.check();
  });
});

/** A setting in which a call holds locks because the memory does not answer it. */
async function held(block: (given: Setting & { domain: RecordingDomain }) => unknown) {
  const given = await setting();
  const { world, lazy } = given;
  const second = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
  await second.attach(lazy);
  const domain = new RecordingDomain();
  const another = new RecordingDomain();
  world.domains.push(domain, another);
  world.memory.close();
  void block({ ...given, domain });
  return { ...given, second, another };
}

const pinning = () => held(({ access }) => access.pin(0x3000n, PAGE));
const filling = () => held(({ lazy, domain }) => lazy.addDomain(domain));
/** The domains lock of `table` is held for reading, and somebody wants it for writing. */
const mapping = () =>
  held(({ table, domain }) => {
    void table.map({ ...MAP, iova: 0x8_0000n });
    void table.addDomain(domain);
  });

/** Pages of `lazy` that a pin holds the lock of are in `table`, too. */
const sharing = async () => {
  const given = await setting();
  const { world, table, lazy, access } = given;
  await table.copy({ from: lazy, srcIova: 0x3000n, iova: 0x6_0000n, length: 2n * PAGE, prot: 'rw' });
  const another = new RecordingDomain();
  world.domains.push(another);
  world.memory.close();
  void access.pin(0x3000n, 3n * PAGE);
  return { ...given, another };
};

const WAITING_FOR_A_LOCK: [string, () => Promise<Stage & { follower: () => Promise<unknown> }>][] = [
  [
    'map, of the iova lock',
    async () => {
      const { world, lazy } = await pinning();
      return {
        world,
        call: (options) => lazy.map({ ...MAP, ...options }),
        follower: () => lazy.iovaRanges(),
      };
    },
  ],
  [
    'map, of the domains lock',
    async () => {
      const { world, table } = await mapping();
      return {
        world,
        call: (options) => table.map({ ...MAP, ...options }),
        follower: () => table.unmap(0n, 1n),
      };
    },
  ],
  [
    'copy, of the lock of its source',
    async () => {
      const { world, table, lazy } = await filling();
      const request = { from: lazy, srcIova: 0x1000n, iova: 0x4_0000n, length: PAGE, prot: 'rw' } as const;
      return {
        world,
        call: (options) => table.copy({ ...request, ...options }),
        follower: () => lazy.iovaRanges(),
      };
    },
  ],
  [
    'copy, of the pages, with a domain to be filled',
    async () => {
      const { world, table, lazy, second } = await pinning();
      const request = {
        from: lazy,
        srcIova: 0x3000n,
        iova: 0x4_0000n,
        length: 2n * PAGE,
        prot: 'rw',
      } as const;
      return {
        world,
        call: (options) => table.copy({ ...request, ...options }),
        follower: () => second.read(0x3000n, new Uint8Array(10), { slow: true }),
      };
    },
  ],
  [
    'unmap, of the iova lock',
    async () => {
      const { world, lazy } = await pinning();
      return {
        world,
        call: (options) => lazy.unmap(0x1000n, 2n * PAGE, options),
        follower: () => lazy.iovaRanges(),
      };
    },
  ],
  [
    'unmapAll, of the domains lock',
    async () => {
      const { world, lazy } = await filling();
      return { world, call: (options) => lazy.unmapAll(options), follower: () => lazy.iovaRanges() };
    },
  ],
  [
    'unmap, of the pages',
    async () => {
      const { world, table } = await sharing();
      return {
        world,
        call: (options) => table.unmap(0x6_0000n, 2n * PAGE, options),
        follower: () =>
          table.addDomain(new RecordingDomain({ aperture: { start: 0n, last: 1n } })).catch(() => 0),
      };
    },
  ],
  [
    'addDomain, of the pages',
    async () => {
      const { world, table, another } = await sharing();
      return {
        world,
        call: (options) => table.addDomain(another, options),
        follower: () => table.iovaRanges(),
      };
    },
  ],
  [
    'addDomain, of the iova lock',
    async () => {
      const { world, lazy, another } = await pinning();
      return {
        world,
        call: (options) => lazy.addDomain(another, options),
        follower: () => lazy.iovaRanges(),
      };
    },
  ],
  [
    'addDomain, of the domains lock',
    async () => {
      const { world, lazy, another } = await filling();
      return {
        world,
        call: (options) => lazy.addDomain(another, options),
        follower: () => lazy.iovaRanges(),
      };
    },
  ],
  [
    'access, of the iova lock',
    async () => {
      const { world, lazy } = await pinning();
      return {
        world,
        call: (options) => lazy.access(0x1000n, PAGE, options),
        follower: () => lazy.iovaRanges(),
      };
    },
  ],
  [
    'pin, of the access',
    async () => {
      const { world, access } = await pinning();
      return {
        world,
        call: (options) => access.pin(0x1000n, PAGE, options),
        follower: () => access.unpin(0x3000n, PAGE),
      };
    },
  ],
  [
    'pin, of the iova lock',
    async () => {
      const { world, lazy, second } = await filling();
      return {
        world,
        call: (options) => second.pin(0x1000n, PAGE, options),
        follower: () => lazy.iovaRanges(),
      };
    },
  ],
  [
    'pin, of the pages',
    async () => {
      const { world, second } = await pinning();
      return {
        world,
        call: (options) => second.pin(0x3000n, 2n * PAGE, options),
        follower: () => second.read(0x3000n, new Uint8Array(10), { slow: true }),
      };
    },
  ],
  [
    'write, of the pages',
    async () => {
      const { world, second } = await pinning();
      return {
        world,
        call: (options) => second.write(0x3000n, new Uint8Array(10), { slow: true, ...options }),
        follower: () => second.read(0x3000n, new Uint8Array(10), { slow: true }),
      };
    },
  ],
];

describe('while another call holds a lock', () => {
  test.each(WAITING_FOR_A_LOCK)('%s', async (_name, prepare) => {
    const { world, call, follower } = await prepare();
    await settled();
    const before = world.state();
    const abort = new AbortController();
    const outcome = watch(call({ signal: abort.signal }));
    await settled();
    const following = watch(follower());
    await settled();
    expect([outcome.state, following.state]).toEqual(['pending', 'pending']);
    abort.abort();
    await settled();
    expect([outcome.state, outcome.error]).toEqual(['rejected', abort.signal.reason]);
    expect(world.state()).toEqual(before);
    world.memory.open();
    await settled();
    expect(following.state).toBe('fulfilled');
    world.check();
    await call({});
    world.check();
  });

  test('the rejection waits until what was done could be undone', async () => {
    const { world, table } = await setting();
    const before = world.state();
    const reader = new IoptAccess({ needsPin: false });
    await reader.attach(table);
    world.memory.close();
    const abort = new AbortController();
    const map = watch(table.map({ ...MAP, signal: abort.signal }));
    // It has the iova lock for reading when the map, with its domains filled, wants to publish its areas.
    const read = watch(reader.read(0x1000n, new Uint8Array(10)));
    world.memory.pending.find(({ kind }) => kind === 'pin')!.settle();
    await settled();
    expect([map.state, read.state]).toEqual(['pending', 'pending']);
    abort.abort();
    await settled();
    // The domains are empty again, but the areas can be removed only when the reader is through.
    expect([map.state, world.physical.pinned]).toEqual(['pending', 5]);
    world.memory.open();
    await settled();
    expect([map.state, map.error, read.state]).toEqual(['rejected', abort.signal.reason, 'fulfilled']);
    await reader.detach();
    expect(world.state()).toEqual(before);
    await table.map(MAP);
    world.check();
  });

  test('a map that fails, and is aborted while it undoes that, is undone all the same', async () => {
    const { world, table } = await setting();
    const before = world.state();
    const reader = new IoptAccess({ needsPin: false });
    await reader.attach(table);
    world.memory.close();
    const abort = new AbortController();
    const map = watch(table.map({ ...MAP, signal: abort.signal }));
    void reader.read(0x1000n, new Uint8Array(10));
    const failure = new Error('no such page');
    world.memory.pending.find(({ kind }) => kind === 'pin')!.fail(failure);
    await settled();
    expect(map.state).toBe('pending');
    abort.abort();
    world.memory.open();
    await settled();
    expect([map.state, map.error]).toEqual(['rejected', failure]);
    await reader.detach();
    expect(world.state()).toEqual(before);
    world.check();
  });
});

describe('while a callback does not answer', () => {
  test.each(['unmap', 'unmapAll'] as const)('%s', async (name) => {
    const { world, lazy } = await setting();
    let notices = 0;
    const access: IoptAccess = new IoptAccess({
      needsPin: true,
      onUnmap: (): Promise<void> => {
        notices += 1;
        return notices === 1 ? new Promise(() => undefined) : access.unpin(0x3000n, PAGE);
      },
    });
    await access.attach(lazy);
    await access.pin(0x3000n, PAGE);
    const before = world.state();
    const call: Call = (options) =>
      name === 'unmap' ? lazy.unmap(0x3000n, 3n * PAGE, options) : lazy.unmapAll(options);
    const abort = new AbortController();
    const unmap = watch(call({ signal: abort.signal }));
    await settled();
    expect([unmap.state, notices]).toEqual(['pending', 1]);
    abort.abort();
    await settled();
    expect([unmap.state, unmap.error]).toEqual(['rejected', abort.signal.reason]);
    // What lies before the area that the callback is about is gone, as with any unmap that stops half-way.
    if (name === 'unmap') expect(world.state()).toEqual(before);
    expect(lazy.snapshot().areas.at(-1)).toMatchObject({ iova: '0x3000', preventAccess: false, pins: 1 });
    await access.pin(0x4000n, PAGE);
    await access.unpin(0x4000n, PAGE);
    await call({});
    expect(lazy.snapshot().areas.map(({ iova }) => iova)).not.toContain('0x3000');
    world.check();
  });
});

describe('a signal', () => {
  const ALL: [string, (given: Setting, options: Abortable) => Promise<unknown>][] = [
    ['map', ({ table }, options) => table.map({ ...MAP, ...options })],
    [
      'copy',
      ({ table, lazy }, options) =>
        table.copy({ from: lazy, srcIova: 0x1000n, length: PAGE, prot: 'r', ...options }),
    ],
    ['unmap', ({ table }, options) => table.unmap(0x1000n, 2n * PAGE, options)],
    ['unmapAll', ({ table }, options) => table.unmapAll(options)],
    ['access', ({ lazy }, options) => lazy.access(0x1000n, PAGE, options)],
    ['addDomain', ({ lazy }, options) => lazy.addDomain(new RecordingDomain(), options)],
    ['pin', ({ access }, options) => access.pin(0x1000n, PAGE, options)],
    ['read', ({ access }, options) => access.read(0x1000n, new Uint8Array(10), options)],
    ['write', ({ access }, options) => access.write(0x1000n, new Uint8Array(10), options)],
  ];

  test.each(ALL)('%s: aborted already, it ends the call before anything happens', async (_name, call) => {
    const given = await setting();
    await given.world.unchanged(async () => {
      const signal = AbortSignal.abort();
      await expect(call(given, { signal })).rejects.toBe(signal.reason);
    });
  });

  test.each(ALL)('%s: not aborted, or too late, it changes nothing', async (_name, call) => {
    const given = await setting();
    const abort = new AbortController();
    const done = call(given, { signal: abort.signal });
    // Nothing had to be waited for: the call is over.
    abort.abort();
    await done;
    given.world.check();
  });

  test.each(ALL)('%s: must be one', async (_name, call) => {
    const given = await setting();
    for (const signal of [null, 1, 'abort', {}, { aborted: true }, new AbortController()]) {
      await given.world.unchanged(async () => {
        const outcome = call(given, { signal: signal as AbortSignal });
        await expect(outcome).rejects.toMatchObject({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' });
      });
    }
  });

  test('leaves no listener behind', async () => {
    const { world, table } = await setting();
    const { signal } = new AbortController();
    let listeners = 0;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...listener: Parameters<typeof add>) => {
      listeners += 1;
      add(...listener);
    };
    signal.removeEventListener = (...listener: Parameters<typeof remove>) => {
      listeners -= 1;
      remove(...listener);
    };
    world.memory.mostPerPin = 1;
    world.memory.close();
    const map = watch(table.map({ ...MAP, signal }));
    while (map.state === 'pending') {
      expect(listeners).toBe(1);
      world.memory.pending[0]!.settle();
      await settled();
    }
    expect([map.state, listeners]).toEqual(['fulfilled', 0]);
  });
});

describe('one signal', () => {
  test('for any number of waiting calls has one listener, and stops them all', async () => {
    const { world, table } = await setting();
    const abort = new AbortController();
    const warnings: Error[] = [];
    const warned = (warning: Error) => warnings.push(warning);
    process.on('warning', warned);
    const before = world.state();
    world.memory.close();
    const maps = Array.from({ length: 40 }, (_, at) =>
      watch(table.map({ ...MAP, iova: 0x10_0000n + BigInt(at) * 4n * PAGE, signal: abort.signal })),
    );
    await settled();
    expect(getEventListeners(abort.signal, 'abort')).toHaveLength(1);
    abort.abort();
    await settled();
    process.off('warning', warned);
    expect(maps.map(({ error }) => error)).toEqual(maps.map(() => abort.signal.reason));
    expect(getEventListeners(abort.signal, 'abort')).toHaveLength(0);
    expect(warnings).toEqual([]);
    world.memory.open();
    await settled();
    expect(world.state()).toEqual(before);
    world.check();
  });

  test('is read once', async () => {
    const { world, table } = await setting();
    world.memory.close();
    let reads = 0;
    const options = {
      ...MAP,
      get signal(): AbortSignal | undefined {
        reads += 1;
        return reads > 1 ? (Reflect.construct(Object, []) as AbortSignal) : undefined;
      },
    };
    const map = watch(table.map(options));
    world.memory.open();
    await settled();
    expect([map.state, reads]).toEqual(['fulfilled', 1]);
    world.check();
  });
});

test('any number of calls, aborted at any time, leave nothing behind', async () => {
  const step = fc.record({
    call: fc.constantFrom('map', 'copy', 'unmap', 'addDomain', 'access', 'pin', 'read'),
    place: fc.nat(3),
    /** After how many other steps it is aborted. */
    patience: fc.option(fc.nat(4)),
    /** How many waiting questions the memory answers next. */
    answers: fc.nat(2),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 2, maxLength: 14 }), async (steps) => {
      const { world, table, lazy, access } = await setting();
      const calls: Record<
        (typeof steps)[number]['call'],
        (place: bigint, options: Abortable) => Promise<unknown>
      > = {
        map: (at, options) => table.map({ ...MAP, iova: 0x4_0000n + at * 2n * PAGE, ...options }),
        copy: (at, options) =>
          table.copy({ from: lazy, srcIova: 0x2000n + at * PAGE, length: 2n * PAGE, prot: 'rw', ...options }),
        unmap: (at, options) => (at < 2n ? table : lazy).unmap(at % 2n ? 0n : 0x3000n, 0x8_0000n, options),
        addDomain: (at, options) => (at < 2n ? table : lazy).addDomain(new RecordingDomain(), options),
        access: (at, options) =>
          lazy.access(0x1000n + at * PAGE, 2n * PAGE, options).then((range) => range.release()),
        pin: (at, options) =>
          access.pin(0x1000n + at * PAGE, PAGE, options).then(() => access.unpin(0x1000n + at * PAGE, PAGE)),
        read: (at, options) =>
          access.read(0x1000n + at * PAGE, new Uint8Array(5000), { slow: at % 2n === 0n, ...options }),
      };
      world.memory.mostPerPin = 2;
      world.memory.close();
      const outcomes: Watched<unknown>[] = [];
      const aborts: { at: number; abort: AbortController }[] = [];
      for (const [number, { call, place, patience, answers }] of steps.entries()) {
        const abort = new AbortController();
        outcomes.push(watch(calls[call](BigInt(place), { signal: abort.signal })));
        if (patience !== null) aborts.push({ at: number + patience, abort });
        for (let count = 0; count < answers; count++) {
          world.memory.pending[0]?.settle();
          await settled();
        }
        for (const { at, abort } of aborts) if (at === number) abort.abort();
      }
      await settled();
      for (const { abort } of aborts) abort.abort();
      world.memory.open();
      await settled();
      expect(outcomes.filter(({ state }) => state === 'pending')).toEqual([]);
      world.check();
      await table.unmapAll();
      await lazy.unmapAll();
      world.check();
      expect([world.physical.pinned, world.process.locked?.user.lockedPages]).toEqual([0, 0]);
    }),
  );
});
