/** Reading the fields of a line of a conformance trace, strictly: what is not as the format says is an error. */
import { type Protection, protectionBits } from '../../../protection.js';
import { MAX_U64 } from '../../../u64.js';

/** A line of a trace that is not as the format says. */
export class TraceError extends Error {
  override readonly name = 'TraceError';
}

const HEX = /^0x(0|[1-9a-f][0-9a-f]{0,15})$/;
const PLAIN_HEX = /^([0-9a-f]{2})*$/;

/** The fields of one JSON object; every one of them must be read. */
export class TraceArguments {
  readonly #fields: ReadonlyMap<string, unknown>;
  readonly #unread: Set<string>;

  constructor(fields: object) {
    this.#fields = new Map(Object.entries(fields));
    this.#unread = new Set(this.#fields.keys());
  }

  /** Names of the fields that nobody has read. */
  get unread(): readonly string[] {
    return [...this.#unread];
  }

  /** Whether there is a field of that name. */
  has(name: string): boolean {
    return this.#fields.has(name);
  }

  /** Any field. */
  value(name: string): unknown {
    this.#unread.delete(name);
    return this.#fields.get(name);
  }

  /** A 64-bit quantity. */
  hex(name: string): bigint {
    return readHex(this.value(name), name);
  }

  /** A 64-bit quantity, or `null`. */
  hexOrNull(name: string): bigint | undefined {
    const value = this.value(name);
    return value === null ? undefined : readHex(value, name);
  }

  /** A string. */
  text(name: string): string {
    const value = this.value(name);
    return typeof value === 'string' ? value : malformed(name, 'a string', value);
  }

  /** A boolean. */
  flag(name: string): boolean {
    const value = this.value(name);
    return typeof value === 'boolean' ? value : malformed(name, 'a boolean', value);
  }

  /** A whole number, 0 or above. */
  number(name: string): number {
    const value = this.value(name);
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
    return malformed(name, 'a whole number', value);
  }

  /** A protection. */
  protection(name: string): Protection {
    const value = this.value(name);
    return isProtection(value) ? value : malformed(name, "one of '', 'r', 'w' and 'rw'", value);
  }

  /** A list of `[start, last]`. */
  ranges(name: string): { start: bigint; last: bigint }[] {
    return this.list(name).map((entry) => readRange(entry, name));
  }

  /** One `[start, last]`. */
  range(name: string): { start: bigint; last: bigint } {
    return readRange(this.value(name), name);
  }

  /** A list. */
  list(name: string): readonly unknown[] {
    const value = this.value(name);
    return Array.isArray(value) ? value : malformed(name, 'a list', value);
  }

  /** A range of IOVA. */
  iovaRange(): { iova: bigint; length: bigint } {
    return { iova: this.hex('iova'), length: this.hex('length') };
  }

  /** What is mapped, wherever it goes. */
  memoryRange(): { uptr: bigint; length: bigint; prot: Protection } {
    return { uptr: this.hex('uptr'), length: this.hex('length'), prot: this.protection('prot') };
  }

  /** What is mapped, and where; anywhere if `iova` is undefined. */
  mapping(): { iova: bigint | undefined; uptr: bigint; length: bigint; prot: Protection } {
    return { iova: this.hexOrNull('iova'), ...this.memoryRange() };
  }

  /** What of a file is mapped, and where; anywhere if `iova` is undefined. */
  fileMapping(): { iova: bigint | undefined; start: bigint; length: bigint; prot: Protection } {
    return {
      iova: this.hexOrNull('iova'),
      start: this.hex('start'),
      length: this.hex('length'),
      prot: this.protection('prot'),
    };
  }

  /** What is copied, and where; anywhere if `iova` is undefined. */
  copying(): { srcIova: bigint; iova: bigint | undefined; length: bigint; prot: Protection } {
    return {
      srcIova: this.hex('src_iova'),
      iova: this.hexOrNull('dst_iova'),
      length: this.hex('length'),
      prot: this.protection('prot'),
    };
  }

  /** Bytes in plain hex. */
  bytes(name: string): Uint8Array {
    const value = this.text(name);
    if (!PLAIN_HEX.test(value)) return malformed(name, 'plain hex', value);
    return new Uint8Array(Buffer.from(value, 'hex'));
  }
}

/** @throws TraceError if a value is not a JSON object. */
export function readObject(value: unknown, name: string): object {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  return malformed(name, 'an object', value);
}

function readHex(value: unknown, name: string): bigint {
  if (typeof value !== 'string' || !HEX.test(value)) return malformed(name, 'a 64-bit hex string', value);
  const quantity = BigInt(value);
  return quantity <= MAX_U64 ? quantity : malformed(name, 'a 64-bit hex string', value);
}

function readRange(value: unknown, name: string): { start: bigint; last: bigint } {
  if (!Array.isArray(value) || value.length !== 2) return malformed(name, '[start, last]', value);
  const [start, last]: readonly unknown[] = value;
  return { start: readHex(start, `${name} start`), last: readHex(last, `${name} last`) };
}

function isProtection(value: unknown): value is Protection {
  return protectionBits(value) !== undefined;
}

function malformed(name: string, expected: string, value: unknown): never {
  throw new TraceError(`${name} must be ${expected}, not ${JSON.stringify(value)}`);
}
