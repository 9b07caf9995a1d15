/**
 * Fuzzes the vfio-user server: `npm run -s fuzz:vfio-user -- --messages N --seed S`.
 *
 * Exit code 0 if all went well; 1 if the server leaked, hung or broke: the same seed finds it again, as far as timing lets
 * it.
 */
import { parseArgs } from 'node:util';
import { fuzzVfioUser } from './fuzz-vfio-user/fuzz.js';

const USAGE = 'usage: npm run -s fuzz:vfio-user -- [--messages N] [--seed S]';

const { values } = parseArgs({
  options: {
    messages: { type: 'string', default: '100000' },
    seed: { type: 'string', default: '1' },
  },
});
const [messages, seed] = [Number(values.messages), Number(values.seed)];
if (!Number.isSafeInteger(messages) || messages < 1 || !Number.isSafeInteger(seed)) {
  console.error(USAGE);
  process.exit(2);
}

const begun = performance.now();
try {
  const totals = await fuzzVfioUser({ messages, seed });
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  const refusals = [...totals.refused]
    .sort(([, a], [, b]) => b - a)
    .map(([errno, count]) => `${errno}: ${count}`);
  console.log(`answers: ${totals.answered}; refusals by errno: ${refusals.join(', ')}`);
  console.log(`connections: ${totals.connections}, closed by the server: ${totals.closed}`);
  const megabytes = Math.round(totals.peakResident / 1e6);
  console.log(
    `messages ${totals.messages}, seed ${seed}, ${seconds} s, at most ${megabytes} MB resident: ` +
      'no crash, no hang, no leak, no broken invariant',
  );
} catch (error) {
  console.error(`seed ${seed}:`, error);
  process.exitCode = 1;
}
