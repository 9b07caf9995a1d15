/** Every recorded trace, answer by answer, with all invariants checked after every operation. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { describeMismatch, type Mismatch, replayFiles, replayTrace } from '../conformance/replay-traces.js';
import { findTraces } from '../conformance/trace-files.js';
import { InvariantError } from '../src/inspect/check.js';
import { Iommufd } from '../src/iommufd/iommufd.js';
import { ALLOC, HEADER, TRACES, traceFiles, traceLine } from './helpers/traces.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

test('there are traces', () => {
  expect(traceFiles.length).toBeGreaterThan(230);
});

describe('trace', () => {
  test.each(traceFiles)('%s', async (_name, file) => {
    const found: string[] = [];
    const report = (mismatch: Mismatch) => found.push(describeMismatch(mismatch));
    const { ops, mismatches } = await replayFiles([file], { check: true, report });
    expect(found).toEqual([]);
    expect(mismatches).toBe(0);
    expect(ops).toBeGreaterThan(0);
  });
});

describe('a mismatch is', () => {
  async function replay(...lines: string[]): Promise<{ ops: number; found: Mismatch[] }> {
    const found: Mismatch[] = [];
    const ops = await replayTrace('t', lines, {
      check: true,
      report: (mismatch) => found.push(mismatch),
    });
    return { ops, found };
  }

  test.each([
    ['another errno', '{"op":"ioas_destroy","ioas":"ioas0","expect":{"errno":"EBUSY"}}', '{"errno":"OK"}'],
    ['a missing output', '{"op":"huge_pages_get","ioas":"ioas0","expect":{"errno":"OK"}}', '"value":1'],
    ['an output too many', '{"op":"ioas_destroy","ioas":"ioas0","expect":{"errno":"OK","value":1}}', '"OK"}'],
    [
      'another value',
      '{"op":"map","ioas":"ioas0","iova":null,"uptr":"0x100000","length":"0x1000","prot":"r","expect":{"errno":"OK","iova":"0x2000"}}',
      '"iova":"0x1000"',
    ],
    ['an unknown operation', '{"op":"nap","expect":{"errno":"OK"}}', 'operation nap is not known'],
    [
      'an unknown argument',
      '{"op":"ioas_destroy","ioas":"ioas0","force":true,"expect":{"errno":"OK"}}',
      'field force is not known',
    ],
    ['a missing argument', '{"op":"ioas_destroy","expect":{"errno":"OK"}}', 'ioas must be a string'],
    [
      'a malformed number',
      '{"op":"unmap","ioas":"ioas0","iova":"0x01","length":"0x1","expect":{"errno":"OK","unmapped":"0x1"}}',
      'iova must be a 64-bit hex string',
    ],
    ['a line that is no JSON', '{"op":', 'SyntaxError'],
    ['a line without an answer', '{"op":"ioas_alloc","ioas":"ioas1"}', 'expect must be an object'],
    ['an empty line', '', 'SyntaxError'],
  ])('%s', async (_what, line, got) => {
    const { ops, found } = await replay(HEADER, ALLOC, line);
    expect(ops).toBe(2);
    expect(found).toHaveLength(1);
    expect(found[0]!.line).toBe(3);
    expect(found[0]!.got).toContain(got);
  });

  test.each([
    ['format', HEADER.replace('"format":1', '"format":2'), 'the format is not 1'],
    ['key', HEADER.replace('"seed"', '"cpu":1,"seed"'), 'field cpu is not known'],
    ['profile', HEADER.replace('"seed"', '"profile":"rfc-v0","seed"'), 'profile rfc-v0 is not known'],
    ['kernel', HEADER.replace('6.12.117', '0.12.117'), 'kernel 0.12.117 is not known'],
    ['page size', HEADER.replace('4096', '16384'), 'the page size is not 4096'],
    ['nothing', '', 'SyntaxError'],
  ])('a header with an unknown %s', async (_what, header, got) => {
    const { ops, found } = await replay(header, ALLOC);
    expect(ops).toBe(1);
    expect(found.map(({ operation }) => operation)).toEqual(['header']);
    expect(found[0]!.got).toContain(got);
  });

  test('a header of a profile that is not known, whatever else it has that is not', async () => {
    const later = HEADER.replace('"seed"', '"profile":"linux-0.1","files":[],"seed"').replace(
      'basic',
      'file',
    );
    const { found } = await replay(later.replace('6.12.117', '0.1.4'), ALLOC);
    expect(found.map(({ got }) => got)).toEqual(['TraceError: profile linux-0.1 is not known']);
  });

  test('an operation of another profile', async () => {
    const rfc = HEADER.replace('"seed"', '"profile":"rfc-v1","seed"');
    const { found } = await replay(rfc, '{"op":"vfio_info","expect":{"errno":"ENODEV"}}');
    expect(found.map(({ got }) => got)).toEqual(['TraceError: operation vfio_info is not known']);
  });

  test('a broken invariant, and anything that stays pinned at the end', async () => {
    const check = vi.spyOn(Iommufd.prototype, 'check').mockImplementation(() => {
      throw new InvariantError('order', 'chaos');
    });
    const close = vi.spyOn(Iommufd.prototype, 'close').mockImplementation(async () => undefined);
    try {
      const { found } = await replay(
        HEADER,
        ALLOC,
        '{"op":"map","ioas":"ioas0","iova":"0x1000","uptr":"0x100000","length":"0x1000","prot":"r","expect":{"errno":"OK","iova":"0x1000"}}',
        '{"op":"access_create","ioas":"ioas0","access":"acc0","pins":true,"expect":{"errno":"OK"}}',
        '{"op":"access_pin","access":"acc0","item":"pin0","iova":"0x1000","length":"0x1000","uptr":null,"write":false,"expect":{"errno":"OK"}}',
      );
      expect(found.map(({ line, operation }) => [line, operation])).toEqual([
        [2, 'check after ioas_alloc'],
        [3, 'check after map'],
        [4, 'check after access_create'],
        [5, 'check after access_pin'],
        [5, 'close'],
      ]);
      expect(found[0]!.got).toContain('order: chaos');
      expect(found.at(-1)!.got).toBe('1 pins');
    } finally {
      check.mockRestore();
      close.mockRestore();
    }
  });

  test('a file that cannot be read', async () => {
    const found: Mismatch[] = [];
    const totals = await replayFiles(await findTraces([join(TRACES, 'no-such-file.jsonl')]), {
      report: (mismatch) => found.push(mismatch),
    });
    expect(totals).toEqual({ files: 1, ops: 0, mismatches: 1 });
    expect(found[0]!.got).toContain('ENOENT');
  });
});

describe('the profile of a trace', () => {
  /** An unmap of more than an area: which kernel answers shows in the errno. */
  async function unmapOfMore(header: string, uapi: boolean): Promise<unknown> {
    const map = { ioas: 'ioas0', iova: '0x1000', uptr: '0x100000', length: '0x1000', prot: 'r' };
    const unmap = { ioas: 'ioas0', iova: '0x0', length: '0x10000' };
    const found: string[] = [];
    const lines = [
      header,
      ALLOC,
      traceLine('map', map, { iova: '0x1000' }),
      traceLine('unmap', unmap, { errno: '?' }),
    ];
    await replayTrace('t', lines, { uapi, check: true, report: ({ got }) => found.push(got) });
    expect(found).toHaveLength(1);
    return JSON.parse(found[0]!);
  }

  const takesAllInside = { errno: 'OK', unmapped: '0x1000' };
  const takesOneArea = { errno: 'ENOENT', unmapped: '0x10000' };
  const kernel = '"kernel":"6.12.117",';

  test.each([
    ['is what it says', `${kernel}"profile":"rfc-v1",`, takesOneArea],
    ['is what it says, without a kernel', '"profile":"rfc-v1",', takesOneArea],
    ['is that of its kernel', kernel, takesAllInside],
    ['is that of its kernel, too, where that is no release', '"kernel":"rfc-v1",', takesOneArea],
    ['is 6.12 where it says linux', `${kernel}"profile":"linux",`, takesAllInside],
    ['is 6.12 where it says nothing', '', takesAllInside],
  ])('%s', async (_what, fields, answer) => {
    const header = HEADER.replace(kernel, fields);
    expect(await unmapOfMore(header, false)).toEqual(answer);
    expect(await unmapOfMore(header, true)).toEqual(answer);
  });
});

describe('the command', () => {
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'conformance-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  function run(...args: string[]): Promise<{ code: number; lines: string[] }> {
    return new Promise((resolve) => {
      const command = ['--import', 'tsx', 'scripts/conformance.ts', ...args];
      execFile(process.execPath, command, { cwd: ROOT }, (error, stdout) => {
        const code = typeof error?.code === 'number' ? error.code : 0;
        resolve({ code, lines: stdout.trimEnd().split('\n') });
      });
    });
  }

  test('prints the figures last and exits 0 if all answers agree', async () => {
    const { code, lines } = await run('--check', join(TRACES, 'rfc-reported-bug.jsonl'));
    expect(code).toBe(0);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/^files 1, ops \d+, mismatches 0$/);
  });

  test('prints file, line, operation and both answers for each mismatch, and exits 1', async () => {
    const trace = await readFile(join(TRACES, 'rfc-reported-bug.jsonl'), 'utf8');
    const file = join(folder, 'changed.jsonl');
    await writeFile(file, trace.replace('"errno":"ENOENT"', '"errno":"OK"'));
    const { code, lines } = await run(folder);
    expect(code).toBe(1);
    expect(lines).toHaveLength(2);
    expect(lines[0]).toMatch(
      /changed\.jsonl:\d+: unmap: expected \{.*"errno":"OK".*\}, got \{.*"ENOENT".*\}/,
    );
    expect(lines[1]).toMatch(/^files 1, ops \d+, mismatches 1$/);
  });

  test('exits 2 if there is nothing to replay', async () => {
    await rm(join(folder, 'changed.jsonl'), { force: true });
    expect((await run(folder)).code).toBe(2);
    expect((await run()).code).toBe(2);
    expect((await run('--what', TRACES)).code).toBe(2);
  });
});
