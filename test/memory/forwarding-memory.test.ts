import { describe, expect, test } from 'vitest';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { IoPagetable } from '../../src/io-pagetable.js';
import { ForwardingMemory } from '../../src/memory/forwarding-memory.js';
import { FrameRuns } from '../../src/memory/frame-runs.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import { RemoteMemory } from '../model/remote-memory.js';

const PAGE = 0x1000n;

function setting() {
  const process = new ProcessMemory({ lockedLimit: 16n * PAGE });
  const { uptr } = process.mmap({ length: 8n * PAGE, frames: 'scattered' });
  return { process, uptr, page: Number(uptr / PAGE) };
}

describe('a forwarding memory', () => {
  test('is the memory behind it', () => {
    const { process, uptr, page } = setting();
    const memory = new ForwardingMemory(process);
    expect([memory.memory, memory.locked, memory.exited]).toEqual([process, process.locked, false]);
    const frames = new FrameRuns();
    expect(memory.pin(page, 3, true, frames)).toBe(3);
    expect(memory.copyToUser(page, 5, Uint8Array.of(1, 2), 0, 2)).toBe(2);
    const bytes = new Uint8Array(2);
    expect(memory.copyFromUser(page, 5, bytes, 1, 1)).toBe(1);
    expect([...bytes]).toEqual([0, 1]);
    expect(memory.frames(frames.at(0), 1)?.[6]).toBe(2);
    expect(memory.copyFromFrames(frames.at(0), 5, bytes, 0, 2)).toBe(2);
    expect([...bytes]).toEqual([1, 2]);
    expect(memory.copyToFrames(frames.at(0), 5, Uint8Array.of(9), 0, 1)).toBe(1);
    expect(process.read(uptr + 5n, 1)).toEqual(Uint8Array.of(9));
    expect(memory.resident(page, 1, true)).toBe(true);
    memory.unpinAll(frames, true);
    expect(process.physical.pinned).toBe(0);
    process.exit();
    expect(memory.exited).toBe(true);
  });

  test('of memory without live views has none either', async () => {
    const { process, page } = setting();
    const memory = new ForwardingMemory(new RemoteMemory(process));
    const frames = new FrameRuns();
    await memory.pin(page, 1, true, frames);
    expect(memory.frames(frames.at(0), 1)).toBeUndefined();
    expect(await memory.copyToFrames(frames.at(0), 0, Uint8Array.of(4), 0, 1)).toBe(1);
    const bytes = new Uint8Array(1);
    expect(await memory.copyFromFrames(frames.at(0), 0, bytes, 0, 1)).toBe(1);
    expect([...bytes]).toEqual([4]);
    expect(memory.resident(page, 1, false)).toBe(false);
    memory.unpinAll(frames, false);
    expect(process.physical.pinned).toBe(0);
  });

  test('that has an unpin of its own is asked for every run', async () => {
    class Counting extends ForwardingMemory {
      unpinned = 0;
      override unpin(pfn: number, count: number, dirty: boolean): void {
        this.unpinned += count;
        super.unpin(pfn, count, dirty);
      }
    }
    const { process, uptr } = setting();
    const memory = new Counting(process);
    const table = new IoPagetable({ memory });
    await table.addDomain(new RadixDomain());
    await table.map({ uptr, length: 8n * PAGE, prot: 'rw' });
    expect(process.physical.pinned).toBe(8);
    await table.unmapAll();
    expect([memory.unpinned, process.physical.pinned]).toEqual([8, 0]);
  });

  test('has to have a memory behind it', () => {
    for (const memory of [undefined, null, {}, { pin: () => 1 }]) {
      expect(() => Reflect.construct(ForwardingMemory, [memory])).toThrow(/"memory" argument/);
    }
    expect(() => Reflect.apply(ForwardingMemory.prototype.unpinAll, {}, [{}, true])).toThrow(/FrameRuns/);
  });
});
