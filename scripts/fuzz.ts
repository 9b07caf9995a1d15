/**
 * Long random runs: of the whole public API of a table against the naive model, of overlapping calls on an iommufd,
 * with aborts, late answers and drivers that throw, and of lines of random logs.
 *
 *   npm run -s fuzz -- [--ops N] [--seeds N] [--seed S]
 *
 * `--ops` operations are done against the model, and the overlapping calls of `--seeds` seeds from `--seed` on. If the
 * library and the model disagree, the operations are made as few as possible and printed as a test to be put into
 * `test/`, with all answers. Of overlapping calls after which something is wrong, the seed and as few steps as possible
 * are printed. The exit status is 1 then.
 */
import { parseArgs } from 'node:util';
import { fuzz, testOf } from '../test/model/fuzz.js';
import { describeFailure, fuzzOverlapping } from '../test/model/overlapping-fuzz.js';
import { runRandomLogs } from '../test/replay/random-logs.js';

const { values } = parseArgs({
  options: {
    ops: { type: 'string', default: '100000' },
    seeds: { type: 'string', default: '3000' },
    seed: { type: 'string', default: '1' },
  },
});

function wholeNumber(name: 'ops' | 'seeds' | 'seed'): number {
  const value = Number(values[name]);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  console.error(`--${name} takes a whole number, not '${values[name]}'`);
  process.exit(2);
}

const ops = wholeNumber('ops');
const seeds = wholeNumber('seeds');
const seed = wholeNumber('seed');
let began = Date.now();
const seconds = () => Math.round((Date.now() - began) / 1000);
const { done, failure } = await fuzz(ops, seed);
if (failure !== undefined) {
  console.log(testOf(failure, `found by fuzz --ops ${ops} --seed ${seed}`));
  console.error(failure.error instanceof Error ? failure.error.message : failure.error);
  process.exitCode = 1;
}
console.log(`ops ${done}, seed ${seed}, failures ${failure === undefined ? 0 : 1}, seconds ${seconds()}`);

began = Date.now();
const overlapping = await fuzzOverlapping(seeds, seed);
if (overlapping.failure !== undefined) {
  console.log(describeFailure(overlapping.failure));
  process.exitCode = 1;
}
const failures = overlapping.failure === undefined ? 0 : 1;
console.log(
  `overlapping calls: seeds ${overlapping.done}, from ${seed}, failures ${failures}, seconds ${seconds()}`,
);
await runRandomLogs(ops, seed);
