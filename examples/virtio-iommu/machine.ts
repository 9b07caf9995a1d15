/**
 * A guest with a virtual IOMMU: RAM, two queues in it, the device with two endpoints, and the driver.
 */
import { ProcessMemory } from 'io-pagetable';
import { GuestRam } from '../virtio/device-memory.js';
import { SplitVirtqueue } from '../virtio/split-virtqueue.js';
import { VirtioIommu } from './device.js';
import { VirtioIommuDriver } from './driver.js';
import { Endpoint } from './endpoint.js';
import type { ReservedMemory } from './protocol.js';

/** Where x86 machines write their message-signalled interrupts. */
export const MSI_WINDOW: ReservedMemory = { subtype: 'msi', start: 0xfee0_0000n, end: 0xfeef_ffffn };

/** How much RAM the guest has. The queues and their buffers are in its first four pages. */
export const RAM_LENGTH = 1n << 20n;

/** Endpoint 1 is a network card with an MSI window, endpoint 2 a disk with no demands. */
export function startMachine(memory = new ProcessMemory()) {
  const ram = new GuestRam(memory, RAM_LENGTH);
  const requests = new SplitVirtqueue(ram, 16, 0x0000n);
  const events = new SplitVirtqueue(ram, 8, 0x1000n);
  const nic = new Endpoint(1, ram, [MSI_WINDOW]);
  const disk = new Endpoint(2, ram);
  const iommu = new VirtioIommu({ ram, requests, events, endpoints: [nic, disk] });
  const buffers = { requests: 0x2000n, events: 0x3000n };
  const notify = () => iommu.notify();
  const driver = new VirtioIommuDriver({ ram, requests, events, buffers, device: iommu, notify });
  return { memory, ram, requests, nic, disk, iommu, driver };
}
