/**
 * The IOVA space as text: one row for each span between 0 and 2^64, however large it is.
 */
import type { TableSnapshot } from '../inspect/snapshot.js';
import { drawing } from './drawing.js';
import { type DrawnArea, domainsOf, type Span, sizeOf, spansOf } from './drawn-spans.js';
import { count, formatBytes, letters, printable } from './format.js';

/** How `renderText` draws. */
export interface RenderTextOptions {
  /** The most rows drawn, at least 3; of more, those in the middle are summed up in one. Default 64. */
  readonly rows?: number;
}

interface Row {
  readonly span: Span;
  /** What is drawn between the two edges of the axis. */
  readonly strip: string;
  readonly edge: string;
  readonly text: string;
}

const DEFAULT_ROWS = 64;
const LEAST_ROWS = 3;
const STRIP_WIDTH = 4;

/**
 * Draws a snapshot: the table and its domains, then one row a span in the order of IOVA with its bounds
 * (inclusive), its size and what is there, then the pages that the areas show.
 *
 * The axis is broken: every span is one row, so 4 KiB and 2^60 bytes read alike. Areas are filled with the
 * letter of their pages, so areas that share pages share a letter; reserved ranges with `/`; holes with nothing.
 *
 * @throws TypeError (`ERR_INVALID_ARG_TYPE`) if an argument is not as declared; RangeError (`ERR_OUT_OF_RANGE`) if the
 * rows make more than 2^28 characters
 */
export function renderText(snapshot: TableSnapshot, options: RenderTextOptions = {}): string {
  return drawing(snapshot, options, () => drawText(snapshot, options));
}

function* drawText(snapshot: TableSnapshot, options: RenderTextOptions): Generator<string, void, undefined> {
  const names = new Map(snapshot.pages.map((pages, at) => [pages.id, letters(at)]));
  const rows = spansOf(snapshot).map((span) => rowOf(span, snapshot, names));
  const most = Math.max(LEAST_ROWS, options.rows ?? DEFAULT_ROWS);
  // Of a folded picture both ends are drawn, with a line for the middle between them.
  const head = rows.length <= most ? rows : rows.slice(0, Math.floor(most / 2));
  const tail = rows.length <= most ? [] : rows.slice(rows.length - (most - head.length - 1));
  const folded = rows.slice(head.length, rows.length - tail.length);
  const drawn = draw([...head, ...tail]);
  if (folded.length > 0) drawn.splice(head.length + 1, 0, `  ... ${sumUp(folded)} ...`);
  const shown = new Set([...head, ...tail].map(({ span }) => span.area?.pages));
  const lines = [...header(snapshot), '', ...drawn, ...legend(snapshot, names, shown)];
  for (const [at, line] of lines.entries()) yield at === 0 ? line : `\n${line}`;
}

function header(snapshot: TableSnapshot): string[] {
  const facts = [
    count(snapshot.areas.length, 'area'),
    `alignment ${formatBytes(BigInt(snapshot.alignment))}`,
    `large pages ${snapshot.largePages ? 'on' : 'off'}`,
    count(snapshot.accesses, 'access', 'accesses'),
  ];
  const lines = [`IOVA space, profile ${snapshot.profile}: ${facts.join(', ')}`];
  for (const [number, domain] of snapshot.domains.entries()) {
    const sizes = domain.pageSizes.map((size) => formatBytes(BigInt(size))).join(', ');
    const { start, last } = domain.aperture;
    lines.push(`domain ${number}: page sizes ${sizes}; aperture [${start}, ${last}]`);
  }
  return lines;
}

function rowOf(span: Span, snapshot: TableSnapshot, names: ReadonlyMap<number, string>): Row {
  const reserved = span.owners.length === 0 ? '' : `reserved by ${span.owners.map(printable).join(' and ')}`;
  if (span.area !== undefined) {
    const name = span.area.pages === null ? '?' : names.get(span.area.pages)!;
    const text = `area ${describeArea(span.area, name, snapshot)}${reserved === '' ? '' : `; ${reserved}`}`;
    return {
      span,
      edge: '|',
      strip: fill(name),
      text,
    };
  }
  if (reserved !== '') return { span, edge: '|', strip: '/'.repeat(STRIP_WIDTH), text: reserved };
  const text = snapshot.allowed.length === 0 ? 'hole' : span.allowed ? 'hole, allowed' : 'hole, not allowed';
  return { span, edge: ':', strip: ' '.repeat(STRIP_WIDTH), text };
}

/** `AAAA` for A, `=AA=` for AA. */
function fill(name: string): string {
  if (name.length === 1) return name.repeat(STRIP_WIDTH);
  return name.padStart(STRIP_WIDTH - 1, '=').padEnd(STRIP_WIDTH, '=');
}

function describeArea(area: DrawnArea, name: string, snapshot: TableSnapshot): string {
  const prot = area.prot === '' ? 'no access' : area.prot;
  if (area.uptr === null) return `${prot}, being set up or torn down`;
  const pins = area.pins === 0 ? '' : `, held by ${count(area.pins, 'pin')}`;
  const leaving = area.preventAccess ? ', being unmapped' : '';
  return `${prot} from ${area.source} ${area.uptr}, pages ${name}${domainsOf(area, snapshot)}${pins}${leaving}`;
}

/** The rows that are left out of a long picture, in one line. */
function sumUp(rows: readonly Row[]): string {
  const sums = [
    { one: 'area', of: rows.filter(({ span }) => span.area !== undefined) },
    { one: 'hole', of: rows.filter(({ span }) => span.area === undefined && span.owners.length === 0) },
    {
      one: 'reserved range',
      of: rows.filter(({ span }) => span.area === undefined && span.owners.length > 0),
    },
  ];
  return sums
    .filter(({ of }) => of.length > 0)
    .map(({ one, of }) => {
      const bytes = of.reduce((sum, { span }) => sum + sizeOf(span), 0n);
      return `${count(of.length, one)} of together ${formatBytes(bytes)}`;
    })
    .join(', ');
}

function draw(rows: readonly Row[]): string[] {
  const cells = rows.map(({ span }) => [
    `0x${span.first.toString(16)}`,
    `0x${span.last.toString(16)}`,
    formatBytes(sizeOf(span)),
  ]);
  const titles = ['first', 'last', 'size'];
  const widths = titles.map((title, at) => longest(title.length, cells, (cell) => cell[at]!));
  const pad = (cell: readonly string[]) => cell.map((text, at) => text.padStart(widths[at]!));
  const strips = longest(STRIP_WIDTH, rows, ({ strip }) => strip);
  const lines = rows.map(({ edge, strip, text }, at) => {
    const [first, last, size] = pad(cells[at]!);
    return `  ${first}  ${last}  ${edge}${strip.padEnd(strips)}${edge}  ${size}  ${text}`;
  });
  const [first, last, size] = pad(titles);
  return [`  ${first}  ${last}  ${' '.repeat(strips + 2)}  ${size}`, ...lines];
}

/** The most characters that one of many texts has, at least so many. */
function longest<Item>(least: number, items: readonly Item[], textOf: (item: Item) => string): number {
  return items.reduce((most, item) => Math.max(most, textOf(item).length), least);
}

function legend(
  snapshot: TableSnapshot,
  names: ReadonlyMap<number, string>,
  shown: ReadonlySet<number | null | undefined>,
): string[] {
  const areas = new Map<number | null, number>();
  for (const { pages } of snapshot.areas) areas.set(pages, (areas.get(pages) ?? 0) + 1);
  const lines = snapshot.pages
    .filter(({ id }) => shown.has(id))
    .map((pages) => {
      const here = areas.get(pages.id) ?? 0;
      const elsewhere = pages.references > here ? `, ${pages.references - here} elsewhere` : '';
      const access = pages.writable ? 'writable' : 'read-only';
      return (
        `pages ${names.get(pages.id)}: ${count(pages.npages, 'page')} from ${pages.source} ${pages.uptr}, ${access}, ` +
        `${pages.revoked ? 'revoked' : `${pages.pinned} pinned`}, shown by ${count(here, 'area')}${elsewhere}`
      );
    });
  return lines.length === 0 ? [] : ['', ...lines];
}
