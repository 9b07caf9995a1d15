/**
 * Arrays of bytes as they are. A class made from `Uint8Array`, or a property put on one, may say something else of the
 * length, and something else again the next time: it is not asked.
 */
import { invalidType } from '../arguments.js';

const typedArray: object = Object.getPrototypeOf(Uint8Array.prototype);

function getter<T>(name: string | symbol): (this: unknown) => T {
  return Object.getOwnPropertyDescriptor(typedArray, name)!.get!;
}

const kindOf = getter<string | undefined>(Symbol.toStringTag);
const lengthOf = getter<number>('length');
const bufferOf = getter<ArrayBuffer | SharedArrayBuffer>('buffer');
const byteOffsetOf = getter<number>('byteOffset');
const { set } = Uint8Array.prototype;

/** Whether a value is a `Uint8Array`, and not something that only looks like one. */
export function isBytes(value: unknown): value is Uint8Array {
  return kindOf.call(value) === 'Uint8Array';
}

/** @throws TypeError if `value` is not a `Uint8Array`. */
export function checkBytes(value: unknown, name: string): void {
  if (!isBytes(value)) throw invalidType(value, name, 'a Uint8Array');
}

/** The length of an array; 0 if its buffer was detached or has become too short. */
export function byteCount(bytes: Uint8Array): number {
  return lengthOf.call(bytes);
}

/** The `count` bytes of an array from byte `from` on, which are there, as a view of its buffer. */
export function viewOf(bytes: Uint8Array, from: number, count: number): Uint8Array {
  return new Uint8Array(bufferOf.call(bytes), byteOffsetOf.call(bytes) + from, count);
}

/** Copies all bytes of `source` to byte `at` of `target` and after, where there is room for them. */
export function setBytes(target: Uint8Array, source: Uint8Array, at: number): void {
  set.call(target, source, at);
}
