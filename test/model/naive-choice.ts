/** Where a table puts a mapping of itself: every hole in turn, from the lowest on. */
import type { Rules } from '../../src/rules.js';
import {
  covered,
  holes,
  lowestBit,
  MAX,
  min,
  PAGE,
  powerOfTwoFrom,
  type Range,
  Refusal,
} from './naive-ranges.js';

/** What the choice depends on. */
export interface Ground {
  readonly rules: Pick<Rules, 'placement' | 'placementAlignmentCap' | 'placementTakesLastByte'>;
  /** The alignment that the table demands. */
  readonly alignment: bigint;
  readonly areas: readonly Range[];
  readonly reserved: readonly Range[];
  readonly allowed: readonly Range[];
}

/** The lowest place for `length` bytes of user memory at `user`; EOVERFLOW, EINVAL or ENOSPC if there is none. */
export function chooseNaively(ground: Ground, user: bigint, length: bigint): bigint {
  const { areas, reserved, allowed } = ground;
  const { placement, placementAlignmentCap: cap, placementTakesLastByte } = ground.rules;
  if (length === 0n || length >= MAX / 2n) throw new Refusal('EOVERFLOW');
  const offset = user % PAGE;
  let step = powerOfTwoFrom(length);
  if (user !== 0n) step = min(step, lowestBit(user));
  if (cap < Number(MAX)) step = min(step, BigInt(cap));
  if (step < ground.alignment) throw new Refusal('EINVAL');

  const fitIn = (range: Range): bigint | undefined => {
    const up = ((range.start + step - 1n) / step) * step;
    if (up > MAX) return undefined;
    const at = up | offset;
    if (at > range.last || (at === range.last && !placementTakesLastByte)) return undefined;
    return range.last - at < length - 1n ? undefined : at;
  };

  const window = { start: PAGE, last: MAX - PAGE };
  const windows = allowed.length === 0 ? [window] : covered(allowed, window);
  const outer = placement === 'windows' ? windows : holes(areas, window);
  const inTheWay = placement === 'windows' ? [...reserved, ...areas] : reserved;
  for (const range of outer) {
    const start = fitIn(range);
    if (start === undefined) continue;
    for (const hole of holes(inTheWay, { start, last: range.last })) {
      const at = fitIn(hole);
      if (at !== undefined) return at;
    }
  }
  throw new Refusal('ENOSPC');
}
