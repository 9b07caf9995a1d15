/**
 * What could be done instead of a `map` or `copy` that fails.
 */
import { type ErrorReason, IommuError } from '../errors.js';
import { IntervalTree } from '../interval-tree.js';
import { pageBehind } from '../pages/mapped-area.js';
import { doubleSpans } from '../spans.js';
import { areaAt } from '../table/area-lookup.js';
import { chooseIova } from '../table/choose-iova.js';
import type { Reservation, TableState } from '../table/table-state.js';
import {
  type Address,
  between,
  byteLength,
  hex,
  hexRange,
  type Interval,
  join,
  MAX_U64,
  previous,
  split,
  WHOLE_SPACE,
} from '../u64.js';
import { rangeOf, type Subject } from './calls.js';
import {
  areasIn,
  type Candidate,
  hullOf,
  mappedPrefix,
  type Planned,
  unmappingFirst,
  unmapsOf,
} from './candidate.js';

type Mapping = Planned<'map'> | Planned<'copy'>;

/** Candidates by where a mapping is to go, and how. */
export function* mappingCandidates(
  subject: Subject,
  call: Mapping,
  reason: ErrorReason,
): Generator<Candidate> {
  const { table } = subject;
  switch (reason.check) {
    case 'overlap': {
      yield* otherPlaces(subject, call);
      const areas = call.iova === undefined ? [] : areasIn(table, call.iova, call.length);
      const oneUnmap = table.rules.unmapTakes === 'areas-inside' && areas.length > 0;
      yield* unmappingFirst(areas, oneUnmap ? unmapsOf(hullOf(areas)) : areas.flatMap(unmapsOf), call);
      break;
    }
    case 'reserved':
      yield* otherPlaces(subject, call);
      break;
    case 'no-space':
      yield* spareRoom(subject, call);
      break;
    case 'overflow':
      yield* shorterLengths(table, call);
      yield* otherPlaces(subject, call);
      break;
    case 'alignment':
      yield* alignedCalls(BigInt(reason.alignment), call);
      break;
    case 'permission':
      if (call.prot === 'rw') yield { steps: [{ ...call, prot: 'r' }], text: 'ask for read permission only' };
      break;
  }
}

/** The next free place above the one asked for, else the lowest. */
function* otherPlaces({ table, from }: Subject, call: Mapping): Generator<Candidate> {
  const user = userAddressOf(call, from);
  if (user === undefined) return;
  const above = call.iova === undefined ? undefined : lowestPlace(table, user, call.length, call.iova);
  if (above !== undefined)
    yield placedAt(call, above, `the next free IOVA that suits ${hex(call.length)} bytes`);
  const lowest = lowestPlace(table, user, call.length, 0n);
  if (lowest !== undefined && above === undefined) yield placedAt(call, lowest, 'the lowest free IOVA');
}

function placedAt(call: Mapping, iova: bigint, what: string): Candidate {
  return { steps: [{ ...call, iova }], text: `use IOVA ${hex(iova)}, ${what}` };
}

/** Where the table itself would put a mapping if nothing below `from` were free. */
function lowestPlace(
  table: TableState,
  user: Address,
  length: bigint,
  from: bigint,
  allowed = table.allowed,
): bigint | undefined {
  const reserved = new IntervalTree<Reservation>();
  for (let node = table.reserved.head(); node !== undefined; node = table.reserved.next(node)) {
    reserved.insert(node, node.value);
  }
  const below = previous(split(from));
  if (below !== undefined) reserved.insert(between(split(0n), below), { owner: null });
  try {
    const place = chooseIova({ ...table, reserved, allowed }, user, split(length));
    return join(place.page, place.offset);
  } catch (error) {
    if (error instanceof IommuError) return undefined;
    throw error;
  }
}

/** User address behind the first byte of a mapping. */
function userAddressOf(call: Mapping, from: TableState | undefined): Address | undefined {
  if (call.call === 'map') return split(call.uptr);
  const area = areaAt(from!.areas, split(call.srcIova));
  if (area === undefined) return undefined;
  const { page, offset } = pageBehind(area, split(call.srcIova));
  return area.pages!.addressOf(page, offset);
}

/** Places outside the allowed ranges, and what fits in the largest hole. */
function* spareRoom({ table, from }: Subject, call: Mapping): Generator<Candidate> {
  const user = userAddressOf(call, from)!;
  const outside = lowestPlace(table, user, call.length, 0n, new IntervalTree());
  if (outside !== undefined) {
    yield placedAt(call, outside, 'which is free: a fixed IOVA need not be in an allowed range');
  }
  let largest: Interval | undefined;
  for (const span of doubleSpans(table.reserved, table.areas, WHOLE_SPACE)) {
    if (span.used === 0 && (largest === undefined || byteLength(span) > byteLength(largest))) largest = span;
  }
  if (largest === undefined) return;
  const alignment = BigInt(table.alignment);
  const iova = roundUp(join(largest.page, largest.offset), alignment);
  const room = join(largest.lastPage, largest.lastOffset) + 1n - iova;
  const length = room - (room % alignment);
  if (length <= 0n || length >= call.length) return;
  const text = `the largest hole, ${hexRange(largest)}, has room for ${hex(length)} bytes at ${hex(iova)}`;
  yield { steps: [{ ...call, iova, length }], text };
}

/** As much as there is room for below 2^64. */
function* shorterLengths(table: TableState, call: Mapping): Generator<Candidate> {
  const starts = [call.iova, call.call === 'map' ? call.uptr + 1n : call.srcIova];
  const rooms = starts.flatMap((start) => (start === undefined ? [] : [MAX_U64 + 1n - start]));
  const room = rooms.sort((a, b) => (a < b ? -1 : 1))[0]!;
  const length = room - (room % BigInt(table.alignment));
  if (length > 0n && length < call.length)
    yield { steps: [{ ...call, length }], text: `use ${hex(length)} bytes` };
}

function* alignedCalls(alignment: bigint, call: Mapping): Generator<Candidate> {
  const down = (value: bigint) => value - (value % alignment);
  const up = (value: bigint) => roundUp(value, alignment);
  const { iova, length } = call;
  const iovas = iova === undefined ? [undefined] : new Set([down(iova), up(iova)]);
  for (const at of iovas) {
    for (const bytes of new Set([up(length), down(length)])) {
      if (bytes === 0n || bytes > MAX_U64 || (at ?? 0n) > MAX_U64) continue;
      const changed = [
        ...(at === undefined || at === iova ? [] : [`IOVA ${hex(at)}`]),
        ...(bytes === length ? [] : [`${hex(bytes)} bytes`]),
      ];
      const place = at === undefined ? {} : { iova: at };
      yield { steps: [{ ...call, ...place, length: bytes }], text: `use ${changed.join(' and ')}` };
    }
  }
  // The bytes asked for and what else is in their io pages.
  const start = call.call === 'map' ? call.uptr : call.srcIova;
  const first = down(start);
  const bytes = up(length + start - first);
  if (first === start || bytes > MAX_U64) return;
  const whole = { length: bytes, ...(iova === undefined ? {} : { iova: down(iova) }) };
  const range = `[${hex(first)}, ${hex(first + bytes - 1n)}]`;
  const at = iova === undefined ? '' : ` at IOVA ${hex(down(iova))}`;
  if (call.call === 'map') {
    yield { steps: [{ ...call, ...whole, uptr: first }], text: `map the whole pages at user ${range}${at}` };
  } else {
    yield { steps: [{ ...call, ...whole, srcIova: first }], text: `copy the whole pages of ${range}${at}` };
  }
}

/** Candidates by the user memory that is there. */
export function* memoryCandidates(call: Planned<'map'>, missing: bigint): Generator<Candidate> {
  if (call.prot === 'rw') yield { steps: [{ ...call, prot: 'r' }], text: 'map it for reading only' };
  const length = missing - call.uptr;
  if (length <= 0n) return;
  const text = `map the ${hex(length)} bytes in front of user address ${hex(missing)}`;
  yield { steps: [{ ...call, length }], text };
}

/** Candidates by what is there to be copied. */
export function* sourceCandidates(
  subject: Subject,
  call: Planned<'copy'>,
  reason: ErrorReason,
): Generator<Candidate> {
  const { areas } = subject.from!;
  const range = rangeOf(call.srcIova, call.length);
  if (range === undefined) return;
  if (reason.check === 'not-mapped') {
    const length = mappedPrefix(areas, range);
    if (length > 0n) {
      const text = `copy the ${hex(length)} bytes that are mapped from ${hex(call.srcIova)} on`;
      yield { steps: [{ ...call, length }], text };
    }
  }
  if (reason.check === 'not-exact') {
    const area = areas.first(range)!.value;
    const text = `copy area ${hexRange(area)} as a whole`;
    yield { steps: [{ ...call, srcIova: area.iova, length: area.length }], text };
  }
}

function roundUp(value: bigint, alignment: bigint): bigint {
  return ((value + alignment - 1n) / alignment) * alignment;
}
