/**
 * How calls meet, under all orders of what they wait for. The script `interleavings` explores every schedule of the
 * pairs, and all triples.
 */
import { describe, expect, test } from 'vitest';
import { scheduleName } from './schedule.js';
import { combinations, WORLDS, type World } from './worlds.js';

/** Triples of calls on an iommufd of which one changes what the others stand on. */
const IOMMUFD_TRIPLES = combinations(WORLDS.iommufd.calls, 3).filter(
  (calls) => calls.includes('close') && (calls.includes('access') || calls.includes('addDomain')),
);

/** Explores meetings in all starts of a world; gives the schedules explored and the races needed. */
async function exploreAll(world: World, meetings: readonly (readonly string[])[], mostEarly: number) {
  let schedules = 0;
  const races = new Set<string>();
  for (const start of world.starts) {
    for (const calls of meetings) {
      const found = await world.explore(start, calls, mostEarly);
      schedules += found.schedules;
      for (const race of found.races) races.add(race);
      const { failure } = found;
      if (failure === undefined) continue;
      expect.fail(`${start}: ${calls.join(' + ')}: ${scheduleName(failure.steps)}: ${failure.problem}`);
    }
  }
  return { schedules, races };
}

describe('whatever the schedule, calls that meet end, and a serial order or an allowed race explains them', () => {
  const { table, iommufd } = WORLDS;

  test('pairs in a table, with a step where things happen by themselves; every race in the list occurs', async () => {
    const { schedules, races } = await exploreAll(table, combinations(table.calls, 2), 1);
    expect(schedules).toBeGreaterThan(3000);
    expect([...races].sort()).toEqual([...table.races].sort());
  });

  test('pairs in an iommufd', async () => {
    const { schedules } = await exploreAll(iommufd, combinations(iommufd.calls, 2), 0);
    expect(schedules).toBeGreaterThan(1000);
  });

  test('triples in an iommufd that ends', async () => {
    const { schedules } = await exploreAll(iommufd, IOMMUFD_TRIPLES, 0);
    expect(schedules).toBeGreaterThan(1000);
  });
});
