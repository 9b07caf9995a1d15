/**
 * Mapping a page and unmapping it again, in a table that has many areas already.
 */
import type { GroupRun } from '../harness/group.js';
import type { Subject } from '../harness/side-by-side.js';
import { LeanTable } from '../peers/lean-table.js';
import { NaiveTable } from '../peers/naive-table.js';
import { OURS } from '../results.js';
import type { RowName } from '../rows.js';
import { PAGE, type Space, scatteredMemory, spaceOf } from '../scene/space.js';

const SIZES = [1000, 10_000, 100_000, 1_000_000];
const QUICK_SIZES = [1000, 100_000];

function withPromises(row: RowName, space: Space): Subject {
  const { table, holes, uptrs, areas } = space;
  let at = 0;
  return {
    row,
    subject: OURS,
    size: areas,
    async run(count) {
      for (let pair = 0; pair < count; pair++) {
        const iova = holes[at]!;
        await table.map({ iova, uptr: uptrs[at]!, length: 4096n, prot: 'rw' });
        await table.unmap(iova, 4096n);
        if (++at === areas) at = 0;
      }
    },
  };
}

function synchronous(row: RowName, space: Space): Subject {
  const { table, holes, uptrs, areas } = space;
  let at = 0;
  return {
    row,
    subject: 'io-pagetable (sync)',
    size: areas,
    run(count) {
      for (let pair = 0; pair < count; pair++) {
        const iova = holes[at]!;
        table.mapSync({ iova, uptr: uptrs[at]!, length: 4096n, prot: 'rw' });
        table.unmapSync(iova, 4096n);
        if (++at === areas) at = 0;
      }
    },
  };
}

async function naive(row: RowName, space: Space): Promise<Subject> {
  const { areas, iovas, holes } = space;
  const { memory, ram } = scatteredMemory(areas);
  const table = new NaiveTable(memory, space.domain !== undefined);
  const shift = ram.uptr - space.ram.uptr;
  const uptrs = Array.from(space.uptrs, (uptr) => uptr + shift);
  for (let at = 0; at < areas; at++) await table.map(iovas[at]!, uptrs[at]!, 4096n, true);
  let at = 0;
  return {
    row,
    subject: 'naive composition',
    size: areas,
    async run(count) {
      for (let pair = 0; pair < count; pair++) {
        const iova = holes[at]!;
        await table.map(iova, uptrs[at]!, 4096n, true);
        await table.unmap(iova, 4096n);
        if (++at === areas) at = 0;
      }
    },
  };
}

async function lean(row: RowName, space: Space): Promise<Subject> {
  const { areas } = space;
  const { memory, ram } = scatteredMemory(areas);
  const table = new LeanTable(memory, space.domain !== undefined);
  const shift = Number(ram.uptr - space.ram.uptr);
  const iovas = Float64Array.from(space.iovas, Number);
  const holes = Float64Array.from(space.holes, Number);
  const uptrs = Float64Array.from(space.uptrs, (uptr) => Number(uptr) + shift);
  for (let at = 0; at < areas; at++) await table.map(iovas[at]!, uptrs[at]!, PAGE, true);
  let at = 0;
  return {
    row,
    subject: 'lean composition',
    size: areas,
    async run(count) {
      for (let pair = 0; pair < count; pair++) {
        const iova = holes[at]!;
        await table.map(iova, uptrs[at]!, PAGE, true);
        await table.unmap(iova, PAGE);
        if (++at === areas) at = 0;
      }
    },
  };
}

/** The rows of the group. One size at a time: what others keep on the heap is marked in everybody's time. */
export async function mapUnmapGroup(run: GroupRun): Promise<void> {
  for (const size of run.sizes(SIZES, QUICK_SIZES)) {
    for (const row of ['pair', 'pairInDomain'] as const) {
      const space = await spaceOf(size, { domain: row === 'pairInDomain' });
      await run.measure([
        withPromises(row, space),
        synchronous(row, space),
        await naive(row, space),
        await lean(row, space),
      ]);
    }
  }
}
