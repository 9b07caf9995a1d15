/** Finding areas by IOVA. */
import type { IntervalTree } from '../interval-tree.js';
import { type Address, between, compare, firstOf, type Interval, lastOf, next } from '../u64.js';
import type { IoptArea } from './iopt-area.js';

/** A contiguous part of a range that one area covers. */
export interface AreaPart {
  readonly area: IoptArea;
  /** First address of the part. */
  readonly first: Address;
  /** Last address of the part (inclusive). */
  readonly last: Address;
}

/** The area that contains an address and has pages, if there is one. */
export function areaAt(areas: IntervalTree<IoptArea>, iova: Address): IoptArea | undefined {
  const area = areas.first(between(iova, iova))?.value;
  return area?.pages === undefined ? undefined : area;
}

/**
 * Visits the areas that cover a range without a gap, each with its part of the range. The walk ends at the
 * range's last byte, or before the first address that no area with pages covers, which it returns.
 */
export function* walkContiguous(
  areas: IntervalTree<IoptArea>,
  range: Interval,
): Generator<AreaPart, Address | undefined> {
  const rangeLast = lastOf(range);
  let first = firstOf(range);
  let node = areas.first(between(first, first));
  while (node !== undefined && node.value.pages !== undefined && compare(node, first) <= 0) {
    const area = node.value;
    if (compare(lastOf(area), rangeLast) >= 0) {
      yield { area, first, last: rangeLast };
      return undefined;
    }
    yield { area, first, last: lastOf(area) };
    // The area ends before the range does, so there is an address after it.
    first = next(lastOf(area))!;
    node = areas.next(node);
  }
  return first;
}
