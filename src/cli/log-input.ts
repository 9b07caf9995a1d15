/**
 * Log files and standard input as lines: plain or compressed by gzip, streamed.
 */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { pipeline, Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { splitLines } from '../replay/index.js';
import { type Terminal, UsageError } from './terminal.js';

/** A log to be read. */
export interface LogInput {
  /** What it is called in reports. */
  readonly name: string;
  /** Size in bytes, as stored; `undefined` if that is not known. */
  readonly bytes: number | undefined;
  /** Its lines. What is gzip by its first two bytes is decompressed on the way. */
  lines(onBytes?: (bytes: number) => void): AsyncGenerator<string, void, undefined>;
}

/** The longest line that is kept whole: operations of a conformance trace can be long. */
const LONGEST_LINE = 2 ** 24;

/**
 * Opens a log.
 *
 * @param path - a file, or `-` for standard input
 * @throws UsageError if there is no such file
 */
export async function openLog(path: string, terminal: Terminal): Promise<LogInput> {
  if (path === '-') return logInput('standard input', undefined, () => terminal.input);
  const found = await stat(path).catch((error: unknown) => {
    throw new UsageError(`cannot read ${path}: ${reasonOf(error)}`);
  });
  if (found.isDirectory()) throw new UsageError(`cannot read ${path}: it is a directory`);
  return logInput(path, found.isFile() ? found.size : undefined, () => createReadStream(path));
}

function logInput(name: string, bytes: number | undefined, open: () => AsyncIterable<Uint8Array>): LogInput {
  return {
    name,
    bytes,
    async *lines(onBytes) {
      try {
        yield* splitLines(decoded(unpacked(counted(open(), onBytes))), LONGEST_LINE);
      } catch (error) {
        // Only what the streams themselves throw arrives here.
        throw new UsageError(`cannot read ${name}: ${reasonOf(error)}`);
      }
    },
  };
}

async function* counted(
  chunks: AsyncIterable<Uint8Array>,
  onBytes: ((bytes: number) => void) | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of chunks) {
    onBytes?.(chunk.length);
    yield chunk;
  }
}

async function* unpacked(
  chunks: AsyncGenerator<Uint8Array, void, undefined>,
): AsyncGenerator<Uint8Array, void, undefined> {
  let start = new Uint8Array(0);
  let more = true;
  while (more && start.length < 2) {
    const { value, done } = await chunks.next();
    more = done !== true;
    if (value !== undefined) start = new Uint8Array(Buffer.concat([start, value]));
  }
  const whole = prepended(start, chunks);
  if (start[0] !== 0x1f || start[1] !== 0x8b) {
    yield* whole;
    return;
  }
  const gunzip = createGunzip();
  // An error of either end shows in the other; nobody but the loop needs to hear of it.
  pipeline(Readable.from(whole, { objectMode: false }), gunzip, () => undefined);
  yield* gunzip;
}

async function* prepended(
  start: Uint8Array,
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  yield start;
  yield* chunks;
}

async function* decoded(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder();
  for await (const chunk of chunks) yield decoder.decode(chunk, { stream: true });
  yield decoder.decode();
}

/** The lines up to number `last`, the first being 1. */
export async function* linesUntil(
  lines: AsyncIterable<string>,
  last: number,
): AsyncGenerator<string, void, undefined> {
  let line = 0;
  for await (const text of lines) {
    if (++line > last) return;
    yield text;
    if (line === last) return;
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
