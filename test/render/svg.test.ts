import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { AreaSnapshot, TableSnapshot } from '../../src/inspect/snapshot.js';
import { renderSvg } from '../../src/render/svg.js';
import { AREA, EMPTY, PAGES } from './snapshots.js';
import { type ReadElement, readElements } from './well-formed.js';

/** What each row says that it covers. */
function rowsOf(elements: readonly ReadElement[]): { first: bigint; last: bigint; text: string }[] {
  return elements
    .filter(({ tag, parent }) => tag === 'title' && parent?.attributes.get('class')?.startsWith('row'))
    .map(({ text }) => {
      const [, first, last, rest] = /^(0x[0-9a-f]+) to (0x[0-9a-f]+), (.*)$/s.exec(text)!;
      return { first: BigInt(first!), last: BigInt(last!), text: rest! };
    });
}

/** Elements of a class. */
function ofClass(elements: readonly ReadElement[], name: string): ReadElement[] {
  return elements.filter(({ attributes }) => attributes.get('class')?.split(' ').includes(name));
}

function expectWholeSpace(rows: readonly { first: bigint; last: bigint }[]): void {
  expect(rows[0]!.first).toBe(0n);
  expect(rows.at(-1)!.last).toBe(2n ** 64n - 1n);
  for (const [at, row] of rows.slice(1).entries()) expect(row.first).toBe(rows[at]!.last + 1n);
}

const SHARED: TableSnapshot = {
  ...EMPTY,
  accesses: 1,
  areas: [
    { ...AREA, storageDomain: 0 },
    { ...AREA, iova: '0x2000', last: '0x5fff', uptr: '0x7f1000001000', prot: 'r', pages: 1, pins: 2 },
    { ...AREA, iova: '0xfffff000', last: '0xffffffff', prot: '', preventAccess: true },
  ],
  reserved: [
    { start: '0xfee00000', last: '0xfeefffff', owner: 'Endpoint 32' },
    { start: '0x10000000000', last: '0xffffffffffffffff', owner: 'a RadixDomain' },
  ],
  domains: [
    { pageSizes: ['0x1000', '0x200000'], aperture: { start: '0x0', last: '0xffffffffff' } },
    { pageSizes: ['0x1000'], aperture: { start: '0x0', last: '0xffffffff' } },
  ],
  pages: [PAGES, { ...PAGES, id: 1 }],
};

test('each row tells its bounds, its size and what is there', () => {
  expect(rowsOf(readElements(renderSvg(SHARED))).map(({ text }) => text)).toEqual([
    '4 KiB: hole',
    '4 KiB: rw, user 0x7f0000000000, pages A, in all 2 domains',
    '16 KiB: r, user 0x7f1000001000, pages B, 2 pins',
    '3.982 GiB: hole',
    '1 MiB: reserved by Endpoint 32',
    '16.99 MiB: hole',
    '4 KiB: no access, user 0x7f0000000000, pages A, being unmapped',
    '1020 GiB: hole',
    '15.99 EiB: reserved by a RadixDomain',
  ]);
});

test('areas that share pages have one colour, others another', () => {
  const elements = readElements(renderSvg(SHARED));
  expect(ofClass(elements, 'pages-0')).toHaveLength(2);
  expect(ofClass(elements, 'pages-1')).toHaveLength(1);
  expect(ofClass(elements, 'reserved')).toHaveLength(2);
  expect(ofClass(elements, 'pin')).toHaveLength(1);
  // Only what is larger than 16 MiB and all areas is torn.
  expect(ofClass(elements, 'break')).toHaveLength(3);
});

test('the page sizes and the aperture of each domain are told, and the aperture is drawn beside the axis', () => {
  const svg = renderSvg(SHARED);
  expect(svg).toContain('domain 0: page sizes 4 KiB, 2 MiB; aperture 0x0 to 0xffffffffff');
  const elements = readElements(svg);
  const ends = ofClass(elements, 'aperture').map(
    ({ attributes }) => /V([\d.]+)/.exec(attributes.get('d')!)![1],
  );
  const tops = ofClass(elements, 'tick').map(({ attributes }) => Number(attributes.get('y1')) - 1.5);
  // The apertures end where the last reserved range and the hole before it begin.
  expect(ends.map(Number)).toEqual([tops[8], tops[7]]);
});

test('once there is a list of allowed ranges, holes in it look different', () => {
  const allowed = [{ start: '0x0', last: '0xffff' }];
  const elements = readElements(renderSvg({ ...EMPTY, allowed, areas: [AREA], pages: [PAGES] }));
  expect(rowsOf(elements).map(({ text }) => text.replace(/^.*: /, ''))).toEqual([
    'hole, allowed',
    'rw, user 0x7f0000000000, pages A',
    'hole, allowed',
    'hole, not allowed',
  ]);
  expect(ofClass(elements, 'allowed')).toHaveLength(2);
});

test('a picture has a name and a description for those who do not see it', () => {
  const elements = readElements(renderSvg(SHARED, { title: 'guest 7' }));
  const [svg] = elements;
  expect(svg!.attributes.get('role')).toBe('img');
  const named = svg!.attributes.get('aria-labelledby')!.split(' ');
  const texts = named.map((id) => elements.find(({ attributes }) => attributes.get('id') === id)!.text);
  expect(texts[0]).toBe('guest 7');
  expect(texts[1]).toContain('5 ranges in use');
});

test('of more spans than rows, neighbours share a row and large holes stay', () => {
  const areas = Array.from({ length: 600 }, (_, at) => {
    const iova = BigInt(at) * 8192n + (at < 300 ? 0n : 2n ** 40n);
    return { ...AREA, iova: `0x${iova.toString(16)}`, last: `0x${(iova + 4095n).toString(16)}`, pages: at };
  });
  const pages = areas.map((_, id) => ({ ...PAGES, id }));
  const elements = readElements(renderSvg({ ...EMPTY, areas, pages }, { rows: 12 }));
  const rows = rowsOf(elements);
  expectWholeSpace(rows);
  expect(rows.length).toBeLessThanOrEqual(12);
  expect(rows.filter(({ text }) => text.endsWith('B: hole'))).toHaveLength(2);
  const areasTold = rows.flatMap(({ text }) =>
    [...text.matchAll(/(\d+) areas/g)].map(([, number]) => Number(number)),
  );
  expect(areasTold.reduce((sum, number) => sum + number, 0)).toBe(600);
});

const arbitraryRange = fc
  .tuple(fc.bigInt(0n, 2n ** 52n - 1n), fc.bigInt(0n, 2n ** 52n - 1n), fc.integer({ min: 0, max: 51 }))
  .map(([a, b, shift]) => {
    const [first, other] = [(a >> BigInt(shift)) << 12n, (b >> BigInt(shift)) << 12n];
    return first <= other ? { first, last: other + 4095n } : { first: other, last: first + 4095n };
  });

const arbitraryText = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.constantFrom(
    '<script>alert(1)</script>',
    '"><img src=x onerror=alert(1)>',
    '&lt;&#60;',
    '\u202e\u2028]]>',
  ),
);

test('any snapshot gives a well-formed picture of the whole space, whatever its owners are called', () => {
  fc.assert(
    fc.property(
      fc.array(arbitraryRange, { maxLength: 12 }),
      fc.array(fc.tuple(arbitraryRange, arbitraryText), { maxLength: 6 }),
      arbitraryText,
      fc.integer({ min: 0, max: 20 }),
      (ranges, owned, title, most) => {
        const areas: AreaSnapshot[] = [];
        let behind = 0n;
        for (const { first, last } of ranges.sort((a, b) => (a.first < b.first ? -1 : 1))) {
          if (first < behind) continue;
          behind = last + 1n;
          const bounds = { iova: `0x${first.toString(16)}`, last: `0x${last.toString(16)}` };
          areas.push({ ...AREA, ...bounds, pages: areas.length });
        }
        const reserved = owned.map(([{ first, last }, owner]) => ({
          start: `0x${first.toString(16)}`,
          last: `0x${last.toString(16)}`,
          owner,
        }));
        const pages = areas.map((_, id) => ({ ...PAGES, id }));
        const svg = renderSvg({ ...EMPTY, areas, reserved, pages }, { title, rows: most });
        const elements = readElements(svg);
        const rows = rowsOf(elements);
        expectWholeSpace(rows);
        expect(rows.length).toBeLessThanOrEqual(Math.max(3, most));
        const tags = new Set(elements.map(({ tag }) => tag));
        expect([...tags].filter((tag) => !SVG_TAGS.has(tag))).toEqual([]);
      },
    ),
  );
});

const SVG_TAGS = new Set([
  ...['svg', 'title', 'desc', 'style', 'defs', 'pattern'],
  ...['g', 'rect', 'line', 'path', 'text'],
]);
