/**
 * Groups of rows. Each group runs in a process of its own, with its peers, so that no heap or optimised code of
 * another group is in its way.
 */
import { type Figure, OURS } from '../results.js';
import type { RowName } from '../rows.js';
import { type Effort, type Subject, sideBySide } from './side-by-side.js';

/** What a group of rows is told. */
export interface GroupOptions {
  /** Whether the whole benchmark has to end within a minute. */
  readonly quick: boolean;
  /** Whether the time of our own subjects is profiled. */
  readonly profile: boolean;
}

/** A group of rows. */
export type Group = (run: GroupRun) => Promise<void>;

/** A run of a group: takes its subjects and figures. */
export class GroupRun {
  readonly quick: boolean;
  readonly figures: Figure[] = [];
  /** Lets a process that measures another tree have its turn; done between rounds. */
  readonly giveWay: () => Promise<void>;
  readonly #usual: Effort;

  constructor(options: GroupOptions, giveWay: () => Promise<void>) {
    const { quick, profile } = options;
    this.quick = quick;
    this.giveWay = giveWay;
    this.#usual = quick
      ? { rounds: 5, turn: 3, warmup: 6, profile }
      : { rounds: 21, turn: 25, warmup: 50, profile };
  }

  /** The sizes of a row, without the costliest in a quick run. */
  sizes(all: readonly number[], quick: readonly number[]): readonly number[] {
    return this.quick ? quick : all;
  }

  /** Measures subjects side by side. */
  async measure(subjects: readonly Subject[], effort: Partial<Effort> = {}): Promise<void> {
    this.figures.push(...(await sideBySide(subjects, { ...this.#usual, ...effort }, this.giveWay)));
  }

  /** Measures what takes long enough to be timed once a turn, and `rounds` times in all. */
  async measureWhole(
    subjects: readonly Subject[],
    rounds: number,
    warmup = this.#usual.warmup,
  ): Promise<void> {
    await this.measure(subjects, { rounds, turn: 0, warmup });
  }

  /** Takes figures that are no times. */
  record(row: RowName, size: number, rounds: readonly number[], subject = OURS): void {
    this.figures.push({ row, subject, size, rounds });
  }
}
