/**
 * `npm run report:large [-- OPERATIONS]`: replays a log of 100 000 operations with `iopt replay --html`, opens the report
 * in Chromium, and prints how large it is and how long that took.
 *
 * Exits with 1 if the report of so many operations (or fewer) has 10 MB or more. Times decide nothing.
 */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';
import { main } from '../src/cli/main.js';
import type { Terminal } from '../src/cli/terminal.js';
import { renderHtml } from '../src/render/index.js';

const OPERATIONS = 100_000;
const MOST_BYTES = 10_000_000;
/** How often Chromium opens the report. */
const RUNS = 3;
/** As many mappings as a guest's driver keeps at a time. */
const LIVE = 2000;
const SLOTS = 2 ** 36;
const PAGE = 4096n;

const count = Number(process.argv[2] ?? OPERATIONS);

/** The log of a device that maps scattered pages for each transfer, and now and then unmaps what isn't there. */
function* log(): Generator<Uint8Array> {
  const encoder = new TextEncoder();
  const live = new Map<number, bigint>();
  let state = 1;
  // Steps of a full cycle: every slot comes once before any comes again.
  const slot = () => {
    state = (state * 5 + 12_345) % SLOTS;
    return state;
  };
  const hex = (value: bigint) => `0x${value.toString(16)}`;
  const unmap = (iova: bigint, length: bigint, answer: string) =>
    `iommufd_backend_unmap_dma  iommufd=19 ioas=2 iova=${hex(iova)} size=${hex(length)} (${answer})\n`;
  for (let at = 0; at < count; at++) {
    const next = slot();
    const iova = BigInt(next) << 14n;
    const [oldest] = live;
    if (at % 10 === 9) {
      yield encoder.encode(unmap(iova + PAGE, PAGE, '-2'));
    } else if (oldest !== undefined && live.size >= LIVE) {
      const [taken, length] = oldest;
      live.delete(taken);
      yield encoder.encode(unmap(BigInt(taken) << 14n, length, '0'));
    } else {
      const length = PAGE * BigInt(1 + (at % 4));
      const uptr = 0x7f00_0000_0000n + BigInt(next % 2 ** 24) * PAGE;
      const range = `iova=${hex(iova)} size=${hex(length)} addr=${hex(uptr)}`;
      live.set(next, length);
      yield encoder.encode(`iommufd_backend_map_dma  iommufd=19 ioas=2 ${range} readonly=0 (0)\n`);
    }
  }
}

async function* chunks(): AsyncGenerator<Uint8Array> {
  yield* log();
}

async function replayTo(path: string): Promise<void> {
  const terminal: Terminal = {
    input: chunks(),
    inputIsTerminal: false,
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    errColumns: undefined,
  };
  const status = await main(['replay', '--html', path], terminal, { html: renderHtml });
  if (status !== 0) throw new Error(`iopt replay ended with ${status}`);
}

async function openingTimes(path: string): Promise<number[]> {
  const browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    headless: true,
    args: ['--no-sandbox', '--disable-gpu'],
  });
  const times: number[] = [];
  try {
    for (let run = 0; run < RUNS; run++) {
      const page = await browser.newPage({ viewport: { width: 1440, height: 1000 } });
      const start = performance.now();
      await page.goto(pathToFileURL(path).href);
      await page.locator('html[data-ready] #picture svg').waitFor();
      times.push(performance.now() - start);
      await page.close();
    }
  } finally {
    await browser.close();
  }
  return times;
}

const folder = mkdtempSync(join(tmpdir(), 'iopt-large-'));
try {
  const path = join(folder, 'report.html');
  const start = performance.now();
  await replayTo(path);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  const bytes = statSync(path).size;
  console.log(`report           ${(bytes / 1e6).toFixed(2)} MB, replayed and written in ${seconds} s`);
  const times = (await openingTimes(path)).map((time) => `${(time / 1000).toFixed(2)} s`);
  console.log(`opened           in ${times.join(', ')}`);
  if (count <= OPERATIONS && bytes >= MOST_BYTES) process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true });
}
