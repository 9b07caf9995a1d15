/** The pages of a pinned range are live, or say that they are not. */

import { describe, expect, test } from 'vitest';
import { IoPagetable } from '../../src/io-pagetable.js';
import type { MemorySource, WebAssemblyMemory } from '../../src/memory/page-content.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import { expectErrorNow } from '../helpers/expect-error.js';

const PAGE = 0x1000n;

declare const WebAssembly: {
  Memory: new (limits: {
    initial: number;
    maximum: number;
  }) => WebAssemblyMemory & {
    grow(pages: number): number;
  };
};

async function pinned(buffer: MemorySource, pages: bigint) {
  const memory = new ProcessMemory();
  const { uptr } = memory.mmap({ length: pages * PAGE, buffer });
  const table = new IoPagetable({ memory });
  await table.map({ iova: 0n, uptr, length: pages * PAGE, prot: 'rw' });
  return await table.access(0n, pages * PAGE, { write: true });
}

describe('pages of a pinned range', () => {
  test('of a WebAssembly.Memory are those of its new buffer once it has grown', async () => {
    const wasm = new WebAssembly.Memory({ initial: 1, maximum: 4 });
    const range = await pinned(wasm, 3n);
    const before = range.pages;
    expect(range.pages).toBe(before);
    before[2]![0] = 1;
    wasm.grow(1);
    expect(range.pages === before).toBe(false);
    expect(range.pages.map(({ length }) => length)).toEqual([4096, 4096, 4096]);
    range.pages[2]![1] = 7;
    expect([...new Uint8Array(wasm.buffer, 2 * 4096, 2)]).toEqual([1, 7]);
  });

  test('of a detached buffer are none: EFAULT', async () => {
    const buffer = new ArrayBuffer(2 * 4096);
    const range = await pinned(buffer, 2n);
    expect(range.pages).toHaveLength(2);
    structuredClone(buffer, { transfer: [buffer] });
    expectErrorNow(() => range.pages, 'EFAULT');
    await range.release();
  });

  test('of a buffer that shrinks are none until it grows again', async () => {
    const buffer: ArrayBuffer & { resize?(length: number): void } = Reflect.construct(ArrayBuffer, [
      2 * 4096,
      { maxByteLength: 2 * 4096 },
    ]);
    const range = await pinned(buffer, 2n);
    range.pages[1]![5] = 1;
    buffer.resize?.(4096);
    expectErrorNow(() => range.pages, 'EFAULT');
    buffer.resize?.(2 * 4096);
    range.pages[1]![5] = 2;
    expect(new Uint8Array(buffer)[4096 + 5]).toBe(2);
    await range.release();
  });
});
