/**
 * Explanations in words.
 */
import { type AreaInTheWay, type ErrorCode, type ErrorReason, sentence } from '../errors.js';
import { hex, hexRange } from '../u64.js';
import { rangeOf } from './calls.js';
import type { Alternative, PlannedCall } from './explanation.js';

/** A planned call in words: `map [0x1000, 0x1fff] from user 0x10000 (rw)`. */
export function describeCall(call: PlannedCall): string {
  switch (call.call) {
    case 'map': {
      const { iova, uptr, length } = call;
      const where =
        iova === undefined ? `${hex(length)} bytes at a chosen IOVA` : describeRange(iova, length);
      return `map ${where} from user ${hex(uptr)} (${describeProtection(call.prot)})`;
    }
    case 'copy': {
      const { srcIova, iova, length } = call;
      const where = iova === undefined ? 'a chosen IOVA' : hex(iova);
      return `copy ${describeRange(srcIova, length)} to ${where} (${describeProtection(call.prot)})`;
    }
    case 'unmap':
      return `unmap ${describeRange(call.iova, call.length)}`;
    case 'access':
      return `access ${describeRange(call.iova, call.length)}${call.write ? ' for writing' : ''}`;
    case 'addDomain':
      return 'addDomain';
  }
}

function describeProtection(prot: string): string {
  return prot === '' ? 'no access' : prot;
}

/** A range in words, also one that is none. */
function describeRange(iova: bigint, length: bigint): string {
  const range = rangeOf(iova, length);
  return range === undefined ? `${hex(length)} bytes from ${hex(iova)}` : hexRange(range);
}

/** What describes a call that would succeed. */
export interface SuccessFacts {
  readonly iova?: bigint;
  readonly unmapped?: bigint;
  readonly pinnedBytes: bigint;
  readonly letGo: readonly AreaInTheWay[];
}

/** The text of a call that would succeed. */
export function successText(call: PlannedCall, { iova, unmapped, pinnedBytes, letGo }: SuccessFacts): string {
  const facts = [`${describeCall(call)} would succeed`];
  if (iova !== undefined && !('iova' in call)) facts.push(`at IOVA ${hex(iova)}`);
  if (unmapped === 0n)
    facts.push('with 0 bytes, as nothing is mapped there (the ioctl IOMMU_IOAS_UNMAP says ENOENT)');
  else if (unmapped !== undefined) facts.push(`and remove ${hex(unmapped)} bytes`);
  if (pinnedBytes > 0n) facts.push(`and pin ${hex(pinnedBytes)} bytes`);
  return `${facts.join(' ')}${letGo.length === 0 ? '' : `, ${condition(letGo)}`}.`;
}

/** What describes a call that would fail. */
export interface FailureFacts {
  readonly code: ErrorCode;
  readonly reason: ErrorReason;
  readonly unmapped?: bigint;
  readonly letGo: readonly AreaInTheWay[];
  readonly alternatives: readonly Alternative[];
}

/** The text of a call that would fail. */
export function failureText(call: PlannedCall, failure: FailureFacts): string {
  const { code, reason, unmapped = 0n, letGo, alternatives } = failure;
  const sentences = [`${describeCall(call)} would fail with ${code}: ${sentence(reason)}.`];
  if (unmapped > 0n) sentences.push(`${hex(unmapped)} bytes in front of it would be removed all the same.`);
  if (letGo.length > 0) sentences.push(`That is ${condition(letGo)}.`);
  const [first, ...others] = alternatives.map(({ text }) => text);
  if (first !== undefined) sentences.push(`Instead: ${[first, ...others].join('; or ')}.`);
  return sentences.join(' ');
}

function condition(letGo: readonly AreaInTheWay[]): string {
  const areas = letGo.map(({ iova, last }) => `[${iova}, ${last}]`).join(', ');
  return `if the accesses with pins in ${areas} let go when they are asked to (else EDEADLOCK)`;
}
