/**
 * The results of `iopt replay` as text and as JSON.
 */
import { formatBytes, printable } from '../render/index.js';
import type { MalformedLine } from '../replay/index.js';
import { hex } from '../u64.js';
import type { ExplainedDivergence, ReplayResult } from './replay-run.js';

/** A divergence in lines: `line 241: …`, and what could have been done instead. */
export function divergenceText(divergence: ExplainedDivergence, profile: string): string {
  const { line, operation, logged, answered, reason, instead } = divergence;
  const because = reason === undefined ? '' : ` because ${reason}`;
  const says = `line ${line}: ${operation}: the log says ${logged}, ${profile} says ${answered}${because}`;
  return [says, ...instead.map((text) => `    instead: ${text}`)]
    .map((text) => `${printable(text)}\n`)
    .join('');
}

/** A line that could not be read, as a line. */
export function malformedText({ line, problem, text }: MalformedLine): string {
  return `${printable(`line ${line} cannot be read: ${problem}: ${text}`)}\n`;
}

/** The figures of one log of several, in one line. */
export function briefText(name: string, { profile, operations, divergences }: ReplayResult): string {
  return `${printable(name)}: ${operations} operations, ${divergences} divergences (${profile})\n`;
}

/** The figures of several logs together. */
export function totalText(results: readonly ReplayResult[]): string {
  const sum = (of: (result: ReplayResult) => number) => results.reduce((total, each) => total + of(each), 0);
  const operations = sum((each) => each.operations);
  const divergences = sum((each) => each.divergences);
  return `${results.length} logs, ${operations} operations, ${divergences} divergences\n`;
}

/** The figures at the end of a log. */
export function summaryText({ profile, operations, divergences, figures }: ReplayResult): string {
  const rows = [
    ['profile', profile],
    ['operations', String(operations)],
    ['divergences', String(divergences)],
  ];
  if (figures !== undefined) {
    const { translations, misses, malformed, notReplayed } = figures;
    if (translations + misses > 0) rows.push(['translations', `${translations}, and ${misses} misses`]);
    rows.push(
      ['malformed lines', String(malformed)],
      ['left out', String(notReplayed)],
      ['peak areas', String(figures.peakAreas)],
      ['peak pinned', formatBytes(figures.peakPinnedBytes)],
      ['fragmentation', `${(figures.fragmentation * 100).toFixed(1)} %`],
      ['largest hole', formatBytes(figures.largestHole)],
    );
  }
  const width = Math.max(...rows.map(([name]) => name!.length));
  return rows.map(([name, value]) => `${name!.padEnd(width)}  ${value}\n`).join('');
}

/** What JSON holds of one log. Bytes are hex strings, as 64-bit values are everywhere. */
export interface JsonReport extends ReplayResult {
  /** What the log is called. */
  readonly log: string;
  /** The first divergences. */
  readonly first: readonly ExplainedDivergence[];
  /** The first lines that could not be read. */
  readonly unreadable: readonly MalformedLine[];
}

/** JSON text; bigints become hex strings. */
export function jsonText(value: unknown): string {
  const text = JSON.stringify(value, (_, inner) => (typeof inner === 'bigint' ? hex(inner) : inner), 2);
  return `${text}\n`;
}
