/** The program itself, as a child process. */
import { spawn } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const BUG_REPORT = 'test/logs/bug-report.log';
const VIRTIO_IOMMU = 'test/logs/virtio-iommu-disk.log.gz';

function iopt(
  args: readonly string[],
  input?: string,
): Promise<{ status: number | null; out: string; err: string }> {
  const child = spawn(process.execPath, ['--import', 'tsx', 'src/cli/iopt.ts', ...args], { cwd: root });
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  if (input === undefined) child.stdin.end();
  else createReadStream(`${root}${input}`).pipe(child.stdin);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) => resolve({ status, out, err }));
  });
}

describe('the program', () => {
  test('ends with 0, 1 and 2', async () => {
    const [agrees, differs, wrong] = await Promise.all([
      iopt(['replay', '--profile', 'rfc-v1', BUG_REPORT]),
      iopt(['replay', BUG_REPORT]),
      iopt(['replay', '--no-such-option']),
    ]);
    expect([agrees.status, differs.status, wrong.status]).toEqual([0, 1, 2]);
    expect(differs.out).toMatch(/^line 4: .*the log says ENOENT, linux-7.3 says OK because/);
    expect(wrong.err).toContain('iopt: Unknown option');
    expect([agrees.err, differs.err, wrong.out]).toEqual(['', '', '']);
  });

  test('reads a compressed log from standard input', async () => {
    const { status, out } = await iopt(['replay'], VIRTIO_IOMMU);
    expect(status).toBe(0);
    expect(out).toMatch(/^translations +2525, and 7 misses$/m);
  });

  test('draws and explains', async () => {
    const [map, explain] = await Promise.all([
      iopt(['map', BUG_REPORT]),
      iopt(['explain', '--log', BUG_REPORT, 'unmap', '0xfffd0000', '4K']),
    ]);
    expect(map).toMatchObject({ status: 0, out: expect.stringContaining('|AAAA|') });
    expect(explain).toMatchObject({ status: 1, out: expect.stringContaining('reaches outside the range') });
  });

  test('ends in peace when nobody reads on', async () => {
    const child = spawn(
      process.execPath,
      ['--import', 'tsx', 'src/cli/iopt.ts', 'map', '--rows', '64', VIRTIO_IOMMU],
      {
        cwd: root,
      },
    );
    let err = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      err += text;
    });
    child.stdout.destroy();
    const status = await new Promise((resolve) => child.on('close', resolve));
    expect([status, err]).toEqual([0, '']);
  });
});
