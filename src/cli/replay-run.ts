/**
 * Replaying one log of whatever format, and what comes out of it.
 */
import { replayTrace } from '../replay/conformance/conformance.js';
import {
  type Divergence,
  type MalformedLine,
  Replayer,
  type ReplayFigures,
  ReplayRecorder,
  type ReplayRecording,
  type ReplayStep,
  readLog,
} from '../replay/index.js';
import type { Profile } from '../table/table-state.js';
import { type LogInput, linesUntil } from './log-input.js';
import { UsageError } from './terminal.js';

/** How a log is replayed. */
export interface ReplayRunOptions {
  /** Whose behaviour; absent: what the log says, or `linux`. */
  readonly profile: Profile | undefined;
  /** The last line that is read. */
  readonly until: number;
  /** Bytes that may be locked; absent: no limit. */
  readonly lockedLimit: bigint | undefined;
  /** Whether to end at the first divergence. */
  readonly stop: boolean;
  /** How many divergences are explained. */
  readonly explained: number;
  /** Whether to keep the steps. */
  readonly record: boolean;
}

/** A divergence with what could have been done instead. */
export interface ExplainedDivergence extends Omit<Divergence, 'reason'> {
  /** Why the model answered so; a conformance trace has none. */
  readonly reason?: string;
  /** The nearest calls that the model would have taken, in words, nearest first. */
  readonly instead: readonly string[];
}

/** Whom a run tells what it finds, as it finds it. */
export interface ReplayListener {
  /** So many bytes of the log have been read. */
  bytes(count: number): void;
  divergence(divergence: ExplainedDivergence, profile: Profile): void | Promise<void>;
  malformed(line: MalformedLine): void | Promise<void>;
}

/** What came out of a log. */
export interface ReplayResult {
  readonly profile: Profile;
  readonly operations: number;
  readonly divergences: number;
  /** All figures; a conformance trace has none but those above. */
  readonly figures: ReplayFigures | undefined;
  readonly recording: ReplayRecording | undefined;
}

/**
 * Replays a log.
 *
 * @throws UsageError if it cannot be read, or nothing in it is known
 */
export async function runReplay(
  input: LogInput,
  options: ReplayRunOptions,
  listener: ReplayListener,
): Promise<ReplayResult> {
  const lines = linesUntil(
    input.lines((bytes) => listener.bytes(bytes)),
    options.until,
  );
  const first = await lines.next();
  if (first.done === true) throw new UsageError(`${input.name} is empty`);
  const all = withFirst(first.value, lines);
  const result = first.value.startsWith('{')
    ? await runTrace(input.name, all, options, listener)
    : await runLog(input.name, all, options, listener);
  const { translations = 0, misses = 0, malformed = 0, notReplayed = 0 } = result.figures ?? {};
  if (result.operations + translations + misses + malformed + notReplayed === 0) {
    throw new UsageError(`nothing in ${input.name} is in a format that is known`);
  }
  return result;
}

async function* withFirst(
  first: string,
  rest: AsyncGenerator<string, void, undefined>,
): AsyncGenerator<string, void, undefined> {
  yield first;
  yield* rest;
}

async function runLog(
  name: string,
  lines: AsyncIterable<string>,
  { profile = 'linux', lockedLimit, stop, explained, record }: ReplayRunOptions,
  listener: ReplayListener,
): Promise<ReplayResult> {
  const recorder = record ? new ReplayRecorder({ log: name, profile }) : undefined;
  const found: Divergence[] = [];
  const unreadable: MalformedLine[] = [];
  let line = 0;
  let count = 0;
  let over = false;
  const replayer = new Replayer({
    profile,
    lockedLimit,
    onDivergence: (divergence) => found.push(divergence),
    onMalformed: (malformed) => unreadable.push(malformed),
    onSpaceEnd: (space) => {
      // What ends with the log is no step of it.
      if (!over) recorder?.ended(space, line);
    },
  });
  const tell = async (step: ReplayStep | undefined, question: () => Promise<readonly string[]>) => {
    for (const malformed of unreadable.splice(0)) await listener.malformed(malformed);
    let advice: readonly string[] = [];
    for (const divergence of found.splice(0)) {
      count += 1;
      const ofStep = divergence === step?.divergence;
      // What succeeded needs no alternative; and to ask now would be to ask for it again.
      const refused = ofStep && step?.answer.code !== 'OK';
      const instead = refused && count <= explained ? await question() : [];
      if (ofStep) advice = instead;
      else recorder?.divergence(divergence);
      await listener.divergence({ ...divergence, instead }, profile);
    }
    return advice;
  };
  for await (const event of readLog(lines)) {
    line = event.line;
    const step = await replayer.apply(event);
    const advice = await tell(step, async () => {
      if (event.type === 'malformed') return [];
      const explanation = await replayer.explain(event);
      return explanation?.ok === false ? explanation.alternatives.map(({ text }) => text) : [];
    });
    if (step !== undefined && recorder !== undefined) {
      const { pinnedPages } = replayer;
      const settingChanged = replayer.settingChanged(step.space);
      const more = advice.length === 0 ? {} : { advice: advice.join('; or ') };
      recorder.step(step, { pinnedPages, settingChanged, ...more });
    }
    if (stop && count > 0) break;
  }
  over = true;
  const figures = await replayer.finish();
  await tell(undefined, async () => []);
  return {
    profile,
    operations: figures.requests,
    divergences: figures.divergences,
    figures,
    recording: recorder?.recording(figures),
  };
}

async function runTrace(
  name: string,
  lines: AsyncIterable<string>,
  { profile }: ReplayRunOptions,
  listener: ReplayListener,
): Promise<ReplayResult> {
  const texts: string[] = [];
  for await (const text of lines) texts.push(text);
  const recorded = profileOf(texts[0]!);
  if (profile !== undefined && profile !== recorded) {
    throw new UsageError(`${name} was recorded under ${recorded}; --profile ${profile} cannot change that`);
  }
  const mismatches: ExplainedDivergence[] = [];
  const operations = await replayTrace(name, `${texts.join('\n')}\n`, {
    report: ({ line, operation, expected, got }) => {
      mismatches.push({ line, operation, logged: expected, answered: got, instead: [] });
    },
  });
  for (const mismatch of mismatches) await listener.divergence(mismatch, recorded);
  return {
    profile: recorded,
    operations,
    divergences: mismatches.length,
    figures: undefined,
    recording: undefined,
  };
}

/** The profile that the header of a conformance trace names; a bad header is the replay's to tell. */
function profileOf(header: string): Profile {
  return /"profile" *: *"rfc-v1"/.test(header) ? 'rfc-v1' : 'linux';
}
