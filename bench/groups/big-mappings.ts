/**
 * Mappings of many pages at once.
 */
import type { GroupRun } from '../harness/group.js';
import type { Subject } from '../harness/side-by-side.js';
import { NaiveTable } from '../peers/naive-table.js';
import { OURS } from '../results.js';
import { IoPagetable, ProcessMemory, RadixDomain } from '../scene/core.js';
import { CountingMemory } from '../scene/counting-memory.js';
import { BASE, PAGE, scatteredMemory } from '../scene/space.js';

const TEBIBYTE = 2 ** 40;
const GIBIBYTE = 2 ** 30;
const SCATTERED = 16 * GIBIBYTE;
/** A `Map` with an entry a page gets this many; it needs some hundred bytes for each. */
const NAIVE_SCATTERED = GIBIBYTE;

async function tableOf(memory: ProcessMemory): Promise<IoPagetable> {
  const table = new IoPagetable({ memory });
  await table.addDomain(new RadixDomain());
  return table;
}

async function contiguous(): Promise<Subject[]> {
  const memory = new ProcessMemory();
  const { uptr } = memory.mmap({ length: TEBIBYTE, sparse: true });
  const table = await tableOf(memory);
  const map = () => table.mapSync({ iova: TEBIBYTE, uptr, length: TEBIBYTE, prot: 'rw' });
  const unmap = () => table.unmapSync(TEBIBYTE, TEBIBYTE);
  const shared = { subject: OURS, size: TEBIBYTE / PAGE, batch: 1 };
  return [
    { ...shared, row: 'mapTebibyte', run: () => void map(), restore: () => void unmap() },
    { ...shared, row: 'unmapTebibyte', prepare: () => void map(), run: () => void unmap() },
  ];
}

/** A batch is one mapping, counted as its pages, so that a figure is for a page. */
async function scattered(): Promise<Subject[]> {
  const pages = SCATTERED / PAGE;
  const { memory, ram } = scatteredMemory(pages);
  const table = await tableOf(memory);
  const { uptr } = ram;
  const map = () => table.mapSync({ iova: BASE, uptr, length: SCATTERED, prot: 'rw' });
  const unmap = () => table.unmapSync(BASE, SCATTERED);
  const shared = { subject: OURS, size: pages, batch: pages };
  return [
    { ...shared, row: 'mapScattered', run: () => void map(), restore: () => void unmap() },
    { ...shared, row: 'unmapScattered', prepare: () => void map(), run: () => void unmap() },
  ];
}

function naiveScattered(): Subject[] {
  const pages = NAIVE_SCATTERED / PAGE;
  const { memory, ram } = scatteredMemory(pages);
  const table = new NaiveTable(memory, true);
  const [iova, length] = [BigInt(BASE), BigInt(NAIVE_SCATTERED)];
  const map = async () => void (await table.map(iova, ram.uptr, length, true));
  const unmap = async () => void (await table.unmap(iova, length));
  const shared = { subject: 'naive composition', size: pages, batch: pages };
  return [
    { ...shared, row: 'mapScattered', run: map, restore: unmap },
    { ...shared, row: 'unmapScattered', prepare: map, run: unmap },
  ];
}

async function measureCopy(run: GroupRun): Promise<void> {
  const pages = GIBIBYTE / PAGE;
  const { memory, ram } = scatteredMemory(pages);
  const counting = new CountingMemory(memory);
  const from = new IoPagetable({ memory: counting });
  await from.addDomain(new RadixDomain());
  await from.map({ iova: BASE, uptr: ram.uptr, length: GIBIBYTE, prot: 'rw' });
  const to = new IoPagetable();
  await to.addDomain(new RadixDomain());
  const before = counting.calls;
  const subject: Subject = {
    row: 'copyGibibyte',
    subject: OURS,
    size: pages,
    batch: pages,
    run: () => void to.copySync({ from, srcIova: BASE, iova: BASE, length: GIBIBYTE, prot: 'rw' }),
    restore: () => void to.unmapSync(BASE, GIBIBYTE),
  };
  await run.measureWhole([subject], run.quick ? 5 : 11, 0);
  run.record('copyTouches', pages, [counting.calls - before]);
}

/** The rows of the group. */
export async function bigMappingsGroup(run: GroupRun): Promise<void> {
  await run.measure(await contiguous());
  await run.measureWhole([...(await scattered()), ...naiveScattered()], run.quick ? 4 : 11, 0);
  await measureCopy(run);
}
