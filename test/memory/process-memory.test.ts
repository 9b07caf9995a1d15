import { describe, expect, test } from 'vitest';
import { FrameRuns } from '../../src/memory/frame-runs.js';
import type { WebAssemblyMemory } from '../../src/memory/page-content.js';
import { PhysicalMemory } from '../../src/memory/physical-memory.js';
import { type MmapOptions, ProcessMemory } from '../../src/memory/process-memory.js';

const PAGE = 4096;
const MIB = 1n << 20n;
const GIB = 1n << 30n;
const TIB = 1n << 40n;
const LAST_PAGE = 2 ** 52 - 1;

declare const WebAssembly: {
  Memory: new (limits: {
    initial: number;
    maximum?: number;
    shared?: boolean;
  }) => WebAssemblyMemory & {
    grow(pages: number): number;
  };
};

const pageOf = (uptr: bigint) => Number(uptr >> 12n);
const uptrOf = (page: number) => BigInt(page) << 12n;

function pinned(memory: ProcessMemory, uptr: bigint, count: number, write = true): FrameRuns {
  const frames = new FrameRuns();
  expect(memory.pin(pageOf(uptr), count, write, frames)).toBe(count);
  return frames;
}

function refusal(act: () => unknown): unknown {
  try {
    act();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

function memoryError(code: string, uptr: bigint): unknown {
  return expect.objectContaining({
    name: 'IommuError',
    code,
    reason: expect.objectContaining({ check: 'memory', uptr: `0x${uptr.toString(16)}` }),
  });
}

function transfer(buffer: ArrayBuffer): void {
  structuredClone(buffer, { transfer: [buffer] });
}

describe('mmap', () => {
  test('chooses the highest free place, aligned to the huge page that fits in', () => {
    const memory = new ProcessMemory();
    const top = 0x7fff_0000_0000n;
    expect(memory.mmap({ length: 1 }).uptr).toBe(top - 0x1000n);
    expect(memory.mmap({ length: 0x3000 }).uptr).toBe(top - 0x4000n);
    expect(memory.mmap({ length: 2n * MIB, sparse: true }).uptr).toBe(top - 4n * MIB);
    expect(memory.mmap({ length: GIB, sparse: true }).uptr).toBe(top - 2n * GIB);
    // The hole above the huge page is still the highest place for small ones.
    expect(memory.mmap({ length: 0x1000 }).uptr).toBe(top - 0x5000n);
    memory.munmap(top - 0x1000n, 0x1000);
    memory.mmap({ length: 0x1000, uptr: 2n ** 63n });
    expect(memory.mmap({ length: 0x1000 }).uptr).toBe(top - 0x1000n);
  });

  test('says what it mapped, whatever becomes of it', () => {
    const memory = new ProcessMemory();
    const region = memory.mmap({ uptr: 0x10000n, length: 5000, writable: false });
    expect(region).toMatchObject({ uptr: 0x10000n, length: 8192n, writable: false });
    memory.protect(0x11000n, PAGE, true);
    expect(region).toMatchObject({ uptr: 0x10000n, length: 8192n, writable: false });
    expect(memory.regions).toMatchObject([
      { uptr: 0x10000n, length: 4096n, writable: false },
      { uptr: 0x11000n, length: 4096n, writable: true },
    ]);
  });

  test('shows a part of a buffer of the caller', () => {
    const memory = new ProcessMemory();
    const buffer = new ArrayBuffer(4 * PAGE);
    const region = memory.mmap({ length: 2 * PAGE, buffer, bufferOffset: PAGE });
    expect(region.bytes).toMatchObject({ buffer, byteOffset: PAGE, byteLength: 2 * PAGE });
    memory.write(region.uptr + 5n, Uint8Array.of(1, 2, 3));
    expect([...new Uint8Array(buffer, PAGE + 5, 3)]).toEqual([1, 2, 3]);
  });

  test.each<[string, MmapOptions, string]>([
    ['no length', { length: 0 }, 'EINVAL'],
    ['an address inside a page', { length: PAGE, uptr: 0x1001 }, 'EINVAL'],
    [
      'an offset inside a page',
      { length: PAGE, buffer: new ArrayBuffer(2 * PAGE), bufferOffset: 1 },
      'EINVAL',
    ],
    ['an offset in no buffer', { length: PAGE, bufferOffset: PAGE }, 'EINVAL'],
    ['a sparse buffer', { length: PAGE, buffer: new ArrayBuffer(PAGE), sparse: true }, 'EINVAL'],
    ['more than the buffer', { length: PAGE + 1, buffer: new ArrayBuffer(2 * PAGE - 1) }, 'EINVAL'],
    ['a range past 2^64', { length: 2 * PAGE, uptr: 2n ** 64n - 4096n }, 'ENOMEM'],
    ['more than the address space', { length: 2n ** 47n, sparse: true }, 'ENOMEM'],
    ['more frames than the machine has', { length: 2n ** 53n, uptr: 0, sparse: true }, 'ENOMEM'],
    ['more than a buffer can have', { length: 2n ** 52n, uptr: 0 }, 'ENOMEM'],
  ])('refuses %s', (_, options, code) => {
    const memory = new ProcessMemory();
    expect(refusal(() => memory.mmap(options))).toMatchObject({ name: 'IommuError', code });
    expect(memory.regions).toEqual([]);
    expect(memory.mmap({ length: PAGE, uptr: 0x1000 }).uptr).toBe(0x1000n);
  });

  test('refuses a place that is taken and names the first page in the way', () => {
    const memory = new ProcessMemory();
    memory.mmap({ length: 4 * PAGE, uptr: 0x10000 });
    expect(refusal(() => memory.mmap({ length: 4 * PAGE, uptr: 0xd000 }))).toEqual(
      memoryError('EEXIST', 0x10000n),
    );
    expect(refusal(() => memory.mmap({ length: PAGE, uptr: 0x12000 }))).toEqual(
      memoryError('EEXIST', 0x12000n),
    );
    expect(memory.regions).toHaveLength(1);
  });

  test('refuses arguments of the wrong type in the manner of Node', () => {
    const memory = new ProcessMemory();
    const odd = (options: object) => refusal(() => memory.mmap({ length: PAGE, ...options }));
    const wrongType = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' };
    expect(odd({ buffer: new Uint8Array(PAGE) })).toMatchObject(wrongType);
    expect(odd({ frames: 'any' })).toMatchObject(wrongType);
    expect(odd({ writable: 1 })).toMatchObject(wrongType);
    expect(odd({ sparse: 'no' })).toMatchObject(wrongType);
    expect(odd({ uptr: '0' })).toMatchObject(wrongType);
    expect(odd({ length: 1.5 })).toMatchObject({ name: 'RangeError', code: 'ERR_OUT_OF_RANGE' });
    expect(odd({ length: -1n })).toMatchObject({ name: 'RangeError', code: 'ERR_OUT_OF_RANGE' });
    expect(memory.regions).toEqual([]);
  });

  test('makes terabytes of sparse memory and of scattered frames at no cost', () => {
    const memory = new ProcessMemory();
    const region = memory.mmap({ length: 4n * TIB, sparse: true, frames: 'scattered' });
    expect(region.bytes).toBeUndefined();
    const last = region.uptr + region.length - 2n;
    memory.write(last, Uint8Array.of(7, 8));
    expect([...memory.read(last - 1n, 3)]).toEqual([0, 7, 8]);
    expect([...memory.read(region.uptr + 2n * TIB, 3)]).toEqual([0, 0, 0]);
    expect(memory.frames(memory.frameOf(last), 1)[PAGE - 1]).toBe(8);
    expect(memory.frames(memory.frameOf(region.uptr), 1).length).toBe(PAGE);
  });

  test('copies over the edges of sparse pieces', () => {
    const memory = new ProcessMemory();
    const { uptr } = memory.mmap({ length: 8n * MIB, sparse: true });
    const bytes = new Uint8Array(5 * 2 ** 20).map((_, at) => at * 7 + (at >> 12));
    memory.write(uptr + MIB + 100n, bytes);
    expect(Buffer.from(memory.read(uptr + MIB + 100n, bytes.length)).equals(bytes)).toBe(true);
    expect(memory.frames(memory.frameOf(uptr + MIB), 700).length).toBe(2 ** 20);
  });
});

describe('frames', () => {
  test.each([
    [2n * MIB, 2 * PAGE, 512],
    [4n * MIB, 0x7000, 512],
    [GIB, 0x1234_5000, 2 ** 18],
    [TIB, 0, 2 ** 18],
  ])('can be huge pages where user addresses are (%i bytes at %i)', (length, uptr, modulus) => {
    const memory = new ProcessMemory();
    memory.mmap({ length: 3 * PAGE });
    const region = memory.mmap({ length, uptr, sparse: true });
    expect((memory.frameOf(region.uptr) - pageOf(region.uptr)) % modulus).toBe(0);
  });

  test('of a buffer are the same wherever it is mapped, with one pin count', () => {
    const physical = new PhysicalMemory();
    const first = new ProcessMemory({ physical });
    const second = new ProcessMemory({ physical });
    const buffer = new SharedArrayBuffer(4 * PAGE);
    const a = first.mmap({ length: 4 * PAGE, buffer });
    const b = first.mmap({ length: 2 * PAGE, buffer, bufferOffset: 2 * PAGE, frames: 'scattered' });
    const c = second.mmap({ length: 4 * PAGE, buffer, writable: false });
    expect(first.frameOf(b.uptr)).toBe(first.frameOf(a.uptr + 0x2000n));
    expect(second.frameOf(c.uptr + 0x3000n)).toBe(first.frameOf(b.uptr + 0x1fffn));
    pinned(first, a.uptr, 4);
    pinned(second, c.uptr + 0x2000n, 1, false);
    pinned(first, b.uptr, 1);
    expect([0, 1, 2, 3].map((page) => second.pins(c.uptr + uptrOf(page)))).toEqual([1, 1, 3, 1]);
    expect(physical.pinned).toBe(6);
    first.write(b.uptr, Uint8Array.of(99));
    expect(second.read(c.uptr + 0x2000n, 1)[0]).toBe(99);
  });

  test('of different memory differ', () => {
    const memory = new ProcessMemory();
    const one = memory.mmap({ length: 100 * PAGE, frames: 'scattered' });
    const two = memory.mmap({ length: 100 * PAGE });
    const pfns = [one, two].flatMap(({ uptr }) =>
      Array.from({ length: 100 }, (_, page) => memory.frameOf(uptr + uptrOf(page))),
    );
    expect(new Set(pfns).size).toBe(200);
  });

  test('stay readable while they are pinned, and are free again after that', () => {
    const memory = new ProcessMemory();
    const { uptr } = memory.mmap({ length: 2 * PAGE });
    memory.write(uptr, Uint8Array.of(42));
    const pfn = memory.frameOf(uptr);
    pinned(memory, uptr, 2);
    memory.unpin(pfn + 1, 1);
    memory.munmap(uptr, 2 * PAGE);
    expect(memory.frames(pfn, 1)[0]).toBe(42);
    const other = memory.mmap({ length: 2 * PAGE });
    expect(memory.frameOf(other.uptr)).toBe(pfn + 2);
    memory.unpin(pfn, 1);
    expect(() => memory.frames(pfn, 1)).toThrow('no memory has frame');
    expect(memory.frameOf(memory.mmap({ length: 2 * PAGE }).uptr)).toBe(pfn);
  });

  test('of a buffer are new ones when it comes back after nobody needed it', () => {
    const memory = new ProcessMemory();
    const buffer = new ArrayBuffer(PAGE);
    const before = memory.mmap({ length: PAGE, buffer });
    const pfn = memory.frameOf(before.uptr);
    memory.munmap(before.uptr, PAGE);
    memory.mmap({ length: PAGE });
    const after = memory.mmap({ length: PAGE, buffer });
    expect(memory.frameOf(after.uptr)).toBe(pfn + 1);
    expect(memory.frames(pfn + 1, 1).buffer).toBe(buffer);
  });

  test('are unpinned in runs that cross from one piece of memory to the next', () => {
    const memory = new ProcessMemory();
    const low = memory.mmap({ length: 2 * PAGE, uptr: 0x10000 });
    memory.mmap({ length: 2 * PAGE, uptr: 0x12000 });
    const frames = pinned(memory, low.uptr, 4);
    expect(frames.runs).toBe(1);
    memory.exit();
    memory.unpin(frames.pfnOf(0), 4);
    expect(memory.physical.pinned).toBe(0);
    expect(() => memory.frames(frames.pfnOf(0), 1)).toThrow('no memory has frame');
    expect(() => memory.frames(frames.pfnOf(0) + 3, 1)).toThrow('no memory has frame');
  });

  test('count as pinned in the memory they belong to', () => {
    const memory = new ProcessMemory();
    const low = memory.mmap({ length: 2 * PAGE, uptr: 0x10000 });
    memory.mmap({ length: 2 * PAGE, uptr: 0x12000 });
    const pfn = memory.frameOf(low.uptr);
    pinned(memory, low.uptr, 4);
    for (let time = 0; time < 4; time++) pinned(memory, low.uptr, 2);
    memory.frames(pfn, 1);
    memory.unpin(pfn, 4);
    memory.exit();
    expect(() => memory.frames(pfn + 2, 1)).toThrow('no memory has frame');
    memory.unpin(pfn, 2);
    expect(memory.frames(pfn, 2)).toHaveLength(2 * PAGE);
    for (let time = 0; time < 3; time++) memory.unpin(pfn, 2);
    expect(() => memory.frames(pfn, 1)).toThrow('no memory has frame');
  });

  test('are one view as far as they are one piece', () => {
    const memory = new ProcessMemory();
    const { uptr } = memory.mmap({ length: 8 * PAGE });
    expect(memory.frames(memory.frameOf(uptr) + 2, 4)).toMatchObject({
      byteOffset: 2 * PAGE,
      byteLength: 4 * PAGE,
    });
    expect(memory.frames(memory.frameOf(uptr) + 6, 4)).toMatchObject({ byteLength: 2 * PAGE });
    const scattered = memory.mmap({ length: 8 * PAGE, frames: 'scattered' });
    expect(memory.frames(memory.frameOf(scattered.uptr + 0x3000n), 4)).toMatchObject({
      byteOffset: 3 * PAGE,
      byteLength: PAGE,
    });
  });

  test('are unpinned as a list, run by run', () => {
    const memory = new ProcessMemory();
    const scattered = memory.mmap({ length: 4n * 4096n, frames: 'scattered' }).uptr;
    const whole = memory.mmap({ length: 4n * 4096n }).uptr;
    const frames = pinned(memory, scattered, 4);
    frames.append(pinned(memory, whole, 3));
    memory.unpinAll(frames);
    expect(memory.physical.pinned).toBe(0);
    expect(() => memory.unpinAll(frames)).toThrow('is not pinned');
    expect(() => memory.unpinAll([1] as never)).toThrow(TypeError);
    expect(() => memory.physical.unpinAll([1] as never)).toThrow(TypeError);
  });

  test('are unpinned as a list through an unpin that replaces this one', () => {
    const runs: [number, number][] = [];
    class Recording extends ProcessMemory {
      override unpin(pfn: number, count: number): void {
        runs.push([pfn, count]);
        super.unpin(pfn, count);
      }
    }
    const memory = new Recording();
    const { uptr } = memory.mmap({ length: 3n * 4096n, frames: 'scattered' });
    const frames = pinned(memory, uptr, 3);
    memory.unpinAll(frames);
    expect(runs).toEqual([0, 1, 2].map((page) => [memory.frameOf(uptr + BigInt(page) * 4096n), 1]));
    expect(memory.physical.pinned).toBe(0);
    expect(() => memory.unpinAll([1] as never)).toThrow(TypeError);
  });

  test('cannot be unpinned more often than they were pinned', () => {
    const memory = new ProcessMemory();
    const { uptr } = memory.mmap({ length: 4 * PAGE });
    const pfn = memory.frameOf(uptr);
    pinned(memory, uptr, 2);
    expect(() => memory.unpin(pfn, 3)).toThrow('is not pinned');
    expect(memory.pins(uptr)).toBe(1);
    expect(() => memory.unpin(1, 1)).toThrow('is not pinned');
  });
});

describe('pin', () => {
  test('takes a terabyte as one run', () => {
    const memory = new ProcessMemory();
    const { uptr } = memory.mmap({ length: TIB, sparse: true });
    const frames = pinned(memory, uptr, 2 ** 28);
    expect(frames.runs).toBe(1);
    expect(memory.physical.pinned).toBe(2 ** 28);
    expect(memory.pins(uptr + TIB - 1n)).toBe(1);
    memory.unpin(frames.pfnOf(0), 2 ** 28);
    expect(memory.physical.pinned).toBe(0);
  });

  test('goes on in the next region and stops before the first page it cannot pin', () => {
    const memory = new ProcessMemory();
    memory.mmap({ length: 2 * PAGE, uptr: 0x10000 });
    memory.mmap({ length: 2 * PAGE, uptr: 0x12000, frames: 'scattered' });
    memory.mmap({ length: 2 * PAGE, uptr: 0x14000, writable: false });
    const reading = new FrameRuns();
    expect(memory.pin(0x10, 100, false, reading)).toBe(6);
    const writing = new FrameRuns();
    expect(memory.pin(0x11, 5, true, writing)).toBe(3);
    const expected = [0x11, 0x12, 0x13].map((page) => memory.frameOf(uptrOf(page)));
    expect(expected.map((_, at) => writing.at(at))).toEqual(expected);
    expect(reading.frames).toBe(6);
  });

  test('names the first bad address', () => {
    const memory = new ProcessMemory();
    memory.mmap({ length: PAGE, uptr: 0x10000, writable: false });
    const frames = new FrameRuns();
    expect(refusal(() => memory.pin(0x10, 2, true, frames))).toEqual(memoryError('EFAULT', 0x10000n));
    expect(refusal(() => memory.pin(0x11, 2, false, frames))).toEqual(memoryError('EFAULT', 0x11000n));
    expect(frames.frames).toBe(0);
    expect(memory.physical.pinned).toBe(0);
  });

  test.each([
    [LAST_PAGE, 1, 'EOVERFLOW'],
    [LAST_PAGE - 1, 2, 'EOVERFLOW'],
    [LAST_PAGE - 1, 1, 'EFAULT'],
    [LAST_PAGE + 1 - 8192, 8192, 'EOVERFLOW'],
    [LAST_PAGE - 8192, 8193, 'EFAULT'],
    [LAST_PAGE - 8192, 8192, 'EFAULT'],
  ])('at page %i for %i pages without memory is %s', (page, count, code) => {
    const memory = new ProcessMemory();
    const error = refusal(() => memory.pin(page, count, false, new FrameRuns()));
    expect(error).toEqual(memoryError(code, uptrOf(page)));
  });

  test('never takes the last page of the address space', () => {
    const memory = new ProcessMemory();
    memory.mmap({ length: 4 * PAGE, uptr: uptrOf(LAST_PAGE - 3) });
    const frames = new FrameRuns();
    expect(memory.pin(LAST_PAGE - 3, 4, true, frames)).toBe(3);
    const error = refusal(() => memory.pin(LAST_PAGE, 1, true, frames));
    expect(error).toEqual(memoryError('EOVERFLOW', uptrOf(LAST_PAGE)));
    expect(frames.frames).toBe(3);
    expect(memory.read(uptrOf(LAST_PAGE), PAGE)).toHaveLength(PAGE);
  });
});

describe('a buffer that changes', () => {
  test('faults once it is detached', () => {
    const memory = new ProcessMemory();
    const buffer = new ArrayBuffer(2 * PAGE);
    const region = memory.mmap({ length: 2 * PAGE, buffer });
    const pfn = memory.frameOf(region.uptr);
    pinned(memory, region.uptr, 1);
    transfer(buffer);
    expect(refusal(() => memory.pin(pageOf(region.uptr), 1, false, new FrameRuns()))).toEqual(
      memoryError('EFAULT', region.uptr),
    );
    expect(refusal(() => memory.read(region.uptr + 5n, 1))).toEqual(memoryError('EFAULT', region.uptr + 5n));
    expect(refusal(() => memory.frames(pfn, 1))).toMatchObject({ name: 'IommuError', code: 'EFAULT' });
    expect(memory.copyFromUser(pageOf(region.uptr), 0, new Uint8Array(8), 0, 8)).toBe(0);
    expect(memory.frameAt(pageOf(region.uptr))).toBeUndefined();
    expect(memory.pinsAt(pageOf(region.uptr))).toBeUndefined();
    expect(region.bytes).toBeUndefined();
    memory.unpin(pfn, 1);
    expect(memory.physical.pinned).toBe(0);
  });

  test('is there as far as it reaches now', () => {
    const memory = new ProcessMemory();
    const resizable: new (length: number, options: { maxByteLength: number }) => ArrayBuffer = ArrayBuffer;
    const buffer = new resizable(PAGE, { maxByteLength: 4 * PAGE });
    const resize = (length: number) => Reflect.apply(Reflect.get(buffer, 'resize'), buffer, [length]);
    const { uptr } = memory.mmap({ length: 4 * PAGE, buffer });
    expect(memory.pin(pageOf(uptr), 4, true, new FrameRuns())).toBe(1);
    resize(3 * PAGE + 100);
    expect(memory.pin(pageOf(uptr), 4, true, new FrameRuns())).toBe(3);
    memory.write(uptr + 0x2000n, Uint8Array.of(5));
    expect(refusal(() => memory.read(uptr + 0x2000n, 2 * PAGE))).toEqual(
      memoryError('EFAULT', uptr + 0x3000n),
    );
    resize(2 * PAGE);
    expect(memory.copyFromUser(pageOf(uptr), 0, new Uint8Array(4 * PAGE), 0, 4 * PAGE)).toBe(2 * PAGE);
    expect(memory.copyToUser(pageOf(uptr), 10, new Uint8Array(4 * PAGE), 0, 4 * PAGE - 10)).toBe(
      2 * PAGE - 10,
    );
  });

  test.each([false, true])('is followed when a WebAssembly.Memory grows (shared: %s)', (shared) => {
    const memory = new ProcessMemory();
    const wasm = new WebAssembly.Memory({ initial: 1, maximum: 3, shared });
    const { uptr } = memory.mmap({ length: 3 * 65536, buffer: wasm });
    memory.write(uptr, Uint8Array.of(17));
    expect(refusal(() => memory.write(uptr + 65535n, Uint8Array.of(1, 2)))).toEqual(
      memoryError('EFAULT', uptr + 65536n),
    );
    const pfn = pinned(memory, uptr, 16).at(0);
    wasm.grow(2);
    expect(memory.frames(pfn, 1)[0]).toBe(17);
    memory.write(uptr + 65535n, Uint8Array.of(1, 2));
    expect([...new Uint8Array(wasm.buffer, 65535, 2)]).toEqual([1, 2]);
    expect(pinned(memory, uptr, 48).runs).toBe(1);
    expect(memory.pins(uptr)).toBe(2);
  });
});

describe('munmap and protect', () => {
  test('split regions', () => {
    const memory = new ProcessMemory();
    memory.mmap({ length: 5 * PAGE, uptr: 0x10000 });
    const pfn = memory.frameOf(0x14000n);
    memory.munmap(0x11000, 1);
    memory.protect(0x13000, PAGE, false);
    expect(memory.regions).toMatchObject([
      { uptr: 0x10000n, length: 4096n, writable: true },
      { uptr: 0x12000n, length: 4096n, writable: true },
      { uptr: 0x13000n, length: 4096n, writable: false },
      { uptr: 0x14000n, length: 4096n, writable: true },
    ]);
    expect(memory.frameOf(0x14fffn)).toBe(pfn);
    expect(refusal(() => memory.frameOf(0x11000n))).toEqual(memoryError('EFAULT', 0x11000n));
    expect(refusal(() => memory.write(0x12fffn, new Uint8Array(2)))).toEqual(memoryError('EFAULT', 0x13000n));
    memory.munmap(0, 2n ** 64n - 4096n);
    expect(memory.regions).toEqual([]);
  });

  test('refuse what mprotect and munmap refuse, and change nothing', () => {
    const memory = new ProcessMemory();
    memory.mmap({ length: 2 * PAGE, uptr: 0x10000 });
    expect(refusal(() => memory.munmap(0x10001, PAGE))).toEqual(memoryError('EINVAL', 0x10001n));
    expect(refusal(() => memory.munmap(0x10000, 0))).toMatchObject({ code: 'EINVAL' });
    expect(refusal(() => memory.munmap(0x10000, 2n ** 64n - 1n))).toEqual(memoryError('EINVAL', 0x10000n));
    expect(refusal(() => memory.protect(0x10001, PAGE, false))).toEqual(memoryError('EINVAL', 0x10001n));
    expect(refusal(() => memory.protect(0x10000, 3 * PAGE, false))).toEqual(memoryError('ENOMEM', 0x12000n));
    expect(refusal(() => memory.protect(0x10000, 2n ** 64n - 1n, false))).toEqual(
      memoryError('ENOMEM', 0x10000n),
    );
    memory.protect(0x10000, 0, false);
    expect(memory.regions).toMatchObject([{ uptr: 0x10000n, length: 8192n, writable: true }]);
  });

  test('leave pins alone', () => {
    const memory = new ProcessMemory();
    const { uptr } = memory.mmap({ length: 2 * PAGE });
    pinned(memory, uptr, 2);
    memory.protect(uptr, 2 * PAGE, false);
    expect(memory.pins(uptr)).toBe(1);
    expect(refusal(() => memory.pin(pageOf(uptr), 1, true, new FrameRuns()))).toEqual(
      memoryError('EFAULT', uptr),
    );
  });
});

describe('a process', () => {
  test('that has exited has no memory, but its pinned frames are still there', () => {
    const memory = new ProcessMemory();
    const { uptr } = memory.mmap({ length: PAGE });
    memory.write(uptr, Uint8Array.of(3));
    const pfn = pinned(memory, uptr, 1).at(0);
    memory.exit();
    expect(memory.exited).toBe(true);
    const calls = [
      () => memory.pin(pageOf(uptr), 1, false, new FrameRuns()),
      () => memory.mmap({ length: PAGE }),
      () => memory.fork(),
      () => memory.frameOf(uptr),
      () => memory.read(uptr, 1),
    ];
    for (const call of calls) expect(refusal(call)).toMatchObject({ name: 'IommuError', code: 'EFAULT' });
    expect(memory.copyToUser(pageOf(uptr), 0, new Uint8Array(1), 0, 1)).toBe(0);
    expect(memory.frames(pfn, 1)[0]).toBe(3);
    memory.unpin(pfn, 1);
    expect(memory.physical.pinned).toBe(0);
  });

  test('shares all memory with the child it forks, and nothing else', () => {
    const parent = new ProcessMemory({ lockedLimit: 3 * PAGE + 4095 });
    const { uptr } = parent.mmap({ length: 2 * PAGE });
    const child = parent.fork();
    child.write(uptr, Uint8Array.of(9));
    expect(parent.read(uptr, 1)[0]).toBe(9);
    expect(child.frameOf(uptr)).toBe(parent.frameOf(uptr));
    pinned(child, uptr, 1);
    expect(parent.pins(uptr)).toBe(1);
    parent.exit();
    expect(child.exited).toBe(false);
    child.protect(uptr, PAGE, false);
    expect(child.read(uptr, 1)[0]).toBe(9);
    expect(child.locked?.user).toBe(parent.locked?.user);
    expect(child.locked?.mm).not.toBe(parent.locked?.mm);
    expect(child.locked?.mm).toMatchObject({ of: 'process', limitPages: 3, lockedPages: 0 });
  });

  test('is unlimited without a limit', () => {
    expect(new ProcessMemory().locked).toBeUndefined();
    expect(new ProcessMemory({ lockedLimit: 0n }).locked?.user.limitPages).toBe(0);
    expect(refusal(() => new ProcessMemory({ lockedLimit: -1 }))).toMatchObject({ code: 'ERR_OUT_OF_RANGE' });
  });
});

describe('copies', () => {
  test('refuse to reach outside the array', () => {
    const memory = new ProcessMemory();
    const page = pageOf(memory.mmap({ length: PAGE }).uptr);
    const bytes = new Uint8Array(8);
    expect(() => memory.copyFromUser(page, 0, bytes, 4, 5)).toThrow(RangeError);
    expect(() => memory.copyToUser(page, 0, bytes, -1, 2)).toThrow(RangeError);
    expect(memory.copyFromUser(page, 0, bytes, 8, 0)).toBe(0);
  });

  test('read and write nothing anywhere', () => {
    const memory = new ProcessMemory();
    expect(memory.read(0x1234, 0)).toHaveLength(0);
    memory.write(0x1234, new Uint8Array(0));
    expect(memory.regions).toEqual([]);
  });

  test('reach the last byte of the address space, and not past it', () => {
    const memory = new ProcessMemory();
    memory.mmap({ length: PAGE, uptr: uptrOf(LAST_PAGE) });
    memory.write(2n ** 64n - 2n, Uint8Array.of(1, 2));
    expect([...memory.read(2n ** 64n - 3n, 3)]).toEqual([0, 1, 2]);
    expect(refusal(() => memory.read(2n ** 64n - 2n, 3))).toEqual(memoryError('EFAULT', 2n ** 64n - 2n));
  });
});

test('tens of thousands of regions are as quickly mapped and unmapped as the first', () => {
  const memory = new ProcessMemory();
  const many = 20_000;
  const first = memory.mmap({ length: PAGE, sparse: true }).uptr;
  for (let at = 1; at < many; at++) {
    expect(memory.mmap({ length: PAGE, sparse: true }).uptr).toBe(first - BigInt(at * PAGE));
  }
  for (let at = 1; at < many; at += 2) memory.munmap(first - BigInt(at * PAGE), PAGE);
  expect(memory.regions).toHaveLength(many / 2);
  // Two pages fit below all holes, one fits in the highest.
  expect(memory.mmap({ length: 2 * PAGE, sparse: true }).uptr).toBe(first - BigInt(many * PAGE));
  expect(memory.mmap({ length: PAGE, sparse: true }).uptr).toBe(first - BigInt(PAGE));
  memory.exit();
  expect(memory.regions).toEqual([]);
});
