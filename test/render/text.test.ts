import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { AreaSnapshot, TableSnapshot } from '../../src/inspect/snapshot.js';
import { formatBytes, printable } from '../../src/render/format.js';
import { renderText } from '../../src/render/text.js';
import { AREA, EMPTY, PAGES } from './snapshots.js';

/** The rows of a picture, as bounds and the rest. */
function rowsOf(picture: string): { first: bigint; last: bigint; rest: string }[] {
  return picture.split('\n').flatMap((line) => {
    const match = /^ +(0x[0-9a-f]+) +(0x[0-9a-f]+) {2}(.*)$/.exec(line);
    return match === null ? [] : [{ first: BigInt(match[1]!), last: BigInt(match[2]!), rest: match[3]! }];
  });
}

test('an empty space is one hole', () => {
  expect(renderText(EMPTY)).toBe(
    [
      'IOVA space, profile linux-6.12: 0 areas, alignment 1 B, large pages on, 0 accesses',
      '',
      '  first                last            size',
      '    0x0  0xffffffffffffffff  :    :  16 EiB  hole',
    ].join('\n'),
  );
});

test('areas, what they share, holes, reservations and the domain in one picture', () => {
  const picture = renderText({
    ...EMPTY,
    alignment: 4096,
    largePages: false,
    accesses: 1,
    domains: [
      { pageSizes: ['0x1000', '0x200000'], aperture: { start: '0x0', last: '0xffffffff' } },
      { pageSizes: ['0x1000'], aperture: { start: '0x0', last: '0xffffffffffffffff' } },
    ],
    areas: [
      { ...AREA, iova: '0x1000', last: '0x1fff', storageDomain: 0 },
      { ...AREA, iova: '0x2000', last: '0x5fff', uptr: '0x7f1000001000', prot: 'r', pages: 1, pins: 2 },
      { ...AREA, iova: '0xfffff000', last: '0xffffffff', prot: '', preventAccess: true, pins: 1 },
    ],
    reserved: [
      { start: '0x100000000', last: '0xffffffffffffffff', owner: 'a RadixDomain' },
      { start: '0xfee00000', last: '0xfeefffff', owner: 'Endpoint 32' },
      { start: '0xfee00000', last: '0xfeefffff', owner: 'Endpoint 32' },
      { start: '0xfee00000', last: '0xfeefffff', owner: 'Endpoint 16' },
    ],
    pages: [
      { ...PAGES, pinned: 1, references: 3 },
      { ...PAGES, id: 1, uptr: '0x7f1000000000', npages: 5, writable: false, pinned: 4 },
    ],
  });
  expect(picture).toBe(
    `
IOVA space, profile linux-6.12: 3 areas, alignment 4 KiB, large pages off, 1 access
domain 0: page sizes 4 KiB, 2 MiB; aperture [0x0, 0xffffffff]
domain 1: page sizes 4 KiB; aperture [0x0, 0xffffffffffffffff]

        first                last               size
          0x0               0xfff  :    :      4 KiB  hole
       0x1000              0x1fff  |AAAA|      4 KiB  area rw from user 0x7f0000000000, pages A, in all 2 domains
       0x2000              0x5fff  |BBBB|     16 KiB  area r from user 0x7f1000001000, pages B, held by 2 pins
       0x6000          0xfedfffff  :    :  3.982 GiB  hole
   0xfee00000          0xfeefffff  |////|      1 MiB  reserved by Endpoint 16 and Endpoint 32
   0xfef00000          0xffffefff  :    :  16.99 MiB  hole
   0xfffff000          0xffffffff  |AAAA|      4 KiB  area no access from user 0x7f0000000000, pages A, held by 1 pin, being unmapped
  0x100000000  0xffffffffffffffff  |////|  15.99 EiB  reserved by a RadixDomain

pages A: 1 page from user 0x7f0000000000, writable, 1 pinned, shown by 2 areas, 1 elsewhere
pages B: 5 pages from user 0x7f1000000000, read-only, 4 pinned, shown by 1 area`.slice(1),
  );
});

test('holes say whether they are allowed once there is a list of allowed ranges', () => {
  const picture = renderText({
    ...EMPTY,
    allowed: [
      { start: '0x0', last: '0x17ff' },
      { start: '0x3000', last: '0x3fff' },
    ],
    areas: [AREA],
    pages: [PAGES],
  });
  expect(rowsOf(picture).map(({ first, rest }) => [first, rest.replace(/^.*(hole|area)/, '$1')])).toEqual([
    [0n, 'hole, allowed'],
    [0x1000n, 'area rw from user 0x7f0000000000, pages A'],
    [0x2000n, 'hole, not allowed'],
    [0x3000n, 'hole, allowed'],
    [0x4000n, 'hole, not allowed'],
  ]);
});

test('an area that a call is still working on has neither address nor pages', () => {
  const picture = renderText({ ...EMPTY, areas: [{ ...AREA, uptr: null, pages: null }] });
  expect(picture).toContain('|????|      4 KiB  area rw, being set up or torn down');
});

test('what is under a reservation that should not be there is still shown', () => {
  const reserved = [{ start: '0x1800', last: '0x2fff', owner: 'x' }];
  const rows = rowsOf(renderText({ ...EMPTY, areas: [AREA], pages: [PAGES], reserved }));
  expect(rows.map(({ first }) => first)).toEqual([0n, 0x1000n, 0x1800n, 0x2000n, 0x3000n]);
  expect(rows[2]!.rest).toContain('pages A; reserved by x');
});

test('a hostile owner cannot steer the terminal', () => {
  const owner = 'x\u001b[2J\u0007\n\u202efoo\u2028\u009b';
  const picture = renderText({ ...EMPTY, reserved: [{ start: '0x0', last: '0xfff', owner }] });
  expect(picture).toContain('reserved by x\\u{1b}[2J\\u{7}\\u{a}\\u{202e}foo\\u{2028}\\u{9b}');
  expect(picture.split('\n')).toHaveLength(5);
});

test('any text is printable afterwards, and plain text stays as it is', () => {
  const plain = 'Größe 4 KiB – “μ” 記憶 🙂';
  expect(printable(plain)).toBe(plain);
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      expect(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(printable(text))).toBe(false);
    }),
  );
});

describe('sizes', () => {
  test.each([
    [0n, '0 B'],
    [1023n, '1023 B'],
    [1024n, '1 KiB'],
    [1536n, '1.5 KiB'],
    [1025n, '1.000 KiB'],
    [4096n, '4 KiB'],
    [2n << 20n, '2 MiB'],
    [(1n << 32n) - 4096n, '3.999 GiB'],
    [(1n << 30n) * 1023n + 1n, '1023 GiB'],
    [(1n << 40n) - 1n, '1023 GiB'],
    [1n << 64n, '16 EiB'],
    [(1n << 64n) - 1n, '15.99 EiB'],
  ])('%s is %s', (bytes, text) => expect(formatBytes(bytes)).toBe(text));

  test('never claim more than there is, nor less than a thousandth part', () => {
    const units = { B: 0n, KiB: 10n, MiB: 20n, GiB: 30n, TiB: 40n, PiB: 50n, EiB: 60n };
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 1n << 64n }), (bytes) => {
        const [number, unit] = formatBytes(bytes).split(' ') as [string, keyof typeof units];
        const [whole, part = ''] = number.split('.');
        const thousandths = BigInt(whole! + part.padEnd(3, '0'));
        const claimed = (thousandths << units[unit]) / 1000n;
        expect(claimed <= bytes).toBe(true);
        expect(bytes - claimed <= bytes / 1000n + 1n).toBe(true);
      }),
    );
  });
});

/** Random tables: areas of whole pages that don't overlap, in ascending order, and any reservations. */
const tables = fc
  .tuple(
    fc.uniqueArray(fc.bigInt({ min: 0n, max: (1n << 52n) - 1n }), { minLength: 0, maxLength: 40 }),
    fc.array(fc.tuple(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), fc.bigInt({ min: 1n, max: 1n << 40n }))),
  )
  .map(([marks, reservations]): TableSnapshot => {
    const sorted = marks.sort((a, b) => (a < b ? -1 : 1));
    const areas: AreaSnapshot[] = [];
    for (let at = 0; at + 1 < sorted.length; at += 2) {
      const iova = sorted[at]! << 12n;
      const last = (sorted[at + 1]! << 12n) - 1n;
      areas.push({ ...AREA, iova: `0x${iova.toString(16)}`, last: `0x${last.toString(16)}`, pages: at });
    }
    const reserved = reservations.map(([start, length], at) => {
      const last = start + length - 1n >= 1n << 64n ? (1n << 64n) - 1n : start + length - 1n;
      return { start: `0x${start.toString(16)}`, last: `0x${last.toString(16)}`, owner: `device ${at % 3}` };
    });
    return { ...EMPTY, areas, reserved, pages: areas.map((area) => ({ ...PAGES, id: area.pages! })) };
  });

test('the rows are the whole space in order, without gap or overlap, and show every area', () => {
  fc.assert(
    fc.property(tables, (table) => {
      const rows = rowsOf(renderText(table, { rows: 1000 }));
      let next = 0n;
      for (const { first, last } of rows) {
        expect(first).toBe(next);
        expect(last >= first).toBe(true);
        next = last + 1n;
      }
      expect(next).toBe(1n << 64n);
      for (const area of table.areas) {
        expect(rows.some(({ first, rest }) => first === BigInt(area.iova) && rest.includes('area rw'))).toBe(
          true,
        );
      }
    }),
  );
});

test('a long picture is folded in the middle to the rows asked for, and says what it leaves out', () => {
  fc.assert(
    fc.property(tables, fc.integer({ min: -1, max: 30 }), (table, rows) => {
      const all = rowsOf(renderText(table, { rows: 1000 }));
      const picture = renderText(table, { rows });
      const shown = rowsOf(picture);
      const most = Math.max(3, rows);
      if (all.length <= most) {
        expect(shown).toHaveLength(all.length);
        return;
      }
      expect(shown).toHaveLength(most - 1);
      expect([shown[0]!.first, shown.at(-1)!.last]).toEqual([0n, (1n << 64n) - 1n]);
      const note = /^ {2}\.\.\. (.*) \.\.\.$/m.exec(picture)![1]!;
      const left = [...note.matchAll(/(\d+) (?:area|hole|reserved range)/g)].map((match) => Number(match[1]));
      expect(left.reduce((sum, number) => sum + number, 0)).toBe(all.length - (most - 1));
    }),
  );
});

test('the pages of many areas are named A to Z, AA, AB …', () => {
  const areas = Array.from({ length: 30 }, (_, at) => {
    const iova = `0x${(at * 2 + 1).toString(16)}000`;
    const last = `0x${(at * 2 + 1).toString(16)}fff`;
    return { ...AREA, iova, last, pages: at };
  });
  const pages = areas.map((area) => ({ ...PAGES, id: area.pages }));
  const picture = renderText({ ...EMPTY, areas, pages }, { rows: 100 });
  expect([...picture.matchAll(/\|([A-Z=]+)\|/g)].slice(25, 28).map((match) => match[1])).toEqual([
    'ZZZZ',
    '=AA=',
    '=AB=',
  ]);
});
