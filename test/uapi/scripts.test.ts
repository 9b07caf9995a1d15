/** The commands of the package that go through `uapi`. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

function run(script: string, ...args: string[]): Promise<{ code: number; lines: string[] }> {
  return new Promise((resolve) => {
    execFile(process.execPath, ['--import', 'tsx', script, ...args], { cwd: ROOT }, (error, stdout) => {
      const code = typeof error?.code === 'number' ? error.code : 0;
      resolve({ code, lines: stdout.trimEnd().split('\n') });
    });
  });
}

test('conformance --uapi', async () => {
  const { code, lines } = await run('scripts/conformance.ts', '--uapi', 'test/traces/rfc-reported-bug.jsonl');
  expect(code).toBe(0);
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatch(/^files 1, ops \d+, mismatches 0$/);
});

test('fuzz:uapi', async () => {
  const { code, lines } = await run('scripts/fuzz-uapi.ts', '--calls', '500', '--seed', '9');
  expect(code).toBe(0);
  expect(lines.at(-1)).toMatch(/^calls 500, seed 9, machines 2, checks \d+, .* no broken invariant$/);
  expect((await run('scripts/fuzz-uapi.ts', '--calls', 'many')).code).toBe(2);
});
