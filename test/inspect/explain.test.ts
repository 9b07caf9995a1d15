import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import type { Explanation } from '../../src/explain/explanation.js';
import { IoPagetable } from '../../src/io-pagetable.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import { PROFILES } from '../../src/rules.js';
import { expectError } from '../helpers/expect-error.js';
import { propertyRuns } from '../helpers/property-runs.js';
import { settled, watch } from '../helpers/watch.js';
import { NOWHERE, USER, World } from '../helpers/world.js';
import {
  type Asked,
  ExplainWorld,
  isAsked,
  type Operation,
  operations,
  type WorldOptions,
} from './explain-world.js';

const { PROPERTY_SEED, PROPERTY_PATH } = process.env;
const seed = Number(PROPERTY_SEED ?? 20220318);

/** A world in which operations have been made. */
async function worldAfter(options: WorldOptions, made: readonly Operation[]): Promise<ExplainWorld> {
  const world = new ExplainWorld(options);
  for (const op of made) await world.run(op);
  return world;
}

/** Asks about a call, shows that nothing has changed, makes the call, and compares. */
async function askAndMake(world: ExplainWorld, op: Asked): Promise<Explanation> {
  const before = world.state();
  const explanation = await world.explain(op);
  expect(world.state()).toEqual(before);
  const pinned = world.memory.physical.pinned;
  const { value, error } = await world.run(op);
  if (error === undefined) {
    expect(explanation).toMatchObject({ ok: true });
    if (op.op === 'map' || op.op === 'copy') expect(explanation).toMatchObject({ iova: value });
    if (op.op === 'unmap') expect(explanation).toMatchObject({ unmapped: value });
    else
      expect(explanation).toMatchObject({
        pinnedBytes: BigInt(world.memory.physical.pinned - pinned) * 0x1000n,
      });
  } else {
    const { code, errno, reason, unmapped } = error;
    expect(explanation).toMatchObject({
      ok: false,
      code,
      errno,
      reason,
      ...(unmapped === undefined ? {} : { unmapped }),
    });
    expect(explanation.text).toContain(code);
  }
  return explanation;
}

async function agrees(options: WorldOptions, ops: readonly Operation[]): Promise<void> {
  const world = new ExplainWorld(options);
  for (const [at, op] of ops.entries()) {
    if (!isAsked(op) || world.elsewhere(op)) {
      await world.run(op);
      continue;
    }
    const explanation = await askAndMake(world, op);
    world.check();
    if (explanation.ok) continue;
    for (const { steps } of explanation.alternatives) {
      const again = await worldAfter(options, ops.slice(0, at));
      for (const step of steps) await again.apply(step, op);
      again.check();
    }
  }
}

function property(name: string, runs: number, options: WorldOptions): void {
  test(name, () =>
    fc.assert(
      fc.asyncProperty(operations, (ops) => agrees(options, ops)),
      {
        seed,
        numRuns: propertyRuns(runs),
        ...(PROPERTY_PATH === undefined ? {} : { path: PROPERTY_PATH }),
      },
    ),
  );
}

describe('what it says is what happens, and what it suggests works', () => {
  for (const profile of PROFILES) property(profile, 200, { profile });
  property('with little locked memory', 150, { profile: 'linux-6.12', lockedPages: 5 });
});

const RAM = 0x100000n;

async function tableWith(options: { lockedLimit?: bigint; domain?: boolean } = {}) {
  const { lockedLimit, domain = true } = options;
  const memory = new ProcessMemory(lockedLimit === undefined ? {} : { lockedLimit });
  memory.mmap({ uptr: RAM, length: 0x10000n });
  const table = new IoPagetable({ memory });
  if (domain) await table.addDomain(new RadixDomain());
  return { memory, table };
}

function steps(explanation: Explanation): (readonly unknown[])[] {
  return explanation.ok ? [] : explanation.alternatives.map((alternative) => [...alternative.steps]);
}

describe('what it says', () => {
  test('a map over an area: the area, the next free place, and what to unmap first', async () => {
    const { table } = await tableWith();
    await table.map({ iova: 0x4000n, uptr: RAM, length: 0x2000n, prot: 'rw' });
    await table.map({ iova: 0x6000n, uptr: RAM, length: 0x1000n, prot: 'rw' });
    const call = { call: 'map', iova: 0x5000n, uptr: RAM, length: 0x2000n, prot: 'rw' } as const;
    const explanation = await table.explain(call);
    expect(explanation).toMatchObject({
      ok: false,
      code: 'EEXIST',
      errno: -17,
      reason: { check: 'overlap', area: { iova: '0x4000', last: '0x5fff', uptr: '0x100000' } },
      areas: [
        { iova: '0x4000', last: '0x5fff' },
        { iova: '0x6000', last: '0x6fff' },
      ],
    });
    expect(steps(explanation)).toEqual([
      [{ ...call, iova: 0x8000n }],
      [{ call: 'unmap', iova: 0x4000n, length: 0x3000n }, call],
    ]);
    expect(explanation.text).toBe(
      'map [0x5000, 0x6fff] from user 0x100000 (rw) would fail with EEXIST: area [0x4000, 0x5fff] (mapped from ' +
        'user address 0x100000) is already mapped there; unmap it first or choose another IOVA. Instead: use IOVA ' +
        '0x8000, the next free IOVA that suits 0x2000 bytes; or unmap [0x4000, 0x6fff] first (2 areas), then repeat ' +
        'the call.',
    );
  });

  test('an unmap of a part: the whole, the inside, the split, and the way around it', async () => {
    const { table } = await tableWith({ domain: false });
    await table.map({ iova: 0x1000n, uptr: RAM, length: 0x3000n, prot: 'rw' });
    await table.map({ iova: 0x4000n, uptr: RAM, length: 0x1000n, prot: 'rw' });
    await table.map({ iova: 0x5000n, uptr: RAM + 0x3000n, length: 0x3000n, prot: 'r' });
    const call = { call: 'unmap', iova: 0x3000n, length: 0x3000n } as const;
    const split = await table.explain(call);
    expect(split).toMatchObject({ ok: false, code: 'ENOENT', unmapped: 0n });
    expect(steps(split)).toEqual([
      [{ call: 'unmap', iova: 0x1000n, length: 0x7000n }],
      [{ call: 'unmap', iova: 0x4000n, length: 0x1000n }],
      [{ call: 'cutIova', addresses: [0x2fffn, 0x5fffn] }, call],
      [
        { call: 'unmap', iova: 0x1000n, length: 0x7000n },
        { call: 'map', iova: 0x1000n, uptr: RAM, length: 0x2000n, prot: 'rw' },
        { call: 'map', iova: 0x6000n, uptr: RAM + 0x4000n, length: 0x2000n, prot: 'r' },
      ],
    ]);
    // With a domain and large pages areas cannot be split, so that is not suggested.
    await table.addDomain(new RadixDomain());
    expect(steps(await table.explain(call))).toHaveLength(3);
    expect((await table.explain(call)).text).not.toContain('split');
    // Without large pages they can.
    const small = await tableWith({ domain: false });
    await small.table.setLargePages(false);
    await small.table.addDomain(new RadixDomain());
    await small.table.map({ iova: 0x1000n, uptr: RAM, length: 0x3000n, prot: 'rw' });
    expect((await small.table.explain({ ...call, length: 0x1000n })).text).toContain(
      'split behind 0x2fff (cutIova)',
    );
  });

  test('an unmap that fails half-way: what goes all the same', async () => {
    const { table } = await tableWith();
    await table.map({ iova: 0x1000n, uptr: RAM, length: 0x1000n, prot: 'rw' });
    await table.map({ iova: 0x4000n, uptr: RAM, length: 0x2000n, prot: 'rw' });
    const explanation = await table.explain({ call: 'unmap', iova: 0, length: 0x5000 });
    expect(explanation).toMatchObject({ ok: false, unmapped: 0x1000n });
    expect(explanation.text).toContain('0x1000 bytes in front of it would be removed all the same');
  });

  test('an unmap of nothing succeeds, and what the ioctl makes of it', async () => {
    const { table } = await tableWith();
    const explanation = await table.explain({ call: 'unmap', iova: 0x1000, length: 0x1000 });
    expect(explanation).toMatchObject({ ok: true, unmapped: 0n });
    expect(explanation.text).toContain('IOMMU_IOAS_UNMAP says ENOENT');
  });

  test('locked memory: the limit that is missing, exactly', async () => {
    const { memory, table } = await tableWith({ lockedLimit: 0x3000n });
    await table.map({ uptr: RAM, length: 0x2000n, prot: 'rw' });
    const call = { call: 'map', iova: 0x10000n, uptr: RAM, length: 0x4000n, prot: 'rw' } as const;
    const explanation = await table.explain(call);
    expect(explanation).toMatchObject({
      code: 'ENOMEM',
      reason: { check: 'locked-memory', neededBytes: 0x4000n },
    });
    const limit = { call: 'raise-locked-limit', of: 'user', limitBytes: 0x6000n, missingBytes: 0x3000n };
    expect(steps(explanation)).toEqual([[limit, call]]);
    memory.locked!.user.limitPages = 5;
    expect(await table.explain(call)).toMatchObject({ ok: false });
    memory.locked!.user.limitPages = 6;
    expect(await table.explain(call)).toMatchObject({ ok: true, iova: 0x10000n, pinnedBytes: 0x4000n });
  });

  test('user memory: all that is missing, and what is in front of it', async () => {
    const { memory, table } = await tableWith();
    memory.munmap(RAM + 0x2000n, 0x2000n);
    memory.protect(RAM + 0x6000n, 0x1000n, false);
    const call = { call: 'map', iova: 0x10000n, uptr: RAM, length: 0x8000n, prot: 'rw' } as const;
    const explanation = await table.explain(call);
    expect(explanation).toMatchObject({ code: 'EFAULT', reason: { check: 'memory', uptr: '0x102000' } });
    expect(steps(explanation)).toEqual([
      [{ ...call, length: 0x2000n }],
      [
        { call: 'provide-memory', uptr: RAM + 0x2000n, length: 0x2000n, writable: true },
        { call: 'provide-memory', uptr: RAM + 0x6000n, length: 0x1000n, writable: true },
        call,
      ],
    ]);
  });

  test('no hole that is large enough: what there is room for', async () => {
    const { table } = await tableWith();
    await table.removeDomain(table.domains[0]!);
    await table.addDomain(new RadixDomain({ aperture: { start: 0x1000n, last: 0x8fffn } }));
    await table.map({ iova: 0x3000n, uptr: RAM, length: 0x1000n, prot: 'rw' });
    const explanation = await table.explain({ call: 'map', uptr: RAM, length: 0x8000n, prot: 'rw' });
    expect(explanation).toMatchObject({ code: 'ENOSPC' });
    expect(steps(explanation)).toEqual([
      [{ call: 'map', uptr: RAM, iova: 0x4000n, length: 0x5000n, prot: 'rw' }],
    ]);
    expect(explanation.text).toContain('the largest hole, [0x4000, 0x8fff], has room for 0x5000 bytes');
  });

  test('pins: whose areas would be asked for', async () => {
    const { table } = await tableWith();
    await table.map({ iova: 0x1000n, uptr: RAM, length: 0x2000n, prot: 'rw' });
    const asked = vi.fn();
    const held = await table.access(0x2000n, 0x1000n, { onUnmap: asked });
    const unmap = await table.explain({ call: 'unmap', iova: 0x1000n, length: 0x2000n });
    expect(unmap).toMatchObject({ ok: true, unmapped: 0x2000n, letGo: [{ iova: '0x1000', last: '0x2fff' }] });
    expect(unmap.text).toContain('let go when they are asked to (else EDEADLOCK)');
    const map = await table.explain({ call: 'map', iova: 0x1000n, uptr: RAM, length: 0x1000n, prot: 'rw' });
    expect(map.text).toContain('if the accesses with pins there let go');
    expect(asked).not.toHaveBeenCalled();
    expect(held.released).toBe(false);
    await expect(table.unmap(0x1000n, 0x2000n)).rejects.toMatchObject({ code: 'EDEADLOCK' });
    const closed = await table.explain({ call: 'access', iova: 0x2000n, length: 0x1000n });
    expect(closed).toMatchObject({ ok: false, code: 'EINVAL', alternatives: [] });
    await held.release();
  });

  test('a domain: the areas that it does not suit', async () => {
    const { table } = await tableWith({ domain: false });
    await table.map({ iova: 0x800n, uptr: RAM + 0x800n, length: 0x800n, prot: 'rw' });
    await table.map({ iova: 0x9000n, uptr: RAM, length: 0x1000n, prot: 'rw' });
    const domain = new RadixDomain({ aperture: { start: 0n, last: 0x8fffn } });
    const explanation = await table.explain({ call: 'addDomain', domain });
    expect(explanation).toMatchObject({ code: 'EADDRINUSE', reason: { check: 'alignment' }, areas: [] });
    expect(steps(explanation)).toEqual([
      [
        { call: 'unmap', iova: 0x800n, length: 0x800n },
        { call: 'unmap', iova: 0x9000n, length: 0x1000n },
        { call: 'addDomain' },
      ],
    ]);
    expect(domain.mappedBytes).toBe(0n);
  });

  test('a domain with a smaller aperture: what can still be allowed', async () => {
    const { table } = await tableWith({ domain: false });
    await table.setAllowedIova([
      { start: 0x1000n, last: 0x3fffn },
      { start: 0x8000n, last: 0xbfffn },
      { start: 0xe000n, last: 0xffffn },
    ]);
    const domain = new RadixDomain({ aperture: { start: 0x2000n, last: 0x9fffn } });
    const explanation = await table.explain({ call: 'addDomain', domain });
    expect(explanation).toMatchObject({ code: 'EADDRINUSE', reason: { check: 'allowed' } });
    const ranges = [
      { start: 0x2000n, last: 0x3fffn },
      { start: 0x8000n, last: 0x9fffn },
    ];
    expect(steps(explanation)).toEqual([[{ call: 'setAllowedIova', ranges }, { call: 'addDomain' }]]);
    await table.setAllowedIova(ranges);
    await table.addDomain(domain);
  });

  test('an access: where it may begin, how far it may go, and what it may do', async () => {
    const { table } = await tableWith();
    await table.map({ iova: 0x1000n, uptr: RAM, length: 0x2000n, prot: 'r' });
    const call = { call: 'access', iova: 0x1800n, length: 0x100n, write: false } as const;
    expect(steps(await table.explain(call))).toEqual([[{ ...call, iova: 0x1000n, length: 0x900n }]]);
    const long = { ...call, iova: 0x2000n, length: 0x2000n };
    expect(steps(await table.explain(long))).toEqual([[{ ...long, length: 0x1000n }]]);
    const write = { ...long, length: 0x1000n, write: true };
    expect(steps(await table.explain(write))).toEqual([[{ ...write, write: false }]]);
    const bare = new IoPagetable({ memory: new ProcessMemory() });
    await bare.map({ iova: 0x800n, uptr: 0x800n, length: 0x800n, prot: 'rw' });
    const small = await bare.explain({ call: 'access', iova: 0x800n, length: 0x800n });
    expect(small).toMatchObject({ code: 'EADDRINUSE', reason: { check: 'alignment' }, alternatives: [] });
    const past = await bare.explain({ call: 'access', iova: 2n ** 64n - 1n, length: 2n });
    expect(past).toMatchObject({ code: 'EOVERFLOW', alternatives: [] });
  });

  test('rfc-v1 takes one whole area a call', async () => {
    const memory = new ProcessMemory();
    memory.mmap({ uptr: RAM, length: 0x10000n });
    const table = new IoPagetable({ memory, profile: 'rfc-v1' });
    await table.map({ iova: 0x1000n, uptr: RAM, length: 0x1000n, prot: 'rw' });
    await table.map({ iova: 0x3000n, uptr: RAM, length: 0x1000n, prot: 'rw' });
    const unmap = await table.explain({ call: 'unmap', iova: 0n, length: 0x10000n });
    expect(steps(unmap)).toEqual([
      [
        { call: 'unmap', iova: 0x1000n, length: 0x1000n },
        { call: 'unmap', iova: 0x3000n, length: 0x1000n },
      ],
    ]);
    const copy = { call: 'copy', from: table, srcIova: 0x1000n, length: 0x800n, prot: 'r' } as const;
    expect(steps(await table.explain(copy))).toEqual([
      [{ call: 'copy', srcIova: 0x1000n, length: 0x1000n, prot: 'r' }],
    ]);
  });
});

describe('asking', () => {
  test('memory that answers later is waited for, and left as it was', async () => {
    const world = new World();
    const table = world.table();
    await world.domain(table);
    world.memory.close();
    const asked = watch(table.explain({ call: 'map', iova: 0, uptr: USER, length: 0x3000, prot: 'rw' }));
    await settled();
    expect(asked.state).toBe('pending');
    expect(world.memory.pending).toHaveLength(1);
    world.memory.open();
    await settled();
    expect(asked.value).toMatchObject({ ok: true, pinnedBytes: 0x3000n });
    expect(world.physical.pinned).toBe(0);
    await world.unchanged(() => table.explain({ call: 'map', uptr: NOWHERE, length: 0x1000, prot: 'rw' }));
  });

  test('a call in progress is in the way, as it would be', async () => {
    const world = new World();
    const table = world.table();
    await world.domain(table);
    world.memory.close();
    const mapping = table.map({ iova: 0x1000, uptr: USER, length: 0x1000, prot: 'rw' });
    await settled();
    const unmap = await table.explain({ call: 'unmap', iova: 0x1000, length: 0x1000 });
    expect(unmap).toMatchObject({ ok: false, code: 'EBUSY', alternatives: [] });
    expect(unmap.text).toContain('is being set up or torn down');
    world.memory.open();
    await mapping;
    expect(await table.explain({ call: 'unmap', iova: 0x1000, length: 0x1000 })).toMatchObject({ ok: true });
  });

  test('arguments are refused as the call refuses them', async () => {
    const { table } = await tableWith();
    const bare = new IoPagetable();
    const map = { call: 'map', uptr: RAM, length: 0x1000n, prot: 'rw' } as const;
    await expect(bare.explain(map)).rejects.toThrow(/"request.memory" argument/);
    await expect(table.explain({ ...map, uptr: -1 })).rejects.toThrow(RangeError);
    await expect(table.explain({ ...map, prot: 'x' as never })).rejects.toThrow(TypeError);
    await expect(table.explain({ ...map, call: 'move' as never })).rejects.toThrow(/"request.call" argument/);
    await expect(table.explain(null as never)).rejects.toThrow(TypeError);
  });

  test('what the memory throws that is no errno comes out, as it does from the call', async () => {
    const world = new World();
    const table = world.table();
    await world.domain(table);
    world.memory.close();
    const call = { call: 'map', uptr: USER, length: 0x1000, prot: 'rw' } as const;
    const asked = watch(table.explain(call));
    await settled();
    world.memory.pending[0]!.fail(new RangeError('broken'));
    await settled();
    expect(asked.error).toBeInstanceOf(RangeError);
    world.memory.open();
  });
});

describe('errors', () => {
  test('give the same text when they are asked, and work out nothing before', async () => {
    const world = new World();
    const table = world.table();
    await world.domain(table);
    await table.map({ iova: 0x4000, uptr: USER, length: 0x2000, prot: 'rw' });
    const pins = world.memory.pins.length;
    const call = { iova: 0x5000n, uptr: USER, length: 0x1000n, prot: 'rw' } as const;
    const error = await expectError(table.map(call), 'EEXIST');
    expect(world.memory.pins).toHaveLength(pins);
    expect(await error.advice()).toBe((await table.explain({ call: 'map', ...call })).text);
    await table.unmap(0x4000, 0x2000);
    expect(await error.advice()).toContain('would succeed');

    const unmap = await expectError(table.unmap(0x4000, 0), 'EINVAL');
    expect(await unmap.advice()).toBe((await table.explain({ call: 'unmap', iova: 0x4000, length: 0 })).text);
    const access = await expectError(table.access(0x4000, 0x1000), 'ENOENT');
    expect(await access.advice()).toContain('nothing is mapped at 0x4000');
    const copy = { from: table, srcIova: 0x4000, length: 0x1000, prot: 'r' } as const;
    const copied = await expectError(table.copy(copy), 'ENOENT');
    expect(await copied.advice()).toBe((await table.explain({ call: 'copy', ...copy })).text);
    const domain = await expectError(table.addDomain(table.domains[0]!), 'EEXIST');
    expect(await domain.advice()).toContain('attached already');
  });

  test('of other calls give their message', async () => {
    const { table } = await tableWith();
    await table.map({ iova: 0x4000n, uptr: RAM, length: 0x2000n, prot: 'rw' });
    const error = await expectError(table.reserveIova({ start: 0x4000n, last: 0x4fffn }), 'EADDRINUSE');
    expect(await error.advice()).toBe(error.message);
  });
});
