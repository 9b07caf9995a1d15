import { describe, expect, test } from 'vitest';
import type { DeviceMemory } from '../../examples/virtio/device-memory.js';
import { BrokenQueueError, DeviceQueue } from '../../examples/virtio/device-queue.js';
import { DriverQueue } from '../../examples/virtio/driver-queue.js';
import { NEXT, SplitVirtqueue, WRITE } from '../../examples/virtio/split-virtqueue.js';

class FlatMemory implements DeviceMemory {
  readonly bytes = new Uint8Array(0x4000);

  read(address: bigint, length: number): Uint8Array {
    return this.bytes.slice(Number(address), Number(address) + length);
  }

  write(address: bigint, bytes: Uint8Array): void {
    this.bytes.set(bytes, Number(address));
  }
}

function newQueue(size = 4) {
  const memory = new FlatMemory();
  const layout = new SplitVirtqueue(memory, size, 0x100n);
  return { memory, layout, driver: new DriverQueue(layout), device: new DeviceQueue(layout) };
}

test('the parts of a queue are where the specification has them', () => {
  const { memory, driver, device } = newQueue();
  driver.add([
    { address: 0x1122_3344_5566_7788n, length: 0x10, deviceWrites: false },
    { address: 0x2000n, length: 0x20, deviceWrites: true },
  ]);
  const at = (offset: number, length: number) => [...memory.bytes.subarray(offset, offset + length)];
  expect(at(0x100, 16)).toEqual([0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x10, 0, 0, 0, 1, 0, 1, 0]);
  expect(at(0x110, 16)).toEqual([0, 0x20, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 2, 0, 0, 0]);
  expect(at(0x140, 6)).toEqual([0, 0, 1, 0, 0, 0]); // flags, index, ring[0]
  const chain = device.take()!;
  expect([chain.head, chain.readable.length, chain.writable.length]).toEqual([0, 0x10, 0x20]);
  device.give(chain, 7);
  // The used ring, aligned to 4, after 6 + 2 · 4 bytes of available ring: flags, index, {id, length}.
  expect(at(0x150, 12)).toEqual([0, 0, 1, 0, 0, 0, 0, 0, 7, 0, 0, 0]);
  expect(driver.takeUsed()).toEqual({ head: 0, written: 7 });
  expect([driver.takeUsed(), device.take()]).toEqual([undefined, undefined]);
});

test('indexes wrap around at 2^16', () => {
  const { layout, driver, device } = newQueue(2);
  const buffer = { address: 0x1000n, length: 1, deviceWrites: true };
  let asGiven = 0;
  for (let count = 0; count < 0x1_0003; count++) {
    const head = driver.add([buffer]);
    device.give(device.take()!, count);
    const used = driver.takeUsed();
    if (used?.head === head && used.written === count) asGiven++;
  }
  expect(asGiven).toBe(0x1_0003);
  expect([layout.availableIndex, layout.usedIndex]).toEqual([3, 3]);
});

test('bytes of a chain are one range, across its buffers', () => {
  const { memory, driver, device } = newQueue();
  for (const [at, bytes] of [
    [0x1000, [1, 2, 3]],
    [0x2000, [4]],
    [0x3000, [5, 6]],
  ] as const)
    memory.bytes.set(bytes, at);
  driver.add([
    { address: 0x1000n, length: 3, deviceWrites: false },
    { address: 0x2000n, length: 1, deviceWrites: false },
    { address: 0x3000n, length: 2, deviceWrites: false },
  ]);
  const { readable } = device.take()!;
  expect([...readable.read(2, 3)]).toEqual([3, 4, 5]);
  readable.write(1, Uint8Array.of(7, 8, 9));
  expect([...readable.read(0, 6)]).toEqual([1, 7, 8, 9, 5, 6]);
});

test('a full queue takes no more', () => {
  const { driver } = newQueue();
  const buffer = { address: 0x1000n, length: 1, deviceWrites: true };
  driver.add([buffer, buffer, buffer]);
  expect(() => driver.add([buffer, buffer])).toThrow('the queue is full');
  expect(driver.add([buffer])).toBe(3);
});

describe('a driver that breaks the rules', () => {
  const hostile: [string, (layout: SplitVirtqueue) => void, RegExp][] = [
    [
      'a circle',
      (layout) => {
        layout.writeDescriptor(0, { address: 0n, length: 1, flags: NEXT, next: 1 });
        layout.writeDescriptor(1, { address: 0n, length: 1, flags: NEXT, next: 0 });
      },
      /circle/,
    ],
    [
      'a descriptor that there is not',
      (layout) => {
        layout.writeDescriptor(0, { address: 0n, length: 1, flags: NEXT, next: 4 });
      },
      /no descriptor 4/,
    ],
    ['a head that there is not', (layout) => layout.writeAvailable(0, 0xffff), /no descriptor 65535/],
    [
      'a buffer to read after one to write',
      (layout) => {
        layout.writeDescriptor(0, { address: 0n, length: 1, flags: WRITE | NEXT, next: 1 });
        layout.writeDescriptor(1, { address: 0n, length: 1, flags: 0, next: 0 });
      },
      /follows/,
    ],
    [
      'more chains than fit',
      (layout) => {
        layout.availableIndex = 5;
      },
      /5 chains in a queue of 4/,
    ],
  ];
  test.each(hostile)('%s', (_, spoil, message) => {
    const { layout, device } = newQueue();
    layout.availableIndex = 1;
    spoil(layout);
    expect(() => device.take()).toThrow(BrokenQueueError);
    expect(() => device.take()).toThrow(message);
  });
});
