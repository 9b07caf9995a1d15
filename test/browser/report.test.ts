import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { renderHtml, renderSvg } from '../../src/render/index.js';
import type { RecordedArea, ReplayRecording } from '../../src/replay/index.js';
import { run } from '../cli/fake-terminal.js';
import { HEADER, traceLine as op } from '../helpers/traces.js';
import { recordingOf, SPACE, scatteredRecording, stepOf } from '../render/recordings.js';
import { launchChromium, type Misdeeds, opened, watch } from './chromium.js';

let browser: Browser;
let page: Page;
let misdeeds: Misdeeds;
let folder: string;

beforeAll(async () => {
  browser = await launchChromium();
  folder = await mkdtemp(join(tmpdir(), 'iopt-report-'));
});

afterAll(async () => {
  await browser?.close();
  if (folder !== undefined) await rm(folder, { recursive: true });
});

beforeEach(async () => {
  page = await browser.newPage({ viewport: { width: 1440, height: 1000 }, colorScheme: 'light' });
  misdeeds = await watch(page);
});

afterEach(async () => {
  await page.close();
});

async function keep(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  return pathToFileURL(path).href;
}

async function show(recording: ReplayRecording): Promise<void> {
  await opened(page, await keep('report.html', [...renderHtml(recording)].join('')));
}

async function expectInnocence(): Promise<void> {
  expect(await misdeeds.canary()).toBe(false);
  expect(misdeeds.dialogs).toEqual([]);
  expect(misdeeds.requests).toEqual([]);
  expect(misdeeds.errors).toEqual([]);
  expect(await misdeeds.violations()).toEqual([]);
}

const RUN = 'window.canary=1;alert(1)';
const HOSTILE = [
  `</script><script>${RUN}</script>`,
  `<img src=x onerror="${RUN}">`,
  `"><svg onload="${RUN}"><a href="javascript:${RUN}">x</a>`,
  `' onmouseover='${RUN}' autofocus onfocus='${RUN}'`,
  `</title></style></noscript><!--<script>${RUN}//-->`,
  `&lt;script&gt;${RUN}&lt;/script&gt;&#60;script&#62;`,
  '\u2028\u2029\u202emap\u2066\u0000\u0007\ud800',
  `\`\${${RUN}}\``,
].join(' ');

const AREA: RecordedArea = {
  iova: '0xfffff000',
  last: '0xffffffff',
  uptr: '0x7f79ee81f000',
  prot: 'rw',
  pages: 1,
};

function hostileRecording(): ReplayRecording {
  const setting = {
    ...SPACE.setting,
    reserved: [{ start: '0xfee00000', last: '0xfeefffff', owner: HOSTILE }],
  };
  const answers = { logged: HOSTILE, answered: HOSTILE, diverges: true, reason: HOSTILE, advice: HOSTILE };
  const added = [{ ...AREA, prot: HOSTILE }];
  const steps = [stepOf(1, HOSTILE, { ...answers, added, setting }), stepOf(2, HOSTILE, answers)];
  const skippedDivergences = [stepOf(1, HOSTILE, answers)];
  const spaces = [{ ...SPACE, name: HOSTILE, setting }];
  return recordingOf(steps, { log: HOSTILE, spaces, skipped: 1, skippedDivergences });
}

/** Goes through everything that the report can show, by pointer and by key. */
async function touchEverything(): Promise<void> {
  await page.locator('#timeline').hover({ position: { x: 400, y: 100 } });
  for (const row of await page.locator('#picture .row').all()) await row.hover();
  for (const id of ['previous', 'next', 'next-failing', 'previous-failing'])
    await page.locator(`#${id}`).click();
  for (const option of ['failing', 'diverging', 'all']) await page.locator('#filter').selectOption(option);
  await page.locator('#operations').press('Home');
  await page.locator('#operations').press('End');
  await page.locator('#picture .row').first().focus();
  await page.keyboard.press('ArrowDown');
}

test('nothing of a hostile recording runs, wherever it is shown', async () => {
  await show(hostileRecording());
  await touchEverything();
  await expectInnocence();
  expect(await page.locator('img, a, iframe, object, svg svg').count()).toBe(0);
  expect(await page.locator('script').count()).toBe(2);
  const shown = await page.locator('body').innerText();
  expect(shown).toContain(`<img src=x onerror="${RUN}">`);
  expect(shown).toContain('&lt;script&gt;');
  expect(shown).toContain('\\u{2028}\\u{2029}\\u{202e}map\\u{2066}\\u{0}\\u{7}\\u{d800}');
  expect(shown).not.toMatch(/[\u2028\u2029\u202e\u2066]/);
});

test('nothing of a hostile log runs that the command line has replayed', async () => {
  const log = join(folder, `<img src=x onerror=${RUN.replaceAll('/', '')}>.log`);
  const lines = [
    `${HOSTILE} vfio_dma_map(0x55b99d7b7d40, 0xfffff000, 0x1000, 0x7f79ee81f000) = 0`,
    `<script>${RUN}</script> vfio_dma_map(0x55b99d7b7d40, 0xfffff000, 0x1000, 0x7f79ee81f000) = 0`,
    `x: vfio_dma_unmap(0x55b99d7b7d40, 0xff000000, 0x1000000) = -2 (<img src=x onerror="${RUN}">)`,
  ];
  await writeFile(log, `${lines.join('\n')}\n`);
  const report = join(folder, 'log.html');
  expect((await run(['replay', '--html', report, log], { html: renderHtml })).status).toBe(1);
  await opened(page, pathToFileURL(report).href);
  await touchEverything();
  await expectInnocence();
  expect(await page.locator('h1').innerText()).toContain('<img src=x');
  expect(await page.locator('img').count()).toBe(0);
});

test('a conformance trace has a report of all its spaces, in which its names stay text', async () => {
  const name = HOSTILE[1]!;
  const trace = join(folder, 'trace.jsonl');
  const place = { iova: '0x1000', uptr: '0x100000', length: '0x2000', prot: 'rw' };
  const lines = [
    HEADER,
    op('ioas_alloc', { ioas: 'ioas0' }),
    op('ioas_alloc', { ioas: name }),
    op('domain_add', { ioas: name, domain: name, huge: true, dirty: false }),
    op('map', { ioas: 'ioas0', ...place }, { iova: '0x1000' }),
    op('map', { ioas: name, ...place }, { iova: '0x1000' }),
    name,
  ];
  await writeFile(trace, lines.join('\n'));
  const report = join(folder, 'trace.html');
  const { status, out } = await run(['replay', '--html', report, trace], { html: renderHtml });
  expect([status, out]).toEqual([1, expect.stringContaining('malformed lines  1\n')]);
  await opened(page, pathToFileURL(report).href);
  expect(await page.locator('#space option').allInnerTexts()).toEqual(['ioas0', name]);
  await page.locator('#operations').press('End');
  await expectTime('step 5 of 5');
  // The mock domain begins higher up.
  expect(await page.locator('#operation').innerText()).toContain(`${name} from user 0x100000 (rw)`);
  expect((await rows())[0]).toContain('reserved by a MockDomain');
  await touchEverything();
  await expectInnocence();
});

test('the policy stops what would run if something were not escaped; without it the canary is set', async () => {
  const html = [...renderHtml(recordingOf([stepOf(1, 'map')]))].join('');
  const broken = html.replace(
    '<body>',
    `<body><script>window.canary=1</script><img src=x onerror="window.canary=1">`,
  );
  await opened(page, await keep('broken.html', broken));
  expect(await misdeeds.canary()).toBe(false);
  expect(await misdeeds.violations()).toEqual(expect.arrayContaining(['script-src-elem', 'img-src']));
  await opened(page, await keep('open.html', broken.replace('Content-Security-Policy', 'X-None')));
  expect(await misdeeds.canary()).toBe(true);
});

const STEPS = [
  stepOf(1, 'map [0xfffff000, 0xffffffff]', { added: [AREA], pinnedPages: 1 }),
  stepOf(2, 'copy', { added: [{ ...AREA, iova: '0x1000', last: '0x1fff' }] }),
  stepOf(3, 'map [0x2000, 0x5fff]', { added: [{ ...AREA, iova: '0x2000', last: '0x5fff', pages: 2 }] }),
  stepOf(4, 'unmap [0xff000000, 0xffffffff]', {
    logged: 'ENOENT',
    diverges: true,
    reason: 'there is an area',
    advice: 'unmap more',
    removed: ['0xfffff000'],
  }),
  stepOf(5, 'map [0x1000, 0x1fff]', {
    logged: 'EADDRINUSE',
    answered: 'EADDRINUSE',
    reason: 'an area is there',
  }),
];

/** The labels of the picture's rows. */
async function rows(): Promise<string[]> {
  const all = await page.locator('#picture .row').all();
  return await Promise.all(all.map(async (row) => (await row.getAttribute('aria-label'))!));
}

async function expectTime(text: string): Promise<void> {
  await page.locator('#where', { hasText: text }).waitFor();
}

test('a report opens at the first divergence, and tells it', async () => {
  await show(recordingOf(STEPS));
  await expectTime('step 4 of 5');
  const told = await page.locator('#operation').innerText();
  expect(told).toContain('The log says ENOENT, linux-6.12 says OK because there is an area.');
  expect(told).toContain('Instead: unmap more.');
  expect(told).toContain('− 0xfffff000 to 0xffffffff, 4 KiB: rw');
  const marked = page.locator('.operation.diverges');
  expect(await marked.innerText()).toContain('✗ log: ENOENT, model: OK');
  expect(await marked.getAttribute('aria-selected')).toBe('true');
  expect(await page.locator('.operation.refused').innerText()).toContain('EADDRINUSE');
  await expectInnocence();
});

test('the slider goes through time by key, forwards and backwards', async () => {
  await show(recordingOf(STEPS));
  const slider = page.locator('#time');
  const seen: string[][] = [];
  await slider.press('Home');
  await expectTime('before the first step');
  seen.push(await rows());
  for (let time = 1; time <= 5; time++) {
    await slider.press('ArrowRight');
    await expectTime(`step ${time} of 5`);
    seen.push(await rows());
  }
  expect(seen.map((labels) => labels.filter((label) => label.includes('user')).length)).toEqual([
    0, 1, 2, 3, 2, 2,
  ]);
  for (let time = 4; time >= 1; time--) {
    await slider.press('ArrowLeft');
    await expectTime(`step ${time} of 5`);
    expect(await rows()).toEqual(seen[time]);
  }
  expect(await slider.getAttribute('aria-valuetext')).toBe('step 1 of 5: map [0xfffff000, 0xffffffff]');
});

test('the list is walked by key and shows what was asked for', async () => {
  await show(recordingOf(STEPS));
  const list = page.locator('#operations');
  await list.press('Home');
  await expectTime('step 1 of 5');
  await list.press('ArrowDown');
  await expectTime('step 2 of 5');
  await page.locator('#filter').selectOption('failing');
  expect(await page.locator('.operation').count()).toBe(2);
  await page.locator('#filter').selectOption('diverging');
  expect(await page.locator('.operation').count()).toBe(1);
  await list.press('End');
  await expectTime('step 4 of 5');
  const active = await list.getAttribute('aria-activedescendant');
  expect(await page.locator(`#${active}`).getAttribute('aria-selected')).toBe('true');
});

test('details come by pointer and by key', async () => {
  await show(recordingOf(STEPS));
  const details = page.locator('#details');
  await page.locator('#picture .row', { hasText: 'pages B' }).hover();
  expect(await details.innerText()).toContain('0x2000 to 0x5fff, 16 KiB: rw');
  await page.locator('#picture .row').first().focus();
  expect(await details.innerText()).toContain('0x0 to 0xfff, 4 KiB: hole');
  await page.keyboard.press('ArrowDown');
  expect(await details.innerText()).toContain('0x1000 to 0x1fff, 4 KiB: rw');
  // The map of pages A in the first fifth of the time, and at the bottom of what is ever used.
  await page.locator('#timeline').hover({ position: { x: 200, y: 190 } });
  expect(await details.innerText()).toContain('pages A, from step 1 to step 4');
});

/** The colours of a screenshot's pixels, by how many there are. */
async function coloursOf(clip: {
  x: number;
  y: number;
  width: number;
  height: number;
}): Promise<Map<string, number>> {
  const png = (await page.screenshot({ clip })).toString('base64');
  const reader = await browser.newPage();
  try {
    const counts: [string, number][] = await reader.evaluate(`(async () => {
      const blob = await (await fetch('data:image/png;base64,${png}')).blob();
      const image = await createImageBitmap(blob);
      const context = new OffscreenCanvas(image.width, image.height).getContext('2d');
      context.drawImage(image, 0, 0);
      const { data } = context.getImageData(0, 0, image.width, image.height);
      const counts = new Map();
      for (let at = 0; at < data.length; at += 4) {
        const colour = data.slice(at, at + 3).join(',');
        counts.set(colour, (counts.get(colour) ?? 0) + 1);
      }
      return [...counts];
    })()`);
    return new Map(counts);
  } finally {
    await reader.close();
  }
}

/** The colour that most of an element has on a screenshot. */
async function mainColour(selector: string, at = 0): Promise<string> {
  const box = (await page.locator(selector).nth(at).boundingBox())!;
  const counts = await coloursOf(box);
  return [...counts].reduce((most, each) => (each[1] > most[1] ? each : most))[0];
}

test('on a screenshot, what shares pages has one colour, and light and dark differ', async () => {
  await show(recordingOf(STEPS));
  await page.locator('#time').press('Home');
  for (let time = 1; time <= 3; time++) await page.locator('#time').press('ArrowRight');
  await expectTime('step 3 of 5');
  await page.locator('#picture .pages-2').waitFor();
  const light = [await mainColour('.pages-1'), await mainColour('.pages-1', 1), await mainColour('.pages-2')];
  expect(light[0]).toBe(light[1]);
  expect(light[0]).not.toBe(light[2]);
  expect(await mainColour('body')).toBe('255,255,255');
  const box = (await page.locator('#timeline').boundingBox())!;
  const timeline = await coloursOf(box);
  // Both pages, and the divergence's mark.
  expect(timeline.get(light[0]!)).toBeGreaterThan(1000);
  expect(timeline.get(light[2]!)).toBeGreaterThan(1000);
  expect(timeline.get('198,40,40')).toBeGreaterThan(20);
  await page.emulateMedia({ colorScheme: 'dark' });
  expect(await mainColour('body')).toBe('18,22,27');
  expect(await mainColour('.pages-1')).not.toBe(light[0]);
});

test('a report of 100 000 operations keeps few of them in the document', async () => {
  await show(scatteredRecording(100_000));
  const operations = page.locator('.operation');
  expect(await operations.count()).toBeLessThan(60);
  await page.locator('#operations').press('End');
  await expectTime('step 100000 of 100000');
  expect(await operations.last().getAttribute('aria-posinset')).toBe('100000');
  await page.locator('#time').press('Home');
  await expectTime('before the first step');
  await page.locator('#picture .row').first().waitFor();
  expect(await rows()).toHaveLength(3);
  await expectInnocence();
});

test('a picture with a hostile owner is well-formed XML that runs nothing', async () => {
  const svg = renderSvg(
    {
      profile: 'linux-6.12',
      alignment: 4096,
      largePages: true,
      areas: [],
      reserved: [{ start: '0xfee00000', last: '0xfeefffff', owner: HOSTILE }],
      allowed: [],
      domains: [],
      pages: [],
      accesses: 0,
    },
    { title: HOSTILE },
  );
  await page.goto(await keep('picture.svg', svg));
  expect(await page.evaluate('document.documentElement.tagName')).toBe('svg');
  expect(
    await page.evaluate("document.querySelectorAll('parsererror, script, img, a, svg svg').length"),
  ).toBe(0);
  await page.locator('.row').nth(1).hover();
  expect(await misdeeds.canary()).toBe(false);
  expect(misdeeds.dialogs).toEqual([]);
  expect(misdeeds.requests).toEqual([]);
});
