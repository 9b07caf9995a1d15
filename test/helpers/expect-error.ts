/** Expecting calls to be refused. */
import { expect } from 'vitest';
import { ERRNO, type ErrorCode, IommuError } from '../../src/errors.js';

/** The error of a call that must fail with an errno. */
export async function expectError(call: PromiseLike<unknown>, code: ErrorCode): Promise<IommuError> {
  const outcome = await call.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  return checked(outcome, code);
}

/** As `expectError`, for a call that fails before it returns. */
export function expectErrorNow(call: () => unknown, code: ErrorCode): IommuError {
  try {
    return checked({ value: call() }, code);
  } catch (error) {
    return checked({ error }, code);
  }
}

function checked(outcome: { value: unknown } | { error: unknown }, code: ErrorCode): IommuError {
  if (!('error' in outcome)) expect.fail(`the call gave ${String(outcome.value)}, not ${code}`);
  const { error } = outcome;
  if (!(error instanceof IommuError)) throw error;
  expect(error.code, error.message).toBe(code);
  expect(error.errno).toBe(-ERRNO[code]);
  const { reason } = error;
  expect(reason.check, 'which check failed').toBeTruthy();
  for (const [name, said] of Object.entries(reason)) expect(said, `reason.${name}`).not.toBe('');
  return error;
}
