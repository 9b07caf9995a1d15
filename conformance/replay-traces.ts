/** Replaying recorded traces and comparing every answer. There is no rule of the page table in here. */

import { type OpenTrace, openTrace } from '../src/replay/formats/trace/open-trace.js';
import {
  canonical,
  describeThrown,
  performTraceLine,
  readTraceLine,
} from '../src/replay/formats/trace/trace-line.js';
import type { TraceTarget } from '../src/replay/formats/trace/trace-target.js';
import { linesOfFile } from '../src/replay/log-file.js';
import type { LogLines } from '../src/replay/log-line.js';
import { doorTarget } from './door-target.js';

/** An answer that is not the recorded one, or a line that cannot be replayed. */
export interface Mismatch {
  /** The trace file. */
  readonly file: string;
  /** Its line, from 1 on. */
  readonly line: number;
  /** The operation; `header`, `line`, `file`, `check` and `close` for what is not one. */
  readonly operation: string;
  /** The recorded answer. */
  readonly expected: string;
  /** The answer given. */
  readonly got: string;
}

/** How to replay. */
export interface ConformanceOptions {
  /** Check the invariants of every table after every operation, and at the end that nothing stays pinned. */
  readonly check?: boolean | undefined;
  /** Perform every operation through the binary door: as encoded structs in the memory of the process. */
  readonly uapi?: boolean | undefined;
  /** Called for each mismatch. */
  readonly report: (mismatch: Mismatch) => void;
}

/** The figures of a replay. */
export interface ConformanceTotals {
  readonly files: number;
  readonly ops: number;
  readonly mismatches: number;
}

/** A mismatch in one line of text. */
export function describeMismatch({ file, line, operation, expected, got }: Mismatch): string {
  return `${file}:${line}: ${operation}: expected ${expected}, got ${got}`;
}

/** Replays trace files one after the other. A file that cannot be read is a mismatch. */
export async function replayFiles(
  files: readonly string[],
  options: ConformanceOptions,
): Promise<ConformanceTotals> {
  let ops = 0;
  let mismatches = 0;
  const report = (mismatch: Mismatch) => {
    mismatches += 1;
    options.report(mismatch);
  };
  for (const file of files) {
    try {
      ops += await replayTrace(file, linesOfFile(file), { ...options, report });
    } catch (error) {
      report({ file, line: 0, operation: 'file', expected: 'a trace', got: describeThrown(error) });
    }
  }
  return { files: files.length, ops, mismatches };
}

/**
 * Replays the lines of one trace and gives the number of its operations.
 *
 * @throws what reading the lines throws
 */
export async function replayTrace(
  file: string,
  lines: LogLines,
  options: ConformanceOptions,
): Promise<number> {
  const { check = false, uapi = false } = options;
  const report = (line: number, operation: string, expected: string, got: string) =>
    options.report({ file, line, operation, expected, got });
  let trace: OpenTrace | undefined;
  let line = 0;
  for await (const text of lines) {
    line += 1;
    if (line === 1) {
      try {
        trace = openTrace(text, { makeTarget: uapi ? doorTarget : undefined });
      } catch (error) {
        report(1, 'header', 'a header that is known', describeThrown(error));
      }
      continue;
    }
    if (trace === undefined) continue;
    const { operation, expected, got } = await replayLine(trace.target, text);
    if (expected !== got) report(line, operation, expected, got);
    if (!check) continue;
    try {
      trace.target.check();
    } catch (error) {
      report(line, `check after ${operation}`, 'no broken invariant', describeThrown(error));
    }
  }
  if (line === 0) report(1, 'header', 'a header that is known', 'nothing');
  if (trace !== undefined) {
    try {
      await trace.target.close();
      const { pinned } = trace.process.memory.physical;
      if (check && pinned !== 0) report(line, 'close', 'nothing pinned', `${pinned} pins`);
    } catch (error) {
      report(line, 'close', 'no error', describeThrown(error));
    }
  }
  return Math.max(0, line - 1);
}

/** Performs one line; whatever goes wrong shows in what it got. */
async function replayLine(
  target: TraceTarget,
  text: string,
): Promise<Pick<Mismatch, 'operation' | 'expected' | 'got'>> {
  let operation = 'line';
  let expected = 'an operation';
  try {
    const line = readTraceLine(text);
    operation = line.operation;
    expected = canonical(line.expected);
    const { got, error } = await performTraceLine(target, line);
    return { operation, expected, got: got === undefined ? describeThrown(error) : canonical(got) };
  } catch (error) {
    return { operation, expected, got: describeThrown(error) };
  }
}
