/** From the first line of a trace to what the others are performed on. */
import type { ProcessMemory } from '../../memory/process-memory.js';
import { createMemory } from '../../testing/index.js';
import { doorKernel } from './door-kernel.js';
import { LinuxTrace } from './linux-trace.js';
import { RfcDoorTrace } from './rfc-door-trace.js';
import { RfcTrace } from './rfc-trace.js';
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
 * @param options - `uapi`: perform every operation through the binary door
 * @throws SyntaxError or TraceError if the line is no header, or of something that is not known
 */
export function openTrace(line: string, { uapi = false }: { readonly uapi?: boolean } = {}): OpenTrace {
  const header = readHeader(JSON.parse(line));
  const memory = createMemory(header.memory, { lockedPages: header.lockedPages });
  const target = uapi ? doorTarget(header, memory) : typedTarget(header, memory);
  return { header, memory, target };
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
