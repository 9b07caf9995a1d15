/**
 * Translating in a second thread, while the first leaves the domain alone, or maps and unmaps in it without a pause.
 */
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { GroupRun } from '../harness/group.js';
import type { Subject } from '../harness/side-by-side.js';
import { OURS } from '../results.js';
import { IoPagetable, RadixDomain } from '../scene/core.js';
import { randomNumbers, shuffled } from '../scene/random.js';
import type { ReaderWork } from '../scene/reader-thread.js';
import { BASE, PAGE, scatteredMemory } from '../scene/space.js';

const SIZES = [1000, 100_000, 1_000_000];
/** Translations of a round: long enough for a clock that the scheduler keeps. */
const CALLS = 1_000_000;
const ROUNDS = 15;
const QUICK_ROUNDS = 5;
/** Requests of the owner between two looks at its messages. */
const BURST = 500;
/** Milliseconds. */
const IDLE = 5;
/** Pages that the owner maps at a time, if more than one. */
const MANY = 16;
/** Far above all others; the page before stays mapped too. */
const ELSEWHERE = 2 ** 40 + PAGE;
const READ = 1;

interface Scene {
  readonly table: IoPagetable;
  readonly domain: RadixDomain;
  readonly uptr: bigint;
  readonly addresses: SharedArrayBuffer;
}

async function sceneOf(pages: number): Promise<Scene> {
  const { memory, ram } = scatteredMemory(pages);
  const table = new IoPagetable({ memory });
  const domain = new RadixDomain({ shared: true });
  await table.addDomain(domain);
  await table.map({ iova: BASE, uptr: ram.uptr, length: pages * PAGE, prot: 'rw' });
  await table.map({ iova: ELSEWHERE - PAGE, uptr: ram.uptr, length: PAGE, prot: 'rw' });
  const addresses = new SharedArrayBuffer(pages * Float64Array.BYTES_PER_ELEMENT);
  const random = randomNumbers();
  const order = shuffled(pages, random);
  new Float64Array(addresses).set(
    Float64Array.from(order, (at) => BASE + at * PAGE + random() * PAGE).map(Math.floor),
  );
  return { table, domain, uptr: ram.uptr, addresses };
}

/** Nanoseconds of a translation, round by round; the owner does something over and over meanwhile. */
async function readerTimes(
  { domain, addresses }: Scene,
  rounds: number,
  meanwhile: () => void | Promise<void>,
): Promise<number[]> {
  const workerData: ReaderWork = { domain: domain.share(), addresses, rounds, calls: CALLS };
  const worker = new Worker(new URL('../scene/reader-thread.js', import.meta.url), { workerData });
  let times: number[] | undefined;
  let started = false;
  const ended = new Promise<void>((resolve, reject) => {
    worker.on('message', (message: 'started' | number[]) => {
      if (message === 'started') started = true;
      else times = message;
    });
    worker.on('error', reject);
    worker.on('exit', () => resolve());
  });
  let over = false;
  const watching = ended.finally(() => {
    over = true;
  });
  while (!over) {
    if (started) await meanwhile();
    await turn();
  }
  await watching;
  if (times === undefined) throw new Error('the reader ended without figures');
  return times;
}

function mapAndUnmap({ domain }: Scene, pages: number): void {
  for (let pair = 0; pair < BURST; pair++) {
    const iova = ELSEWHERE + (pair % 64) * pages * PAGE;
    domain.map(iova, iova, pages * PAGE, READ);
    domain.unmap(iova, pages * PAGE);
  }
}

function translations({ domain, addresses }: Scene): Subject {
  const iovas = new Float64Array(addresses);
  const size = iovas.length;
  let at = 0;
  return {
    row: 'translateElsewhere',
    subject: 'the owner itself',
    size,
    run(count) {
      for (let call = 0; call < count; call++) {
        if (domain.iovaToPhys(iovas[at]!) === undefined) throw new Error('an address was not translated');
        if (++at === size) at = 0;
      }
    },
  };
}

/** Nanoseconds of a map and an unmap that waits until the reader has passed a quiescent point. */
async function pairTimes(scene: Scene, rounds: number): Promise<number[]> {
  const { table, uptr } = scene;
  const times: number[] = [];
  await readerTimes(scene, rounds, async () => {
    const start = performance.now();
    for (let pair = 0; pair < BURST; pair++) {
      await table.map({ iova: ELSEWHERE, uptr, length: PAGE, prot: 'rw' });
      await table.unmap(ELSEWHERE, PAGE);
    }
    times.push(((performance.now() - start) * 1e6) / BURST);
  });
  // In the midst of the last burst the reader ended.
  return times.slice(0, -1);
}

/** The rows of the group. */
export async function sharedReaderGroup(run: GroupRun): Promise<void> {
  const rounds = run.quick ? QUICK_ROUNDS : ROUNDS;
  for (const pages of run.sizes(SIZES, SIZES.slice(0, 2))) {
    const scene = await sceneOf(pages);
    await run.measure([translations(scene)]);
    await run.giveWay();
    const idle = await readerTimes(scene, rounds, () => sleep(IDLE));
    run.record('translateElsewhere', pages, idle, `${OURS} (reader, the owner idle)`);
    for (const [count, what] of [
      [1, 'a page'],
      [MANY, `${MANY} pages`],
    ] as const) {
      await run.giveWay();
      const busy = await readerTimes(scene, rounds, () => mapAndUnmap(scene, count));
      run.record('translateElsewhere', pages, busy, `${OURS} (reader, the owner maps and unmaps ${what})`);
    }
    await run.giveWay();
    run.record('pairWithReader', pages, await pairTimes(scene, rounds));
  }
}
