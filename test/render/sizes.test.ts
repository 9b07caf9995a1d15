/** Pictures of very many areas. */
import { expect, test } from 'vitest';
import type { TableSnapshot } from '../../src/inspect/snapshot.js';
import { renderSvg } from '../../src/render/svg.js';
import { renderText } from '../../src/render/text.js';
import { AREA, EMPTY, PAGES } from './snapshots.js';

const COUNT = 70_000;

function manyAreas(): TableSnapshot {
  const areas = Array.from({ length: COUNT }, (_, at) => {
    const first = at * 0x2000;
    return { ...AREA, iova: `0x${first.toString(16)}`, last: `0x${(first + 0xfff).toString(16)}`, pages: at };
  });
  return { ...EMPTY, areas, pages: areas.map(({ pages: id }) => ({ ...PAGES, id })) };
}

test('are drawn as text and as SVG, folded and in full', () => {
  const snapshot = manyAreas();
  expect(renderText(snapshot).split('\n').length).toBeLessThan(200);
  const lines = renderText(snapshot, { rows: 1_000_000 }).split('\n');
  // A row for each area and each hole behind it, and one for the pages of each area.
  expect(lines.length).toBeGreaterThan(3 * COUNT);
  expect(renderSvg(snapshot).length).toBeLessThan(4_000_000);
});

test('are refused where a string could not hold them', () => {
  const owner = 'x'.repeat(2 ** 20);
  const reserved = Array.from({ length: 300 }, (_, at) => {
    const first = BigInt(at) * 0x2000n;
    return { start: `0x${first.toString(16)}`, last: `0x${(first + 0xfffn).toString(16)}`, owner };
  });
  expect(() => renderText({ ...EMPTY, reserved }, { rows: 1000 })).toThrow(
    expect.objectContaining({ name: 'RangeError', code: 'ERR_OUT_OF_RANGE' }),
  );
});
