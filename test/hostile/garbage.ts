/** Calls with arguments that no caller with types could pass. */
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { expect } from 'vitest';
import { IommuError } from '../../src/errors.js';
import { propertyRuns } from '../helpers/property-runs.js';
import { settled, watch } from '../helpers/watch.js';

/** What hostile getters, callbacks and traps throw. */
export class Bomb extends Error {
  override readonly name = 'Bomb';
}

function explode(): never {
  throw new Bomb('boom');
}

/** Whoever gives it to somebody else handles its rejection, as all promises of a caller's own. */
function rejecting(): Promise<never> {
  const promise = Promise.reject(new Bomb('boom'));
  promise.catch(() => undefined);
  return promise;
}

function detached(): Uint8Array {
  const bytes = new Uint8Array(64);
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
  return bytes;
}

const TRAPS = ['get', 'has', 'ownKeys', 'getOwnPropertyDescriptor', 'getPrototypeOf', 'apply'] as const;
const hostileProxy = () => new Proxy(() => 0, Object.fromEntries(TRAPS.map((trap) => [trap, explode])));
const GETTERS = [
  'iova',
  'length',
  'signal',
  'memory',
  'pin',
  'map',
  'start',
  'needsPin',
  'ioas',
  'option',
  'name',
] as const;
const throwingGetters = () =>
  Object.defineProperties(
    {},
    Object.fromEntries(GETTERS.map((name) => [name, { get: explode, enumerable: true }])),
  );

/** A value that hardly any argument may have; it is made when it is used, as some explode when they are looked at. */
class Hostile {
  readonly name: string;
  readonly make: () => unknown;

  constructor(name: string, make: () => unknown) {
    this.name = name;
    this.make = make;
  }

  [fc.toStringMethod](): string {
    return this.name;
  }
}

const plain = (value: unknown) => new Hostile(fc.stringify(value), () => value);

const hostileValue: fc.Arbitrary<Hostile> = fc.oneof(
  fc
    .constantFrom(
      undefined,
      null,
      true,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
      -0,
      -1,
      0.5,
      2 ** 53,
      2 ** 64,
      1e300,
      -1n,
      2n ** 64n,
      2n ** 64n - 1n,
      2n ** 64n - 4096n,
      -(2n ** 63n),
      2n ** 4000n,
      '',
      '4096',
      'rw',
      'constructor',
      '__proto__',
      Symbol('iova'),
    )
    .map(plain),
  fc.constantFrom(
    new Hostile('{}', () => ({})),
    new Hostile('[]', () => []),
    new Hostile('a sparse array', () => new Array(3)),
    new Hostile('an object without a prototype', () => Object.create(null)),
    new Hostile('a function that throws', () => explode),
    new Hostile('a function that rejects', () => rejecting),
    new Hostile('no date', () => new Date(Number.NaN)),
    new Hostile('a map', () => new Map()),
    new Hostile('an empty buffer', () => new Uint8Array(0)),
    new Hostile('16-bit numbers', () => new Uint16Array(8)),
    new Hostile('a resizable buffer', () => Reflect.construct(ArrayBuffer, [8, { maxByteLength: 16 }])),
    new Hostile('a promise', () => Promise.resolve(1)),
    new Hostile('an object that cannot be converted', () => ({ valueOf: explode, toString: explode })),
    new Hostile('an iterable that throws', () => ({ [Symbol.iterator]: explode })),
    new Hostile('a detached buffer', detached),
    new Hostile('throwing getters', throwingGetters),
    new Hostile('a proxy whose traps throw', hostileProxy),
  ),
  fc
    .anything({ withBigInt: true, withNullPrototype: true, withSparseArray: true, withTypedArray: true })
    .map(plain),
  fc.bigInt({ min: -(2n ** 65n), max: 2n ** 65n }).map(plain),
  fc.double().map(plain),
);

/** How often each function is called; `PROPERTY_PART=20 npx vitest run test/hostile` looks harder. */
export const RUNS = propertyRuns(60);

/** A public function and arguments with which it succeeds. */
export interface Target<S> {
  /** What it is a function of; absent: the function itself is given. */
  readonly on?: (setting: S) => object;
  /** The name of the method, or the function or class. */
  readonly what: string | ((...args: never[]) => unknown) | (new (...args: never[]) => unknown);
  readonly kind?: 'sync' | 'promise' | 'class';
  readonly args: (setting: S) => unknown[];
}

/** A setting in which targets are called. */
export interface Watchable {
  /** All that may not change when a call is refused. */
  state(): unknown;
  /** Checks invariants. */
  check(): void;
}

/** What is called, in words. */
export function nameOf<S>({ what }: Target<S>): string {
  return typeof what === 'string' ? what : what.name;
}

type Path = readonly (string | number)[];

/** The places in a list of arguments where something else can be put: the arguments and what is in them. */
function places(value: unknown, path: Path = []): Path[] {
  const inside = path.length === 0 || (path.length < 4 && isPlain(value));
  if (!inside || typeof value !== 'object' || value === null) return [path];
  const deeper = Object.entries(value).flatMap(([key, part]) => places(part, [...path, key]));
  return path.length === 0 ? deeper : [path, ...deeper];
}

function isPlain(value: unknown): boolean {
  return (
    Array.isArray(value) ||
    (typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype)
  );
}

function replaced(value: unknown, path: Path, by: unknown): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return by;
  const copy: unknown = Array.isArray(value) ? [...value] : { ...(value as object) };
  Reflect.set(copy as object, key, replaced(Reflect.get(value as object, key), rest, by));
  return copy;
}

/** Arguments as a list of hostile values, or good ones with one of their parts replaced. */
export type Damage = { readonly all: Hostile[] } | { readonly place: number; readonly by: Hostile };

/** How the arguments of a call are spoilt. */
export const damage: fc.Arbitrary<Damage> = fc.oneof(
  { arbitrary: fc.record({ place: fc.nat(40), by: hostileValue }), weight: 5 },
  { arbitrary: fc.record({ all: fc.array(hostileValue, { maxLength: 4 }) }), weight: 1 },
);

function spoil(args: unknown[], how: Damage): unknown[] {
  if ('all' in how) return how.all.map(({ make }) => make());
  const all = places(args);
  const by = how.by.make();
  if (all.length === 0) return [by];
  return replaced(args, all[how.place % all.length]!, by) as unknown[];
}

/** Calls a function with spoilt arguments: it must end, and if it fails, with a clear error and no trace. */
export async function callSpoilt<S extends Watchable>(
  setting: S,
  target: Target<S>,
  how: Damage,
): Promise<void> {
  const args = spoil(target.args(setting), how);
  const before = setting.state();
  const outcome = await outcomeOf(setting, target, args);
  if ('error' in outcome) {
    const { error } = outcome;
    const clear =
      error instanceof Bomb ||
      error instanceof IommuError ||
      error instanceof RangeError ||
      (error instanceof TypeError && ('code' in error || error.message.includes('detached ArrayBuffer'))) ||
      // What the mock domain calls a WARN, which a caller of tables never sees.
      (error instanceof Error && error.message.startsWith('mock domain: '));
    if (!clear) throw new Error('this is no clear error', { cause: error });
    const after = setting.state();
    if (!isDeepStrictEqual(after, before)) expect(after).toEqual(before);
  }
  setting.check();
}

async function outcomeOf<S>(
  setting: S,
  { on, what, kind }: Target<S>,
  args: unknown[],
): Promise<{ value: unknown } | { error: unknown }> {
  let value: unknown;
  try {
    if (kind === 'class') Reflect.construct(what as new () => unknown, args);
    else if (typeof what === 'string') {
      const object = on!(setting);
      value = Reflect.apply(Reflect.get(object, what), object, args);
    } else value = Reflect.apply(what as () => unknown, undefined, args);
  } catch (error) {
    if (kind === 'sync' || kind === 'class') return { error };
    throw new Error('a function that gives a promise must not throw', { cause: error });
  }
  if (kind === 'sync' || kind === 'class') return { value };
  expect(value).toBeInstanceOf(Promise);
  const watched = watch(value as Promise<unknown>);
  for (let turns = 0; watched.state === 'pending'; turns++) {
    expect(turns, 'turns of the event loop until the call ends').toBeLessThan(50);
    await settled();
  }
  return watched.state === 'fulfilled' ? { value: watched.value } : { error: watched.error };
}
