import fc from 'fast-check';
import { expect, test } from 'vitest';
import { IoPagetable } from '../../src/io-pagetable.js';
import { measureHoles } from '../../src/replay/holes.js';
import { LoggedMemory } from '../../src/replay/logged-memory.js';

const PAGE = 0x1000n;
const PAGES = 32;

test('the holes of random tables, against a count page by page', async () => {
  const pages = fc.array(fc.integer({ min: 0, max: PAGES - 1 }), { maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(pages, pages, async (mapped, reserved) => {
      const table = new IoPagetable({ memory: new LoggedMemory() });
      const used = new Map<number, 'area' | 'reserved'>();
      for (const page of reserved) {
        const start = BigInt(page) * PAGE;
        await table.reserveIova({ start, last: start + PAGE - 1n });
        used.set(page, 'reserved');
      }
      for (const page of mapped) {
        if (used.has(page)) continue;
        await table.map({ iova: BigInt(page) * PAGE, uptr: PAGE, length: PAGE, prot: 'rw' });
        used.set(page, 'area');
      }
      const areas = [...used].filter(([, what]) => what === 'area').map(([page]) => page);
      const [first, last] = [Math.min(...areas), Math.max(...areas)];
      // Runs of free pages; the one that follows the last page goes on to the end of the space.
      const runs: { start: number; length: number }[] = [];
      for (let page = 0; page < PAGES; page++) {
        if (used.has(page)) continue;
        const run = runs.at(-1);
        if (run !== undefined && run.start + run.length === page) run.length++;
        else runs.push({ start: page, length: 1 });
      }
      const tail = runs.at(-1);
      const joined = tail !== undefined && tail.start + tail.length === PAGES ? tail.length : 0;
      const between = runs.filter(({ start }) => start > first && start < last).map(({ length }) => length);
      const free = between.reduce((sum, length) => sum + length, 0);
      const figures = measureHoles(table.snapshot());
      expect(figures.largestHole).toBe((1n << 64n) - BigInt(PAGES - joined) * PAGE);
      expect(figures.fragmentation).toBeCloseTo(free === 0 ? 0 : 1 - Math.max(...between) / free);
    }),
  );
});
