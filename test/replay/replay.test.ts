import { describe, expect, test } from 'vitest';
import type { IommuDomain } from '../../src/domain/iommu-domain.js';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import type { UserMemory } from '../../src/memory/user-memory.js';
import { type Divergence, formatDivergence, type ReplayFigures } from '../../src/replay/figures.js';
import { linesOfFile } from '../../src/replay/log-file.js';
import type { LogLines, MalformedLine } from '../../src/replay/log-line.js';
import { LoggedMemory } from '../../src/replay/logged-memory.js';
import { readLog } from '../../src/replay/read-log.js';
import { Replayer, type ReplayOptions, replay } from '../../src/replay/replayer.js';
import { PROFILES } from '../../src/rules.js';

const BUG_REPORT = new URL('../logs/bug-report.log', import.meta.url);
const VIRTIO_IOMMU = new URL('../logs/virtio-iommu-disk.log.gz', import.meta.url);

interface Outcome {
  readonly figures: ReplayFigures;
  readonly divergences: Divergence[];
  readonly malformed: MalformedLine[];
}

async function run(lines: LogLines, options: ReplayOptions = {}): Promise<Outcome> {
  const divergences: Divergence[] = [];
  const malformed: MalformedLine[] = [];
  const figures = await replay(lines, {
    ...options,
    onDivergence: (divergence) => divergences.push(divergence),
    onMalformed: (line) => malformed.push(line),
  });
  return { figures, divergences, malformed };
}

async function linesIn(file: URL): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of linesOfFile(file)) lines.push(line);
  return lines;
}

describe('the bug report', () => {
  async function answers(profile: 'linux-6.12' | 'rfc-v1') {
    const replayer = new Replayer({ profile });
    const seen: [number, string, string][] = [];
    for await (const event of readLog(linesOfFile(BUG_REPORT))) {
      const step = await replayer.apply(event);
      seen.push([step!.line, step!.logged, step!.answer.code]);
      step!.space.table.check();
    }
    return { seen, areas: [...replayer.spaces()].flatMap((space) => space.table.snapshot().areas) };
  }

  test('happens again under rfc-v1', async () => {
    const { seen, areas } = await answers('rfc-v1');
    expect(seen).toEqual([
      [1, 'OK', 'OK'],
      [4, 'ENOENT', 'ENOENT'],
      [6, 'EADDRINUSE', 'EADDRINUSE'],
    ]);
    expect(areas).toMatchObject([{ iova: '0xfffff000', last: '0xffffffff', uptr: '0x7f79ee81f000' }]);
    const { figures, divergences } = await run(linesOfFile(BUG_REPORT), { profile: 'rfc-v1' });
    expect(divergences).toEqual([]);
    expect(figures).toMatchObject({ requests: 3, divergences: 0, peakAreas: 1, peakPinnedBytes: 0x1000n });
  });

  test('is mended under Linux 6.12, and the replay says so line by line', async () => {
    const { seen, areas } = await answers('linux-6.12');
    expect(seen.map(([line, , code]) => [line, code])).toEqual([
      [1, 'OK'],
      [4, 'OK'],
      [6, 'OK'],
    ]);
    expect(areas).toMatchObject([{ iova: '0xfffc0000', last: '0xffffffff', uptr: '0x7f7968c00000' }]);
    const { figures, divergences } = await run(linesOfFile(BUG_REPORT));
    expect(divergences.map((divergence) => formatDivergence(divergence, 'linux-6.12'))).toEqual([
      'line 4: unmap [0xff000000, 0xffffffff]: the log says ENOENT, linux-6.12 says OK because ' +
        'an unmap takes all areas that lie wholly inside its range: 0x1000 bytes',
      'line 6: map [0xfffc0000, 0xffffffff] from user 0x7f7968c00000: the log says EADDRINUSE, linux-6.12 says OK because ' +
        'nothing is mapped or reserved in that range',
    ]);
    expect(figures).toMatchObject({ requests: 3, divergences: 2, peakAreas: 1, peakPinnedBytes: 0x40000n });
  });
});

describe('the kept part of a log behind a virtio-iommu', () => {
  test.each(PROFILES)('agrees in every answer under %s', async (profile) => {
    const { figures, divergences, malformed } = await run(linesOfFile(VIRTIO_IOMMU), { profile });
    expect(divergences).toEqual([]);
    expect(malformed).toEqual([]);
    expect(figures).toEqual({
      requests: 362,
      translations: 2525,
      misses: 7,
      divergences: 0,
      malformed: 0,
      notReplayed: 0,
      peakAreas: 40,
      peakPinnedBytes: 2121728n,
      largestHole: 2n ** 64n - 2n ** 32n,
      fragmentation: 0,
    });
  });

  test('ends with nothing mapped but the rings of the disk, and the table is sound at every step', async () => {
    const replayer = new Replayer();
    for await (const event of readLog(linesOfFile(VIRTIO_IOMMU))) {
      const step = await replayer.apply(event);
      step?.space.table.check();
    }
    const [space] = [...replayer.spaces()];
    expect(space!.name).toBe('domain 0');
    const { areas, reserved } = space!.table.snapshot();
    expect(areas.map(({ iova, last }) => [iova, last])).toEqual([
      ['0xffffc000', '0xffffdfff'],
      ['0xffffe000', '0xffffffff'],
    ]);
    expect(reserved).toMatchObject([{ start: '0xfee00000', last: '0xfeefffff', owner: 'Endpoint 32' }]);
  });

  test('does not depend on where guest RAM lies in the process', async () => {
    const { figures } = await run(linesOfFile(VIRTIO_IOMMU), { guestRam: 0x1234000n });
    expect(figures).toMatchObject({ translations: 2525, divergences: 0 });
  });

  test('a fault anywhere is found and placed', async () => {
    const lines = await linesIn(VIRTIO_IOMMU);
    const find = (text: RegExp, from = 0) => lines.findIndex((line, at) => at >= from && text.test(line));
    const planted = async (at: number, line: string) => {
      const { divergences } = await run(lines.with(at, line));
      return divergences.map((divergence) => [divergence.line, divergence.operation.split(' ')[0]]);
    };

    const answer = find(/translate_out/, 1000);
    const [, digit] = /-> 0x([0-9a-f])/.exec(lines[answer]!)!;
    const other = lines[answer]!.replace(/-> 0x./, `-> 0x${digit === '1' ? '2' : '1'}`);
    expect(await planted(answer, other)).toEqual([[answer + 1, 'translate']]);
    expect(await planted(answer, 'noise')).toEqual([[answer, 'translate']]);

    const miss = find(/addr=0xfee0/);
    expect(
      await planted(miss + 1, 'virtio_iommu_translate_out 0xfee00000 -> 0x1000 for sid=32'),
    ).toContainEqual([miss + 2, 'translate']);

    const done = find(/unmap_done/);
    expect(await planted(done, 'noise')).toEqual([[done, 'unmap']]);
    const unmap = find(/iommu_unmap /);
    expect(await planted(unmap, 'noise')).toEqual([[unmap + 2, 'unmap']]);

    const map = find(/iommu_map .*flags=1/);
    expect((await planted(map, lines[map]!.replace('flags=1', 'flags=2')))[0]![1]).toBe('translate');
  });

  test('a line that cannot be read is told and costs no false alarm', async () => {
    const lines = await linesIn(VIRTIO_IOMMU);
    for (const text of [/translate_out/, /unmap_done/]) {
      const at = lines.findIndex((line) => text.test(line));
      const { figures, divergences, malformed } = await run(lines.with(at, lines[at]!.replace('0x', '0y')));
      expect(malformed).toEqual([expect.objectContaining({ type: 'malformed', line: at + 1 })]);
      expect(divergences).toEqual([]);
      expect(figures.malformed).toBe(1);
    }
  });
});

describe('a virtual IOMMU', () => {
  const attach = 'virtio_iommu_attach domain=1 endpoint=8';
  const map = (first: string, last: string, physical: string, flags = 3) =>
    `virtio_iommu_map domain=1 virt_start=${first} virt_end=${last} phys_start=${physical} flags=${flags}`;
  const unmap = (first: string, last: string) =>
    `virtio_iommu_unmap domain=1 virt_start=${first} virt_end=${last}`;
  const done = (first: string, last: string) =>
    `virtio_iommu_unmap_done domain=1 virt_start=${first} virt_end=${last}`;
  const translate = (iova: string, flag = 1) => `virtio_iommu_translate mr=m rid=8 addr=${iova} flag=${flag}`;
  const translated = (iova: string, physical: string) =>
    `virtio_iommu_translate_out ${iova} -> ${physical} for sid=8`;
  const found = async (lines: string[], options?: ReplayOptions) =>
    (await run(lines, options)).divergences.map(({ line, logged, answered, reason }) => [
      line,
      logged,
      answered,
      reason,
    ]);
  const mapped = [attach, map('0x1000', '0x2fff', '0x5000')];

  test('an unmap takes what is wholly inside and is refused at what sticks out', async () => {
    const two = [...mapped, map('0x3000', '0x4fff', '0x9000')];
    expect(
      await found([...two, unmap('0x0', '0xffff'), done('0x1000', '0x2fff'), done('0x3000', '0x4fff')]),
    ).toEqual([]);
    expect(await found([...two, unmap('0x1000', '0x3fff'), done('0x1000', '0x2fff')])).toEqual([]);
    expect(await found([...two, unmap('0x2000', '0x2fff')])).toEqual([]);
    expect(await found([...two, unmap('0x8000', '0x8fff')])).toEqual([]);
    expect(await found([...two, unmap('0x0', '0xffffffffffffffff'), done('0x1000', '0x2fff')])).toEqual([
      [4, '0x2000 bytes removed', '0x4000 bytes removed', expect.any(String)],
    ]);
  });

  test('a removed mapping that the domain still translates is found even if the bytes agree', async () => {
    const lines = [...mapped, map('0x4000', '0x5fff', '0x9000'), unmap('0x1000', '0x2fff')];
    expect(await found([...lines, done('0x1000', '0x1fff'), done('0x2000', '0x2fff')])).toEqual([]);
    const wide = [...mapped, map('0x3000', '0x4fff', '0x9000'), unmap('0x1000', '0x3fff')];
    expect(await found([...wide, done('0x2000', '0x3fff')])).toEqual([
      [
        4,
        '0x2000 bytes removed',
        '0x2000 bytes removed',
        expect.stringContaining('[0x2000, 0x3fff] still translates'),
      ],
    ]);
  });

  test('answers without a question are found', async () => {
    expect(await found([...mapped, done('0x1000', '0x2fff')])).toEqual([
      [3, 'removed', 'nothing', expect.any(String)],
    ]);
    expect(
      await found([...mapped, unmap('0x1000', '0x2fff'), done('0x1000', '0x2fff'), done('0x5000', '0x5fff')]),
    ).toEqual([[5, 'removed', 'nothing', expect.any(String)]]);
    expect(await found([...mapped, translated('0x1000', '0x5000')])).toEqual([
      [3, '0x5000', 'nothing', expect.any(String)],
    ]);
  });

  test('a translate without an answer must be a miss', async () => {
    expect(await found([...mapped, translate('0x3000')])).toEqual([]);
    expect(await found([translate('0x1000'), ...mapped])).toEqual([]);
    expect(await found([attach, map('0x1000', '0x1fff', '0x5000', 1), translate('0x1000', 2)])).toEqual([]);
    expect(await found([...mapped, 'virtio_iommu_detach domain=1 endpoint=8', translate('0x1000')])).toEqual(
      [],
    );
    expect(
      await found([...mapped, 'virtio_iommu_put_endpoint Free endpoint=8', translate('0x1000')]),
    ).toEqual([]);
    expect(await found([...mapped, translate('0x1000')])).toEqual([
      [3, 'no answer', 'host physical 0x200100005000', expect.any(String)],
    ]);
  });

  test('a translate with an answer must be a hit', async () => {
    expect(await found([...mapped, translate('0x2fff', 3), translated('0x2fff', '0x6fff')])).toEqual([]);
    expect(await found([...mapped, translate('0x1000', 0), translated('0x1000', '0x5000')])).toEqual([]);
    const reasons = [
      {
        lines: [...mapped, translate('0x3000'), translated('0x3000', '0x7000')],
        reason: /nothing is mapped/,
      },
      {
        lines: [
          attach,
          map('0x1000', '0x1fff', '0x5000', 1),
          translate('0x1000', 2),
          translated('0x1000', '0x5000'),
        ],
        reason: /for 'r' only/,
      },
      { lines: [translate('0x1000'), translated('0x1000', '0x1000')], reason: /attached to no domain/ },
    ];
    for (const { lines, reason } of reasons) {
      expect(await found(lines)).toEqual([
        [lines.length, expect.stringContaining('guest physical'), 'no answer', expect.stringMatching(reason)],
      ]);
    }
  });

  test('a domain that ended has forgotten its mappings, and its devices are attached to nothing', async () => {
    const again = [...mapped, 'virtio_iommu_put_domain Free domain=1', translate('0x1000'), ...mapped];
    const { figures, divergences } = await run([
      ...again,
      translate('0x1000'),
      translated('0x1000', '0x5000'),
    ]);
    expect(divergences).toEqual([]);
    expect(figures).toMatchObject({ requests: 2, translations: 1, misses: 1, peakAreas: 1 });
    expect(await found(['virtio_iommu_put_domain Free domain=9'])).toEqual([]);
  });

  test('a device that moves takes its reservations along', async () => {
    const reserved = 'virtio_iommu_fill_resv_property dev= 8, type=1 start=0x8000 end=0x8fff';
    const move = 'virtio_iommu_attach domain=2 endpoint=8';
    const inTheWay = map('0x8000', '0x8fff', '0x5000');
    expect(await found([reserved, reserved, attach, inTheWay])).toEqual([
      [4, 'OK', 'EINVAL', expect.stringContaining('reserved by Endpoint 8')],
    ]);
    expect(await found([attach, reserved, inTheWay])).toEqual([[3, 'OK', 'EINVAL', expect.any(String)]]);
    expect(await found([reserved, attach, move, inTheWay])).toEqual([]);
    expect(await found([attach, inTheWay, reserved.replace('type=1', 'type=0')])).toEqual([
      [3, 'OK', 'EADDRINUSE', expect.stringContaining('[0x8000, 0x8fff]')],
    ]);
  });

  test('guest physical addresses that the process has no memory for are divergences, not exceptions', async () => {
    const top = '0xfffffffffffff000';
    expect(await found([attach, map('0x1000', '0x1fff', top)])).toEqual([
      [2, 'OK', 'EOVERFLOW', expect.stringContaining('no user address')],
    ]);
    expect(await found([attach, map('0x1000', '0x1fff', '0xf00000000000')])).toEqual([
      [2, 'OK', 'EFAULT', expect.stringContaining('2^47')],
    ]);
    for (const physical of [top, '0xf00000000000']) {
      expect(await found([...mapped, translate('0x1000'), translated('0x1000', physical)])).toEqual([
        [
          4,
          expect.stringContaining('no memory of the host'),
          'host physical 0x200100005000',
          expect.any(String),
        ],
      ]);
    }
    expect(await found([attach, map('0x0', '0xffffffffffffffff', '0x0')])).toEqual([
      [2, 'OK', 'EOVERFLOW', expect.any(String)],
    ]);
  });
});

test('vfio: an errno that the model never gives is named by its number', async () => {
  const { divergences } = await run(['vfio_dma_map(0x1, 0x1000, 0x1000, 0x10000) = -71 (Protocol error)']);
  expect(divergences).toMatchObject([{ line: 1, logged: 'errno 71', answered: 'OK' }]);
});

test('vfio: each container is a space of its own, and what fails in the model is told with its reason', async () => {
  const { figures, divergences } = await run([
    'vfio_dma_map(0x1, 0x1000, 0x1000, 0x10000) = 0',
    'vfio_dma_map(0x2, 0x1000, 0x1000, 0x10000) = 0',
    'vfio_dma_map(0x1, 0x1000, 0x1000, 0x10000) = 0',
    'vfio_dma_unmap(0x1, 0x3000, 0x1000) = 0',
    'vfio_dma_unmap(0x1, 0x3000, 0x0) = -22 (Invalid argument)',
    'vfio_dma_unmap(0x2, 0x0, 0xffffffffffffffff) = 0',
    'vfio_dma_unmap(0x2, 0x0, 0xffffffffffffffff) = 0',
  ]);
  expect(divergences.map(({ line, answered, reason }) => [line, answered, reason])).toEqual([
    [
      3,
      'EEXIST',
      expect.stringContaining('[0x1000, 0x1fff] (mapped from user address 0x10000) is already mapped'),
    ],
    [4, 'ENOENT', expect.stringContaining('nothing is mapped at 0x3000')],
  ]);
  expect(figures).toMatchObject({ requests: 7, peakAreas: 2, peakPinnedBytes: 0x2000n });
});

test('events that the replay does not run are counted', async () => {
  const { figures } = await run(['iommufd_backend_free_id  iommufd=3 id=9 (0)', 'noise']);
  expect(figures).toMatchObject({ requests: 0, notReplayed: 1 });
});

test('figures of the holes at the end of a log', async () => {
  const page = (number: number) => `vfio_dma_map(0x1, 0x${number}000, 0x1000, 0x${number}000) = 0`;
  const { figures } = await run([page(1), page(2), page(4), page(8)]);
  // Holes between the areas: [0x3000, 0x3fff] and [0x5000, 0x7fff].
  expect(figures.fragmentation).toBeCloseTo(1 / 4);
  expect(figures.largestHole).toBe(2n ** 64n - 0x9000n);
});

test('a memory of the caller may take its time; it is pinned, counted, and left as it was', async () => {
  const logged = new LoggedMemory();
  let pins = 0;
  const memory: UserMemory = {
    pin: async (page, count, write, into) => {
      await Promise.resolve();
      const pinned = logged.pin(page, count, write, into);
      pins += pinned;
      return pinned;
    },
    unpin: (_pfn, count) => {
      pins -= count;
    },
    frames: () => logged.frames(),
    copyFromUser: (...copy) => logged.copyFromUser(...copy),
    copyToUser: (...copy) => logged.copyToUser(...copy),
    resident: () => false,
  };
  const { figures } = await run(linesOfFile(VIRTIO_IOMMU), { memory });
  expect(figures).toMatchObject({ divergences: 0, peakPinnedBytes: 2121728n });
  expect(pins).toBe(0);
});

test('what a memory throws that is no errno ends the replay', async () => {
  class Broken extends LoggedMemory {
    override pin(): number {
      throw new RangeError('broken');
    }
  }
  const lines = ['vfio_dma_map(0x1, 0x1000, 0x1000, 0x10000) = 0'];
  await expect(run(lines, { memory: new Broken() })).rejects.toThrow('broken');
});

test('a domain that keeps no permissions translates for every access', async () => {
  const createDomain = (): IommuDomain => {
    const radix = new RadixDomain();
    return {
      pageSizeBitmap: radix.pageSizeBitmap,
      aperture: radix.aperture,
      map: (...mapped) => radix.map(...mapped),
      unmap: (...unmapped) => radix.unmap(...unmapped),
      iovaToPhys: (iova) => radix.iovaToPhys(iova),
    };
  };
  const lines = [
    'virtio_iommu_attach domain=1 endpoint=8',
    'virtio_iommu_map domain=1 virt_start=0x1000 virt_end=0x1fff phys_start=0x5000 flags=1',
    'virtio_iommu_translate mr=m rid=8 addr=0x1004 flag=2',
    'virtio_iommu_translate_out 0x1004 -> 0x5004 for sid=8',
    'virtio_iommu_translate mr=m rid=8 addr=0x2000 flag=1',
  ];
  const { figures, divergences } = await run(lines, { createDomain });
  expect(divergences).toEqual([]);
  expect(figures).toMatchObject({ translations: 1, misses: 1 });
});
