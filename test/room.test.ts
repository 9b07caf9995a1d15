import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { largerRoom, mayHaveRoom, roomFor, roomOf } from '../src/room.js';
import { split } from '../src/u64.js';
import { propertyRuns } from './helpers/property-runs.js';

const PAGE = 4096n;

interface Hole {
  readonly start: bigint;
  readonly bytes: bigint;
}
interface Wish {
  readonly length: bigint;
  readonly alignment: bigint;
}

const power = (most: number) => fc.integer({ min: 0, max: most }).map((order) => 1n << BigInt(order));
/** Numbers of all magnitudes, many of them close to powers of two. */
const number = fc
  .tuple(
    power(63),
    fc.bigInt({ min: -3n, max: 3n }),
    fc.bigInt({ min: 0n, max: (1n << 63n) - 1n }),
    fc.boolean(),
  )
  .map(([base, off, noise, near]) => (near ? base + off : noise % base))
  .map((value) => (value < 0n ? 0n : value));
const hole = fc.tuple(number, number).map(([start, bytes]): Hole => ({ start, bytes }));
const wish = fc
  .tuple(number, power(63))
  .map(([length, alignment]): Wish => ({ length: length + 1n, alignment }));

const roomIn = ({ start, bytes }: Hole) => roomOf(Number(BigInt.asUintN(32, start)), Number(bytes));
const needed = ({ length, alignment }: Wish) => roomFor(split(length), Number(alignment));
const roundUp = (value: bigint, step: bigint) => ((value + step - 1n) / step) * step;

function fits({ start, bytes }: Hole, { length, alignment }: Wish): boolean {
  return roundUp(start, alignment) + length <= start + bytes;
}

function powerFrom(value: bigint): bigint {
  let result = 1n;
  while (result < value) result *= 2n;
  return result;
}

describe('room', () => {
  test('is never denied to what fits', () => {
    const close = fc
      .tuple(wish, number, number)
      .map(([wanted, at, more]) => {
        const place = roundUp(at, wanted.alignment);
        const start = place - (at % (wanted.alignment < 5n * PAGE ? wanted.alignment : 5n * PAGE));
        return { wanted, hole: { start, bytes: place + wanted.length - start + (more % PAGE) } };
      })
      .filter(({ hole }) => hole.start >= 0n);
    const any = fc.record({ wanted: wish, hole });
    let fitting = 0;
    fc.assert(
      fc.property(fc.oneof(close, any), ({ wanted, hole }) => {
        if (!fits(hole, wanted)) return;
        fitting++;
        expect(mayHaveRoom(roomIn(hole), needed(wanted))).toBe(true);
      }),
      { numRuns: propertyRuns(5000) },
    );
    expect(fitting).toBeGreaterThan(propertyRuns(1000));
  });

  test('is exact for whole pages aligned to their number, up to 2 MiB', () => {
    const pages = fc.bigInt({ min: 0n, max: 1100n });
    fc.assert(
      fc.property(pages, pages, fc.bigInt({ min: 1n, max: 512n }), (start, size, count) => {
        const wanted = { length: count * PAGE, alignment: powerFrom(count) * PAGE };
        const hole = { start: start * PAGE, bytes: size * PAGE };
        expect(mayHaveRoom(roomIn(hole), needed(wanted))).toBe(fits(hole, wanted));
      }),
      { numRuns: propertyRuns(5000) },
    );
  });

  test('is exact for whole pages aligned to one, up to 64 MiB', () => {
    const pages = fc.bigInt({ min: 1n, max: 16_384n });
    fc.assert(
      fc.property(
        fc.bigInt({ min: 0n, max: 1n << 40n }),
        pages,
        fc.bigInt({ min: -2n, max: 2n }),
        (start, count, more) => {
          const wanted = { length: count * PAGE, alignment: PAGE };
          const hole = { start: start * PAGE, bytes: (count + more < 0n ? 0n : count + more) * PAGE };
          expect(mayHaveRoom(roomIn(hole), needed(wanted))).toBe(more >= 0n);
        },
      ),
      { numRuns: propertyRuns(2000) },
    );
  });

  test('of two holes together bounds either', () => {
    fc.assert(
      fc.property(hole, hole, wish, (a, b, wanted) => {
        const together = largerRoom(roomIn(a), roomIn(b));
        for (const one of [a, b]) {
          expect(largerRoom(together, roomIn(one))).toBe(together);
          if (mayHaveRoom(roomIn(one), needed(wanted)))
            expect(mayHaveRoom(together, needed(wanted))).toBe(true);
        }
      }),
      { numRuns: propertyRuns(2000) },
    );
  });

  test('is a small integer of at least 0, so that a node holds it in itself', () => {
    fc.assert(
      fc.property(hole, wish, (one, wanted) => {
        for (const room of [roomIn(one), needed(wanted)]) expect(room).toBe(room & 0x7fff_ffff);
      }),
    );
  });
});
