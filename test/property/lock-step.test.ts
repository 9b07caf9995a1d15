/**
 * The library against the naive model, on random operations: the same answers, and after every operation the same
 * state, translations, pins and bytes.
 *
 * A failure prints the operations, as few as possible, and as its cause their answers. `PROPERTY_SEED`
 * overrides the seed, `PROPERTY_PATH` replays a failure's path, and `PROPERTY_PART` has more or fewer runs.
 */
import fc from 'fast-check';
import { describe, test } from 'vitest';
import { PROFILES } from '../../src/rules.js';
import { propertyRuns } from '../helpers/property-runs.js';
import { arbitraryOps, type Grain, type Mix } from '../model/arbitrary-ops.js';
import { runInLockStep } from '../model/lock-step.js';
import { ACCESSES, DIRTY, EVERYTHING, HOLDS, MAPPING } from '../model/mixes.js';
import type { Op } from '../model/ops.js';
import type { LockStepOptions } from '../model/pairs.js';
import { reduce } from '../model/reduce.js';

const { PROPERTY_SEED, PROPERTY_PATH } = process.env;
const seed = Number(PROPERTY_SEED ?? 20220318);

interface Setting extends LockStepOptions {
  readonly mix: Mix;
  /** The most operations of a run. */
  readonly length: number;
  readonly runs: number;
  readonly grain?: Grain;
}

function property(name: string, { mix, length, runs, grain, ...options }: Setting): void {
  test(name, async () => {
    const run = async (ops: readonly Op[]) => (await runInLockStep(ops, options)).failure;
    const details = await fc.check(
      fc.asyncProperty(arbitraryOps(mix, length, grain), async (ops) => (await run(ops)) === undefined),
      {
        seed,
        numRuns: propertyRuns(runs),
        ...(PROPERTY_PATH === undefined ? {} : { path: PROPERTY_PATH }),
      },
    );
    if (!details.failed) return;
    const counterexample = details.counterexample?.[0] ?? [];
    const reduced = await reduce(counterexample, run);
    const ops = (reduced?.ops ?? counterexample).map((op) => `  ${JSON.stringify(op)},`).join('\n');
    const replay = `PROPERTY_SEED=${details.seed} PROPERTY_PATH=${details.counterexamplePath}`;
    throw new Error(`the library and the model disagree (${replay}) on\n[\n${ops}\n]`, {
      cause: reduced?.failure.error ?? details.errorInstance,
    });
  });
}

describe('the library agrees with the naive model', () => {
  const linux = { profile: 'linux-6.12' } as const;
  const mappingAndAccesses = { ...MAPPING, ...ACCESSES };
  for (const profile of PROFILES) {
    property(`${profile}: mapping`, { profile, mix: MAPPING, length: 50, runs: 150 });
    property(`${profile}: pinned ranges`, { profile, mix: { ...MAPPING, ...HOLDS }, length: 50, runs: 100 });
  }
  property('accesses', { ...linux, mix: mappingAndAccesses, length: 60, runs: 150 });
  property('half pages', {
    ...linux,
    mix: mappingAndAccesses,
    length: 60,
    runs: 150,
    grain: 'half pages',
  });
  for (const profile of ['linux-6.12', 'linux-7.3'] as const) {
    property(`${profile}: dirty tracking`, { profile, mix: DIRTY, length: 50, runs: 150 });
  }
  property('everything', { ...linux, mix: EVERYTHING, length: 80, runs: 200 });
  property('little locked memory', {
    ...linux,
    mix: EVERYTHING,
    length: 80,
    runs: 150,
    limitPages: 5,
  });
  property('memory goes away', {
    ...linux,
    mix: { ...EVERYTHING, changeMemory: 8, exit: 2 },
    length: 60,
    runs: 150,
    limitPages: 15,
  });
  property('domains that fail', {
    ...linux,
    mix: { ...mappingAndAccesses, addDomain: 20, poison: 20 },
    length: 60,
    runs: 150,
    grain: 'pages',
  });
  property('memory that answers late', {
    ...linux,
    mix: { ...mappingAndAccesses, poison: 5 },
    length: 60,
    runs: 100,
    grain: 'pages',
    limitPages: 12,
    latePortion: 2,
  });
  property('memory without live views', {
    ...linux,
    mix: { ...mappingAndAccesses, ...HOLDS, exit: 1 },
    length: 60,
    runs: 60,
    grain: 'pages',
    limitPages: 12,
    remote: true,
  });
});
