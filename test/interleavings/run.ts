/**
 * Running calls under one schedule.
 */
import { setImmediate } from 'node:timers/promises';
import { IommuError } from '../../src/errors.js';
import type { Gates } from './gates.js';
import { type Choice, earlySteps, type Step, scheduleName } from './schedule.js';

/** A world in which calls are made, the same each time it is set up. */
export interface Scene {
  readonly gates: Gates;
  /** Something that differs whenever what calls can see of the library's state differs. */
  fingerprint(): string;
  /** All that is left when every call has ended; throws if an invariant is broken. */
  observe(): unknown;
  /** Takes everything down; throws if something stays pinned or charged. */
  takeDown(): Promise<void>;
}

/** A call that can be made in a scene. */
export interface Call<S extends Scene> {
  readonly name: string;
  run(scene: S): Promise<unknown>;
}

/** A call. */
export function named<S extends Scene>(name: string, run: (scene: S) => Promise<unknown>): Call<S> {
  return { name, run };
}

/** What became of the calls, and what is left. */
export interface Outcome {
  /** A result or an errno for each call. */
  readonly results: readonly string[];
  readonly final: string;
}

/** What a run could have done next after one of its steps. */
export interface Point {
  /** By turn of the microtask queue, as long as something happens by itself. */
  readonly early: readonly (readonly Choice[])[];
  readonly quiet: readonly Choice[];
}

/** A run to its end. */
export interface Run {
  readonly steps: readonly Step[];
  /** `points[n]` is where step n was chosen. */
  readonly points: readonly Point[];
  readonly outcome: Outcome | undefined;
  /** What went wrong, if the run has no outcome. */
  readonly problem: string | undefined;
}

/** Longer than any chain of promises in the library; `runSchedule` checks that nothing happens after it. */
const MOST_TURNS = 60;

/**
 * Sets a scene up, takes the given steps, and goes on with the first thing that can be done until all is over.
 *
 * @param mostEarly - how many steps may be early: beyond that, points have only what could be done when all is quiet
 */
export async function runSchedule<S extends Scene>(
  setUp: () => Promise<S>,
  calls: readonly Call<S>[],
  given: readonly Step[],
  mostEarly: number,
): Promise<Run> {
  const scene = await setUp();
  const { gates } = scene;
  gates.closed = true;
  const results: (string | undefined)[] = calls.map(() => undefined);
  const started = calls.map(() => false);
  const state = () => `${results.join()} ${gates.made} ${gates.waiting.length} ${scene.fingerprint()}`;
  const choices = (): Choice[] => [
    ...started.flatMap((done, number): Choice[] => (done ? [] : [{ kind: 'call', number }])),
    ...gates.waiting.map(({ number }): Choice => ({ kind: 'gate', number })),
  ];
  const take = ({ kind, number }: Choice): void => {
    if (kind === 'gate') {
      const gate = gates.waiting.find((waiting) => waiting.number === number);
      if (gate === undefined) throw new Error(`gate ${number} is not there to be opened`);
      gate.open();
      return;
    }
    started[number] = true;
    resultOf(calls[number]!.run(scene)).then((result) => {
      results[number] = result;
    });
  };

  const steps: Step[] = [];
  const points: Point[] = [];
  const problem = (text: string): Run => {
    return { steps, points, outcome: undefined, problem: `${text} after ${scheduleName(steps)}` };
  };
  for (;;) {
    const next = given[steps.length];
    if (next?.turn !== undefined) {
      for (let turn = 0; turn < next.turn; turn++) await undefined;
      points.push({ early: [], quiet: [] });
      take(next);
      steps.push(next);
      continue;
    }
    const early: Choice[][] = [];
    if (next === undefined && steps.length > 0 && earlySteps(steps) < mostEarly) {
      let busy = 0;
      let before = state();
      for (let turn = 0; turn < MOST_TURNS; turn++) {
        early.push(choices());
        await undefined;
        const now = state();
        if (now !== before) busy = turn + 1;
        before = now;
      }
      early.length = busy;
      await setImmediate();
      if (state() !== before) return problem(`something happened after ${MOST_TURNS} turns`);
    } else await setImmediate();
    const quiet = choices();
    const chosen = next ?? quiet[0];
    if (chosen === undefined) break;
    points.push({ early, quiet });
    take(chosen);
    steps.push({ ...chosen, turn: undefined });
  }

  const waiting = calls.filter((_, number) => results[number] === undefined);
  if (waiting.length > 0) return problem(`deadlock of ${waiting.map(({ name }) => name).join(' and ')}`);
  gates.closed = false;
  try {
    const outcome = { results: results.map(String), final: JSON.stringify(scene.observe()) };
    await scene.takeDown();
    return { steps, points, outcome, problem: undefined };
  } catch (error) {
    return problem(`${results.join(', ')}; ${String(error)}`);
  }
}

/** Makes calls one after the other, with nothing to wait for. */
export async function runSerially<S extends Scene>(
  setUp: () => Promise<S>,
  calls: readonly Call<S>[],
): Promise<Outcome> {
  const scene = await setUp();
  const results: string[] = [];
  for (const call of calls) results.push(await resultOf(call.run(scene)));
  return { results, final: JSON.stringify(scene.observe()) };
}

async function resultOf(call: Promise<unknown>): Promise<string> {
  try {
    const result = await call;
    return result === undefined ? 'OK' : `OK ${result}`;
  } catch (error) {
    if (!(error instanceof IommuError)) return `no errno: ${String(error)}`;
    return error.unmapped === undefined ? error.code : `${error.code} after ${error.unmapped}`;
  }
}
