/**
 * Fails every fault point of every scenario in turn, and prints how many there were; then aborts every call at every
 * call-out and every wait.
 *
 * Each time the call must fail with the errno of the point, or the reason of its signal, and leave everything as it was,
 * and then succeed without a fault (`sweepFaults`, `sweepAborts`). Exit status 0 only if all did.
 */
import { type FaultPoint, sweepFaults } from 'io-pagetable/testing';
import { ABORT_SCENARIOS } from '../test/faults/abort-scenarios.js';
import { sweepAborts, sweepLocks } from '../test/faults/aborts.js';
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

let aborts = 0;
let stopped = 0;
let locks = 0;
let unclean = 0;
console.log('\naborts: at call-outs, of them in time; at waits for locks');
for (const { name, prepare } of ABORT_SCENARIOS) {
  try {
    const atCallOuts = await sweepAborts(prepare);
    const inTime = atCallOuts.filter((swept) => swept.stopped).length;
    const atLocks = await sweepLocks(prepare);
    aborts += atCallOuts.length;
    stopped += inTime;
    locks += atLocks.length;
    const figures = [atCallOuts.length, inTime, atLocks.length].map((figure) => String(figure).padStart(5));
    console.log(`${figures.join('')}  ${name}`);
  } catch (error) {
    unclean += 1;
    console.log(` FAIL  ${name}:`, error);
  }
}
console.log(
  `\n${aborts} aborts at call-outs (${stopped} in time) and ${locks} at waits for locks, in ${ABORT_SCENARIOS.length} scenarios; ${unclean} scenarios failed`,
);
process.exitCode = failures + unclean === 0 ? 0 : 1;
