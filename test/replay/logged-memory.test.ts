import fc from 'fast-check';
import { expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import { FrameRuns } from '../../src/memory/frame-runs.js';
import { LockedMemory } from '../../src/memory/locked-memory.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import type { LogLines } from '../../src/replay/log-line.js';
import { LoggedMemory, MeteredMemory } from '../../src/replay/logged-memory.js';
import { readLog } from '../../src/replay/read-log.js';
import { Replayer } from '../../src/replay/replayer.js';

async function spaceAfter(lines: LogLines, replayer: Replayer) {
  for await (const event of readLog(lines)) await replayer.apply(event);
  const [space] = [...replayer.spaces()];
  return space!;
}

test('every user page below 2^47 has a frame of its own, and nothing above has one', () => {
  const memory = new LoggedMemory();
  const frameOf = (page: number) => {
    const frames = new FrameRuns();
    expect(memory.pin(page, 1, true, frames)).toBe(1);
    return frames.at(0);
  };
  const page = fc.integer({ min: 0, max: 2 ** 35 - 1 });
  fc.assert(
    fc.property(page, page, (a, b) => {
      expect(frameOf(a) === frameOf(b)).toBe(a === b);
      expect(frameOf(a)).not.toBe(a);
    }),
  );
  const frames = new FrameRuns();
  expect(memory.pin(2 ** 35 - 2, 5, true, frames)).toBe(2);
  expect(frames.frames).toBe(2);
  expect(() => memory.pin(2 ** 35, 1, false, frames)).toThrow(
    expect.objectContaining({ code: 'EFAULT', message: expect.stringContaining('0x800000000000') }),
  );
});

test('its bytes are unknown: they read as 0, and writes go nowhere', async () => {
  const space = await spaceAfter(['vfio_dma_map(0x1, 0x1000, 0x1000, 0x10000) = 0'], new Replayer());
  const access = new IoptAccess({ needsPin: false });
  await access.attach(space.table);
  for (const slow of [false, true]) {
    await access.write(0x1100n, Uint8Array.of(1, 2, 3), { slow });
    const bytes = Uint8Array.of(9, 9, 9);
    await access.read(0x1100n, bytes, { slow });
    expect(bytes).toEqual(Uint8Array.of(0, 0, 0));
  }
});

test("behind the meter the caller's memory is the same memory", async () => {
  const memory = new ProcessMemory({ lockedLimit: 0x2000n });
  const { uptr } = memory.mmap({ length: 0x4000n, frames: 'scattered' });
  const map = (iova: string, length: string) =>
    `vfio_dma_map(0x1, ${iova}, ${length}, 0x${uptr.toString(16)}) = 0`;
  const replayer = new Replayer({ memory });
  const space = await spaceAfter([map('0x1000', '0x2000')], replayer);
  const access = new IoptAccess({ needsPin: false });
  await access.attach(space.table);
  for (const slow of [false, true]) {
    const bytes = Uint8Array.of(1, 2, 3, slow ? 5 : 4);
    await access.write(0x1ffen, bytes, { slow });
    expect(memory.read(uptr + 0xffen, 4n)).toEqual(bytes);
    const back = new Uint8Array(4);
    await access.read(0x1ffen, back, { slow });
    expect(back).toEqual(bytes);
    access.readSync(0x1ffen, back, { slow });
    expect(back).toEqual(bytes);
  }
  // The locked-memory limit holds, and so does the end of the process.
  await spaceAfter([map('0x8000', '0x1000')], replayer);
  expect(space.table.snapshot().areas).toHaveLength(1);
  memory.exit();
  expect(new MeteredMemory(memory).exited).toBe(true);
  const figures = await replayer.finish();
  // Pages are pinned before they are charged, so the refused map was pinned for a moment too.
  expect(figures).toMatchObject({ requests: 2, divergences: 1, peakPinnedBytes: 0x3000n });
});

test('a meter counts what is pinned now and at most', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 1, max: 100 }))), (steps) => {
      const memory = new MeteredMemory(new LoggedMemory());
      let now = 0;
      let peak = 0;
      for (const [pin, count] of steps) {
        if (pin) memory.pin(0, count, false, new FrameRuns());
        else memory.unpin(0, count, false);
        now += pin ? count : -count;
        peak = Math.max(peak, now);
      }
      expect([memory.meter.pinnedPages, memory.meter.peakPinnedPages]).toEqual([now, peak]);
    }),
  );
});

test('a meter passes the counters on, and has none where there is no limit', () => {
  const counters = { user: new LockedMemory('user', 1), mm: new LockedMemory('process', 1) };
  const limited = Object.assign(new LoggedMemory(), { locked: counters });
  expect(new MeteredMemory(limited).locked).toBe(counters);
  expect(new MeteredMemory(new LoggedMemory()).locked).toBeUndefined();
  expect(new MeteredMemory(new LoggedMemory()).exited).toBe(false);
});
