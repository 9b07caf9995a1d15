/** A short portion of the long random runs, and that they find and shrink what is wrong. */
import { describe, expect, test } from 'vitest';
import { fuzz, testOf } from './model/fuzz.js';
import type { LockStepRun } from './model/lock-step.js';
import type { Op } from './model/ops.js';
import { describeFailure, fuzzOverlapping, stepsOf } from './model/overlapping-fuzz.js';
import type { Step } from './model/overlapping-steps.js';

/** Two operations that together do what must not be done. */
const isGuilty = (ops: readonly Op[]) => {
  const first = ops.findIndex((op) => op.op === 'addDomain');
  const second = ops.findIndex((op, at) => op.op === 'unmap' && first >= 0 && at > first);
  return second;
};

/** As `runInLockStep`, of a library that fails to unmap once a domain was there. */
async function runBroken(ops: readonly Op[]): Promise<LockStepRun> {
  const at = isGuilty(ops);
  const failure = at < 0 ? undefined : { carriedOut: at + 1, error: new Error('broken') };
  return { transcript: [], failure };
}

describe('fuzz', () => {
  test('a fixed seed', async () => {
    const { done, failure } = await fuzz(8000, 20261122);
    expect(failure === undefined ? '' : `${testOf(failure, 'found by fuzz')}\n${failure.error}`).toBe('');
    expect(done).toBeGreaterThanOrEqual(8000);
  });

  test('makes a failure as short as it can be, and a test of it', async () => {
    const { done, failure } = await fuzz(5000, 1, runBroken);
    expect(done).toBeLessThan(5000);
    expect(failure?.ops.map(({ op }) => op)).toEqual(['addDomain', 'unmap']);
    const text = testOf(failure!, 'name');
    expect(text).toContain("import { runInLockStep } from './model/lock-step.js';");
    for (const op of failure!.ops) expect(text).toContain(`    ${JSON.stringify(op)},\n`);
    expect(text).toContain(`runInLockStep(ops, ${JSON.stringify(failure!.options)})`);
  });

  test('the same seed gives the same operations, another seed others', async () => {
    const opsOf = async (seed: number) => {
      const all: string[] = [];
      await fuzz(500, seed, async (ops) => {
        all.push(JSON.stringify(ops));
        return { transcript: [], failure: undefined };
      });
      return all.join('\n');
    };
    expect(await opsOf(7)).toBe(await opsOf(7));
    expect(await opsOf(7)).not.toBe(await opsOf(8));
  });
});

describe('fuzz of overlapping calls', () => {
  test('some seeds', async () => {
    const { done, failure } = await fuzzOverlapping(300, 1);
    expect(failure === undefined ? '' : describeFailure(failure)).toBe('');
    expect(done).toBe(300);
  });

  test('makes a failure as short as it can be, and names its seed', async () => {
    const guilty = (steps: readonly Step[]) => {
      const first = steps.findIndex(({ op }) => op === 'detach');
      return steps.findIndex(({ op }, at) => op === 'attach' && first >= 0 && at > first);
    };
    const { failure } = await fuzzOverlapping(100, 1, async (steps) => {
      const at = guilty(steps);
      return at < 0 ? undefined : { carriedOut: at + 1, error: new Error('broken') };
    });
    expect(failure?.steps.map(({ op }) => op)).toEqual(['detach', 'attach']);
    expect(describeFailure(failure!)).toContain(`seed ${failure!.seed}:\n  {"op":"detach"`);
  });

  test('the same seed gives the same steps, another seed others', () => {
    expect(stepsOf(7)).toEqual(stepsOf(7));
    expect(stepsOf(7)).not.toEqual(stepsOf(8));
  });
});
