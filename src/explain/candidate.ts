/**
 * What all kinds of candidates have in common.
 */
import type { IntervalTree } from '../interval-tree.js';
import { walkContiguous } from '../table/area-lookup.js';
import type { IoptArea } from '../table/iopt-area.js';
import type { TableState } from '../table/table-state.js';
import { between, byteLength, firstOf, hexRange, type Interval, join, lastOf, MAX_U64 } from '../u64.js';
import { rangeOf, type Subject } from './calls.js';
import type { Alternative, AlternativeStep, PlannedCall } from './explanation.js';

/** An alternative that has not been tried. */
export interface Candidate extends Alternative {
  /** What its steps are about, where that is not what the call is about. */
  readonly subject?: Subject;
}

/** A planned call of one kind. */
export type Planned<Name extends PlannedCall['call']> = Extract<PlannedCall, { readonly call: Name }>;

/** No alternative has more steps than these. */
export const MOST_STEPS = 16;

/** Unmapping areas, each as a whole, before the call. */
export function* unmappingFirst(
  areas: readonly IoptArea[],
  unmaps: readonly AlternativeStep[],
  call: PlannedCall,
): Generator<Candidate> {
  if (unmaps.length === 0 || unmaps.length >= MOST_STEPS) return;
  const what = unmaps.length === 1 ? hexRange(hullOf(areas)) : areas.map(hexRange).join(', ');
  yield {
    steps: [...unmaps, call],
    text: `unmap ${what} first (${countAreas(areas)}), then repeat the call`,
  };
}

/** The areas that a range touches, in order. */
export function areasIn(table: TableState, iova: bigint, length: bigint): IoptArea[] {
  const range = rangeOf(iova, length);
  const areas: IoptArea[] = [];
  if (range === undefined) return areas;
  for (let node = table.areas.first(range); node !== undefined; node = table.areas.nextIn(node, range)) {
    areas.push(node.value);
  }
  return areas;
}

/** From the first byte of the first area to the last of the last. */
export function hullOf(areas: readonly IoptArea[]): Interval {
  return between(firstOf(areas[0]!), lastOf(areas.at(-1)!));
}

/** `1 area`, `2 areas` */
export function countAreas(areas: readonly IoptArea[]): string {
  return `${areas.length} area${areas.length === 1 ? '' : 's'}`;
}

/** An unmap of a range; none of the whole space, whose length is no 64-bit number. */
export function unmapsOf(range: Interval): AlternativeStep[] {
  const length = byteLength(range);
  return length > MAX_U64 ? [] : [{ call: 'unmap', iova: join(range.page, range.offset), length }];
}

/** How many bytes are mapped without a gap from the start of a range on. */
export function mappedPrefix(areas: IntervalTree<IoptArea>, range: Interval): bigint {
  let length = 0n;
  for (const { first, last } of walkContiguous(areas, range)) length += byteLength(between(first, last));
  return length;
}
