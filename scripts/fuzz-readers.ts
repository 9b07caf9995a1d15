/**
 * Long random runs with many readers of one shared domain, against a model of who may be using what.
 *
 *   npm run -s fuzz:readers -- [--runs N] [--seed S]
 *
 * Prints the number of runs done. If a reader does not keep to the model, the steps are made as few as possible and printed;
 * the exit status is 1 then.
 */
import { parseArgs } from 'node:util';
import fc from 'fast-check';
import { readersKeepToModel } from '../test/shared/reader-model.js';

const { values } = parseArgs({
  options: { runs: { type: 'string', default: '10000' }, seed: { type: 'string', default: '1' } },
});

function wholeNumber(name: 'runs' | 'seed'): number {
  const value = Number(values[name]);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  console.error(`--${name} takes a whole number, not '${values[name]}'`);
  process.exit(2);
}

const runs = wholeNumber('runs');
const seed = wholeNumber('seed');
const began = Date.now();
const details = await fc.check(readersKeepToModel, { numRuns: runs, seed });
if (details.failed) {
  console.error(await fc.asyncDefaultReportMessage(details));
  console.error(details.errorInstance);
  process.exitCode = 1;
}
const seconds = Math.round((Date.now() - began) / 1000);
console.log(`runs ${details.numRuns}, seed ${seed}, failures ${details.failed ? 1 : 0}, seconds ${seconds}`);
