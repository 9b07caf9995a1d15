/**
 * The IOVA space as a picture, from 0 to 2^64 on one page.
 */
import type { TableSnapshot } from '../inspect/snapshot.js';
import { drawing } from './drawing.js';
import { type DrawnSpace, domainsOf, type Span, sizeOf, spansOf } from './drawn-spans.js';
import { count, formatBytes, letters, printable } from './format.js';
import { element, type Markup, markupPieces } from './markup.js';
import { bitsOf, isHole, type PlacedRow, placeRows, placeSpans, rowsOf } from './svg-rows.js';
import { COLOURS, PICTURE_STYLE } from './svg-style.js';

/** How `renderSvg` draws. */
export interface RenderSvgOptions {
  /** What the picture is called. Default `IOVA space`. */
  readonly title?: string;
  /** The most rows drawn, at least 3; where there is more, what lies close together shares a row. Default 48. */
  readonly rows?: number;
}

/** What a picture is of, for callers that draw over time. */
export interface DrawOptions {
  readonly title: string;
  readonly facts: string;
  readonly rows: number;
  /** A short name of pages, the same in all pictures of a series. */
  readonly name: (pages: number) => string;
  /** Whether the row of a span is to catch the eye. */
  readonly marked: (span: Span) => boolean;
}

const DEFAULT_ROWS = 48;
const LEAST_ROWS = 3;
const WIDTH = 960;
const MARGIN = 16;
const STRIP_LEFT = 212;
const STRIP_WIDTH = 250;
const SIZE_RIGHT = STRIP_LEFT + STRIP_WIDTH + 78;
const TEXT_LEFT = SIZE_RIGHT + 14;
const LINE = 18;
const LANE = 7;
const MOST_LANES = 4;
/** Empty space below 16 MiB is never torn. */
const LEAST_TORN_BITS = 24;
const MOST_TEXT = 62;
/** What is narrower is not drawn: nobody would see it, and there may be very many. */
const LEAST_STROKE = 0.7;
/** What is narrower has no room for the letters of its pages. */
const LEAST_NAMED = 36;

/**
 * Draws a snapshot as SVG: a document of its own, with light and dark colours.
 *
 * IOVA grows downwards. The axis is broken: a row is higher with the logarithm of its size, and empty space that is
 * larger than every area has a torn edge; so 4 KiB and 2^60 bytes are readable next to each other. Areas have the
 * colour and the letters of their pages, so areas that share pages look the same. Brackets beside the axis are the
 * apertures of the domains. All text is escaped, and control and formatting characters are spelt out.
 *
 * @throws TypeError (`ERR_INVALID_ARG_TYPE`) if an argument is not as declared; RangeError (`ERR_OUT_OF_RANGE`) if the
 * rows make more than 2^28 characters
 */
export function renderSvg(snapshot: TableSnapshot, options: RenderSvgOptions = {}): string {
  return drawing(snapshot, options, () => drawDocument(snapshot, options));
}

function drawDocument(snapshot: TableSnapshot, options: RenderSvgOptions): Iterable<string> {
  const names = new Map(snapshot.pages.map(({ id }, at) => [id, letters(at)]));
  const facts = [
    `profile ${snapshot.profile}`,
    count(snapshot.areas.length, 'area'),
    `alignment ${formatBytes(BigInt(snapshot.alignment))}`,
    `large pages ${snapshot.largePages ? 'on' : 'off'}`,
    count(snapshot.accesses, 'access', 'accesses'),
  ];
  const picture = drawSpace(snapshot, {
    title: options.title ?? 'IOVA space',
    facts: facts.join(', '),
    rows: options.rows ?? DEFAULT_ROWS,
    name: (pages) => names.get(pages) ?? '?',
    marked: () => false,
  });
  const style = element('style', {}, PICTURE_STYLE);
  return markupPieces({ ...picture, children: [style, ...picture.children] });
}

/** Draws a space without a style sheet. Each row is a `g` of class `row` whose first child is a `title`. */
export function drawSpace(space: DrawnSpace, options: DrawOptions): Markup {
  const title = printable(options.title);
  const domains = space.domains.map(({ pageSizes, aperture }, at) => {
    const sizes = pageSizes.map((size) => formatBytes(BigInt(size))).join(', ');
    return `domain ${at}: page sizes ${sizes}; aperture ${aperture.start} to ${aperture.last}`;
  });
  const shown = domains.slice(0, MOST_LANES);
  if (domains.length > shown.length) shown.push(`and ${count(domains.length - shown.length, 'domain')} more`);
  const heading = [options.facts, ...shown].map((line, at) =>
    label(MARGIN, MARGIN + 2 * LINE + at * LINE, line, 'quiet'),
  );
  const top = MARGIN + (heading.length + 2) * LINE;
  const spans = spansOf(space);
  const rows = placeRows(rowsOf(spans, Math.max(LEAST_ROWS, options.rows)), top);
  const bottom = rows.at(-1)!.top + rows.at(-1)!.height;
  const height = bottom + LINE + MARGIN;
  // What is larger than everything mapped is drawn torn.
  const largest = spans.reduce((most, span) => Math.max(most, areaBits(span)), LEAST_TORN_BITS);
  const used = spans.filter((span) => !isHole(span)).length;
  const description =
    `${printable(options.facts)}. ${[...domains, ''].join('. ')}` +
    `${count(used, 'range')} in use from ${hex(spans[0]!.first)} to ${hex(spans.at(-1)!.last)}, ` +
    'from top to bottom; what is in a row is written beside it.';
  const hatch = element(
    'pattern',
    { id: 'iopt-hatch', width: 8, height: 8, patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)' },
    element('rect', { width: 8, height: 8, class: 'hatch-ground' }),
    element('line', { x1: 0, y1: 0, x2: 0, y2: 8, class: 'hatch' }),
  );
  return element(
    'svg',
    {
      xmlns: 'http://www.w3.org/2000/svg',
      viewBox: `0 0 ${WIDTH} ${height}`,
      width: WIDTH,
      height,
      class: 'iopt',
      role: 'img',
      'aria-labelledby': 'iopt-title iopt-description',
    },
    element('title', { id: 'iopt-title' }, title),
    element('desc', { id: 'iopt-description' }, description),
    element('defs', {}, hatch),
    element('rect', { width: WIDTH, height, class: 'ground' }),
    label(MARGIN, MARGIN + LINE - 4, options.title, 'title'),
    heading,
    rows.map((row) => drawRow(row, space, options, largest)),
    space.domains.slice(0, MOST_LANES).map(({ aperture }, lane) => bracket(aperture, lane, rows)),
    element('line', tickAt(bottom)),
    label(STRIP_LEFT - MOST_LANES * LANE - 12, bottom + 4, hex(rows.at(-1)!.last), 'address', 'end'),
  );
}

function drawRow(row: PlacedRow, space: DrawnSpace, options: DrawOptions, largest: number): Markup {
  const [span] = row.spans;
  const middle = row.top + row.height / 2;
  const marked = row.spans.some(options.marked);
  const [headline, detail] = row.spans.length === 1 ? describe(span!, space, options) : sumUp(row.spans);
  const bounds = `${hex(row.first)} to ${hex(row.last)}`;
  const tone = row.spans.every(isHole) ? 'quiet' : undefined;
  return element(
    'g',
    { class: marked ? 'row marked' : 'row' },
    element('title', {}, printable(`${bounds}, ${formatBytes(sizeOf(row))}: ${headline}${detail}`)),
    strip(row, options),
    row.spans.length === 1 && isHole(span!) && bitsOf(sizeOf(row)) > largest ? [torn(row)] : [],
    element('line', tickAt(row.top)),
    label(STRIP_LEFT - MOST_LANES * LANE - 12, row.top + 4, hex(row.first), 'address', 'end'),
    label(SIZE_RIGHT, middle + 4, formatBytes(sizeOf(row)), tone, 'end'),
    label(TEXT_LEFT, middle + 4, headline + detail, tone),
  );
}

function strip(row: PlacedRow, options: DrawOptions): Markup[] {
  const { top, height } = row;
  const edge = element('rect', {
    x: STRIP_LEFT,
    y: top + 0.5,
    width: STRIP_WIDTH,
    height: height - 1,
    class: 'edge',
  });
  if (row.spans.length === 1) {
    const [{ area, owners }] = row.spans as readonly [Span];
    const back = box(STRIP_LEFT, top, STRIP_WIDTH, height, classOf(row.spans[0]!));
    if (area === undefined) return [back, edge];
    const name = area.pages === null ? '?' : options.name(area.pages);
    const over = owners.length === 0 ? [] : [box(STRIP_LEFT, top + height - 6, STRIP_WIDTH, 6, 'reserved')];
    const pins = area.pins === 0 ? [] : [pinAt(STRIP_LEFT + STRIP_WIDTH - 16, top + height / 2)];
    const named = label(STRIP_LEFT + STRIP_WIDTH / 2, top + height / 2 + 4, name, 'name', 'middle');
    return [back, ...over, named, ...pins, edge];
  }
  const back = box(STRIP_LEFT, top, STRIP_WIDTH, height, 'hole');
  const strokes: Markup[] = [];
  let drawnTo = 0;
  for (const { span, from, to } of placeSpans(row.spans, STRIP_WIDTH)) {
    if (isHole(span) || to - drawnTo < LEAST_STROKE) continue;
    strokes.push(box(STRIP_LEFT + from, top + 3, to - from, height - 6, `stroke ${classOf(span)}`));
    if (to - from >= LEAST_NAMED && typeof span.area?.pages === 'number') {
      const middle = STRIP_LEFT + (from + to) / 2;
      strokes.push(
        label(round(middle), top + height / 2 + 4, options.name(span.area.pages), 'name', 'middle'),
      );
    }
    drawnTo = to;
  }
  return [back, ...strokes, edge];
}

function classOf({ area, owners, allowed }: Span): string {
  if (area !== undefined) return area.pages === null ? 'reserved' : `pages-${area.pages % COLOURS}`;
  if (owners.length > 0) return 'reserved';
  return allowed ? 'hole allowed' : 'hole';
}

function areaBits(span: Span): number {
  return span.area === undefined ? 0 : bitsOf(sizeOf(span));
}

/** What is in a span, in a few words and in more. */
function describe(span: Span, space: DrawnSpace, { name }: DrawOptions): [string, string] {
  const { area, owners } = span;
  const reserved = owners.length === 0 ? '' : `reserved by ${owners.join(' and ')}`;
  if (area === undefined) {
    if (reserved !== '') return [reserved, ''];
    return [space.allowed.length === 0 ? 'hole' : span.allowed ? 'hole, allowed' : 'hole, not allowed', ''];
  }
  const prot = area.prot === '' ? 'no access' : area.prot;
  const also = reserved === '' ? '' : `; ${reserved}`;
  if (area.uptr === null || area.pages === null) return [prot, `, being set up or torn down${also}`];
  const pins = area.pins === 0 ? '' : `, ${count(area.pins, 'pin')}`;
  const leaving = area.preventAccess ? ', being unmapped' : '';
  return [
    `${prot}, ${area.source} ${area.uptr}`,
    `, pages ${name(area.pages)}${domainsOf(area, space)}${pins}${leaving}${also}`,
  ];
}

function sumUp(spans: readonly Span[]): [string, string] {
  const areas = spans.filter(({ area }) => area !== undefined);
  const owned = spans.filter(({ area, owners }) => area === undefined && owners.length > 0);
  const holes = spans.length - areas.length - owned.length;
  const mapped = areas.reduce((sum, span) => sum + sizeOf(span), 0n);
  const parts = [
    ...(areas.length === 0 ? [] : [count(areas.length, 'area')]),
    // Where a row is nothing but areas, its own size says it.
    ...(areas.length === 0 || areas.length === spans.length ? [] : [`${formatBytes(mapped)} together`]),
    ...(owned.length === 0 ? [] : [count(owned.length, 'reserved range')]),
    ...(holes === 0 ? [] : [count(holes, 'hole')]),
  ];
  return [parts.join(', '), ''];
}

/** The aperture of a domain, as a bracket beside the axis. */
function bracket(
  aperture: { start: string; last: string },
  lane: number,
  rows: readonly PlacedRow[],
): Markup {
  const from = heightOf(BigInt(aperture.start), rows);
  const to = heightOf(BigInt(aperture.last) + 1n, rows);
  const x = STRIP_LEFT - 6 - lane * LANE;
  const path = `M${x + 4} ${from + 1}H${x}V${to - 1}H${x + 4}`;
  const title = `aperture of domain ${lane}: ${aperture.start} to ${aperture.last}`;
  return element('g', {}, element('title', {}, title), element('path', { d: path, class: 'aperture' }));
}

function heightOf(iova: bigint, rows: readonly PlacedRow[]): number {
  const row = rows.find(({ last }) => iova <= last);
  if (row === undefined) return rows.at(-1)!.top + rows.at(-1)!.height;
  // Parts per 2^16 of a row are finer than a pixel.
  const part = Number(((iova - row.first) << 16n) / sizeOf(row)) / 2 ** 16;
  return row.top + part * row.height;
}

/** The two torn edges of empty space that is too large to be drawn. */
function torn({ top, height }: PlacedRow): Markup {
  const step = STRIP_WIDTH / 25;
  const edge = (y: number) =>
    Array.from({ length: 26 }, (_, at) => `${(STRIP_LEFT + at * step).toFixed(1)} ${y + (at % 2) * 5}`);
  const y = top + height / 2 - 6;
  const [upper, lower] = [edge(y), edge(y + 7).reverse()];
  return element('path', { d: `M${[...upper, ...lower].join('L')}Z`, class: 'break' });
}

function pinAt(x: number, y: number): Markup {
  return element('path', { d: `M${x} ${y + 7}V${y}m-4 -4a4 4 0 1 1 8 0a4 4 0 1 1 -8 0`, class: 'pin' });
}

function box(x: number, y: number, width: number, height: number, name: string): Markup {
  return element('rect', { x: round(x), y, width: round(width), height, class: name });
}

function tickAt(y: number): Record<string, string | number> {
  return { x1: STRIP_LEFT - MOST_LANES * LANE - 8, x2: STRIP_LEFT, y1: y + 0.5, y2: y + 0.5, class: 'tick' };
}

function label(x: number, y: number, text: string, name?: string, anchor?: string): Markup {
  const safe = printable(text);
  const characters = [...safe];
  const most = x === TEXT_LEFT ? MOST_TEXT : 2 * MOST_TEXT;
  const cut = characters.length > most ? `${characters.slice(0, most - 1).join('')}…` : safe;
  return element('text', { x, y, class: name, 'text-anchor': anchor }, cut);
}

function round(number: number): number {
  return Math.round(number * 100) / 100;
}

function hex(iova: bigint): string {
  return `0x${iova.toString(16)}`;
}
