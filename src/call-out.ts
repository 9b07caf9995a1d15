/**
 * Code of the user's that runs while locks of the library are held: a memory that pins or copies.
 *
 * Whoever calls such code marks the time until it returns. A call into the library that is made meanwhile may go
 * on, but it may not queue for a lock: the call around it may hold that lock and wait for the code to end.
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
