/**
 * Structs as C programs lay them out, described by tables: little endian, each field at a fixed offset.
 *
 * The types of decoded and encoded structs follow from the tables.
 */
import { invalidType, outOfRange, readValue } from '../arguments.js';
import { readBytes } from '../memory/read-bytes.js';
import type { U64Input } from '../u64.js';

/** How wide a field is; `s32` is signed. */
export type FieldType = 'u8' | 'u16' | 'u32' | 's32' | 'u64';

/** Which way the value of a field goes. */
export type FieldUse =
  /** The caller tells how many bytes of the struct it knows, itself included. */
  | 'size'
  /** From the caller. */
  | 'in'
  /** From the caller; 0 where it is left out. */
  | 'in?'
  /** To the caller. */
  | 'out'
  /** From the caller, and overwritten. */
  | 'io'
  /** Must be zero. */
  | 'reserved'
  /** Nobody looks at it. */
  | 'ignored';

/** A field of a struct. */
export interface Field<T extends FieldType = FieldType, U extends FieldUse = FieldUse> {
  readonly type: T;
  /** Offset of its first byte. */
  readonly at: number;
  readonly use: U;
  /** How many there are in a row; more than one only of what nobody reads. */
  readonly count: number;
}

/** The fields of a struct by name. */
export type Fields = Readonly<Record<string, Field>>;

/** A row of a table. */
export function field<const T extends FieldType, const U extends FieldUse>(
  type: T,
  at: number,
  use: U,
  count = 1,
): Field<T, U> {
  return { type, at, use, count };
}

type NamesOf<F extends Fields, U extends FieldUse> = {
  [Name in keyof F]: F[Name]['use'] extends U ? Name : never;
}[keyof F];

type ValueOf<F extends Field> = F['type'] extends 'u64' ? bigint : number;
type InputOf<F extends Field> = F['type'] extends 'u64' ? U64Input : number;

/** What a struct says: the values of all fields that mean something. 64-bit ones are bigints. */
export type Decoded<F extends Fields> = {
  readonly [Name in NamesOf<F, 'size' | 'in' | 'in?' | 'out' | 'io'>]: ValueOf<F[Name]>;
};

/** What is needed to fill a struct: the caller's fields; the others are 0 where they are left out. */
export type Encodable<F extends Fields> = {
  readonly [Name in NamesOf<F, 'in' | 'io'>]: InputOf<F[Name]>;
} & {
  readonly [Name in NamesOf<F, 'size' | 'in?' | 'out'>]?: InputOf<F[Name]> | undefined;
};

/** Values of the fields that an answer overwrites. */
export type Answer<F extends Fields> = {
  readonly [Name in NamesOf<F, 'out' | 'io' | 'size'>]?: ValueOf<F[Name]>;
};

const WIDTH: Readonly<Record<FieldType, number>> = { u8: 1, u16: 2, u32: 4, s32: 4, u64: 8 };

interface NamedField extends Field {
  readonly name: string;
}

/** A struct of a fixed length. */
export class Struct<const F extends Fields> {
  /** Its length in bytes, with all fields that are known. */
  readonly length: number;
  readonly fields: F;
  readonly #meaningful: readonly NamedField[];
  readonly #byName: ReadonlyMap<string, NamedField>;
  readonly #reserved: readonly NamedField[];

  constructor(length: number, fields: F) {
    this.length = length;
    this.fields = Object.freeze(fields);
    const all = Object.entries(fields).map(([name, row]) => ({ name, ...row }));
    this.#reserved = all.filter(({ use }) => use === 'reserved');
    this.#meaningful = all.filter(({ use }) => use !== 'reserved' && use !== 'ignored');
    this.#byName = new Map(this.#meaningful.map((row) => [row.name, row]));
  }

  /** Reads the fields of a struct that begins at byte `from`; the bytes reach to its end. */
  decode(bytes: Uint8Array, from = 0): Decoded<F> {
    const values: Record<string, number | bigint> = {};
    for (const { name, type, at } of this.#meaningful) values[name] = readField(bytes, type, from + at);
    return values as Decoded<F>;
  }

  /**
   * As `decode`, of bytes that may end before the struct does: the fields behind them are 0.
   *
   * @throws TypeError if `bytes` are none.
   */
  decodePart(bytes: Uint8Array): Decoded<F> {
    const whole = new Uint8Array(this.length);
    whole.set(readBytes(bytes, 'bytes').subarray(0, this.length));
    return this.decode(whole);
  }

  /**
   * The bytes of a struct.
   *
   * @throws as `write`
   */
  encode(values: Encodable<F>): Uint8Array {
    const bytes = new Uint8Array(this.length);
    this.write(bytes, values);
    return bytes;
  }

  /**
   * Writes fields of a struct that begins at byte `from`; those that are left out stay as they are.
   *
   * @throws TypeError or RangeError if a value does not fit its field, or there is no such field.
   */
  write(bytes: Uint8Array, values: object, from = 0): void {
    for (const [name, value] of Object.entries(values)) {
      if (value === undefined) continue;
      const row = this.#byName.get(name);
      if (row === undefined) throw invalidType(value, name, 'a field of the struct');
      writeField(bytes, from + row.at, row, value);
    }
  }

  /** Name of a reserved field that is not zero, if there is one. */
  reservedInUse(bytes: Uint8Array): string | undefined {
    for (const { name, type, at, count } of this.#reserved) {
      for (let byte = at; byte < at + count * WIDTH[type]; byte++) if (bytes[byte] !== 0) return name;
    }
    return undefined;
  }
}

function readField(bytes: Uint8Array, type: FieldType, at: number): number | bigint {
  switch (type) {
    case 'u8':
      return bytes[at]!;
    case 'u16':
      return bytes[at]! | (bytes[at + 1]! << 8);
    case 'u32':
      return readU32(bytes, at);
    case 's32':
      return readU32(bytes, at) | 0;
    case 'u64':
      return readBigU64(bytes, at);
  }
}

/** The 32-bit number at a byte. Without a DataView: small arrays that have one are slow to make. */
export function readU32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

const halves = new Uint32Array(2);
const whole = new BigUint64Array(halves.buffer);

function readBigU64(bytes: Uint8Array, at: number): bigint {
  halves[0] = readU32(bytes, at);
  halves[1] = readU32(bytes, at + 4);
  return whole[0]!;
}

function writeField(bytes: Uint8Array, at: number, { name, type }: NamedField, value: unknown): void {
  if (type === 'u64') {
    if (typeof value !== 'bigint' && typeof value !== 'number') {
      throw invalidType(value, name, 'a bigint or a safe integer');
    }
    whole[0] = readValue(value, name);
    writeNumber(bytes, at, 4, halves[0]!);
    writeNumber(bytes, at + 4, 4, halves[1]!);
  } else {
    writeNumber(bytes, at, WIDTH[type], readNumber(name, type, value));
  }
}

function writeNumber(bytes: Uint8Array, at: number, width: number, value: number): void {
  for (let byte = 0; byte < width; byte++) bytes[at + byte] = value >>> (8 * byte);
}

function readNumber(name: string, type: FieldType, value: unknown): number {
  if (typeof value !== 'number') throw invalidType(value, name, 'a number');
  const least = type === 's32' ? -(2 ** 31) : 0;
  const most = least + 2 ** (8 * WIDTH[type]) - 1;
  if (!Number.isInteger(value) || value < least || value > most) {
    throw outOfRange(value, name, `an integer from ${least} to ${most}`);
  }
  return value;
}
