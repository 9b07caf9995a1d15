import fc from 'fast-check';
import { expect, test } from 'vitest';
import { IdPool } from '../../src/iommufd/id-pool.js';

test('the lowest free id is taken, whatever was given back before', () => {
  fc.assert(
    fc.property(
      fc.array(fc.option(fc.nat({ max: 1000 }), { nil: undefined }), { maxLength: 300 }),
      fc.integer({ min: 0, max: 3 }),
      (steps, first) => {
        const pool = new IdPool(first);
        const taken = new Set<number>();
        for (const step of steps) {
          const candidates = [...taken];
          if (step === undefined || candidates.length === 0) {
            let lowest = first;
            while (taken.has(lowest)) lowest += 1;
            expect(pool.take()).toBe(lowest);
            taken.add(lowest);
          } else {
            const id = candidates[step % candidates.length]!;
            taken.delete(id);
            pool.give(id);
          }
        }
      },
    ),
  );
});
