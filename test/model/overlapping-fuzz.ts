/** Random runs of overlapping calls on an iommufd, one for each seed. */
import fc from 'fast-check';
import { arbitraryStep, type Step } from './overlapping-steps.js';
import { runOverlapping } from './overlapping-world.js';
import { type OpsFailure, reduce } from './reduce.js';

const MOST_STEPS = 60;

/** A seed whose calls leave something behind. */
export interface OverlappingFailure {
  readonly seed: number;
  /** As few steps as possible. */
  readonly steps: readonly Step[];
  readonly error: unknown;
}

/** What became of a run. */
export interface OverlappingRun {
  /** Seeds that were tried. */
  readonly done: number;
  readonly failure: OverlappingFailure | undefined;
}

/** The steps of a seed. */
export function stepsOf(seed: number): Step[] {
  const list = fc.array(arbitraryStep, { minLength: 5, maxLength: MOST_STEPS, size: 'max' });
  return fc.sample(list, { seed, numRuns: 1 })[0] ?? [];
}

/** Tries so many seeds, beginning with `first`, or stops at the first failure and shrinks it. */
export async function fuzzOverlapping(
  seeds: number,
  first: number,
  run: (steps: readonly Step[]) => Promise<OpsFailure | undefined> = runOverlapping,
): Promise<OverlappingRun> {
  for (let done = 0; done < seeds; done++) {
    const seed = first + done;
    const steps = stepsOf(seed);
    const found = await run(steps);
    if (found === undefined) continue;
    const reduced = await reduce(steps, run);
    const { ops, failure } = reduced ?? { ops: steps, failure: found };
    return { done: done + 1, failure: { seed, steps: ops, error: failure.error } };
  }
  return { done: seeds, failure: undefined };
}

/** A failure as text: its seed, its steps and what happened. */
export function describeFailure({ seed, steps, error }: OverlappingFailure): string {
  const why = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return `seed ${seed}:\n${steps.map((step) => `  ${JSON.stringify(step)},`).join('\n')}\n${why}`;
}
