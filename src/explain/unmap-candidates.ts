/**
 * What could be done instead of an `unmap` that fails.
 */
import type { ErrorReason } from '../errors.js';
import { pageBehind } from '../pages/mapped-area.js';
import type { IoptArea } from '../table/iopt-area.js';
import {
  between,
  byteLength,
  firstOf,
  hex,
  hexRange,
  type Interval,
  join,
  lastOf,
  MAX_U64,
  split,
} from '../u64.js';
import { rangeOf, type Subject } from './calls.js';
import { areasIn, type Candidate, countAreas, hullOf, type Planned, unmapsOf } from './candidate.js';
import type { AlternativeStep } from './explanation.js';

/** Candidates by the areas that are there. */
export function* unmapCandidates(
  subject: Subject,
  call: Planned<'unmap'>,
  reason: ErrorReason,
): Generator<Candidate> {
  const range = rangeOf(call.iova, call.length);
  if (range === undefined) {
    if (reason.check !== 'overflow') return;
    const length = MAX_U64 + 1n - call.iova;
    yield { steps: [{ ...call, length }], text: `unmap ${hex(length)} bytes, up to the end of the space` };
    return;
  }
  const areas = areasIn(subject.table, call.iova, call.length);
  if (reason.check === 'not-exact') yield* oneByOne(areas);
  if (reason.check !== 'partial-area') return;
  const whole = hullOf(areas);
  const touched = `unmap ${hexRange(whole)}, the whole of what the range touches (${countAreas(areas)})`;
  yield { steps: unmapsOf(whole), text: touched };
  const inside = areas.filter((area) => restsOf(area, range).length === 0);
  if (inside.length > 0) {
    const narrow = hullOf(inside);
    const text = `unmap ${hexRange(narrow)}, what lies wholly inside the range (${countAreas(inside)})`;
    yield { steps: unmapsOf(narrow), text };
  }
  const rests = areas.flatMap((area) => restsOf(area, range).map((rest) => ({ area, rest })));
  yield cutting(call, rests);
  yield* mappingAgain(subject, whole, rests);
}

/** A part of an area that lies outside the range. */
interface Rest {
  readonly area: IoptArea;
  readonly rest: Interval;
}

/** The parts of an area below and above a range. */
function restsOf(area: IoptArea, range: Interval): Interval[] {
  const rests: Interval[] = [];
  const first = join(range.page, range.offset);
  const last = join(range.lastPage, range.lastOffset);
  if (area.iova < first) rests.push(between(firstOf(area), split(first - 1n)));
  if (area.lastIova > last) rests.push(between(split(last + 1n), lastOf(area)));
  return rests;
}

/** For a table that takes one whole area a call. */
function* oneByOne(areas: readonly IoptArea[]): Generator<Candidate> {
  const steps = areas.map(({ iova, length }): AlternativeStep => ({ call: 'unmap', iova, length }));
  yield { steps, text: `unmap area by area: ${areas.map(hexRange).join(', ')}` };
}

/** Splitting the areas that stick out where the range begins and ends. */
function cutting(call: Planned<'unmap'>, rests: readonly Rest[]): Candidate {
  const addresses = rests.map(({ rest }) => {
    const start = join(rest.page, rest.offset);
    return start < call.iova ? call.iova - 1n : start - 1n;
  });
  const text = `split behind ${addresses.map(hex).join(' and ')} (cutIova), then repeat the call`;
  return { steps: [{ call: 'cutIova', addresses }, call], text };
}

/** Where areas cannot be split: unmapping them as a whole and mapping the rests again. */
function* mappingAgain(subject: Subject, whole: Interval, rests: readonly Rest[]): Generator<Candidate> {
  const pages = rests[0]!.area.pages;
  if (pages?.memory === undefined || rests.some(({ area }) => area.pages?.memory !== pages.memory)) return;
  const maps = rests.map(({ area, rest }): AlternativeStep => {
    const behind = pageBehind(area, rest);
    const user = area.pages!.addressOf(behind.page, behind.offset);
    return {
      call: 'map',
      iova: join(rest.page, rest.offset),
      uptr: join(user.page, user.offset),
      length: byteLength(rest),
      prot: area.protection,
    };
  });
  const stays = rests.map(({ rest }) => hexRange(rest)).join(' and ');
  yield {
    steps: [...unmapsOf(whole), ...maps],
    text: `unmap ${hexRange(whole)} and map ${stays} again`,
    subject: { ...subject, memory: pages.memory, accounting: pages.mode },
  };
}
