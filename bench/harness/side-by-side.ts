/**
 * Measuring subjects side by side: they take turns, round by round, so that whatever the machine does meanwhile
 * it does to all of them.
 *
 * A call of some nanoseconds is below what a clock can tell, so a subject runs a batch of calls between two looks
 * at the clock, long enough for that, and tinybench is given the mean of the batch.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Bench, type FnReturnedObject, type Task } from 'tinybench';
import { type Figure, OURS } from '../results.js';
import type { RowName } from '../rows.js';
import { randomNumbers, shuffled } from '../scene/random.js';
import { type ProfileEntry, profileOf } from './profile.js';

/** Something that can be done many times over. */
export interface Subject {
  readonly row: RowName;
  /** Who does it. */
  readonly subject: string;
  readonly size: number;
  /** Does it `count` times. */
  run(count: number): void | Promise<void>;
  /** How often it is done in a batch. Absent: as often as the clock needs. */
  readonly batch?: number;
  /** Before each batch, not timed. */
  prepare?(): void | Promise<void>;
  /** After each batch, not timed. */
  restore?(): void | Promise<void>;
}

/** How much time a measurement takes. */
export interface Effort {
  /** Turns of each subject. */
  readonly rounds: number;
  /** Milliseconds of a turn, in several batches; at least one batch runs. */
  readonly turn: number;
  /** Milliseconds of a window of the runs that do not count, by which it is seen when code is compiled. 0: none. */
  readonly warmup: number;
  /** Whether our own subjects are profiled after that. */
  readonly profile: boolean;
}

/** Milliseconds. */
const SHORTEST_BATCH = 1;
const ATTEMPTS = 4;
const PROFILE_TIME = 500;
/** A subject is warm if that many windows in a row were no faster than those before. */
const STALE_WINDOWS = 3;
/** The most windows that a subject may take; a busy machine compiles late. */
const MOST_WINDOWS = 40;
const FASTER = 0.95;

/** Measures all subjects in turns. Before each round `giveWay` lets another process have one. */
export async function sideBySide(
  subjects: readonly Subject[],
  effort: Effort,
  giveWay: () => Promise<void>,
): Promise<Figure[]> {
  const entrants: Entrant[] = [];
  for (const subject of subjects) entrants.push(new Entrant(subject, await batchOf(subject, 1)));
  // Twice: what one subject teaches the compiler can undo what it made of another, and so can a whole collection.
  for (let pass = 0; pass < 2; pass++) {
    for (const entrant of entrants) {
      await warmUp(entrant.subject, entrant.batch, effort.warmup);
      entrant.batch = await batchOf(entrant.subject, entrant.batch);
    }
    if (pass === 0) globalThis.gc?.();
  }
  await runRounds(entrants, effort, giveWay);
  const figures: Figure[] = [];
  for (const entrant of entrants) figures.push(await figureOf(entrant, effort.profile));
  return figures;
}

async function runRounds(
  entrants: readonly Entrant[],
  { rounds, turn, warmup }: Effort,
  giveWay: () => Promise<void>,
): Promise<void> {
  const bench = new Bench({ iterations: 1, time: turn, warmup: false, throws: true });
  for (const [number, { measure, hooks }] of entrants.entries()) bench.add(String(number), measure, hooks);
  const random = randomNumbers();
  // The first round, in cold caches, does not count.
  for (let round = warmup === 0 ? 0 : -1; round < rounds; round++) {
    await giveWay();
    // Another order each round: what a scheduler does to a process depends on how long ago it slept.
    for (const number of shuffled(entrants.length, random)) {
      const time = await turnOf(bench.tasks[number]!);
      if (round >= 0) entrants[number]!.rounds.push(time);
    }
    // What earlier turns left to the background is over before the next round.
    await sleep(0);
  }
}

async function figureOf({ subject, batch, rounds }: Entrant, profile: boolean): Promise<Figure> {
  const figure: Figure = { row: subject.row, subject: subject.subject, size: subject.size, rounds };
  if (!profile || !subject.subject.startsWith(OURS)) return figure;
  return { ...figure, profile: await profileSubject(subject, batch) };
}

/** One batch where something comes before or after it that is not to be seen, else many. */
async function profileSubject(subject: Subject, batch: number): Promise<readonly ProfileEntry[]> {
  if (subject.prepare === undefined && subject.restore === undefined) {
    return profileOf(() => meanTimeOf(subject, batch, PROFILE_TIME));
  }
  await subject.prepare?.();
  const profile = await profileOf(() => timeOf(subject, batch));
  await subject.restore?.();
  return profile;
}

/** A subject in its turns. */
class Entrant {
  readonly subject: Subject;
  batch: number;
  readonly rounds: number[] = [];

  constructor(subject: Subject, batch: number) {
    this.subject = subject;
    this.batch = batch;
  }

  readonly measure = async (): Promise<FnReturnedObject> => {
    const time = await timeOf(this.subject, this.batch);
    return { overriddenDuration: time / this.batch, overriddenIterationCost: time };
  };

  get hooks() {
    const { subject } = this;
    return {
      async: true,
      beforeEach: () => subject.prepare?.(),
      afterEach: () => subject.restore?.(),
    };
  }
}

/** Nanoseconds of one operation in one turn: of the turn's batches the one in the middle. */
async function turnOf(task: Task): Promise<number> {
  // A task keeps its result and runs no second time without this.
  task.reset();
  const { result } = await task.run();
  if (result.state !== 'completed') throw new Error(`${task.name} ended ${result.state}`);
  return result.latency.p50 * 1e6;
}

/**
 * Milliseconds of a batch, without the time that the processor was given to others: the shorter of the time that
 * passed and the processor time of the process. Alone on a machine, one thread takes as much of both.
 */
async function timeOf(subject: Subject, count: number): Promise<number> {
  const start = performance.now();
  const cpu = process.cpuUsage();
  const running = subject.run(count);
  if (running !== undefined) await running;
  const { user, system } = process.cpuUsage(cpu);
  return Math.min(performance.now() - start, (user + system) / 1000);
}

/** Finds how often a subject has to run for the clock, from `atLeast` on. */
async function batchOf(subject: Subject, atLeast: number): Promise<number> {
  if (subject.batch !== undefined) return subject.batch;
  for (let batch = atLeast; ; batch *= 2) {
    // The fastest of several: one that was interrupted says nothing.
    let fastest = Number.POSITIVE_INFINITY;
    for (let attempt = 0; attempt < ATTEMPTS && fastest >= SHORTEST_BATCH; attempt++) {
      fastest = Math.min(fastest, await wholeTimeOf(subject, batch));
    }
    if (fastest >= SHORTEST_BATCH) return batch;
  }
}

/** Runs a subject until it gets no faster: its code is compiled then. */
async function warmUp(subject: Subject, batch: number, window: number): Promise<void> {
  if (window === 0) return;
  const start = performance.now();
  let best = Number.POSITIVE_INFINITY;
  let stale = 0;
  while (stale < STALE_WINDOWS && performance.now() - start < MOST_WINDOWS * window) {
    const time = await meanTimeOf(subject, batch, window);
    stale = time < best * FASTER ? 0 : stale + 1;
    best = Math.min(best, time);
  }
}

/** Milliseconds of a batch, in the mean over some time. */
async function meanTimeOf(subject: Subject, batch: number, milliseconds: number): Promise<number> {
  let time = 0;
  let batches = 0;
  for (; time < milliseconds; batches++) time += await wholeTimeOf(subject, batch);
  return time / batches;
}

/** `timeOf` with what comes before and after a batch; that is not in the time. */
async function wholeTimeOf(subject: Subject, batch: number): Promise<number> {
  await subject.prepare?.();
  const time = await timeOf(subject, batch);
  await subject.restore?.();
  return time;
}
