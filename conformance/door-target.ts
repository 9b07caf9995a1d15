/** A trace performed through the binary door: as encoded structs in the memory of its process. */
import { IommufdTrace } from '../src/replay/formats/trace/iommufd-trace.js';
import type { TraceHeader } from '../src/replay/formats/trace/trace-header.js';
import type { TraceProcess } from '../src/replay/formats/trace/trace-process.js';
import type { TraceTarget } from '../src/replay/formats/trace/trace-target.js';
import { type Profile, rulesOf } from '../src/rules.js';
import { doorKernel } from './door-kernel.js';
import { TableDoorTrace } from './table-door-trace.js';

/** What the operations of a trace with that header are performed on. */
export function doorTarget(header: TraceHeader, process: TraceProcess, profile: Profile): TraceTarget {
  const kernel = doorKernel(header, process, profile);
  if (rulesOf(header.profile).reachedBy === 'function-calls')
    return new TableDoorTrace(kernel, process.memory);
  const ways = { iommufd: kernel, driver: kernel, host: kernel, inspector: kernel };
  return new IommufdTrace(ways, process, rulesOf(profile));
}
