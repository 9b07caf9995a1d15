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
import { invalidType, noError } from './arguments.js';
import { beyondCallOut } from './call-out.js';

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
  /** The operation has failed with this, and waits to undo what it did. */
  readonly failure?: { readonly error: unknown } | undefined;
}

/** An operation with result `T`; it yields what it has to wait for and is resumed with what that gave. */
export type Operation<T> = Generator<Wait, T, unknown>;

/**
 * A call that is made so often that it has a quick way: a plain function that does all of it while every lock is free
 * and nothing has to be waited for.
 */
export interface QuickCall<T> {
  /**
   * The quick way. `undefined`: `rest` has to be run, which goes on from where this has come to; that may be the very
   * beginning. While `quickWays` are not allowed it is always so, and nothing has been done.
   */
  quickly(): T | undefined;
  /** What is left of the call. */
  rest(): Operation<T>;
  /** Takes note of the result. */
  done(result: T): void;
  /** What the call fails with where `error` is thrown. */
  failed(error: unknown): unknown;
}

/** Whether calls may go their quick ways. They give the same answers without; tests switch them off to prove that. */
export const quickWays = { allowed: true };

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
  let signal: AbortSignal | undefined;
  try {
    signal = readSignal(options);
    signal?.throwIfAborted();
    const step = operation.next();
    return step.done ? Promise.resolve(step.value) : resume(operation, step.value, signal);
  } catch (error) {
    return Promise.reject(failureOf(error, signal));
  }
}

/** As `start`, for a call with a quick way. `read` reads its arguments, after the signal. */
export function startQuickly<T>(read: () => QuickCall<T>, options?: Abortable): Promise<T> {
  let call: QuickCall<T> | undefined;
  let signal: AbortSignal | undefined;
  try {
    signal = readSignal(options);
    signal?.throwIfAborted();
    call = read();
    const result = call.quickly();
    if (result !== undefined) {
      call.done(result);
      return Promise.resolve(result);
    }
    const rest = call.rest();
    const step = rest.next();
    if (!step.done) return resume(rest, step.value, signal, call);
    call.done(step.value);
    return Promise.resolve(step.value);
  } catch (error) {
    return Promise.reject(failureOf(call === undefined ? error : call.failed(error), signal));
  }
}

/** The signal of a call, which is read once. @throws TypeError if it is no signal */
function readSignal(options: Abortable | undefined): AbortSignal | undefined {
  const signal = options?.signal;
  if (signal === undefined) return undefined;
  if (!(signal instanceof AbortSignal)) throw invalidType(signal, 'options.signal', 'an AbortSignal');
  return signal;
}

/** What a call fails with. What is not even an object is the reason of its signal, or was thrown by code of others. */
function failureOf(error: unknown, signal?: AbortSignal): unknown {
  const isObject = typeof error === 'object' && error !== null;
  return isObject || (signal?.aborted && error === signal.reason) ? error : noError(error);
}

async function resume<T>(
  operation: Operation<T>,
  firstWait: Wait,
  signal?: AbortSignal,
  call?: QuickCall<T>,
): Promise<T> {
  let wait = firstWait;
  let stoppedBy = signal;
  try {
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
      if (step.done) {
        call?.done(step.value);
        return step.value;
      }
      wait = step.value;
    }
  } catch (error) {
    throw failureOf(call === undefined ? error : call.failed(error), signal);
  }
}

/** Waits, but no longer than until the signal is aborted. It may be aborted by now: the wait does not begin then. */
function untilAborted(wait: Wait, signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const waiting = wait();
    const stops = stopsOf(signal);
    const stop = () => {
      reject(signal.reason);
      waiting.cancel?.();
    };
    stops.add(stop);
    Promise.resolve(waiting).then(
      (answer) => {
        stops.delete(stop);
        resolve(answer);
      },
      (error: unknown) => {
        stops.delete(stop);
        reject(error);
      },
    );
  });
}

/** What a signal stops. However much that is, the signal has one listener, and none while it is nothing. */
class Stops {
  readonly #signal: AbortSignal;
  readonly #stops = new Set<() => void>();
  readonly #abort = () => {
    const stops = [...this.#stops];
    this.#stops.clear();
    this.#signal.removeEventListener('abort', this.#abort);
    for (const stop of stops) stop();
  };

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  add(stop: () => void): void {
    if (this.#stops.size === 0) this.#signal.addEventListener('abort', this.#abort);
    this.#stops.add(stop);
  }

  delete(stop: () => void): void {
    if (this.#stops.delete(stop) && this.#stops.size === 0) {
      this.#signal.removeEventListener('abort', this.#abort);
    }
  }
}

const stopsBySignal = new WeakMap<AbortSignal, Stops>();

function stopsOf(signal: AbortSignal): Stops {
  let stops = stopsBySignal.get(signal);
  if (stops === undefined) {
    stops = new Stops(signal);
    stopsBySignal.set(signal, stops);
  }
  return stops;
}

/**
 * Runs an operation to its end now. Where it would have to wait, `refusal()` is thrown into it instead, so its
 * own failure path undoes what it did; should even that have to wait for others, it goes on behind. An operation that
 * waits only to undo what it did, because it has failed already, gives that failure.
 */
export function finish<T>(operation: Operation<T>, refusal: () => Error): T {
  try {
    const step = operation.next();
    if (step.done) return step.value;
    const { unstoppable: goesOn, failure } = step.value;
    const refused = refusal();
    const rest = goesOn ? step : operation.throw(refused);
    if (!rest.done) resume(operation, rest.value).catch(() => undefined);
    throw failure === undefined ? refused : failure.error;
  } catch (error) {
    throw failureOf(error);
  }
}

/** As `finish`, for a call with a quick way. */
export function finishQuickly<T>(call: QuickCall<T>, refusal: () => Error): T {
  try {
    const result = call.quickly();
    const finished = result === undefined ? finish(call.rest(), refusal) : result;
    call.done(finished);
    return finished;
  } catch (error) {
    throw failureOf(call.failed(error));
  }
}

/** A call with a quick way as a part of an operation. */
export function* quickCall<T>(read: () => QuickCall<T>): Operation<T> {
  const call = read();
  try {
    const result = call.quickly() ?? (yield* call.rest());
    call.done(result);
    return result;
  } catch (error) {
    throw call.failed(error);
  }
}

/**
 * A wait in which the operation can be neither stopped nor refused.
 *
 * @param failure - what the operation fails with when it is over
 */
export function mustWait(begin: () => Waiting, failure?: { readonly error: unknown }): Wait {
  return Object.assign(() => beyondCallOut(begin), { unstoppable: true, failure } as const);
}

/**
 * Runs an operation as a part of another one that cannot be stopped in it, as when it undoes what was done.
 *
 * @param failure - why it does: what the other operation fails with after it
 */
export function* unstoppable<T>(
  operation: Operation<T>,
  failure?: { readonly error: unknown },
): Operation<T> {
  let step = operation.next();
  while (!step.done) {
    const wait = step.value;
    let answer: unknown;
    let failed: { error: unknown } | undefined;
    try {
      answer = yield mustWait(wait, failure);
    } catch (error) {
      failed = { error };
    }
    step = failed ? operation.throw(failed.error) : operation.next(answer);
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
