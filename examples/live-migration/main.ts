/** `npx tsx examples/live-migration/main.ts`: a guest moves while its device keeps writing. */
import assert from 'node:assert/strict';
import { BusyDevice } from './busy-device.js';
import { Host } from './host.js';
import { preCopy } from './pre-copy.js';

const PAGES = 1024;
const [from, to] = [await Host.start(PAGES), await Host.start(PAGES)];
const device = new BusyDevice(from, 4);
for (let page = 0; page < PAGES; page++) await from.writePage(page, new Uint8Array(4096).fill(page));

const { rounds, stoppedFor } = await preCopy({
  from,
  to,
  whileRunning: () => device.tick(),
  fewPages: 16,
  mostRounds: 30,
});
for (const [number, pages] of rounds.entries()) console.log(`round ${number + 1}: ${pages} pages`);
console.log(
  `the device, which wrote ${device.written} records meanwhile, is stopped for ${stoppedFor} pages`,
);
assert.deepEqual(await to.image(), await from.image());
console.log('both images are equal');

await from.stop();
await to.stop();
assert.equal(from.memory.physical.pinned + to.memory.physical.pinned, 0);
