/** Reading 64-bit arguments as bigints. */
import { join, readU64, type U64Input } from '../u64.js';

/**
 * A public argument as a bigint.
 *
 * @throws TypeError or RangeError as `readU64`
 */
export function readValue(value: U64Input, name: string): bigint {
  const { page, offset } = readU64(value, name);
  return join(page, offset);
}
