/**
 * Compiling what is measured.
 *
 * The library and the benchmark go through the compiler with the settings that make `dist`, into a cache folder:
 * code transformed at load time by a runner is not what users get. Types are not checked here; `npm test` does.
 */
import { execFile } from 'node:child_process';
import { rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const ROOT = new URL('../../', import.meta.url);
const CACHE = new URL('node_modules/.cache/io-pagetable-bench/', ROOT);

/** The folder of the project. */
export const PROJECT = fileURLToPath(ROOT);

/** Compiles everything. Gives the file of the compiled `run-group`. */
export async function build(): Promise<string> {
  await rm(CACHE, { recursive: true, force: true });
  const compiler = createRequire(import.meta.url).resolve('typescript/bin/tsc');
  await promisify(execFile)(process.execPath, [compiler, '-p', 'bench/tsconfig.json'], { cwd: PROJECT });
  await writeFile(new URL('package.json', CACHE), '{ "type": "module" }\n');
  return fileURLToPath(new URL('bench/harness/run-group.js', CACHE));
}
