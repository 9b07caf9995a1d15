/**
 * The results of `iopt replay` as text and as JSON.
 */
import { count } from '../render/format.js';
import { formatBytes, printable } from '../render/index.js';
import type { MalformedLine } from '../replay/index.js';
import { hex } from '../u64.js';
import type { ExplainedDivergence, ReplayResult } from './replay-run.js';

/** What is told of a log as figures. */
type Figures = Omit<ReplayResult, 'recording'>;

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
export function briefText(name: string, result: Figures): string {
  const { profile, operations, divergences, figures } = result;
  const parts = [
    `${operations} operations`,
    `${divergences} divergences (${profile})`,
    `peak ${count(figures.peakAreas, 'area')} and ${formatBytes(figures.peakPinnedBytes)} pinned`,
    `fragmentation ${formatShare(figures.fragmentation)}`,
    `largest hole ${formatBytes(figures.largestHole)}`,
  ];
  return `${printable(name)}: ${parts.join(', ')}\n`;
}

/** The figures of several logs together. */
export function totalText(results: readonly Figures[]): string {
  const sum = (of: (result: Figures) => number) => results.reduce((total, each) => total + of(each), 0);
  const operations = sum((each) => each.operations);
  const divergences = sum((each) => each.divergences);
  return `${results.length} logs, ${operations} operations, ${divergences} divergences\n`;
}

function formatShare(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

/** The figures at the end of a log. */
export function summaryText({ profile, operations, divergences, figures }: Figures): string {
  const { translations, misses, malformed, notReplayed } = figures;
  const rows = [
    ['profile', profile],
    ['operations', String(operations)],
    ['divergences', String(divergences)],
    ...(translations + misses > 0 ? [['translations', `${translations}, and ${misses} misses`]] : []),
    ['malformed lines', String(malformed)],
    ['left out', String(notReplayed)],
    ['peak areas', String(figures.peakAreas)],
    ['peak pinned', formatBytes(figures.peakPinnedBytes)],
    ['fragmentation', formatShare(figures.fragmentation)],
    ['largest hole', formatBytes(figures.largestHole)],
  ];
  const width = Math.max(...rows.map(([name]) => name!.length));
  return rows.map(([name, value]) => `${name!.padEnd(width)}  ${value}\n`).join('');
}

/** What JSON holds of one log. Bytes are hex strings, as 64-bit values are everywhere. */
export interface JsonReport extends Figures {
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
