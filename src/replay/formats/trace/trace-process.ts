/** The process that a trace was recorded in, with its files and the processes beside it. */

import { LockedMemory } from '../../../memory/locked-memory.js';
import { type FileKind, type FileSeal, MemoryFile } from '../../../memory/memory-file.js';
import type { PhysicalMemory } from '../../../memory/physical-memory.js';
import { ProcessMemory } from '../../../memory/process-memory.js';
import { createMemory, initialBytes } from '../../../testing/create-memory.js';
import { PAGE_SIZE } from '../../../u64.js';
import { TraceFiles } from './trace-files.js';
import type { HeaderFile, HeaderFileKind, HeaderProcess, TraceHeader } from './trace-header.js';

/** The process. */
export interface TraceProcess {
  readonly memory: ProcessMemory;
  /** What descriptors it has. */
  readonly files: TraceFiles;
  /** Its memory, and that of the processes beside it, by number. */
  readonly all: readonly ProcessMemory[];
}

/** What there is of a kind of file; of `closed` and `path` there is nothing. */
const KINDS: Readonly<Record<HeaderFileKind, FileKind | undefined>> = {
  memfd: 'memfd',
  'memfd-rdonly': 'memfd',
  'memfd-sealed': 'memfd',
  'memfd-huge': 'hugetlb',
  tmpfs: 'tmpfs',
  null: 'device',
  dir: 'directory',
  closed: undefined,
  path: undefined,
};
const SEALED: readonly FileSeal[] = ['shrink', 'grow', 'write'];
const PAGE = BigInt(PAGE_SIZE);

/** A process beside the one of the trace: it has counters of locked memory of its own. */
class HelperMemory extends ProcessMemory {
  readonly #counters: { readonly user: LockedMemory; readonly mm: LockedMemory };

  constructor(physical: PhysicalMemory, user: LockedMemory, mm: LockedMemory) {
    super({ physical });
    this.#counters = { user, mm };
  }

  override get locked(): { readonly user: LockedMemory; readonly mm: LockedMemory } {
    return this.#counters;
  }
}

/** Makes the process that a header describes. */
export function makeProcess({
  memory: regions,
  files: headers,
  helpers,
  lockedPages,
}: TraceHeader): TraceProcess {
  const mapped = new Set(headers.map((file) => file.mapped?.uptr));
  const own = regions.filter(({ uptr }) => !mapped.has(BigInt(uptr)));
  const memory = createMemory(own, { lockedPages });
  const files = new TraceFiles();
  for (const header of headers) {
    if (header.kind === 'closed') continue;
    const file = fileOf(header, memory.physical);
    // What is read-only is the descriptor; the process may have mapped another one.
    const opened = header.kind === 'memfd-rdonly' ? file?.reopen({ writable: false }) : file;
    files.name(header.file, files.open(opened && { kind: 'file', file: opened }));
    const region = regions.find(({ uptr }) => BigInt(uptr) === header.mapped?.uptr);
    if (file !== undefined && region !== undefined) {
      const { uptr, length, writable } = region;
      memory.mmap({ uptr, length, writable, file });
    }
  }
  return { memory, files, all: [memory, ...helpers.map((helper) => helperOf(helper, memory))] };
}

function fileOf({ kind, mapped }: HeaderFile, physical: PhysicalMemory): MemoryFile | undefined {
  const fileKind = KINDS[kind];
  if (fileKind === undefined) return undefined;
  if (mapped === undefined) return new MemoryFile({ physical, kind: fileKind });
  const { uptr, size } = mapped;
  const buffer = initialBytes(uptr, ((size + PAGE - 1n) / PAGE) * PAGE);
  const frames = 'scattered';
  const seals = kind === 'memfd-sealed' ? SEALED : [];
  return new MemoryFile({ physical, kind: fileKind, size, buffer, frames, seals });
}

function helperOf(
  { lockedPages, sameUser }: HeaderProcess,
  { physical, locked }: ProcessMemory,
): ProcessMemory {
  const user = sameUser ? locked?.user.withLimit(lockedPages) : undefined;
  const mm = new LockedMemory('process', lockedPages);
  return new HelperMemory(physical, user ?? new LockedMemory('user', lockedPages), mm);
}
