/**
 * What could be done instead of a call that fails: candidates, to be tried in a dry run before anyone sees them.
 *
 * Nothing here decides whether something is legal. A candidate that isn't is only a wasted try.
 */
import type { ErrorReason } from '../errors.js';
import { accessCandidates } from './access-candidates.js';
import type { Subject } from './calls.js';
import type { Candidate } from './candidate.js';
import { domainCandidates } from './domain-candidates.js';
import type { PlannedCall } from './explanation.js';
import { mappingCandidates, memoryCandidates, sourceCandidates } from './mapping-candidates.js';
import { unmapCandidates } from './unmap-candidates.js';

/** Candidates for a call that fails for a reason, nearest first. */
export function* candidatesFor(
  subject: Subject,
  call: PlannedCall,
  reason: ErrorReason,
): Generator<Candidate> {
  switch (call.call) {
    case 'map':
      yield* mappingCandidates(subject, call, reason);
      if (reason.check === 'memory') yield* memoryCandidates(call, BigInt(reason.uptr));
      break;
    case 'copy':
      yield* sourceCandidates(subject, call, reason);
      yield* mappingCandidates(subject, call, reason);
      break;
    case 'unmap':
      yield* unmapCandidates(subject, call, reason);
      break;
    case 'access':
      yield* accessCandidates(subject, call, reason);
      break;
    case 'addDomain':
      yield* domainCandidates(subject, reason);
      break;
  }
}
