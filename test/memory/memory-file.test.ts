/** Files in memory: kinds, descriptors, seals, and what of them processes may map. */
import { describe, expect, test } from 'vitest';
import { FrameRuns } from '../../src/memory/frame-runs.js';
import { type FileKind, MemoryFile } from '../../src/memory/memory-file.js';
import { PhysicalMemory } from '../../src/memory/physical-memory.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import { expectErrorNow } from '../helpers/expect-error.js';

const PAGE = 4096;
const HUGE = 512 * PAGE;
const KINDS: readonly FileKind[] = ['memfd', 'tmpfs', 'hugetlb', 'disk', 'device', 'directory'];

function setting(options: ConstructorParameters<typeof MemoryFile>[0] = {}) {
  const physical = new PhysicalMemory();
  const memory = new ProcessMemory({ physical });
  return { physical, memory, file: new MemoryFile({ physical, size: 4 * PAGE, ...options }) };
}

describe('a file', () => {
  test('is an empty memfd unless something else is asked for', () => {
    const file = new MemoryFile();
    expect([file.size, file.kind, file.writable, file.seals]).toEqual([0n, 'memfd', true, []]);
    expect(file.read(0, 10)).toEqual(new Uint8Array(0));
    expect(file.pinsAt(0)).toBeUndefined();
  });

  test('has the bytes of a buffer, the other way round as well', () => {
    const buffer = new ArrayBuffer(2 * PAGE);
    const { file, memory } = setting({ buffer, size: undefined });
    expect(file.size).toBe(BigInt(2 * PAGE));
    const region = memory.mmap({ file, length: 2 * PAGE });
    memory.write(region.uptr + 5n, Uint8Array.of(1, 2, 3));
    expect([...new Uint8Array(buffer, 5, 3)]).toEqual([1, 2, 3]);
    expect(region.bytes?.[6]).toBe(2);
    const direct = memory.mmap({ buffer, length: 2 * PAGE });
    expect(memory.frameOf(direct.uptr)).toBe(memory.frameOf(region.uptr));
  });

  test('grows into a buffer that is larger, and what was there is cleared', () => {
    const buffer = new ArrayBuffer(4 * PAGE);
    new Uint8Array(buffer).fill(7);
    const { file } = setting({ buffer, size: PAGE });
    file.truncate(3 * PAGE);
    expect([...file.read(PAGE - 1, 2)]).toEqual([7, 0]);
    file.write(2 * PAGE, Uint8Array.of(9));
    expect(new Uint8Array(buffer)[2 * PAGE]).toBe(9);
    file.truncate(5 * PAGE);
    file.write(4 * PAGE, Uint8Array.of(8));
    expect(file.read(4 * PAGE, 1)[0]).toBe(8);
  });

  test('may be of any size: its memory is made where it is touched', () => {
    const { physical, memory } = setting();
    const file = new MemoryFile({ physical, size: 2n ** 40n });
    const { uptr } = memory.mmap({ file, length: 2n ** 40n });
    memory.write(uptr + 2n ** 39n, Uint8Array.of(1));
    expect(file.read(2n ** 39n, 1)[0]).toBe(1);
    const frames = new FrameRuns();
    expect(file.pin(0, 2 ** 28, frames)).toBe(2 ** 28);
    expect(frames.runs).toBe(1);
    file.unpinAll(frames);
    expect(physical.pinned).toBe(0);
  });

  test('of huge pages has whole ones, each of consecutive frames from a multiple of 2 MiB', () => {
    const { file, memory } = setting({ kind: 'hugetlb', size: 2 * HUGE, frames: 'scattered' });
    const { uptr } = memory.mmap({ file, length: 2 * HUGE });
    const first = memory.frameOf(uptr);
    expect([first % 512, memory.frameOf(uptr + BigInt(HUGE - PAGE)) - first]).toEqual([0, 511]);
    expectErrorNow(() => setting({ kind: 'hugetlb', size: HUGE + PAGE }), 'EINVAL');
    expectErrorNow(() => file.truncate(PAGE), 'EINVAL');
    file.truncate(HUGE);
    expect(memory.frameAt(Number(uptr / 4096n) + 512)).toBeUndefined();
  });

  test('what it is made of is checked', () => {
    expectErrorNow(() => setting({ size: 2n ** 63n }), 'EINVAL');
    expectErrorNow(() => setting({ buffer: new ArrayBuffer(PAGE), size: PAGE + 1 }), 'EINVAL');
    expectErrorNow(() => setting({ buffer: new ArrayBuffer(PAGE + 1), size: undefined }), 'EINVAL');
    const wrong: object[] = [
      { kind: 'pipe' },
      { seals: 'write' },
      { seals: ['read'] },
      { frames: 'huge' },
      { writable: 1 },
      { physical: {} },
      { buffer: new Uint8Array(PAGE) },
      { size: '1' },
    ];
    for (const options of wrong)
      expect(() => new MemoryFile(options), JSON.stringify(options)).toThrow(TypeError);
  });
});

describe('descriptors and seals', () => {
  test('a file that is open for reading only is neither cut nor written; another descriptor may do that', () => {
    const { file } = setting();
    const reader = file.reopen({ writable: false });
    expectErrorNow(() => reader.truncate(0), 'EINVAL');
    expectErrorNow(() => reader.write(0, Uint8Array.of(1)), 'EINVAL');
    expectErrorNow(() => reader.addSeals('shrink'), 'EPERM');
    file.write(0, Uint8Array.of(1));
    file.truncate(PAGE);
    expect([reader.size, reader.read(0, 1)[0], reader.physical]).toEqual([BigInt(PAGE), 1, file.physical]);
    expect(reader.reopen().writable).toBe(true);
  });

  test('each seal forbids what it says, for all descriptors and for good', () => {
    const { file } = setting();
    file.addSeals('shrink');
    expectErrorNow(() => file.truncate(PAGE), 'EPERM');
    file.truncate(5 * PAGE);
    file.reopen().addSeals('grow');
    expectErrorNow(() => file.truncate(6 * PAGE), 'EPERM');
    file.truncate(5 * PAGE);
    file.write(0, Uint8Array.of(1));
    file.addSeals('write', 'seal');
    expectErrorNow(() => file.write(0, Uint8Array.of(1)), 'EPERM');
    expectErrorNow(() => file.addSeals('grow'), 'EPERM');
    expect(file.seals).toEqual(['seal', 'shrink', 'grow', 'write']);
    expect(() => file.addSeals('read' as 'write')).toThrow(TypeError);
    expectErrorNow(() => setting({ kind: 'tmpfs' }).file.addSeals('write'), 'EINVAL');
    expect(setting({ seals: ['grow'] }).file.seals).toEqual(['grow']);
  });

  test('a file is not sealed against writing while a process may write it', () => {
    const { file, memory } = setting();
    const { uptr } = memory.mmap({ file, length: PAGE });
    expectErrorNow(() => file.addSeals('write'), 'EBUSY');
    const child = memory.fork();
    memory.protect(uptr, PAGE, false);
    expectErrorNow(() => file.addSeals('write'), 'EBUSY');
    child.exit();
    file.addSeals('write');
    expectErrorNow(() => memory.mmap({ file, length: PAGE }), 'EPERM');
    memory.mmap({ file, length: PAGE, writable: false });
  });

  for (const kind of KINDS) {
    const hasPages = kind !== 'device' && kind !== 'directory';
    test(`a ${kind} ${hasPages ? 'is' : 'is neither'} mapped and cut`, () => {
      const { file, memory } = setting({ kind, size: HUGE });
      const map = () => memory.mmap({ file, length: HUGE });
      const cut = () => file.truncate(0);
      if (hasPages) {
        map();
        cut();
      } else {
        expectErrorNow(map, 'ENODEV');
        expectErrorNow(cut, 'EINVAL');
      }
    });
  }

  test('a size of 2^63 is too large', () => {
    const { file } = setting();
    expectErrorNow(() => file.truncate(2n ** 63n), 'EINVAL');
    expect(() => file.truncate(-1)).toThrow(RangeError);
  });
});

describe('a file in a process', () => {
  test('what is wrong with a mapping is said before anything is mapped', () => {
    const { file, memory } = setting();
    const { physical } = memory;
    const refused: [string, object][] = [
      ['EINVAL', { file, length: PAGE, offset: 1 }],
      ['EINVAL', { length: PAGE, offset: PAGE }],
      ['EINVAL', { file, length: PAGE, buffer: new ArrayBuffer(PAGE) }],
      ['EINVAL', { file, length: PAGE, sparse: true }],
      ['EINVAL', { file: new MemoryFile({ size: PAGE }), length: PAGE }],
      ['EOVERFLOW', { file, length: 2 * PAGE, offset: 2n ** 64n - BigInt(PAGE) }],
      ['EACCES', { file: file.reopen({ writable: false }), length: PAGE }],
      ['EPERM', { file: new MemoryFile({ physical, size: PAGE, seals: ['write'] }), length: PAGE }],
    ];
    for (const [code, options] of refused) {
      expectErrorNow(() => memory.mmap(options as { length: number }), code as 'EINVAL');
    }
    expect(() => memory.mmap({ length: PAGE, file: {} as MemoryFile })).toThrow(TypeError);
    expect(memory.regions).toEqual([]);
  });

  test('a mapping that could not be writable cannot become so', () => {
    const { file, memory } = setting();
    const { uptr } = memory.mmap({ file: file.reopen({ writable: false }), length: PAGE, writable: false });
    expectErrorNow(() => memory.protect(uptr, PAGE, true), 'EACCES');
    memory.protect(uptr, PAGE, false);
    const other = memory.mmap({ file, length: PAGE, writable: false });
    memory.protect(other.uptr, PAGE, true);
    memory.write(other.uptr, Uint8Array.of(1));
  });

  test('beyond the end there is nothing, until the file grows', () => {
    const { file, memory } = setting({ size: PAGE + 1 });
    const region = memory.mmap({ file, offset: PAGE, length: 3 * PAGE });
    expect([region.length, region.bytes]).toEqual([BigInt(3 * PAGE), undefined]);
    const second = region.uptr + BigInt(PAGE);
    expect(expectErrorNow(() => memory.read(second, 1), 'EFAULT').message).toContain(
      'beyond the end of a file',
    );
    memory.write(region.uptr + 100n, Uint8Array.of(1));
    file.truncate(3 * PAGE);
    // Growing clears nothing: not even what was written behind the end.
    expect(file.read(PAGE + 100, 1)[0]).toBe(1);
    memory.write(second, Uint8Array.of(2));
    expect(file.read(2 * PAGE, 1)[0]).toBe(2);
    file.truncate(PAGE + 1);
    expect(file.read(PAGE + 100, 1)).toHaveLength(0);
    file.truncate(3 * PAGE);
    expect([file.read(PAGE + 100, 1)[0], memory.read(second, 1)[0]]).toEqual([0, 0]);
  });

  test('is left by munmap and exit', () => {
    const { file, memory, physical } = setting();
    const { uptr } = memory.mmap({ file, length: 4 * PAGE });
    memory.munmap(uptr + BigInt(PAGE), PAGE);
    file.truncate(0);
    file.truncate(4 * PAGE);
    expect(() => memory.read(uptr + BigInt(PAGE), 1)).toThrow('is not mapped');
    memory.exit();
    file.truncate(2 * PAGE);
    expect(file.frameAt(0)).toBeUndefined();
    expect(physical.pinned).toBe(0);
  });

  test('is seen by other threads where it is in a shared buffer', () => {
    const buffer = new SharedArrayBuffer(2 * PAGE);
    const { file, memory } = setting({ buffer, size: undefined });
    const { uptr } = memory.mmap({ file, length: 4 * PAGE });
    expect(memory.share().ranges.map(({ pfn, frames }) => [pfn, frames])).toEqual([
      [memory.frameOf(uptr), 2],
    ]);
  });
});

describe('pins', () => {
  test('are checked before they are made', () => {
    const { file, physical } = setting({ size: 3 * PAGE - 1 });
    const frames = new FrameRuns();
    for (const [page, count] of [
      [2, 1],
      [0, 3],
      [9, 1],
    ] as const) {
      expectErrorNow(() => file.pin(page, count, frames), 'EINVAL');
    }
    expect(() => file.pin(-1, 1, frames)).toThrow(RangeError);
    expect(() => file.pin(0, 0, frames)).toThrow(RangeError);
    expect(() => file.pin(0, 1, [] as unknown as FrameRuns)).toThrow(TypeError);
    expect(() => file.unpinAll([] as unknown as FrameRuns)).toThrow(TypeError);
    expect([frames.frames, physical.pinned]).toEqual([0, 0]);
  });

  test('of a class of its own go through its methods', () => {
    class Counting extends MemoryFile {
      unpinned = 0;
      override unpin(pfn: number, count: number): void {
        this.unpinned += count;
        super.unpin(pfn, count);
      }
      override pin(page: number, count: number, into: FrameRuns): number {
        return super.pin(page, count, into);
      }
    }
    const file = new Counting({ size: 4 * PAGE, frames: 'scattered' });
    const frames = new FrameRuns();
    file.pin(0, 4, frames);
    file.unpinAll(frames);
    expect([file.unpinned, file.physical.pinned, file.pinRecord]).toEqual([4, 0, undefined]);
    expect(new MemoryFile().pinRecord).toBeInstanceOf(PhysicalMemory);
  });
});
