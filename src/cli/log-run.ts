/**
 * A log of whatever format on the model, event by event.
 */
import type { Explanation } from '../explain/explanation.js';
import {
  type Divergence,
  type MalformedLine,
  type NamedSpace,
  type RecordableStep,
  Replayer,
  type ReplayFigures,
  type ReplayQuestion,
  readLog,
} from '../replay/index.js';
import { TraceReplayer } from '../replay/formats/trace/trace-replayer.js';
import { type Profile, resolveProfile } from '../rules.js';
import { type LogInput, linesUntil } from './log-input.js';
import { UsageError } from './terminal.js';

/** Which part of a log, and on which model. */
export interface LogRunOptions {
  /** Whose behaviour; absent: what the log says, or the newest Linux's. */
  readonly profile: Profile | undefined;
  /** The last line that is read. */
  readonly until: number;
  /** Bytes that may be locked; absent: no limit, or what the log says. */
  readonly lockedLimit: bigint | undefined;
}

/** An answer that differs; a conformance trace has not always a reason for one. */
export type LogDivergence = Omit<Divergence, 'reason'> & { readonly reason?: string };

/** Whom a run tells what it finds, as it finds it. */
export interface LogListener {
  /** So many bytes of the log have been read. */
  readonly onBytes?: (count: number) => void;
  readonly onDivergence?: (divergence: LogDivergence) => void;
  readonly onMalformed?: (line: MalformedLine) => void;
  readonly onSpaceEnd?: (space: NamedSpace) => void;
}

/** Something that happens in a log. */
export interface LogAction {
  /** Its line. */
  readonly line: number;
  /** Another line that it is on. */
  readonly announcedOnLine: number | undefined;
  /** Runs it; `undefined` if it is no request that changes an IOVA space. */
  run(): Promise<RecordableStep | undefined>;
  /** The request as a question, if it can be asked as one. Nothing is run. */
  question(): Promise<ReplayQuestion | undefined>;
  /** What the model would do with the request now, if it can be asked. Nothing changes, the figures neither. */
  explain(): Promise<Explanation | undefined>;
}

/** A log that is being run. */
export interface LogRun {
  readonly profile: Profile;
  /** A user address at which there is memory. */
  readonly userAddress: bigint;
  /** What happens in the log, in order; each is run before the next is asked for. */
  readonly actions: AsyncGenerator<LogAction, void, undefined>;
  /** The model. */
  readonly replayer: LogReplayer;
}

/** What there is to know of the model that a log is run on. */
export interface LogReplayer {
  /** Pages that are pinned now; a page counts once for each pin. */
  readonly pinnedPages: number;
  /** The IOVA spaces that there are now. */
  spaces(): Iterable<NamedSpace>;
  /** Whether what a space has besides its areas has changed since this was last asked. */
  settingChanged(space: NamedSpace): boolean;
  /** Ends the log, and gives its figures. */
  finish(): Promise<ReplayFigures>;
}

/** In logs every user address below 2^47 is memory. */
const SOME_USER_ADDRESS = 0x7f00_0000_0000n;

/**
 * Opens a log; its format is seen from its first line.
 *
 * @throws UsageError if it cannot be read, or is a conformance trace that the options cannot be for
 */
export async function openRun(
  input: LogInput,
  options: LogRunOptions,
  listener: LogListener = {},
): Promise<LogRun> {
  const { onBytes } = listener;
  const lines = linesUntil(input.lines(onBytes), options.until);
  const first = await lines.next();
  if (first.done === true) throw new UsageError(`${input.name} is empty`);
  if (first.value.startsWith('{')) return traceRun(input.name, first.value, lines, options, listener);
  return logRun(withFirst(first.value, lines), options, listener);
}

async function* withFirst(first: string, rest: AsyncGenerator<string>): AsyncGenerator<string> {
  yield first;
  yield* rest;
}

function logRun(lines: AsyncGenerator<string>, options: LogRunOptions, listener: LogListener): LogRun {
  const { profile = resolveProfile(), lockedLimit } = options;
  const replayer = new Replayer({ ...listener, profile, lockedLimit });
  async function* actions(): AsyncGenerator<LogAction, void, undefined> {
    for await (const event of readLog(lines)) {
      yield {
        line: event.line,
        announcedOnLine: 'announcedOnLine' in event ? event.announcedOnLine : undefined,
        run: () => replayer.apply(event),
        question: async () => (event.type === 'malformed' ? undefined : replayer.question(event)),
        explain: async () => (event.type === 'malformed' ? undefined : replayer.explain(event)),
      };
    }
  }
  return {
    profile,
    userAddress: SOME_USER_ADDRESS,
    actions: actions(),
    replayer,
  };
}

function traceRun(
  name: string,
  header: string,
  lines: AsyncGenerator<string>,
  { profile, lockedLimit }: LogRunOptions,
  listener: LogListener,
): LogRun {
  const replayer = openTrace(name, header, listener);
  if (profile !== undefined && profile !== replayer.profile) {
    const recorded = `${name} was recorded under ${replayer.profile}`;
    throw new UsageError(`${recorded}; --profile ${profile} cannot change that`);
  }
  if (lockedLimit !== undefined) {
    throw new UsageError(`${name} is a conformance trace, which says itself how much may be locked`);
  }
  async function* actions(): AsyncGenerator<LogAction, void, undefined> {
    let line = 1;
    for await (const text of lines) {
      line += 1;
      const at = line;
      yield {
        line: at,
        announcedOnLine: undefined,
        run: () => replayer.apply(text, at),
        question: async () => replayer.question(text),
        explain: () => replayer.explain(text),
      };
    }
  }
  return {
    profile: replayer.profile,
    userAddress: replayer.userAddress ?? SOME_USER_ADDRESS,
    actions: actions(),
    replayer,
  };
}

function openTrace(name: string, header: string, listener: LogListener): TraceReplayer {
  try {
    return new TraceReplayer(header, listener);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new UsageError(`${name} begins with {, but not as a conformance trace does: ${why}`);
  }
}
