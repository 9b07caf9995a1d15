/** A device model in a worker thread: uses translations as fast as it can and checks every one of them. */
import { parentPort, workerData } from 'node:worker_threads';
import { DmaFault } from '../../src/domain/device-dma.js';
import { RadixReader } from '../../src/domain/radix-reader.js';
import { SharedFrames } from '../../src/memory/shared-frames.js';
import {
  FAR_PAGE,
  HINTS,
  HUGE_REGION,
  KEPT_PAGE,
  MAPPED,
  MAPPING,
  REGION_PAGES,
  REGIONS,
  type ReaderData,
  type ReaderReport,
  SECTIONS,
  STOP,
  UNMAPPED,
  WIDE_COUNT,
  WIDE_PAGE,
  WIDE_PHASE,
} from './scene.js';
import { PAGE, randomBelow, StampedPages } from './stamped-pages.js';

const SECTION = 16;
const data = workerData as ReaderData;
const progress = new Int32Array(data.progress);
const random = randomBelow(31 + data.number);
const reader = RadixReader.from(data.domain);
const memory = SharedFrames.from(data.memory);
const { pfn, buffer } = data.memory.ranges[0]!;
const pages = new StampedPages(buffer, pfn);

/** A page at which something may be mapped. */
function anyPage(): number {
  const kind = random(16);
  if (kind === 0) return FAR_PAGE;
  if (kind === 1) return WIDE_PAGE + random(WIDE_COUNT);
  if (kind < 5) return HUGE_REGION * REGION_PAGES + random(1024);
  const region = random(REGIONS);
  return region * REGION_PAGES + progress[HINTS + region]! + random(8);
}

let translations = 0;
let mapped = 0;
let widePairs = 0;

function frameAt(page: number): number | undefined {
  translations += 1;
  const physical = reader.iovaToPhys(page * PAGE + 8);
  if (physical === undefined) return undefined;
  if (physical % PAGE !== 8) throw new Error(`the offset was lost: ${physical}`);
  const frame = (physical - 8) / PAGE;
  pages.check(frame, page);
  mapped += 1;
  return frame;
}

/** A few translations, checked at once and again at the end, up to which they have to hold. */
function checkSection(): void {
  const held: [frame: number, page: number][] = [];
  for (let call = 0; call < SECTION; call++) {
    const page = anyPage();
    const frame = frameAt(page);
    if (frame !== undefined) held.push([frame, page]);
  }
  checkWide();
  if (frameAt(KEPT_PAGE) === undefined) throw new Error('a page that is mapped was not found');
  for (const [frame, page] of held) pages.check(frame, page);
  reader.quiescent();
}

/** Two pages of one mapping, in any order: it is there, or not, for both, unless that changed between. */
function checkWide(): void {
  const before = Atomics.load(progress, WIDE_PHASE);
  const first = frameAt(WIDE_PAGE + random(WIDE_COUNT)) !== undefined;
  const second = frameAt(WIDE_PAGE + random(WIDE_COUNT)) !== undefined;
  if (Atomics.load(progress, WIDE_PHASE) !== before) return;
  widePairs += 1;
  const phase = before & 3;
  const settled = phase === MAPPED || phase === UNMAPPED;
  const expected = settled ? phase === MAPPED : phase === MAPPING;
  if (second === expected || (!settled && first === second)) {
    if (!settled || first === expected) return;
  }
  throw new Error(`in phase ${phase} the first of two pages was ${first}, the second ${second}`);
}

const word = new Uint8Array(4);
const whole = new Uint8Array(2 * PAGE);

/** Reads over page bounds and writes, as a device, without a word about quiescence. */
function useAsDevice(): void {
  const page = anyPage();
  attempt(() => reader.read(page * PAGE, whole, memory));
  attempt(() => reader.write(page * PAGE + StampedPages.scratchOffset, word, memory));
  translations += 2;
}

function attempt(transfer: () => void): void {
  try {
    transfer();
    mapped += 1;
  } catch (error) {
    if (!(error instanceof DmaFault)) throw error;
  }
}

try {
  if (data.role === 'die') {
    reader.iovaToPhys(0);
    parentPort?.postMessage('ready');
    process.exit();
  }
  while (Atomics.load(progress, STOP) === 0) {
    if (data.role === 'check') checkSection();
    else useAsDevice();
    Atomics.add(progress, SECTIONS + data.number, 1);
  }
  const report: ReaderReport = { translations, mapped, widePairs };
  parentPort?.postMessage(report);
} finally {
  reader.close();
}
