/** The exploration itself: that it finds what goes wrong in few schedules only, and nothing where nothing does. */

import { describe, expect, test } from 'vitest';
import { IommuError } from '../../src/errors.js';
import { explore, replay } from './explore.js';
import { Gates } from './gates.js';
import { type Call, named, runSchedule, type Scene } from './run.js';
import { parseSchedule, scheduleName } from './schedule.js';

/** A number that calls increase in two halves. */
class Counter implements Scene {
  readonly gates = new Gates();
  value = 0;
  locked: Promise<void> | undefined;

  static async setUp(): Promise<Counter> {
    return new Counter();
  }

  fingerprint(): string {
    return `${this.value} ${this.locked !== undefined}`;
  }

  observe(): unknown {
    return this.value;
  }

  async takeDown(): Promise<void> {
    if (this.value > 2) throw new Error('the counter overflows');
  }
}

/** Reads, waits, writes. */
const careless = named<Counter>('careless', async (scene) => {
  const before = scene.value;
  await scene.gates.pass('think', () => undefined);
  scene.value = before + 1;
});

/** Goes wrong only if another call begins while its promises are being resolved. */
const hasty = named<Counter>('hasty', async (scene) => {
  const before = scene.value;
  await undefined;
  scene.value += 1;
  await undefined;
  scene.value = before + 1;
});

const never = named<Counter>('never', () => new Promise(() => undefined));

const refused = named<Counter>('refused', async () => {
  throw new IommuError('EBUSY', { check: 'state', detail: 'always' });
});

function meeting(...calls: Call<Counter>[]) {
  return { setUp: Counter.setUp, calls, races: [] };
}

describe('an exploration', () => {
  test('runs every order of starts and gates once', async () => {
    const found = await explore(meeting(careless, careless), 0);
    // c0 c1 g0 g1, c0 c1 g1 g0, c0 g0 c1 g1, and the same with the calls exchanged.
    expect(found.schedules).toBe(6);
    expect(found.outcomes).toBe(2);
  });

  test('finds an update that is lost, and the schedule', async () => {
    const calls = meeting(careless, careless);
    const { failure } = await explore(calls, 0);
    expect(failure?.problem).toMatch(/^no serial order gives careless: OK; careless: OK, leaving 1/);
    expect(await replay(calls, failure?.steps ?? [])).toBe(failure?.problem);
    expect(await replay(calls, parseSchedule('call0 gate0 call1'))).toBeUndefined();
  });

  test('finds what goes wrong only between two turns of the microtask queue', async () => {
    expect((await explore(meeting(hasty, hasty), 0)).failure).toBeUndefined();
    const { failure } = await explore(meeting(hasty, hasty), 1);
    expect(scheduleName(failure?.steps ?? [])).toMatch(/^call[01] call[01]@[0-2]$/);
  });

  test('finds a call that never ends', async () => {
    const { failure } = await explore(meeting(careless, never), 0);
    expect(failure?.problem).toBe(`deadlock of never after ${scheduleName(failure?.steps ?? [])}`);
  });

  test('finds what shows only when all is taken down', async () => {
    const { failure } = await explore(meeting(hasty, hasty, hasty), 0);
    expect(failure?.problem).toMatch(/the counter overflows/);
  });

  test('takes an allowed race for what it is, and no other errno', async () => {
    const often = named<Counter>('careless', async (scene) => {
      if (scene.gates.waiting.length > 0) await refused.run(scene);
      await careless.run(scene);
    });
    const calls = meeting(often, often);
    expect((await explore(calls, 0)).failure?.problem).toMatch(/EBUSY/);
    const race = { calls: ['careless'], code: 'EBUSY', reason: 'another is there' };
    const found = await explore({ ...calls, races: [race] }, 0);
    expect(found.failure).toBeUndefined();
    expect([...found.races]).toEqual(['another is there']);
  });

  test('a run says what else could have been done', async () => {
    const run = await runSchedule(Counter.setUp, [careless, hasty], parseSchedule('call1 call0@1'), 2);
    expect(scheduleName(run.steps)).toBe('call1 call0@1 gate0');
    expect(run.points.map(({ quiet }) => quiet.length)).toEqual([2, 0, 1]);
  });

  test('schedules are read as they are written', () => {
    const text = 'call0 gate12 call1@3 gate0@0';
    expect(scheduleName(parseSchedule(text))).toBe(text);
    expect(() => parseSchedule('call0 door1')).toThrow('no step of a schedule: door1');
  });
});
