/**
 * Operations that may have to wait, written once for both kinds of caller.
 *
 * An operation is a generator that yields a `Wait` where it has to wait, and nothing where it hasn't: an
 * uncontended call runs to its end without touching a promise. `start` drives it for the promise API, `finish`
 * for the synchronous one.
 */

/** Begins a wait. It is called only by a driver that can wait, so a refused wait leaves no trace. */
export type Wait = () => PromiseLike<unknown>;

/** An operation with result `T`; it yields what it has to wait for and is resumed with what that gave. */
export type Operation<T> = Generator<Wait, T, unknown>;

/** Whether a value is something to wait for. */
export function isThenable<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof value === 'object' && value !== null && typeof (value as PromiseLike<T>).then === 'function';
}

/** Runs an operation up to its first wait at once; the promise gets its result or its error. */
export function start<T>(operation: Operation<T>): Promise<T> {
  try {
    const step = operation.next();
    return step.done ? Promise.resolve(step.value) : resume(operation, step.value);
  } catch (error) {
    return Promise.reject(error);
  }
}

async function resume<T>(operation: Operation<T>, firstWait: Wait): Promise<T> {
  let wait = firstWait;
  for (;;) {
    let answer: unknown;
    let failure: { error: unknown } | undefined;
    try {
      answer = await wait();
    } catch (error) {
      failure = { error };
    }
    const step = failure ? operation.throw(failure.error) : operation.next(answer);
    if (step.done) return step.value;
    wait = step.value;
  }
}

/**
 * Runs an operation to its end now. Where it would have to wait, `refusal()` is thrown into it instead, so its
 * own failure path undoes what it did; should even that have to wait for others, it goes on behind.
 */
export function finish<T>(operation: Operation<T>, refusal: () => Error): T {
  const step = operation.next();
  if (step.done) return step.value;
  const refused = refusal();
  const undoing = operation.throw(refused);
  if (!undoing.done) resume(operation, undoing.value).catch(() => undefined);
  throw refused;
}
