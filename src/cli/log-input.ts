/**
 * Log files and standard input, as the command line names them.
 */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { linesOfBytes } from '../replay/log-file.js';
import { type Terminal, UsageError } from './terminal.js';

/** A log to be read. */
export interface LogInput {
  /** What it is called in reports. */
  readonly name: string;
  /** Size in bytes, as stored; `undefined` if that is not known. */
  readonly bytes: number | undefined;
  /** Its lines, decompressed. */
  lines(onBytes?: (bytes: number) => void): AsyncGenerator<string, void, undefined>;
}

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
        yield* linesOfBytes(counted(open(), onBytes));
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

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
