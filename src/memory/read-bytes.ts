/** Reading an argument that is an array of bytes. */
import { byteCount, checkBytes, viewOf } from './bytes.js';

const NONE = new Uint8Array(0);

/**
 * The bytes of an argument as they are, without what a class made from `Uint8Array` says of them; none if their buffer
 * is gone.
 *
 * @throws TypeError if `value` is not a `Uint8Array`.
 */
export function readBytes(value: Uint8Array, name: string): Uint8Array {
  checkBytes(value, name);
  const count = byteCount(value);
  return count === 0 ? NONE : viewOf(value, 0, count);
}
