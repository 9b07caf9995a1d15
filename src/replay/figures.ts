/**
 * What a replay finds and counts.
 */
import type { Interval } from '../u64.js';
import type { HoleFigures } from './holes.js';
import type { Answer, ReplaySpace } from './replay-space.js';

/** One answer of the model that differs from the log's. */
export interface Divergence {
  /** Line of the log that has the answer. */
  readonly line: number;
  /** The request: `unmap [0xff000000, 0xffffffff]`. */
  readonly operation: string;
  /** The log's answer: `OK`, an errno, a physical address … */
  readonly logged: string;
  /** The model's. */
  readonly answered: string;
  /** Why the model answered so: a sentence without a full stop. */
  readonly reason: string;
}

/** A request of a log with the model's answer. */
export interface ReplayStep {
  /** Line of the log that has the answer, or the request where the log has no answers. */
  readonly line: number;
  /** The request: `unmap [0xff000000, 0xffffffff]`. */
  readonly operation: string;
  /** The log's answer: `OK` or an errno. */
  readonly logged: string;
  readonly answer: Answer;
  /** The IOVA space it was made on. */
  readonly space: ReplaySpace;
  /** The IOVA in which areas came or went, if they could anywhere. */
  readonly changed?: Interval | undefined;
  /** Set if the answers differ. */
  readonly divergence?: Divergence;
}

/** Whom the replay of a format tells what it compared. */
export interface ReplayJournal {
  /** A translation was compared: one that the log answers, or one that it doesn't. */
  translation(kind: 'answered' | 'missed'): void;
  /** Answers differ. */
  diverge(divergence: Divergence): void;
  /** An event was left out: the model has nothing for it. */
  leftOut(): void;
  /** What a space has besides its areas has changed: reservations or domains. */
  settingChanged(space: ReplaySpace): void;
  /** A space has come to its end; what was free in it just before. */
  ended(space: ReplaySpace, holes: HoleFigures): void;
}

/** The figures of a replay. */
export interface ReplayFigures {
  /** Requests that were run: map, unmap and the like. */
  readonly requests: number;
  /** Translations with an answer in the log that were compared. */
  readonly translations: number;
  /** Translations without one, which had to be a miss in the model too. */
  readonly misses: number;
  /** Answers that differ. */
  readonly divergences: number;
  /** Lines that name a known event but could not be read. */
  readonly malformed: number;
  /** Events of the log that name no request the replay runs. */
  readonly notReplayed: number;
  /** The most areas that there were at a time, in all spaces together. */
  readonly peakAreas: number;
  /** The most bytes that were pinned at a time; bytes that are pinned twice count twice. */
  readonly peakPinnedBytes: bigint;
  /** Bytes of the largest hole in any space when it ended, or at the end of the log. */
  readonly largestHole: bigint;
  /** The worst fragmentation of any space when it ended, or at the end of the log (see `HoleFigures`). */
  readonly fragmentation: number;
}

/** A divergence as one line for people. */
export function formatDivergence(divergence: Divergence, profile: string): string {
  const { line, operation, logged, answered, reason } = divergence;
  return `line ${line}: ${operation}: the log says ${logged}, ${profile} says ${answered} because ${reason}`;
}

/** The step of a request with both answers; tells the journal where they differ. */
export function compared(
  step: Omit<ReplayStep, 'divergence'>,
  agree: boolean,
  journal: Pick<ReplayJournal, 'diverge'>,
): ReplayStep {
  if (agree) return step;
  const { line, operation, logged, answer } = step;
  const divergence = { line, operation, logged, answered: answer.code, reason: answer.because };
  journal.diverge(divergence);
  return { ...step, divergence };
}
