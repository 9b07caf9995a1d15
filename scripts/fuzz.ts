/**
 * Long random runs of the whole public API of a table against the naive model, and as many lines of random logs.
 *
 *   npm run -s fuzz -- [--ops N] [--seed S]
 *
 * Prints the number of operations done. If the library and the model disagree, the operations are made as few as
 * possible and printed as a test to be put into `test/`, with all answers; the exit status is 1 then.
 */
import { parseArgs } from 'node:util';
import { fuzz, testOf } from '../test/model/fuzz.js';
import { runRandomLogs } from '../test/replay/random-logs.js';

const { values } = parseArgs({
  options: { ops: { type: 'string', default: '100000' }, seed: { type: 'string', default: '1' } },
});

function wholeNumber(name: 'ops' | 'seed'): number {
  const value = Number(values[name]);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  console.error(`--${name} takes a whole number, not '${values[name]}'`);
  process.exit(2);
}

const ops = wholeNumber('ops');
const seed = wholeNumber('seed');
const began = Date.now();
const { done, failure } = await fuzz(ops, seed);
if (failure !== undefined) {
  console.log(testOf(failure, `found by fuzz --ops ${ops} --seed ${seed}`));
  console.error(failure.error instanceof Error ? failure.error.message : failure.error);
  process.exitCode = 1;
}
const seconds = Math.round((Date.now() - began) / 1000);
console.log(`ops ${done}, seed ${seed}, failures ${failure === undefined ? 0 : 1}, seconds ${seconds}`);
await runRandomLogs(ops, seed);
