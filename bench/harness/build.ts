/**
 * Compiling what is measured.
 *
 * The library and the benchmark go through the compiler with the settings that make `dist`, into a cache folder:
 * code transformed at load time by a runner is not what users get. Types are not checked here; `npm test` does.
 */
import { execFile } from 'node:child_process';
import { cp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const ROOT = new URL('../../', import.meta.url);
const CACHE = new URL('node_modules/.cache/io-pagetable-bench/', ROOT);
const AGAINST = new URL('against/', CACHE);
const RUN_GROUP = 'bench/harness/run-group.js';

/** The folder of the project. */
export const PROJECT = fileURLToPath(ROOT);

/** Compiles everything. Gives the file of the compiled `run-group`. */
export async function build(): Promise<string> {
  await rm(CACHE, { recursive: true, force: true });
  await compile('bench/tsconfig.json');
  await writeFile(new URL('package.json', CACHE), '{ "type": "module" }\n');
  return fileURLToPath(new URL(RUN_GROUP, CACHE));
}

/**
 * Compiles the library of another work tree, after `build`. It is measured by this tree's benchmark, with this tree's
 * dependencies. Gives the file of its `run-group`.
 */
export async function buildAgainst(tree: string): Promise<string> {
  const folder = resolve(tree);
  const settings = fileURLToPath(new URL('against.json', CACHE));
  const compilerOptions = {
    noEmit: false,
    noCheck: true,
    rootDir: folder,
    outDir: fileURLToPath(AGAINST),
    typeRoots: [fileURLToPath(new URL('node_modules/@types', ROOT))],
  };
  const config = {
    extends: `${folder}/tsconfig.json`,
    compilerOptions,
    include: [`${folder}/src`],
    exclude: [`${folder}/src/render/client`],
  };
  await writeFile(settings, JSON.stringify(config));
  await compile(settings);
  await cp(new URL('bench/', CACHE), new URL('bench/', AGAINST), { recursive: true });
  return fileURLToPath(new URL(RUN_GROUP, AGAINST));
}

async function compile(settings: string): Promise<void> {
  const compiler = createRequire(import.meta.url).resolve('typescript/bin/tsc');
  await promisify(execFile)(process.execPath, [compiler, '-p', settings], { cwd: PROJECT });
}
