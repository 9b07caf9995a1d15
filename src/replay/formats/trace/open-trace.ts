/** From the first line of a trace to what the others are performed on. */
import type { ProcessMemory } from '../../../memory/process-memory.js';
import { type Profile, rulesOf } from '../../../rules.js';
import { createMemory } from '../../../testing/index.js';
import { IommufdTrace } from './iommufd-trace.js';
import { TableTrace } from './table-trace.js';
import { readHeader, type TraceHeader } from './trace-header.js';
import { typedKernel } from './trace-kernel.js';
import type { TraceTarget } from './trace-target.js';

/** A trace whose first line has been read. */
export interface OpenTrace {
  readonly header: TraceHeader;
  /** Whose behaviour the model has. */
  readonly profile: Profile;
  /** The memory of the process. */
  readonly memory: ProcessMemory;
  readonly target: TraceTarget;
}

/** How a trace is opened. */
export interface OpenTraceOptions {
  /** Whose behaviour the model has. Default: that of the kernel that the trace was recorded on. */
  readonly profile?: Profile | undefined;
  /** Makes what the operations are performed on. Default: what the typed calls reach. */
  readonly makeTarget?: MakeTarget | undefined;
}

/** Makes what the operations of a trace are performed on, on the model of a kernel. */
export type MakeTarget = (header: TraceHeader, memory: ProcessMemory, profile: Profile) => TraceTarget;

/**
 * Makes the process that a trace was recorded in.
 *
 * @throws SyntaxError or TraceError if the line is no header, or of something that is not known
 */
export function openTrace(line: string, options: OpenTraceOptions = {}): OpenTrace {
  const header = readHeader(JSON.parse(line));
  const { profile = header.profile, makeTarget = typedTarget } = options;
  const memory = createMemory(header.memory, { lockedPages: header.lockedPages });
  return { header, profile, memory, target: makeTarget(header, memory, profile) };
}

function typedTarget(header: TraceHeader, memory: ProcessMemory, profile: Profile): TraceTarget {
  if (rulesOf(header.profile).reachedBy === 'function-calls') return new TableTrace(memory, profile);
  return new IommufdTrace(typedKernel(header, memory, profile), memory);
}
