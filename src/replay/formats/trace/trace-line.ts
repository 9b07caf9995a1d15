/** Performing one line of a conformance trace. */
import { IommuError } from '../../../errors.js';
import { readObject, TraceArguments, TraceError } from './trace-arguments.js';
import { requireAllRead } from './trace-header.js';
import { type Answer, FailedOperation, type TraceTarget } from './trace-target.js';

/** What a line says. */
export interface TraceLine {
  /** The operation: `map`. */
  readonly operation: string;
  /** All its fields. */
  readonly fields: object;
  /** The recorded answer. */
  readonly expected: Answer;
}

/** What came of a line. */
export interface TraceOutcome {
  /** The answer given; `undefined` if what was thrown is no answer. */
  readonly got: Answer | undefined;
  /** What was thrown, if something was. */
  readonly error?: unknown;
}

/** @throws SyntaxError or TraceError if it is no operation with an answer */
export function readTraceLine(text: string): TraceLine {
  const fields = readObject(parse(text), 'the line');
  const read = new TraceArguments(fields);
  const operation = read.text('op');
  const expected = readObject(read.value('expect'), 'expect');
  new TraceArguments(expected).text('errno');
  return { operation, fields, expected: { ...expected } };
}

/**
 * Performs an operation. An error of the library is an answer.
 *
 * @throws TraceError if the operation is not known, or its arguments are not as the format says
 */
export async function performTraceLine(target: TraceTarget, line: TraceLine): Promise<TraceOutcome> {
  const perform = target.operations.get(line.operation);
  if (perform === undefined) throw new TraceError(`operation ${line.operation} is not known`);
  const fields = new TraceArguments(line.fields);
  for (const known of ['op', 'expect']) fields.value(known);
  const outcome = await outcomeOf(() => perform(fields));
  requireAllRead(fields);
  return outcome;
}

async function outcomeOf(perform: () => Promise<Answer>): Promise<TraceOutcome> {
  try {
    return { got: { errno: 'OK', ...(await perform()) } };
  } catch (error) {
    if (error instanceof TraceError) throw error;
    const { cause, outputs } = error instanceof FailedOperation ? error : { cause: error, outputs: {} };
    return { got: cause instanceof IommuError ? { errno: cause.code, ...outputs } : undefined, error: cause };
  }
}

/** JSON with the keys in order, so that equal values have equal texts. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}

/** What was thrown, in words. */
export function describeThrown(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

function parse(text: string): unknown {
  return JSON.parse(text);
}
