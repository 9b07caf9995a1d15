/**
 * The figures of this tree against those of another one.
 */
import { type Figure, median, OURS } from './results.js';
import type { RowName } from './rows.js';

/** A figure of both trees. */
export interface Comparison {
  readonly row: RowName;
  readonly subject: string;
  readonly size: number;
  /** Median of this tree. */
  readonly ours: number;
  /** Median of the other one. */
  readonly theirs: number;
  /** How many times as much this tree takes: the median over the rounds, which were side by side. */
  readonly ratio: number;
  /** Between these two are half of the rounds. */
  readonly quarters: readonly [lower: number, upper: number];
}

const OWNER = 'the owner itself';

/** Whether a subject runs code of the library. */
export function isOurs(subject: string): boolean {
  return subject.startsWith(OURS) || subject === OWNER;
}

/** One figure for each subject, row and size, with the rounds of all runs. */
export function pooled(figures: readonly Figure[]): Figure[] {
  const found = new Map<string, Figure>();
  for (const figure of figures) {
    const key = keyOf(figure);
    const before = found.get(key);
    found.set(key, before ? { ...before, rounds: [...before.rounds, ...figure.rounds] } : figure);
  }
  return [...found.values()];
}

/** What both trees measured, each of them with `pooled` figures. */
export function compare(ours: readonly Figure[], theirs: readonly Figure[]): Comparison[] {
  const others = new Map(theirs.map((figure) => [keyOf(figure), figure]));
  return ours.flatMap((figure) => {
    const other = others.get(keyOf(figure));
    return other === undefined ? [] : [comparisonOf(figure, other)];
  });
}

function keyOf({ row, subject, size }: Figure): string {
  return JSON.stringify([row, subject, size]);
}

function comparisonOf({ row, subject, size, rounds }: Figure, other: Figure): Comparison {
  const [ours, theirs] = [median(rounds), median(other.rounds)];
  const ratios =
    rounds.length === other.rounds.length
      ? rounds.map((value, round) => ratioOf(value, other.rounds[round]!)).sort((a, b) => a - b)
      : [ratioOf(ours, theirs)];
  const quarter = (parts: number) => ratios[Math.round((parts * (ratios.length - 1)) / 4)]!;
  return { row, subject, size, ours, theirs, ratio: median(ratios), quarters: [quarter(1), quarter(3)] };
}

/** Nothing against nothing is the same. */
function ratioOf(ours: number, theirs: number): number {
  return ours === theirs ? 1 : ours / theirs;
}
