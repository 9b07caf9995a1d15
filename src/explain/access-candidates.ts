/**
 * What could be done instead of an `access` that fails.
 */
import type { ErrorReason } from '../errors.js';
import { pageBehind } from '../pages/mapped-area.js';
import { misalignedPart } from '../table/alignment.js';
import { areaAt } from '../table/area-lookup.js';
import { firstOf, hex, MAX_U64, PAGE_SIZE } from '../u64.js';
import { rangeOf, type Subject } from './calls.js';
import { type Candidate, mappedPrefix, type Planned, unmappingFirst, unmapsOf } from './candidate.js';

/** Candidates by what is mapped. */
export function* accessCandidates(
  { table }: Subject,
  call: Planned<'access'>,
  reason: ErrorReason,
): Generator<Candidate> {
  const { iova } = call;
  const range = rangeOf(iova, call.length);
  switch (reason.check) {
    case 'overflow': {
      const length = MAX_U64 + 1n - iova;
      yield { steps: [{ ...call, length }], text: `use ${hex(length)} bytes` };
      break;
    }
    case 'not-mapped': {
      const length = mappedPrefix(table.areas, range!);
      const text = `use the ${hex(length)} bytes that are mapped from ${hex(iova)} on`;
      if (length > 0n) yield { steps: [{ ...call, length }], text };
      break;
    }
    case 'permission':
      if (call.write) yield { steps: [{ ...call, write: false }], text: 'access it for reading' };
      break;
    case 'argument': {
      const area = range && areaAt(table.areas, firstOf(range));
      const offset = area === undefined ? 0n : BigInt(pageBehind(area, range!).offset);
      if (offset === 0n || offset > iova) return;
      const whole = { iova: iova - offset, length: call.length + offset };
      yield { steps: [{ ...call, ...whole }], text: `begin at ${hex(whole.iova)}, where the page begins` };
      break;
    }
    case 'alignment': {
      const areas = [...table.areas].filter((area) => misalignedPart(area, PAGE_SIZE) !== undefined);
      yield* unmappingFirst(areas, areas.flatMap(unmapsOf), call);
      break;
    }
  }
}
