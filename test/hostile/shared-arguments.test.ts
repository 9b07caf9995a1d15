/** The functions for other threads, and those that draw and decode, with garbage for arguments. */
import fc from 'fast-check';
import { afterEach, describe, test } from 'vitest';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { RadixReader } from '../../src/domain/radix-reader.js';
import { IoPagetable } from '../../src/io-pagetable.js';
import { PhysicalMemory } from '../../src/memory/physical-memory.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import { SharedFrames } from '../../src/memory/shared-frames.js';
import { renderSvg } from '../../src/render/svg.js';
import { renderText } from '../../src/render/text.js';
import { COMMANDS } from '../../src/uapi/commands.js';
import { decode, encode } from '../../src/uapi/encoding.js';
import { decodeRanges, encodeRanges } from '../../src/uapi/ranges.js';
import { decodeVfioInfo } from '../../src/uapi/vfio-info-bytes.js';
import { callSpoilt, damage, nameOf, RUNS, type Target, type Watchable } from './garbage.js';

const PAGE = 0x1000n;
const UPTR = 0x10_0000n;
const IOVA = 0x1000n;

/** A table and a domain, both read from other threads. */
class Setting implements Watchable {
  readonly physical = new PhysicalMemory();
  readonly process = new ProcessMemory({ physical: this.physical });
  readonly table = new IoPagetable({ memory: this.process });
  readonly domain = new RadixDomain({ dirty: true, shared: true });
  readonly reader = RadixReader.from(this.domain.share());
  readonly frames: SharedFrames;

  static async make(): Promise<Setting> {
    const setting = new Setting();
    await setting.table.addDomain(setting.domain);
    await setting.table.map({ iova: IOVA, uptr: UPTR, length: 4n * PAGE, prot: 'rw' });
    made.push(setting);
    return setting;
  }

  constructor() {
    this.process.mmap({ uptr: UPTR, length: 4n * PAGE, buffer: new SharedArrayBuffer(0x4000) });
    this.frames = SharedFrames.from(this.process.share());
  }

  state(): unknown {
    const { table, physical, process, domain, reader } = this;
    const translations = [0, 1, 2, 3].map((page) => reader.iovaToPhys(IOVA + BigInt(page) * PAGE));
    reader.quiescent();
    return [
      table.snapshot(),
      physical.pinned,
      process.read(UPTR, 4n * PAGE),
      domain.mappedBytes,
      translations,
    ];
  }

  check(): void {
    this.table.check();
  }
}

const made: Setting[] = [];

afterEach(() => {
  for (const { reader } of made.splice(0)) reader.close();
});

type On = Target<Setting>;

const on = (object: (setting: Setting) => object, kind: 'sync' | 'promise' = 'sync') => {
  return (what: string, args: (setting: Setting) => unknown[] = () => []): On => ({
    on: object,
    what,
    kind,
    args,
  });
};
const reader = on(({ reader }) => reader);
const domain = on(({ domain }) => domain);
const frames = on(({ frames }) => frames);
const physical = on(({ physical }) => physical);
const frameOf = ({ process }: Setting) => process.frameOf(UPTR);
const buffer = () => new Uint8Array(64);

const THREADS: On[] = [
  reader('iovaToPhys', () => [IOVA]),
  reader('translate', () => [IOVA]),
  reader('read', ({ frames }) => [IOVA, buffer(), frames]),
  reader('write', ({ frames }) => [IOVA, buffer(), frames]),
  reader('quiescent'),
  on(() => RadixReader)('from', ({ domain }) => [{ ...domain.share() }]),
  domain('share'),
  domain('unshare', ({ domain }) => [domain.share()]),
  on(({ domain }) => domain, 'promise')('quiesce'),
  frames('frames', (setting) => [frameOf(setting), 1]),
  on(() => SharedFrames)('from', ({ process }) => [process.share()]),
  on(({ process }) => process)('share'),
  physical('pins', (setting) => [frameOf(setting)]),
  physical('frames', (setting) => [frameOf(setting), 1]),
  physical('unpin', (setting) => [frameOf(setting) + 0x10_0000, 1]),
  { what: PhysicalMemory, kind: 'class', args: () => [] },
];

const DRAWING: On[] = [
  { what: renderText, kind: 'sync', args: ({ table }) => [table.snapshot(), { rows: 5 }] },
  { what: renderSvg, kind: 'sync', args: ({ table }) => [table.snapshot(), { width: 500 }] },
];

const RANGES = [{ start: 0n, last: 0xffffn }];

const DECODING: On[] = [
  { what: encode, kind: 'sync', args: () => ['IOAS_MAP', { ioasId: 1, iova: IOVA, length: PAGE }] },
  { what: decode, kind: 'sync', args: () => ['IOAS_MAP', new Uint8Array(COMMANDS.IOAS_MAP.struct.length)] },
  { what: encodeRanges, kind: 'sync', args: () => [RANGES] },
  { what: decodeRanges, kind: 'sync', args: () => [encodeRanges(RANGES), 1] },
  { what: decodeVfioInfo, kind: 'sync', args: () => [new Uint8Array(100)] },
];

describe.each([
  ['other threads', THREADS],
  ['drawing', DRAWING],
  ['decoding', DECODING],
])('%s', (_group, targets) => {
  test.each(targets.map((target) => [nameOf(target), target] as const))('%s', async (_name, target) => {
    await fc.assert(
      fc.asyncProperty(damage, async (how) => {
        await callSpoilt(await Setting.make(), target, how);
      }),
      { numRuns: RUNS },
    );
  });
});
