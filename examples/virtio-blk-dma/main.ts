/** `npx tsx examples/virtio-blk-dma/main.ts`: a disk reads and writes guest RAM by IOVA, along descriptor chains. */
import assert from 'node:assert/strict';
import { startMachine } from './machine.js';
import { SECTOR_SIZE, Status } from './protocol.js';

const { ram, table, map, access, disk, driver } = await startMachine();
const outcome = (status: number | undefined) =>
  Object.entries(Status).find(([, number]) => number === status)?.[0] ?? 'no status';

// Two pages that follow each other for the disk are far apart in guest RAM.
await map(0x10_0000n, 0x3_0000n, 0x1000n, 'rw');
await map(0x10_1000n, 0x2_0000n, 0x1000n, 'rw');

const sentence = 'Written by the guest, across the end of a page. '.repeat(32).slice(0, 2 * SECTOR_SIZE);
const bytes = new TextEncoder().encode(sentence);
ram.write(0x3_0f00n, bytes.subarray(0, 0x100));
ram.write(0x2_0000n, bytes.subarray(0x100));
const wrote = driver.write(2n, [{ iova: 0x10_0f00n, length: bytes.length }]);
console.log(`write of sectors 2 and 3 from IOVA 0x100f00: ${outcome(wrote.status)}`);
assert.deepEqual(wrote, { status: Status.OK, written: 1 });
assert.deepEqual(disk.slice(2 * SECTOR_SIZE, 4 * SECTOR_SIZE), bytes);

// Back again, in pieces of a size of their own.
const pieces = [
  { iova: 0x10_1800n, length: 1000 },
  { iova: 0x10_0000n, length: 24 },
];
const read = driver.read(2n, pieces);
console.log(`read of sectors 2 and 3 in pieces of 1000 and 24 bytes: ${outcome(read.status)}`);
assert.deepEqual(read, { status: Status.OK, written: bytes.length + 1 });
const back = Buffer.concat([ram.read(0x2_0800n, 1000), ram.read(0x3_0000n, 24)]);
assert.equal(back.toString(), sentence);
console.log(`guest RAM has "${back.toString().slice(0, 47)}"`);

const past = driver.read(15n, [{ iova: 0x10_0000n, length: 2 * SECTOR_SIZE }]);
console.log(`read past the end of the disk: ${outcome(past.status)}`);
assert.equal(past.status, Status.IOERR);

// The disk can't write where the guest lets it only read, nor reach what is not mapped (any more).
await map(0x20_0000n, 0x4_0000n, 0x1000n, 'r');
const readOnly = driver.read(0n, [{ iova: 0x20_0000n, length: SECTOR_SIZE }]);
console.log(`read into a read-only mapping: ${outcome(readOnly.status)}`);
assert.equal(readOnly.status, Status.IOERR);
assert.deepEqual(ram.read(0x4_0000n, SECTOR_SIZE), new Uint8Array(SECTOR_SIZE));
await table.unmap(0x10_0000n, 0x2000n);
const unmapped = driver.write(2n, [{ iova: 0x10_0000n, length: SECTOR_SIZE }]);
console.log(`write from memory that is unmapped: ${outcome(unmapped.status)}`);
assert.equal(unmapped.status, Status.IOERR);
assert.deepEqual(disk.slice(2 * SECTOR_SIZE, 4 * SECTOR_SIZE), bytes);
await access.detach();
