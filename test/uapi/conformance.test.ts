/** Every recorded trace, each operation as encoded bytes through `uapi`, with all invariants checked after it. */
import { describe, expect, test, vi } from 'vitest';
import {
  describeMismatch,
  type Mismatch,
  replayFiles,
  replayTrace,
} from '../../conformance/replay-traces.js';
import { Iommufd } from '../../src/iommufd/iommufd.js';
import { IommufdDevice } from '../../src/uapi/device.js';
import { ALLOC, HEADER, traceFiles } from '../helpers/traces.js';

test('there are traces', () => {
  expect(traceFiles.length).toBeGreaterThan(230);
});

describe('trace', () => {
  test.each(traceFiles)('%s', async (_name, file) => {
    const found: string[] = [];
    const report = (mismatch: Mismatch) => found.push(describeMismatch(mismatch));
    const { ops, mismatches } = await replayFiles([file], { check: true, uapi: true, report });
    expect(found).toEqual([]);
    expect(mismatches).toBe(0);
    expect(ops).toBeGreaterThan(0);
  });
});

describe('the runner', () => {
  async function replay(...lines: string[]): Promise<string[]> {
    const found: string[] = [];
    const report = ({ line, got }: Mismatch) => found.push(`${line}: ${got}`);
    await replayTrace('t', lines, { uapi: true, check: true, report });
    return found;
  }

  test('sees wrong answers', async () => {
    const wrong = [
      '{"op":"ioas_destroy","ioas":"ioas1","expect":{"errno":"OK"}}',
      '{"op":"map","ioas":"ioas0","iova":null,"uptr":"0x100000","length":"0x1000","prot":"r","expect":{"errno":"OK","iova":"0x2000"}}',
      '{"op":"page_pins","uptr":"0x100000","length":"0x2000","expect":{"errno":"OK","runs":[[2,1]]}}',
    ];
    expect(await replay(HEADER, ALLOC, ...wrong)).toEqual([
      '3: {"errno":"ENOENT"}',
      '4: {"errno":"OK","iova":"0x1000"}',
      '5: {"errno":"OK","runs":[[2,0]]}',
    ]);
  });

  test('does not know operations of another profile', async () => {
    const rfc = HEADER.replace('"seed"', '"profile":"rfc-v1","seed"');
    const found = await replay(rfc, ALLOC, '{"op":"vfio_info","expect":{"errno":"ENODEV"}}');
    expect(found).toEqual(['3: TraceError: operation vfio_info is not known']);
  });

  test('goes through the device: the typed methods it stands for are not called', async () => {
    const typed = [vi.spyOn(Iommufd.prototype, 'ioasMap'), vi.spyOn(Iommufd.prototype, 'ioasAlloc')];
    const ioctl = vi.spyOn(IommufdDevice.prototype, 'ioctl');
    const map =
      '{"op":"map","ioas":"ioas0","iova":"0x1000","uptr":"0x100000","length":"0x1000","prot":"r","expect":{"errno":"OK","iova":"0x1000"}}';
    expect(await replay(HEADER, ALLOC, map)).toEqual([]);
    expect(ioctl).toHaveBeenCalledTimes(2);
    for (const method of typed) expect(method).not.toHaveBeenCalled();
    vi.restoreAllMocks();
  });
});
