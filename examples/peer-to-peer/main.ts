/** `npx tsx examples/peer-to-peer/main.ts`: one device writes into another one's BAR, until its exporter revokes it. */
import assert from 'node:assert/strict';
import {
  DmaBufExporter,
  DmaFault,
  deviceWrite,
  IommuError,
  IoPagetable,
  IoptAccess,
  PhysicalMemory,
  ProcessMemory,
  RadixDomain,
} from 'io-pagetable';
import { Doorbells } from './doorbells.js';

const physical = new PhysicalMemory();
const memory = new ProcessMemory({ physical });

// The exporter's side: a GPU with a BAR of 16 KiB, which VFIO hands out as a dma-buf.
const bar = new DmaBufExporter({ physical, size: 0x4000n });
const gpu = new Doorbells(bar);

// The importer's side: a network card behind an IOMMU.
const table = new IoPagetable({ memory });
const nic = new RadixDomain();
await table.addDomain(nic);
const iova = await table.map({ file: bar, start: 0x1000n, length: 0x2000n, prot: 'rw' });
console.log(`two pages of the BAR are mapped at 0x${iova.toString(16)}; pinned: ${physical.pinned}`);

// The card rings a doorbell of the GPU: no byte of it goes through memory of a process.
const ring = (value: number) => deviceWrite(nic, memory, iova + 0x10n, Uint8Array.of(value, 0, 0, 0));
ring(7);
assert.equal(gpu.read(0x1010), 7);
console.log(`the card rings, the GPU reads ${gpu.read(0x1010)}`);

/** The errno of a call that must not succeed. */
async function refused(call: () => Promise<unknown>): Promise<string> {
  const error = await call().then(
    () => assert.fail('the call succeeded'),
    (reason: unknown) => reason,
  );
  assert(error instanceof IommuError);
  return error.code;
}

// The CPU has no business there: a BAR has no pages that could be pinned or copied.
const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
await access.attach(table);
const code = await refused(() => access.pin(iova, 0x1000n));
assert.equal(code, 'EINVAL');
console.log(`pinning it for the CPU: ${code}`);
await access.detach();

// The GPU is to be reset: its driver revokes the BAR first.
await bar.revoke();
assert.throws(() => ring(8), DmaFault);
assert.equal(gpu.read(0x1010), 7);
console.log('revoked: the card that rings again runs into a fault of the IOMMU');
const later = await refused(() => table.map({ file: bar, start: 0n, length: 0x1000n, prot: 'rw' }));
assert.equal(later, 'ENODEV');
console.log(`a new mapping meanwhile: ${later}`);

// Afterwards it can be mapped again. The old area is there, and empty for good.
bar.restore();
assert.throws(() => ring(8), DmaFault);
await table.unmap(iova, 0x2000n);
await table.map({ iova, file: bar, start: 0x1000n, length: 0x2000n, prot: 'rw' });
ring(9);
assert.equal(gpu.read(0x1010), 9);
console.log(`unmapped and mapped again: the GPU reads ${gpu.read(0x1010)}`);

await table.unmapAll();
await table.removeDomain(nic);
await bar.free();
