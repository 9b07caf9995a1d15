import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { ERRNO, IommuError } from '../../src/errors.js';
import { IoPagetable } from '../../src/io-pagetable.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import { type Divergence, formatDivergence, type ReplayFigures } from '../../src/replay/figures.js';
import { linesOfFile } from '../../src/replay/log-file.js';
import type { LogLines } from '../../src/replay/log-line.js';
import { LoggedMemory } from '../../src/replay/logged-memory.js';
import { readLog } from '../../src/replay/read-log.js';
import { Replayer, type ReplayOptions, replay } from '../../src/replay/replayer.js';

const THREE_FAULTS = new URL('../logs/iommufd-three-faults.log', import.meta.url);

async function run(lines: LogLines, options: ReplayOptions = {}) {
  const divergences: Divergence[] = [];
  const figures: ReplayFigures = await replay(lines, {
    ...options,
    onDivergence: (divergence) => divergences.push(divergence),
  });
  return { figures, divergences };
}

/** Line, logged and given answer of each divergence. */
async function found(lines: string[], options?: ReplayOptions) {
  const { divergences } = await run(lines, options);
  return divergences.map(({ line, logged, answered }) => [line, logged, answered]);
}

const connect = 'iommufd_backend_connect fd=9 owned=1 users=1';
const alloc = (ioas = 2) => `iommufd_backend_alloc_ioas  iommufd=9 ioas=${ioas}`;
const map = (iova: string, size: string, result = 0, ioas = 2) =>
  `iommufd_backend_map_dma  iommufd=9 ioas=${ioas} iova=${iova} size=${size} addr=0x7f0000000000 readonly=0 (${result})`;
const unmap = (iova: string, size: string, result = 0, ioas = 2) =>
  `iommufd_backend_unmap_dma  iommufd=9 ioas=${ioas} iova=${iova} size=${size} (${result})`;
const nothing = (iova: string, size: string, result = 0) =>
  `iommufd_backend_unmap_dma_non_exist  Unmap nonexistent mapping: iommufd=9 ioas=2 iova=${iova} size=${size} (${result})`;
const hwpt = (out: number, { parent = 2, flags = '0x0', type = 0, result = 0 } = {}) =>
  `iommufd_backend_alloc_hwpt  iommufd=9 dev_id=1 pt_id=${parent} flags=${flags} hwpt_type=${type} ` +
  `len=${type} data_ptr=0x0 out_hwpt=${out} (${result})`;
const free = (id: number, result = 0) => `iommufd_backend_free_id  iommufd=9 id=${id} (${result})`;
const track = (id: number, enable: 0 | 1, result = 0) =>
  `iommufd_backend_set_dirty  iommufd=9 hwpt=${id} enable=${enable} (${result})`;
const bitmap = (id: number, iova: string, size: string, result = 0) =>
  `iommufd_backend_get_dirty_bitmap  iommufd=9 hwpt=${id} iova=${iova} size=${size} flags=0x0 page_size=0x1000 (${result})`;

describe('a log with three planted faults', () => {
  test('they are found, and nothing else is', async () => {
    const { figures, divergences } = await run(linesOfFile(THREE_FAULTS));
    expect(divergences.map((divergence) => formatDivergence(divergence, 'linux-6.12'))).toEqual([
      'line 19: unmap [0xcd000, 0xcffff] of ioas 2: the log says OK, linux-6.12 says ENOENT because area [0xc0000, ' +
        '0xcdfff] (mapped from user address 0x7f2a400c0000) reaches outside the range; an area is unmapped as a ' +
        'whole or not at all',
      'line 23: unmap [0xfffc0000, 0xffffffff] of ioas 2: the log says ENOENT, linux-6.12 says OK because an unmap takes ' +
        'all areas that lie wholly inside its range: 0x40000 bytes',
      'line 26: map [0x17ffff000, 0x180000fff] of ioas 2 from user 0x7f2a3f000000 (rw): the log says OK, linux-6.12 says ' +
        'EEXIST because area [0x100000000, 0x17fffffff] (mapped from user address 0x7f2ac0000000) is already mapped ' +
        'there; unmap it first or choose another IOVA',
    ]);
    expect(figures).toMatchObject({ requests: 32, malformed: 0, notReplayed: 0, peakAreas: 9 });
  });

  test('each is explained with what would have worked', async () => {
    const replayer = new Replayer();
    const texts: string[][] = [];
    for await (const event of readLog(linesOfFile(THREE_FAULTS))) {
      const step = await replayer.apply(event);
      if (step?.divergence === undefined || event.type === 'malformed') continue;
      const explanation = await replayer.explain(event);
      texts.push(explanation?.ok === false ? explanation.alternatives.map(({ text }) => text) : []);
    }
    expect(texts).toEqual([
      [
        'unmap [0xc0000, 0xebfff], the whole of what the range touches (2 areas)',
        'unmap [0xc0000, 0xebfff] and map [0xc0000, 0xccfff] and [0xd0000, 0xebfff] again',
      ],
      [],
      [
        'use IOVA 0x180000000, the next free IOVA that suits 0x2000 bytes',
        'unmap [0x100000000, 0x17fffffff] first (1 area), then repeat the call',
      ],
    ]);
  });

  test('asking in between changes no figure', async () => {
    const replayer = new Replayer();
    for await (const event of readLog(linesOfFile(THREE_FAULTS))) {
      if (event.type !== 'malformed') await replayer.explain(event);
      await replayer.apply(event);
    }
    expect(await replayer.finish()).toEqual((await run(linesOfFile(THREE_FAULTS))).figures);
  });
});

describe('answers', () => {
  const mapped = [connect, alloc(), map('0x1000', '0x2000')];

  test('are errnos in later versions of QEMU', async () => {
    expect(await found([...mapped, map('0x1000', '0x1000', -17)])).toEqual([]);
    expect(await found([...mapped, map('0x1000', '0x1000', -22)])).toEqual([[4, 'EINVAL', 'EEXIST']]);
    expect(await found([...mapped, map('0x1000', '0x1000', -71)])).toEqual([[4, 'errno 71', 'EEXIST']]);
  });

  test('are −1 and an error line in earlier ones', async () => {
    const failed = map('0x1000', '0x1000', -1);
    const line = (text: string) => `qemu-system-x86_64: IOMMU_IOAS_MAP failed: ${text}`;
    expect(await found([...mapped, failed, line('File exists')])).toEqual([]);
    expect(await found([...mapped, failed, 'noise', line('File exists'), map('0x9000', '0x1000')])).toEqual(
      [],
    );
    expect(await found([...mapped, failed, line('Invalid argument'), line('File exists')])).toEqual([
      [4, 'EINVAL', 'EEXIST'],
    ]);
    // What comes after the next event belongs to that one.
    expect(await found([...mapped, failed, map('0x9000', '0x1000'), line('Invalid argument')])).toEqual([]);
  });

  test('that only tell of some error agree with any', async () => {
    expect(await found([...mapped, map('0x1000', '0x1000', -1)])).toEqual([]);
    expect(await found([...mapped, map('0x9000', '0x1000', -1)])).toEqual([[4, 'an error', 'OK']]);
  });

  test('to an unmap of nothing are ENOENT, whatever RET is', async () => {
    for (const result of [0, -1, -2]) {
      expect(await found([...mapped, nothing('0x8000', '0x1000', result)])).toEqual([]);
      expect(await found([...mapped, nothing('0x1000', '0x2000', result)])).toEqual([[4, 'ENOENT', 'OK']]);
    }
  });

  test('of memory that could not be pinned are taken from the log, where nothing else speaks against it', async () => {
    expect(await found([...mapped, map('0x9000', '0x1000', -14)])).toEqual([]);
    expect(await found([...mapped, map('0x1000', '0x1000', -14)])).toEqual([[4, 'EFAULT', 'EEXIST']]);
    expect(await found([...mapped, map('0x9000', '0x1000', -14), map('0x9000', '0x1000')])).toEqual([]);
    expect(await found(['vfio_dma_map(0x1, 0x1000, 0x1000, 0x10000) = -14 (Bad address)'])).toEqual([]);
    // A caller's own memory knows better.
    const memory = new ProcessMemory();
    memory.mmap({ uptr: 0x7f0000000000n, length: 0x2000n });
    expect(await found([...mapped, map('0x9000', '0x1000', -14)], { memory })).toEqual([[4, 'EFAULT', 'OK']]);
  });

  test('to a limit on locked memory, where it is known', async () => {
    const lines = [
      ...mapped,
      map('0x9000', '0x2000', -12),
      unmap('0x1000', '0x2000'),
      map('0x9000', '0x2000'),
    ];
    expect(await found(lines)).toEqual([
      [4, 'ENOMEM', 'OK'],
      [6, 'OK', 'EEXIST'],
    ]);
    expect(await found(lines, { lockedLimit: 0x3000n })).toEqual([]);
  });
});

describe('objects', () => {
  test('address spaces are apart, also of several contexts', async () => {
    const other = map('0x1000', '0x1000').replace('iommufd=9', 'iommufd=10');
    const lines = [alloc(2), alloc(3), map('0x1000', '0x1000'), map('0x1000', '0x1000', 0, 3), other, other];
    expect(await found(lines)).toEqual([[6, 'OK', 'EEXIST']]);
    const replayer = new Replayer();
    for await (const event of readLog(lines)) await replayer.apply(event);
    expect([...replayer.spaces()].map(({ name }) => name)).toEqual([
      'ioas 2 of iommufd 9',
      'ioas 3 of iommufd 9',
      'ioas 2 of iommufd 10',
    ]);
  });

  test('an address space that was there before the log is empty', async () => {
    expect(await found([unmap('0x1000', '0x1000'), map('0x1000', '0x1000')])).toEqual([[1, 'OK', 'ENOENT']]);
  });

  test('page tables keep their address space in use', async () => {
    const lines = [alloc(), hwpt(5), free(2, -16), free(5), free(2), map('0x1000', '0x1000', -2)];
    expect(await found(lines)).toEqual([]);
    expect(await found([alloc(), hwpt(5), free(2)])).toEqual([[3, 'OK', 'EBUSY']]);
    expect(await found([alloc(), free(2), alloc(), map('0x1000', '0x1000')])).toEqual([]);
  });

  test('an id that is given out again was freed meanwhile', async () => {
    expect(await found([alloc(), map('0x1000', '0x1000'), alloc(), map('0x1000', '0x1000')])).toEqual([]);
  });

  test('all are gone with the last user of a file', async () => {
    const gone = ['iommufd_backend_disconnect fd=9 users=1', 'iommufd_backend_disconnect fd=9 users=0'];
    const mapped = [connect, alloc(), hwpt(5), map('0x1000', '0x1000')];
    expect(await found([...mapped, gone[0]!, map('0x1000', '0x1000', -17)])).toEqual([]);
    expect(await found([...mapped, ...gone, ...gone, ...mapped])).toEqual([]);
  });

  test('dirty tracking, as the page table was made for it', async () => {
    const tracked = [alloc(), hwpt(5, { flags: '0x2' }), map('0x1000', '0x1000')];
    expect(await found([...tracked, track(5, 1), bitmap(5, '0x1000', '0x1000'), track(5, 0)])).toEqual([]);
    expect(await found([...tracked, bitmap(5, '0x1000', '0x0')])).toEqual([[4, 'OK', 'EINVAL']]);
    expect(await found([...tracked, bitmap(5, '0x0', '0xffffffffffffe000')])).toEqual([]);
    expect(await found([alloc(), hwpt(5), track(5, 1)])).toEqual([[3, 'OK', 'EOPNOTSUPP']]);
    expect(await found([alloc(), hwpt(5, { flags: '0x80', result: -95 })])).toEqual([]);
  });

  test('what the model has nothing for is counted and does no harm', async () => {
    const nested = [
      alloc(),
      hwpt(5, { flags: '0x1' }),
      hwpt(6, { parent: 5, type: 1 }),
      track(6, 1),
      free(6),
    ];
    const { figures, divergences } = await run([...nested, free(5), free(2), free(77), track(78, 0)]);
    expect(divergences).toEqual([]);
    expect(figures).toMatchObject({ requests: 3, notReplayed: 5 });
    // A page table that the log made and the model refused, or the other way round.
    expect(await found([alloc(), hwpt(5, { flags: '0x80' }), free(5), free(2)])).toEqual([
      [2, 'OK', 'EOPNOTSUPP'],
    ]);
    expect(await found([alloc(), hwpt(0, { result: -22 }), free(2)])).toEqual([[2, 'EINVAL', 'OK']]);
  });

  test('files are mapped like memory', async () => {
    const file = (iova: string, start: number, result = 0) =>
      `iommufd_backend_map_file_dma  iommufd=9 ioas=2 iova=${iova} size=0x2000 fd=7 start=${start} readonly=1 (${result})`;
    const { figures, divergences } = await run([alloc(), file('0x1000', 0), file('0x2000', 8192, -17)]);
    expect(divergences).toEqual([]);
    expect(figures).toMatchObject({ peakAreas: 1, peakPinnedBytes: 0x2000n });
  });

  test('the whole space is unmapped at once', async () => {
    const all = unmap('0x0', '0xffffffffffffffff');
    expect(await found([alloc(), map('0x1000', '0x1000'), map('0x8000', '0x1000'), all, all])).toEqual([]);
    expect(await found([alloc(), unmap('0x1000', '0xffffffffffffffff', -75)])).toEqual([]);
  });
});

/** A call on page numbers, and how its answer is logged. */
interface Call {
  readonly unmap: boolean;
  readonly ioas: number;
  readonly page: number;
  readonly pages: number;
  readonly style: 'errno' | 'minus one' | 'minus one and a line';
}

const calls: fc.Arbitrary<Call[]> = fc.array(
  fc.record({
    unmap: fc.boolean(),
    ioas: fc.constantFrom(2, 7),
    page: fc.nat(12),
    pages: fc.integer({ min: 0, max: 4 }),
    style: fc.constantFrom('errno' as const, 'minus one' as const, 'minus one and a line' as const),
  }),
  { minLength: 1, maxLength: 40 },
);

const WORDS: Partial<Record<string, string>> = {
  ENOENT: 'No such file or directory',
  EEXIST: 'File exists',
  EINVAL: 'Invalid argument',
};

/** Makes calls on tables of its own and writes down the log, one list of lines for each call. */
async function logOf(made: readonly Call[]): Promise<{ lines: string[]; event: string; code: string }[]> {
  const tables = new Map<number, IoPagetable>();
  for (const ioas of [2, 7]) {
    const table = new IoPagetable({ memory: new LoggedMemory() });
    await table.addDomain(new RadixDomain());
    tables.set(ioas, table);
  }
  const log = [];
  for (const { unmap: isUnmap, ioas, page, pages, style } of made) {
    const [iova, length] = [BigInt(page) * 4096n, BigInt(pages) * 4096n];
    const table = tables.get(ioas)!;
    let code: keyof typeof ERRNO | 'OK' = 'OK';
    try {
      if (!isUnmap) await table.map({ iova, uptr: 0x7f0000000000n, length, prot: 'rw' });
      else if ((await table.unmap(iova, length)) === 0n) code = 'ENOENT';
    } catch (error) {
      if (!(error instanceof IommuError)) throw error;
      code = error.code;
    }
    const result = code === 'OK' ? 0 : style === 'errno' ? -ERRNO[code] : -1;
    const write = isUnmap ? unmap : map;
    const event = write(`0x${iova.toString(16)}`, `0x${length.toString(16)}`, result, ioas);
    const more = style === 'minus one and a line' && code !== 'OK' ? [`x failed: ${WORDS[code]}`] : [];
    log.push({ lines: [`1@2.3:${event}`, ...more], event, code });
  }
  return log;
}

test('a log of what a table answered agrees, and a wrong answer in it is found on its line', () =>
  fc.assert(
    fc.asyncProperty(calls, fc.nat(), async (made, nth) => {
      const log = await logOf(made);
      const lines = log.flatMap((call) => call.lines);
      expect(await found(lines)).toEqual([]);
      const at = nth % log.length;
      const { event, code } = log[at]!;
      const wrong = event.replace(/\(.*\)$/, code === 'OK' ? '(-5)' : '(0)');
      const before = log.slice(0, at).flatMap((call) => call.lines);
      const after = log.slice(at + 1).flatMap((call) => call.lines);
      const answers = code === 'OK' ? ['EIO', 'OK'] : ['OK', code];
      expect(await found([...before, wrong, ...after])).toEqual([[before.length + 1, ...answers]]);
    }),
    { seed: 20220318, numRuns: 100 },
  ));
