/**
 * Fuzzes `uapi`: `npm run -s fuzz:uapi -- --calls N --seed S`.
 *
 * The calls are made in a process of their own, so that one which never returns is noticed. Exit code 0 if all went
 * well; 1 if a call threw, hung, leaked or broke an invariant: the output says which, and the same seed finds it again.
 */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { fuzzUapi } from './fuzz-uapi/fuzz.js';

const USAGE = 'usage: npm run -s fuzz:uapi -- [--calls N] [--seed S]';
/** A machine's calls take a fraction of a second. */
const PATIENCE_MS = 120_000;

const { values } = parseArgs({
  options: {
    calls: { type: 'string', default: '100000' },
    seed: { type: 'string', default: '1' },
  },
});
const [calls, seed] = [Number(values.calls), Number(values.seed)];
if (!Number.isSafeInteger(calls) || calls < 1 || !Number.isSafeInteger(seed)) {
  console.error(USAGE);
  process.exit(2);
}

async function work(): Promise<void> {
  const begun = performance.now();
  const totals = await fuzzUapi({ calls, seed, progress: (made) => process.send?.(made) });
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  const answers = [...totals.answers]
    .sort(([, a], [, b]) => b - a)
    .map(([code, count]) => `${code} ${count}`);
  console.log(`answers: ${answers.join(', ')}`);
  console.log(`commands that succeeded: ${[...totals.succeeded].sort().join(', ')}`);
  console.log(
    `calls ${totals.calls}, seed ${seed}, machines ${totals.machines}, checks ${totals.checks}, ${seconds} s: ` +
      'no throw, no hang, no leak, no broken invariant',
  );
}

/** Runs the calls in a child, and waits as long as it makes progress. */
function supervise(): void {
  const child = fork(fileURLToPath(import.meta.url), process.argv.slice(2), {
    env: { ...process.env, FUZZ_UAPI_WORKER: '1' },
  });
  let made = 0;
  const giveUp = () => {
    console.error(`seed ${seed}: a call after call ${made} does not return`);
    child.kill('SIGKILL');
  };
  let patience = setTimeout(giveUp, PATIENCE_MS);
  child.on('message', (message) => {
    made = Number(message);
    clearTimeout(patience);
    patience = setTimeout(giveUp, PATIENCE_MS);
  });
  child.on('exit', (code) => {
    clearTimeout(patience);
    process.exitCode = code === 0 ? 0 : 1;
  });
}

if (process.env.FUZZ_UAPI_WORKER === undefined) {
  supervise();
} else {
  try {
    await work();
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
