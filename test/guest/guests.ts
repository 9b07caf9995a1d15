/** The guests of the tests: a machine with both devices, two runs of its system, and what came of them. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { serve } from 'io-pagetable/vfio-user';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { EduDevice } from '../../examples/edu/device.js';
import { NvmeController } from '../../examples/nvme/controller.js';
import { MemoryStorage } from '../../examples/nvme/storage.js';
import { initramfs } from '../../scripts/guest/initramfs.js';
import { type Ended, type GuestIommu, Machine } from '../../scripts/guest/machine.js';

/** A part of a script of the guest. */
export const inside = (name: string) =>
  readFileSync(new URL(`../../scripts/guest/inside/${name}`, import.meta.url), 'utf8');

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** How the guest's program drives the edu device. */
type Driver = 'vfio' | 'uio' | 'memory';

const MODULES: Record<Driver, readonly string[]> = {
  // virtio-iommu does not remap interrupts, which this module wants to be told.
  vfio: ['vfio_iommu_type1 allow_unsafe_interrupts=1', 'vfio-pci'],
  uio: ['uio_pci_generic'],
  memory: [],
};

/** The system's first run fills the disk and restarts the machine; the second one finds that. */
const script = (driver: Driver) => `
${inside('nvme.sh')}
${inside('edu.sh')}
await test -b $disk
if nvme_again; then
  edu_by ${driver}
else
  nvme_fill
  edu_by ${driver}
  say restarting
  reboot -f
fi
`;

const DISK_SIZE = 8 << 20;
/** How long QEMU waits for an answer, in milliseconds: on a busy machine it gives up too soon of its own accord, and ends. */
export const PATIENCE = 120_000;
const EDU_MEMORY = 4096;

/** What edu.c copies in each of its rounds: where it begins in its memory, and how long it is. */
const ROUNDS = (driver: Driver) => [
  { from: 0, length: 4096 },
  { from: 123, length: 1001 },
  { from: 3000, length: driver === 'vfio' ? 2500 : 900 },
];

const pattern = (round: number, length: number) =>
  Uint8Array.from({ length }, (_, i) => i * (7 + round) + (i >> 8));

/** The checksum of edu.c. */
function fnv(bytes: Uint8Array): string {
  const sum = bytes.reduce((so, byte) => Math.imul(so ^ byte, 16777619), 2166136261 | 0);
  return (sum >>> 0).toString(16).padStart(8, '0');
}

/** What edu.c says of its rounds: copied to the device, and back from there without the last bytes. */
function expectedDma(driver: Driver): string[] {
  return ROUNDS(driver).map(({ length }, round) => {
    const sum = fnv(pattern(round, length).subarray(0, length - 5 * round));
    return `done done ${length - 5 * round} ${sum} ${sum}`;
  });
}

/** What the device's memory holds when edu.c has finished. */
function expectedMemory(driver: Driver): Uint8Array {
  const memory = new Uint8Array(EDU_MEMORY);
  for (const [round, { length }] of ROUNDS(driver).entries()) memory.set(pattern(round, length));
  if (driver === 'vfio') memory.set(pattern(0, 64));
  return memory;
}

/** Both devices in guests behind one kind of IOMMU, with descriptors and without. */
export function describeGuests(iommu: GuestIommu): void {
  describe.each([
    { how: 'by messages', descriptors: false },
    { how: 'with descriptors', descriptors: true },
  ])(`devices $how, ${iommu === 'none' ? 'no IOMMU' : `behind ${iommu}`}`, ({ descriptors }) => {
    const driver = iommu !== 'none' ? 'vfio' : descriptors ? 'uio' : 'memory';
    const disk = new MemoryStorage(DISK_SIZE);
    const eduMemories: Uint8Array[] = [];
    const disks: string[] = [];
    let machine: Machine;
    let ended: Ended;

    beforeAll(async () => {
      const root = inject('root');
      const modules = [...(iommu === 'virtio-iommu' ? ['virtio-iommu'] : []), ...MODULES[driver]];
      const image = initramfs(root, { modules, programs: ['edu'], script: script(driver) });
      machine = new Machine({
        root,
        initramfs: image,
        iommu,
        sharedMemory: descriptors,
        reboot: true,
        messageTimeout: PATIENCE,
      });
      const edu = new EduDevice(descriptors ? ['msix', 'intx'] : ['msi']);
      const nvme = new NvmeController(disk);
      const sockets = ['edu', 'nvme'].map((name) => machine.socket(name));
      const passed = descriptors ? 'always' : 'never';
      await using _edu = await serve(edu.pci, { socket: sockets[0]!, descriptors: passed });
      await using _nvme = await serve(nvme.pci, { socket: sockets[1]!, descriptors: passed });
      machine.start(sockets);
      for (const run of [1, 2]) {
        await machine.answer('edu.finished', run);
        eduMemories.push(edu.buffer.slice());
        disks.push(sha256(disk.bytes));
        machine.tell('');
      }
      ended = await machine.ended();
    });
    afterAll(() => machine?.[Symbol.asyncDispose]());

    test('the guest comes to its end, and nobody complains', () => {
      expect(machine.answers('ended')).toHaveLength(1);
      expect(machine.said.filter((line) => line.includes('failed'))).toEqual([]);
      expect(ended).toMatchObject({ status: 0, reports: '' });
      expect(ended.console).not.toMatch(/DMAR: \[|page fault from EP|I\/O error|timeout|nobody cared/);
    });

    test('the disk: what was written is read back after a remount and after a restart', () => {
      const [written] = machine.answers('nvme.written');
      expect(written).toMatch(/^[0-9a-f]{64}$/);
      expect(machine.answers('nvme.remounted')).toEqual([written]);
      expect(machine.answers('nvme.restarted')).toEqual([written]);
      expect(machine.answers('nvme.direct')).toEqual(['equal']);
      expect(machine.answers('nvme.interrupts')).toEqual([descriptors ? 'MSIX' : 'MSI']);
    });

    test('the disk: its bytes here are those that the guest has read', () => {
      expect(Buffer.from(disk.bytes).includes('The guest was here.')).toBe(true);
      expect(machine.answers('nvme.disk')).toEqual(disks.slice(0, 1));
    });

    test('edu: registers', () => {
      expect(machine.answers('edu.identity')).toEqual(['010000ed', '010000ed']);
      expect(machine.answers('edu.liveness')).toEqual(['edcba987', 'edcba987']);
      expect(machine.answers('edu.factorial')).toEqual(['3628800', '3628800']);
    });

    test('edu: interrupts', () => {
      const once = ['came 1 0', 'came 2 0', 'came 4 0'];
      expect(machine.answers('edu.interrupt')).toEqual([...once, ...once]);
      const vectors = descriptors ? 'msix 1' : 'msi 1';
      expect(machine.answers('edu.vectors')).toEqual(driver === 'vfio' ? [vectors, vectors] : []);
    });

    test('edu: DMA', () => {
      expect(machine.answers('edu.dma')).toEqual([...expectedDma(driver), ...expectedDma(driver)]);
      expect(eduMemories).toEqual([expectedMemory(driver), expectedMemory(driver)]);
    });

    test.runIf(driver === 'vfio')('edu: DMA to where nothing is, or not any more, is refused', () => {
      expect(machine.answers('edu.nothing')).toEqual(['refused', 'refused']);
      expect(machine.answers('edu.gone')).toEqual(['refused', 'refused']);
      expect(machine.answers('edu.again')).toEqual(['done', 'done']);
    });
  });
}
