import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ASSETS, reportAssets } from '../../scripts/report-assets.js';
import { renderHtml } from '../../src/render/html.js';
import { REPORT_HASHES, REPORT_SCRIPT, REPORT_STYLE } from '../../src/render/html-assets.js';
import { jsonPieces, packRecording, unpackRecording } from '../../src/render/html-data.js';
import type { RecordedArea, RecordedSpace, RecordedStep } from '../../src/replay/recording.js';
import { recordingOf, SPACE, scatteredRecording, stepOf } from './recordings.js';

const arbitraryNumber = fc.bigInt(0n, 2n ** 64n - 1n).map((value) => `0x${value.toString(16)}`);
const arbitraryText = fc
  .array(
    fc.oneof(
      arbitraryNumber,
      fc.string({ unit: 'binary' }),
      fc.constantFrom('0x', '0x00', '0xA', '-0x1', '0x12345678901234567'),
    ),
  )
  .map((parts) => parts.join(''));
const arbitraryArea: fc.Arbitrary<RecordedArea> = fc.record(
  {
    iova: arbitraryNumber,
    last: arbitraryNumber,
    source: fc.constantFrom('file', 'dma-buf'),
    uptr: arbitraryNumber,
    prot: fc.constantFrom('', 'r', 'w', 'rw'),
    pages: fc.nat(),
  },
  { requiredKeys: ['iova', 'last', 'uptr', 'prot', 'pages'] },
);
const arbitrarySetting = fc.record({
  alignment: fc.constantFrom(1, 4096),
  reserved: fc.array(fc.record({ start: arbitraryNumber, last: arbitraryNumber, owner: arbitraryText })),
  allowed: fc.array(fc.record({ start: arbitraryNumber, last: arbitraryNumber })),
  domains: fc.constant(SPACE.setting.domains),
});
const arbitrarySpace: fc.Arbitrary<RecordedSpace> = fc.record({
  id: fc.nat(),
  name: arbitraryText,
  areas: fc.array(arbitraryArea),
  setting: arbitrarySetting,
});
const arbitraryStep: fc.Arbitrary<RecordedStep> = fc.record(
  {
    line: fc.nat(),
    space: fc.option(fc.nat()),
    call: arbitraryText,
    logged: arbitraryText,
    answered: arbitraryText,
    diverges: fc.boolean(),
    pinnedPages: fc.nat(),
    reason: arbitraryText,
    advice: arbitraryText,
    removed: fc.array(arbitraryNumber),
    added: fc.array(arbitraryArea),
    setting: arbitrarySetting,
  },
  { requiredKeys: ['line', 'space', 'call', 'logged', 'answered', 'diverges', 'pinnedPages'] },
);

test('a recording comes out of a report as it went in, and none of it can be markup', () => {
  fc.assert(
    fc.property(
      fc.array(arbitrarySpace, { maxLength: 4 }),
      fc.array(arbitraryStep, { maxLength: 12 }),
      fc.array(arbitraryStep, { maxLength: 3 }),
      arbitraryText,
      (spaces, steps, skippedDivergences, log) => {
        const recording = recordingOf(steps, { spaces, skippedDivergences, log, skipped: 5 });
        const json = [...jsonPieces(packRecording(recording))].join('');
        expect(json).not.toMatch(/[<>&\u2028\u2029]/);
        expect(unpackRecording(JSON.parse(json))).toEqual(recording);
      },
    ),
  );
});

test('100 000 operations without anything in common are less than 10 MB', () => {
  let bytes = 0;
  for (const piece of renderHtml(scatteredRecording(100_000))) bytes += Buffer.byteLength(piece);
  expect(bytes).toBeLessThan(10_000_000);
});

test('a report is one file that names no other', () => {
  const html = [...renderHtml(recordingOf([stepOf(1, 'map [0x0, 0xfff]')]))].join('');
  expect(html).not.toMatch(/\b(?:src|href|action)=|@import|https?:(?!\/\/www\.w3\.org\/2000\/svg)/);
});

test('the policy lets the report’s own script and style in, by what they are', () => {
  const html = [...renderHtml(recordingOf([]))].join('');
  const policy = /http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(html)![1]!;
  for (const [kind, pattern] of [
    ['script', /<script>(.*?)<\/script>/s],
    ['style', /<style>(.*?)<\/style>/s],
  ] as const) {
    const hash = createHash('sha256').update(pattern.exec(html)![1]!).digest('base64');
    expect(policy).toContain(`${kind}-src &#39;sha256-${hash}&#39;`);
    expect(REPORT_HASHES[kind]).toBe(`sha256-${hash}`);
  }
  expect(policy).toMatch(/^default-src &#39;none&#39;;/);
  expect(policy).not.toContain('unsafe');
  expect(REPORT_SCRIPT).not.toMatch(/<\/?script|<!--/i);
  expect(REPORT_STYLE).not.toMatch(/<\/style/i);
});

test('the script and the style sheet are what `npm run build:report` makes of their sources', async () => {
  expect(await readFile(ASSETS, 'utf8')).toBe(await reportAssets());
});
