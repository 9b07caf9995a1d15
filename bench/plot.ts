/**
 * Cost against size as a picture.
 */
import { type Data, parse, type Spec, View } from 'vega';
import type { Results } from './results.js';
import { type RowName, rowInfo } from './rows.js';

const WIDTH = 560;
const HEIGHT = 320;

/** A picture of rows: one line for each subject, nanoseconds against the size, both logarithmic. */
export async function plot(
  results: Results,
  title: string,
  rows: readonly RowName[],
): Promise<string | undefined> {
  const values = rows.flatMap((row) => {
    const subjects = new Set(results.of(row).map(({ subject }) => subject));
    return [...subjects].flatMap((subject) => {
      const line = rows.length === 1 ? subject : rowInfo(row).title;
      const points = results.points(row, subject);
      return points.length < 2 ? [] : points.map((point) => ({ line, ...point }));
    });
  });
  if (values.length === 0) return undefined;
  const view = new View(parse(specOf(title, rowInfo(rows[0]!).sizes, values)), { renderer: 'none' });
  const svg = await view.toSVG();
  // Roles of single marks are of no use in an image; it has a title instead.
  return svg.replaceAll(/ (?:role|aria-[a-z]+)="[^"]*"/g, '').replace('>', `><title>${title}</title>`);
}

function specOf(title: string, sizes: string, values: object[]): Spec {
  const data: Data = { name: 'points', values };
  const at = { x: { scale: 'x', field: 'size' }, y: { scale: 'y', field: 'value' } };
  const color = { scale: 'color', field: 'line' };
  return {
    $schema: 'https://vega.github.io/schema/vega/v6.json',
    title,
    background: 'white',
    width: WIDTH,
    height: HEIGHT,
    padding: 8,
    data: [data],
    scales: [
      { name: 'x', type: 'log', range: 'width', domain: { data: 'points', field: 'size' } },
      { name: 'y', type: 'log', range: 'height', nice: true, domain: { data: 'points', field: 'value' } },
      { name: 'color', type: 'ordinal', range: 'category', domain: { data: 'points', field: 'line' } },
    ],
    axes: [
      { orient: 'bottom', scale: 'x', title: sizes, format: '~s', grid: true, tickCount: 4 },
      { orient: 'left', scale: 'y', title: 'ns', format: '~s', grid: true, tickCount: 5 },
    ],
    legends: [{ stroke: 'color', symbolType: 'stroke', orient: 'bottom', columns: 1, labelLimit: WIDTH }],
    marks: [
      {
        type: 'group',
        from: { facet: { name: 'line', data: 'points', groupby: 'line' } },
        marks: [
          {
            type: 'line',
            from: { data: 'line' },
            encode: { enter: { ...at, stroke: color, strokeWidth: { value: 2 } } },
          },
          {
            type: 'symbol',
            from: { data: 'line' },
            encode: { enter: { ...at, fill: color, size: { value: 36 } } },
          },
        ],
      },
    ],
  };
}
