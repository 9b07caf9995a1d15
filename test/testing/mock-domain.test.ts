import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MockDomain, type MockDomainOptions } from '../../src/testing/mock-domain.js';
import type { MockMapCall } from '../../src/testing/mock-table.js';
import { expectErrorNow } from '../helpers/expect-error.js';

const BASE = 0x100_0000n;
const IO = 2048n;
const HUGE = 0x10_0000n;

/** A mock domain that keeps io pages one by one, as that of Linux 6.12. */
function mockDomain(options: MockDomainOptions = {}): MockDomain {
  return new MockDomain({ ...options, profile: 'linux-6.12' });
}

/** The calls that a request becomes. */
function callsOf(options: MockDomainOptions, iova: bigint, physical: bigint, size: bigint): MockMapCall[] {
  const calls: MockMapCall[] = [];
  mockDomain({ ...options, onMap: (call) => calls.push(call) }).map(iova, physical, size);
  return calls;
}

describe('making a MockDomain', () => {
  test('has the constants of the kernel', () => {
    const plain = mockDomain();
    expect(plain.pageSizeBitmap).toBe(0x800n);
    expect(plain.aperture).toEqual({ start: 0x100_0000n, last: 0x7fff_ffffn });
    expect(plain.dirty).toBeUndefined();
    expect(plain.mappedBytes).toBe(0n);
    expect(mockDomain({ huge: true }).pageSizeBitmap).toBe(0x10_0800n);
    expect(mockDomain({ dirty: true }).dirty?.tracking).toBe(false);
  });

  test('takes another io page and aperture', () => {
    const domain = mockDomain({ ioPageSize: 512, aperture: { start: 0, last: 2n ** 64n - 1n } });
    expect(domain.pageSizeBitmap).toBe(512n);
    expect(domain.aperture).toEqual({ start: 0n, last: 2n ** 64n - 1n });
    const top = 2n ** 64n - 512n;
    domain.map(top, 1024n, 512n);
    expect(domain.iovaToPhys(top + 511n)).toBe(1535n);
    domain.unmap(top, 512n);
    expect(domain.iovaToPhys(top)).toBeUndefined();
  });

  test('takes an io page as large as a huge one, which is not huge then', () => {
    const domain = mockDomain({ ioPageSize: HUGE });
    domain.map(BASE, 0n, 2n * HUGE);
    expect(domain.entry(BASE)).toEqual({ iova: BASE, size: HUGE, physical: 0n, dirty: false });
    expect(domain.mappedBytes).toBe(2n * HUGE);
  });

  test.each([
    [{ ioPageSize: 0 }],
    [{ ioPageSize: 1536 }],
    [{ ioPageSize: 4096, huge: true }],
    [{ aperture: { start: -1, last: 0 } }],
  ] satisfies [MockDomainOptions][])('refuses %o', (options) => {
    expect(() => mockDomain(options)).toThrow(RangeError);
  });
});

describe('the layer above the driver', () => {
  test.each([
    [BASE + 1n, 0n, IO],
    [BASE, 1n, IO],
    [BASE, 0n, IO + 1n],
  ])('refuses iova %i, physical %i, size %i', (iova, physical, size) => {
    const domain = mockDomain();
    expectErrorNow(() => domain.map(iova, physical, size), 'EINVAL');
    expect(domain.mappedBytes).toBe(0n);
  });

  test('makes one call without huge pages', () => {
    expect(callsOf({}, BASE, 0n, 3n * HUGE)).toEqual([
      { iova: BASE, physical: 0n, pageSize: IO, count: 1536n },
    ]);
    expect(callsOf({}, BASE, 0n, 0n)).toEqual([]);
  });

  test('makes up to three with them: io pages, huge pages, io pages', () => {
    const huge = { huge: true };
    expect(callsOf(huge, BASE - IO, 5n * HUGE - IO, 2n * HUGE + 3n * IO)).toEqual([
      { iova: BASE - IO, physical: 5n * HUGE - IO, pageSize: IO, count: 1n },
      { iova: BASE, physical: 5n * HUGE, pageSize: HUGE, count: 2n },
      { iova: BASE + 2n * HUGE, physical: 7n * HUGE, pageSize: IO, count: 2n },
    ]);
    expect(callsOf(huge, BASE, 0n, HUGE)).toEqual([{ iova: BASE, physical: 0n, pageSize: HUGE, count: 1n }]);
    const whole = (iova: bigint, physical: bigint, size: bigint) => [
      { iova, physical, pageSize: IO, count: size / IO },
    ];
    expect(callsOf(huge, BASE, IO, 2n * HUGE)).toEqual(whole(BASE, IO, 2n * HUGE));
    expect(callsOf(huge, BASE + IO, IO, HUGE)).toEqual(whole(BASE + IO, IO, HUGE));
    expect(callsOf(huge, BASE + IO, IO, HUGE - IO)).toEqual(whole(BASE + IO, IO, HUGE - IO));
  });

  test.each([1, 2, 3])('undoes all of a request whose call %i fails', (failing) => {
    let calls = 0;
    const onMap = () => {
      if (++calls === failing) throw new Error('injected');
    };
    const domain = mockDomain({ huge: true, onMap });
    expect(() => domain.map(BASE - IO, HUGE - IO, HUGE + 2n * IO)).toThrow('injected');
    expect(calls).toBe(failing);
    expect(domain.mappedBytes).toBe(0n);
    domain.map(BASE - IO, HUGE - IO, HUGE + 2n * IO);
    expect(domain.mappedBytes).toBe(HUGE + 2n * IO);
  });
});

describe('entries', () => {
  test('are io pages, or the huge page that an io page is of', () => {
    const domain = mockDomain({ huge: true, dirty: true });
    domain.map(BASE, HUGE, HUGE + 3n * IO);
    const entry = (at: bigint) => domain.entry(BASE + at);
    const huge = { iova: BASE, size: HUGE, physical: HUGE, dirty: false };
    for (const at of [0n, HUGE / 2n, HUGE - 1n]) expect(entry(at)).toEqual(huge);
    expect(entry(HUGE)).toEqual({ iova: BASE + HUGE, size: IO, physical: 2n * HUGE, dirty: false });
    expect(entry(HUGE + 2n * IO + 1n)?.physical).toBe(2n * HUGE + 2n * IO);
    expect(entry(HUGE + 3n * IO)).toBeUndefined();
    domain.dirty!.mark(BASE + HUGE, 1n);
    expect(entry(HUGE)?.dirty).toBe(false);
    domain.dirty!.setTracking(true);
    domain.dirty!.mark(BASE + HUGE + 2n * IO + 1n, 0n);
    domain.dirty!.mark(BASE + HUGE + 1n, IO);
    const marks = [HUGE - 1n, HUGE, HUGE + IO, HUGE + 2n * IO].map((at) => entry(at)?.dirty);
    expect(marks).toEqual([false, true, true, false]);
    domain.dirty!.mark(BASE + HUGE / 2n, 1n);
    expect(entry(0n)?.dirty).toBe(true);
  });

  test('translate any byte address, and nothing that is not mapped', () => {
    const domain = mockDomain();
    domain.map(BASE + IO, 7n * IO, 2n * IO);
    expect(domain.iovaToPhys(BASE + IO)).toBe(7n * IO);
    expect(domain.iovaToPhys(BASE + 3n * IO - 1n)).toBe(9n * IO - 1n);
    expect(domain.iovaToPhys(BASE + IO - 1n)).toBeUndefined();
    expect(domain.iovaToPhys(BASE + 3n * IO)).toBeUndefined();
  });

  test('are as many as 2 GiB need, at any place in them', () => {
    const domain = mockDomain();
    const size = 0x7f00_0000n;
    domain.map(BASE, 0x10_0000_0000n, size);
    expect(domain.mappedBytes).toBe(size);
    expect(domain.iovaToPhys(0x7fff_ffffn)).toBe(0x10_0000_0000n + size - 1n);
    domain.unmap(BASE, size);
    expect(domain.mappedBytes).toBe(0n);
  });

  test('have no frame that is not exact', () => {
    const domain = mockDomain({ ioPageSize: 512 });
    expectErrorNow(() => domain.map(BASE, 2n ** 63n, 512n), 'EINVAL');
    expect(domain.mappedBytes).toBe(0n);
  });

  test('end with the address space', () => {
    const domain = mockDomain({ aperture: { start: 0, last: 2n ** 64n - 1n } });
    expectErrorNow(() => domain.map(2n ** 64n - IO, 0n, 2n * IO), 'EINVAL');
    expect(domain.mappedBytes).toBe(0n);
  });
});

/** Does the same with a strict domain, which throws, and with one that is not, which remembers. */
function warnings(
  options: MockDomainOptions,
  before: (domain: MockDomain) => void,
  call: (domain: MockDomain) => void,
) {
  const strict = mockDomain(options);
  before(strict);
  const { mappedBytes } = strict;
  expect(() => call(strict)).toThrow(/^mock domain: /);
  expect(strict.mappedBytes).toBe(mappedBytes);
  expect(strict.warnings).toEqual([]);
  const lenient = mockDomain({ ...options, strict: false });
  before(lenient);
  expect(lenient.warnings).toEqual([]);
  call(lenient);
  return { lenient, warnings: lenient.warnings };
}

describe('what cannot happen', () => {
  const mapFour = (domain: MockDomain) => domain.map(BASE, 0n, 4n * IO);

  test('is to map over an entry; the kernel goes on and overwrites it', () => {
    const result = warnings({}, mapFour, (domain) => domain.map(BASE + 3n * IO, 70n * IO, 2n * IO));
    expect(result.warnings).toEqual(['io page 0x1001800 is mapped already']);
    expect(result.lenient.mappedBytes).toBe(5n * IO);
    expect(result.lenient.iovaToPhys(BASE + 3n * IO)).toBe(70n * IO);
  });

  test('is to unmap from, or to, the middle of a mapping', () => {
    const begin = warnings({}, mapFour, (domain) => domain.unmap(BASE + IO, 3n * IO));
    expect(begin.warnings).toEqual(['an unmap begins at io page 0x1000800, in the middle of a mapping']);
    expect(begin.lenient.mappedBytes).toBe(1n * IO);
    const end = warnings({}, mapFour, (domain) => domain.unmap(BASE, 2n * IO));
    expect(end.warnings).toEqual(['an unmap ends at io page 0x1000800, in the middle of a mapping']);
    expect(end.lenient.mappedBytes).toBe(2n * IO);
  });

  test('is an unmap that is not in whole io pages', () => {
    const result = warnings({}, mapFour, (domain) => domain.unmap(BASE, 1n));
    expect(result.lenient.mappedBytes).toBe(4n * IO);
    warnings({}, mapFour, (domain) => domain.unmap(BASE + 1n, 4n * IO));
  });

  test('is the end of a domain that still has entries', () => {
    const result = warnings({}, mapFour, (domain) => domain.free());
    expect(result.warnings).toEqual(['the domain ends with 8192 bytes mapped']);
    expect(result.lenient.mappedBytes).toBe(0n);
    mockDomain().free();
  });

  test('is not to unmap several mappings at once, holes included, or parts of one with huge pages', () => {
    const plain = mockDomain();
    plain.map(BASE, 0n, 2n * IO);
    plain.map(BASE + 2n * IO, 8n * IO, 2n * IO);
    plain.unmap(BASE - IO, 5n * IO);
    expect(plain.mappedBytes).toBe(0n);
    mapFour(plain);
    plain.unmap(BASE + IO, 0n);
    expect(plain.mappedBytes).toBe(4n * IO);
    const huge = mockDomain({ huge: true });
    huge.map(BASE, 0n, HUGE);
    huge.unmap(BASE + IO, IO);
    expect(huge.mappedBytes).toBe(511n * IO);
  });
});

type Report = [iova: bigint, size: bigint];

function readDirty(domain: MockDomain, iova: bigint, size: bigint, keep = false): Report[] {
  const found: Report[] = [];
  domain.dirty!.readAndClear(iova, size, keep, (at, bytes) => found.push([at, bytes]));
  return found;
}

function tracked(options: MockDomainOptions = {}): MockDomain {
  const domain = mockDomain({ ...options, dirty: true });
  domain.dirty!.setTracking(true);
  return domain;
}

describe('dirty tracking', () => {
  test('is needed to mark, but not to read', () => {
    const domain = tracked();
    domain.map(BASE, 0n, 2n * IO);
    domain.dirty!.mark(BASE, IO);
    domain.dirty!.setTracking(false);
    domain.dirty!.mark(BASE + IO, IO);
    expect(readDirty(domain, BASE, 2n * IO, true)).toEqual([[BASE, IO]]);
    domain.dirty!.readAndClear(BASE, IO, false, undefined);
    expect(readDirty(domain, BASE, 2n * IO)).toEqual([]);
  });

  test('looks at one io page at least', () => {
    const domain = tracked();
    domain.map(BASE, 0n, 2n * IO);
    domain.dirty!.mark(BASE, 2n * IO);
    expect(readDirty(domain, BASE, 0n)).toEqual([[BASE, IO]]);
    expect(readDirty(domain, BASE, 0n)).toEqual([]);
  });

  test('takes a huge page as a whole, and reports its length from where the walk is', () => {
    const domain = tracked({ huge: true });
    domain.map(BASE, 0n, 2n * HUGE + IO);
    domain.dirty!.mark(BASE + 9n, 1n);
    domain.dirty!.mark(BASE + 2n * HUGE, 1n);
    expect(readDirty(domain, BASE + 5n * IO, IO, true)).toEqual([[BASE + 5n * IO, HUGE]]);
    expect(readDirty(domain, BASE + 5n * IO, 2n * HUGE)).toEqual([[BASE + 5n * IO, HUGE]]);
    expect(readDirty(domain, BASE, 3n * HUGE)).toEqual([[BASE + 2n * HUGE, IO]]);
    expect(readDirty(domain, BASE, 3n * HUGE)).toEqual([]);
  });

  test('agrees with the walk of the description, step by step', () => {
    const page = fc.nat(1600);
    const length = fc.oneof(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 1200 }));
    const maps = fc.array(fc.tuple(page, length), { minLength: 1, maxLength: 6 });
    const marks = fc.array(fc.tuple(page, fc.nat(300)), { maxLength: 12 });
    const size = fc.oneof(fc.nat(6 * 2048), fc.nat(1700 * 2048));
    const reads = fc.array(fc.tuple(page, fc.nat(2047), size, fc.boolean()), { maxLength: 8 });
    fc.assert(
      fc.property(fc.boolean(), maps, marks, reads, (huge, mapList, markList, readList) => {
        const domain = tracked({ huge });
        const naive = new Map<number, { huge: boolean; dirty: boolean }>();
        for (const [first, count] of mapList) {
          const taken = Array.from({ length: count }, (_, at) => first + at).some((at) => naive.has(at));
          if (taken) continue;
          domain.map(BASE + BigInt(first) * IO, BigInt(first) * IO, BigInt(count) * IO);
          for (let at = first; at < first + count; at++) {
            const head = at - (at % 512);
            naive.set(at, { huge: huge && head >= first && head + 512 <= first + count, dirty: false });
          }
        }
        for (const [first, more] of markList) {
          domain.dirty!.mark(BASE + BigInt(first) * IO, BigInt(more + 1) * IO);
          for (let at = first; at <= first + more; at++) {
            const entry = naive.get(at);
            if (entry !== undefined) entry.dirty = true;
          }
        }
        for (const [first, inside, bytes, keep] of readList) {
          const expected: Report[] = [];
          let at = first;
          do {
            const entry = naive.get(at);
            const step = entry?.huge ? 512 : 1;
            const head = at - (at % step);
            const group = Array.from({ length: step }, (_, skip) => naive.get(head + skip));
            if (entry !== undefined && group.some((one) => one?.dirty)) {
              expected.push([BASE + BigInt(at) * IO + BigInt(inside), BigInt(step) * IO]);
              if (!keep) for (const one of group) if (one !== undefined) one.dirty = false;
            }
            at += step;
          } while (at * 2048 + inside < first * 2048 + inside + bytes);
          expect(readDirty(domain, BASE + BigInt(first) * IO + BigInt(inside), BigInt(bytes), keep)).toEqual(
            expected,
          );
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe('makeDirty', () => {
  test.each([
    ['no page size', BASE, IO, 0n, 'EINVAL'],
    ['no length', BASE, 0n, IO, 'EINVAL'],
    ['an address not aligned to the page size', BASE + IO, 4096n, 4096n, 'EINVAL'],
    ['a length not aligned to the page size', BASE, IO + 1n, IO, 'EINVAL'],
    ['too many bits', BASE, 2n ** 27n + 1n, 1n, 'EOVERFLOW'],
    ['a bitmap that is too short', BASE, 9n * IO, IO, 'EFAULT'],
  ] as const)('refuses %s', (_, iova, length, pageSize, code) => {
    expectErrorNow(() => tracked().makeDirty(iova, length, pageSize, new Uint8Array(1)), code);
  });

  test('refuses to work without tracking, after the checks of the range', () => {
    const off = mockDomain({ dirty: true });
    expectErrorNow(() => off.makeDirty(BASE, IO, IO, new Uint8Array(0)), 'EINVAL');
    expectErrorNow(() => off.makeDirty(BASE, 2n ** 27n + 1n, 1n, new Uint8Array(0)), 'EOVERFLOW');
    expectErrorNow(() => off.makeDirty(BASE, 2n ** 27n, 1n, new Uint8Array(0)), 'EINVAL');
    expectErrorNow(() => tracked().makeDirty(BASE, 2n ** 27n, 1n, new Uint8Array(0)), 'EFAULT');
    const bitmap: unknown = [1];
    expect(() => off.makeDirty(BASE, IO, IO, bitmap as Uint8Array)).toThrow(TypeError);
  });

  test('marks the io pages of set bits, and counts those that are mapped, dirty before or not', () => {
    const domain = tracked();
    domain.map(BASE, 0n, 2n * IO);
    domain.map(BASE + 8n * IO, 0n, 2n * IO);
    expect(domain.makeDirty(BASE, 10n * IO, IO, Uint8Array.of(0b110, 0b1111_1110))).toBe(2);
    expect(domain.makeDirty(BASE, 10n * IO, IO, Uint8Array.of(0b010, 0b01))).toBe(2);
    expect(readDirty(domain, BASE, 10n * IO).map(([iova]) => (iova - BASE) / IO)).toEqual([1n, 8n, 9n]);
  });

  test('looks io pages up by the address divided by the page size, whatever that is', () => {
    const domain = tracked({ aperture: { start: 0, last: 2n ** 64n - 1n } });
    domain.map(BASE, 0n, 4n * IO);
    const all = Uint8Array.of(0xff);
    expect(domain.makeDirty(BASE, 4096n, 4096n, all)).toBe(0);
    expect(domain.makeDirty(2n * BASE, 2n * 4096n, 4096n, all)).toBe(2);
    expect(readDirty(domain, BASE, 4n * IO)).toEqual([
      [BASE, IO],
      [BASE + IO, IO],
    ]);
    expect(domain.makeDirty(BASE / IO, 1n, 1n, all)).toBe(1);
    expect(domain.makeDirty(2n ** 64n - 8n, 8n, 1n, all)).toBe(0);
    expect(readDirty(domain, BASE, 4n * IO)).toEqual([[BASE, IO]]);
  });

  test('wraps at 2^64, as the kernel computes', () => {
    const domain = tracked({ aperture: { start: 0, last: 2n ** 64n - 1n } });
    domain.map(0n, 0n, IO);
    expect(domain.makeDirty(2n ** 64n - IO, 2n * IO, IO, Uint8Array.of(0b11))).toBe(1);
    expect(readDirty(domain, 0n, IO)).toEqual([[0n, IO]]);
  });
});
