/**
 * Replays recorded traces: `npm run -s conformance -- [--check] [--uapi] PATH…`, where a path is a trace file or a
 * folder. `--uapi` performs every operation through `uapi`.
 *
 * Exit code 0 if every answer is the recorded one, 1 if not, 2 if there is nothing to replay or an argument is wrong.
 */
import { parseArgs } from 'node:util';
import { describeMismatch, replayFiles } from '../conformance/replay-traces.js';
import { findTraces } from '../conformance/trace-files.js';

const USAGE = 'usage: npm run -s conformance -- [--check] [--uapi] PATH…';

function refuse(message: string): number {
  console.error(`${message}\n${USAGE}`);
  return 2;
}

function readArguments() {
  try {
    const flag = { type: 'boolean', default: false } as const;
    return parseArgs({ options: { check: flag, uapi: flag }, allowPositionals: true });
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

async function main(): Promise<number> {
  const read = readArguments();
  if (typeof read === 'string') return refuse(read);
  const files = await findTraces(read.positionals);
  if (files.length === 0) return refuse('there are no trace files to replay');
  const { check, uapi } = read.values;
  const report = (mismatch: Parameters<typeof describeMismatch>[0]) =>
    console.log(describeMismatch(mismatch));
  const { ops, mismatches } = await replayFiles(files, { check, uapi, report });
  console.log(`files ${files.length}, ops ${ops}, mismatches ${mismatches}`);
  return mismatches === 0 ? 0 : 1;
}

// Whoever reads may have seen enough, as `head` has.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
});
process.exitCode = await main();
