/** Random logs on the model: whatever a log says, a replay answers it and keeps its spaces whole. */
import { Replayer, readLog } from '../../src/replay/index.js';
import { randomLog, randomOf } from '../helpers/random-log.js';

/** How often the spaces are checked. */
const LINES_A_CHECK = 50;

/** Replays the random log of a seed. @throws what a replay throws: it is a defect */
export async function replayRandomLog(seed: number, lines: number): Promise<{ readonly events: number }> {
  const replayer = new Replayer({ profile: seed % 2 === 0 ? 'linux' : 'rfc-v1', lockedLimit: 2n ** 40n });
  let events = 0;
  for await (const event of readLog(randomLog(randomOf(seed), lines))) {
    if (event.type !== 'malformed') await replayer.explain(event);
    await replayer.apply(event);
    events += 1;
    if (events % LINES_A_CHECK === 0) for (const { table } of replayer.spaces()) table.check();
  }
  await replayer.finish();
  if (replayer.pinnedPages !== 0) throw new Error(`seed ${seed}: ${replayer.pinnedPages} pages stay pinned`);
  return { events };
}
