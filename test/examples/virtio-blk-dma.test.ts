import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { startMachine } from '../../examples/virtio-blk-dma/machine.js';
import { RequestType, SECTOR_SIZE, Status } from '../../examples/virtio-blk-dma/protocol.js';

const PAGE = 0x1000;
const SECTORS = 16;

/** A machine with four pages of data at IOVA 0x100000, in no order in guest RAM. */
async function withBuffer() {
  const machine = await startMachine();
  const physical = [0x6_0000n, 0x3_0000n, 0x8_0000n, 0x5_0000n];
  for (const [page, address] of physical.entries()) {
    await machine.map(0x10_0000n + BigInt(page * PAGE), address, BigInt(PAGE), 'rw');
  }
  const locate = (at: number) => physical[Math.floor(at / PAGE)]! + BigInt(at % PAGE);
  const guest = {
    read: (at: number, length: number) =>
      Uint8Array.from({ length }, (_, byte) => machine.ram.read(locate(at + byte), 1)[0]!),
    write: (at: number, bytes: Uint8Array) => {
      for (const [byte, value] of bytes.entries()) machine.ram.write(locate(at + byte), Uint8Array.of(value));
    },
  };
  return { ...machine, guest, iova: (at: number) => 0x10_0000n + BigInt(at) };
}

test('any writes and reads: disk and guest RAM are what two arrays say', async () => {
  const request = fc.record({
    write: fc.boolean(),
    sector: fc.integer({ min: 0, max: SECTORS }),
    count: fc.integer({ min: 0, max: 4 }),
    at: fc.integer({ min: 0, max: 4 * PAGE - 4 * SECTOR_SIZE }),
    cuts: fc.array(fc.integer({ min: 0, max: 4 * SECTOR_SIZE }), { maxLength: 4 }),
    fill: fc.integer({ min: 0, max: 255 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 12 }), async (requests) => {
      const { driver, disk, guest, iova } = await withBuffer();
      const expectedDisk = disk.slice();
      const expectedRam = new Uint8Array(4 * PAGE);
      for (const { write, sector, count, at, cuts, fill } of requests) {
        const length = count * SECTOR_SIZE;
        const bounds = [0, ...cuts.filter((cut) => cut < length).sort((a, b) => a - b), length];
        const segments = bounds.slice(1).map((end, number) => {
          const start = bounds[number]!;
          return { iova: iova(at + start), length: end - start };
        });
        const data = Uint8Array.from({ length }, (_, byte) => fill + byte);
        if (write) {
          guest.write(at, data);
          expectedRam.set(data, at);
        }
        const fits = sector + count <= SECTORS;
        const start = sector * SECTOR_SIZE;
        if (fits && write) expectedDisk.set(data, start);
        if (fits && !write) expectedRam.set(expectedDisk.subarray(start, start + length), at);
        const completion = write
          ? driver.write(BigInt(sector), segments)
          : driver.read(BigInt(sector), segments);
        const status = fits ? Status.OK : Status.IOERR;
        expect(completion).toEqual({ status, written: fits && !write ? length + 1 : 1 });
      }
      expect(disk).toEqual(expectedDisk);
      expect(guest.read(0, 4 * PAGE)).toEqual(expectedRam);
    }),
    { numRuns: 20 },
  );
});

describe('requests that fail', () => {
  test('are answered: not whole sectors, past the disk, unknown', async () => {
    const { driver, disk, iova } = await withBuffer();
    const before = disk.slice();
    const failed = { status: Status.IOERR, written: 1 };
    expect(driver.write(0n, [{ iova: iova(0), length: 511 }])).toEqual(failed);
    expect(driver.write(16n, [{ iova: iova(0), length: 512 }])).toEqual(failed);
    expect(driver.read(2n ** 64n - 1n, [{ iova: iova(0), length: 512 }])).toEqual(failed);
    expect(driver.request(8, 0n, [])).toEqual({ status: Status.UNSUPP, written: 1 });
    expect(driver.request(RequestType.FLUSH, 0n, [])).toEqual({ status: Status.OK, written: 1 });
    expect(disk).toEqual(before);
  });

  test('a write from what is not all mapped leaves the disk as it was', async () => {
    const { driver, disk, iova, table, guest } = await withBuffer();
    guest.write(0, new Uint8Array(2 * PAGE).fill(0xaa));
    await table.unmap(iova(PAGE), PAGE);
    const before = disk.slice();
    const segments = [{ iova: iova(PAGE - SECTOR_SIZE), length: 2 * SECTOR_SIZE }];
    expect(driver.write(0n, segments)).toEqual({ status: Status.IOERR, written: 1 });
    expect(disk).toEqual(before);
  });

  test('a status that the device may not write never comes', async () => {
    const { driver, table, map } = await withBuffer();
    await table.unmap(0x2_0000n, PAGE);
    await map(0x2_0000n, 0x9000n, BigInt(PAGE), 'r');
    expect(driver.request(RequestType.FLUSH, 0n, [])).toEqual({ status: undefined, written: 0 });
  });

  test('without its queue the device needs a reset', async () => {
    const { driver, table } = await withBuffer();
    await table.unmap(0x1_0000n, PAGE);
    expect(() => driver.read(0n, [])).toThrow(expect.objectContaining({ code: 'ENOENT' }));
  });
});
