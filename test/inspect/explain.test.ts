import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Explanation } from '../../src/index.js';
import {
  type Asked,
  ExplainWorld,
  isAsked,
  type Operation,
  operations,
  type WorldOptions,
} from './explain-world.js';

const { PROPERTY_SEED, PROPERTY_RUNS, PROPERTY_PATH } = process.env;
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
        numRuns: Number(PROPERTY_RUNS ?? runs),
        ...(PROPERTY_PATH === undefined ? {} : { path: PROPERTY_PATH }),
      },
    ),
  );
}

describe('what it says is what happens, and what it suggests works', () => {
  property('linux', 250, { profile: 'linux' });
  property('linux, with little locked memory', 150, { profile: 'linux', lockedPages: 5 });
  property('rfc-v1', 150, { profile: 'rfc-v1' });
});
