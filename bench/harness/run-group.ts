/**
 * The process of one group: runs it and sends its figures to its parent.
 */
import { once } from 'node:events';
import { GROUPS } from '../groups/index.js';
import { TURN_OVER } from './fork-group.js';
import { GroupRun } from './group.js';

const [name = '', ...flags] = process.argv.slice(2);
const load = GROUPS[name];
if (load === undefined) throw new Error(`there is no group '${name}'`);

/** Lets the process that measures the other tree have its turn. */
async function giveWay(): Promise<void> {
  process.send?.(TURN_OVER);
  await once(process, 'message');
}

const takesTurns = flags.includes('--takes-turns');
if (takesTurns) await once(process, 'message');
const run = new GroupRun(
  { quick: flags.includes('--quick'), profile: flags.includes('--profile') },
  takesTurns ? giveWay : async () => {},
);
const group = await load();
await group(run);
process.send?.(run.figures);
