/**
 * `copy`: areas of one table, or parts of them, into another (or the same) table. The pages are shared.
 */
import { checkedInterval } from '../arguments.js';
import { IommuError, notMapped } from '../errors.js';
import { faultPoint } from '../faults.js';
import { guarded, type Operation, type Outcome, rest } from '../operation.js';
import { pageBehind } from '../pages/mapped-area.js';
import { type Address, between, compare, type Interval, lengthOf } from '../u64.js';
import { walkContiguous } from './area-lookup.js';
import { describeArea } from './iopt-area.js';
import { mapPages } from './map-pages.js';
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

/**
 * Copies mappings into `table` and gives the IOVA of the first.
 *
 * @throws EINVAL if the length is 0, EOVERFLOW if the source range passes 2^64 − 1, ENOENT if it is not wholly mapped;
 * else as `mapPages`. Nothing has changed then.
 */
export function copyPages(table: TableState, request: CopyRequest): Outcome<bigint> {
  const range = checkedInterval(request.srcIova, request.length);
  return request.from.iovaLock.tryRead()
    ? copyRange(table, request, range)
    : waitToCopy(table, request, range);
}

function* waitToCopy(table: TableState, request: CopyRequest, range: Interval): Operation<bigint> {
  yield () => request.from.iovaLock.read();
  return yield* rest(copyRange(table, request, range));
}

/** The iova lock of the source is held for reading, and given back. */
function copyRange(table: TableState, request: CopyRequest, range: Interval): Outcome<bigint> {
  const { from, length, iova, prot } = request;
  const parts = partsBehind(from, range);
  return guarded(
    () => mapPages(table, { parts, length, iova, prot }),
    (error) => {
      for (const part of parts) part.pages.references -= 1;
      return error;
    },
  );
}

/** Takes a reference to the pages behind a range, part by part. The lock is given back. */
function partsBehind(table: TableState, range: Interval): PagesPart[] {
  try {
    return table.rules.copyTakes === 'one-area' ? [wholeArea(table, range)] : partsOf(table, range);
  } finally {
    table.iovaLock.releaseRead();
  }
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
