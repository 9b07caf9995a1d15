/** What a terabyte costs: a few tables and nodes, not a word a page. */
import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { checkTables } from '../../src/inspect/check.js';
import { IoPagetable } from '../../src/io-pagetable.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';

const TIB = 1n << 40n;
const GIB = 1n << 30n;
const PAGES = 2 ** 28;
const BASE = 1n << 42n;

async function terabyte() {
  const memory = new ProcessMemory({ lockedLimit: TIB });
  memory.mmap({ uptr: BASE, length: TIB, sparse: true });
  const table = new IoPagetable({ memory });
  const domain = new RadixDomain();
  await table.addDomain(domain);
  return { memory, table, domain };
}

describe('1 TiB of contiguous memory', () => {
  test('is mapped with 1 GiB pages, and unmapped again', async () => {
    const { memory, table, domain } = await terabyte();
    // The room that tables once took is kept for the next ones.
    await table.map({ uptr: BASE, iova: TIB, length: TIB, prot: 'rw' });
    await table.unmap(TIB, TIB);
    const [tables, bytes] = [domain.tables, domain.tableBytes];
    await table.map({ uptr: BASE, iova: TIB, length: TIB, prot: 'rw' });
    expect([domain.mappedBytes, memory.physical.pinned]).toEqual([TIB, PAGES]);
    // 1024 entries of 1 GiB are two tables of 512; the rest is the way to them.
    expect(domain.tables - tables).toBeLessThanOrEqual(4);
    expect(domain.tableBytes).toBeLessThan(1 << 20);
    expect(memory.locked!.user.lockedPages).toBe(PAGES);
    for (const at of [0n, 1n, TIB / 2n + 12345n, TIB - 1n]) {
      const physical = BigInt(memory.frameOf(BASE + at)) * 4096n + (at & 4095n);
      expect(domain.iovaToPhys(TIB + at)).toBe(physical);
    }
    expect(domain.translate(TIB)?.length).toBe(GIB);
    table.check();
    expect(await table.unmap(TIB, TIB)).toBe(TIB);
    expect([domain.mappedBytes, domain.tables, domain.tableBytes]).toEqual([0n, tables, bytes]);
    expect([memory.physical.pinned, memory.locked!.user.lockedPages, table.areaCount]).toEqual([0, 0, 0]);
    table.check();
  });

  test('is one node in each tree, and one run in the pinned store', async () => {
    const { memory, table } = await terabyte();
    await table.map({ uptr: BASE, iova: TIB, length: TIB, prot: 'rw' });
    const copy = new IoPagetable({ memory });
    await copy.copy({ from: table, srcIova: TIB, iova: 0n, length: TIB, prot: 'rw' });
    const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
    await access.attach(copy);
    const frames = await access.pin(0n, TIB);
    expect([frames.runs, frames.frames, memory.physical.pinned]).toEqual([1, PAGES, PAGES]);
    const { pages } = [...table.state.areas][0]!;
    expect([table.state.areas.size, copy.state.areas.size]).toEqual([1, 1]);
    expect([pages!.domainsTree!.size, pages!.accessTree!.size]).toEqual([1, 1]);
    expect([...pages!.store!.segments()].map((segment) => segment.frames.runs)).toEqual([1]);
    checkTables([table.state, copy.state]);
    await table.unmapAll();
    expect(memory.physical.pinned).toBe(PAGES);
    await access.unpin(0n, TIB);
    expect(memory.physical.pinned).toBe(0);
    checkTables([table.state, copy.state]);
  });

  test('is added to a second domain from the first, and read where it is touched', async () => {
    const { memory, table, domain } = await terabyte();
    await table.map({ uptr: BASE, iova: TIB, length: TIB, prot: 'rw' });
    const second = new RadixDomain({ aperture: { start: TIB, last: 2n * TIB - 1n } });
    await table.addDomain(second);
    await table.removeDomain(domain);
    expect([second.mappedBytes, memory.physical.pinned]).toEqual([TIB, PAGES]);
    const access = new IoptAccess({ needsPin: false });
    await access.attach(table);
    await access.write(2n * TIB - 5n, Uint8Array.of(1, 2, 3, 4, 5));
    expect(memory.read(BASE + TIB - 5n, 5n)).toEqual(Uint8Array.of(1, 2, 3, 4, 5));
    table.check();
  });

  test('fails at the limit without a trace', async () => {
    const { memory, table, domain } = await terabyte();
    memory.locked!.user.limitPages = PAGES - 1;
    await expect(table.map({ uptr: BASE, iova: TIB, length: TIB, prot: 'rw' })).rejects.toMatchObject({
      code: 'ENOMEM',
    });
    expect([domain.mappedBytes, memory.physical.pinned, table.areaCount]).toEqual([0n, 0, 0]);
    table.check();
  });
});
