/** The structs as bytes, both ways. */
import fc from 'fast-check';
import { describe, expect, expectTypeOf, test } from 'vitest';
import {
  COMMANDS,
  type CommandFields,
  type CommandInput,
  type CommandName,
} from '../../src/uapi/commands.js';
import { decode, encode } from '../../src/uapi/encoding.js';
import { decodeRanges, encodeRanges } from '../../src/uapi/ranges.js';
import type { Field, Fields } from '../../src/uapi/struct.js';
import { VFIO_REQUEST } from '../../src/uapi/vfio-commands.js';
import { decodeVfioInfo } from '../../src/uapi/vfio-info-bytes.js';
import { layout, MAX, u16, u32, u64 } from './program.js';

const NAMES = Object.keys(COMMANDS) as CommandName[];
const WIDTHS = { u8: 8n, u16: 16n, u32: 32n, s32: 32n, u64: 64n } as const;

/** The table of a command. */
function fieldsOf(name: CommandName): [string, Field][] {
  const fields: Fields = COMMANDS[name].struct.fields;
  return Object.entries(fields);
}

/** Any values for the fields of a command that mean something. */
function values(name: CommandName): fc.Arbitrary<Record<string, number | bigint>> {
  const fields = fieldsOf(name).filter(
    ([, { use }]) => use !== 'reserved' && use !== 'ignored' && use !== 'size',
  );
  const record: Record<string, fc.Arbitrary<number | bigint>> = {};
  for (const [field, { type }] of fields) {
    const min = type === 's32' ? -(2n ** 31n) : 0n;
    const max = min + 2n ** WIDTHS[type] - 1n;
    const whole = fc.oneof(fc.bigInt({ min, max }), fc.constantFrom(0n, min, max));
    record[field] = type === 'u64' ? whole : whole.map(Number);
  }
  return fc.record(record);
}

test.each([undefined, null, 7, 'fields'])('fields that are %s are refused', (fields) => {
  expect(() => encode('IOAS_MAP', fields as never)).toThrow(
    expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' }),
  );
});

describe.each(NAMES)('%s', (name) => {
  const { least, struct } = COMMANDS[name];
  const sizeName = name.startsWith('VFIO_IOMMU') ? 'argsz' : 'size';

  test('what is encoded is decoded, in a struct of any length', () => {
    const sizes = fc.oneof(fc.constant(undefined), fc.integer({ min: least, max: struct.length + 100 }));
    fc.assert(
      fc.property(values(name), sizes, (fields, size) => {
        const bytes = encode(name, { ...fields, [sizeName]: size } as CommandInput<typeof name>);
        expect(bytes.length).toBe(size ?? struct.length);
        const whole = new Uint8Array(Math.max(bytes.length, struct.length));
        whole.set(bytes);
        const expected: Record<string, number | bigint> = { [sizeName]: bytes.length };
        for (const [field, value] of Object.entries(fields)) {
          const { at, type } = fieldsOf(name).find(([other]) => other === field)![1];
          const width = Number(WIDTHS[type]) / 8;
          const there = Math.max(0, Math.min(width, bytes.length - at));
          const cut = BigInt.asUintN(there * 8, BigInt(value));
          const signed = type === 's32' ? BigInt.asIntN(32, cut) : cut;
          expected[field] = type === 'u64' ? cut : Number(signed);
        }
        expect(decode(name, bytes)).toEqual(expected);
        expect(decode(name, whole)).toEqual(expected);
      }),
    );
  });

  test('its fields do not overlap, are aligned, and lie inside', () => {
    const taken = new Set<number>();
    for (const [, { type, at, count }] of fieldsOf(name)) {
      const width = Number(WIDTHS[type]) / 8;
      expect(at % width).toBe(0);
      for (let byte = at; byte < at + width * count; byte++) {
        expect(taken.has(byte)).toBe(false);
        expect(byte).toBeLessThan(struct.length);
        taken.add(byte);
      }
    }
    expect(least).toBeLessThanOrEqual(struct.length);
  });
});

describe('a C program would write', () => {
  test.each([
    [
      'IOAS_MAP',
      encode('IOAS_MAP', { flags: 7, ioasId: 1, userVa: 0x7f00_0000_1000n, length: 4096, iova: MAX }),
      layout(40, u32(0, 40), u32(4, 7), u32(8, 1), u64(16, 0x7f00_0000_1000n), u64(24, 4096n), u64(32, MAX)),
    ],
    [
      'OPTION',
      encode('OPTION', { optionId: 1, op: 1, objectId: 5, val64: 1n }),
      layout(24, u32(0, 24), u32(4, 1), u16(8, 1), u32(12, 5), u64(16, 1n)),
    ],
    [
      'HWPT_ALLOC of an old program',
      encode('HWPT_ALLOC', { size: 24, flags: 2, devId: 3, ptId: 1 }),
      layout(24, u32(0, 24), u32(4, 2), u32(8, 3), u32(12, 1)),
    ],
    [
      'TEST_ACCESS_PAGES',
      encode('TEST_ACCESS_PAGES', { id: 9, flags: 1, iova: 0x1000n, length: 0x2000n, uptr: 0x3000n }),
      layout(
        72,
        u32(0, 72),
        u32(4, 7),
        u32(8, 9),
        u32(16, 1),
        u64(24, 0x1000n),
        u64(32, 0x2000n),
        u64(40, 0x3000n),
      ),
    ],
    [
      'VFIO_IOMMU_UNMAP_DMA',
      encode('VFIO_IOMMU_UNMAP_DMA', { flags: 2, iova: 0n, size: 0n }),
      layout(24, u32(0, 24), u32(4, 2)),
    ],
  ])('%s', (_name, bytes, expected) => {
    expect(bytes).toEqual(expected);
  });

  test('these numbers', () => {
    const requests = NAMES.filter((name) => !name.startsWith('TEST_')).map((name) => COMMANDS[name].request);
    expect(requests).toEqual([...Array.from({ length: 22 }, (_, at) => 0x3b80 + at), 0x3b70, 0x3b71, 0x3b72]);
    expect(VFIO_REQUEST).toEqual({ GET_API_VERSION: 0x3b64, CHECK_EXTENSION: 0x3b65, SET_IOMMU: 0x3b66 });
    const tests = NAMES.filter((name) => name.startsWith('TEST_'));
    expect(tests.map((name) => COMMANDS[name]).map((row) => ('op' in row ? row.op : 0))).toEqual(
      Array.from({ length: 23 }, (_, at) => at + 1),
    );
  });
});

describe('wrong values', () => {
  const good = { flags: 7, ioasId: 1, userVa: 0n, length: 0n, iova: 0n };
  const map = (changes: object) => () => encode('IOAS_MAP', { ...good, ...changes });

  test('that do not fit their field', () => {
    for (const flags of [-1, 2 ** 32, 1.5, Number.NaN]) expect(map({ flags })).toThrow(RangeError);
    for (const flags of ['7', 7n, null, {}]) expect(map({ flags })).toThrow(TypeError);
    for (const iova of [-1n, 1n << 64n, 2 ** 53, 0.5]) expect(map({ iova })).toThrow(RangeError);
    for (const iova of ['0', null, true]) expect(map({ iova })).toThrow(TypeError);
    for (const size of [0, 39, 2 ** 32]) expect(map({ size })).toThrow(RangeError);
    expect(() => encode('OPTION', { optionId: 1, op: 0x1_0000, val64: 0n })).toThrow(RangeError);
  });

  test('that have no field', () => {
    expect(map({ reserved: 1 })).toThrow('reserved');
    expect(map({ ioas_id: 1 })).toThrow('ioas_id');
    // @ts-expect-error: no such command
    expect(() => encode('IOAS_NAP', {})).toThrow(TypeError);
    // @ts-expect-error: no such command
    expect(() => decode('toString', new Uint8Array(8))).toThrow(TypeError);
    // @ts-expect-error: no bytes
    expect(() => decode('DESTROY', [8, 0, 0, 0])).toThrow(TypeError);
  });
});

test('the types follow from the tables', () => {
  expectTypeOf<CommandFields<'IOAS_MAP'>>().toEqualTypeOf<{
    readonly size: number;
    readonly flags: number;
    readonly ioasId: number;
    readonly userVa: bigint;
    readonly length: bigint;
    readonly iova: bigint;
  }>();
  expectTypeOf(decode('IOAS_ALLOC', new Uint8Array(12)).outIoasId).toEqualTypeOf<number>();
  expectTypeOf(encode<'IOAS_ALLOC'>).toBeCallableWith('IOAS_ALLOC', {});
  // @ts-expect-error: the address space is missing
  encode('IOAS_UNMAP', { iova: 0n, length: 0n } as { iova: bigint; length: bigint });
  // @ts-expect-error: no such field
  expect(() => encode('DESTROY', { id: 1, flags: 0 })).toThrow(TypeError);
});

test('arrays of ranges', () => {
  const range = fc.record({ start: fc.bigInt(0n, MAX), last: fc.bigInt(0n, MAX) });
  fc.assert(
    fc.property(fc.array(range), fc.nat(40), (ranges, more) => {
      const bytes = encodeRanges(ranges);
      expect(bytes.length).toBe(16 * ranges.length);
      const longer = new Uint8Array(bytes.length + more + 3);
      longer.set(bytes, 3);
      expect(decodeRanges(longer.subarray(3), ranges.length)).toEqual(ranges);
    }),
  );
  expect(() => decodeRanges(new Uint8Array(31), 2)).toThrow(RangeError);
});

describe('decodeVfioInfo', () => {
  const head = (capOffset: number, flags = 3) => [
    u32(0, 200),
    u32(4, flags),
    u64(8, 4096n),
    u32(16, capOffset),
  ];
  const link = (at: number, id: number, version: number, next: number) => [
    u16(at, id),
    u16(at + 2, version),
    u32(at + 4, next),
  ];

  test('follows the chain, also through what it does not know', () => {
    const bytes = layout(
      200,
      ...head(100),
      ...link(100, 77, 2, 24),
      ...link(24, 3, 1, 40),
      u32(32, 5),
      ...link(40, 1, 1, 0),
      u32(48, 1),
      u64(56, 0x1000n),
      u64(64, MAX),
    );
    expect(decodeVfioInfo(bytes)).toEqual({
      argsz: 200,
      flags: 3,
      iovaPgsizes: 4096n,
      capOffset: 100,
      capabilities: [
        { id: 'unknown', number: 77, version: 2, offset: 100, next: 24 },
        { id: 3, version: 1, offset: 24, next: 40, available: 5 },
        { id: 1, version: 1, offset: 40, next: 0, ranges: [{ start: 0x1000n, last: MAX }] },
      ],
    });
  });

  test.each([
    ['there is none', layout(200, ...head(0)), 0],
    ['the flag is missing', layout(200, ...head(24, 1), ...link(24, 3, 1, 0)), 0],
    ['it leads out of the bytes', layout(200, ...head(24), ...link(24, 3, 1, 4000)), 1],
    ['it begins in the last bytes', layout(200, ...head(196)), 0],
    ['its ranges lead out of the bytes', layout(200, ...head(24), ...link(24, 1, 1, 0), u32(32, 11)), 0],
    ['it is a circle', layout(200, ...head(24), ...link(24, 3, 1, 48), ...link(48, 9, 1, 24)), 2],
    ['a link is cut off', layout(30, ...head(24).slice(0, 4)), 0],
    ['the struct is cut off', layout(16, u32(0, 200), u32(4, 3)), 0],
  ])('a chain ends where %s', (_what, bytes, links) => {
    expect(decodeVfioInfo(bytes).capabilities).toHaveLength(links);
  });
});
