/**
 * Explaining a call: would it succeed, and if not, why not and what would.
 */
import { IommuError } from '../errors.js';
import type { Operation } from '../operation.js';
import { describeArea } from '../table/iopt-area.js';
import { hex, join, PAGE_SIZE } from '../u64.js';
import { type CallResult, rangeOf, runStep, type Subject } from './calls.js';
import { type Candidate, MOST_STEPS } from './candidate.js';
import { candidatesFor } from './candidates.js';
import type { MissingPages } from './dry-memory.js';
import { DryRun } from './dry-run.js';
import type { Alternative, AlternativeStep, ExplainedCall, Explanation, PlannedCall } from './explanation.js';
import { type AskedTable, type ExplainRequest, readRequest } from './request.js';
import { describeCall, failureText, successText } from './words.js';

/** More alternatives are not looked for. */
const MOST_ALTERNATIVES = 4;
/** More areas are not listed. */
const MOST_AREAS = 16;

/** Reads a request and explains the call. @throws as `readRequest` and `explainCall` */
export function explainRequest(request: ExplainRequest, asked: AskedTable): Operation<Explanation> {
  const { subject, call } = readRequest(request, asked);
  return explainCall(subject, call);
}

/**
 * Says what a call would do. Nothing changes: it is run on a copy of what it can see.
 *
 * What cannot be foreseen: an error that a domain itself throws at a request, and what an access does when it is
 * asked to let go. Memory is pinned for a moment and unpinned, where the call would pin; it may make this wait.
 *
 * @throws what the user memory throws that is no `IommuError`, as the call would
 */
function* explainCall(subject: Subject, call: PlannedCall): Operation<Explanation> {
  const dry = new DryRun();
  const about = { call: describeCall(call), areas: areasOf(subject, call), letGo: dry.letGo };
  let result: CallResult;
  try {
    result = yield* runStep(dry, subject, call);
  } catch (error) {
    if (!(error instanceof IommuError)) throw error;
    return yield* explainFailure(subject, call, about, error);
  }
  const facts = { ...about, ...result, pinnedBytes: BigInt(dry.pinnedPages) * BigInt(PAGE_SIZE) };
  return { ok: true, ...facts, text: successText(call, facts) };
}

function* explainFailure(
  subject: Subject,
  call: PlannedCall,
  about: Omit<ExplainedCall, 'text'>,
  error: IommuError,
): Operation<Explanation> {
  const { code, errno, reason, unmapped } = error;
  const alternatives: Alternative[] = [];
  const seen = new Set<string>();
  for (const candidate of [
    ...candidatesFor(subject, call, reason),
    ...(yield* whatIsMissing(subject, call, error)),
  ]) {
    if (alternatives.length === MOST_ALTERNATIVES) break;
    const key = JSON.stringify(candidate.steps, (_, value) =>
      typeof value === 'bigint' ? hex(value) : value,
    );
    if (seen.has(key)) continue;
    seen.add(key);
    const works = yield* tried(candidate.subject ?? subject, candidate);
    if (works !== undefined) alternatives.push(works);
  }
  const facts = { ...about, code, reason, alternatives, ...(unmapped === undefined ? {} : { unmapped }) };
  return { ok: false, errno, ...facts, text: failureText(call, facts) };
}

/** The alternative, if its steps succeed one after the other. */
function* tried(subject: Subject, { steps, text }: Candidate): Operation<Alternative | undefined> {
  const dry = new DryRun();
  try {
    for (const step of steps) yield* runStep(dry, subject, step);
  } catch (error) {
    if (error instanceof IommuError) return undefined;
    throw error;
  }
  return { steps, text: dry.letGo.length === 0 ? text : `${text}, if the accesses with pins there let go` };
}

/** The locked-memory limit and the user memory without which the call fails. */
function* whatIsMissing(subject: Subject, call: PlannedCall, error: IommuError): Operation<Candidate[]> {
  if (error.reason.check !== 'memory' && error.reason.check !== 'locked-memory') return [];
  const dry = new DryRun({ lenient: true, unlimited: true });
  try {
    yield* runStep(dry, subject, call);
  } catch (other) {
    if (other instanceof IommuError) return [];
    throw other;
  }
  const needs = [...limitsFor(dry), ...memoryFor(dry)];
  if (needs.length >= MOST_STEPS) return [];
  const text = `${needs.map(({ words }) => words).join(' and ')}, then repeat the call`;
  return [{ steps: [...needs.map(({ step }) => step), call], text }];
}

interface Need {
  readonly step: AlternativeStep;
  readonly words: string;
}

function* limitsFor(dry: DryRun): Generator<Need> {
  for (const [account, copy] of dry.accounts) {
    if (copy.lockedPages <= account.limitPages) continue;
    const { of } = account;
    const limitBytes = BigInt(copy.lockedPages) * BigInt(PAGE_SIZE);
    const missingBytes = limitBytes - BigInt(Math.floor(account.limitPages)) * BigInt(PAGE_SIZE);
    yield {
      step: { call: 'raise-locked-limit', of, limitBytes, missingBytes },
      words: `raise the locked-memory limit of the ${of} by ${missingBytes} to ${limitBytes} bytes`,
    };
  }
}

function* memoryFor(dry: DryRun): Generator<Need> {
  for (const { missing } of dry.memories.values()) {
    for (const { page, lastPage, writable } of joined(missing)) {
      const uptr = join(page, 0);
      const length = BigInt(lastPage - page + 1) * BigInt(PAGE_SIZE);
      const range = `[${hex(uptr)}, ${hex(uptr + length - 1n)}]`;
      yield {
        step: { call: 'provide-memory', uptr, length, writable },
        words: `provide ${writable ? 'writable ' : ''}user memory at ${range}`,
      };
    }
  }
}

/** Runs of pages in order, those that touch or overlap joined. */
function joined(runs: readonly MissingPages[]): MissingPages[] {
  const result: MissingPages[] = [];
  for (const run of [...runs].sort((a, b) => a.page - b.page)) {
    const last = result.at(-1);
    if (last === undefined || run.page > last.lastPage + 1) {
      result.push({ ...run });
      continue;
    }
    last.lastPage = Math.max(last.lastPage, run.lastPage);
    last.writable ||= run.writable;
  }
  return result;
}

function areasOf({ table }: Subject, call: PlannedCall): ExplainedCall['areas'] {
  if (call.call === 'addDomain' || call.iova === undefined) return [];
  const range = rangeOf(call.iova, call.length);
  const areas = [];
  let node = range && table.areas.first(range);
  for (; node !== undefined && areas.length < MOST_AREAS; node = table.areas.nextIn(node, range!)) {
    areas.push(describeArea(node.value));
  }
  return areas;
}
