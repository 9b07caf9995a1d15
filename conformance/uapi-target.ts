/** A trace performed through `uapi`: as encoded structs in the memory of its process. */
import type { ProcessMemory } from '../src/memory/process-memory.js';
import { IommufdTrace } from '../src/replay/formats/trace/iommufd-trace.js';
import type { TraceHeader } from '../src/replay/formats/trace/trace-header.js';
import type { TraceTarget } from '../src/replay/formats/trace/trace-target.js';
import { rulesOf } from '../src/rules.js';
import { TableUapiTrace } from './table-uapi-trace.js';
import { uapiKernel } from './uapi-kernel.js';

/** What the operations of a trace with that header are performed on. */
export function uapiTarget(header: TraceHeader, memory: ProcessMemory): TraceTarget {
  const kernel = uapiKernel(header, memory);
  if (rulesOf(header.profile).reachedBy === 'function-calls') return new TableUapiTrace(kernel, memory);
  return new IommufdTrace({ iommufd: kernel, driver: kernel, inspector: kernel }, memory);
}
