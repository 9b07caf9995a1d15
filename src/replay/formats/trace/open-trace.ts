/** From the first line of a trace to what the others are performed on. */
import type { ProcessMemory } from '../../../memory/process-memory.js';
import { rulesOf } from '../../../rules.js';
import { createMemory } from '../../../testing/index.js';
import { IommufdTrace } from './iommufd-trace.js';
import { TableTrace } from './table-trace.js';
import { readHeader, type TraceHeader } from './trace-header.js';
import { typedKernel } from './trace-kernel.js';
import type { TraceTarget } from './trace-target.js';

/** A trace whose first line has been read. */
export interface OpenTrace {
  readonly header: TraceHeader;
  /** The memory of the process. */
  readonly memory: ProcessMemory;
  readonly target: TraceTarget;
}

/**
 * Makes the process that a trace was recorded in.
 *
 * @param makeTarget - makes what the operations are performed on; default: what the typed calls reach
 * @throws SyntaxError or TraceError if the line is no header, or of something that is not known
 */
export function openTrace(line: string, makeTarget = typedTarget): OpenTrace {
  const header = readHeader(JSON.parse(line));
  const memory = createMemory(header.memory, { lockedPages: header.lockedPages });
  return { header, memory, target: makeTarget(header, memory) };
}

function typedTarget(header: TraceHeader, memory: ProcessMemory): TraceTarget {
  const { profile } = header;
  if (rulesOf(profile).reachedBy === 'function-calls') return new TableTrace(memory, profile);
  return new IommufdTrace(typedKernel(header, memory), memory);
}
