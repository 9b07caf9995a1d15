/** Failing each fault point of a call in turn, and looking at what it leaves behind. */

import { isDeepStrictEqual } from 'node:util';
import { invalidType } from '../arguments.js';
import { type ErrorCode, IommuError } from '../errors.js';
import { FAULT_ERRORS, type FaultPoint } from '../faults.js';
import { FaultCounter } from './fault-injector.js';

/** A call on a setting that has been made for it. */
export interface FaultScenario {
  /** The call that is to fail, and then to succeed. */
  call(): Promise<unknown>;
  /** All that a failed call must leave as it was, as plain data: it is compared deeply. */
  state(): unknown;
  /** Checks the setting when a call has ended; throws if something is wrong with it. */
  check?(): void;
  /** Fault points at which a part of the call may stay done; the same call again does the rest. */
  readonly partial?: readonly FaultPoint[] | undefined;
  /** Fault points at which the whole call stays done, though it fails. */
  readonly done?: readonly FaultPoint[] | undefined;
  /** Fault points after which the call may succeed in another way, with another state. */
  readonly detours?: readonly FaultPoint[] | undefined;
}

/**
 * Runs a call with its first fault point failing, then with its second one, and so on until it meets no more. Each
 * time it must fail as the fault point says and leave everything as it was; then, without a fault, it must succeed
 * and leave everything as a call that has never failed does.
 *
 * @param prepare - makes the setting anew for each run, with this injector in its tables; not armed meanwhile
 * @returns the fault points that failed, in order
 * @throws Error saying which rule was broken at which fault point, and what `check` throws
 */
export async function sweepFaults(
  prepare: (faults: FaultCounter) => Promise<FaultScenario>,
): Promise<FaultPoint[]> {
  if (typeof prepare !== 'function') throw invalidType(prepare, 'prepare', 'a function');
  const swept: FaultPoint[] = [];
  const untroubled = await prepare(new FaultCounter());
  await untroubled.call();
  untroubled.check?.();
  const wanted = untroubled.state();
  for (;;) {
    const point = await failOnce(prepare, swept.length + 1, wanted);
    if (point === undefined) return swept;
    swept.push(point);
  }
}

/** One run. Gives the point that failed, or `undefined` if the call has fewer than `nth`. */
async function failOnce(
  prepare: (faults: FaultCounter) => Promise<FaultScenario>,
  nth: number,
  wanted: unknown,
): Promise<FaultPoint | undefined> {
  const faults = new FaultCounter();
  const scenario = await prepare(faults);
  const before = scenario.state();
  faults.arm(nth);
  const failure = await failureOf(scenario);
  const point = faults.failed;
  faults.disarm();
  const name = `fault point ${nth} (${point ?? 'not reached'})`;
  const isOne = (points: readonly FaultPoint[] = []) => point !== undefined && points.includes(point);
  scenario.check?.();
  if (failure === undefined && isOne(scenario.detours)) return point;
  requireFailure(name, failure, point && FAULT_ERRORS[point]);
  if (failure === undefined || isOne(scenario.done)) {
    requireEqual(name, 'after the call', scenario.state(), wanted);
    return point;
  }
  if (!isOne(scenario.partial)) requireEqual(name, 'after the failed call', scenario.state(), before);
  const again = await failureOf(scenario);
  requireFailure(`${name}, the same call again`, again, undefined);
  scenario.check?.();
  requireEqual(name, 'after the same call again', scenario.state(), wanted);
  return point;
}

async function failureOf(scenario: FaultScenario): Promise<{ error: unknown } | undefined> {
  try {
    await scenario.call();
    return undefined;
  } catch (error) {
    return { error };
  }
}

function requireFailure(
  name: string,
  failure: { error: unknown } | undefined,
  code: ErrorCode | undefined,
): void {
  const actual = failure?.error instanceof IommuError ? failure.error.code : failure?.error;
  if (actual === code) return;
  const happened = failure === undefined ? 'it succeeded' : String(failure.error);
  throw new Error(
    `${name}: the call should ${code === undefined ? 'succeed' : `fail with ${code}`}: ${happened}`,
    {
      cause: failure?.error,
    },
  );
}

function requireEqual(name: string, when: string, actual: unknown, expected: unknown): void {
  if (isDeepStrictEqual(actual, expected)) return;
  throw new Error(`${name}: the state ${when} is not what it should be`, { cause: { actual, expected } });
}
