/** Replaying recorded traces and comparing every answer. There is no rule of the page table in here. */
import { readFile } from 'node:fs/promises';
import { IommuError } from '../../errors.js';
import type { ProcessMemory } from '../../memory/process-memory.js';
import { createMemory } from '../../testing/index.js';
import { doorKernel } from './door-kernel.js';
import { LinuxTrace } from './linux-trace.js';
import { RfcDoorTrace } from './rfc-door-trace.js';
import { RfcTrace } from './rfc-trace.js';
import { readObject, TraceArguments, TraceError } from './trace-arguments.js';
import { readHeader, requireAllRead, type TraceHeader } from './trace-header.js';
import { typedKernel } from './trace-kernel.js';
import type { TraceOperation, TraceTarget } from './trace-target.js';

/** An answer that is not the recorded one, or a line that cannot be replayed. */
export interface Mismatch {
  /** The trace file. */
  readonly file: string;
  /** Its line, from 1 on. */
  readonly line: number;
  /** The operation; `header`, `file`, `check` and `close` for what is not one. */
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
  for (const file of files) ops += await replayFile(file, { ...options, report });
  return { files: files.length, ops, mismatches };
}

async function replayFile(file: string, options: ConformanceOptions): Promise<number> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    options.report({ file, line: 0, operation: 'file', expected: 'a trace', got: describe(error) });
    return 0;
  }
  return await replayTrace(file, text, options);
}

/** Replays the text of one trace and gives the number of its operations. */
export async function replayTrace(file: string, text: string, options: ConformanceOptions): Promise<number> {
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  const report = (line: number, operation: string, expected: string, got: string) =>
    options.report({ file, line, operation, expected, got });
  let target: TraceTarget;
  let pinned: () => number;
  try {
    const header = readHeader(parse(lines[0] ?? ''));
    const memory = createMemory(header.memory, { lockedPages: header.lockedPages });
    target = options.uapi ? doorTarget(header, memory) : typedTarget(header, memory);
    pinned = () => memory.physical.pinned;
  } catch (error) {
    report(1, 'header', 'a header that is known', describe(error));
    return Math.max(0, lines.length - 1);
  }
  for (const [at, text] of lines.entries()) {
    if (at === 0) continue;
    const { operation, expected, got } = await replayLine(target, text);
    if (expected !== got) report(at + 1, operation, expected, got);
    if (options.check) {
      const broken = attempt(() => target.check());
      if (broken !== undefined) report(at + 1, `check after ${operation}`, 'no broken invariant', broken);
    }
  }
  try {
    await target.close();
    if (options.check && pinned() !== 0) {
      report(lines.length, 'close', 'nothing pinned', `${pinned()} pins`);
    }
  } catch (error) {
    report(lines.length, 'close', 'no error', describe(error));
  }
  return lines.length - 1;
}

function typedTarget(header: TraceHeader, memory: ProcessMemory): TraceTarget {
  if (header.profile === 'rfc-v1') return new RfcTrace(memory);
  return new LinuxTrace(typedKernel(header, memory), memory);
}

function doorTarget(header: TraceHeader, memory: ProcessMemory): TraceTarget {
  const kernel = doorKernel(header, memory);
  if (header.profile === 'rfc-v1') return new RfcDoorTrace(kernel, memory);
  return new LinuxTrace({ iommufd: kernel, driver: kernel, inspector: kernel }, memory);
}

interface Outcome {
  readonly operation: string;
  readonly expected: string;
  readonly got: string;
}

/** Performs one line; whatever goes wrong shows in what it got. */
async function replayLine(target: TraceTarget, text: string): Promise<Outcome> {
  let operation = 'line';
  let expected = 'an operation';
  try {
    const fields = new TraceArguments(readObject(parse(text), 'the line'));
    operation = fields.text('op');
    const expect = readObject(fields.value('expect'), 'expect');
    expected = canonical(expect);
    new TraceArguments(expect).text('errno');
    const perform = target.operations.get(operation);
    if (perform === undefined) throw new TraceError(`operation ${operation} is not known`);
    const answer = await answerOf(perform, fields);
    requireAllRead(fields);
    return { operation, expected, got: canonical(answer) };
  } catch (error) {
    return { operation, expected, got: describe(error) };
  }
}

async function answerOf(perform: TraceOperation, fields: TraceArguments): Promise<object> {
  try {
    return { errno: 'OK', ...(await perform(fields)) };
  } catch (error) {
    if (error instanceof IommuError) return { errno: error.code };
    throw error;
  }
}

function parse(text: string): unknown {
  return JSON.parse(text);
}

/** JSON with the keys in order, so that equal values have equal texts. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}

function attempt(work: () => void): string | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    return describe(error);
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}
