import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readU64 } from '../src/arguments.js';
import {
  between,
  byteLength,
  compare,
  contains,
  firstOf,
  hex,
  hexRange,
  type Interval,
  intersects,
  intervalOf,
  isZero,
  join,
  lastOf,
  lengthOf,
  lowestBit,
  MAX_U64,
  next,
  previous,
  split,
  WHOLE_SPACE,
} from '../src/u64.js';

/** The places where a representation of 64-bit values may change its mind. */
const EDGES = [0n, 0x1000n, 1n << 32n, 1n << 44n, 1n << 52n, 1n << 53n, 1n << 63n, MAX_U64];

const value = fc.oneof(
  fc
    .tuple(fc.constantFrom(...EDGES), fc.integer({ min: -3, max: 3 }))
    .map(([edge, distance]) => BigInt.asUintN(64, edge + BigInt(distance))),
  fc.bigInt({ min: 0n, max: MAX_U64 }),
);
const range = fc
  .tuple(value, value)
  .map(([a, b]): [bigint, bigint] => (a < b ? [a, b] : [b, a]))
  .map(([first, last]) => ({ first, last, interval: between(split(first), split(last)) }));

const bigintOf = ({ page, offset }: { page: number; offset: number }) => join(page, offset);

describe('64-bit values in two parts', () => {
  test('split and join are exact', () => {
    fc.assert(
      fc.property(value, (a) => {
        const { page, offset } = split(a);
        expect([BigInt(page), BigInt(offset)]).toEqual([a >> 12n, a & 0xfffn]);
        expect(join(page, offset)).toBe(a);
      }),
    );
  });

  test('compare, next, previous and lowestBit agree with bigints', () => {
    fc.assert(
      fc.property(value, value, (a, b) => {
        expect(Math.sign(compare(split(a), split(b)))).toBe(a < b ? -1 : a > b ? 1 : 0);
        const [after, before] = [next(split(a)), previous(split(a))];
        expect(after && bigintOf(after)).toBe(a === MAX_U64 ? undefined : a + 1n);
        expect(before && bigintOf(before)).toBe(a === 0n ? undefined : a - 1n);
        expect(lowestBit(split(a))).toBe(a === 0n ? Infinity : Number(a & -a));
        expect(isZero(split(a))).toBe(a === 0n);
        expect(hex(split(a))).toBe(`0x${a.toString(16)}`);
      }),
    );
  });

  test('intervalOf refuses exactly what passes 2^64 - 1', () => {
    fc.assert(
      fc.property(value, value, (start, length) => {
        fc.pre(length > 0n);
        const interval = intervalOf(split(start), split(length));
        const last = start + length - 1n;
        expect(interval).toEqual(last > MAX_U64 ? undefined : between(split(start), split(last)));
        expect(interval && byteLength(interval)).toBe(interval && length);
      }),
    );
  });

  test('lengths, intersections and containment agree with bigints', () => {
    fc.assert(
      fc.property(range, range, (a, b) => {
        expect(byteLength(a.interval)).toBe(a.last - a.first + 1n);
        expect(intersects(a.interval, b.interval)).toBe(a.first <= b.last && b.first <= a.last);
        expect(contains(a.interval, b.interval)).toBe(a.first <= b.first && b.last <= a.last);
        expect(bigintOf(firstOf(a.interval))).toBe(a.first);
        expect(bigintOf(lastOf(a.interval))).toBe(a.last);
        expect(hexRange(a.interval)).toBe(`[0x${a.first.toString(16)}, 0x${a.last.toString(16)}]`);
      }),
    );
  });

  test('the length of the whole space is 2^64, which is no address', () => {
    expect(byteLength(WHOLE_SPACE)).toBe(1n << 64n);
    const { page, offset }: Pick<Interval, 'page' | 'offset'> = lengthOf(WHOLE_SPACE);
    expect([page, offset]).toEqual([2 ** 52, 0]);
  });
});

describe('readU64', () => {
  test('reads every 64-bit bigint and every safe integer', () => {
    fc.assert(
      fc.property(value, (a) => {
        expect(readU64(a, 'x')).toEqual(split(a));
      }),
    );
    fc.assert(
      fc.property(fc.maxSafeNat(), (a) => {
        expect(readU64(a, 'x')).toEqual(split(BigInt(a)));
      }),
      { examples: [[Number.MAX_SAFE_INTEGER], [0], [4095], [4096]] },
    );
  });

  test.each([-1n, 1n << 64n, -1, 0.5, 2 ** 53, Number.NaN, Infinity])('%s is out of range', (wrong) => {
    expect(() => readU64(wrong, 'length')).toThrow(
      expect.objectContaining({
        name: 'RangeError',
        code: 'ERR_OUT_OF_RANGE',
        message: expect.stringContaining('"length"'),
      }),
    );
  });

  test.each([undefined, null, '0x1000', true, {}])('%s is of the wrong type', (wrong) => {
    // @ts-expect-error -- what callers without types may do
    expect(() => readU64(wrong, 'iova')).toThrow(
      expect.objectContaining({
        name: 'TypeError',
        code: 'ERR_INVALID_ARG_TYPE',
        message: expect.stringContaining('"iova"'),
      }),
    );
  });
});
