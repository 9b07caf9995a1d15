/**
 * Operations that may have to wait, written once for both kinds of caller.
 *
 * An operation is a generator that yields a `Wait` where it has to wait, and nothing where it hasn't: an
 * uncontended call runs to its end without touching a promise. `start` drives it for the promise API, `finish`
 * for the synchronous one.
 *
 * An operation can be stopped where it waits: because its caller cannot wait, or because an `AbortSignal` says so.
 * The reason is then thrown into it at that point, where it has not got what it waited for, and its own failure
 * path undoes what it did. Where there is no way back it says so (`unstoppable`).
 */
import { invalidType } from './u64.js';

/** Something to wait for. */
export interface Waiting extends PromiseLike<unknown> {
  /** Gives the wait up: leaves the queue, or gives back what was got by now. Absent: it is left to itself. */
  cancel?(): void;
}

/** Begins a wait. It is called only by a driver that can wait, so a refused wait leaves no trace. */
export interface Wait {
  (): Waiting;
  /** The operation cannot be stopped here. */
  readonly unstoppable?: true;
}

/** An operation with result `T`; it yields what it has to wait for and is resumed with what that gave. */
export type Operation<T> = Generator<Wait, T, unknown>;

/**
 * What came of a step: its result, or the rest of it as an operation where it has to wait.
 *
 * A step is what an operation is, without a generator while nobody waits: the hot paths are made of them.
 */
export type Outcome<T extends bigint | undefined> = T | Operation<T>;

/** Whether the rest of a step is still to be run. */
export function hasToWait<T extends bigint | undefined>(outcome: Outcome<T>): outcome is Operation<T> {
  return typeof outcome === 'object';
}

/** The rest of a step, or its result, as a part of an operation. */
export function* rest<T extends bigint | undefined>(outcome: Outcome<T>): Operation<T> {
  return hasToWait(outcome) ? yield* outcome : outcome;
}

/** The rest of a step, or its result, after which `then` is told the result. */
export function* followed<T extends bigint | undefined>(
  outcome: Outcome<T>,
  then: (result: T) => void,
): Operation<T> {
  const result = yield* rest(outcome);
  then(result);
  return result;
}

/** Runs a step. What it or its rest throws goes through `failed`, which gives the error to throw instead. */
export function guarded<T extends bigint | undefined>(
  step: () => Outcome<T>,
  failed: (error: unknown) => unknown,
): Outcome<T> {
  try {
    const outcome = step();
    return hasToWait(outcome) ? guardedRest(outcome, failed) : outcome;
  } catch (error) {
    throw failed(error);
  }
}

function* guardedRest<T>(operation: Operation<T>, failed: (error: unknown) => unknown): Operation<T> {
  try {
    return yield* operation;
  } catch (error) {
    throw failed(error);
  }
}

/** What the options of a call that may have to wait have in common. */
export interface Abortable {
  /**
   * Ends the call where it waits, for a lock, for memory or for a callback: its promise is rejected with the reason of
   * the signal once what the call did has been undone. Memory that is pinned for it after that is unpinned again. A
   * signal that is aborted already ends the call before it begins. A call that is past undoing completes.
   */
  readonly signal?: AbortSignal | undefined;
}

/** Whether a value is something to wait for. */
export function isThenable<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof value === 'object' && value !== null && typeof (value as PromiseLike<T>).then === 'function';
}

/** Runs an operation up to its first wait at once; the promise gets its result or its error. */
export function start<T>(operation: Operation<T>, options?: Abortable): Promise<T> {
  try {
    const signal = options?.signal;
    if (signal !== undefined) checkNotAborted(signal);
    const step = operation.next();
    return step.done ? Promise.resolve(step.value) : resume(operation, step.value, signal);
  } catch (error) {
    return Promise.reject(error);
  }
}

/** As `start`, for a call that is a step. */
export function startStep<T extends bigint | undefined>(
  step: () => Outcome<T>,
  options?: Abortable,
): Promise<T> {
  try {
    const signal = options?.signal;
    if (signal !== undefined) checkNotAborted(signal);
    const outcome = step();
    return hasToWait(outcome) ? start(outcome, options) : Promise.resolve(outcome);
  } catch (error) {
    return Promise.reject(error);
  }
}

async function resume<T>(operation: Operation<T>, firstWait: Wait, signal?: AbortSignal): Promise<T> {
  let wait = firstWait;
  let stoppedBy = signal;
  for (;;) {
    let answer: unknown;
    let failure: { error: unknown } | undefined;
    try {
      answer = await (stoppedBy === undefined || wait.unstoppable ? wait() : untilAborted(wait, stoppedBy));
    } catch (error) {
      failure = { error };
      // What the operation waits for from now on, it waits for to undo what it did.
      if (signal?.aborted) stoppedBy = undefined;
    }
    const step = failure ? operation.throw(failure.error) : operation.next(answer);
    if (step.done) return step.value;
    wait = step.value;
  }
}

/** Waits, but no longer than until the signal is aborted. */
function untilAborted(wait: Wait, signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const waiting = wait();
    const abort = () => {
      reject(signal.reason);
      waiting.cancel?.();
    };
    signal.addEventListener('abort', abort);
    const settled = () => signal.removeEventListener('abort', abort);
    Promise.resolve(waiting).finally(settled).then(resolve, reject);
  });
}

/** @throws TypeError if it is no signal, its reason if it is aborted. */
function checkNotAborted(signal: AbortSignal): void {
  if (!(signal instanceof AbortSignal)) throw invalidType('options.signal', 'an AbortSignal', signal);
  signal.throwIfAborted();
}

/**
 * Runs an operation to its end now. Where it would have to wait, `refusal()` is thrown into it instead, so its
 * own failure path undoes what it did; should even that have to wait for others, it goes on behind.
 */
export function finish<T>(operation: Operation<T>, refusal: () => Error): T {
  const step = operation.next();
  if (step.done) return step.value;
  const refused = refusal();
  const rest = step.value.unstoppable ? step : operation.throw(refused);
  if (!rest.done) resume(operation, rest.value).catch(() => undefined);
  throw refused;
}

/** As `finish`, for a call that is a step. */
export function finishStep<T extends bigint | undefined>(outcome: Outcome<T>, refusal: () => Error): T {
  return hasToWait(outcome) ? finish(outcome, refusal) : outcome;
}

/** A wait in which the operation cannot be stopped. */
export function mustWait(begin: () => Waiting): Wait {
  return Object.assign(() => begin(), { unstoppable: true } as const);
}

/** Runs an operation as a part of another one that cannot be stopped in it, as when it undoes what was done. */
export function* unstoppable<T>(operation: Operation<T>): Operation<T> {
  let step = operation.next();
  while (!step.done) {
    const wait = step.value;
    let answer: unknown;
    let failure: { error: unknown } | undefined;
    try {
      answer = yield mustWait(wait);
    } catch (error) {
      failure = { error };
    }
    step = failure ? operation.throw(failure.error) : operation.next(answer);
  }
  return step.value;
}

/** Waits for what has been asked for already. If the operation is stopped, what comes of it is nobody's concern. */
export function* answerOf<T>(answer: PromiseLike<T>): Operation<T> {
  const promise = Promise.resolve(answer);
  try {
    return (yield () => promise) as T;
  } catch (error) {
    promise.catch(() => undefined);
    throw error;
  }
}
