import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Divergence } from '../../src/replay/figures.js';
import { linesOfFile } from '../../src/replay/log-file.js';
import type { LogLines } from '../../src/replay/log-line.js';
import { readLog } from '../../src/replay/read-log.js';
import { ReplayRecorder } from '../../src/replay/recorder.js';
import { Replayer } from '../../src/replay/replayer.js';
import { type Picture, pictureOf, replayed } from './pictures.js';

const VIRTIO_IOMMU = new URL('../logs/virtio-iommu-disk.log.gz', import.meta.url);
const THREE_FAULTS = new URL('../logs/iommufd-three-faults.log', import.meta.url);

/** Records a log, and draws the spaces after each step as they are. */
async function recorded(lines: LogLines, limit?: number) {
  const recorder = new ReplayRecorder({
    log: 'x.log',
    profile: 'linux-6.12',
    ...(limit === undefined ? {} : { limit }),
  });
  const pictures: Picture[] = [];
  let pending: Divergence[] = [];
  let line = 0;
  let over = false;
  const replayer: Replayer = new Replayer({
    onDivergence: (divergence) => pending.push(divergence),
    onSpaceEnd: (space) => {
      if (!over) recorder.ended(space, line);
    },
  });
  for await (const event of readLog(lines)) {
    line = event.line;
    const step = await replayer.apply(event);
    for (const divergence of pending) if (divergence !== step?.divergence) recorder.divergence(divergence);
    pending = [];
    const settingChanged = step !== undefined && replayer.settingChanged(step.space);
    if (step !== undefined) recorder.step(step, { pinnedPages: replayer.pinnedPages, settingChanged });
    const picture = pictureOf(replayer.spaces());
    if (step !== undefined) pictures.push(picture);
  }
  over = true;
  const figures = await replayer.finish();
  return { recording: recorder.recording(figures), pictures, figures };
}

const hex = (page: number) => `0x${(page * 4096).toString(16)}`;

/** Calls of two containers on few pages, so that all kinds of answers come. */
const logs = fc.array(
  fc
    .record({
      unmap: fc.boolean(),
      container: fc.constantFrom(1, 2),
      page: fc.nat(8),
      pages: fc.integer({ min: 0, max: 4 }),
    })
    .map(({ unmap, container, page, pages }) =>
      unmap
        ? `vfio_dma_unmap(0x${container}, ${hex(page)}, ${hex(pages)}) = 0`
        : `vfio_dma_map(0x${container}, ${hex(page)}, ${hex(pages)}, ${hex(page + 100)}) = 0`,
    ),
  { maxLength: 60, size: 'max' },
);

describe('a recording', () => {
  test('put together step by step is what there was', () =>
    fc.assert(
      fc.asyncProperty(logs, async (lines) => {
        const { recording, pictures } = await recorded(lines);
        expect(replayed(recording)).toEqual(pictures);
      }),
      { seed: 20220318, numRuns: 100 },
    ));

  test.each([VIRTIO_IOMMU, THREE_FAULTS])('of %s, too', async (file) => {
    const { recording, pictures } = await recorded(linesOfFile(file));
    expect(replayed(recording)).toEqual(pictures);
  });

  test('keeps the last steps only, and what those before them did', () =>
    fc.assert(
      fc.asyncProperty(logs, fc.integer({ min: 1, max: 20 }), async (lines, limit) => {
        const { recording, pictures } = await recorded(lines, limit);
        expect(recording.steps.length).toBeLessThanOrEqual(limit * 1.25);
        expect(recording.skipped + recording.steps.length).toBe(pictures.length);
        expect(replayed(recording)).toEqual(pictures.slice(recording.skipped));
        const whole = (await recorded(lines)).recording;
        const diverging = whole.steps.filter(({ diverges }) => diverges).map(({ line }) => line);
        const kept = [...recording.skippedDivergences, ...recording.steps.filter(({ diverges }) => diverges)];
        expect(kept.map(({ line }) => line)).toEqual(diverging);
      }),
      { seed: 20220318, numRuns: 100 },
    ));

  test('is plain data', async () => {
    const { recording } = await recorded(linesOfFile(THREE_FAULTS));
    expect(JSON.parse(JSON.stringify(recording))).toEqual(recording);
    expect(recording).toMatchObject({
      format: 1,
      log: 'x.log',
      profile: 'linux-6.12',
      skipped: 0,
      figures: { operations: 32, divergences: 3, peakPinnedBytes: '0x1001e0000' },
    });
    const wrong = recording.steps.filter(({ diverges }) => diverges);
    expect(wrong.map(({ line, logged, answered }) => [line, logged, answered])).toEqual([
      [19, 'OK', 'ENOENT'],
      [23, 'ENOENT', 'OK'],
      [26, 'OK', 'EEXIST'],
    ]);
    expect(wrong[0]!.reason).toContain('reaches outside the range');
  });

  test('shows reservations, domains and shared pages', async () => {
    const { recording } = await recorded([
      'virtio_iommu_attach domain=1 endpoint=8',
      'virtio_iommu_map domain=1 virt_start=0x1000 virt_end=0x1fff phys_start=0x5000 flags=1',
      'virtio_iommu_fill_resv_property dev= 8, type=1 start=0x8000 end=0x8fff',
      'virtio_iommu_map domain=1 virt_start=0x2000 virt_end=0x2fff phys_start=0x5000 flags=3',
      'virtio_iommu_map domain=1 virt_start=0x3000 virt_end=0x3fff phys_start=0x6000 flags=3',
      'virtio_iommu_put_domain Free domain=1',
    ]);
    const [space] = recording.spaces;
    expect(space).toMatchObject({ name: 'domain 1', areas: [], setting: { alignment: 4096, reserved: [] } });
    expect(space!.setting.domains).toMatchObject([{ aperture: { start: '0x0' } }]);
    expect(recording.steps.map(({ call, setting }) => [call, setting?.reserved])).toEqual([
      ['map [0x1000, 0x1fff] of domain 1 to 0x5000', undefined],
      [
        'map [0x2000, 0x2fff] of domain 1 to 0x5000',
        [{ start: '0x8000', last: '0x8fff', owner: 'Endpoint 8' }],
      ],
      ['map [0x3000, 0x3fff] of domain 1 to 0x6000', undefined],
      ['the end of domain 1', undefined],
    ]);
    expect(recording.steps[3]).toMatchObject({ line: 6, removed: ['0x1000', '0x2000', '0x3000'] });
    expect(recording.steps.map(({ pinnedPages }) => pinnedPages)).toEqual([1, 2, 3, 3]);
    const pages = recording.steps.flatMap(({ added = [] }) => added.map((area) => area.pages));
    expect(new Set(pages).size).toBe(3);
  });

  test('forgets spaces that ended before the first kept step', async () => {
    const life = [
      'iommufd_backend_alloc_ioas  iommufd=9 ioas=2',
      'iommufd_backend_map_dma  iommufd=9 ioas=2 iova=0x1000 size=0x1000 addr=0x1000 readonly=0 (0)',
      'iommufd_backend_free_id  iommufd=9 id=2 (0)',
    ];
    const { recording } = await recorded(Array.from({ length: 100 }, () => life).flat(), 8);
    expect(recording.skipped + recording.steps.length).toBe(300);
    expect(recording.spaces.length).toBeLessThan(8);
  });

  test('tells divergences that belong to no request', async () => {
    const { recording } = await recorded([
      'virtio_iommu_attach domain=1 endpoint=8',
      'virtio_iommu_translate mr=m rid=8 addr=0x1000 flag=1',
      'virtio_iommu_translate_out 0x1000 -> 0x5000 for sid=8',
    ]);
    expect(recording.steps).toMatchObject([
      { line: 3, space: null, diverges: true, answered: 'no answer', pinnedPages: 0 },
    ]);
  });
});
