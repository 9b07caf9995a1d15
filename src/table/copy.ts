/**
 * `copy`: areas of one table, or parts of them, into another (or the same) table. The pages are shared.
 */
import { checkedInterval } from '../arguments.js';
import { IommuError, notMapped } from '../errors.js';
import { faultPoint } from '../faults.js';
import { type Operation, quickWays } from '../operation.js';
import { pageBehind } from '../pages/mapped-area.js';
import { type Address, between, compare, type Interval, lengthOf } from '../u64.js';
import { walkContiguous } from './area-lookup.js';
import { describeArea } from './iopt-area.js';
import { type Mapping, mapPages, mapQuickly, newMapping } from './map-pages.js';
import type { PagesPart } from './place-areas.js';
import type { TableState } from './table-state.js';

/** A `copy` request with its arguments read. */
export interface CopyRequest {
  readonly from: TableState;
  readonly srcIova: Address;
  readonly length: Address;
  readonly iova: Address | undefined;
  readonly prot: number;
}

/** A copy in progress. */
export interface Copying {
  readonly table: TableState;
  readonly request: CopyRequest;
  /** The mapping of the parts, once there is a reference to the pages of each. */
  mapping: Mapping | undefined;
}

/** A copy that has not begun. */
export function copyingOf(table: TableState, request: CopyRequest): Copying {
  return { table, request, mapping: undefined };
}

/**
 * Copies mappings into a table and gives the IOVA of the first. Goes on where `copyQuickly` ended.
 *
 * @throws EINVAL if the length is 0, EOVERFLOW if the source range passes 2^64 − 1, ENOENT if it is not wholly mapped;
 * else as `mapPages`. Nothing has changed then.
 */
export function* copyPages(copying: Copying): Operation<bigint> {
  const { from, srcIova, length } = copying.request;
  if (copying.mapping === undefined) {
    const range = checkedInterval(srcIova, length);
    if (!from.iovaLock.tryRead()) yield () => from.iovaLock.read();
    takeParts(copying, range);
  }
  const mapping = copying.mapping!;
  try {
    return yield* mapPages(mapping);
  } catch (error) {
    giveUpParts(mapping);
    throw error;
  }
}

/** The quick way. `undefined`: `copyPages` is to go on. @throws as `copyPages` */
export function copyQuickly(copying: Copying): bigint | undefined {
  const { from, srcIova, length } = copying.request;
  if (!quickWays.allowed) return undefined;
  const range = checkedInterval(srcIova, length);
  if (!from.iovaLock.tryRead()) return undefined;
  const mapping = takeParts(copying, range);
  try {
    return mapQuickly(mapping);
  } catch (error) {
    giveUpParts(mapping);
    throw error;
  }
}

/** Takes a reference to the pages behind a range, part by part. The iova lock of the source is given back. */
function takeParts(copying: Copying, range: Interval): Mapping {
  const { from, length, iova, prot } = copying.request;
  try {
    const parts = from.rules.copyTakes === 'one-area' ? [wholeArea(from, range)] : partsOf(from, range);
    copying.mapping = newMapping(copying.table, { parts, length, iova, prot });
    return copying.mapping;
  } finally {
    from.iovaLock.releaseRead();
  }
}

function giveUpParts({ placement }: Mapping): void {
  for (const part of placement.parts) part.pages.references -= 1;
}

function partsOf(table: TableState, range: Interval): PagesPart[] {
  const parts: PagesPart[] = [];
  const walk = walkContiguous(table.areas, range);
  let step = walk.next();
  for (; !step.done; step = walk.next()) {
    const { area, first, last } = step.value;
    faultPoint(table.faults, 'copy-part');
    parts.push({
      pages: area.pages!,
      start: pageBehind(area, first),
      length: lengthOf(between(first, last)),
    });
  }
  if (step.value !== undefined) throw notMapped(step.value);
  for (const part of parts) part.pages.references += 1;
  return parts;
}

/** The one area that the range is exactly. */
function wholeArea(table: TableState, range: Interval): PagesPart {
  const area = table.areas.first(range)?.value;
  if (area?.pages === undefined) throw notMapped(range);
  if (compare(area, range) !== 0 || compare(lengthOf(area), lengthOf(range)) !== 0) {
    throw new IommuError('ENOENT', { check: 'not-exact', area: describeArea(area) });
  }
  area.pages.references += 1;
  return { pages: area.pages, start: pageBehind(area, area), length: lengthOf(area) };
}
