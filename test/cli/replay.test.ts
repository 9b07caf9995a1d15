import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterAll, describe, expect, test } from 'vitest';
import type { ReplayRecording } from '../../src/replay/recording.js';
import { ALLOC, HEADER, traceLine } from '../helpers/traces.js';
import { run } from './fake-terminal.js';

const logs = (name: string) => fileURLToPath(new URL(`../logs/${name}`, import.meta.url));
const traces = fileURLToPath(new URL('../traces', import.meta.url));
const BUG_REPORT = logs('bug-report.log');
const THREE_FAULTS = logs('iommufd-three-faults.log');
const VIRTIO_IOMMU = logs('virtio-iommu-disk.log.gz');

const folder = mkdtempSync(join(tmpdir(), 'iopt-'));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const mapped = (page: number) => `vfio_dma_map(0x1, 0x${page}000, 0x1000, 0x${page}000) = 0`;

describe('what is printed', () => {
  test('every divergence with its line, its reason and what would have worked, then the figures', async () => {
    const { status, out, err } = await run(['replay', THREE_FAULTS]);
    expect(status).toBe(1);
    expect(err).toBe('');
    expect(out.split('\n')).toEqual([
      'line 19: unmap [0xcd000, 0xcffff] of ioas 2: the log says OK, linux-7.3 says ENOENT because area [0xc0000, ' +
        '0xcdfff] (mapped from user address 0x7f2a400c0000) reaches outside the range; an area is unmapped as a ' +
        'whole or not at all',
      '    instead: unmap [0xc0000, 0xebfff], the whole of what the range touches (2 areas)',
      '    instead: unmap [0xc0000, 0xebfff] and map [0xc0000, 0xccfff] and [0xd0000, 0xebfff] again',
      'line 23: unmap [0xfffc0000, 0xffffffff] of ioas 2: the log says ENOENT, linux-7.3 says OK because an unmap takes ' +
        'all areas that lie wholly inside its range: 0x40000 bytes',
      'line 26: map [0x17ffff000, 0x180000fff] of ioas 2 from user 0x7f2a3f000000 (rw): the log says OK, linux-7.3 says ' +
        'EEXIST because area [0x100000000, 0x17fffffff] (mapped from user address 0x7f2ac0000000) is already mapped ' +
        'there; unmap it first or choose another IOVA',
      '    instead: use IOVA 0x180000000, the next free IOVA that suits 0x2000 bytes',
      '    instead: unmap [0x100000000, 0x17fffffff] first (1 area), then repeat the call',
      'profile          linux-7.3',
      'operations       32',
      'divergences      3',
      'malformed lines  0',
      'left out         0',
      'peak areas       9',
      'peak pinned      4.001 GiB',
      'fragmentation    0.0 %',
      'largest hole     16 EiB',
      '',
    ]);
  });

  test('of the bug report, under both profiles', async () => {
    const linux = await run(['replay', BUG_REPORT]);
    expect(linux.status).toBe(1);
    expect(linux.out).toMatch(/^line 4: unmap .*: the log says ENOENT, linux-7.3 says OK because/m);
    expect(linux.out).toMatch(/^line 6: map .*: the log says EADDRINUSE, linux-7.3 says OK because/m);
    const rfc = await run(['replay', '--profile', 'rfc-v1', BUG_REPORT]);
    expect(rfc.status).toBe(0);
    expect(rfc.out).toMatch(/^profile +rfc-v1\noperations +3\ndivergences +0$/m);
  });

  test('of a log behind a virtio-iommu, compressed', async () => {
    const { status, out } = await run(['replay', VIRTIO_IOMMU]);
    expect(status).toBe(0);
    expect(out).toMatch(/^operations +362\ndivergences +0\ntranslations +2525, and 7 misses$/m);
    expect(out).toMatch(/^peak areas +40\npeak pinned +2.023 MiB$/m);
  });

  test('nothing if asked to be quiet', async () => {
    expect(await run(['replay', '--quiet', THREE_FAULTS], { columns: 80 })).toEqual({
      status: 1,
      out: '',
      err: '',
    });
    expect(await run(['replay', '--quiet', VIRTIO_IOMMU])).toEqual({ status: 0, out: '', err: '' });
  });

  test('no more than asked for', async () => {
    const { out } = await run(['replay', '--max', '1', THREE_FAULTS]);
    expect(out.match(/^line/gm)).toHaveLength(1);
    expect(out).toContain('and 2 more (--max shows more)');
    const none = await run(['replay', '--max', '0', THREE_FAULTS]);
    expect(none.out).toMatch(/^and 3 more/);
    expect(none.status).toBe(1);
  });

  test('up to the first divergence, or to a line', async () => {
    const stopped = await run(['replay', '--stop', THREE_FAULTS]);
    expect(stopped.out).toMatch(/^operations +15\ndivergences +1$/m);
    const until = await run(['replay', '--until', '18', THREE_FAULTS]);
    expect(until.status).toBe(0);
    expect(until.out).toMatch(/^operations +14\ndivergences +0$/m);
    expect((await run(['replay', '--until', '999', THREE_FAULTS])).out).toMatch(/^operations +32$/m);
  });

  test('nothing of a log that a terminal would obey', async () => {
    const hostile = file('hostile.log', `${mapped(1)}\nvfio_dma_map(\u001b[31m\u202e<script>) = 0\n`);
    const { out } = await run(['replay', hostile]);
    expect(out).not.toContain('\u001b');
    expect(out).toContain('line 2 cannot be read: expected vfio_dma_map(');
    expect(out).toContain('\\u{1b}[31m\\u{202e}<script>');
  });
});

describe('several logs', () => {
  test('are told apart and added up', async () => {
    const { status, out } = await run(['replay', BUG_REPORT, VIRTIO_IOMMU]);
    expect(status).toBe(1);
    expect(out.split('\n').filter((line) => line.startsWith(`${BUG_REPORT}: line `))).toHaveLength(2);
    expect(out).toContain(
      `${VIRTIO_IOMMU}: 362 operations, 0 divergences (linux-7.3), peak 40 areas and 2.023 MiB pinned, ` +
        'fragmentation 0.0 %, largest hole 15.99 EiB\n',
    );
    expect(out).toMatch(/\n2 logs, 365 operations, 2 divergences\n$/);
  });

  test('that cannot be read keep no other from being replayed', async () => {
    const { status, out, err } = await run(['replay', 'missing.log', VIRTIO_IOMMU, folder]);
    expect(status).toBe(2);
    expect(err).toContain('cannot read missing.log: ENOENT');
    expect(err).toContain('it is a directory');
    expect(out).toContain('362 operations, 0 divergences');
  });
});

describe('conformance traces', () => {
  const names = readdirSync(traces).filter((name) => name.endsWith('.jsonl'));

  test('all agree', async () => {
    const { status, out, err } = await run(['replay', ...names.map((name) => join(traces, name))]);
    expect(err).toBe('');
    expect(out).toMatch(new RegExp(`\\n${names.length} logs, [0-9]+ operations, 0 divergences\\n$`));
    expect(status).toBe(0);
  });

  test('that differ are told with both answers', async () => {
    const lines = readFileSync(join(traces, 'rfc-reported-bug.jsonl'), 'utf8').split('\n');
    const at = lines.findIndex((line) => line.includes('"op":"unmap"'));
    const changed = lines[at]!.replace(/"errno":"[A-Z]+"/, '"errno":"EIO"');
    const trace = file('changed.jsonl.gz', gzipSync(lines.with(at, changed).join('\n')));
    const { status, out } = await run(['replay', trace]);
    expect(status).toBe(1);
    expect(out.split('\n').slice(0, 2)).toEqual([
      `line ${at + 1}: unmap [0xff000000, 0xffffffff] of ioas0: the log says EIO, unmapped 0x1000000, rfc-v1 says ` +
        'ENOENT, unmapped 0x1000000 because the range is not exactly area [0xfffff000, 0xffffffff] (mapped from ' +
        'user address 0x1000000000); this kernel takes one whole area per call',
      '    instead: unmap area by area: [0xfffff000, 0xffffffff]',
    ]);
    expect(out).toMatch(/^peak areas +1\npeak pinned +256 KiB$/m);
    expect((await run(['replay', '--until', String(at), trace])).status).toBe(0);
  });

  test('have a profile of their own', async () => {
    const trace = join(traces, 'rfc-reported-bug.jsonl');
    expect((await run(['replay', '--profile', 'rfc-v1', trace])).status).toBe(0);
    const { status, err } = await run(['replay', '--profile', 'linux-6.12', trace]);
    expect(status).toBe(2);
    expect(err).toContain('was recorded under rfc-v1');
  });

  test('have no advice for what the model has done', async () => {
    const place = { ioas: 'ioas0', iova: '0x1000', uptr: '0x100000', length: '0x1000', prot: 'r' };
    const map = traceLine('map', place, { errno: 'EEXIST' });
    const { status, out } = await run(['replay'], { input: [HEADER, ALLOC, map, map].join('\n') });
    expect(status).toBe(1);
    expect(out.split('\n').slice(0, 2)).toEqual([
      'line 3: map [0x1000, 0x1fff] of ioas0 from user 0x100000 (r): the log says EEXIST, linux-6.12 says OK, iova 0x1000 ' +
        'because nothing is mapped or reserved in that range',
      'profile          linux-6.12',
    ]);
  });

  test('say themselves how much may be locked', async () => {
    const { status, err } = await run(['replay', '--memlock', '1M', join(traces, 'memlock-1001.jsonl')]);
    expect([status, err]).toEqual([2, expect.stringContaining('says itself how much may be locked')]);
  });

  test('have a report', async () => {
    let seen: ReplayRecording | undefined;
    const html = (recording: ReplayRecording) => {
      seen = recording;
      return [];
    };
    const trace = join(traces, 'vfio-split-type1.jsonl');
    const ran = await run(['replay', '--html', join(folder, 'trace.html'), trace], { html });
    expect(ran.status).toBe(0);
    expect(seen).toMatchObject({ log: trace, skipped: 0, spaces: [{ name: 'ioas0' }] });
    expect(ran.out).toContain(`operations       ${seen?.figures.operations}\n`);
    expect(seen?.steps.some(({ removed, added }) => removed !== undefined && added !== undefined)).toBe(true);
  });

  test('with lines that cannot be read are replayed without them', async () => {
    const lines = readFileSync(join(traces, 'rfc-reported-bug.jsonl'), 'utf8').trimEnd().split('\n');
    const { status, out } = await run(['replay'], { input: [...lines, '{"op":'].join('\n') });
    expect(status).toBe(0);
    expect(out).toMatch(new RegExp(`^line ${lines.length + 1} cannot be read: SyntaxError`));
    expect(out).toMatch(/^malformed lines +1$/m);
  });

  test('are known by their first line', async () => {
    for (const first of ['{"a":1}', '{', '{"format":3}']) {
      const { status, err } = await run(['replay'], { input: `${first}\n${mapped(1)}\n` });
      expect([status, err]).toEqual([2, expect.stringContaining('not as a conformance trace does')]);
    }
  });
});

describe('input', () => {
  const compressed = readFileSync(VIRTIO_IOMMU);

  test('comes from standard input, also compressed, in whatever pieces', async () => {
    for (const args of [['replay'], ['replay', '-']]) {
      expect((await run(args, { input: readFileSync(BUG_REPORT, 'utf8') })).out).toMatch(/^operations +3$/m);
    }
    const bytes = Array.from(compressed, (byte) => Uint8Array.of(byte));
    const { out } = await run(['replay'], { input: bytes });
    expect(out).toMatch(/^operations +362$/m);
    const plain = gunzipSync(compressed);
    const halves = [plain.subarray(0, 777), plain.subarray(777)];
    expect((await run(['replay'], { input: halves })).out).toMatch(/^operations +362$/m);
  });

  test('that breaks off is an error, not the end of the log', async () => {
    const { status, err } = await run(['replay', file('short.gz', compressed.subarray(0, 5000))]);
    expect(status).toBe(2);
    expect(err).toMatch(/cannot read .*short.gz: unexpected end of file/);
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield new TextEncoder().encode(`${mapped(1)}\n`);
      throw new Error('the pipe burst');
    }
    expect(await run(['replay'], { input: broken() })).toMatchObject({
      status: 2,
      err: expect.stringContaining('cannot read standard input: the pipe burst'),
    });
  });

  test('is read no further than needed, so it may be without end', async () => {
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (let page = 1; ; page++) {
        const address = `0x${(page * 4096).toString(16)}`;
        yield new TextEncoder().encode(`vfio_dma_map(0x1, ${address}, 0x1000, ${address}) = 0\n`);
        if (page === 3000) yield new TextEncoder().encode(`${mapped(1)}\n`);
      }
    }
    const until = await run(['replay', '--until', '1000'], { input: endless() });
    expect(until.out).toMatch(/^operations +1000\ndivergences +0$/m);
    const stopped = await run(['replay', '--stop'], { input: endless() });
    expect(stopped.out).toMatch(/^operations +3001\ndivergences +1$/m);
  });

  test('in which nothing is known, or nothing is at all, is wrong usage', async () => {
    expect(await run(['replay'], { input: 'hello\nworld\n' })).toMatchObject({
      status: 2,
      err: expect.stringContaining('nothing in standard input is in a format that is known'),
    });
    expect(await run(['replay'], { input: '' })).toMatchObject({ status: 2 });
    expect(await run(['replay', file('empty.gz', gzipSync(''))])).toMatchObject({ status: 2 });
  });

  test('with malformed lines is replayed without them', async () => {
    const bad = 'vfio_dma_map(0x1, zzz) = 0';
    const { status, out } = await run(['replay', '--max', '2'], {
      input: [bad, mapped(1), bad, bad, mapped(2)].map((line) => new TextEncoder().encode(`${line}\n`)),
    });
    expect(status).toBe(0);
    expect(out.match(/^line [13] cannot be read/gm)).toHaveLength(2);
    expect(out).toMatch(/^malformed lines +3$/m);
    expect(out).toMatch(/^operations +2$/m);
  });

  test('with lines of all formats at once, and carriage returns', async () => {
    const input = [
      mapped(1),
      'noise',
      'virtio_iommu_attach domain=1 endpoint=8',
      'virtio_iommu_map domain=1 virt_start=0x1000 virt_end=0x1fff phys_start=0x5000 flags=3',
      '7@8.9:iommufd_backend_map_dma  iommufd=1 ioas=2 iova=0x1000 size=0x1000 addr=0x1000 readonly=0 (0)',
    ].join('\r\n');
    expect((await run(['replay'], { input })).out).toMatch(/^operations +3\ndivergences +0$/m);
  });
});

describe('JSON', () => {
  test('has all of it, and 64-bit values in hex', async () => {
    const { status, out } = await run(['replay', '--json', '--max', '1', THREE_FAULTS, VIRTIO_IOMMU]);
    expect(status).toBe(1);
    const { logs: found } = JSON.parse(out);
    expect(found).toMatchObject([
      {
        log: THREE_FAULTS,
        profile: 'linux-7.3',
        operations: 32,
        divergences: 3,
        figures: { peakAreas: 9, peakPinnedBytes: '0x1001e0000', largestHole: '0x10000000000000000' },
        first: [
          { line: 19, logged: 'OK', answered: 'ENOENT', instead: [expect.any(String), expect.any(String)] },
        ],
        unreadable: [],
      },
      { log: VIRTIO_IOMMU, divergences: 0, figures: { translations: 2525 }, first: [] },
    ]);
  });
});

describe('the HTML report', () => {
  test('gets the recording, and its pieces go to the file', async () => {
    let seen: ReplayRecording | undefined;
    const html = function* (recording: ReplayRecording) {
      seen = recording;
      yield '<!doctype html>';
      yield '<p>';
    };
    const path = join(folder, 'report.html');
    const { status } = await run(['replay', '--html', path, '--quiet', THREE_FAULTS], { html });
    expect(status).toBe(1);
    expect(readFileSync(path, 'utf8')).toBe('<!doctype html><p>');
    expect(seen).toMatchObject({ log: THREE_FAULTS, profile: 'linux-7.3', skipped: 0 });
    const wrong = seen!.steps.filter(({ diverges }) => diverges);
    expect(wrong.map(({ line, advice }) => [line, advice?.split('; or ').length])).toEqual([
      [19, 2],
      [23, undefined],
      [26, 2],
    ]);
  });

  test('is for one log, and for a file that can be written', async () => {
    const html = () => ['x'];
    expect(await run(['replay', '--html', 'x.html', BUG_REPORT, BUG_REPORT], { html })).toMatchObject({
      status: 2,
      out: '',
      err: expect.stringContaining('--html takes one log'),
    });
    const nowhere = join(folder, 'no', 'such', 'folder.html');
    expect(await run(['replay', '--html', nowhere, BUG_REPORT], { html })).toMatchObject({
      status: 2,
      err: expect.stringContaining('cannot write'),
    });
  });
});

describe('the progress bar', () => {
  const large = file('large.log', `${`${'x'.repeat(1023)}\n`.repeat(9 * 1024)}${mapped(1)}\n`);

  test('shows on a terminal how far it is, and goes away', async () => {
    const { err, out } = await run(['replay', large], { columns: 80 });
    expect(err).toMatch(/^\r\[#*\.+\] +[0-9]+ % of 9.000 MiB/);
    expect(err).toMatch(/\r\[#{40}\] 100 % of 9.000 MiB\r +\r$/);
    const widths = err.split('\r').map((text) => text.length);
    expect(Math.max(...widths)).toBeLessThan(80);
    expect(out).toMatch(/^operations +1$/m);
  });

  test('does not show elsewhere, nor for a log that is read at once', async () => {
    expect((await run(['replay', large])).err).toBe('');
    expect((await run(['replay', large], { columns: 20 })).err).toBe('');
    expect((await run(['replay', '--quiet', large], { columns: 80 })).err).toBe('');
    expect((await run(['replay', BUG_REPORT], { columns: 80 })).err).toBe('');
  });
});

describe('wrong usage', () => {
  test.each([
    [[], /no command/],
    [['play'], /there is no command play/],
    [['replay'], /no log to replay/],
    [['replay', '--frobnicate', 'x'], /Unknown option '--frobnicate'/],
    [['replay', '--profile', 'windows', BUG_REPORT], /--profile is one of linux, .*, not windows/],
    [['replay', '--until', '0', BUG_REPORT], /--until is a whole number of at least 1, not 0/],
    [['replay', '--until', 'ten', BUG_REPORT], /--until is a whole number/],
    [['replay', '--max=-1', BUG_REPORT], /--max is a whole number of at least 0/],
    [['replay', '--memlock', 'lots', BUG_REPORT], /--memlock is a number such as 0x1000 or 4K/],
    [['replay', '--html', 'x.html', BUG_REPORT], /without the HTML report/],
  ])('%j', async (args, message) => {
    const { status, out, err } = await run(args);
    expect(status).toBe(2);
    if (!args.includes('--html')) expect(out).toBe('');
    expect(err).toMatch(message);
    expect(err).toMatch(/^iopt: .*\(iopt --help tells more\)\n$/);
  });

  test('help and version are none', async () => {
    for (const args of [['--help'], ['-h'], ['help']]) {
      const { status, out } = await run(args);
      expect(status).toBe(0);
      expect(out).toContain('iopt replay');
      expect(Math.max(...out.split('\n').map((line) => line.length))).toBeLessThanOrEqual(120);
    }
    const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
    expect(await run(['--version'])).toEqual({ status: 0, out: `${version}\n`, err: '' });
  });
});

test('a locked-memory limit is the one that the VMM had', async () => {
  const input = 'vfio_dma_map(0x1, 0x1000, 0x3000, 0x1000) = -12 (Cannot allocate memory)\n';
  expect((await run(['replay'], { input })).status).toBe(1);
  expect((await run(['replay', '--memlock', '8K'], { input })).status).toBe(0);
});
