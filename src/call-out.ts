/**
 * Code of the user's that runs while locks of the library are held: a memory that pins or copies.
 *
 * Whoever calls such code marks the time until it returns. A call into the library that is made meanwhile may go
 * on, but it may not queue for a lock: the call around it may hold that lock and wait for the code to end. Only to undo
 * what it has done it may, as it cannot be left half done.
 */

let depth = 0;

/** Before a call of the user's code; `leaveCallOut` follows when it has returned or thrown. */
export function enterCallOut(): void {
  depth += 1;
}

/** After a call of the user's code. */
export function leaveCallOut(): void {
  depth -= 1;
}

/** Whether this is called by code of the user's that the library has called with locks held. */
export function insideCallOut(): boolean {
  return depth > 0;
}

/** Does a step of a call that cannot be refused any more, as if it were not called by such code. */
export function beyondCallOut<T>(step: () => T): T {
  const outside = depth;
  depth = 0;
  try {
    return step();
  } finally {
    depth = outside;
  }
}
