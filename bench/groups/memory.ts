/**
 * What a table takes of the heap.
 */
import { setImmediate } from 'node:timers/promises';
import type { GroupRun } from '../harness/group.js';
import { NaiveTable } from '../peers/naive-table.js';
import { IoPagetable, IoptAccess, ProcessMemory, RadixDomain } from '../scene/core.js';
import { LateMemory } from '../scene/late-memory.js';
import { BASE, PAGE, scatteredMemory, spaceOf } from '../scene/space.js';

const AREAS = 100_000;
const WAITING = 10_000;
const PINNED = 2 ** 30;
const ROUNDS = 5;

interface Taken {
  readonly heap: number;
  readonly buffers: number;
}

/** Bytes that are in use now; the caller keeps what is to be counted, and has dropped the rest. */
function inUse(): Taken {
  globalThis.gc?.();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return { heap: heapUsed, buffers: arrayBuffers };
}

/** What is in use with the result of `make` kept, beyond what is without. */
async function takenBy(make: () => Promise<object>): Promise<Taken> {
  const before = inUse();
  const kept = [await make()];
  const after = inUse();
  kept.pop();
  return { heap: after.heap - before.heap, buffers: after.buffers - before.buffers };
}

/** A table with its domain, memory and areas, without the lists that only the benchmark needs. */
async function residentTable(): Promise<object> {
  const { table, domain, memory } = await spaceOf(AREAS, { domain: true });
  return { table, domain, memory };
}

async function naiveTable(): Promise<object> {
  const { memory, ram } = scatteredMemory(AREAS);
  const table = new NaiveTable(memory, true);
  for (let at = 0; at < AREAS; at++) {
    await table.map(BigInt(BASE + 2 * at * PAGE), ram.uptr + BigInt(at * PAGE), BigInt(PAGE), true);
  }
  return { table, memory };
}

async function measureAreas(run: GroupRun, subject: string, make: () => Promise<object>): Promise<void> {
  const taken: Taken[] = [];
  for (let round = 0; round < (run.quick ? 3 : 7); round++) {
    await run.giveWay();
    taken.push(await takenBy(make));
  }
  const perArea = (kind: keyof Taken) => taken.map((bytes) => bytes[kind] / AREAS);
  run.record('heapPerArea', AREAS, perArea('heap'), subject);
  run.record('buffersPerArea', AREAS, perArea('buffers'), subject);
}

/** A pin of contiguous frames without a domain: the access's own store is all that holds them. */
async function measurePin(run: GroupRun): Promise<void> {
  const memory = new ProcessMemory();
  const { uptr } = memory.mmap({ length: PINNED, sparse: true });
  const table = new IoPagetable({ memory });
  const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
  await access.attach(table);
  await table.map({ iova: BASE, uptr, length: PINNED, prot: 'rw' });
  const rounds: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const { heap, buffers } = await takenBy(() => access.pin(BASE, PINNED));
    rounds.push(heap + buffers);
    await access.unpin(BASE, PINNED);
  }
  run.record('heapOfPin', PINNED / PAGE, rounds);
}

/** Maps that were called, and wait: for their pins, or for a lock that an access holds until its own pin comes. */
async function measureWaitingMaps(run: GroupRun, what: 'pin' | 'lock'): Promise<void> {
  const { memory, ram } = scatteredMemory(WAITING + 1);
  const late = new LateMemory(memory);
  late.late = false;
  const table = new IoPagetable({ memory: late });
  const held = BASE - PAGE;
  const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
  if (what === 'pin') await table.addDomain(new RadixDomain());
  else {
    await access.attach(table);
    await table.map({ iova: held, uptr: Number(ram.uptr) + WAITING * PAGE, length: PAGE, prot: 'rw' });
  }
  const rounds: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    await run.giveWay();
    late.late = true;
    const holding = what === 'lock' ? access.pin(held, PAGE) : undefined;
    const calls: Promise<bigint>[] = [];
    const { heap } = await takenBy(async () => {
      for (let call = 0; call < WAITING; call++) {
        const iova = BASE + 2 * call * PAGE;
        calls.push(table.map({ iova, uptr: Number(ram.uptr) + call * PAGE, length: PAGE, prot: 'rw' }));
      }
      await setImmediate();
      return calls;
    });
    rounds.push(heap / WAITING);
    late.settle();
    await Promise.all([holding, ...calls]);
    if (what === 'lock') await access.unpin(held, PAGE);
    await table.unmap(BASE, 2 * WAITING * PAGE);
  }
  run.record(
    'heapOfWaitingMap',
    WAITING,
    rounds,
    `io-pagetable (for ${what === 'pin' ? 'its pin' : 'a lock'})`,
  );
}

/** The rows of the group. */
export async function memoryGroup(run: GroupRun): Promise<void> {
  await measureAreas(run, 'io-pagetable', residentTable);
  await measureAreas(run, 'naive composition', naiveTable);
  await measurePin(run);
  await measureWaitingMaps(run, 'pin');
  await measureWaitingMaps(run, 'lock');
}
