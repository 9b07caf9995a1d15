/** Recorded traces, and lines to make others of. */
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findTraces } from '../../conformance/trace-files.js';

/** The folder of the recorded traces. */
export const TRACES = fileURLToPath(new URL('../traces', import.meta.url));

/** The folder of those that Linux 7.3 answered. */
export const TRACES_7_3 = fileURLToPath(new URL('../traces-7.3', import.meta.url));

const files = await findTraces([TRACES, TRACES_7_3]);

/** Name and path of each recorded trace. */
export const traceFiles = files.map((file) => [file.slice(dirname(TRACES).length + 1), file] as const);

/** The header of a trace whose process has 16 pages at 0x100000. */
export const HEADER =
  '{"format":1,"kernel":"6.12.117","page_size":4096,"io_page_size":2048,"category":"basic","seed":1,' +
  '"memory":[{"uptr":"0x100000","length":"0x10000","writable":true}]}';

/** A line of a trace: the operation, its arguments, and its outputs, with `errno` where that is not `OK`. */
export function traceLine(operation: string, fields: object, answer: object = {}): string {
  return JSON.stringify({ op: operation, ...fields, expect: { errno: 'OK', ...answer } });
}

/** Makes the space `ioas0`. */
export const ALLOC = traceLine('ioas_alloc', { ioas: 'ioas0' });
