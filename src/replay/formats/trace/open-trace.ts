/** From the first line of a trace to what the others are performed on. */
import { type Profile, rulesOf } from '../../../rules.js';
import { IommufdTrace } from './iommufd-trace.js';
import { TableTrace } from './table-trace.js';
import { readHeader, type TraceHeader } from './trace-header.js';
import { typedKernel } from './trace-kernel.js';
import { makeProcess, type TraceProcess } from './trace-process.js';
import type { TraceTarget } from './trace-target.js';

/** A trace whose first line has been read. */
export interface OpenTrace {
  readonly header: TraceHeader;
  /** Whose behaviour the model has. */
  readonly profile: Profile;
  /** The process that it was recorded in. */
  readonly process: TraceProcess;
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
export type MakeTarget = (header: TraceHeader, process: TraceProcess, profile: Profile) => TraceTarget;

/**
 * Makes the process that a trace was recorded in.
 *
 * @throws SyntaxError or TraceError if the line is no header, or of something that is not known
 */
export function openTrace(line: string, options: OpenTraceOptions = {}): OpenTrace {
  const header = readHeader(JSON.parse(line));
  const { profile = header.profile, makeTarget = typedTarget } = options;
  const process = makeProcess(header);
  return { header, profile, process, target: makeTarget(header, process, profile) };
}

function typedTarget(header: TraceHeader, process: TraceProcess, profile: Profile): TraceTarget {
  if (rulesOf(header.profile).reachedBy === 'function-calls') return new TableTrace(process.memory, profile);
  return new IommufdTrace(typedKernel(header, process, profile), process, rulesOf(profile));
}
