/**
 * Makes a failing list of operations as short as it can be.
 */

/** The failure of a list of operations: how many were carried out until it happened, the last one included. */
export interface OpsFailure {
  readonly carriedOut: number;
  readonly error: unknown;
}

/**
 * Leaves out operations, one by one and again from the start, as long as some failure remains.
 *
 * @param fails - runs a list from scratch and gives its failure, or `undefined` if there is none
 */
export async function reduce<T>(
  failing: readonly T[],
  fails: (ops: readonly T[]) => Promise<OpsFailure | undefined>,
): Promise<{ ops: readonly T[]; failure: OpsFailure } | undefined> {
  let failure = await fails(failing);
  if (failure === undefined) return undefined;
  let ops = failing.slice(0, failure.carriedOut);
  for (let at = ops.length - 1; at >= 0; ) {
    const shorter = ops.toSpliced(at, 1);
    const found = await fails(shorter);
    if (found === undefined) {
      at -= 1;
    } else {
      failure = found;
      ops = shorter.slice(0, found.carriedOut);
      at = ops.length - 1;
    }
  }
  return { ops, failure };
}
