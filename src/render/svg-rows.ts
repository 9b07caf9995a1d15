/**
 * The rows of a drawn space: one a span, and where there are too many, one for a whole neighbourhood.
 */
import type { Span } from './drawn-spans.js';
import { sizeOf } from './drawn-spans.js';

/** Neighbouring spans that are drawn in one row; of all spans in their order, none is left out. */
export interface Row {
  readonly first: bigint;
  /** Inclusive. */
  readonly last: bigint;
  /** At least one. */
  readonly spans: readonly Span[];
}

/** A row, and where it is drawn. */
export interface PlacedRow extends Row {
  readonly top: number;
  readonly height: number;
}

const LEAST_HEIGHT = 26;
const HEIGHT_A_BIT = 0.55;
const NEIGHBOURHOOD_HEIGHT = 40;
const SMALLEST_BITS = 12;

/**
 * Groups spans into at most `most` rows. The largest holes stay between rows, so that what lies close together is
 * what shares one.
 */
export function rowsOf(spans: readonly Span[], most: number): Row[] {
  if (spans.length <= most) return spans.map((span) => rowFrom([span]));
  // Holes of one magnitude are treated alike: all of them are between rows, or none.
  const magnitudes = new Set(spans.filter(isHole).map((span) => bitsOf(sizeOf(span))));
  let runs = [[...spans]];
  for (const least of [...magnitudes].sort((a, b) => b - a)) {
    const finer = apartAt(spans, least);
    if (finer.length > most) break;
    runs = finer;
  }
  return split(runs, most).map(rowFrom);
}

/** Takes spans apart at the holes of at least so many bits. */
function apartAt(spans: readonly Span[], least: number): Span[][] {
  const runs: Span[][] = [];
  let run: Span[] | undefined;
  for (const span of spans) {
    if (isHole(span) && bitsOf(sizeOf(span)) >= least) {
      runs.push([span]);
      run = undefined;
    } else if (run === undefined) runs.push((run = [span]));
    else run.push(span);
  }
  return runs;
}

/** Cuts runs evenly, the longer the more often, into as many rows as there is room for. */
function split(runs: readonly Span[][], most: number): Span[][] {
  const room = most - runs.length;
  const spans = runs.reduce((sum, run) => sum + run.length, 0);
  const extra = spans - runs.length;
  return runs.flatMap((run) => {
    const parts = 1 + Math.floor((room * (run.length - 1)) / Math.max(1, extra));
    return Array.from({ length: parts }, (_, part) =>
      run.slice(Math.floor((part * run.length) / parts), Math.floor(((part + 1) * run.length) / parts)),
    );
  });
}

function rowFrom(spans: readonly Span[]): Row {
  return { first: spans[0]!.first, last: spans.at(-1)!.last, spans };
}

/** Whether nothing is mapped or reserved in a span. */
export function isHole({ area, owners }: Span): boolean {
  return area === undefined && owners.length === 0;
}

/** Puts rows below each other. A row's height grows with the logarithm of its size. */
export function placeRows(rows: readonly Row[], top: number): PlacedRow[] {
  let next = top;
  return rows.map((row) => {
    const height =
      row.spans.length > 1
        ? NEIGHBOURHOOD_HEIGHT
        : LEAST_HEIGHT + HEIGHT_A_BIT * Math.max(0, bitsOf(sizeOf(row)) - SMALLEST_BITS);
    const placed = { ...row, top: next, height: Math.round(height) };
    next += placed.height;
    return placed;
  });
}

/** How many bits a number of bytes has. */
export function bitsOf(bytes: bigint): number {
  return bytes.toString(2).length;
}

/** Where the spans of a row begin and end in a strip of a width: wider with the logarithm of their size. */
export function placeSpans(
  spans: readonly Span[],
  width: number,
): { readonly span: Span; readonly from: number; readonly to: number }[] {
  const weights = spans.map((span) => bitsOf(sizeOf(span)) * (isHole(span) ? 0.5 : 1));
  const scale = width / weights.reduce((sum, weight) => sum + weight, 0);
  let from = 0;
  return spans.map((span, at) => {
    const to = from + weights[at]! * scale;
    const placed = { span, from, to };
    from = to;
    return placed;
  });
}
