/** Dirty reads where a mark is that of a whole entry of a page table, as in Linux 7.3. */
import { describe, expect, test } from 'vitest';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import type { ProfileName } from '../../src/rules.js';
import { MockDomain } from '../../src/testing/mock-domain.js';
import { PAGE, USER, World } from '../helpers/world.js';

const BASE = 0x200_0000n;

const DOMAINS = [
  ['a mock domain', () => new MockDomain({ profile: 'linux-7.3', dirty: true })],
  ['a RadixDomain', () => new RadixDomain({ contiguous: true, dirty: true })],
] as const;

/** A table with one area of 16 pages in one entry, and one of 4 pages behind it. */
async function tracked(make: () => MockDomain | RadixDomain, profile: ProfileName = 'linux-7.3') {
  const world = new World();
  const table = world.table({ profile });
  const domain = await world.domain(table, make());
  await table.map({ uptr: USER, iova: BASE, length: 16n * PAGE, prot: 'rw' });
  await table.map({ uptr: USER + 16n * PAGE, iova: BASE + 16n * PAGE, length: 4n * PAGE, prot: 'rw' });
  await table.setDirtyTracking(domain, true);
  const read = async (from: bigint, pages: bigint, bytes = 4, keep = false) => {
    const bitmap = new Uint8Array(bytes);
    const iova = BASE + from * PAGE;
    await table.readDirty({ domain, iova, length: pages * PAGE, pageSize: PAGE, bitmap, keep });
    return bitmap.reduce((sum, byte, at) => sum + byte * 256 ** at, 0);
  };
  const mark = (page: bigint) => domain.dirty!.mark(BASE + page * PAGE + 5n, 1n);
  return { world, table, domain, read, mark };
}

describe.each(DOMAINS)('%s', (_, make) => {
  test('reports an entry as a whole, and cleans it as a whole', async () => {
    const { read, mark } = await tracked(make);
    mark(3n);
    expect(await read(0n, 20n, 4, true)).toBe(0xffff);
    expect(await read(0n, 20n)).toBe(0xffff);
    expect(await read(0n, 20n)).toBe(0);
    mark(17n);
    expect(await read(0n, 20n)).toBe(0xf_0000);
  });

  test('loses the report of an entry that begins before the request', async () => {
    const { read, mark } = await tracked(make);
    mark(3n);
    expect(await read(1n, 15n, 4, true)).toBe(0);
    expect(await read(1n, 15n)).toBe(0);
    expect(await read(0n, 20n)).toBe(0);
  });

  test('reports an entry of a later area, in whose middle the request ends, with all its bits', async () => {
    const { read, mark } = await tracked(make);
    mark(3n);
    expect(await read(0n, 2n)).toBe(0xffff);
    mark(3n);
    expect(await read(0n, 2n, 1)).toBe(0xff);
    mark(18n);
    expect(await read(0n, 17n)).toBe(0xf_0000);
    mark(18n);
    // As the request, not its part of an area, begins before the entry.
    expect(await read(8n, 9n)).toBe(0xf00);
  });

  test('can be read while tracking is off, when nothing new is marked', async () => {
    const { table, domain, read, mark } = await tracked(make);
    mark(0n);
    await table.setDirtyTracking(domain, false);
    mark(17n);
    expect(await read(0n, 20n)).toBe(0xffff);
    expect(await read(0n, 20n)).toBe(0);
    await table.setDirtyTracking(domain, true);
    mark(17n);
    await table.setDirtyTracking(domain, true);
    expect(await read(0n, 20n)).toBe(0);
  });

  test('has the bits inside of the request under linux-6.12, and none while tracking is off', async () => {
    const { table, domain, read, mark } = await tracked(make, 'linux-6.12');
    mark(3n);
    expect(await read(1n, 2n)).toBe(0b11);
    mark(3n);
    await table.setDirtyTracking(domain, false);
    expect(await read(0n, 20n)).toBe(0);
  });

  test('forgets marks with what is unmapped', async () => {
    const { world, table, read, mark } = await tracked(make);
    mark(17n);
    await table.unmap(BASE + 16n * PAGE, 4n * PAGE);
    await table.map({ uptr: USER + 16n * PAGE, iova: BASE + 16n * PAGE, length: 4n * PAGE, prot: 'rw' });
    expect(await read(0n, 20n)).toBe(0);
    world.check();
  });
});
