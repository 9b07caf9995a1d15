/** The first line of a conformance trace. */
import { type Profile, profileOfTrace } from '../../../rules.js';
import type { TestRegion } from '../../../testing/create-memory.js';
import { PAGE_SIZE } from '../../../u64.js';
import { readObject, TraceArguments, TraceError } from './trace-arguments.js';

/** What a trace says about its process. */
export interface TraceHeader {
  readonly profile: Profile;
  /** The memory of the process. */
  readonly memory: readonly TestRegion[];
  /** How many pages may be locked; absent for a privileged process. */
  readonly lockedPages: number | undefined;
  /** Whom locked pages are charged to. */
  readonly accounting: 'user' | 'mm';
  /** The files that the process has open at first. */
  readonly files: readonly HeaderFile[];
  /** Other processes, which only ever take over. */
  readonly helpers: readonly HeaderProcess[];
  /** How many devices there are that have no IOMMU; absent where the kernel was built without them. */
  readonly noIommu: number | undefined;
}

const FILE_KINDS = [
  'memfd',
  'tmpfs',
  'memfd-rdonly',
  'memfd-sealed',
  'memfd-huge',
  'null',
  'dir',
  'closed',
  'path',
] as const;

/** What a descriptor is of: `closed` is none, `path` one that can only be closed. */
export type HeaderFileKind = (typeof FILE_KINDS)[number];

/** An open file. */
export interface HeaderFile {
  readonly file: string;
  readonly kind: HeaderFileKind;
  /** Where all of it is mapped, and how large it is; absent for one that has no pages. */
  readonly mapped: { readonly uptr: bigint; readonly size: bigint } | undefined;
}

/** A process beside the one of the trace. */
export interface HeaderProcess {
  readonly lockedPages: number;
  /** Whether it is one of the same user. */
  readonly sameUser: boolean;
}

const FORMAT = 1;
const IO_PAGE_SIZE = 2048;

/** @throws TraceError if the line is not a header of the format, or asks for something that is not known. */
export function readHeader(line: unknown): TraceHeader {
  const fields = new TraceArguments(readObject(line, 'the header'));
  require(fields.number('format') === FORMAT, `the format is not ${FORMAT}`);
  const profile = readProfile(fields);
  require(fields.number('page_size') === PAGE_SIZE, `the page size is not ${PAGE_SIZE}`);
  require(fields.number('io_page_size') === IO_PAGE_SIZE, `the io page size is not ${IO_PAGE_SIZE}`);
  // Where the trace comes from: nothing depends on it.
  fields.text('category');
  fields.number('seed');
  if (fields.has('name')) fields.text('name');
  const memory = fields.list('memory').map(readRegion);
  const limited = fields.has('memlock_pages');
  const lockedPages = limited ? fields.number('memlock_pages') : undefined;
  const mode = limited && fields.has('rlimit_mode') ? fields.number('rlimit_mode') : 0;
  require(mode <= 1, 'rlimit_mode is neither 0 nor 1');
  const files = fields.has('files') ? fields.list('files').map(readFile) : [];
  const helpers = limited && fields.has('processes') ? fields.list('processes').map(readProcess) : [];
  const noIommu = fields.has('noiommu') ? fields.number('noiommu') : undefined;
  requireAllRead(fields);
  return { profile, memory, lockedPages, accounting: mode === 1 ? 'mm' : 'user', files, helpers, noIommu };
}

function readFile(value: unknown): HeaderFile {
  const fields = new TraceArguments(readObject(value, 'a file'));
  const [file, name] = [fields.text('file'), fields.text('kind')];
  const kind = FILE_KINDS.find((known) => known === name);
  require(kind !== undefined, `files of kind ${name} are not known`);
  const mapped = fields.has('uptr') ? { uptr: fields.hex('uptr'), size: fields.hex('size') } : undefined;
  requireAllRead(fields);
  return { file, kind, mapped };
}

function readProcess(value: unknown): HeaderProcess {
  const fields = new TraceArguments(readObject(value, 'a process'));
  const process = { lockedPages: fields.number('memlock_pages'), sameUser: fields.flag('same_user') };
  requireAllRead(fields);
  return process;
}

/** Whose answers the trace has. @throws TraceError if it is a kernel that is not known */
function readProfile(fields: TraceArguments): Profile {
  const profile = fields.has('profile') ? fields.text('profile') : undefined;
  const kernel = fields.has('kernel') ? fields.text('kernel') : undefined;
  const known = profileOfTrace(profile, kernel);
  const named = profile === undefined ? `kernel ${kernel}` : `profile ${profile}`;
  require(known !== undefined, `${named} is not known`);
  return known;
}

/** @throws TraceError if there are fields that the format doesn't have. */
export function requireAllRead(fields: TraceArguments): void {
  const [name] = fields.unread;
  if (name !== undefined) throw new TraceError(`field ${name} is not known`);
}

function readRegion(value: unknown): TestRegion {
  const fields = new TraceArguments(readObject(value, 'a memory region'));
  const region = {
    uptr: fields.hex('uptr'),
    length: fields.hex('length'),
    writable: fields.flag('writable'),
  };
  requireAllRead(fields);
  return region;
}

function require(condition: boolean, otherwise: string): asserts condition {
  if (!condition) throw new TraceError(otherwise);
}
