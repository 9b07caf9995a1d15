/**
 * A replay as one HTML file: the IOVA space over time, and what each operation did to it.
 */
import type { ReplayRecording } from '../replay/recording.js';
import { formatBytes, printable } from './format.js';
import { REPORT_HASHES, REPORT_SCRIPT, REPORT_STYLE } from './html-assets.js';
import { jsonPieces, packRecording } from './html-data.js';
import { element, type Markup, markupText } from './markup.js';

/**
 * What the document may do: run our program and use our style sheet, known by their hashes, and nothing else: no
 * network, no other program, no markup from strings.
 */
const POLICY = [
  "default-src 'none'",
  `script-src '${REPORT_HASHES.script}'`,
  `style-src '${REPORT_HASHES.style}'`,
  "base-uri 'none'",
  "form-action 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

/**
 * Writes a report in pieces: a self-contained document that needs no network. It draws the space over time, has a
 * slider through the operations, shows the space at each, and lists the operations with the failing ones marked.
 *
 * Whatever comes from the log is text: it is escaped, its control and formatting characters (bidirectional ones, line
 * separators) are spelt out, and the document's content security policy lets nothing but the report's own program run.
 */
export function* renderHtml(recording: ReplayRecording): Generator<string, void, undefined> {
  const title = `${printable(recording.log)}: IOVA space over time`;
  yield '<!doctype html>\n<html lang="en">\n<head>\n';
  for (const part of [
    element('meta', { charset: 'utf-8' }),
    element('meta', { 'http-equiv': 'Content-Security-Policy', content: POLICY }),
    element('meta', { name: 'viewport', content: 'width=device-width, initial-scale=1' }),
    element('meta', { name: 'referrer', content: 'no-referrer' }),
    element('title', {}, title),
  ]) {
    yield `${markupText(part)}\n`;
  }
  yield `<style>${REPORT_STYLE}</style>\n</head>\n<body>\n`;
  for (const part of body(recording)) yield `${markupText(part)}\n`;
  yield '<script type="application/json" id="recording">';
  yield* jsonPieces(packRecording(recording));
  yield `</script>\n<script>${REPORT_SCRIPT}</script>\n</body>\n</html>\n`;
}

function body(recording: ReplayRecording): Markup[] {
  const { log, profile, skipped, skippedDivergences } = recording;
  return [
    element(
      'header',
      {},
      element('h1', {}, printable(log)),
      element('p', { class: 'quiet' }, `Replayed on io-pagetable, profile ${printable(profile)}.`),
      figures(recording),
    ),
    element('noscript', {}, element('p', {}, 'The pictures of this report are drawn by its own script.')),
    controls(),
    element(
      'main',
      {},
      element(
        'section',
        { 'aria-label': 'The space after the operation' },
        element('div', { id: 'operation', 'aria-live': 'polite' }),
        element(
          'output',
          { id: 'details', class: 'quiet' },
          'Point at an area, or walk the rows with the arrow keys.',
        ),
        element('div', { id: 'picture' }),
      ),
      list(),
    ),
    ...(skipped === 0 ? [] : [leftOut(skipped, skippedDivergences)]),
  ];
}

function figures({ figures }: ReplayRecording): Markup {
  const { operations, divergences, translations, malformed, notReplayed } = figures;
  const rows: readonly (readonly [string, string, string?])[] = [
    ['operations', String(operations)],
    ['divergences', String(divergences), divergences > 0 ? 'diverges' : ''],
    ...(translations > 0 ? [['translations', String(translations)] as const] : []),
    ...(malformed > 0 ? [['malformed lines', String(malformed)] as const] : []),
    ...(notReplayed > 0 ? [['left out', String(notReplayed)] as const] : []),
    ['peak areas', String(figures.peakAreas)],
    ['peak pinned', formatBytes(BigInt(figures.peakPinnedBytes))],
    ['largest hole', formatBytes(BigInt(figures.largestHole))],
    ['fragmentation', `${(figures.fragmentation * 100).toFixed(1)} %`],
  ];
  return element(
    'dl',
    {},
    rows.map(([name, value, mark]) =>
      element('div', {}, element('dt', {}, name), element('dd', { class: mark }, value)),
    ),
  );
}

function controls(): Markup {
  const button = (id: string, text: string) => element('button', { id, type: 'button' }, text);
  return element(
    'section',
    { 'aria-label': 'Time' },
    element(
      'div',
      { class: 'time' },
      element('canvas', { id: 'timeline', role: 'img', 'aria-label': 'The IOVA space over time' }),
      element('div', { id: 'cursor' }),
    ),
    element('input', { id: 'time', type: 'range', min: 0, max: 0, value: 0, 'aria-label': 'Operation' }),
    element(
      'p',
      { class: 'quiet legend' },
      'Steps go right, IOVA goes down; empty space is shortened, and what shares pages has one colour. Below: ',
      element('span', { class: 'refused' }, '■'),
      ' fails, ',
      element('span', { class: 'diverges' }, '■'),
      ' diverges.',
    ),
    element(
      'div',
      { class: 'controls' },
      button('previous-failing', '⇤ failing'),
      button('previous', '← previous'),
      element('output', { id: 'where' }),
      button('next', 'next →'),
      button('next-failing', 'failing ⇥'),
      element('label', { for: 'space' }, 'Space'),
      element('select', { id: 'space' }),
    ),
  );
}

function list(): Markup {
  const option = (value: string) => element('option', { value }, value);
  return element(
    'section',
    { class: 'list', 'aria-label': 'Operations' },
    element(
      'header',
      {},
      element('h2', {}, 'Operations'),
      element(
        'select',
        { id: 'filter', 'aria-label': 'Which operations' },
        ['all', 'failing', 'diverging'].map(option),
      ),
    ),
    element(
      'div',
      { id: 'operations', role: 'listbox', tabindex: 0, 'aria-label': 'Operations' },
      element('div', { id: 'rows', role: 'presentation' }),
    ),
  );
}

function leftOut(skipped: number, divergences: ReplayRecording['skippedDivergences']): Markup {
  const kept = `The ${skipped} operations before these are not in this report`;
  return element(
    'section',
    { 'aria-label': 'Earlier operations' },
    element(
      'p',
      { class: 'quiet' },
      divergences.length === 0 ? `${kept}.` : `${kept}; of them, these diverge:`,
    ),
    element(
      'ul',
      {},
      divergences.map(({ line, call, logged, answered }) =>
        element('li', {}, printable(`line ${line}: ${call}: log ${logged}, model ${answered}`)),
      ),
    ),
  );
}
