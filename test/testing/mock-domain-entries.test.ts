/** The mock domain of later kernels: entries of every power of two, each with one dirty mark. */
import { describe, expect, test } from 'vitest';
import { MockDevice, mockTableData } from '../../src/testing/mock-device.js';
import { MockDomain, type MockDomainOptions } from '../../src/testing/mock-domain.js';
import type { MockMapCall } from '../../src/testing/mock-table.js';
import { expectErrorNow } from '../helpers/expect-error.js';

const BASE = 0x200_0000n;
const KIB = 1024n;
const MIB = KIB * KIB;

/** Sizes of the entries of a range, in KiB. */
function sizesIn(domain: MockDomain, from: bigint, length: bigint): number[] {
  const sizes: number[] = [];
  for (let at = from; at < from + length; ) {
    const { iova, size } = domain.entry(at)!;
    expect(iova).toBe(at);
    sizes.push(Number(size / KIB));
    at += size;
  }
  return sizes;
}

describe('making one', () => {
  test('has the constants of the kernel, and is what the newest kernel has', () => {
    const plain = new MockDomain();
    expect(plain.pageSizeBitmap).toBe(0x1f_ffff_f800n);
    expect(plain.aperture).toEqual({ start: 0x100_0000n, last: 0x7fff_ffffn });
    const huge = new MockDomain({ profile: 'linux-7.3', huge: true });
    expect(huge.pageSizeBitmap).toBe(0x10_1000n);
    expect(huge.aperture).toEqual({ start: 0n, last: 2n ** 38n - 1n });
  });

  test('takes another io page and aperture', () => {
    const domain = new MockDomain({ ioPageSize: 4096, aperture: { start: 0, last: 2n ** 64n - 1n } });
    expect(domain.pageSizeBitmap).toBe(2n ** 37n - 4096n);
    const top = 2n ** 64n - 8192n;
    domain.map(top, 8192n, 8192n);
    expect(domain.iovaToPhys(2n ** 64n - 1n)).toBe(16383n);
    expect(domain.entry(top + 5000n)).toEqual({ iova: top, size: 8192n, physical: 8192n, dirty: false });
    domain.unmap(top, 8192n);
    expect(domain.mappedBytes).toBe(0n);
    expectErrorNow(() => domain.map(top, 0n, 16384n), 'EINVAL');
  });

  test.each([
    [{ ioPageSize: 1024 }],
    [{ ioPageSize: 6144 }],
    [{ ioPageSize: 2n ** 37n }],
    [{ ioPageSize: 2048, huge: true }],
  ] satisfies [MockDomainOptions][])('refuses %o', (options) => {
    expect(() => new MockDomain(options)).toThrow(RangeError);
  });
});

describe('entries', () => {
  test.each<[iova: bigint, physical: bigint, size: bigint, sizes: number[]]>([
    [BASE + 0x800n, 0x5800n, 0x1800n, [2, 4]],
    [BASE + 0x800n, 0x5000n, 0x1000n, [2, 2]],
    [BASE, 0x20_0000n, 0x20_0000n, [2048]],
    [BASE + 0x1000n, 0x20_0000n, 0x8000n, [4, 4, 4, 4, 4, 4, 4, 4]],
    [BASE + 0x3000n, 0x20_3000n, 0x2_d000n, [4, 16, 32, 64, 64]],
    [BASE, 0x4000n, 0x3000n, [8, 4]],
  ])('at %x to %x, %x bytes: %o KiB', (iova, physical, size, sizes) => {
    const domain = new MockDomain();
    domain.map(iova, physical, size);
    expect(sizesIn(domain, iova, size)).toEqual(sizes);
    expect(domain.mappedBytes).toBe(size);
    expect(domain.iovaToPhys(iova + size - 1n)).toBe(physical + size - 1n);
    domain.unmap(iova, size);
    expect(domain.entry(iova)).toBeUndefined();
  });

  test('are of 4 KiB and 1 MiB with huge pages, and of up to 64 GiB without', () => {
    const huge = new MockDomain({ huge: true });
    huge.map(BASE - 4096n, 3n * MIB - 4096n, 2n * MIB + 8192n);
    expect(sizesIn(huge, BASE - 4096n, 2n * MIB + 8192n)).toEqual([4, 1024, 1024, 4]);
    expectErrorNow(() => huge.map(0n, 2048n, 4096n), 'EINVAL');
    const plain = new MockDomain({ aperture: { start: 0, last: 2n ** 40n } });
    plain.map(0n, 0n, 2n ** 37n + 2048n);
    expect(sizesIn(plain, 0n, 2n ** 37n + 2048n)).toEqual([2 ** 26, 2 ** 26, 2]);
  });

  test('come from one call of the driver, whose failure leaves nothing', () => {
    const calls: MockMapCall[] = [];
    const onMap = (call: MockMapCall) => {
      calls.push(call);
      if (calls.length === 1) throw new Error('injected');
    };
    const domain = new MockDomain({ onMap });
    expect(() => domain.map(BASE, 0n, 3n * MIB)).toThrow('injected');
    expect(domain.mappedBytes).toBe(0n);
    domain.map(BASE, 0n, 3n * MIB);
    expect(calls[1]).toEqual({ iova: BASE, physical: 0n, pageSize: 2048n, count: 1536n });
    domain.map(BASE + 4n * MIB, 0n, 0n);
    expect(calls).toHaveLength(2);
    expectErrorNow(() => domain.map(BASE + 4n * MIB, 2n ** 60n, 2048n), 'EINVAL');
  });
});

describe('a dirty mark', () => {
  test('is that of an entry, and goes with it', () => {
    const domain = new MockDomain({ dirty: true });
    domain.dirty!.setTracking(true);
    domain.map(BASE, 0n, 0x1_0000n);
    domain.map(BASE + 0x1_0000n, 0x800n, 0x800n);
    const read = (from: bigint, size: bigint, keep = false) => {
      const found: [bigint, bigint][] = [];
      domain.dirty!.readAndClear(BASE + from, size, keep, (iova, bytes) => found.push([iova - BASE, bytes]));
      return found;
    };
    domain.dirty!.mark(BASE + 0x9000n, 1n);
    expect(domain.entry(BASE)?.dirty).toBe(true);
    expect(read(0x4000n, 0x1000n, true)).toEqual([[0n, 0x1_0000n]]);
    expect(read(0x4000n, 0n)).toEqual([]);
    expect(read(0x1_0000n, 0x800n)).toEqual([]);
    expect(read(0x4000n, 0x2_0000n)).toEqual([[0n, 0x1_0000n]]);
    expect(read(0n, 0x2_0000n)).toEqual([]);
    expect(domain.makeDirty(BASE, 0x1_8000n, 0x1000n, Uint8Array.of(0xf0, 0xff, 0xff))).toBe(20);
    expect(read(0n, 0x2_0000n)).toEqual([
      [0n, 0x1_0000n],
      [0x1_0000n, 0x800n],
    ]);
    domain.dirty!.mark(BASE, 1n);
    domain.unmap(BASE, 0x1_0000n);
    domain.map(BASE, 0n, 0x1_0000n);
    expect(read(0n, 0x1_0000n)).toEqual([]);
  });
});

describe('what cannot happen', () => {
  const strict = (domain: MockDomain, call: () => void, words: RegExp) => {
    domain.map(BASE, 0n, 0x2000n);
    expect(call).toThrow(words);
    expect(sizesIn(domain, BASE, 0x2000n)).toEqual([8]);
    expect(domain.warnings).toEqual([]);
  };

  test('is to map over an entry: EADDRINUSE if that is no reason to throw', () => {
    const domain = new MockDomain();
    strict(
      domain,
      () => domain.map(BASE - 0x800n, 0n, 0x1000n),
      /^mock domain: IOVA 0x2000000 is mapped already/,
    );
    const lenient = new MockDomain({ strict: false });
    lenient.map(BASE, 0n, 0x2000n);
    expectErrorNow(() => lenient.map(BASE + 0x1000n, 0n, 0x800n), 'EADDRINUSE');
    expect(lenient.warnings).toEqual(['IOVA 0x2001000 is mapped already']);
  });

  test('is to unmap a part of an entry', () => {
    const begins = new MockDomain();
    strict(begins, () => begins.unmap(BASE + 0x800n, 0x1800n), /begins at IOVA 0x2000800, in the middle/);
    const ends = new MockDomain();
    strict(ends, () => ends.unmap(BASE, 0x800n), /ends at IOVA 0x2000800, in the middle/);
    const lenient = new MockDomain({ strict: false });
    lenient.map(BASE, 0n, 0x2000n);
    lenient.unmap(BASE + 0x800n, 0x800n);
    expect(lenient.warnings).toHaveLength(2);
    expect(sizesIn(lenient, BASE + 0x1000n, 0x1000n)).toEqual([4]);
  });

  test('is an end with something mapped', () => {
    const domain = new MockDomain({ strict: false });
    domain.map(BASE, 0n, 0x2000n);
    domain.free();
    expect([domain.warnings, domain.mappedBytes]).toEqual([['the domain ends with 8192 bytes mapped'], 0n]);
  });
});

describe('a mock device', () => {
  const request = { dirtyTracking: false, nestParent: false };

  test('makes the page tables of its kernel', () => {
    const bitmap = (device: MockDevice, data?: Uint8Array) =>
      device.createDomain({ ...request, data }).pageSizeBitmap;
    expect(bitmap(new MockDevice({ profile: 'linux-6.12', flags: 2 }))).toBe(0x10_0800n);
    expect(new MockDevice({ profile: 'linux-6.12' }).pageTableData).toBeUndefined();
    const device = new MockDevice({ profile: 'linux-7.3' });
    expect(device.pageTableData).toEqual({ type: 0xdead, least: 4, most: 8 });
    expect(bitmap(device)).toBe(0x1f_ffff_f800n);
    expect(bitmap(device, mockTableData({ huge: false }).bytes)).toBe(0x1f_ffff_f800n);
    expect(bitmap(device, mockTableData({ huge: true }).bytes)).toBe(0x10_1000n);
    expectErrorNow(() => bitmap(device, Uint8Array.of(0, 0, 0, 0, 2, 0, 0, 0)), 'EOPNOTSUPP');
  });

  test.each([
    ['linux-7.3', 2],
    ['linux-7.3', 8],
    ['linux-6.12', 4],
  ] as const)('of %s does not know flag %i', (profile, flags) => {
    expectErrorNow(() => new MockDevice({ profile, flags }), 'EINVAL');
  });

  test('is told of huge pages by a boolean', () => {
    // @ts-expect-error what a caller without types may pass
    expect(() => mockTableData({ huge: 1 })).toThrow(TypeError);
  });
});
