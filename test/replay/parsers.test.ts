import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatIommufdEvent, parseIommufdLine } from '../../src/replay/formats/iommufd/iommufd-log.js';
import { formatVfioEvent, parseVfioLine } from '../../src/replay/formats/vfio/vfio-log.js';
import {
  formatViommuEvent,
  parseViommuLine,
} from '../../src/replay/formats/virtio-iommu/virtio-iommu-log.js';
import { eventsOf, iommufdEvents, vfioEvents, viommuEvents } from './log-events.js';

describe('what is written is read back', () => {
  test('vfio calls', () => {
    fc.assert(
      fc.property(vfioEvents, (event) => {
        expect(parseVfioLine(formatVfioEvent(event), event.line)).toEqual(event);
      }),
    );
  });

  test('virtio-iommu trace events', () => {
    fc.assert(
      fc.property(viommuEvents, (event) => {
        expect(parseViommuLine(formatViommuEvent(event), event.line)).toEqual(event);
      }),
    );
  });

  test('iommufd trace events', () => {
    fc.assert(
      fc.property(iommufdEvents, (event) => {
        expect(parseIommufdLine(formatIommufdEvent(event), event.line)).toEqual(event);
      }),
    );
  });
});

test('any text is an event, malformed or noise, and never an exception', async () => {
  const known = fc.constantFrom(
    'vfio_dma_map(',
    'vfio_container_dma_unmap(0x1, 0x2',
    'virtio_iommu_map ',
    'virtio_iommu_unmap domain=',
    'virtio_iommu_translate_out ',
    'iommufd_backend_map_dma ',
    'iommufd_backend_free_id  iommufd=1 id=2 ',
  );
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(fc.string(), known, fc.string({ unit: 'binary' }))), async (parts) => {
      const lines = parts.map((each) => each.join('').replaceAll('\n', ' '));
      for (const event of await eventsOf(lines)) expect(event.type).toBe('malformed');
    }),
  );
});

describe('vfio calls', () => {
  const map = {
    type: 'vfio-map',
    line: 1,
    container: 0x55b9n,
    iova: 0xfffff000n,
    length: 0x1000n,
    uptr: 0x7f79ee81f000n,
    result: 0,
  };
  test.each([
    ['bare', 'vfio_dma_map(0x55b9, 0xfffff000, 0x1000, 0x7f79ee81f000) = 0', map],
    [
      "the container's name for it, behind a program name",
      'qemu-kvm: vfio_container_dma_map(0x55b9, 0xfffff000, 0x1000, 0x7f79ee81f000) = -98 (Address already in use)\r',
      { ...map, result: -98, text: 'Address already in use' },
    ],
    [
      'a source line number and upper case',
      'qemu: 218 vfio_dma_map(0x55B9, 0xFFFFF000, 0x1000, 0x7f79ee81f000) = 0 ()',
      { ...map, sourceLine: 218, text: '' },
    ],
  ])('%s', (_, text, event) => expect(parseVfioLine(text, 1)).toEqual(event));

  test.each([
    ['no answer', 'vfio_dma_map(0x1, 0x2, 0x3, 0x4)'],
    ['an argument short', 'vfio_dma_map(0x1, 0x2, 0x3) = 0'],
    ['an argument too many', 'vfio_dma_unmap(0x1, 0x2, 0x3, 0x4) = 0'],
    ['decimal addresses', 'vfio_dma_unmap(1, 2, 3) = 0'],
    ['past 64 bits', 'vfio_dma_unmap(0x1, 0x20000000000000000, 0x3) = 0'],
    ['a positive answer', 'vfio_dma_unmap(0x1, 0x2, 0x3) = 5'],
    ['half a sentence', 'vfio_dma_unmap(0x1, 0x2, 0x3) = -2 (No such file'],
  ])('malformed: %s', (_, text) => {
    expect(parseVfioLine(text, 9)).toMatchObject({ type: 'malformed', line: 9, text });
  });

  test.each([
    'IOMMU_IOAS_UNMAP failed: No such file or directory',
    'vfio_listener_region_add region_add 0 - 0xfff [0x7f]',
    'my_vfio_dma_map(',
    '',
  ])('noise: %s', (text) => expect(parseVfioLine(text, 1)).toBeUndefined());
});

describe('an unmap printed before and after its call', () => {
  const call = (prefix: string, answer: string, range = '0xff000000, 0x1000000') =>
    `qemu: ${prefix}vfio_dma_unmap(0x1, ${range}) = ${answer}`;
  const STALE = '0 (No such file or directory)';
  const FAILED = '-2 (No such file or directory)';
  const seen = async (...lines: string[]) =>
    (await eventsOf(lines)).map((event) => ({
      line: event.line,
      ...('result' in event && { result: event.result }),
      ...('announcedOnLine' in event && { announcedOnLine: event.announcedOnLine }),
    }));

  test('is one call, answered on the second line', async () => {
    const one = [{ line: 3, result: -2, announcedOnLine: 1 }];
    expect(await seen(call('232 ', STALE), 'noise', call('241 ', FAILED))).toEqual(one);
    expect(await seen(call('', STALE), 'noise', call('', FAILED))).toEqual(one);
    expect(await seen(call('232 ', STALE), 'noise', call('', FAILED))).toEqual(one);
    const success = [{ line: 2, result: 0, announcedOnLine: 1 }];
    expect(await seen(call('232 ', STALE), call('241 ', STALE))).toEqual(success);
    expect(await seen(call('232 ', STALE), call('241 ', '0'))).toEqual(success);
  });

  test('twice is two calls', async () => {
    const lines = [call('232 ', STALE), call('241 ', STALE), call('232 ', STALE), call('241 ', FAILED)];
    expect(await seen(...lines)).toEqual([
      { line: 2, result: 0, announcedOnLine: 1 },
      { line: 4, result: -2, announcedOnLine: 3 },
    ]);
  });

  test.each([
    ['the first line has no sentence', call('232 ', '0'), call('241 ', FAILED)],
    ['the first sentence is of a success', call('232 ', '0 (Success)'), call('241 ', FAILED)],
    ['the first line is a failure', call('232 ', FAILED), call('241 ', FAILED)],
    ['one print statement printed both', call('241 ', STALE), call('241 ', FAILED)],
    ['the second line comes from further up', call('241 ', STALE), call('232 ', FAILED)],
    ['the ranges differ', call('232 ', STALE), call('241 ', FAILED, '0xff000000, 0x2000000')],
    ['the containers differ', call('232 ', STALE), call('241 ', FAILED).replace('(0x1', '(0x2')],
    ['both succeed and nothing numbers them', call('', STALE), call('', STALE)],
  ])('is two calls if %s', async (_, first, second) => {
    const events = await seen(first, second);
    expect(events.map((event) => event.line)).toEqual([1, 2]);
    expect(events.some((event) => 'announcedOnLine' in event)).toBe(false);
  });

  test('needs the two lines next to each other', async () => {
    const other = 'vfio_dma_map(0x1, 0x0, 0x1000, 0x1000) = 0';
    const malformed = 'vfio_dma_map(nonsense';
    for (const between of [other, malformed]) {
      const events = await seen(call('232 ', STALE), between, call('241 ', FAILED));
      expect(events.map((event) => event.line)).toEqual([1, 2, 3]);
    }
  });

  test('counts as a call where the log ends behind the first line', async () => {
    expect(await seen(call('232 ', STALE))).toEqual([{ line: 1, result: 0 }]);
  });

  test('never loses, invents or reorders a call', async () => {
    const lines = fc.array(
      fc.tuple(
        fc.constantFrom('', '232 ', '241 '),
        fc.constantFrom('0', STALE, FAILED),
        fc.constantFrom('0x1000, 0x1000', '0x2000, 0x1000'),
      ),
    );
    await fc.assert(
      fc.asyncProperty(lines, async (calls) => {
        const events = await eventsOf(calls.map(([prefix, answer, range]) => call(prefix, answer, range)));
        const covered = events.flatMap((event) =>
          'announcedOnLine' in event ? [event.announcedOnLine, event.line] : [event.line],
        );
        expect(covered).toEqual(calls.map((_, at) => at + 1));
      }),
    );
  });
});

test('the bug report is three calls', async () => {
  const text = await readFile(new URL('../logs/bug-report.log', import.meta.url), 'utf8');
  const container = 0x55b99d7b7d40n;
  expect(await eventsOf(text.split('\n'))).toEqual([
    {
      type: 'vfio-map',
      line: 1,
      container,
      iova: 0xfffff000n,
      length: 0x1000n,
      uptr: 0x7f79ee81f000n,
      result: 0,
      sourceLine: 218,
    },
    {
      type: 'vfio-unmap',
      line: 4,
      container,
      iova: 0xff000000n,
      length: 0x1000000n,
      result: -2,
      text: 'No such file or directory',
      sourceLine: 241,
      announcedOnLine: 2,
    },
    {
      type: 'vfio-map',
      line: 6,
      container,
      iova: 0xfffc0000n,
      length: 0x40000n,
      uptr: 0x7f7968c00000n,
      result: -98,
      text: 'Address already in use',
    },
  ]);
});

describe('virtio-iommu trace events', () => {
  test.each([
    [
      'virtio_iommu_map domain=0 virt_start=0xffffe000 virt_end=0xffffffff phys_start=0x8fe000 flags=3',
      {
        type: 'viommu-map',
        line: 1,
        domain: 0,
        iova: 0xffffe000n,
        last: 0xffffffffn,
        physical: 0x8fe000n,
        flags: 3,
      },
    ],
    [
      '4711@1700000000.123456:virtio_iommu_unmap_done domain=2 virt_start=0x1000 virt_end=0x1fff',
      { type: 'viommu-unmap-done', line: 1, domain: 2, iova: 0x1000n, last: 0x1fffn },
    ],
    [
      'virtio_iommu_translate mr=virtio-iommu-memory-region-4-32 rid=32 addr=0xffffd002 flag=1',
      {
        type: 'viommu-translate',
        line: 1,
        region: 'virtio-iommu-memory-region-4-32',
        endpoint: 32,
        iova: 0xffffd002n,
        access: 1,
      },
    ],
    [
      'virtio_iommu_translate_out 0xffffd002 -> 0x903002 for sid=32',
      { type: 'viommu-translated', line: 1, iova: 0xffffd002n, physical: 0x903002n, endpoint: 32 },
    ],
    [
      'virtio_iommu_fill_resv_property dev= 32, type=1 start=0xfee00000 end=0xfeefffff',
      { type: 'viommu-reserved', line: 1, endpoint: 32, kind: 1, iova: 0xfee00000n, last: 0xfeefffffn },
    ],
  ])('%s', (text, event) => expect(parseViommuLine(text, 1)).toEqual(event));

  test.each([
    ['virtio_iommu_map domain=0 virt_start=0x0 virt_end=0xfff phys_start=0x1000', /expected map domain=/],
    ['virtio_iommu_map domain=0 virt_start=0x1000 virt_end=0xfff phys_start=0x0 flags=1', /ends below/],
    ['virtio_iommu_unmap domain=0 virt_start=0x1000 virt_end=0xfff', /ends below/],
    ['virtio_iommu_translate_out 0x10 for sid=3', /expected translate_out/],
    ['virtio_iommu_put_domain domain=0', /expected put_domain Free/],
  ])('malformed: %s', (text, problem) => {
    expect(parseViommuLine(text, 4)).toEqual({
      type: 'malformed',
      line: 4,
      problem: expect.stringMatching(problem),
      text,
    });
  });

  test.each([
    'virtio_iommu_get_config page_size_mask=0xfffffffffffff000 input range start=0x0',
    'virtio_iommu_device_reset reset!',
    'virtio_iommu_mapping domain=0',
    'virtio_blk_handle_write vdev 0x55 req 0x56 sector 0 nsectors 8',
  ])('noise: %s', (text) => expect(parseViommuLine(text, 1)).toBeUndefined());
});

describe('iommufd trace events', () => {
  test.each([
    [
      'iommufd_backend_map_dma  iommufd=25 ioas=2 iova=0x0 size=0xa0000 addr=0x7fdc66000000 readonly=0 (-17)',
      {
        type: 'iommufd-map-dma',
        line: 1,
        iommufd: 25,
        ioas: 2,
        iova: 0n,
        length: 0xa0000n,
        uptr: 0x7fdc66000000n,
        readonly: false,
        result: -17,
      },
    ],
    [
      '812@1700000000.000001:iommufd_backend_unmap_dma_non_exist  Unmap nonexistent mapping: iommufd=25 ioas=2 iova=0x1000 size=0x1000 (0)',
      {
        type: 'iommufd-unmap-dma-non-exist',
        line: 1,
        iommufd: 25,
        ioas: 2,
        iova: 0x1000n,
        length: 0x1000n,
        result: 0,
      },
    ],
  ])('%s', (text, event) => expect(parseIommufdLine(text, 1)).toEqual(event));

  test.each([
    ['iommufd_backend_map_dma  iommufd=25 ioas=2 iova=0x0', /expected map_dma/],
    ['iommufd_backend_free_id  iommufd=25 id=2 (3)', /neither 0 nor negative/],
    ['iommufd_backend_set_dirty  iommufd=25 hwpt=2 enable=yes (0)', /expected set_dirty/],
  ])('malformed: %s', (text, problem) => {
    expect(parseIommufdLine(text, 4)).toEqual({
      type: 'malformed',
      line: 4,
      problem: expect.stringMatching(problem),
      text,
    });
  });

  test('noise: an event of the family that maps nothing', () => {
    expect(parseIommufdLine('iommufd_backend_viommu_alloc  iommufd=1', 1)).toBeUndefined();
  });
});
