/**
 * Reading the arguments of public calls, and the errors for those that are wrong.
 *
 * All take the value first and then the name by which the caller knows it.
 */
import { refuse } from './errors.js';
import { type Protection, protectionBits } from './protection.js';
import {
  type Address,
  between,
  compare,
  hex,
  type Interval,
  intervalOf,
  isZero,
  join,
  MAX_U64,
  PAGE_SIZE,
  split,
  type U64Input,
} from './u64.js';

/** A closed range as the public calls take it; both bounds inclusive. */
export interface IovaRange {
  readonly start: U64Input;
  readonly last: U64Input;
}

/** An error in Node's style for an argument of the wrong type. */
export function invalidType(value: unknown, name: string, expected: string): TypeError {
  const received = value === null ? 'null' : typeof value;
  const error = new TypeError(`The "${name}" argument must be ${expected}. Received ${received}`);
  return Object.assign(error, { code: 'ERR_INVALID_ARG_TYPE' });
}

/** An error in Node's style for an argument outside its range. */
export function outOfRange(value: unknown, name: string, expected: string): RangeError {
  const error = new RangeError(
    `The value of "${name}" is out of range. It must be ${expected}. Received ${shown(value)}`,
  );
  return Object.assign(error, { code: 'ERR_OUT_OF_RANGE' });
}

/** An error in Node's style for what code of others threw, or rejected with, that is none. */
export function noError(thrown: unknown): Error {
  const error = new Error(`Code called from here threw what is no error: ${shown(thrown)}`, {
    cause: thrown,
  });
  return Object.assign(error, { code: 'ERR_UNHANDLED_ERROR' });
}

/** A value as an error shows it. Objects are not asked to convert themselves: they may refuse. */
function shown(value: unknown): string {
  return typeof value === 'object' || typeof value === 'function' ? typeof value : String(value);
}

/** @throws TypeError if `value` is not an object. */
export function checkObject(value: unknown, name: string): void {
  if (typeof value !== 'object' || value === null) throw invalidType(value, name, 'an object');
}

/** @throws TypeError if `value` is not a boolean. */
export function checkBoolean(value: unknown, name: string): void {
  if (typeof value !== 'boolean') throw invalidType(value, name, 'a boolean');
}

/** @throws TypeError if `value` is neither absent nor a boolean. */
export function checkFlag(value: unknown, name: string): void {
  if (value !== undefined) checkBoolean(value, name);
}

/** @throws TypeError if `value` is neither absent nor a function. */
export function checkCallback(value: unknown, name: string): void {
  if (value !== undefined && typeof value !== 'function') throw invalidType(value, name, 'a function');
}

/** @throws TypeError if `value` is not one of the given words. */
export function checkWord(value: unknown, name: string, words: readonly string[]): void {
  if (words.some((word) => word === value)) return;
  throw invalidType(value, name, `one of ${words.map((word) => `'${word}'`).join(', ')}`);
}

/** @throws TypeError if `value` is not a number, RangeError if it is not an integer from `least` to `most`. */
export function checkInteger(value: unknown, name: string, least: number, most: number): void {
  if (typeof value !== 'number') throw invalidType(value, name, 'a number');
  if (Number.isInteger(value) && value >= least && value <= most) return;
  throw outOfRange(value, name, `an integer from ${least} to ${most}`);
}

/**
 * A public argument as an address or a length.
 *
 * @throws TypeError (`ERR_INVALID_ARG_TYPE`) if it is neither a bigint nor a number; RangeError
 * (`ERR_OUT_OF_RANGE`) if it is not an integer, a number past 2^53 − 1, negative, or past 2^64 − 1.
 */
export function readU64(value: U64Input, name: string): Address {
  if (typeof value === 'bigint') {
    if (value < 0n || value > MAX_U64) throw outOfRange(value, name, 'between 0 and 2^64 - 1');
    return split(value);
  }
  if (typeof value !== 'number') throw invalidType(value, name, 'a bigint or a safe integer');
  if (!Number.isSafeInteger(value) || value < 0) {
    throw outOfRange(value, name, 'a bigint, or a safe integer of at least 0');
  }
  const page = Math.floor(value / PAGE_SIZE);
  return { page, offset: value - page * PAGE_SIZE };
}

/**
 * A public argument as a bigint.
 *
 * @throws TypeError or RangeError as `readU64`
 */
export function readValue(value: U64Input, name: string): bigint {
  const { page, offset } = readU64(value, name);
  return join(page, offset);
}

/** The permission bits of a `prot` argument. */
export function readProtection(value: Protection, name: string): number {
  const bits = protectionBits(value);
  if (bits === undefined) throw invalidType(value, name, `one of 'r', 'w', 'rw' and ''`);
  return bits;
}

/** The closed range of a start and a last address, which must not be below it. */
export function readRange(range: IovaRange, name: string): Interval {
  checkObject(range, name);
  const start = readU64(range.start, `${name}.start`);
  const last = readU64(range.last, `${name}.last`);
  if (compare(start, last) > 0) throw outOfRange(hex(last), `${name}.last`, 'at or above its start');
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
