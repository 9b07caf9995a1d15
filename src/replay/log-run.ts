/**
 * What a run of a log is, whatever its format.
 */
import type { Explanation } from '../explain/explanation.js';
import type { Profile } from '../rules.js';
import type { Divergence, ReplayFigures } from './figures.js';
import type { MalformedLine } from './log-line.js';
import type { RecordableStep } from './recorder.js';
import type { NamedSpace, ReplayQuestion } from './replay-space.js';

/** Which part of a log, and on which model. */
export interface LogRunOptions {
  /** Whose behaviour; absent: what the log says, or the newest Linux's. */
  readonly profile: Profile | undefined;
  /** Whether `profile` counts also where the log says that it was recorded under another one. */
  readonly anyProfile?: boolean | undefined;
  /** The last line that is read. */
  readonly until: number;
  /** Bytes that may be locked; absent: no limit, or what the log says. */
  readonly lockedLimit: bigint | undefined;
}

/** An answer that differs; a conformance trace has not always a reason for one. */
export type LogDivergence = Omit<Divergence, 'reason'> & { readonly reason?: string };

/** A log to be run. */
export interface LogSource {
  /** What it is called. */
  readonly name: string;
  readonly lines: AsyncIterable<string>;
}

/** Whom a run tells what it finds, as it finds it. */
export interface LogListener {
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
  /** A user address at which there is memory; absent: every one below 2^47. */
  readonly userAddress: bigint | undefined;
  /** What happens in the log, in order; each is run before the next is asked for. */
  readonly actions: AsyncGenerator<LogAction, void, undefined>;
  /** The model. */
  readonly replayer: LogReplayer;
}

/** A format that a log has from its first line to its last. */
export interface RecordingFormat {
  /** Whether a log that begins with this line is one. */
  begins(first: string): boolean;
  /**
   * Runs a log whose first line has been read.
   *
   * @throws LogError if it is none, or the options cannot be for it
   */
  open(
    name: string,
    first: string,
    rest: AsyncIterable<string>,
    options: LogRunOptions,
    listener: LogListener,
  ): LogRun;
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
