/**
 * The spaces of a recording at any time.
 */
import type { RecordedArea, RecordedSetting, RecordedStep, ReplayRecording } from '../../replay/recording.js';
import type { DrawnArea, DrawnSpace } from '../drawn-spans.js';

/** An area, and between which times it is there: time n is after the n-th kept step. */
export interface Lifetime {
  readonly space: number;
  readonly area: DrawnArea;
  readonly from: number;
  /** The first time at which it is gone. */
  to: number;
}

/** The areas that a step took and made. */
export interface Change {
  readonly gone: readonly Lifetime[];
  readonly came: readonly Lifetime[];
}

/** What a step did that did nothing. */
export const NO_CHANGE: Change = { gone: [], came: [] };

/** Goes to any time in the recording; the way there costs what changed on it. */
export class History {
  readonly lifetimes: Lifetime[] = [];
  readonly #changes: Change[] = [];
  readonly #settings = new Map<number, { readonly time: number; readonly setting: RecordedSetting }[]>();
  readonly #live = new Map<number, Map<string, Lifetime>>();
  #time = 0;

  /** How many times there are after time 0. */
  readonly length: number;
  /** The first time at which most areas are there. */
  readonly peak: number;

  constructor({ spaces, steps }: ReplayRecording) {
    this.length = steps.length;
    for (const { id, areas, setting } of spaces) {
      this.#live.set(id, new Map(areas.map((area) => [area.iova, this.#begin(id, area, 0)])));
      this.#settings.set(id, [{ time: 0, setting }]);
    }
    let most = this.lifetimes.length;
    let now = most;
    let peak = 0;
    for (const [at, step] of steps.entries()) {
      const { gone, came } = this.#record(step, at + 1);
      now += came.length - gone.length;
      if (now > most) [most, peak] = [now, at + 1];
    }
    this.peak = peak;
    this.#time = steps.length;
  }

  /** A space at a time. */
  at(time: number, space: number): DrawnSpace & { readonly alignment: number } {
    while (this.#time < time) this.#apply(this.#changes[this.#time++]!, 'came', 'gone');
    while (this.#time > time) this.#apply(this.#changes[--this.#time]!, 'gone', 'came');
    const setting = this.#settings.get(space)!.findLast((since) => since.time <= time)!.setting;
    const areas = [...this.#live.get(space)!.values()].map(({ area }) => area);
    return { ...setting, areas };
  }

  /** What the step before a time did. */
  changeAt(time: number): Change {
    return this.#changes[time - 1] ?? NO_CHANGE;
  }

  /** What a space was set to at any time. */
  settings(space: number): RecordedSetting[] {
    return this.#settings.get(space)!.map(({ setting }) => setting);
  }

  #record(step: RecordedStep, time: number): Change {
    if (step.space === null) {
      this.#changes.push(NO_CHANGE);
      return NO_CHANGE;
    }
    const { space, removed = [], added = [], setting } = step;
    const live = this.#live.get(space)!;
    if (setting !== undefined) this.#settings.get(space)!.push({ time, setting });
    const gone = removed.flatMap((iova) => live.get(iova) ?? []);
    for (const lifetime of gone) {
      lifetime.to = time;
      live.delete(lifetime.area.iova);
    }
    const came = added.map((area) => this.#begin(space, area, time));
    for (const lifetime of came) live.set(lifetime.area.iova, lifetime);
    const change = gone.length + came.length === 0 ? NO_CHANGE : { gone, came };
    this.#changes.push(change);
    return change;
  }

  #begin(space: number, area: RecordedArea, from: number): Lifetime {
    // A recording doesn't say who holds an area.
    const held = { pins: 0, preventAccess: false, storageDomain: null };
    const drawn: DrawnArea = { ...area, source: area.source ?? 'user', ...held };
    const lifetime = { space, area: drawn, from, to: this.length + 1 };
    this.lifetimes.push(lifetime);
    return lifetime;
  }

  #apply(change: Change, comes: keyof Change, goes: keyof Change): void {
    for (const { space, area } of change[goes]) this.#live.get(space)!.delete(area.iova);
    for (const lifetime of change[comes]) this.#live.get(lifetime.space)!.set(lifetime.area.iova, lifetime);
  }
}
