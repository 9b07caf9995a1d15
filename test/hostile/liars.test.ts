/** Options, buffers and answers that say something else the second time: they are asked once. */

import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import { IoPagetable } from '../../src/io-pagetable.js';
import { PhysicalMemory } from '../../src/memory/physical-memory.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import { SharedFrames } from '../../src/memory/shared-frames.js';
import { expectErrorNow } from '../helpers/expect-error.js';

const PAGE = 0x1000n;
const INVALID = expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE' });

/** An object each of whose properties can be read once. */
function once<T extends object>(properties: T): T {
  const read = new Set<PropertyKey>();
  return new Proxy(properties, {
    get(target, key) {
      if (read.has(key)) throw new Error(`${String(key)} was read again`);
      read.add(key);
      return Reflect.get(target, key);
    },
  });
}

class Liar extends Uint8Array {
  override get length(): number {
    return 2 ** 20;
  }
  override get byteLength(): number {
    return 3;
  }
  override get byteOffset(): number {
    return -1;
  }
  override set(): void {
    throw new Error('set');
  }
  override subarray(): never {
    throw new Error('subarray');
  }
}

/** One that says it is shorter than it is. */
class Short extends Uint8Array {
  override get length(): number {
    return 4;
  }
}

async function setting() {
  const memory = new ProcessMemory();
  const { uptr } = memory.mmap({ length: 4n * PAGE });
  const table = new IoPagetable({ memory });
  await table.map({ iova: 0n, uptr, length: PAGE, prot: 'rw' });
  await table.map({ iova: PAGE, uptr: uptr + PAGE, length: PAGE, prot: 'rw' });
  const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
  await access.attach(table);
  return { memory, uptr, table, access };
}

describe('options are read once', () => {
  test('of accesses, transfers, pins and pinned ranges', async () => {
    const { table, uptr, memory } = await setting();
    const access = new IoptAccess(once({ needsPin: true, onUnmap: () => undefined }));
    await access.attach(table, once({ signal: undefined }));
    await access.pin(0n, PAGE, once({ write: true, signal: undefined }));
    access.unpinSync(0n, PAGE);
    const options = { slow: true, caller: memory, kernelThread: false, signal: undefined };
    await access.read(0n, new Uint8Array(8), once(options));
    access.writeSync(0n, new Uint8Array(8), once(options));
    const range = await table.access(
      0n,
      PAGE,
      once({ write: true, signal: undefined, onUnmap: () => undefined }),
    );
    await range.release(once({ signal: undefined }));
    expect(memory.pins(uptr)).toBe(0);
  });

  test('of memory', () => {
    const physical = new PhysicalMemory();
    const memory = new ProcessMemory(once({ physical, lockedLimit: PAGE }));
    const region = memory.mmap(
      once({
        length: PAGE,
        uptr: 0x10000n,
        buffer: new SharedArrayBuffer(4096),
        bufferOffset: 0,
        writable: true,
        frames: 'contiguous' as const,
        sparse: false,
      }),
    );
    expect(region.uptr).toBe(0x10000n);
    const { ranges } = memory.share();
    const frames = SharedFrames.from(once({ ranges: ranges.map(once) }));
    expect(frames.frames(ranges[0]!.pfn, 1)).toHaveLength(4096);
  });

  test.each(['slow', 'kernelThread'])('and %s is a boolean', async (name) => {
    const { access } = await setting();
    for (const value of [1, 'yes', null, {}]) {
      const options = { [name]: value };
      expect(() => access.readSync(0n, new Uint8Array(8), options)).toThrow(INVALID);
    }
  });
});

describe('buffers are as long as they are', () => {
  test.each([8, 4096 + 8])('those of a transfer of %i bytes', async (size) => {
    const { access } = await setting();
    for (const options of [undefined, { slow: true }]) {
      const source = new Liar(size);
      source.fill(7);
      access.writeSync(0n, source, options);
      const back = new Liar(size);
      access.readSync(0n, back, options);
      await access.read(0n, back, options);
      expect(new Uint8Array(back.buffer)).toEqual(new Uint8Array(size).fill(7));
    }
  });

  test('a write is held to its area, whatever the length says', async () => {
    const { table, memory, uptr, access } = await setting();
    await table.unmap(PAGE, PAGE);
    access.readSync(0n, new Uint8Array(8));
    expectErrorNow(() => access.writeSync(PAGE - 8n, new Short(4096).fill(7)), 'ENOENT');
    expect(memory.read(uptr + PAGE, 8n)).toEqual(new Uint8Array(8));
  });

  test('those of memory', () => {
    class LongBuffer extends ArrayBuffer {
      override get byteLength(): number {
        return 2 ** 30;
      }
    }
    const memory = new ProcessMemory();
    expectErrorNow(() => memory.mmap({ length: 2n * PAGE, buffer: new LongBuffer(4096) }), 'EINVAL');
    const { uptr } = memory.mmap({ length: PAGE, buffer: new LongBuffer(4096) });
    memory.write(uptr, new Liar(16).fill(3));
    expect(memory.read(uptr, 16n)).toEqual(new Uint8Array(16).fill(3));
    expect(() => memory.write(uptr, Object.create(Uint8Array.prototype))).toThrow(INVALID);
  });

  test('a WebAssembly.Memory whose buffer is none is no memory; one that loses it, memory that is gone', () => {
    const memory = new ProcessMemory();
    const fake = { buffer: new ArrayBuffer(4096), [Symbol.toStringTag]: 'WebAssembly.Memory' };
    const { uptr } = memory.mmap({ length: 2n * PAGE, buffer: fake });
    expect(memory.read(uptr, 8n)).toHaveLength(8);
    Object.assign(fake, { buffer: 'none' });
    expectErrorNow(() => memory.read(uptr + PAGE, 8n), 'EFAULT');
    for (const buffer of [undefined, null, {}, new Proxy(new ArrayBuffer(4096), {})]) {
      const source = { buffer, [Symbol.toStringTag]: 'WebAssembly.Memory' };
      expect(() => Reflect.apply(memory.mmap, memory, [{ length: PAGE, buffer: source }])).toThrow(INVALID);
    }
  });
});

describe('windows are only used if they show what they should', () => {
  test.each([
    { page: 0 },
    { lastPage: Number.NaN },
    { start: Number.NaN },
    { start: 0.5 },
    { start: 2 ** 40 },
    { piece: { length: Number.NaN, read: () => undefined, write: () => undefined } },
  ])('%o', async (lie) => {
    const { table, memory, uptr } = await setting();
    class Lying extends ProcessMemory {
      override window(page: number) {
        const window = super.window(page);
        return window && { ...window, ...lie };
      }
    }
    const lying = new Lying({ physical: memory.physical });
    const region = lying.mmap({ length: 2n * PAGE });
    lying.write(region.uptr, new Uint8Array(0x2000).fill(5));
    await table.map({ iova: 0x10000n, uptr: region.uptr, length: 2n * PAGE, prot: 'r', memory: lying });
    const access = new IoptAccess({ needsPin: false });
    await access.attach(table);
    const back = new Uint8Array(0x1800);
    access.readSync(0x10000n, back.subarray(0, 8));
    access.readSync(0x10000n, back);
    expect(back).toEqual(new Uint8Array(0x1800).fill(5));
    expect(memory.pins(uptr)).toBe(0);
  });
});
