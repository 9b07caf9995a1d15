/**
 * Figures as they come out of a run.
 */
import type { Point } from './fit.js';
import type { ProfileEntry } from './harness/profile.js';
import type { RowName } from './rows.js';

/** The subject that every other one is compared with. */
export const OURS = 'io-pagetable';

/** What one subject gave in one row at one size. */
export interface Figure {
  readonly row: RowName;
  readonly subject: string;
  readonly size: number;
  /** One figure for each round; the subjects of a comparison took turns, so round n of all was at the same time. */
  readonly rounds: readonly number[];
  /** Where the time goes, if that was asked for. */
  readonly profile?: readonly ProfileEntry[];
}

/** The middle value. @throws RangeError if there is none */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError('no values to take the median of');
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** How many times as much `figure` is as `base`: the median over the rounds, in which both met the same machine. */
export function ratio(figure: Figure, base: Figure): number {
  if (figure.rounds.length !== base.rounds.length) return median(figure.rounds) / median(base.rounds);
  return median(figure.rounds.map((value, round) => value / base.rounds[round]!));
}

/** All figures of a run. */
export class Results {
  readonly figures: readonly Figure[];

  constructor(figures: readonly Figure[]) {
    this.figures = figures;
  }

  /** A figure; `undefined` if this run did not measure it. */
  find(row: RowName, size: number, subject = OURS): Figure | undefined {
    return this.figures.find(
      (figure) => figure.row === row && figure.size === size && figure.subject === subject,
    );
  }

  /** The rows that were measured, in their order. */
  get rows(): RowName[] {
    return [...new Set(this.figures.map(({ row }) => row))];
  }

  /** The figures of a row. */
  of(row: RowName): Figure[] {
    return this.figures.filter((figure) => figure.row === row);
  }

  /** What a subject took in a row, by size. */
  points(row: RowName, subject: string): Point[] {
    return this.of(row)
      .filter((figure) => figure.subject === subject)
      .map(({ size, rounds }) => ({ size, value: median(rounds) }))
      .sort((a, b) => a.size - b.size);
  }
}
