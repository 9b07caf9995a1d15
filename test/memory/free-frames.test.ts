import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FreeFrames } from '../../src/memory/free-frames.js';

const FIRST = 5;
const LAST = 68;

const step = fc.oneof(
  fc.record({
    take: fc.constant(true as const),
    count: fc.integer({ min: 1, max: 20 }),
    modulus: fc.constantFrom(1, 2, 8),
    remainder: fc.integer({ min: -9, max: 9 }),
  }),
  fc.record({ take: fc.constant(false as const), which: fc.nat() }),
);

describe('FreeFrames', () => {
  it('gives out the lowest frames that fit, none twice, and all of them again', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const free = new FreeFrames(FIRST, LAST);
        const taken: { pfn: number; count: number }[] = [];
        const isFree = (pfn: number) =>
          pfn >= FIRST && pfn <= LAST && !taken.some((run) => pfn >= run.pfn && pfn < run.pfn + run.count);
        for (const each of steps) {
          if (each.take) {
            const { count, modulus, remainder } = each;
            const fits = (pfn: number) =>
              (pfn - remainder) % modulus === 0 &&
              Array.from({ length: count }, (_, at) => pfn + at).every(isFree);
            const candidates = Array.from({ length: LAST + 1 }, (_, pfn) => pfn);
            const pfn = free.take(count, modulus, remainder);
            expect(pfn).toBe(candidates.find(fits));
            if (pfn !== undefined) taken.push({ pfn, count });
          } else if (taken.length > 0) {
            const [run] = taken.splice(each.which % taken.length, 1);
            free.give(run!.pfn, run!.count);
          }
        }
        for (const { pfn, count } of taken) free.give(pfn, count);
        expect(free.take(LAST - FIRST + 1, 1, 0)).toBe(FIRST);
        expect(free.take(1, 1, 0)).toBeUndefined();
      }),
      { numRuns: 300 },
    );
  });
});
