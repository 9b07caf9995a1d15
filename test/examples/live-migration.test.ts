import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BusyDevice } from '../../examples/live-migration/busy-device.js';
import { Host, PAGE_SIZE } from '../../examples/live-migration/host.js';
import { preCopy } from '../../examples/live-migration/pre-copy.js';

const PAGES = 48;

async function twoHosts() {
  const [from, to] = [await Host.start(PAGES), await Host.start(PAGES)];
  for (let page = 0; page < PAGES; page++)
    await from.writePage(page, new Uint8Array(PAGE_SIZE).fill(page + 1));
  return { from, to };
}

async function stopBoth(from: Host, to: Host): Promise<void> {
  await from.stop();
  await to.stop();
  expect([from.memory.physical.pinned, to.memory.physical.pinned]).toEqual([0, 0]);
}

test('rounds get smaller, and both images are equal', async () => {
  const { from, to } = await twoHosts();
  const device = new BusyDevice(from, 4);
  const whileRunning = () => device.tick();
  const { rounds, stoppedFor } = await preCopy({ from, to, whileRunning, fewPages: 3, mostRounds: 30 });
  expect(rounds[0]).toBe(PAGES);
  expect(rounds.length).toBeGreaterThan(2);
  expect(rounds).toEqual([...rounds].sort((a, b) => b - a));
  expect(stoppedFor).toBeLessThanOrEqual(3);
  expect(device.written).toBe(Math.floor(rounds.reduce((sum, pages) => sum + pages) / 4));
  expect(await to.image()).toEqual(await from.image());
  await stopBoth(from, to);
});

test('a device that writes faster than pages are copied is stopped in the end', async () => {
  const { from, to } = await twoHosts();
  let value = 0;
  const whileRunning = () => {
    value = (value + 1) % 256;
    for (let page = 0; page < PAGES; page++) from.dma(page * PAGE_SIZE, Uint8Array.of(value));
  };
  const migration = await preCopy({ from, to, whileRunning, fewPages: 3, mostRounds: 4 });
  expect(migration).toEqual({ rounds: [PAGES, PAGES, PAGES, PAGES], stoppedFor: PAGES });
  expect(await to.image()).toEqual(await from.image());
  await stopBoth(from, to);
});

test('without writes there is one round, and nothing is left to copy', async () => {
  const { from, to } = await twoHosts();
  const migration = await preCopy({ from, to, whileRunning: () => {}, fewPages: 0, mostRounds: 30 });
  expect(migration).toEqual({ rounds: [PAGES], stoppedFor: 0 });
  await stopBoth(from, to);
});

test('whatever is written, and whenever: each round copies what was written since the last one', async () => {
  const write = fc.record({
    after: fc.integer({ min: 1, max: 2 * PAGES }),
    at: fc.integer({ min: 0, max: PAGES * PAGE_SIZE - 1 }),
    length: fc.integer({ min: 1, max: 2 * PAGE_SIZE }),
    fill: fc.integer({ min: 0, max: 255 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(write, { maxLength: 30 }), async (writes) => {
      const { from, to } = await twoHosts();
      let time = 0;
      const whileRunning = () => {
        time += 1;
        for (const { at, length, fill } of writes.filter(({ after }) => after === time)) {
          from.dma(at, new Uint8Array(Math.min(length, PAGES * PAGE_SIZE - at)).fill(fill));
        }
      };
      const { rounds, stoppedFor } = await preCopy({ from, to, whileRunning, fewPages: 0, mostRounds: 30 });
      const image = Buffer.from(await from.image());
      expect(image.equals(await to.image())).toBe(true);

      // The same rounds, reckoned from the script.
      const expected = [PAGES];
      for (let begin = 0; ; ) {
        const end = begin + expected.at(-1)!;
        const dirty = new Set<number>();
        for (const { after, at, length } of writes) {
          if (after <= begin || after > end) continue;
          const last = Math.min(at + length, PAGES * PAGE_SIZE) - 1;
          for (let page = Math.floor(at / PAGE_SIZE); page * PAGE_SIZE <= last; page++) dirty.add(page);
        }
        if (dirty.size === 0) break;
        expected.push(dirty.size);
        begin = end;
      }
      expect({ rounds, stoppedFor }).toEqual({ rounds: expected, stoppedFor: 0 });
      await stopBoth(from, to);
    }),
    { numRuns: 25 },
  );
});
