/**
 * `npm run test:nodes [-- --unit]`: the built package under the oldest Node it is for and under the maintained ones.
 *
 * Each Node comes from the npm registry for the time of the run; it is no dependency, which everybody would have to
 * download. Each runs a program that uses the package, replays every recorded trace and log by the built `iopt`, and
 * looks for side effects of the imports; with `--unit` all unit tests, too.
 *
 * Exits with 1 if anything fails under any of them.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { transformSync } from 'esbuild';

/** The oldest that package.json asks for, then the newest of each maintained line. */
const VERSIONS = ['20.19.0', '22.23.3', '24.21.0', '26.10.0'];

const root = fileURLToPath(new URL('../', import.meta.url));
const inRoot = (...parts: string[]) => join(root, ...parts);
const unit = process.argv.includes('--unit');

interface Ran {
  readonly status: number | null;
  readonly output: string;
}

function run(command: string, args: readonly string[], options: { input?: string; cwd?: string } = {}): Ran {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 2 ** 27,
    ...options,
  });
  if (error !== undefined) throw error;
  return { status, output: stdout + stderr };
}

/** The program of a Node, as the registry has it for this machine. */
function programOf(version: string, folder: string): string {
  const name = `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`;
  // Outside of the project, whose own packages npx would look at first.
  const args = ['--yes', '--package', `${name}@${version}`, 'node', '-p', 'process.execPath'];
  const { status, output } = run('npx', args, { cwd: folder });
  const path = output
    .trim()
    .split('\n')
    .find((line) => existsSync(line));
  if (status !== 0 || path === undefined) throw new Error(`there is no Node ${version}:\n${output}`);
  return path;
}

/** A program that depends on the package, without its types, for a Node that cannot strip them. */
function consumer(): string {
  const source = readFileSync(inRoot('test/package/consumer/program.ts'), 'utf8');
  return transformSync(source, { loader: 'ts', format: 'esm', target: 'es2023' }).code;
}

const iopt = inRoot('dist/cli/iopt.js');
if (!existsSync(iopt)) throw new Error('nothing is built: npm run build');
const traces = readdirSync(inRoot('test/traces')).map((name) => inRoot('test/traces', name));
const log = (name: string) => inRoot('test/logs', name);

type Check = readonly [name: string, check: (node: string) => Ran, status: number];

const checks: Check[] = [
  ['a program', (node) => run(node, ['--input-type=module'], { input: consumer() }), 0],
  ['no side effects', (node) => run(node, ['test/package/consumer/no-effects.mjs']), 0],
  ['recorded traces', (node) => run(node, [iopt, 'replay', ...traces]), 0],
  ['a log', (node) => run(node, [iopt, 'replay', log('virtio-iommu-disk.log.gz')]), 0],
  ['a bug report', (node) => run(node, [iopt, 'replay', '--profile', 'rfc-v1', log('bug-report.log')]), 0],
  ['planted faults', (node) => run(node, [iopt, 'replay', log('iommufd-three-faults.log')]), 1],
];
if (unit) {
  const vitest = ['node_modules/vitest/vitest.mjs', 'run', '--project', 'unit'];
  checks.push(['unit tests', (node) => run(node, vitest), 0]);
}

const folder = mkdtempSync(join(tmpdir(), 'io-pagetable-nodes-'));
let failed = 0;
try {
  for (const version of VERSIONS) {
    const node = programOf(version, folder);
    for (const [name, check, expected] of checks) {
      const { status, output } = check(node);
      if (status === expected) continue;
      failed += 1;
      console.log(`FAILED  Node ${version}: ${name}: status ${status}\n${output}`);
    }
    console.log(`ran     Node ${version}: ${checks.map(([name]) => name).join(', ')}`);
  }
} finally {
  rmSync(folder, { recursive: true });
}
const all = VERSIONS.length * checks.length;
console.log(`${all - failed} passed, ${failed} failed`);
if (failed > 0) process.exitCode = 1;
