/** Dirty tracking: rows Y of docs/checks.md. The pages of the domain are kept one by one, as in Linux 6.12. */
import { describe, expect, test } from 'vitest';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { IommuError } from '../../src/errors.js';
import type { ReadDirtyOptions } from '../../src/io-pagetable.js';
import { MockDomain } from '../../src/testing/mock-domain.js';
import { MAX_U64 } from '../../src/u64.js';
import { expectError } from '../helpers/expect-error.js';
import { RecordingDomain } from '../helpers/recording-domain.js';
import { PAGE, USER, World } from '../helpers/world.js';

const BASE = 0x100_0000n;

function bits(bitmap: Uint8Array): number[] {
  return Array.from({ length: bitmap.length * 8 }, (_, bit) => bit).filter(
    (bit) => bitmap[bit >> 3]! & (1 << (bit & 7)),
  );
}

/** A table with a mock domain that tracks, and areas of 4 and 2 pages in a row from BASE on, and one after a gap. */
async function tracked() {
  const world = new World();
  const table = world.table({ profile: 'linux-6.12' });
  const domain = await world.domain(table, new MockDomain({ profile: 'linux-6.12', dirty: true }));
  await table.map({ uptr: USER, iova: BASE, length: 4n * PAGE, prot: 'rw' });
  await table.map({ uptr: USER + 8n * PAGE, iova: BASE + 4n * PAGE, length: 2n * PAGE, prot: 'rw' });
  await table.map({ uptr: USER + 16n * PAGE, iova: BASE + 8n * PAGE, length: 2n * PAGE, prot: 'rw' });
  await table.setDirtyTracking(domain, true);
  const read = async (
    iova: bigint,
    length: bigint,
    pageSize: bigint,
    more: Partial<ReadDirtyOptions> & { bitmap?: Uint8Array } = {},
  ) => {
    const bitmap = more.bitmap ?? new Uint8Array(4);
    await table.readDirty({ domain, iova, length, pageSize, bitmap, ...more });
    return bits(bitmap);
  };
  return { world, table, domain, read };
}

describe('switching', () => {
  test('a domain that cannot track: EOPNOTSUPP', async () => {
    const world = new World();
    const table = world.table();
    const domain = await world.domain(table);
    for (const enable of [true, false]) {
      await world.unchanged(() => expectError(table.setDirtyTracking(domain, enable), 'EOPNOTSUPP'));
    }
  });

  test('on forgets old marks; off and on again, as often as one likes', async () => {
    const { table, domain, read } = await tracked();
    domain.dirty!.mark(BASE, PAGE);
    await table.setDirtyTracking(domain, true);
    expect([domain.dirty!.tracking, await read(BASE, 4n * PAGE, PAGE)]).toEqual([true, []]);
    domain.dirty!.mark(BASE, PAGE);
    for (let times = 0; times < 2; times++) await table.setDirtyTracking(domain, false);
    expect(domain.dirty!.tracking).toBe(false);
    // Nothing is read while it is off, and that is no error.
    expect(await read(BASE, 4n * PAGE, PAGE)).toEqual([]);
    await table.setDirtyTracking(domain, true);
    expect(await read(BASE, 4n * PAGE, PAGE)).toEqual([]);
  });

  test('off keeps the marks, whatever becomes of them', async () => {
    const { table, domain, read } = await tracked();
    domain.dirty!.mark(BASE + PAGE, PAGE);
    await table.setDirtyTracking(domain, false);
    domain.dirty!.setTracking(true);
    expect(await read(BASE, 4n * PAGE, PAGE)).toEqual([1]);
  });

  test('on has the domain forget the marks of whole areas only', async () => {
    const { world, table, domain } = await tracked();
    const forgotten: bigint[] = [];
    const { readAndClear } = domain.dirty!;
    Object.assign(domain.dirty!, {
      readAndClear(...request: Parameters<typeof readAndClear>) {
        forgotten.push(request[0]);
        return Reflect.apply(readAndClear, domain.dirty, request);
      },
    });
    world.memory.close();
    const map = table.map({ uptr: USER, iova: BASE + 16n * PAGE, length: PAGE, prot: 'rw' });
    await table.setDirtyTracking(domain, true);
    expect(forgotten).toEqual([BASE, BASE + 4n * PAGE, BASE + 8n * PAGE]);
    world.memory.open();
    await map;
  });

  test('what the domain throws while it forgets ends it', async () => {
    const { table, domain } = await tracked();
    await table.setDirtyTracking(domain, false);
    const broken = new IommuError('EIO', { check: 'domain', detail: 'the test says so' });
    Object.assign(domain.dirty!, {
      readAndClear() {
        throw broken;
      },
    });
    await expect(table.setDirtyTracking(domain, true)).rejects.toBe(broken);
    expect(domain.dirty!.tracking).toBe(false);
  });
});

describe('the checks of a read, in order', () => {
  test.each([
    ['1 length 0', { length: 0n, pageSize: 0n }, 'EINVAL', 'the length is 0'],
    ['2 past 2^64 - 1', { iova: BASE, length: MAX_U64, pageSize: 0n }, 'EOVERFLOW', '2^64 - 1'],
    ['3 iova not aligned to 2048', { iova: BASE + 512n, pageSize: 0n }, 'EINVAL', '2048'],
    ['3 end not aligned to 2048', { length: PAGE + 512n, pageSize: 0n }, 'EINVAL', '2048'],
    ['4 page size 0', { pageSize: 0n }, 'EINVAL', 'page size is 0'],
    ['5 iova not aligned to the page size', { iova: BASE + PAGE, pageSize: 2n * PAGE }, 'EINVAL', '0x2000'],
    ['5 end not aligned to the page size', { length: 3n * PAGE, pageSize: 2n * PAGE }, 'EINVAL', '0x2000'],
  ] as const)('%s', async (_row, more, code, words) => {
    const { world, table, domain } = await tracked();
    domain.dirty!.mark(BASE, PAGE);
    const bitmap = new Uint8Array(8);
    const request = { domain, iova: BASE, length: 2n * PAGE, bitmap, ...more };
    await world.unchanged(async () => {
      const error = await expectError(table.readDirty(request), code);
      expect([error.syscall, error.message]).toEqual(['readDirty', expect.stringContaining(words)]);
    });
    expect(bits(bitmap)).toEqual([]);
  });

  test('6 comes last: a domain that cannot track is EOPNOTSUPP only for a good request', async () => {
    const world = new World();
    const table = world.table();
    const domain = await world.domain(table, new RecordingDomain());
    const request = { domain, iova: 0n, length: PAGE, pageSize: PAGE, bitmap: new Uint8Array(1) };
    await expectError(table.readDirty({ ...request, pageSize: 0 }), 'EINVAL');
    await expectError(table.readDirty(request), 'EOPNOTSUPP');
  });

  test('a range may end at 2^64 - 1', async () => {
    const { read } = await tracked();
    expect(await read(1n << 63n, 1n << 63n, PAGE)).toEqual([]);
  });
});

describe('a read', () => {
  test('gives a bit for every page with a mark, and clears the marks', async () => {
    const { domain, read } = await tracked();
    domain.dirty!.mark(BASE + 0x1800n, 1n);
    domain.dirty!.mark(BASE + 3n * PAGE, 2n * PAGE);
    expect(await read(BASE, 6n * PAGE, PAGE)).toEqual([1, 3, 4]);
    expect(await read(BASE, 6n * PAGE, PAGE)).toEqual([]);
  });

  test('in units of the page size asked for, smaller and larger than the io page', async () => {
    const { domain, read } = await tracked();
    const mark = () => domain.dirty!.mark(BASE + 0x800n, 1n);
    for (const [pageSize, expected] of [
      [0x400n, [2, 3]],
      [0x800n, [1]],
      [0x1000n, [0]],
      [0x2000n, [0]],
    ] as const) {
      mark();
      expect(await read(BASE, 2n * PAGE, pageSize), `page size ${pageSize}`).toEqual(expected);
    }
  });

  test('a page size that is no power of two counts by its lowest bit', async () => {
    const { domain, read } = await tracked();
    domain.dirty!.mark(BASE + 2n * PAGE, 1n);
    // 0x3000 passes the check of the range, as its bits are 0x2fff.
    expect(await read(BASE, 4n * PAGE, 0x3000n)).toEqual([2]);
  });

  test('only ever sets bits', async () => {
    const { domain, read } = await tracked();
    domain.dirty!.mark(BASE, 1n);
    const bitmap = Uint8Array.of(0b1010_0000, 0, 0xff, 0);
    expect(await read(BASE, 4n * PAGE, PAGE, { bitmap })).toEqual([0, 5, 7, 16, 17, 18, 19, 20, 21, 22, 23]);
  });

  test('keeps the marks when told to', async () => {
    const { domain, read } = await tracked();
    domain.dirty!.mark(BASE + PAGE, 1n);
    expect(await read(BASE, 4n * PAGE, PAGE, { keep: true })).toEqual([1]);
    expect(await read(BASE, 4n * PAGE, PAGE)).toEqual([1]);
    expect(await read(BASE, 4n * PAGE, PAGE)).toEqual([]);
  });

  test('ends at the first gap, in silence; what begins in a gap gives nothing', async () => {
    const { domain, read } = await tracked();
    domain.dirty!.mark(BASE, 16n * PAGE);
    expect(await read(BASE + 6n * PAGE, 4n * PAGE, PAGE)).toEqual([]);
    expect(await read(BASE + 4n * PAGE, 8n * PAGE, PAGE)).toEqual([0, 1]);
    // Marks after the gap are still there.
    expect(await read(BASE + 8n * PAGE, 2n * PAGE, PAGE)).toEqual([0, 1]);
  });

  test('clips a page that reaches over both ends of the request', async () => {
    const { table, domain, read } = await tracked();
    Object.assign(domain.dirty!, {
      readAndClear(
        iova: bigint,
        _size: bigint,
        _keep: boolean,
        report: (iova: bigint, size: bigint) => void,
      ) {
        report(iova - 0x10_0000n, 0x40_0000n);
        report(iova + 0x20_0000n, 0x1000n);
      },
    });
    expect(await read(BASE, 4n * PAGE, PAGE)).toEqual([0, 1, 2, 3]);
    const set: bigint[][] = [];
    const bitmap = (first: bigint, last: bigint) => void set.push([first, last]);
    await table.readDirty({ domain, iova: BASE, length: 4n * PAGE, pageSize: PAGE, bitmap });
    expect(set).toEqual([[0n, 3n]]);
  });

  test('gives the bits to a function in ascending order, clipped to the request', async () => {
    const world = new World();
    const table = world.table({ profile: 'linux-6.12' });
    const mock = new MockDomain({ profile: 'linux-6.12', dirty: true, huge: true });
    const domain = await world.domain(table, mock);
    world.process.mmap({ uptr: 0x5000_0000n, length: 0x20_0000n });
    await table.map({ uptr: 0x5000_0000n, iova: BASE, length: 0x20_0000n, prot: 'rw' });
    await table.map({ uptr: USER, iova: BASE + 0x20_0000n, length: 4n * PAGE, prot: 'rw' });
    await table.setDirtyTracking(domain, true);
    domain.dirty!.mark(BASE + 0x18_0000n, 1n);
    domain.dirty!.mark(BASE + 0x20_1000n, PAGE);
    domain.dirty!.mark(BASE + 0x20_3000n, 1n);
    const set: bigint[][] = [];
    const bitmap = (first: bigint, last: bigint) => void set.push([first, last]);
    const request = { domain, iova: BASE + 0x1f_e000n, length: 0x5800n, pageSize: 0x800n, bitmap };
    await table.readDirty(request);
    // The mock domain reports a huge page as if it began where it was asked for.
    expect(set).toEqual([
      [0n, 10n],
      [6n, 6n],
      [7n, 7n],
      [10n, 10n],
    ]);
  });

  test('drops what the bitmap has no bits for', async () => {
    const { domain, read } = await tracked();
    domain.dirty!.mark(BASE, 6n * PAGE);
    expect(await read(BASE, 6n * PAGE, 0x400n, { bitmap: new Uint8Array(1) })).toEqual([
      0, 1, 2, 3, 4, 5, 6, 7,
    ]);
    expect(await read(BASE, 6n * PAGE, 0x400n, { bitmap: new Uint8Array(0) })).toEqual([]);
  });

  test.each([true, false])('of part of a large page (keep: %s)', async (keep) => {
    const world = new World();
    const table = world.table();
    const domain = await world.domain(table, new RadixDomain({ dirty: true }));
    world.process.mmap({ uptr: 0x6000_0000n, length: 0x40_0000n });
    await table.map({ uptr: 0x6000_0000n, iova: 0x40_0000n, length: 0x40_0000n, prot: 'rw' });
    await table.setDirtyTracking(domain, true);
    domain.dirty!.mark(0x50_0000n, 1n);
    const bitmap = new Uint8Array(2);
    await table.readDirty({ domain, iova: 0x4f_e000n, length: 0x4000n, pageSize: PAGE, bitmap, keep });
    expect(bits(bitmap)).toEqual([0, 1, 2, 3]);
  });

  test('passes on what is not an errno', async () => {
    const { table, domain } = await tracked();
    const broken = new Error('the domain is broken');
    Object.assign(domain.dirty!, {
      readAndClear() {
        throw broken;
      },
    });
    const request = { domain, iova: BASE, length: PAGE, pageSize: PAGE, bitmap: new Uint8Array(1) };
    await expect(table.readDirty(request)).rejects.toBe(broken);
    expect(table.state.iovaLock.free).toBe(true);
  });
});
