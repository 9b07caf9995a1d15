/** Reading the arguments that several public calls share. */

import { refuse } from './errors.js';
import { type Protection, protectionBits } from './protection.js';
import {
  type Address,
  between,
  compare,
  hex,
  type Interval,
  intervalOf,
  invalidType,
  isZero,
  outOfRange,
  readU64,
  type U64Input,
} from './u64.js';

/** A closed range as the public calls take it; both bounds inclusive. */
export interface IovaRange {
  readonly start: U64Input;
  readonly last: U64Input;
}

/** @throws TypeError if `value` is not an object. */
export function checkObject(value: unknown, name: string): void {
  if (typeof value !== 'object' || value === null) throw invalidType(name, 'an object', value);
}

/** @throws TypeError if `value` is not a boolean. */
export function checkBoolean(value: unknown, name: string): void {
  if (typeof value !== 'boolean') throw invalidType(name, 'a boolean', value);
}

/** @throws TypeError if `value` is neither absent nor a boolean. */
export function checkFlag(value: unknown, name: string): void {
  if (value !== undefined) checkBoolean(value, name);
}

/** @throws TypeError if `value` is neither absent nor a function. */
export function checkCallback(value: unknown, name: string): void {
  if (value !== undefined && typeof value !== 'function') throw invalidType(name, 'a function', value);
}

/** @throws TypeError if `value` is not one of the given words. */
export function checkWord(value: unknown, words: readonly string[], name: string): void {
  if (words.some((word) => word === value)) return;
  throw invalidType(name, `one of ${words.map((word) => `'${word}'`).join(', ')}`, value);
}

/** The permission bits of a `prot` argument. */
export function readProtection(value: Protection, name = 'prot'): number {
  const bits = protectionBits(value);
  if (bits === undefined) throw invalidType(name, `one of 'r', 'w', 'rw' and ''`, value);
  return bits;
}

/** The closed range of a start and a last address, which must not be below it. */
export function readRange(range: IovaRange, name: string): Interval {
  checkObject(range, name);
  const start = readU64(range.start, `${name}.start`);
  const last = readU64(range.last, `${name}.last`);
  if (compare(start, last) > 0) throw outOfRange(`${name}.last`, 'at or above its start', hex(last));
  return between(start, last);
}

/**
 * The closed interval of `length` bytes from `iova` on.
 *
 * @throws EINVAL if the length is 0, EOVERFLOW if the last byte lies past 2^64 − 1.
 */
export function checkedInterval(iova: Address, length: Address): Interval {
  if (isZero(length)) throw refuse('EINVAL', 'argument', 'the length is 0');
  const range = intervalOf(iova, length);
  if (range === undefined) {
    throw refuse('EOVERFLOW', 'overflow', `${hex(length)} bytes from ${hex(iova)} on reach past 2^64 - 1`);
  }
  return range;
}
