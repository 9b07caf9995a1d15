/** Every fault point of every scenario fails once, and leaves no trace. `npm run sweep` prints the figures. */
import { FAULT_ERRORS, type FaultPoint, sweepFaults } from 'io-pagetable/testing';
import { afterAll, describe, expect, it } from 'vitest';
import { SCENARIOS } from './scenarios.js';

const swept = new Set<FaultPoint>();

describe('the sweep', () => {
  it.each(SCENARIOS)('$name', async ({ prepare, neverFails }) => {
    const points = await sweepFaults(prepare);
    for (const point of points) swept.add(point);
    expect(points.length === 0).toBe(neverFails);
  });

  afterAll(() => {
    expect([...swept].sort()).toEqual(Object.keys(FAULT_ERRORS).sort());
  });
});
