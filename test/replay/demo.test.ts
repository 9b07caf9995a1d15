import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

test('the demo agrees with the logs, says why, and shows the bytes arrive', async () => {
  const arguments_ = ['--import', 'tsx', 'scripts/demo.ts'];
  const { stdout } = await promisify(execFile)(process.execPath, arguments_, { cwd: root });
  const answers = [...stdout.matchAll(/says (\w+), (rfc-v1|linux) says (\w+)/g)].map((match) =>
    match.slice(1),
  );
  expect(answers).toEqual([
    ['OK', 'rfc-v1', 'OK'],
    ['ENOENT', 'rfc-v1', 'ENOENT'],
    ['EADDRINUSE', 'rfc-v1', 'EADDRINUSE'],
    ['OK', 'linux', 'OK'],
    ['ENOENT', 'linux', 'OK'],
    ['EADDRINUSE', 'linux', 'OK'],
  ]);
  expect(stdout.replaceAll(/\s+/g, ' ')).toContain(
    'why: EADDRINUSE: map [0xfffc0000, 0xffffffff]: area [0xfffff000, 0xffffffff] (mapped from user address 0x7f79ee81f000)',
  );
  expect(stdout.match(/0xfffff000 {10}0xffffffff {2}\|AAAA\|/g)).toHaveLength(4);
  expect(stdout).toMatch(/0xfffc0000 {10}0xffffffff {2}\|AAAA\| +256 KiB/);
  expect(stdout).toContain('"written by a"');
  expect(stdout).toContain('" device through IOVA"');
  expect(stdout.trimEnd().split('\n').at(-1)).toMatch(
    /^virtio-iommu: 362 requests, 2525 translations and 7 misses checked, 0 mismatches, peak 40 areas, .* \d+ ms$/,
  );
});
