/** A trace performed through the binary door: as encoded structs in the memory of its process. */
import type { ProcessMemory } from '../src/memory/process-memory.js';
import { IommufdTrace } from '../src/replay/formats/trace/iommufd-trace.js';
import type { TraceHeader } from '../src/replay/formats/trace/trace-header.js';
import type { TraceTarget } from '../src/replay/formats/trace/trace-target.js';
import { type Profile, rulesOf } from '../src/rules.js';
import { doorKernel } from './door-kernel.js';
import { TableDoorTrace } from './table-door-trace.js';

/** What the operations of a trace with that header are performed on. */
export function doorTarget(header: TraceHeader, memory: ProcessMemory, profile: Profile): TraceTarget {
  const kernel = doorKernel(header, memory, profile);
  if (rulesOf(header.profile).reachedBy === 'function-calls') return new TableDoorTrace(kernel, memory);
  return new IommufdTrace({ iommufd: kernel, driver: kernel, inspector: kernel }, memory);
}
