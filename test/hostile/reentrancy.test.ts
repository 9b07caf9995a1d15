/** Callbacks, memory and domains that call back into the table they are called by: it works or is refused. */

import { describe, expect, test } from 'vitest';
import { IoptAccess, type UnmapNotice } from '../../src/access/iopt-access.js';
import type { IommuError } from '../../src/errors.js';
import type { IoPagetable } from '../../src/io-pagetable.js';
import type { UserMemory } from '../../src/memory/user-memory.js';
import { expectError } from '../helpers/expect-error.js';
import { RecordingDomain } from '../helpers/recording-domain.js';
import { settled, watch } from '../helpers/watch.js';
import { PAGE, USER, World } from '../helpers/world.js';
import { oddMemory } from './odd-memory.js';

const AREA = { iova: 0x1000n, uptr: USER, length: 2n * PAGE, prot: 'rw' } as const;
const OTHER = { iova: 0x8000n, uptr: USER + 8n * PAGE, length: PAGE, prot: 'rw' } as const;

/** A table with an area in which an access has a pin; `onUnmap` is what it does when it is told to let go. */
async function pinned(onUnmap: (table: IoPagetable, access: IoptAccess, notice: UnmapNotice) => unknown) {
  const world = new World();
  const table = world.table();
  await world.domain(table);
  await table.map(AREA);
  let notices = 0;
  const access: IoptAccess = new IoptAccess({
    needsPin: true,
    onUnmap: async (notice) => {
      notices += 1;
      await onUnmap(table, access, notice);
    },
  });
  await access.attach(table);
  await access.pin(AREA.iova, PAGE);
  return { world, table, access, notices: () => notices };
}

describe('a callback that is told to let go', () => {
  test('may map, copy, add and remove a domain, change the options, and read', async () => {
    const { world, table, access } = await pinned(async (table, access, { iova }) => {
      if (iova !== AREA.iova) return;
      await table.map(OTHER);
      await table.copy({ from: table, srcIova: 0x8000n, iova: 0xa000n, length: PAGE, prot: 'r' });
      const domain = new RecordingDomain();
      await table.addDomain(domain);
      await table.removeDomain(domain);
      await table.reserveIova({ start: 0x10_0000n, last: 0x10_0fffn });
      await table.setAllowedIova([]);
      await access.read(0x8000n, new Uint8Array(4));
      table.unmapSync(0xa000n, PAGE);
      await access.unpin(AREA.iova, PAGE);
    });
    expect(await table.unmap(AREA.iova, AREA.length)).toBe(AREA.length);
    expect(table.snapshot().areas.map(({ iova }) => iova)).toEqual(['0x8000']);
    await access.detach();
    world.check();
  });

  test('may unmap the very range once it has let go: then the one around has nothing left to do', async () => {
    const { world, table } = await pinned(async (table, access) => {
      await access.unpin(AREA.iova, PAGE);
      expect(await table.unmap(AREA.iova, AREA.length)).toBe(AREA.length);
    });
    expect(await table.unmap(AREA.iova, AREA.length)).toBe(0n);
    expect(world.physical.pinned).toBe(0);
    world.check();
  });

  test('may unmap other areas, in which it has pins, too', async () => {
    const { world, table, access } = await pinned(async (table, access, { iova }) => {
      await access.unpin(iova, PAGE);
      if (iova === AREA.iova) expect(await table.unmapAll()).toBe(AREA.length + PAGE);
    });
    await table.map(OTHER);
    await access.pin(OTHER.iova, PAGE);
    expect(await table.unmap(AREA.iova, AREA.length)).toBe(0n);
    world.check();
  });

  test.each([
    ['and waits for it', (table: IoPagetable) => table.unmap(AREA.iova, AREA.length)],
    [
      'and waits for it later',
      async (table: IoPagetable) => {
        await settled();
        await table.unmap(AREA.iova, AREA.length);
      },
    ],
    ['as a part of everything', (table: IoPagetable) => table.unmapAll()],
  ])('that unmaps what it does not let go of %s: EDEADLOCK', async (_how, unmap) => {
    const { world, table, notices } = await pinned((table) => unmap(table));
    await world.unchanged(async () => {
      const error = await expectError(table.unmap(AREA.iova, AREA.length), 'EDEADLOCK');
      expect(error.reason).toMatchObject({ check: 'area-in-use', area: { iova: '0x1000' } });
    });
    expect(notices()).toBe(101);
  });

  test('that goes on doing so whatever it is told ends, too', async () => {
    const { world, table, access, notices } = await pinned((table) =>
      table.unmap(AREA.iova, AREA.length).catch(() => undefined),
    );
    await expectError(table.unmap(AREA.iova, AREA.length), 'EDEADLOCK');
    expect(notices()).toBeLessThan(11_000);
    await access.unpin(AREA.iova, PAGE);
    expect(await table.unmap(AREA.iova, AREA.length)).toBe(AREA.length);
    world.check();
  });

  test('that unmaps without waiting for it does not go on for ever', async () => {
    const outcomes: Promise<unknown>[] = [];
    const { table, access } = await pinned((table) => {
      outcomes.push(table.unmap(AREA.iova, AREA.length).catch((error: IommuError) => error.code));
    });
    await expectError(table.unmap(AREA.iova, AREA.length), 'EDEADLOCK');
    expect(new Set(await Promise.all(outcomes))).toEqual(new Set(['EDEADLOCK']));
    await access.unpin(AREA.iova, PAGE);
    await table.unmapAll();
  });

  test('several that unmap at the same time are told separately, and all succeed', async () => {
    const { table, notices } = await pinned(async (_table, access) => {
      await settled();
      await access.unpin(AREA.iova, PAGE).catch(() => undefined);
    });
    const bytes = await Promise.all([1, 2, 3].map(() => table.unmap(AREA.iova, AREA.length)));
    expect(bytes.reduce((sum, part) => sum + part, 0n)).toBe(AREA.length);
    expect(notices()).toBe(3);
  });

  test('may not detach or replace its access, but that is no deadlock', async () => {
    const { world, table, access } = await pinned(async (table, access) => {
      await access.unpin(AREA.iova, PAGE);
      await access.detach();
      await expectError(access.replace(table), 'ENOENT');
      await expectError(access.attach(table), 'EBUSY');
      await expectError(access.pin(AREA.iova, PAGE), 'ENOENT');
    });
    await access.detach();
    expect(access.table).toBeUndefined();
    await table.unmapAll();
    world.check();
  });

  test('of a pinned range may release it, access again, and unmap', async () => {
    const world = new World();
    const table = world.table();
    await table.map(AREA);
    await table.map(OTHER);
    const range = await table.access(AREA.iova, PAGE, {
      onUnmap: async () => {
        await range.release();
        const other = await table.access(OTHER.iova, PAGE);
        await table.unmap(OTHER.iova, PAGE);
        expect(other.released).toBe(true);
      },
    });
    expect(await table.unmap(AREA.iova, AREA.length)).toBe(AREA.length);
    expect(table.areaCount).toBe(0);
    world.check();
  });
});

describe('a callback that fails', () => {
  const failure = new Error('no');
  test.each([
    [
      'throws',
      () => {
        throw failure;
      },
    ],
    ['rejects', () => Promise.reject(failure)],
    [
      'rejects later',
      () =>
        settled().then(() => {
          throw failure;
        }),
    ],
  ])('%s: the unmap fails with that and changes nothing', async (_how, fail) => {
    const world = new World();
    const table = world.table();
    await world.domain(table);
    await table.map(AREA);
    let failing = true;
    const access: IoptAccess = new IoptAccess({
      needsPin: true,
      onUnmap: (): void | Promise<void> => (failing ? fail() : access.unpin(AREA.iova, PAGE)),
    });
    await access.attach(table);
    await access.pin(AREA.iova, PAGE);
    await world.unchanged(() => expect(table.unmap(AREA.iova, AREA.length)).rejects.toBe(failure));
    await world.unchanged(() => expect(table.unmapAll()).rejects.toBe(failure));
    const other = world.table();
    await world.unchanged(() => expect(access.replace(other)).rejects.toBe(failure));
    await world.unchanged(() => expect(access.detach()).rejects.toBe(failure));
    expect(access.table).toBe(table);
    // The area is as usable as it was.
    await access.pin(AREA.iova, 2n * PAGE);
    await access.unpin(AREA.iova, 2n * PAGE);
    failing = false;
    expect(await table.unmap(AREA.iova, AREA.length)).toBe(AREA.length);
    await access.attach(other).catch(() => undefined);
    world.check();
  });

  test('with what is no error: an error that has it as its cause', async () => {
    for (const thrown of [undefined, null, 'no', 0, Symbol('no')]) {
      const { world, table } = await pinned(() => Promise.reject(thrown));
      await world.unchanged(async () => {
        const error = await table.unmapAll().catch((reason: unknown) => reason);
        expect(error).toBeInstanceOf(Error);
        expect(error).toHaveProperty('code', 'ERR_UNHANDLED_ERROR');
        expect(error).toHaveProperty('cause', thrown);
      });
    }
  });

  test('by answering with a strange thenable', async () => {
    const twice = (settle: () => void) => {
      settle();
      settle();
      throw failure;
    };
    const strange = [5, twice].map((then) => Object.fromEntries([['then', then]]));
    for (const thenable of strange) {
      const world = new World();
      const table = world.table();
      await table.map(AREA);
      const onUnmap = () => {
        void access.unpin(AREA.iova, PAGE);
        return thenable as never;
      };
      const access: IoptAccess = new IoptAccess({ needsPin: true, onUnmap });
      await access.attach(table);
      await access.pin(AREA.iova, PAGE);
      expect(await table.unmapAll()).toBe(AREA.length);
      world.check();
    }
  });
});

/** Memory that does something else before the first time that it pins or copies; it answers later. */
function busyMemory(world: World, first: () => unknown): UserMemory {
  const { process } = world;
  let busy = false;
  async function before<T>(work: () => T): Promise<T> {
    if (!busy) {
      busy = true;
      await first();
    }
    return work();
  }
  return oddMemory(process, {
    pin: (...request) => before(() => process.pin(...request)),
    copyFromUser: (...request) => before(() => process.copyFromUser(...request)),
    copyToUser: (...request) => before(() => process.copyToUser(...request)),
    resident: () => false,
  });
}

describe('a memory that calls the table while it pins or copies', () => {
  type Inner = (table: IoPagetable, access: IoptAccess) => Promise<unknown>;
  const INNER: [string, Inner][] = [
    ['map', (table) => table.map(OTHER)],
    [
      'copy',
      (table) => table.copy({ from: table, srcIova: 0x4_0000n, iova: 0x5_0000n, length: PAGE, prot: 'r' }),
    ],
    ['unmap', (table) => table.unmap(0x4_0000n, 2n * PAGE)],
    ['addDomain', (table) => table.addDomain(new RecordingDomain())],
    ['removeDomain', (table) => table.removeDomain(new RecordingDomain())],
    ['access', (table) => table.access(0x4_0000n, PAGE)],
    ['pin', (_table, access) => access.pin(0x4_0000n, PAGE)],
    ['read', (_table, access) => access.read(0x4_0000n, new Uint8Array(1))],
    ['detach', (_table, access) => access.detach()],
    ['reserveIova', (table) => table.reserveIova({ start: 0x6_0000n, last: 0x6_ffffn })],
    ['iovaRanges', (table) => table.iovaRanges()],
    ['setLargePages', (table) => table.setLargePages(true)],
  ];
  const OUTER: [string, (table: IoPagetable, access: IoptAccess, memory: UserMemory) => Promise<unknown>][] =
    [
      ['map', (table, _access, memory) => table.map({ ...AREA, iova: 0x7_0000n, memory })],
      ['addDomain', (table) => table.addDomain(new RecordingDomain())],
      ['access', (table) => table.access(AREA.iova, PAGE)],
      ['pin', (_table, access) => access.pin(AREA.iova, PAGE)],
      ['read', (_table, access) => access.read(AREA.iova, new Uint8Array(5000))],
      [
        'read through frames',
        (_table, access) => access.read(AREA.iova, new Uint8Array(5000), { slow: true }),
      ],
    ];
  const PAIRS = OUTER.flatMap(([outer, around]) =>
    INNER.map(([inner, call]) => ({ outer, around, inner, call })),
  );

  test.each(PAIRS)('$outer around $inner: it works, or EDEADLOCK', async ({ outer, around, call }) => {
    const world = new World();
    const table = world.table();
    // A map asks the memory only where there is a domain; the other calls only where there is none.
    if (outer === 'map') await world.domain(table);
    await table.map({ ...AREA, iova: 0x4_0000n, uptr: USER + 0x40n * PAGE });
    const codes: unknown[] = [];
    const memory = busyMemory(world, async () => {
      codes.push(
        await call(table, access).then(
          () => 'done',
          (error: IommuError) => error.code,
        ),
      );
    });
    const access: IoptAccess = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
    if (outer !== 'map') await table.map({ ...AREA, memory });
    await access.attach(table);
    await around(table, access, memory);
    expect(codes).toHaveLength(1);
    expect(['done', 'EDEADLOCK']).toContain(codes[0]);
    world.check();
    // Nobody has been left behind in a queue.
    await table.reserveIova({ start: 0x9_0000n, last: 0x9_ffffn });
  });

  test('is told so: the call is its own', async () => {
    const world = new World();
    const table = world.table();
    const errors: IommuError[] = [];
    const memory = busyMemory(world, () =>
      expectError(table.addDomain(new RecordingDomain()), 'EDEADLOCK').then((error) => errors.push(error)),
    );
    await world.domain(table);
    await table.map({ ...AREA, memory });
    expect(errors[0]?.message).toMatch(/^EDEADLOCK: addDomain: the call was made by a memory while it pins/);
    expect(table.domains).toHaveLength(1);
    world.check();
  });

  test('does so after a while: the calls wait for each other, until one is aborted', async () => {
    const world = new World();
    const table = world.table();
    const abort = new AbortController();
    const memory = busyMemory(world, async () => {
      await settled();
      await table.addDomain(new RecordingDomain(), { signal: abort.signal });
    });
    await world.domain(table);
    const map = watch(table.map({ ...AREA, memory }));
    await settled();
    await settled();
    expect(map.state).toBe('pending');
    abort.abort(new Error('enough'));
    await settled();
    expect([map.state, map.error]).toEqual(['rejected', new Error('enough')]);
    expect(table.areaCount).toBe(0);
    world.check();
  });

  test('synchronously: what would have to wait is EAGAIN', async () => {
    const world = new World();
    const table = world.table();
    const outcomes: unknown[] = [];
    const memory = oddMemory(world.process, {
      pin: (...request) => {
        outcomes.push(table.mapSync(OTHER));
        outcomes.push(table.unmapAllSync());
        return world.process.pin(...request);
      },
    });
    await world.domain(table);
    // The area that is being mapped stands in the way of unmapping everything.
    await expectError(table.map({ ...AREA, memory }), 'EBUSY');
    expect(outcomes).toEqual([OTHER.iova]);
    await table.unmap(OTHER.iova, OTHER.length);
    expect(table.areaCount).toBe(0);
    world.check();
  });
});

describe('a domain that calls the table while it maps or unmaps', () => {
  class BusyDomain extends RecordingDomain {
    onMap: () => unknown = () => undefined;
    onUnmap: () => unknown = () => undefined;

    override map(...request: Parameters<RecordingDomain['map']>): void {
      this.onMap();
      super.map(...request);
    }

    override unmap(...request: Parameters<RecordingDomain['unmap']>): void {
      this.onUnmap();
      super.unmap(...request);
    }
  }

  async function busy() {
    const world = new World();
    const table = world.table();
    const domain = await world.domain(table, new BusyDomain());
    await table.map(OTHER);
    return { world, table, domain };
  }

  test('what it begins waits its turn', async () => {
    const { world, table, domain } = await busy();
    const another = new RecordingDomain();
    const begun: Promise<unknown>[] = [];
    domain.onMap = () => {
      domain.onMap = () => undefined;
      begun.push(table.addDomain(another), table.unmap(OTHER.iova, PAGE), table.removeDomain(domain));
    };
    await table.map(AREA);
    await Promise.all(begun);
    expect(table.domains).toEqual([another]);
    expect(table.snapshot().areas.map(({ iova }) => iova)).toEqual(['0x1000']);
    expect([domain.mappedBytes, another.mappedBytes]).toEqual([0n, AREA.length]);
    world.check();
  });

  test('maps and unmaps other areas at once', async () => {
    const { world, table, domain } = await busy();
    domain.onMap = () => {
      domain.onMap = () => undefined;
      table.unmapSync(OTHER.iova, PAGE);
      table.mapSync({ ...OTHER, iova: 0xa000n });
    };
    await table.map(AREA);
    domain.onUnmap = () => {
      domain.onUnmap = () => undefined;
      table.unmapSync(0xa000n, PAGE);
    };
    await table.unmap(AREA.iova, AREA.length);
    expect([table.areaCount, domain.mappedBytes]).toEqual([0, 0n]);
    world.check();
  });

  test('unmaps the area that it unmaps: EBUSY, and it stays as it is', async () => {
    const { world, table, domain } = await busy();
    domain.onUnmap = () => table.unmapSync(OTHER.iova, PAGE);
    await world.unchanged(() => expectError(table.unmap(OTHER.iova, PAGE), 'EBUSY'));
    domain.onUnmap = () => undefined;
    expect(await table.unmap(OTHER.iova, PAGE)).toBe(PAGE);
    world.check();
  });

  test('adds itself while it is being filled: EEXIST or EAGAIN', async () => {
    const world = new World();
    const table = world.table();
    await table.map(AREA);
    const domain = new BusyDomain();
    const again: unknown[] = [];
    domain.onMap = () => again.push(table.addDomain(domain).catch((error: IommuError) => error.code));
    await table.addDomain(domain);
    expect(await Promise.all(again)).toEqual(['EEXIST']);
    world.check();
  });
});
