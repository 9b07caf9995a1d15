/**
 * Log files as lines: plain or compressed by gzip, streamed. For Node: `io-pagetable/replay` is without it.
 */
import { createReadStream } from 'node:fs';
import { pipeline, Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { splitLines } from './log-line.js';

/** Pieces of a file. */
type Chunks = AsyncGenerator<Uint8Array, void, undefined>;

/** The longest line that is kept whole: operations of a conformance trace can be long. */
const LONGEST_LINE = 2 ** 24;

/** The lines of a file. */
export function linesOfFile(path: string | URL): AsyncGenerator<string, void, undefined> {
  return linesOfBytes(createReadStream(path));
}

/** The lines of a stream of bytes. What is gzip by its first two bytes is decompressed on the way. */
export function linesOfBytes(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<string, void, undefined> {
  return splitLines(decoded(unpacked(joined([], bytes))), LONGEST_LINE);
}

async function* unpacked(chunks: Chunks): Chunks {
  let start = new Uint8Array(0);
  let more = true;
  while (more && start.length < 2) {
    const { value, done } = await chunks.next();
    more = done !== true;
    if (value !== undefined) start = new Uint8Array(Buffer.concat([start, value]));
  }
  const whole = joined([start], chunks);
  if (start[0] !== 0x1f || start[1] !== 0x8b) {
    yield* whole;
    return;
  }
  const gunzip = createGunzip();
  // An error of either end shows in the other; nobody but the loop needs to hear of it.
  pipeline(Readable.from(whole, { objectMode: false }), gunzip, () => undefined);
  yield* gunzip;
}

async function* joined(first: readonly Uint8Array[], rest: AsyncIterable<Uint8Array>): Chunks {
  yield* first;
  yield* rest;
}

async function* decoded(chunks: Chunks): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder();
  for await (const chunk of chunks) yield decoder.decode(chunk, { stream: true });
  yield decoder.decode();
}
