/**
 * Explores how calls meet: every pair and every triple of them, under all schedules of what they wait for.
 *
 *   npm run -s interleavings                       everything; prints the schedules of each pair and triple
 *   npm run -s interleavings -- --early 2          triples with up to 2 early steps (default 1; pairs: any number)
 *   npm run -s interleavings -- --world table --calls 'map fixed,unmap' [--start pinned] [--schedule 'call0 gate0']
 *                                                  these calls only, or one schedule, as a failure prints it
 *
 * Nothing is random: a failing schedule, which is printed, is all that is needed to see it again. Ends with status 1
 * if something failed.
 */
import { parseArgs } from 'node:util';
import { parseSchedule, scheduleName } from '../test/interleavings/schedule.js';
import { combinations, WORLDS, type World } from '../test/interleavings/worlds.js';

const { values } = parseArgs({
  options: {
    early: { type: 'string', default: '1' },
    world: { type: 'string' },
    calls: { type: 'string' },
    start: { type: 'string' },
    schedule: { type: 'string' },
  },
});
const races = new Map<string, number>();
let total = 0;
let failures = 0;

async function exploreAll(): Promise<void> {
  const began = Date.now();
  const calls = values.calls?.split(',');
  for (const [name, world] of Object.entries(WORLDS)) {
    if (values.world !== undefined && values.world !== name) continue;
    if (calls !== undefined) {
      await exploreCalls(name, world, calls, Number.POSITIVE_INFINITY);
      continue;
    }
    await exploreSize(name, world, 2, Number.POSITIVE_INFINITY);
    await exploreSize(name, world, 3, Number(values.early));
  }
  console.log('\nmeetings in which something happened that only a race explains:');
  for (const [reason, count] of races) console.log(`${String(count).padStart(9)}  ${reason}`);
  const seconds = Math.round((Date.now() - began) / 1000);
  console.log(`\nschedules ${total}, failures ${failures}, seconds ${seconds}`);
}

async function exploreSize(name: string, world: World, size: 2 | 3, mostEarly: number): Promise<void> {
  const kind = size === 2 ? 'pairs' : `triples, up to ${mostEarly} early steps`;
  console.log(`\n${name}, ${kind}: schedules, different outcomes, calls`);
  const before = total;
  for (const calls of combinations(world.calls, size)) await exploreCalls(name, world, calls, mostEarly);
  console.log(`${String(total - before).padStart(9)}         in total`);
}

async function exploreCalls(
  name: string,
  world: World,
  calls: readonly string[],
  mostEarly: number,
): Promise<void> {
  let schedules = 0;
  let outcomes = 0;
  for (const start of world.starts) {
    if (values.start !== undefined && values.start !== start) continue;
    const found = await world.explore(start, calls, mostEarly);
    schedules += found.schedules;
    outcomes += found.outcomes;
    for (const race of found.races) races.set(race, (races.get(race) ?? 0) + 1);
    if (found.failure === undefined) continue;
    failures += 1;
    const schedule = scheduleName(found.failure.steps);
    console.log(`FAILED: ${found.failure.problem}`);
    console.log(
      `its simplest schedule: npm run -s interleavings -- --world ${name} --calls '${calls.join()}' --start ${start} --schedule '${schedule}'`,
    );
  }
  total += schedules;
  console.log(`${String(schedules).padStart(9)} ${String(outcomes).padStart(6)}  ${calls.join(' + ')}`);
}

/** Runs one schedule, in the world, start and with the calls named. */
async function replayOne(schedule: string): Promise<void> {
  const { world: name = '', calls = '', start = '' } = values;
  const world = Object.entries(WORLDS).find(([candidate]) => candidate === name)?.[1];
  if (world === undefined) throw new Error(`there is no world '${name}'`);
  const problem = await world.replay(start, calls.split(','), parseSchedule(schedule));
  if (problem !== undefined) failures += 1;
  console.log(problem ?? 'nothing is wrong with it');
}

await (values.schedule === undefined ? exploreAll() : replayOne(values.schedule));
if (failures > 0) process.exitCode = 1;
