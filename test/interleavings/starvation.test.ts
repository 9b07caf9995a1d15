/** Writers get their turn under a stream of readers, and readers under a stream of writers. */
import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import type { IoPagetable } from '../../src/io-pagetable.js';
import { settled, watch } from '../helpers/watch.js';
import { PAGE, USER, World } from '../helpers/world.js';

const IN_FLIGHT = 3;
const OTHER = 0x20000n;

/** Calls, how often each takes the lock for writing that readers hold, and letting others in between. */
const WRITERS: readonly (readonly [
  name: string,
  times: number,
  write: (table: IoPagetable) => Promise<unknown>,
])[] = [
  ['map', 2, (table) => table.map({ iova: 0x40000n, uptr: USER, length: PAGE, prot: 'rw' })],
  ['map auto', 2, (table) => table.map({ uptr: USER, length: PAGE, prot: 'rw' })],
  [
    'copy',
    2,
    (table) => table.copy({ from: table, srcIova: OTHER, iova: 0x40000n, length: PAGE, prot: 'r' }),
  ],
  ['unmap', 2, (table) => table.unmap(OTHER, PAGE)],
  ['reserveIova', 1, (table) => table.reserveIova({ start: 0x40000n, last: 0x4ffffn })],
  ['removeReservedIova', 1, (table) => table.removeReservedIova(null)],
  ['setAllowedIova', 1, (table) => table.setAllowedIova([{ start: 0x40000n, last: 0x4ffffn }])],
  ['setLargePages', 1, (table) => table.setLargePages(false)],
  ['cutIova', 1, (table) => table.cutIova([OTHER + 0x7ffn])],
  ['attach of an access', 1, (table) => new IoptAccess({ needsPin: true }).attach(table)],
];

/** A table with some memory mapped, and readers that wait in the memory, with the table locked for reading. */
async function reading() {
  const world = new World();
  const table = world.table();
  await table.map({ iova: 0n, uptr: USER, length: 4n * PAGE, prot: 'rw' });
  await table.map({ iova: OTHER, uptr: USER, length: PAGE, prot: 'rw' });
  const read = async () => {
    const access = new IoptAccess({ needsPin: false });
    await access.attach(table);
    return () => watch(access.read(0n, new Uint8Array(PAGE_SIZE)));
  };
  // Attaching writes: all accesses are there before the reading begins.
  const readers = await Promise.all(Array.from({ length: 40 }, read));
  world.memory.close();
  return { world, table, readers };
}

const PAGE_SIZE = Number(PAGE);

describe('a writer that waits has its turn', () => {
  test.each(WRITERS)('%s: before the readers that came after it', async (_name, times, write) => {
    const { world, table, readers } = await reading();
    const { memory } = world;
    const before = readers.slice(0, IN_FLIGHT).map((start) => start());
    await settled();
    const writer = watch(write(table));
    const after = readers.slice(IN_FLIGHT).map((start) => start());
    await settled();
    expect(memory.pending, 'later readers wait behind the writer').toHaveLength(IN_FLIGHT);
    for (let left = IN_FLIGHT; left > 0; left--) {
      expect(writer.state).toBe('pending');
      memory.pending[0]!.settle();
      await settled();
    }
    expect(before.map(({ state }) => state)).toEqual(before.map(() => 'fulfilled'));
    expect(writer.state).toBe(times === 1 ? 'fulfilled' : 'pending');
    memory.open();
    await settled();
    expect(writer.state).toBe('fulfilled');
    expect(after.map(({ state }) => state)).toEqual(after.map(() => 'fulfilled'));
    world.check();
  });

  test.each(WRITERS)('%s: under a stream in which readers always overlap', async (_name, times, write) => {
    const { world, table, readers } = await reading();
    const { memory } = world;
    for (const start of readers.slice(0, IN_FLIGHT)) start();
    await settled();
    const writer = watch(write(table));
    let turns = 0;
    for (const start of readers.slice(IN_FLIGHT)) {
      start();
      await settled();
      if (writer.state !== 'pending') break;
      turns += 1;
      memory.pending[0]!.settle();
      await settled();
    }
    expect(writer.state).toBe('fulfilled');
    // Each time it waits for those only that read when it began to wait.
    expect(turns).toBe(IN_FLIGHT * times);
    memory.open();
    await settled();
    world.check();
  });
});

test('a reader that waits has its turn under a stream of writers', async () => {
  const { world, table, readers } = await reading();
  const { memory } = world;
  const first = readers[0]!();
  await settled();
  const iovas = Array.from({ length: 20 }, (_, at) => 0x40000n + BigInt(at) * PAGE);
  const map = (iova: bigint) => watch(table.map({ iova, uptr: USER, length: PAGE, prot: 'rw' }));
  const before = iovas.slice(0, 10).map(map);
  const reader = readers[1]!();
  const after = iovas.slice(10).map(map);
  memory.pending[0]!.settle();
  await settled();
  expect(first.state).toBe('fulfilled');
  expect(memory.pending, 'the reader reads before the writers behind it').toHaveLength(1);
  expect(table.areaCount, 'and after those before it, which have placed their areas').toBe(2 + before.length);
  expect(after.map(({ state }) => state)).toEqual(after.map(() => 'pending'));
  memory.open();
  await settled();
  const all = [reader, ...before, ...after];
  expect(all.map(({ state }) => state)).toEqual(all.map(() => 'fulfilled'));
  world.check();
});
