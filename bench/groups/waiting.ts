/**
 * Many calls at a time: those that wait for a lock, and those whose pins come late.
 */
import type { GroupRun } from '../harness/group.js';
import type { Subject } from '../harness/side-by-side.js';
import { NaiveTable } from '../peers/naive-table.js';
import { OURS } from '../results.js';
import { IoPagetable, IoptAccess, RadixDomain } from '../scene/core.js';
import { LateMemory } from '../scene/late-memory.js';
import { BASE, PAGE, scatteredMemory } from '../scene/space.js';

const WAITERS = [10_000, 100_000, 1_000_000];
const QUICK_WAITERS = [10_000, 20_000, 40_000];
/** Calls that queue behind one holder, where the holder's own work hardly shows. */
const QUEUE = 100;
/** Queues in a batch. */
const QUEUES = 20;
const MAPS = [100, 1000, 10_000, 100_000];
const QUICK_MAPS = [100, 1000, 10_000];

/**
 * A pin that comes late holds the lock of the IOVA space for reading; then `size` unmaps, which find nothing, wait
 * for it.
 */
async function waiters(size: number): Promise<Subject> {
  const { memory, ram } = scatteredMemory(1);
  const late = new LateMemory(memory);
  const table = new IoPagetable({ memory: late });
  await table.map({ iova: BASE, uptr: ram.uptr, length: PAGE, prot: 'rw' });
  const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
  await access.attach(table);
  return {
    row: 'waiting',
    subject: OURS,
    size,
    batch: size,
    async run() {
      late.late = true;
      const holding = access.pin(BASE, PAGE);
      const calls: Promise<bigint>[] = [];
      for (let call = 0; call < size; call++) calls.push(table.unmap(0, PAGE));
      late.settle();
      await holding;
      await Promise.all(calls);
      await access.unpin(BASE, PAGE);
    },
  };
}

/** The same with a short queue, over and over. */
async function queuedWriters(): Promise<Subject> {
  const { memory, ram } = scatteredMemory(1);
  const late = new LateMemory(memory);
  const table = new IoPagetable({ memory: late });
  await table.map({ iova: BASE, uptr: ram.uptr, length: PAGE, prot: 'rw' });
  const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
  await access.attach(table);
  return {
    row: 'queuedWriters',
    subject: OURS,
    size: QUEUE,
    batch: QUEUE * QUEUES,
    async run() {
      for (let queue = 0; queue < QUEUES; queue++) {
        late.late = true;
        const calls: Promise<unknown>[] = [access.pin(BASE, PAGE)];
        for (let call = 0; call < QUEUE; call++) calls.push(table.unmap(0, PAGE));
        late.settle();
        await Promise.all(calls);
        await access.unpin(BASE, PAGE);
      }
    },
  };
}

/** A domain that is added holds the locks for writing until its pin comes; reads of as many accesses wait for it. */
async function queuedReaders(): Promise<Subject> {
  const { memory, ram } = scatteredMemory(1);
  const late = new LateMemory(memory);
  const table = new IoPagetable({ memory: late });
  await table.map({ iova: BASE, uptr: ram.uptr, length: PAGE, prot: 'rw' });
  const accesses: IoptAccess[] = [];
  for (let at = 0; at < QUEUE; at++) {
    const access = new IoptAccess({ needsPin: false });
    await access.attach(table);
    accesses.push(access);
  }
  const domain = new RadixDomain();
  const word = new Uint8Array(8);
  return {
    row: 'queuedReaders',
    subject: OURS,
    size: QUEUE,
    batch: QUEUE * QUEUES,
    async run() {
      for (let queue = 0; queue < QUEUES; queue++) {
        late.late = true;
        const calls: Promise<unknown>[] = [table.addDomain(domain)];
        for (const access of accesses) calls.push(access.read(BASE, word));
        late.settle();
        await Promise.all(calls);
        await table.removeDomain(domain);
      }
    },
  };
}

/** Calls that finish before one that was made earlier. */
function outOfOrder(order: readonly number[]): number {
  return order.filter((call, at) => call !== at).length;
}

interface LateMaps {
  readonly subject: string;
  readonly late: LateMemory;
  map(iova: number, uptr: number): Promise<unknown>;
  unmapAll(): Promise<unknown>;
}

async function ourMaps(size: number, uptrs: number[]): Promise<LateMaps> {
  const { memory, ram } = scatteredMemory(size);
  const late = new LateMemory(memory);
  const table = new IoPagetable({ memory: late });
  await table.addDomain(new RadixDomain());
  for (let at = 0; at < size; at++) uptrs.push(Number(ram.uptr) + at * PAGE);
  return {
    subject: OURS,
    late,
    map: (iova, uptr) => table.map({ iova, uptr, length: PAGE, prot: 'rw' }),
    unmapAll: () => table.unmapAll(),
  };
}

function naiveMaps(size: number): LateMaps {
  const { memory } = scatteredMemory(size);
  const late = new LateMemory(memory);
  const table = new NaiveTable(late, true);
  return {
    subject: 'naive composition',
    late,
    map: (iova, uptr) => table.map(BigInt(iova), BigInt(uptr), BigInt(PAGE), true),
    unmapAll: () => table.unmap(BigInt(BASE), BigInt(2 * size * PAGE)),
  };
}

function latePins(
  size: number,
  { subject, late, map, unmapAll }: LateMaps,
  uptrs: readonly number[],
  wrong: number[],
): Subject {
  return {
    row: 'latePins',
    subject,
    size,
    batch: size,
    async run() {
      late.late = true;
      const order: number[] = [];
      const calls = uptrs.map(async (uptr, call) => {
        await map(BASE + 2 * call * PAGE, uptr);
        order.push(call);
      });
      setImmediate(() => late.settle());
      await Promise.all(calls);
      wrong.push(outOfOrder(order));
    },
    restore: async () => void (await unmapAll()),
  };
}

/** The rows of the group. */
export async function waitingGroup(run: GroupRun): Promise<void> {
  await run.measure([await queuedWriters(), await queuedReaders()]);
  for (const size of run.sizes(WAITERS, QUICK_WAITERS)) {
    // The larger ones are warm from the others, and take their time.
    if (size > 10_000) await run.measureWhole([await waiters(size)], 3, 0);
    else await run.measureWhole([await waiters(size)], 7);
  }
  for (const size of run.sizes(MAPS, QUICK_MAPS)) {
    const uptrs: number[] = [];
    const wrong: number[] = [];
    const ours = latePins(size, await ourMaps(size, uptrs), uptrs, wrong);
    const naive = latePins(size, naiveMaps(size), uptrs, []);
    await run.measureWhole([ours, naive], 5);
    run.record('latePinsOrder', size, wrong);
  }
}
