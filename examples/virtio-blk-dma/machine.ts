/**
 * A guest with a disk behind an IOMMU: its queue and what it maps are all that the disk can reach.
 */
import { IoPagetable, IoptAccess, ProcessMemory, type Protection } from 'io-pagetable';
import { AccessMemory, GuestRam } from '../virtio/device-memory.js';
import { SplitVirtqueue } from '../virtio/split-virtqueue.js';
import { VirtioBlock } from './device.js';
import { BlockDriver } from './driver.js';
import { SECTOR_SIZE } from './protocol.js';

const PAGE = 0x1000n;
const QUEUE = { physical: 0x4000n, iova: 0x1_0000n, size: 8 };
const CONTROL = { physical: 0x9000n, iova: 0x2_0000n };

/** A machine whose disk has 16 sectors, each filled with its number. */
export async function startMachine() {
  const memory = new ProcessMemory();
  const ram = new GuestRam(memory, 0x10_0000n);
  const table = new IoPagetable({ memory });
  const map = (iova: bigint, physical: bigint, length: bigint, prot: Protection) =>
    table.map({ iova, uptr: ram.userAddress(physical, length), length, prot });
  await map(QUEUE.iova, QUEUE.physical, PAGE, 'rw');
  await map(CONTROL.iova, CONTROL.physical, PAGE, 'rw');

  const access = new IoptAccess({ needsPin: false });
  await access.attach(table);
  const disk = new Uint8Array(16 * SECTOR_SIZE).map((_, at) => at / SECTOR_SIZE);
  const device = new VirtioBlock(new SplitVirtqueue(new AccessMemory(access), QUEUE.size, QUEUE.iova), disk);
  const driver = new BlockDriver({
    ram,
    queue: new SplitVirtqueue(ram, QUEUE.size, QUEUE.physical),
    control: CONTROL,
    notify: () => device.notify(),
  });
  return { ram, table, map, access, disk, driver };
}
