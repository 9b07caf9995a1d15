/**
 * The report as text. Tables are Markdown, so that they can be kept as they are printed.
 */
import { type Comparison, isOurs } from './comparison.js';
import { growthOf } from './fit.js';
import { count, figureText, times } from './format.js';
import type { Verdict } from './goals.js';
import { type Figure, median, OURS, type Results, ratio } from './results.js';
import { type RowName, rowInfo } from './rows.js';

/** A Markdown table with its columns aligned; all but the first to the right. */
function tableText(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(3, ...rows.map((row) => row[column]!.length)));
  const line = (cells: readonly string[]) => {
    const padded = cells.map((cell, at) =>
      at === 0 ? cell.padEnd(widths[at]!) : cell.padStart(widths[at]!),
    );
    return `| ${padded.join(' | ')} |`;
  };
  const rule = widths.map((width, at) => (at === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`));
  const [head, ...body] = rows;
  return [head!, rule, ...body].map(line).join('\n');
}

/** A row: its subjects down, its sizes across; behind a peer's figure how many times ours it is. */
export function rowText(results: Results, row: RowName): string {
  const { title, unit, sizes: counted } = rowInfo(row);
  const figures = results.of(row);
  const sizes = [...new Set(figures.map(({ size }) => size))].sort((a, b) => a - b);
  const subjects = [...new Set(figures.map(({ subject }) => subject))].sort(
    (a, b) => Number(b.startsWith(OURS)) - Number(a.startsWith(OURS)),
  );
  const cell = (subject: string, size: number) => {
    const figure = results.find(row, size, subject);
    if (figure === undefined) return '–';
    const value = figureText(median(figure.rounds), unit);
    const ours = results.find(row, size);
    if (ours === undefined || subject.startsWith(OURS)) return value;
    return `${value} (${times(ratio(figure, ours))})`;
  };
  const head = [`${title}`, ...sizes.map((size) => `${count(size)} ${counted}`)];
  return tableText([
    head,
    ...subjects.map((subject) => [subject, ...sizes.map((size) => cell(subject, size))]),
  ]);
}

/** The fitted growth of all rows that have it. */
export function growthText(results: Results): string | undefined {
  const rows = [
    ['Growth of a figure with n', 'n from', 'to', 'n^p', 'each doubling adds', 'a + b·log n explains'],
  ];
  for (const row of results.rows.filter((name) => rowInfo(name).grows)) {
    for (const subject of new Set(results.of(row).map((figure) => figure.subject))) {
      const points = results.points(row, subject);
      const growth = growthOf(points);
      if (growth === undefined) continue;
      rows.push([
        subject === OURS ? rowInfo(row).title : `${rowInfo(row).title}: ${subject}`,
        count(points[0]!.size),
        count(points.at(-1)!.size),
        growth.exponent.toFixed(2),
        figureText(growth.perDoubling, rowInfo(row).unit),
        `${(100 * growth.logarithmic).toFixed(0)} %`,
      ]);
    }
  }
  return rows.length > 1 ? tableText(rows) : undefined;
}

/** The goals that the run measured, and whether they are met. */
export function goalsText(verdicts: readonly Verdict[]): string {
  const result = ({ met }: Verdict) => (met ? 'pass' : 'FALLS SHORT');
  const measured = verdicts.filter(({ met }) => met !== undefined);
  const rows = measured.map((verdict) => [
    `${verdict.goal}. ${verdict.what}`,
    verdict.measured,
    verdict.bound,
    result(verdict),
  ]);
  return tableText([['Goal', 'measured', 'bound', ''], ...rows]);
}

/** Where the time of a subject goes. */
export function profileText({ row, subject, size, profile = [] }: Figure): string {
  const lines = profile.map(({ name, share }) => `  ${(100 * share).toFixed(1).padStart(5)} %  ${name}`);
  return [`${rowInfo(row).title}, ${count(size)}: ${subject}`, ...lines].join('\n');
}

/** The largest ratios that are listed. */
const MOST_WORST = 15;

function nameOf({ row, subject, size }: Comparison): string {
  const name = `${rowInfo(row).title}, ${count(size)} ${rowInfo(row).sizes}`;
  return subject === OURS ? name : `${name}: ${subject}`;
}

function ratioText({ ratio, quarters: [lower, upper] }: Comparison): string[] {
  return [`${ratio.toFixed(3)}×`, `${lower.toFixed(3)} to ${upper.toFixed(3)}`];
}

/** What this tree takes against another one, row by row. */
export function comparisonText(comparisons: readonly Comparison[]): string {
  const rows = comparisons.map((comparison) => {
    const { theirs, ours, row } = comparison;
    const { unit } = rowInfo(row);
    return [nameOf(comparison), figureText(theirs, unit), figureText(ours, unit), ...ratioText(comparison)];
  });
  return tableText([['Against the other tree', 'other', 'this', 'ratio', 'half of the rounds'], ...rows]);
}

/** The rows that lost most, and what the same code of peers gave: how far the machine is to be trusted. */
export function worstText(comparisons: readonly Comparison[]): string {
  const worst = comparisons.filter(({ subject }) => isOurs(subject)).sort((a, b) => b.ratio - a.ratio);
  const peers = comparisons.filter(({ subject }) => !isOurs(subject)).map(({ ratio }) => ratio);
  const rows = worst.slice(0, MOST_WORST).map((comparison) => [nameOf(comparison), ...ratioText(comparison)]);
  const table = tableText([['Largest ratios to the other tree', 'ratio', 'half of the rounds'], ...rows]);
  if (peers.length === 0) return table;
  const [least, most] = [Math.min(...peers), Math.max(...peers)].map((ratio) => ratio.toFixed(3));
  return `${table}\n\nPeers, whose code is the same in both: ${least} to ${most}`;
}
