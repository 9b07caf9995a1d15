/** Conformance traces replayed for a report: what is recorded and counted of each operation. */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type TraceDivergence, TraceReplayer } from '../../src/replay/formats/trace/trace-replayer.js';
import { measureHoles } from '../../src/replay/holes.js';
import type { MalformedLine } from '../../src/replay/log-line.js';
import { ReplayRecorder } from '../../src/replay/recorder.js';
import type { NamedSpace } from '../../src/replay/replay-space.js';
import { ALLOC, HEADER, traceLine as op, traceFiles } from '../helpers/traces.js';
import { type Picture, pictureOf, replayed } from './pictures.js';

/** Replays a trace with a recorder, and looks at the model itself after each operation. */
async function watched(lines: readonly string[]) {
  const divergences: TraceDivergence[] = [];
  const malformed: MalformedLine[] = [];
  const pictures: Picture[] = [];
  const ended: NamedSpace[] = [];
  let line = 1;
  const replayer = new TraceReplayer(lines[0]!, {
    onDivergence: (divergence) => divergences.push(divergence),
    onMalformed: (bad) => malformed.push(bad),
    onSpaceEnd: (space) => ended.push(space),
  });
  const recorder = new ReplayRecorder({ log: 't', profile: replayer.profile });
  const peaks = { areas: 0, pinned: 0 };
  const calls: string[] = [];
  for (const text of lines.slice(1)) {
    line += 1;
    const step = await replayer.apply(text, line);
    if (step === undefined) continue;
    calls.push(`${step.operation}: ${step.answer.code}`);
    const { pinnedPages } = replayer;
    const settingChanged = step.space !== undefined && replayer.settingChanged(step.space);
    recorder.step(step, { pinnedPages, settingChanged });
    for (const space of ended.splice(0)) recorder.ended(space, line);
    const picture = pictureOf(replayer.spaces());
    pictures.push(picture);
    const areas = Object.values(picture).reduce((sum, list) => sum + list.length, 0);
    peaks.areas = Math.max(peaks.areas, areas);
    peaks.pinned = Math.max(peaks.pinned, pinnedPages);
  }
  const holes = [...replayer.spaces()].map(({ table }) => measureHoles(table.snapshot()));
  const figures = await replayer.finish();
  const recording = recorder.recording(figures);
  return { recording, pictures, peaks, holes, figures, divergences, malformed, calls, replayer };
}

function linesOf(file: string): string[] {
  return readFileSync(file, 'utf8').trimEnd().split('\n');
}

const DOMAIN = op('domain_add', { ioas: 'ioas0', domain: 'dom0', huge: false, dirty: false });
const map = (iova: string | null, length = '0x2000', answer: object = { iova }) =>
  op('map', { ioas: 'ioas0', iova, uptr: '0x100000', length, prot: 'rw' }, answer);
const unmap = (iova: string, length: string, answer: object = { unmapped: length }) =>
  op('unmap', { ioas: 'ioas0', iova, length }, answer);

describe('a recorded trace', () => {
  test.each(traceFiles)('%s, put together step by step, is what there was', async (_name, file) => {
    const lines = linesOf(file);
    const { recording, pictures, peaks, holes, figures, divergences, malformed } = await watched(lines);
    expect([divergences, malformed]).toEqual([[], []]);
    expect(replayed(recording)).toEqual(pictures);
    expect(recording.steps.map(({ line }) => line)).toEqual(lines.slice(1).map((_, at) => at + 2));
    expect(figures.requests).toBe(lines.length - 1);
    expect(figures.peakAreas).toBe(peaks.areas);
    expect(figures.peakPinnedBytes).toBe(BigInt(peaks.pinned) * 4096n);
    const largest = holes.reduce((most, { largestHole }) => (largestHole > most ? largestHole : most), 0n);
    expect(figures.largestHole).toBeGreaterThanOrEqual(largest);
    expect(figures.fragmentation).toBeGreaterThanOrEqual(
      Math.max(0, ...holes.map((one) => one.fragmentation)),
    );
  });

  test('says what the operations were', async () => {
    const { calls, recording, figures } = await watched([
      HEADER,
      ALLOC,
      DOMAIN,
      map(null, '0x2000', { iova: '0x1000000' }),
      map('0x1008000'),
      op('reserve', { ioas: 'ioas0', start: '0x1100000', length: '0x1000' }),
      op('allow_iovas', { ioas: 'ioas0', ranges: [['0x1000000', '0x10fffff']] }),
      op('huge_pages_get', { ioas: 'ioas0' }, { value: 1 }),
      op('ioas_alloc', { ioas: 'ioas1' }),
      op(
        'copy',
        { dst: 'ioas1', src: 'ioas0', src_iova: '0x1008000', dst_iova: null, length: '0x1000', prot: 'r' },
        { iova: '0x1000' },
      ),
      op('access_create', { ioas: 'ioas0', access: 'acc0', pins: true }),
      op('access_pin', {
        access: 'acc0',
        item: 'pin0',
        iova: '0x1008000',
        length: '0x1000',
        uptr: null,
        write: true,
      }),
      op(
        'page_pins',
        { uptr: '0x100000', length: '0x3000' },
        {
          runs: [
            [2, 2],
            [1, 0],
          ],
        },
      ),
      op('access_unpin', { access: 'acc0', item: 'pin0' }),
      unmap('0x1008000', '0x2000'),
      op('vfio_ioas_set', { ioas: 'ioas0' }),
      op('vfio_map', { iova: '0x100a000', uptr: '0x104000', length: '0x1000', prot: 'r' }),
      op('vfio_unmap', { iova: '0x0', length: '0x0', all: true }, { unmapped: '0x3000' }),
      op('ioas_destroy', { ioas: 'ioas1' }),
    ]);
    expect(calls).toEqual([
      'ioas alloc ioas0: OK',
      'domain add ioas0 dom0: OK',
      'map 0x2000 bytes anywhere in ioas0 from user 0x100000 (rw): OK',
      'map [0x1008000, 0x1009fff] of ioas0 from user 0x100000 (rw): OK',
      'reserve [0x1100000, 0x1100fff] ioas0: OK',
      'allow iovas ioas0 ranges (1): OK',
      'huge pages get ioas0: OK',
      'ioas alloc ioas1: OK',
      'copy [0x1008000, 0x1008fff] of ioas0 to 0x1000 bytes anywhere in ioas1 (r): OK',
      'access create ioas0 acc0 pins: OK',
      'access pin [0x1008000, 0x1008fff] acc0 pin0 write: OK',
      'page pins user [0x100000, 0x102fff]: OK',
      'access unpin acc0 pin0: OK',
      'unmap [0x1008000, 0x1009fff] of ioas0: OK',
      'vfio ioas set ioas0: OK',
      'vfio map [0x100a000, 0x100afff] from user 0x104000 (r): OK',
      'vfio unmap 0 bytes at 0x0 all: OK',
      'ioas destroy ioas1: OK',
    ]);
    const spaceOf = new Map(recording.spaces.map(({ id, name }) => [id, name]));
    const abouts = recording.steps.map(({ space }) => (space === null ? null : spaceOf.get(space)));
    expect(abouts.map((name) => name?.slice(-1) ?? '-').join('')).toBe('000000011' + '00-00000' + '1');
    expect(recording.steps.at(-1)).toMatchObject({ call: 'ioas destroy ioas1', removed: ['0x1000'] });
    expect(recording.steps.flatMap(({ setting, call }) => (setting === undefined ? [] : [call]))).toEqual([
      'domain add ioas0 dom0',
      'reserve [0x1100000, 0x1100fff] ioas0',
      'allow iovas ioas0 ranges (1)',
      'access create ioas0 acc0 pins',
    ]);
    expect(figures).toMatchObject({ requests: 18, peakAreas: 3, peakPinnedBytes: 4n * 4096n });
  });
});

describe('a divergence', () => {
  test('of errnos has the reason of the model', async () => {
    const { divergences, recording, figures } = await watched([
      HEADER,
      ALLOC,
      map('0x1000'),
      map('0x2000'),
      unmap('0x1000', '0x2000', { errno: 'ENOENT', unmapped: '0x2000' }),
    ]);
    expect(divergences).toEqual([
      {
        line: 4,
        operation: 'map [0x2000, 0x3fff] of ioas0 from user 0x100000 (rw)',
        logged: 'OK, iova 0x2000',
        answered: 'EEXIST',
        reason: expect.stringContaining('area [0x1000, 0x2fff]'),
      },
      {
        line: 5,
        operation: 'unmap [0x1000, 0x2fff] of ioas0',
        logged: 'ENOENT, unmapped 0x2000',
        answered: 'OK, unmapped 0x2000',
        reason: 'an unmap takes all areas that lie wholly inside its range: 0x2000 bytes',
      },
    ]);
    expect(recording.steps.filter(({ diverges }) => diverges).map(({ line }) => line)).toEqual([4, 5]);
    expect(figures.divergences).toBe(2);
  });

  test('of other outputs has both, and needs no reason', async () => {
    const { divergences } = await watched([HEADER, ALLOC, map(null, '0x1000', { iova: '0x7000' })]);
    expect(divergences).toEqual([
      {
        line: 3,
        operation: 'map 0x1000 bytes anywhere in ioas0 from user 0x100000 (rw)',
        logged: 'OK, iova 0x7000',
        answered: 'OK, iova 0x1000',
      },
    ]);
  });
});

test('a line that is no operation is told and doesn’t end the run', async () => {
  const { malformed, figures, calls } = await watched([
    HEADER,
    ALLOC,
    '{"op":',
    op('nap', {}),
    op('unmap', { ioas: 'ioas0', iova: '0x01', length: '0x1' }),
    op('ioas_destroy', { ioas: 'ioas0', force: true }),
    map('0x1000'),
  ]);
  expect(malformed.map(({ line, problem }) => `${line}: ${problem}`)).toEqual([
    expect.stringContaining('3: SyntaxError'),
    '4: TraceError: operation nap is not known',
    expect.stringContaining('5: TraceError: iova must be a 64-bit hex string'),
    '6: TraceError: field force is not known',
  ]);
  expect(figures).toMatchObject({ malformed: 4, divergences: 1, requests: 2 });
  // The space was destroyed all the same.
  expect(calls.at(-1)).toContain('ENOENT');
});

/** Lines of a recorded trace, some of them with a value that is another, or with an end that is missing. */
const damaged = fc
  .tuple(
    fc.constantFrom(...traceFiles.map(([, file]) => file)),
    fc.array(
      fc.record({
        line: fc.nat(400),
        key: fc.nat(8),
        value: fc.oneof(
          fc.constantFrom(
            'ioas0',
            'dom0',
            'acc0',
            '',
            '0x0',
            '0x1000',
            `0x${'f'.repeat(16)}`,
            '0xfffffffffffff000',
          ),
          fc.constantFrom(null, true, false, 0, -1, 1.5, 2 ** 53, [], {}, [['0x0', '0x1']], ['__proto__']),
        ),
        cut: fc.option(fc.nat(200), { nil: undefined, freq: 5 }),
      }),
      { minLength: 1, maxLength: 60 },
    ),
  )
  .map(([file, damages]) => {
    const [header, ...lines] = linesOf(file);
    for (const { line, key, value, cut } of damages) {
      const at = line % lines.length;
      const fields: object = JSON.parse(readFileSync(file, 'utf8').split('\n')[at + 1]!);
      const keys = Object.keys(fields).filter((name) => name !== 'expect');
      const changed = JSON.stringify({ ...fields, [keys[key % keys.length]!]: value });
      lines[at] = cut === undefined ? changed : changed.slice(0, cut);
    }
    return [header!, ...lines];
  });

test('a damaged trace is replayed to its end, and recorded as it went', () =>
  fc.assert(
    fc.asyncProperty(damaged, async (lines) => {
      const { recording, pictures, figures, malformed, divergences } = await watched(lines);
      expect(figures.requests + malformed.length).toBe(lines.length - 1);
      expect(figures.divergences).toBe(divergences.length);
      // What could not be read to its end has been performed all the same, and shows with the next step.
      if (malformed.length === 0) expect(replayed(recording)).toEqual(pictures);
    }),
    { seed: 20220318, numRuns: 60 },
  ));

describe('a question', () => {
  test.each([
    [map('0x2000'), 'map', 'EEXIST'],
    [map(null), 'map', undefined],
    [unmap('0x1000', '0x1000'), 'unmap', 'ENOENT'],
    [
      op('copy', {
        dst: 'ioas0',
        src: 'ioas0',
        src_iova: '0x1000',
        dst_iova: '0x9000',
        length: '0x1000',
        prot: 'r',
      }),
      'copy',
      undefined,
    ],
    [op('access_pin', { access: 'acc0', iova: '0x5000', length: '0x1000', write: true }), 'access', 'ENOENT'],
  ])('is made of %s', async (text, call, code) => {
    const replayer = new TraceReplayer(HEADER);
    const access = op('access_create', { ioas: 'ioas0', access: 'acc0', pins: true });
    for (const [at, line] of [ALLOC, map('0x1000'), access].entries()) await replayer.apply(line, at + 2);
    const snapshots = () => [...replayer.spaces()].map(({ table }) => table.snapshot());
    const before = snapshots();
    expect(replayer.question(text)).toMatchObject({ space: { name: 'ioas0' }, request: { call } });
    const explanation = await replayer.explain(text);
    expect(explanation?.ok === false ? explanation.code : undefined).toBe(code);
    expect(snapshots()).toEqual(before);
    expect(replayer.pinnedPages).toBe(0);
  });

  test.each([
    ['what is no call', op('page_pins', { uptr: '0x100000', length: '0x1000' })],
    ['a space that is not there', op('unmap', { ioas: 'ioas7', iova: '0x0', length: '0x1' })],
    ['what is no operation', '{'],
  ])('is not made of %s', async (_what, text) => {
    const replayer = new TraceReplayer(HEADER);
    await replayer.apply(ALLOC, 2);
    expect(replayer.question(text)).toBeUndefined();
    expect(await replayer.explain(text)).toBeUndefined();
  });
});

test.each([
  ['', /JSON/],
  ['{"format":2}', /format/],
  [HEADER.replace('"seed"', '"profile":"rfc-v0","seed"'), /rfc-v0/],
])('a header %j is refused', (header, message) => {
  expect(() => new TraceReplayer(header)).toThrow(message);
});
