import { describe, expect, test } from 'vitest';
import { RadixDomain, type RadixDomainOptions } from '../../src/domain/radix-domain.js';
import { FrameRuns } from '../../src/memory/frame-runs.js';
import { expectErrorNow } from '../helpers/expect-error.js';

const KIB4 = 0x1000n;
const MIB2 = 0x20_0000n;
const GIB = 0x4000_0000n;
const TIB = GIB << 10n;

function frames(...runs: readonly (readonly [pfn: number, count: number])[]): FrameRuns {
  const list = new FrameRuns();
  for (const [pfn, count] of runs) list.push(pfn, count);
  return list;
}

/** The list as pairs of pfn and count. */
function runsOf(list: FrameRuns): [number, number][] {
  return Array.from({ length: list.runs }, (_, run) => [list.pfnOf(run), list.countOf(run)]);
}

describe('making a RadixDomain', () => {
  test('has pages of 4 KiB, 2 MiB and 1 GiB and all 64 bits by default', () => {
    const domain = new RadixDomain();
    expect(domain.pageSizeBitmap).toBe(KIB4 | MIB2 | GIB);
    expect(domain.aperture).toEqual({ start: 0n, last: 2n ** 64n - 1n });
    expect(domain.dirty).toBeUndefined();
    expect(domain.pages).toBeDefined();
    expect(domain.mappedBytes).toBe(0n);
    expect(domain.tables).toBe(1);
  });

  test.each([
    [[4096]],
    [[65536n, 4096]],
    [[8192]],
    [[2 ** 21]],
    [[2 ** 30, 4096, 4096]],
    [[2 ** 39, 2 ** 21]],
  ] satisfies [(bigint | number)[]][])('takes page sizes %s', (pageSizes) => {
    const domain = new RadixDomain({ pageSizes });
    const bitmap = pageSizes.reduce<bigint>((bits, size) => bits | BigInt(size), 0n);
    const ioPage = bitmap & -bitmap;
    expect(domain.pageSizeBitmap).toBe(bitmap);
    expect(domain.pages === undefined).toBe(ioPage > KIB4);
    domain.map(TIB, 7n * ioPage, ioPage, 3);
    expect(domain.iovaToPhys(TIB + ioPage - 1n)).toBe(8n * ioPage - 1n);
    expect(domain.iovaToPhys(TIB + ioPage)).toBeUndefined();
    domain.unmap(TIB, ioPage);
    expect(domain.mappedBytes).toBe(0n);
  });

  test.each([
    [{ pageSizes: [] }],
    [{ pageSizes: [2048, 4096] }],
    [{ pageSizes: [512] }],
    [{ pageSizes: [0] }],
    [{ pageSizes: [12288] }],
    [{ pageSizes: [4097] }],
    [{ pageSizes: [4096, 2n ** 40n] }],
    [{ pageSizes: [-4096] }],
    [{ pageSizes: [4096.5] }],
    [{ aperture: { start: 5, last: 4 } }],
    [{ aperture: { start: 0, last: 2n ** 64n } }],
  ] satisfies [RadixDomainOptions][])('refuses %o', (options) => {
    expect(() => new RadixDomain(options)).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }));
  });
});

describe('map and unmap', () => {
  test.each([
    [1n, 0n, KIB4, 'EINVAL'],
    [0n, 1n, KIB4, 'EINVAL'],
    [0n, 0n, 1n, 'EINVAL'],
    [0n, 2n ** 52n - KIB4, 2n * KIB4, 'EINVAL'],
    [0n, 2n ** 52n, KIB4, 'EINVAL'],
    [2n ** 64n - KIB4, 0n, 2n * KIB4, 'EINVAL'],
  ] as const)('refuses iova %x, physical %x, size %x', (iova, physical, size, code) => {
    const domain = new RadixDomain();
    expectErrorNow(() => domain.map(iova, physical, size, 3), code);
    expect([domain.tables, domain.mappedBytes]).toEqual([1, 0n]);
  });

  test('checks alignment against the io page, not the CPU page', () => {
    const domain = new RadixDomain({ pageSizes: [65536] });
    expectErrorNow(() => domain.map(KIB4, 0n, 65536n, 3), 'EINVAL');
    expectErrorNow(() => domain.map(0n, KIB4, 65536n, 3), 'EINVAL');
    expectErrorNow(() => domain.map(0n, 0n, KIB4, 3), 'EINVAL');
    expectErrorNow(() => domain.unmap(KIB4, 65536n), 'EINVAL');
    expectErrorNow(() => domain.unmap(0n, KIB4), 'EINVAL');
  });

  test('maps nothing outside the aperture, whose ends may lie inside of pages', () => {
    const domain = new RadixDomain({ aperture: { start: 0x1800, last: 0x57ff } });
    expectErrorNow(() => domain.map(0x1000n, 0n, KIB4, 3), 'EINVAL');
    expectErrorNow(() => domain.map(0x4000n, 0n, 2n * KIB4, 3), 'EINVAL');
    expectErrorNow(() => domain.pages!.map(1, frames([0, 1]), 0, 1, 3), 'EINVAL');
    domain.map(0x2000n, 0n, 3n * KIB4, 3);
    expect(domain.mappedBytes).toBe(3n * KIB4);
  });

  test('maps and unmaps nothing at all', () => {
    const domain = new RadixDomain({ aperture: { start: GIB, last: 2n * GIB } });
    domain.map(0n, 0n, 0n, 3);
    domain.unmap(0n, 0n);
    domain.unmap(0n, TIB);
    expect([domain.tables, domain.mappedBytes]).toEqual([1, 0n]);
  });

  test.each([
    ['the first byte', 0n],
    ['2^53', 2n ** 53n],
    ['2^63', 2n ** 63n],
    ['the last page', 2n ** 64n - KIB4],
  ])('reaches %s and the highest physical address', (_, iova) => {
    const domain = new RadixDomain();
    const physical = 2n ** 52n - KIB4;
    domain.map(iova, physical, KIB4, 1);
    expect(domain.iovaToPhys(iova + 4095n)).toBe(2n ** 52n - 1n);
    expect(domain.translate(iova + 1n)).toEqual({ physical: physical + 1n, protection: 1, length: 4095n });
    expect(domain.iovaToPhys(iova ^ (2n ** 62n))).toBeUndefined();
    domain.unmap(iova, KIB4);
    expect(domain.iovaToPhys(iova)).toBeUndefined();
    expect(domain.tables).toBe(1);
  });

  test('keeps low mappings while the root rises and sinks', () => {
    const domain = new RadixDomain();
    domain.map(0n, 5n * KIB4, KIB4, 3);
    const tables = domain.tables;
    for (const iova of [2n ** 48n, 2n ** 57n, 2n ** 63n]) {
      expect(domain.iovaToPhys(iova)).toBeUndefined();
      domain.map(iova, 9n * KIB4, KIB4, 3);
      expect(domain.iovaToPhys(0n)).toBe(5n * KIB4);
      expect(domain.iovaToPhys(0)).toBe(5 * 4096);
      expect(domain.iovaToPhys(iova)).toBe(9n * KIB4);
      domain.unmap(iova, KIB4);
      expect(domain.tables).toBe(tables);
    }
    expect(domain.iovaToPhys(0n)).toBe(5n * KIB4);
  });

  test('has one table a level, and no more levels than its highest page needs', () => {
    const domain = new RadixDomain();
    for (const [iova, tables] of [
      [2n ** 63n, 6],
      [2n ** 56n, 5],
      [0n, 4],
    ] as const) {
      domain.map(iova, 0n, KIB4, 3);
      expect(domain.tables).toBe(tables);
      domain.unmap(iova, KIB4);
      expect(domain.tables).toBe(1);
    }
  });

  test('names the mapping in the way, and leaves no trace of what it mapped before it', () => {
    const domain = new RadixDomain({ dirty: true });
    domain.map(4n * MIB2, 8n * MIB2, MIB2, 1);
    domain.map(GIB, 0n, KIB4, 1);
    const { tables, mappedBytes } = domain;
    const large = expectErrorNow(() => domain.map(MIB2 - KIB4, 0n, 9n * MIB2, 3), 'EEXIST');
    expect(large.reason).toEqual({ check: 'overlap', area: { iova: '0x800000', last: '0x9fffff' } });
    const inLarge = expectErrorNow(() => domain.map(4n * MIB2 + KIB4, 0n, KIB4, 3), 'EEXIST');
    expect(inLarge.reason).toEqual({ check: 'overlap', area: { iova: '0x800000', last: '0x9fffff' } });
    const small = expectErrorNow(() => domain.map(GIB, GIB, GIB, 3), 'EEXIST');
    expect(small.reason).toEqual({ check: 'overlap', area: { iova: '0x40000000', last: '0x40000fff' } });
    expect([domain.tables, domain.mappedBytes]).toEqual([tables, mappedBytes]);
    expect(domain.iovaToPhys(MIB2)).toBeUndefined();
    expect(domain.translate(4n * MIB2)).toEqual({ physical: 8n * MIB2, protection: 1, length: MIB2 });
  });

  test('undoes the runs before one that is refused', () => {
    const domain = new RadixDomain();
    const list = frames([10, 1], [20, 1], [2 ** 40, 1]);
    for (const page of [0, 509, 510]) {
      expectErrorNow(() => domain.pages!.map(page, list, 0, 3, 3), 'EINVAL');
      expect([domain.tables, domain.mappedBytes]).toEqual([1, 0n]);
    }
  });

  test('maps part of a list of frames', () => {
    const domain = new RadixDomain();
    const list = frames([10, 3], [20, 1], [30, 1], [40, 1], [50, 600]);
    domain.pages!.map(100, list, 2, 104, 3);
    const back = frames();
    domain.pages!.frames(100, 104, back);
    expect(runsOf(back)).toEqual([
      [12, 1],
      [20, 1],
      [30, 1],
      [40, 1],
      [50, 100],
    ]);
    expect(domain.mappedBytes).toBe(104n * KIB4);
  });

  test('reads back no frames at all if one is missing', () => {
    const domain = new RadixDomain();
    domain.pages!.map(0, frames([7, 600]), 0, 600, 3);
    const back = frames([3, 4]);
    expectErrorNow(() => domain.pages!.frames(500, 101, back), 'EFAULT');
    expect(runsOf(back)).toEqual([[3, 4]]);
  });

  test('uses the largest pages that fit', () => {
    const domain = new RadixDomain();
    domain.map(GIB - MIB2 - KIB4, 3n * GIB - MIB2 - KIB4, GIB + 2n * MIB2 + 2n * KIB4, 3);
    const length = (iova: bigint) => domain.translate(iova)?.length;
    expect(length(GIB - MIB2 - KIB4)).toBe(KIB4);
    expect(length(GIB - MIB2)).toBe(MIB2);
    expect(length(GIB)).toBe(GIB);
    expect(length(2n * GIB)).toBe(MIB2);
    expect(length(2n * GIB + MIB2)).toBe(KIB4);
    expect(length(2n * GIB + MIB2 + KIB4)).toBeUndefined();
  });

  test('splits a page of 1 GiB down to 4 KiB even where there is no size between', () => {
    const domain = new RadixDomain({ pageSizes: [4096, 2 ** 30] });
    domain.map(GIB, 5n * GIB, GIB, 2);
    domain.unmap(GIB + MIB2, KIB4);
    expect(domain.mappedBytes).toBe(GIB - KIB4);
    expect(domain.translate(2n * GIB - 1n)).toEqual({ physical: 6n * GIB - 1n, protection: 2, length: 1n });
    expect(domain.translate(GIB)).toEqual({ physical: 5n * GIB, protection: 2, length: KIB4 });
    expect(domain.iovaToPhys(GIB + MIB2)).toBeUndefined();
    domain.unmap(0n, TIB);
    expect(domain.tables).toBe(1);
  });

  test('maps 1 TiB of contiguous memory in a handful of tables', () => {
    const domain = new RadixDomain();
    domain.map(0n, TIB, TIB, 3);
    expect(domain.tables).toBeLessThanOrEqual(4);
    expect(domain.tableBytes).toBeLessThanOrEqual(2 ** 20);
    expect(domain.iovaToPhys(TIB - 1n)).toBe(2n * TIB - 1n);
    domain.unmap(0n, TIB);
    expect([domain.tables, domain.mappedBytes]).toEqual([1, 0n]);
  });

  test('gives the memory of many tables back', () => {
    const domain = new RadixDomain();
    for (let at = 0; at < 1000; at++) domain.pages!.map(at * 512, frames([at, 1]), 0, 1, 3);
    expect(domain.tables).toBeGreaterThan(1000);
    expect(domain.tableBytes).toBeGreaterThan(1000 * 4096);
    domain.pages!.unmap(0, 2 ** 52);
    expect(domain.tables).toBe(1);
    expect(domain.tableBytes).toBeLessThanOrEqual(2 ** 20);
  });

  test('goes on when the version of an entry wraps round', () => {
    const domain = new RadixDomain({ dirty: true });
    const list = frames([2 ** 40 - 1, 1]);
    for (let at = 0; at < 2 ** 19; at++) {
      domain.pages!.map(5, list, 0, 1, 2);
      domain.pages!.unmap(5, 1);
    }
    expect(domain.iovaToPhys(5 * 4096)).toBeUndefined();
    domain.pages!.map(5, list, 0, 1, 2);
    expect(domain.translate(5n * KIB4)).toEqual({ physical: 2n ** 52n - KIB4, protection: 2, length: KIB4 });
  });
});

describe('iovaToPhys', () => {
  test('answers a number with a number', () => {
    const domain = new RadixDomain();
    domain.map(2n ** 53n - KIB4, 2n ** 51n, 2n * KIB4, 3);
    expect(domain.iovaToPhys(Number.MAX_SAFE_INTEGER)).toBe(2 ** 51 + 4095);
    expect(domain.iovaToPhys(2 ** 53 - 4097)).toBeUndefined();
    expect(domain.iovaToPhys(2n ** 53n)).toBe(2n ** 51n + KIB4);
  });

  test.each([-1, -1n, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, 2n ** 64n])(
    'refuses %s',
    (iova) => {
      const domain = new RadixDomain();
      const call = () => (typeof iova === 'bigint' ? domain.iovaToPhys(iova) : domain.iovaToPhys(iova));
      expect(call).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }));
    },
  );

  test('refuses what is no number', () => {
    const domain = new RadixDomain();
    const iova: unknown = '4096';
    expect(() => domain.iovaToPhys(iova as bigint)).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE' }),
    );
  });
});

describe('dirty tracking', () => {
  function tracked(): RadixDomain & Required<Pick<RadixDomain, 'dirty'>> {
    const domain = new RadixDomain({ dirty: true });
    const { dirty } = domain;
    if (dirty === undefined) throw new Error('no dirty tracking');
    dirty.setTracking(true);
    return Object.assign(domain, { dirty });
  }

  function read(domain: RadixDomain, iova: bigint, size: bigint, keep = false): [bigint, bigint][] {
    const found: [bigint, bigint][] = [];
    domain.dirty!.readAndClear(iova, size, keep, (at, bytes) => found.push([at, bytes]));
    return found;
  }

  test('is off at first; then nothing is marked', () => {
    const domain = new RadixDomain({ dirty: true });
    domain.map(0n, 0n, KIB4, 3);
    expect(domain.dirty!.tracking).toBe(false);
    domain.dirty!.mark(0n, 1n);
    expect(read(domain, 0n, KIB4)).toEqual([]);
    domain.dirty!.setTracking(true);
    expect(domain.dirty!.tracking).toBe(true);
    expect(read(domain, 0n, KIB4)).toEqual([]);
  });

  test('keeps marks when it is switched, and clears them without a report', () => {
    const domain = tracked();
    domain.map(0n, 0n, 2n * KIB4, 3);
    domain.dirty.mark(0n, 2n * KIB4);
    domain.dirty.setTracking(false);
    domain.dirty.readAndClear(0n, KIB4, false, undefined);
    expect(read(domain, 0n, TIB, true)).toEqual([[KIB4, KIB4]]);
    domain.dirty.setTracking(true);
    expect(read(domain, 0n, TIB)).toEqual([[KIB4, KIB4]]);
  });

  test('has one mark for a page of any size', () => {
    const domain = tracked();
    domain.map(0n, 0n, MIB2 + KIB4, 3);
    domain.dirty.mark(5n, 1n);
    domain.dirty.mark(MIB2 + KIB4 - 1n, 1n);
    const marks = [
      [0n, MIB2],
      [MIB2, KIB4],
    ];
    expect(read(domain, 0n, TIB, true)).toEqual(marks);
    expect(read(domain, 0n, TIB)).toEqual(marks);
    expect(read(domain, 0n, TIB)).toEqual([]);
  });

  test('splits a dirty large page of which a part is cleared, and leaves the rest dirty', () => {
    const domain = tracked();
    domain.map(GIB, GIB, GIB, 3);
    domain.dirty.mark(GIB, 1n);
    expect(read(domain, GIB + MIB2, KIB4, true)).toEqual([[GIB + MIB2, KIB4]]);
    expect(domain.translate(GIB)?.length).toBe(GIB);
    expect(read(domain, GIB + MIB2, KIB4)).toEqual([[GIB + MIB2, KIB4]]);
    expect(read(domain, GIB + MIB2, KIB4)).toEqual([]);
    expect(domain.translate(GIB + MIB2)).toEqual({ physical: GIB + MIB2, protection: 3, length: KIB4 });
    const rest = read(domain, GIB, GIB);
    expect(rest).toHaveLength(511 + 511);
    expect(rest.reduce((bytes, [, size]) => bytes + size, 0n)).toBe(GIB - KIB4);
    expect(domain.mappedBytes).toBe(GIB);
  });

  test('does not split a clean large page', () => {
    const domain = tracked();
    domain.map(GIB, GIB, GIB, 3);
    const { tables } = domain;
    expect(read(domain, GIB + MIB2, KIB4)).toEqual([]);
    expect(domain.tables).toBe(tables);
  });

  test('keeps the marks of a large page when a part of it is unmapped, and forgets those of what is gone', () => {
    const domain = tracked();
    domain.map(0n, 0n, MIB2, 3);
    domain.dirty.mark(0n, 1n);
    domain.unmap(KIB4, MIB2 - KIB4);
    domain.map(KIB4, 0n, KIB4, 3);
    expect(read(domain, 0n, MIB2)).toEqual([[0n, KIB4]]);
  });

  test('keeps the mark of a page whose report failed', () => {
    const domain = tracked();
    domain.map(0n, 0n, 2n * KIB4, 3);
    domain.dirty.mark(0n, 2n * KIB4);
    const fail = () => {
      throw new Error('no room in the bitmap');
    };
    expect(() => domain.dirty.readAndClear(0n, TIB, false, fail)).toThrow('no room');
    expect(read(domain, 0n, TIB)).toHaveLength(2);
  });

  test('ends a range at the end of the address space', () => {
    const domain = tracked();
    const top = 2n ** 64n - KIB4;
    domain.map(top, 0n, KIB4, 3);
    domain.dirty.mark(top, 2n ** 63n);
    expect(read(domain, top - KIB4, 2n ** 64n - 1n)).toEqual([[top, KIB4]]);
    expect(read(domain, top, 0n)).toEqual([]);
  });
});

test('a list of page sizes that does not end is refused', () => {
  const endless = function* () {
    for (;;) yield 4096;
  };
  expect(() => new RadixDomain({ pageSizes: endless() })).toThrow(
    expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }),
  );
  expect(new RadixDomain({ pageSizes: new Array(64).fill(4096) }).pageSizeBitmap).toBe(4096n);
});
