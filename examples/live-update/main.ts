/** `npx tsx examples/live-update/main.ts`: a VMM is replaced by its successor while a device goes on with its DMA. */
import assert from 'node:assert/strict';
import { deviceWrite, IommuError, Iommufd, RadixDomain } from 'io-pagetable';
import { Machine, RAM_BYTES, Vmm } from './machine.js';

const machine = new Machine();
const old = new Vmm(machine, RAM_BYTES);

// The guest's RAM is mapped by file: what is pinned are pages of the file, wherever processes have mapped it.
const iommufd = new Iommufd({ memory: old.memory });
const ioas = await iommufd.ioasAlloc();
const domain = new RadixDomain();
const device = await iommufd.deviceBind({ name: 'nic', createDomain: () => domain });
await device.attach(ioas);
await iommufd.ioasMapFile({ ioas, iova: 0n, file: machine.ram, start: 0n, length: RAM_BYTES, prot: 'rw' });
console.log(`the old VMM is charged for ${old.lockedBytes} bytes`);

let packets = 0;
/** The device receives a packet: nobody asks it to stop meanwhile. */
function receive(): void {
  const slot = BigInt(packets % 16) * 0x1000n;
  packets += 1;
  deviceWrite(domain, old.memory, slot, new TextEncoder().encode(`packet ${packets}`));
}
receive();

// A successor that may not lock as much cannot take over, and nothing has changed.
const small = new Vmm(machine, RAM_BYTES / 2n);
const refused = await iommufd.changeProcess(small.memory).catch((error: unknown) => error);
assert(refused instanceof IommuError);
assert.equal(refused.code, 'ENOMEM');
assert.deepEqual([old.lockedBytes, small.lockedBytes], [Number(RAM_BYTES), 0]);
console.log('a successor that may lock only half of it: ENOMEM');
small.exit();
receive();

// One that may is charged from now on, and the old one no longer. Not a page was unpinned for that.
const successor = new Vmm(machine, RAM_BYTES);
const { pinned } = machine.physical;
const handover = iommufd.changeProcess(successor.memory);
receive();
await handover;
assert.equal(machine.physical.pinned, pinned);
assert.deepEqual([old.lockedBytes, successor.lockedBytes], [0, Number(RAM_BYTES)]);
console.log(
  `the successor is charged for ${successor.lockedBytes} bytes, the old VMM for ${old.lockedBytes}`,
);

// The old VMM ends. The file, its pins and the translations stay.
old.exit();
receive();
assert.equal(new TextDecoder().decode(successor.read(0x3000n, 8)), 'packet 4');
console.log(
  `the old VMM is gone; the successor reads "${new TextDecoder().decode(successor.read(0x3000n, 8))}"`,
);

// Memory of a process, as opposed to a file, cannot be handed over.
const { uptr } = successor.memory.mmap({ length: 0x1000n });
await iommufd.ioasUnmap({ ioas, iova: 0n, length: RAM_BYTES });
await iommufd.ioasMap({ ioas, uptr, length: 0x1000n, prot: 'r', memory: successor.memory });
const third = new Vmm(machine, RAM_BYTES);
const stays = await iommufd.changeProcess(third.memory).catch((error: unknown) => error);
assert(stays instanceof IommuError);
assert.equal(stays.code, 'EINVAL');
console.log('with memory of the process itself mapped: EINVAL');

await device.unbind();
await iommufd.close();
assert.equal(machine.physical.pinned, 0);
console.log(`${packets} packets, none lost`);
