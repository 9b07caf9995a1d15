/**
 * One log on the models of two kernels: which of its answers would be different.
 *
 * What is to blame is found by trying: beside the two kernels, the log runs on kernels that are the later one but for one
 * rule, in which they are like the earlier one. Where such a kernel answers otherwise than the later one, it is that rule,
 * also where the difference only follows from an earlier one.
 */
import { differingRules, type Profile, profileWithRuleOf, type Rules } from '../rules.js';
import type { ReplayFigures } from './figures.js';
import type { MalformedLine } from './log-line.js';
import type { LogDivergence, LogRun, LogRunOptions } from './log-run.js';
import { openLogRun } from './open-log.js';

/** What a kernel says to something in a log. */
export interface ProfileAnswer {
  /** `OK`, an errno, or in words. */
  readonly answer: string;
  /** Why, as a sentence without a full stop. */
  readonly because: string | undefined;
}

/** Something in a log that two kernels answer differently. */
export interface AnswerDifference {
  /** Line of the log. */
  readonly line: number;
  /** The request: `unmap [0xff000000, 0xffffffff]`. */
  readonly operation: string;
  /** The earlier kernel's answer; `undefined` if it is not asked, because things have come another way before. */
  readonly from: ProfileAnswer | undefined;
  /** The later one's. */
  readonly to: ProfileAnswer | undefined;
  /** The rules each of which makes this difference; none where only several of them together do. */
  readonly rules: readonly (keyof Rules)[];
}

/** How two kernels are compared. */
export interface DiffOptions extends Pick<LogRunOptions, 'until' | 'lockedLimit'> {
  readonly from: Profile;
  readonly to: Profile;
  /** Called for each line that could not be read. */
  readonly onMalformed?: ((line: MalformedLine) => void) | undefined;
}

/** Something that a kernel was asked, and what it said. */
interface Asked extends ProfileAnswer {
  readonly line: number;
  readonly operation: string;
}

/** The log on one model. */
interface Running {
  readonly run: LogRun;
  /** What was found to differ from the log since the last event, but for the answers of requests. */
  readonly found: LogDivergence[];
}

/**
 * Runs a log on both kernels, event by event, and gives what differs, in order; when done, the figures of the run on the
 * later one.
 *
 * @throws LogError if the log cannot be replayed, and what reading it throws
 */
export async function* diffProfiles(
  { name, lines }: { readonly name: string; readonly lines: AsyncIterable<string> },
  { from, to, onMalformed, ...options }: DiffOptions,
): AsyncGenerator<AnswerDifference, ReplayFigures, undefined> {
  const rules = differingRules(from, to);
  const profiles = [from, to, ...rules.map((rule) => profileWithRuleOf(to, from, rule))];
  const copies = copiesOf(lines, profiles.length);
  const running: Running[] = [];
  for (const [at, profile] of profiles.entries()) {
    const found: LogDivergence[] = [];
    const run = await openLogRun(
      { name, lines: copies[at]! },
      { ...options, profile, anyProfile: true },
      {
        onDivergence: (divergence) => found.push(divergence),
        ...(at === 0 && onMalformed !== undefined ? { onMalformed } : {}),
      },
    );
    running.push({ run, found });
  }
  for (;;) {
    const asked: Asked[][] = [];
    for (const each of running) {
      const told = await nextOf(each);
      if (told !== undefined) asked.push(told);
    }
    if (asked.length === 0) break;
    yield* differences(asked, rules);
  }
  const figures: ReplayFigures[] = [];
  for (const { run } of running) figures.push(await run.replayer.finish());
  // What becomes certain only with the end of the log.
  yield* differences(
    running.map(({ found }) => found.map(askedBy)),
    rules,
  );
  return figures[1]!;
}

/** Runs the next event; `undefined` at the end. */
async function nextOf({ run, found }: Running): Promise<Asked[] | undefined> {
  const action = await run.actions.next();
  if (action.done === true) return undefined;
  const step = await action.value.run();
  const others = found.splice(0).filter((divergence) => divergence !== step?.divergence);
  if (step === undefined) return others.map(askedBy);
  const { line, operation } = step;
  const { code, whole = code, because } = step.answer;
  return [...others.map(askedBy), { line, operation, answer: whole, because }];
}

function askedBy({ line, operation, answered, reason }: LogDivergence): Asked {
  return { line, operation, answer: answered, because: reason };
}

/** What the first two models were asked and answered differently. */
function* differences(
  [from = [], to = [], ...others]: readonly (readonly Asked[])[],
  rules: readonly (keyof Rules)[],
): Generator<AnswerDifference, void, undefined> {
  const places = new Map([...from, ...to].map((asked) => [placeOf(asked), asked]));
  for (const [place, { line, operation }] of places) {
    const [before, after] = [answerAt(from, place), answerAt(to, place)];
    if (before?.answer === after?.answer) continue;
    const blamed = rules.filter((_, at) => answerAt(others[at]!, place)?.answer !== after?.answer);
    yield { line, operation, from: before, to: after, rules: blamed };
  }
}

function placeOf({ line, operation }: Asked): string {
  return `${line} ${operation}`;
}

function answerAt(all: readonly Asked[], place: string): ProfileAnswer | undefined {
  const asked = all.find((each) => placeOf(each) === place);
  return asked && { answer: asked.answer, because: asked.because };
}

/** The same lines for several readers, which keep in step: no more is held than one of them is ahead of the others. */
function copiesOf(lines: AsyncIterable<string>, count: number): AsyncIterable<string>[] {
  const source = lines[Symbol.asyncIterator]();
  const held: Promise<IteratorResult<string>>[] = [];
  const positions = new Array<number>(count).fill(0);
  let dropped = 0;
  const next = (reader: number): Promise<IteratorResult<string>> => {
    const at = positions[reader]! - dropped;
    if (at === held.length) held.push(source.next());
    const line = held[at]!;
    positions[reader]! += 1;
    const slowest = Math.min(...positions) - dropped;
    held.splice(0, slowest);
    dropped += slowest;
    return line;
  };
  return positions.map((_, reader) => ({ [Symbol.asyncIterator]: () => ({ next: () => next(reader) }) }));
}
