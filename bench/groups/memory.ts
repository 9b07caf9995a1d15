/**
 * What a table takes of the heap.
 */
import type { GroupRun } from '../harness/group.js';
import { NaiveTable } from '../peers/naive-table.js';
import { IoPagetable, IoptAccess, ProcessMemory } from '../scene/core.js';
import { BASE, PAGE, scatteredMemory, spaceOf } from '../scene/space.js';

const AREAS = 100_000;
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
  for (let round = 0; round < (run.quick ? 3 : 7); round++) taken.push(await takenBy(make));
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

/** The rows of the group. */
export async function memoryGroup(run: GroupRun): Promise<void> {
  await measureAreas(run, 'io-pagetable', residentTable);
  await measureAreas(run, 'naive composition', naiveTable);
  await measurePin(run);
}
