import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PinCounts } from '../../src/memory/pin-counts.js';

/** Pins as a sum over all runs ever added and removed: exact, however long they are. */
class Model {
  readonly #changes: { first: number; past: number; by: number }[] = [];

  count(pfn: number): number {
    let sum = 0;
    for (const { first, past, by } of this.#changes) if (pfn >= first && pfn < past) sum += by;
    return sum;
  }

  /** The first frame of each piece in which all counts are equal, in [first, past). */
  pieces(first: number, past: number): number[] {
    const edges = this.#changes.flatMap((change) => [change.first, change.past]);
    return [first, ...edges.filter((edge) => edge > first && edge < past)];
  }

  change(first: number, past: number, by: number): void {
    this.#changes.push({ first, past, by });
  }

  get pinned(): number {
    return this.#changes.reduce((sum, { first, past, by }) => sum + by * (past - first), 0);
  }

  get edges(): number[] {
    return this.#changes.flatMap(({ first, past }) => [first - 1, first, past - 1, past]);
  }
}

const SEGMENT = 2 ** 22;
const place = fc
  .tuple(fc.constantFrom(1024, 2048, SEGMENT, 2 * SEGMENT, 3 * SEGMENT), fc.integer({ min: -3, max: 3 }))
  .map(([at, near]) => at + near);
const range = fc
  .oneof(
    fc.tuple(place, place),
    place.map((at) => [at, at + 1] as const),
  )
  .filter(([a, b]) => a !== b)
  .map(([a, b]) => ({ first: Math.min(a, b), past: Math.max(a, b) }));
const step = fc.record({ add: fc.boolean(), range });

describe('PinCounts', () => {
  test('counts what was added and removed, in whatever pieces', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const counts = new PinCounts();
        const model = new Model();
        for (const { add, range } of steps) {
          const { first, past } = range;
          if (add) {
            counts.add(first, past - first);
            model.change(first, past, 1);
          } else if (model.pieces(first, past).every((pfn) => model.count(pfn) > 0)) {
            counts.remove(first, past - first);
            model.change(first, past, -1);
          } else {
            expect(() => counts.remove(first, past - first)).toThrow('is not pinned');
          }
          expect(counts.pinned).toBe(model.pinned);
          for (const pfn of new Set([...model.edges, first, past])) {
            expect(counts.count(pfn)).toBe(model.count(pfn));
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  test('takes a run apart frame by frame, and frames back as a run', () => {
    const counts = new PinCounts();
    counts.add(0, SEGMENT);
    for (let pfn = 1000; pfn < 3000; pfn++) counts.remove(pfn, 1);
    expect([999, 1000, 2999, 3000].map((pfn) => counts.count(pfn))).toEqual([1, 0, 0, 1]);
    expect(() => counts.remove(0, SEGMENT)).toThrow('frame 0x3e8 is unpinned but it is not pinned');
    for (let pfn = 1000; pfn < 3000; pfn++) counts.add(pfn, 1);
    counts.remove(0, SEGMENT);
    expect(counts.pinned).toBe(0);
    expect(() => counts.remove(2000, 1)).toThrow('frame 0x7d0');
  });

  test('keeps frame numbers past 2^32 apart', () => {
    const counts = new PinCounts();
    const last = 2 ** 33 - 1;
    counts.add(last - 2 ** 30, 2 ** 30 + 1);
    counts.add(last, 1);
    expect([last - 2 ** 30 - 1, last - 2 ** 30, last].map((pfn) => counts.count(pfn))).toEqual([0, 1, 2]);
    expect(counts.pinned).toBe(2 ** 30 + 2);
  });

  test('does not pin what it was not told to', () => {
    const counts = new PinCounts();
    expect(counts.count(12345)).toBe(0);
    expect(() => counts.remove(12345, 1)).toThrow('frame 0x3039');
    counts.add(12345, 1);
    expect(() => counts.remove(12345, 2)).toThrow('frame 0x303a');
    expect(counts.count(12345)).toBe(1);
  });
});
