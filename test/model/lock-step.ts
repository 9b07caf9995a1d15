/**
 * Runs operations on the library and on the naive model side by side, and compares every answer and, after every
 * operation, everything that can be seen from outside.
 */
import assert from 'node:assert/strict';
import { compareAll } from './compare.js';
import { executeOp } from './execute-op.js';
import type { Op } from './ops.js';
import { type LockStepOptions, Pairs } from './pairs.js';
import type { OpsFailure } from './reduce.js';

/** A finished run, or one up to its first difference. */
export interface LockStepRun {
  /** The operations with their answers. */
  readonly transcript: readonly string[];
  /** The first difference. */
  readonly failure: OpsFailure | undefined;
}

/**
 * Runs a list of operations and takes everything down again; nothing may stay pinned, charged or mapped then. The
 * error of a failure has the transcript in its message.
 */
export async function runInLockStep(ops: readonly Op[], options: LockStepOptions): Promise<LockStepRun> {
  const transcript: string[] = [];
  let carriedOut = 0;
  try {
    const pairs = new Pairs(options);
    for (const op of ops) {
      carriedOut += 1;
      await step(pairs, op, transcript);
    }
    for (const op of takeDown(pairs)) await step(pairs, op, transcript);
    assert.equal(pairs.memory.physical.pinned, 0, 'pins after everything was taken down');
    return { transcript, failure: undefined };
  } catch (cause) {
    const why = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
    const error = new Error(`${transcript.join('\n')}\n\n${why}`, { cause });
    return { transcript, failure: { carriedOut, error } };
  }
}

async function step(pairs: Pairs, op: Op, transcript: string[]): Promise<void> {
  const number = transcript.push(JSON.stringify(op)) - 1;
  const { library, model, aim } = await executeOp(pairs, op);
  const answers = library === model ? model : `${library}, model: ${model}`;
  transcript[number] += `${aim === undefined ? '' : ` (${aim})`} -> ${answers}`;
  assert.equal(library, model, 'answers differ (library, model)');
  compareAll(pairs);
}

function takeDown({ holds, accesses, tables, domains }: Pairs): Op[] {
  return [
    ...holds.map((): Op => ({ op: 'release', hold: 0 })),
    ...accesses.map((_, access): Op => ({ op: 'ignore', access, notices: 0 })),
    ...accesses.map((_, access): Op => ({ op: 'detach', access })),
    ...tables.map((_, table): Op => ({ op: 'unmapAll', table })),
    ...domains.map((_, domain): Op => ({ op: 'removeDomain', domain })),
  ];
}
