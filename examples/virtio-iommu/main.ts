/** `npx tsx examples/virtio-iommu/main.ts`: a guest programs its virtual IOMMU, and devices do DMA through it. */
import assert from 'node:assert/strict';
import { MSI_WINDOW, startMachine } from './machine.js';
import { FaultReason, MAP_READ, MAP_WRITE, type StatusName } from './protocol.js';

const { memory, ram, nic, driver } = startMachine();
const text = (bytes: Uint8Array | undefined) => bytes && new TextDecoder().decode(bytes);

function expect(request: string, status: StatusName, expected: StatusName): void {
  console.log(`${request}: ${status}`);
  assert.equal(status, expected, request);
}

const { pageSizeMask, inputRange } = driver.configuration;
console.log(
  `The device maps multiples of ${pageSizeMask & -pageSizeMask} bytes up to 0x${inputRange.end.toString(16)}`,
);

const probe = await driver.probe(nic.id);
expect('PROBE endpoint 1', probe.status, 'OK');
assert.deepEqual(probe.reserved, [MSI_WINDOW]);
console.log('  it can do no DMA at 0xfee00000 to 0xfeefffff: its interrupts go there');

expect('ATTACH endpoint 1 to domain 7', await driver.attach(7, nic.id), 'OK');
const readable = { domain: 7, start: 0x10_0000n, end: 0x10_0fffn, physical: 0x8000n, flags: MAP_READ };
const both = { ...readable, start: 0x10_1000n, end: 0x10_2fffn, physical: 0x4000n };
expect('MAP 0x100000 to 0x8000, read-only', await driver.map(readable), 'OK');
expect('MAP 0x101000 to 0x4000, 2 pages', await driver.map({ ...both, flags: MAP_READ | MAP_WRITE }), 'OK');
expect('MAP 0x101000 again', await driver.map(both), 'INVAL');
const onMsi = { ...readable, start: 0xfee0_0000n, end: 0xfee0_0fffn };
expect('MAP 0xfee00000', await driver.map(onMsi), 'INVAL');

// The device reads its orders at one IOVA and writes the answer across the end of a page at another.
ram.write(0x8000n, new TextEncoder().encode('ping'));
assert.equal(text(nic.read(0x10_0000n, 4)), 'ping');
assert(nic.write(0x10_1ffcn, new TextEncoder().encode('pong, by DMA')));
assert.equal(text(ram.read(0x4ffcn, 12)), 'pong, by DMA');
console.log(`DMA: the device read "ping", guest RAM has "${text(ram.read(0x4ffcn, 12))}"`);

// What it may not do is reported on the event queue.
assert(!nic.write(0x10_0000n, Uint8Array.of(1)));
assert.equal(nic.read(0x10_2fffn, 2), undefined);

expect('UNMAP the first page of 2', await driver.unmap(7, 0x10_0000n, 0x10_1fffn), 'RANGE');
assert.equal(text(nic.read(0x10_0000n, 4)), 'ping'); // nothing was unmapped
expect('UNMAP more than is mapped', await driver.unmap(7, 0n, 0xffff_ffff_ffff_ffffn), 'OK');
assert.equal(nic.read(0x10_0000n, 4), undefined);
expect('DETACH endpoint 1', await driver.detach(7, nic.id), 'OK');
assert.equal(nic.read(0x10_0000n, 4), undefined);
expect('MAP in domain 7', await driver.map(readable), 'NOENT');

const faults = driver.takeFaults();
for (const { reason, address } of faults) {
  const why = reason === FaultReason.DOMAIN ? 'no domain' : 'no such mapping';
  console.log(`fault of endpoint 1 at 0x${address.toString(16)}: ${why}`);
}
assert.deepEqual(
  faults.map(({ address }) => address),
  [0x10_0000n, 0x10_3000n, 0x10_0000n, 0x10_0000n],
);
assert.equal(memory.physical.pinned, 0);
console.log('Nothing is pinned any more.');
