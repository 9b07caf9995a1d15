/**
 * Log files as lines: plain or compressed by gzip, streamed.
 */
import { createReadStream } from 'node:fs';
import { createGunzip } from 'node:zlib';
import { splitLines } from '../src/replay/index.js';

/** The lines of a file; one whose name ends in `.gz` is decompressed on the way. */
export async function* linesOfFile(path: string | URL): AsyncGenerator<string, void, undefined> {
  const file = createReadStream(path);
  if (!String(path).endsWith('.gz')) {
    yield* splitLines(file.setEncoding('utf8'));
    return;
  }
  const gunzip = createGunzip().setEncoding('utf8');
  file.on('error', (error) => gunzip.destroy(error));
  yield* splitLines(file.pipe(gunzip));
}
