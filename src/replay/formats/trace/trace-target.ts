/** What the operations of a trace are performed on. */
import { IommuError } from '../../../errors.js';
import type { IoPagetable } from '../../../io-pagetable.js';
import type { ProcessMemory } from '../../../memory/process-memory.js';
import { checkRefs, type PinRun, pagePins } from '../../../testing/checks.js';
import { hex } from '../../../u64.js';
import type { TraceArguments } from './trace-arguments.js';

/** What an operation answered: its outputs as the trace has them. */
export type Answer = Readonly<Record<string, unknown>>;

/** An operation that failed and has outputs all the same. */
export class FailedOperation extends Error {
  override readonly name = 'FailedOperation';
  override readonly cause: IommuError;
  readonly outputs: Answer;

  constructor(cause: IommuError, outputs: Answer) {
    super(cause.message);
    this.cause = cause;
    this.outputs = outputs;
  }
}

/** @throws FailedOperation where the work fails with an error of the library */
export async function failing(
  work: () => Promise<Answer>,
  outputs: (error: IommuError) => Answer,
): Promise<Answer> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof IommuError) throw new FailedOperation(error, outputs(error));
    throw error;
  }
}

/** Performs one operation. Errors of the library are answers; it reads its arguments before it does anything. */
export type TraceOperation = (fields: TraceArguments) => Promise<Answer>;

/** Something that a trace can be replayed on. */
export interface TraceTarget {
  /** All operations that it knows, by name. */
  readonly operations: ReadonlyMap<string, TraceOperation>;
  /** The table of an address space, by the name that the trace gives it. */
  table(ioas: string): IoPagetable | undefined;
  /** Checks the invariants of everything there is. */
  check(): void;
  /** Releases everything; nothing may be pinned afterwards. */
  close(): Promise<void>;
}

/** The answer of an operation that gives nothing. */
export const DONE: Answer = {};

/** What can be learnt about the pins of pages. */
export interface PinInspector {
  /** @throws as `TestDriver.checkRefs` */
  checkRefs(request: PageRange & { readonly refs: number }): Promise<void>;
  /** @throws as `pagePins` of the test kit */
  pagePins(request: PageRange): Promise<readonly PinRun[]>;
}

/** A range of user memory. */
export interface PageRange {
  readonly uptr: bigint;
  readonly length: bigint;
}

/** Looks at the memory itself. */
export function memoryInspector(memory: ProcessMemory): PinInspector {
  return {
    checkRefs: async (request) => checkRefs(memory, request),
    pagePins: async (request) => pagePins(memory, request),
  };
}

/** The operations on the memory of the process alone. */
export function memoryOperations(memory: ProcessMemory, inspector: PinInspector): [string, TraceOperation][] {
  return [
    [
      'page_pins',
      async (fields) => {
        const request = { uptr: fields.hex('uptr'), length: fields.hex('length') };
        const runs = await inspector.pagePins(request);
        return { runs: runs.map(({ pages, pins }) => [pages, pins]) };
      },
    ],
    [
      'check_refs',
      async (fields) => {
        const request = {
          uptr: fields.hex('uptr'),
          length: fields.hex('length'),
          refs: fields.number('refs'),
        };
        await inspector.checkRefs(request);
        return DONE;
      },
    ],
    [
      'mem_hash',
      async (fields) => {
        const [uptr, length] = [fields.hex('uptr'), fields.hex('length')];
        return { hash: fnvHash(memory.read(uptr, length)) };
      },
    ],
  ];
}

/** FNV-1a, 32 bits, as the trace has it. */
export function fnvHash(bytes: Uint8Array): string {
  let hash = 0x811c_9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x0100_0193);
  return `0x${(hash >>> 0).toString(16).padStart(8, '0')}`;
}

/** Ranges as the trace has them. */
export function rangesOf(ranges: readonly { readonly start: bigint; readonly last: bigint }[]): string[][] {
  return ranges.map(({ start, last }) => [hex(start), hex(last)]);
}
