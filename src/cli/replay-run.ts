/**
 * Replaying one log of whatever format, and what comes out of it.
 */
import {
  type MalformedLine,
  type NamedSpace,
  type ReplayFigures,
  ReplayRecorder,
  type ReplayRecording,
} from '../replay/index.js';
import type { LogAction, LogDivergence, LogRunOptions } from '../replay/log-run.js';
import { openLogRun } from '../replay/open-log.js';
import type { Profile } from '../rules.js';
import type { LogInput } from './log-input.js';
import { UsageError } from './terminal.js';

/** How a log is replayed. */
export interface ReplayRunOptions extends LogRunOptions {
  /** Whether to end at the first divergence. */
  readonly stop: boolean;
  /** How many divergences are explained. */
  readonly explained: number;
  /** Whether to keep the steps. */
  readonly record: boolean;
}

/** A divergence with what could have been done instead. */
export interface ExplainedDivergence extends LogDivergence {
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
  readonly figures: ReplayFigures;
  readonly recording: ReplayRecording | undefined;
}

/**
 * Replays a log.
 *
 * @throws UsageError if it cannot be read, or nothing in it is known; LogError if it cannot be replayed
 */
export async function runReplay(
  input: LogInput,
  options: ReplayRunOptions,
  listener: ReplayListener,
): Promise<ReplayResult> {
  const { stop, explained, record } = options;
  const found: LogDivergence[] = [];
  const unreadable: MalformedLine[] = [];
  const ended: NamedSpace[] = [];
  let count = 0;
  const lines = input.lines((bytes) => listener.bytes(bytes));
  const { profile, actions, replayer } = await openLogRun({ name: input.name, lines }, options, {
    onDivergence: (divergence) => found.push(divergence),
    onMalformed: (malformed) => unreadable.push(malformed),
    onSpaceEnd: (space) => ended.push(space),
  });
  const recorder = record ? new ReplayRecorder({ log: input.name, profile }) : undefined;
  const tell = async (ofStep: object | undefined, question: () => Promise<readonly string[]>) => {
    for (const malformed of unreadable.splice(0)) await listener.malformed(malformed);
    let advice: readonly string[] = [];
    for (const divergence of found.splice(0)) {
      count += 1;
      const instead = divergence === ofStep && count <= explained ? await question() : [];
      if (divergence === ofStep) advice = instead;
      else recorder?.divergence(divergence);
      await listener.divergence({ ...divergence, instead }, profile);
    }
    return advice;
  };
  for await (const action of actions) {
    const step = await action.run();
    const advice = await tell(step?.divergence, async () => {
      // What succeeded needs no alternative; and to ask now would be to ask for it again.
      const refused = step?.answer.error !== undefined;
      return refused ? alternativesTo(action) : [];
    });
    if (step !== undefined && recorder !== undefined) {
      const { pinnedPages } = replayer;
      const settingChanged = step.space !== undefined && replayer.settingChanged(step.space);
      const more = advice.length === 0 ? {} : { advice: advice.join('; or ') };
      recorder.step(step, { pinnedPages, settingChanged, ...more });
    }
    for (const space of ended.splice(0)) recorder?.ended(space, action.line);
    if (stop && count > 0) break;
  }
  // What ends with the log is no step of it.
  const figures = await replayer.finish();
  await tell(undefined, async () => []);
  const { requests, translations, misses, divergences, malformed, notReplayed } = figures;
  if (requests + translations + misses + malformed + notReplayed === 0) {
    throw new UsageError(`nothing in ${input.name} is in a format that is known`);
  }
  return { profile, operations: requests, divergences, figures, recording: recorder?.recording(figures) };
}

async function alternativesTo(action: LogAction): Promise<readonly string[]> {
  const explanation = await action.explain();
  return explanation?.ok === false ? explanation.alternatives.map(({ text }) => text) : [];
}
