/**
 * Checks the package as it would be published: packs it from a copy of the tree, then looks at the tarball with the
 * tools that are made for it, and uses it as a program that depends on it would.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadingOf } from './loading.js';

interface Packed {
  readonly filename: string;
  readonly version: string;
  readonly size: number;
  readonly unpackedSize: number;
  readonly files: readonly { readonly path: string }[];
}

const root = fileURLToPath(new URL('../', import.meta.url));
const modules = join(root, 'node_modules');
const work = mkdtempSync(join(tmpdir(), 'io-pagetable-package-'));
const consumer = join(work, 'consumer');
const installed = join(consumer, 'node_modules', 'io-pagetable');
/** What may be in the tarball. */
const BELONGS =
  /^(dist\/.*\.(js|d\.ts)|docs\/[^/]+\.md|README\.md|CHANGELOG\.md|DESIGN\.md|LICENSE|package\.json)$/;
/** Bytes that a page may have to load for a table, minified, with all dependencies. */
const MOST_FOR_A_TABLE = 102_000;
/** How far the sizes in the README may be off. */
const TOLERANCE = 0.1;

function run(command: string, args: readonly string[], cwd = root): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    maxBuffer: 2 ** 27,
    env: { ...process.env, PATH: `${join(modules, '.bin')}:${process.env.PATH}` },
  });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: status ${status}\n${stdout}${stderr}`);
  return stdout;
}

/** Packs what Git would have of the tree: what else lies around must not get in. */
function pack(): Packed {
  const copy = join(work, 'tree');
  const paths = run('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard', '--deduplicate']);
  const gone = new Set(run('git', ['ls-files', '-z', '--deleted']).split('\0'));
  for (const path of paths.split('\0').filter((path) => path !== '' && !gone.has(path))) {
    mkdirSync(dirname(join(copy, path)), { recursive: true });
    cpSync(join(root, path), join(copy, path));
  }
  symlinkSync(modules, join(copy, 'node_modules'));
  run('npm', ['run', '-s', 'build'], copy);
  const answer: Packed[] = JSON.parse(run('npm', ['pack', '--json', '--pack-destination', work], copy));
  const [packed] = answer;
  if (packed === undefined) throw new Error('npm pack packed nothing');
  return packed;
}

/** The files, and the sizes that the README states. */
function checkContents({ files, size, unpackedSize }: Packed): void {
  const strangers = files.filter(({ path }) => !BELONGS.test(path));
  if (strangers.length > 0)
    throw new Error(`does not belong: ${strangers.map(({ path }) => path).join(', ')}`);
  const stated = /(\d+) kB packed and (\d+) kB\s+unpacked/.exec(
    readFileSync(join(root, 'README.md'), 'utf8'),
  );
  const sizes = [size, unpackedSize].map((bytes) => Math.round(bytes / 1000));
  const fits = sizes.every((is, at) => Math.abs(Number(stated?.[at + 1]) - is) <= is * TOLERANCE);
  const [packed, unpacked] = sizes;
  if (!fits) throw new Error(`README.md should say: ${packed} kB packed and ${unpacked} kB unpacked`);
  console.log(`  ${files.length} files, ${packed} kB packed, ${unpacked} kB unpacked`);
}

/** Unpacks the tarball into the node_modules of a program, beside links to what it depends on. */
function install(tarball: string): void {
  mkdirSync(installed, { recursive: true });
  run('tar', ['-xzf', tarball, '--strip-components=1', '-C', installed]);
  const { dependencies }: { dependencies: Record<string, string> } = JSON.parse(
    readFileSync(join(installed, 'package.json'), 'utf8'),
  );
  for (const name of Object.keys(dependencies)) {
    const link = join(consumer, 'node_modules', name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join(modules, name), link);
  }
  cpSync(join(root, 'test/package/consumer'), consumer, { recursive: true });
  writeFileSync(join(consumer, 'package.json'), '{ "private": true, "type": "module" }\n');
}

/** Compiles the program, with all declarations checked and no types of Node to lean on. */
function compile(module: string, moduleResolution: string, outDir: string): void {
  const options = {
    target: 'es2023',
    lib: ['es2023', 'esnext.disposable', 'dom'],
    module,
    moduleResolution,
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    types: [],
    rootDir: '.',
    outDir,
  };
  const config = join(consumer, `tsconfig.${moduleResolution}.json`);
  writeFileSync(config, JSON.stringify({ compilerOptions: options, files: ['program.ts'] }));
  run('tsc', ['-p', config], consumer);
}

/** What prints logs. A page loads it only when somebody asks for them. */
const PRINTS_LOGS = /node_modules\/(debug|ms)\//;

/** What a page loads that has `import { IoPagetable }`. */
async function checkLoading(): Promise<void> {
  const { first, later } = await loadingOf(`export { IoPagetable } from 'io-pagetable';`, {
    absWorkingDir: consumer,
  });
  const stated = `${(first.bytes / 1000).toFixed(1)} kB, of at most ${MOST_FOR_A_TABLE / 1000} kB`;
  if (first.bytes > MOST_FOR_A_TABLE) throw new Error(`import { IoPagetable } loads ${stated}`);
  if (first.sources.some((path) => PRINTS_LOGS.test(path)) || !later.some((path) => PRINTS_LOGS.test(path)))
    throw new Error('what prints logs is not loaded later');
  console.log(`  import { IoPagetable } loads ${stated}`);
}

try {
  const packed = pack();
  const tarball = join(work, packed.filename);
  const checks: readonly (readonly [string, () => unknown])[] = [
    ['what is in it, and its size', () => checkContents(packed)],
    ['publint', () => run('publint', [tarball, '--strict'])],
    ['are the types wrong?', () => run('attw', [tarball, '--profile', 'esm-only'])],
    ['installed', () => install(tarball)],
    ['a program compiles under nodenext', () => compile('nodenext', 'nodenext', 'built')],
    ['a program compiles under bundler', () => compile('esnext', 'bundler', 'bundled')],
    ['it runs', () => run('node', ['built/program.js'], consumer)],
    ['imports have no side effects', () => run('node', ['no-effects.mjs'], consumer)],
    ['what a page loads', checkLoading],
    ['iopt runs', () => run('node', [join(installed, 'dist/cli/iopt.js'), '--version'], consumer)],
    ['every export is documented', () => run('typedoc', ['--emit', 'none'])],
  ];
  let failed = 0;
  for (const [name, check] of checks) {
    try {
      await check();
      console.log(`ok      ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED  ${name}\n${error instanceof Error ? error.message : error}`);
    }
  }
  console.log(`${checks.length - failed} passed, ${failed} failed`);
  if (failed > 0) process.exitCode = 1;
} finally {
  rmSync(work, { recursive: true, force: true });
}
