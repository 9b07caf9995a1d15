/** Random logs on the model: whatever a log says, a replay answers it and keeps its spaces whole. */

import { readLog } from '../../src/replay/read-log.js';
import { Replayer } from '../../src/replay/replayer.js';
import { randomLog, randomOf } from '../helpers/random-log.js';

/** How often a request is explained before it is made; that takes long. */
const EVENTS_AN_EXPLANATION = 16;
/** How often the spaces are checked. */
const EVENTS_A_CHECK = 50;

/** Replays the random log of a seed. @throws what a replay throws: it is a defect */
export async function replayRandomLog(seed: number, lines: number): Promise<{ readonly events: number }> {
  const replayer = new Replayer({ profile: seed % 2 === 0 ? 'linux' : 'rfc-v1', lockedLimit: 2n ** 40n });
  let events = 0;
  for await (const event of readLog(randomLog(randomOf(seed), lines))) {
    if (event.type !== 'malformed' && events % EVENTS_AN_EXPLANATION === 0) await replayer.explain(event);
    await replayer.apply(event);
    events += 1;
    if (events % EVENTS_A_CHECK === 0) for (const { table } of replayer.spaces()) table.check();
  }
  await replayer.finish();
  if (replayer.pinnedPages !== 0) throw new Error(`seed ${seed}: ${replayer.pinnedPages} pages stay pinned`);
  return { events };
}

const LINES_A_LOG = 400;

/** Replays so many random lines, log by log, and says what came of it; a failure is one of the process. */
export async function runRandomLogs(lines: number, seed: number): Promise<void> {
  const logs = Math.ceil(lines / LINES_A_LOG);
  for (let at = 0; at < logs; at++) {
    try {
      await replayRandomLog(seed + at, LINES_A_LOG);
    } catch (error) {
      console.error(`random log, seed ${seed + at}:`, error);
      process.exitCode = 1;
    }
  }
  console.log(`random logs: ${logs} of ${LINES_A_LOG} lines, from seed ${seed}`);
}
