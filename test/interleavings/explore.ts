/**
 * Exploring all schedules of some calls, and explaining what each of them led to.
 */
import { type Call, type Outcome, type Run, runSchedule, runSerially, type Scene } from './run.js';
import { earlySteps, type Step } from './schedule.js';

/** A result that no serial order explains, and that the kernel gives when calls meet. */
export interface Race<S extends Scene> {
  /** Names of the calls that may get it. */
  readonly calls: readonly string[];
  /** The errno, or `OK`. */
  readonly code: string;
  readonly reason: string;
  /** What the call has done all the same, by its result; absent: nothing. */
  readonly done?: (result: string) => Call<S>;
}

/** Calls to be made at the same time. */
export interface Meeting<S extends Scene> {
  readonly setUp: () => Promise<S>;
  readonly calls: readonly Call<S>[];
  readonly races: readonly Race<S>[];
}

/** A schedule that led to something that must not be. */
export interface Failure {
  readonly steps: readonly Step[];
  readonly problem: string;
}

/** What an exploration found. */
export interface Exploration {
  readonly schedules: number;
  /** How many different outcomes there were. */
  readonly outcomes: number;
  /** The reasons of the races that were needed to explain them. */
  readonly races: ReadonlySet<string>;
  /** The failure with the fewest early steps, and of those the one with the fewest steps. */
  readonly failure: Failure | undefined;
}

/** Runs all schedules with at most so many early steps. */
export async function explore<S extends Scene>(meeting: Meeting<S>, mostEarly: number): Promise<Exploration> {
  const explain = explainer(meeting);
  const races = new Set<string>();
  const seen = new Map<string, string | undefined>();
  let failure: Failure | undefined;
  let schedules = 0;
  for await (const { steps, outcome, problem } of runs(meeting, mostEarly)) {
    schedules += 1;
    let wrong = problem;
    if (outcome !== undefined) {
      const key = JSON.stringify(outcome);
      if (!seen.has(key)) seen.set(key, await explain(outcome, races));
      wrong = seen.get(key);
    }
    if (wrong !== undefined && (failure === undefined || isSimpler(steps, failure.steps))) {
      failure = { steps, problem: wrong };
    }
  }
  return { schedules, outcomes: seen.size, races, failure };
}

/** Runs one schedule, and goes on as `runSchedule` does; what is wrong with what it leads to, or `undefined`. */
export async function replay<S extends Scene>(
  meeting: Meeting<S>,
  steps: readonly Step[],
): Promise<string | undefined> {
  const { outcome, problem } = await runSchedule(meeting.setUp, meeting.calls, steps, 0);
  return outcome === undefined ? problem : explainer(meeting)(outcome, new Set());
}

/** Depth first: each run goes on from its steps in the first way there is, and leaves the other ways to later runs. */
async function* runs<S extends Scene>(
  { setUp, calls }: Meeting<S>,
  mostEarly: number,
): AsyncGenerator<Run, void> {
  const todo: (readonly Step[])[] = [[]];
  for (let given = todo.pop(); given !== undefined; given = todo.pop()) {
    const run = await runSchedule(setUp, calls, given, mostEarly);
    yield run;
    for (let at = given.length; at < run.points.length; at++) {
      const before = run.steps.slice(0, at);
      const { early, quiet } = run.points[at]!;
      for (const choice of quiet.slice(1)) todo.push([...before, { ...choice, turn: undefined }]);
      for (const [turn, choices] of early.entries()) {
        for (const choice of choices) todo.push([...before, { ...choice, turn }]);
      }
    }
  }
}

function isSimpler(a: readonly Step[], b: readonly Step[]): boolean {
  const fewer = earlySteps(a) - earlySteps(b);
  return fewer < 0 || (fewer === 0 && a.length < b.length);
}

/** A call and the result it is to have; `undefined`: any success. */
interface Made<S extends Scene> {
  readonly call: Call<S>;
  readonly result: string | undefined;
}

/** What can be wrong with an outcome: that neither a serial order nor races explain it. Adds the races it needs. */
function explainer<S extends Scene>({ setUp, calls, races }: Meeting<S>) {
  const serial = new Map<string, Promise<Outcome>>();
  const serially = (order: readonly Call<S>[]): Promise<Outcome> => {
    const key = order.map(({ name }) => name).join();
    let outcome = serial.get(key);
    if (outcome === undefined) {
      outcome = runSerially(setUp, order);
      serial.set(key, outcome);
    }
    return outcome;
  };

  /** Whether some order of `made` gives their results and leaves this. */
  const isSerial = async (made: readonly Made<S>[], final: string): Promise<boolean> => {
    for (const order of permutations(made)) {
      const outcome = await serially(order.map(({ call }) => call));
      const same = order.every(({ result }, at) => {
        const got = outcome.results[at]!;
        return result === undefined ? got.startsWith('OK') : got === result;
      });
      if (same && outcome.final === final) return true;
    }
    return false;
  };

  return async ({ results, final }: Outcome, needed: Set<string>): Promise<string | undefined> => {
    const made = calls.map((call, at) => ({ call, result: results[at]! }));
    const odd = made.find(({ result }) => result.startsWith('no errno'));
    if (odd !== undefined) return `${odd.call.name}: ${odd.result}`;
    const raced = made.map(({ call, result }) =>
      races.find((race) => race.calls.includes(call.name) && result.split(' ')[0] === race.code),
    );
    // Subsets in order of size: as few races as possible, none if possible.
    for (const subset of subsets(raced.flatMap((race, at) => (race === undefined ? [] : [at])))) {
      const explained = made.flatMap(({ call, result }, at): Made<S>[] => {
        if (!subset.includes(at)) return [{ call, result }];
        const done = raced[at]?.done?.(result);
        return done === undefined ? [] : [{ call: done, result: undefined }];
      });
      if (!(await isSerial(explained, final))) continue;
      for (const at of subset) needed.add(raced[at]!.reason);
      return undefined;
    }
    const got = made.map(({ call, result }) => `${call.name}: ${result}`).join('; ');
    return `no serial order gives ${got}, leaving ${final}`;
  };
}

function* permutations<T>(items: readonly T[]): Generator<readonly T[]> {
  if (items.length === 0) yield [];
  for (const [at, item] of items.entries()) {
    for (const rest of permutations(items.toSpliced(at, 1))) yield [item, ...rest];
  }
}

function subsets(items: readonly number[]): number[][] {
  let found: number[][] = [[]];
  for (const item of items) found = [...found, ...found.map((subset) => [...subset, item])];
  return found.sort((a, b) => a.length - b.length);
}
