/**
 * What could be done instead of an `addDomain` that fails.
 */
import type { ErrorReason } from '../errors.js';
import { spans } from '../spans.js';
import { ioPageSize, misalignedPart } from '../table/alignment.js';
import type { IoptArea } from '../table/iopt-area.js';
import { between, contains, join, split } from '../u64.js';
import type { Subject } from './calls.js';
import { type Candidate, unmappingFirst, unmapsOf } from './candidate.js';

/** Candidates by the areas and allowed ranges that the domain does not suit. */
export function* domainCandidates(subject: Subject, reason: ErrorReason): Generator<Candidate> {
  const { table } = subject;
  const { geometry } = subject.adding!;
  const aperture = between(split(geometry.aperture.start), split(geometry.aperture.last));
  switch (reason.check) {
    case 'overlap':
    case 'alignment': {
      const alignment = Math.max(ioPageSize(geometry), table.alignment);
      const suits = (area: IoptArea) =>
        misalignedPart(area, alignment) === undefined && contains(aperture, area);
      const areas = [...table.areas].filter((area) => !suits(area));
      yield* unmappingFirst(areas, areas.flatMap(unmapsOf), { call: 'addDomain' });
      break;
    }
    case 'allowed': {
      const ranges = [...spans(table.allowed, aperture)]
        .filter((span) => span.used)
        .map((span) => ({
          start: join(span.page, span.offset),
          last: join(span.lastPage, span.lastOffset),
        }));
      const text =
        'allow only what the aperture of the domain has of the allowed ranges, then repeat the call';
      yield { steps: [{ call: 'setAllowedIova', ranges }, { call: 'addDomain' }], text };
      break;
    }
  }
}
