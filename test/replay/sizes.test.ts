/** Sizes that a log can name: each ends in an answer or in an error with a code. */
import { describe, expect, test } from 'vitest';
import { type MalformedLine, quote, splitLines } from '../../src/replay/log-line.js';
import { LogRoom } from '../../src/replay/log-room.js';
import { readLog } from '../../src/replay/read-log.js';
import { Replayer, replay } from '../../src/replay/replayer.js';
import { run } from '../cli/fake-terminal.js';

const TOO_LARGE = { name: 'LogError', code: 'ERR_LOG_TOO_LARGE' };

test.each([0x1000n, 0x100_0000_0000n, 0x7fff_ffff_0000n])('a map of %s bytes agrees', async (length) => {
  const lines = [`vfio_dma_map(0x1, 0x1000, 0x${length.toString(16)}, 0x2000) = 0`];
  const figures = await replay(lines);
  expect(figures).toMatchObject({ requests: 1, divergences: 0, peakPinnedBytes: length });
});

test('a map of all of user space is looked up page by page only where it is asked', async () => {
  const replayer = new Replayer();
  const lines = ['vfio_dma_map(0x1, 0x1000, 0x7fffffff0000, 0x2000) = 0'];
  for await (const event of readLog(lines)) await replayer.apply(event);
  const [space] = replayer.spaces();
  expect(space!.translate(0x1234n)?.physical).toBe(space!.translate(0x1000n)!.physical + 0x234n);
  expect(space!.translate(0x7fff_ffff_1000n)).toBeUndefined();
  space!.table.check();
});

describe('objects', () => {
  function* maps(count: number) {
    for (let at = 1; at <= count; at++) yield `vfio_dma_map(0x${at.toString(16)}, 0x0, 0x1000, 0x1000) = 0`;
  }

  test('more spaces than a process has address space for page tables', async () => {
    const figures = await replay(maps(3000));
    expect(figures).toMatchObject({ requests: 3000, divergences: 0, peakAreas: 3000 });
  });

  test('are counted', () => {
    const room = new LogRoom();
    for (let at = 0; at < 2 ** 16; at++) room.addObject();
    expect(() => room.addObject()).toThrow(expect.objectContaining(TOO_LARGE));
    room.removeObjects(1);
    room.addObject();
  });

  test('that come and go leave nothing behind', async () => {
    function* lines() {
      for (let id = 2; id < 3000; id++) {
        yield `iommufd_backend_alloc_ioas iommufd=3 ioas=${id}`;
        yield `iommufd_backend_free_id iommufd=3 id=${id} (0)`;
      }
      yield 'iommufd_backend_unmap_dma iommufd=3 ioas=2999 iova=0x0 size=0x1000 (-2)';
    }
    const replayer = new Replayer();
    for await (const event of readLog(lines())) await replayer.apply(event);
    expect([...replayer.spaces()]).toEqual([]);
    expect(await replayer.finish()).toMatchObject({ requests: 2999, divergences: 0 });
  });

  test('the command says when there are too many, and ends with status 2', async () => {
    function* input() {
      const encoder = new TextEncoder();
      for (let at = 0; at <= 2 ** 16; at++) {
        yield encoder.encode(`virtio_iommu_fill_resv_property dev= ${at}, type=0 start=0x0 end=0xfff\n`);
      }
    }
    const { status, err } = await run(['replay', '-'], { input: input() });
    expect(status).toBe(2);
    expect(err).toMatch(/^iopt: the log has more than 65536 IOVA spaces, page tables and devices at a time/);
  });

  test('regions of a device beyond those that any has are left out', async () => {
    function* lines() {
      yield 'virtio_iommu_attach domain=1 endpoint=5';
      for (let at = 0; at < 200; at++) {
        const [first, last] = [at * 0x2000, at * 0x2000 + 0xfff].map((address) => address.toString(16));
        yield `virtio_iommu_fill_resv_property dev= 5, type=0 start=0x${first} end=0x${last}`;
      }
    }
    expect(await replay(lines())).toMatchObject({ divergences: 0, notReplayed: 200 - 128 });
  });
});

describe('long lines', () => {
  test('that cannot be read are kept as their beginning, with a problem of bounded length', async () => {
    const malformed: MalformedLine[] = [];
    const lines = [`vfio_dma_map(0x1, ${'9'.repeat(2 ** 20)}`, `virtio_iommu_map ${'x'.repeat(2 ** 20)}`];
    await replay(lines, { onMalformed: (line) => malformed.push(line) });
    expect(malformed.map(({ text, problem }) => [text.length, problem.length < 300])).toEqual([
      [200, true],
      [200, true],
    ]);
  });

  test('are quoted exactly, halves of characters too', () => {
    for (const text of ['', 'a', '\ud83d', 'x\u2028"\\', '\0'.repeat(300)])
      expect(quote(text)).toBe(text.slice(0, 200));
    expect(quote('\ud83d\ude00', 1)).toBe('\ud83d');
  });

  test('are cut where they come in', async () => {
    const lines: number[] = [];
    for await (const line of splitLines(['x'.repeat(100_000), 'x'.repeat(100_000), '\nabc']))
      lines.push(line.length);
    expect(lines).toEqual([65_536, 3]);
  });

  test('with text behind the answer give an event of bounded size', async () => {
    const text = 'No such file or directory '.repeat(10_000);
    for await (const event of readLog([`vfio_dma_unmap(0x1, 0x0, 0x1000) = -2 (${text})`])) {
      expect('text' in event ? event.text?.length : undefined).toBe(200);
    }
  });
});
