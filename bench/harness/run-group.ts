/**
 * The process of one group: runs it and sends its figures to its parent.
 */
import { GROUPS } from '../groups/index.js';
import { GroupRun } from './group.js';

const [name = '', ...flags] = process.argv.slice(2);
const load = GROUPS[name];
if (load === undefined) throw new Error(`there is no group '${name}'`);
const run = new GroupRun({ quick: flags.includes('--quick'), profile: flags.includes('--profile') });
const group = await load();
await group(run);
process.send?.(run.figures);
