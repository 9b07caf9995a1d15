/** Data that a program passes to a driver with a call. */
import { refuse } from '../errors.js';
import { isThenable, type Operation } from '../operation.js';

/** Gives the data's bytes, once the checks before them have passed; perhaps late. */
export type ReadData = (length: number) => Uint8Array | Promise<Uint8Array>;

/**
 * Reads data for a driver: as many bytes as there can be at most, those that the program left out being 0.
 *
 * @throws EINVAL if there are fewer or more bytes than there can be, and what `read` throws.
 */
export function* readDriverData(
  { least, most }: { readonly least: number; readonly most: number },
  length: number,
  read: ReadData,
): Operation<Uint8Array> {
  if (length < least || length > most) {
    throw refuse('EINVAL', 'argument', `the driver takes ${least} to ${most} bytes of data, not ${length}`);
  }
  const bytes = new Uint8Array(most);
  const answer = read(length);
  bytes.set(isThenable(answer) ? ((yield () => answer) as Uint8Array) : answer);
  return bytes;
}
