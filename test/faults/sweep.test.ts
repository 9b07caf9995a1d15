/** Every fault point of every scenario fails once, and leaves no trace. `npm run sweep` prints the figures. */

import { afterAll, describe, expect, test } from 'vitest';
import { FAULT_ERRORS, type FaultPoint } from '../../src/faults.js';
import { sweepFaults } from '../../src/testing/sweep-faults.js';
import { SCENARIOS } from './scenarios.js';

const swept = new Set<FaultPoint>();

/** How often each point was there, in words. */
function countsOf(points: readonly FaultPoint[]): string {
  const counts = new Map<FaultPoint, number>();
  for (const point of points) counts.set(point, (counts.get(point) ?? 0) + 1);
  const words = [...counts].map(([point, count]) => (count === 1 ? point : `${point} × ${count}`));
  return words.sort().join(', ');
}

describe('the sweep', () => {
  test.each(SCENARIOS.map((scenario) => [scenario.name, scenario] as const))(
    '%s',
    async (_name, scenario) => {
      const points = await sweepFaults(scenario.prepare);
      for (const point of points) swept.add(point);
      expect(points.length === 0).toBe(scenario.neverFails);
      // A fault point that is gone, or no longer reached, would make the sweep weaker without anybody noticing.
      expect(countsOf(points)).toMatchSnapshot();
    },
  );

  afterAll(() => {
    expect([...swept].sort()).toEqual(Object.keys(FAULT_ERRORS).sort());
  });
});
