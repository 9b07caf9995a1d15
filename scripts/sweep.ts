/**
 * Fails every fault point of every scenario in turn, and prints how many there were.
 *
 * Each time the call must fail with the errno of the point and leave everything as it was, and then succeed without a
 * fault (`sweepFaults`). Exit status 0 only if all did.
 */
import { type FaultPoint, sweepFaults } from 'io-pagetable/testing';
import { SCENARIOS } from '../test/faults/scenarios.js';

const counts = new Map<FaultPoint, number>();
let total = 0;
let failures = 0;
for (const { name, prepare, neverFails } of SCENARIOS) {
  try {
    const points = await sweepFaults(prepare);
    if (neverFails && points.length > 0)
      throw new Error(`it must not be able to fail, but has ${points.length}`);
    for (const point of points) counts.set(point, (counts.get(point) ?? 0) + 1);
    total += points.length;
    console.log(`${String(points.length).padStart(5)}  ${name}${neverFails ? ' (cannot fail)' : ''}`);
  } catch (error) {
    failures += 1;
    console.log(` FAIL  ${name}:`, error);
  }
}
console.log('\nby fault point:');
for (const [point, count] of [...counts].sort(([, a], [, b]) => b - a)) {
  console.log(`${String(count).padStart(5)}  ${point}`);
}
console.log(
  `\n${total} fault points in ${SCENARIOS.length} scenarios, ${counts.size} kinds; ${failures} scenarios failed`,
);
process.exitCode = failures === 0 ? 0 : 1;
