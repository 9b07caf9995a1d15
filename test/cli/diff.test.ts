/** `iopt diff`: two kernels on one log. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { diffProfiles } from '../../src/replay/diff-profiles.js';
import { ALLOC, HEADER, traceLine } from '../helpers/traces.js';
import { run } from './fake-terminal.js';

const logs = (name: string) => fileURLToPath(new URL(`../logs/${name}`, import.meta.url));
const BUG_REPORT = logs('bug-report.log');
const THREE_FAULTS = logs('iommufd-three-faults.log');
const VIRTIO_IOMMU = logs('virtio-iommu-disk.log.gz');

const folder = mkdtempSync(join(tmpdir(), 'iopt-diff-'));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, ...lines: string[]): string {
  const path = join(folder, name);
  writeFileSync(path, lines.join('\n'));
  return path;
}

const map = (iova: string, uptr: string, length: string) => ({
  ioas: 'ioas0',
  iova,
  uptr,
  length,
  prot: 'r',
});
/** What 6.12 and 7.3 answer differently: an overflow and a bad length at once; and what they answer alike. */
const POINTER = traceLine('map', map('0x1000', '0x1000000000', '0xfffffffffffffffe'), { errno: 'EINVAL' });
const ALIKE = traceLine('map', map('0x1000', '0x100000', '0x1000'), { iova: '0x1000' });

describe('what is printed', () => {
  test('is each difference with both answers, their reasons and the rule, then what each rule makes', async () => {
    const { status, out, err } = await run(['diff', '--from', 'rfc-v1', '--to', 'linux-6.12', BUG_REPORT]);
    expect([status, err]).toEqual([1, '']);
    expect(out.split('\n')).toEqual([
      'line 4: unmap [0xff000000, 0xffffffff]',
      '    rfc-v1: ENOENT because the range is not exactly area [0xfffff000, 0xffffffff] (mapped from user address ' +
        '0x7f79ee81f000); this kernel takes one whole area per call',
      '    linux-6.12: OK because an unmap takes all areas that lie wholly inside its range: 0x1000 bytes',
      '    rule: unmapTakes',
      'line 6: map [0xfffc0000, 0xffffffff] from user 0x7f7968c00000',
      '    rfc-v1: EADDRINUSE because area [0xfffff000, 0xffffffff] (mapped from user address 0x7f79ee81f000) is ' +
        'already mapped there; unmap it first or choose another IOVA',
      '    linux-6.12: OK because nothing is mapped or reserved in that range',
      // The map is refused only because of what the unmap left.
      '    rule: unmapTakes',
      'rfc-v1 and linux-6.12: 3 operations, 2 differences',
      '  unmapTakes  2  one-area to areas-inside',
      '',
    ]);
  });

  test('is one line where nothing is different', async () => {
    const both = ['--from', 'linux-6.12', '--to', 'linux-7.3'];
    expect(await run(['diff', ...both, VIRTIO_IOMMU])).toEqual({
      status: 0,
      out: 'linux-6.12 and linux-7.3: 362 operations, 0 differences\n',
      err: '',
    });
    expect((await run(['diff', ...both, '--quiet', VIRTIO_IOMMU])).out).toBe('');
  });

  test('is no more than asked for, and as JSON', async () => {
    const both = ['--from', 'linux-6.12', '--to', 'rfc-v1'];
    const { out } = await run(['diff', ...both, '--max', '1', THREE_FAULTS]);
    expect(out.match(/^line/gm)).toHaveLength(1);
    expect(out).toContain('and 2 more (--max shows more)');
    const { status, out: text } = await run(['diff', ...both, '--json', '--max', '1', THREE_FAULTS]);
    const { first, ...report } = JSON.parse(text);
    expect(status).toBe(1);
    expect(first).toHaveLength(1);
    expect(report).toMatchObject({
      from: 'linux-6.12',
      to: 'rfc-v1',
      operations: 32,
      differences: 3,
      byRule: { areaInTheWay: 2, unmapTakes: 1 },
    });
  });
});

describe('a trace', () => {
  test('is compared on kernels that it was not recorded on', async () => {
    const trace = file('trace.jsonl', HEADER, ALLOC, POINTER, ALIKE);
    const { status, out } = await run(['diff', '--from', 'linux-6.12', '--to', 'linux-7.3', trace]);
    expect(status).toBe(1);
    expect(out).toMatch(
      /^line 3: map .*\n {4}linux-6\.12: EINVAL because .*\n {4}linux-7\.3: EOVERFLOW because/,
    );
    expect(out).toContain('rule: userRangeChecks');
    expect(out).toContain('3 operations, 1 difference\n');
  });

  test('has lines that cannot be read', async () => {
    const trace = file('broken.jsonl', HEADER, ALLOC, '{"op":"nap","expect":{"errno":"OK"}}', POINTER);
    const { status, out } = await run(['diff', '--from', 'linux-6.12', '--to', 'linux-7.3', trace]);
    expect(status).toBe(1);
    expect(out.match(/line 3 cannot be read/g)).toHaveLength(1);
  });
});

test('the rule is the one whose errno it is', async () => {
  const reserve = traceLine('reserve', { ioas: 'ioas0', start: '0x1000', length: '0x1000' });
  const lines = [HEADER, ALLOC, reserve, ALIKE];
  const found = [];
  const source = {
    name: 't',
    lines: (async function* () {
      yield* lines;
    })(),
  };
  const options = {
    from: 'rfc-v1',
    to: 'linux-6.12',
    until: Number.POSITIVE_INFINITY,
    lockedLimit: undefined,
  } as const;
  for await (const difference of diffProfiles(source, options)) found.push(difference);
  expect(found).toHaveLength(1);
  expect(found[0]).toMatchObject({
    line: 4,
    from: { answer: 'ENOENT' },
    to: { answer: 'EINVAL' },
    rules: ['reservationInTheWay'],
  });
});

describe('wrong usage', () => {
  test.each([
    ['no --from', [BUG_REPORT], 'diff needs --from PROFILE'],
    ['an unknown profile', ['--from', 'linux-2.4', BUG_REPORT], '--from is one of linux, linux-7.3'],
    [
      'twice the same',
      ['--from', 'linux', '--to', 'linux-7.3', BUG_REPORT],
      '--from and --to are both linux-7.3',
    ],
    ['two logs', ['--from', 'rfc-v1', BUG_REPORT, BUG_REPORT], 'diff takes one log'],
    ['no log', ['--from', 'rfc-v1'], 'no log to compare on'],
    ['a log with nothing in it', ['--from', 'rfc-v1', file('nothing.log', 'hello')], 'nothing in '],
    ['a log that is not there', ['--from', 'rfc-v1', join(folder, 'none.log')], 'cannot read '],
  ])('%s', async (_what, args, message) => {
    const { status, out, err } = await run(['diff', ...args]);
    expect([status, out]).toEqual([2, '']);
    expect(err).toContain(message);
  });
});
