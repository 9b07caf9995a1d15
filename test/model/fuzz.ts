/**
 * Long random runs of the library against the naive model, in many settings by turns.
 */
import fc from 'fast-check';
import { PROFILES } from '../../src/rules.js';
import { arbitraryOps, type Grain, type Mix } from './arbitrary-ops.js';
import { runInLockStep } from './lock-step.js';
import { ACCESSES, EVERYTHING, HOLDS, MAPPING } from './mixes.js';
import type { Op } from './ops.js';
import type { LockStepOptions } from './pairs.js';
import { reduce } from './reduce.js';

interface Setting {
  readonly options: LockStepOptions;
  readonly mix: Mix;
  readonly grain: Grain;
}

/** A list of operations on which the library and the model disagree. */
export interface FuzzFailure {
  /** As few operations as possible. */
  readonly ops: readonly Op[];
  readonly options: LockStepOptions;
  readonly error: unknown;
}

/** What became of a run. */
export interface FuzzRun {
  /** Operations carried out, not counting those of shrinking. */
  readonly done: number;
  readonly failure: FuzzFailure | undefined;
}

const FAULTS: Mix = { poison: 8, changeMemory: 5, exit: 1 };
/** What calls that wait for each pin are tried with: no dirty marks, which the library writes at other moments. */
const WAITING: Mix = { ...MAPPING, ...ACCESSES, poison: 5 };
const linux = { profile: 'linux-6.12' } as const;

const SETTINGS: readonly Setting[] = [
  { options: linux, mix: EVERYTHING, grain: 'edges' },
  { options: { ...linux, sync: true }, mix: EVERYTHING, grain: 'edges' },
  { options: linux, mix: EVERYTHING, grain: 'mixed' },
  { options: { ...linux, sync: true }, mix: EVERYTHING, grain: 'half pages' },
  { options: { ...linux, limitPages: 6 }, mix: { ...EVERYTHING, ...FAULTS }, grain: 'pages' },
  { options: { ...linux, limitPages: 12, sync: true }, mix: { ...EVERYTHING, ...FAULTS }, grain: 'mixed' },
  { options: { ...linux, latePortion: 2, limitPages: 12 }, mix: WAITING, grain: 'pages' },
  ...PROFILES.flatMap((profile): Setting[] => [
    { options: { profile }, mix: { ...MAPPING, ...HOLDS }, grain: 'edges' },
    { options: { profile, sync: true }, mix: { ...MAPPING, ...HOLDS }, grain: 'mixed' },
  ]),
];
const MOST_OPS = 120;
/** Lists are drawn so many at once: the generator leans to extremes at first, then less. */
const LISTS = 20;

/**
 * Carries out at least so many random operations, or stops at the first disagreement and shrinks it. The same seed
 * gives the same operations.
 */
export async function fuzz(
  wanted: number,
  seed: number,
  run: typeof runInLockStep = runInLockStep,
): Promise<FuzzRun> {
  let done = 0;
  for (let round = 0; done < wanted; round++) {
    const { options, mix, grain } = SETTINGS[round % SETTINGS.length]!;
    const lists = fc.sample(arbitraryOps(mix, MOST_OPS, grain), { seed: (seed + round) | 0, numRuns: LISTS });
    for (const list of lists) {
      if (done >= wanted) break;
      const failing = async (ops: readonly Op[]) => (await run(ops, options)).failure;
      const found = await failing(list);
      done += found?.carriedOut ?? list.length;
      if (found === undefined) continue;
      const reduced = await reduce(list, failing);
      const { ops, failure } = reduced ?? { ops: list, failure: found };
      return { done, failure: { ops, options, error: failure.error } };
    }
  }
  return { done, failure: undefined };
}

/** A failure as a test, to be put into the folder `test`. */
export function testOf({ ops, options }: FuzzFailure, name: string): string {
  return `import { expect, test } from 'vitest';
import { runInLockStep } from './model/lock-step.js';
import type { Op } from './model/ops.js';

test(${JSON.stringify(name)}, async () => {
  const ops: Op[] = [
${ops.map((op) => `    ${JSON.stringify(op)},`).join('\n')}
  ];
  const { failure } = await runInLockStep(ops, ${JSON.stringify(options)});
  expect(failure?.error).toBeUndefined();
});
`;
}
