/**
 * A VM moves to another machine while a device goes on writing its memory: everything is copied once, then, round by
 * round, what the device has written meanwhile, until the device is stopped for the rest.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { deviceRead, deviceWrite } from '../../src/domain/device-dma.js';
import {
  type DomainRequest,
  type IommuDevice,
  type IommuDomain,
  Iommufd,
  ProcessMemory,
  RadixDomain,
} from '../../src/index.js';
import { MockDevice } from '../../src/testing/index.js';

const PAGE = 4096;
const PAGES = 256;
const LENGTH = PAGES * PAGE;
/** Where the guest's memory is for the device: inside the aperture of a mock domain. */
const GUEST = 0x100_0000n;

/** A write of the device: bytes, and where in the guest's memory. */
interface Write {
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** A machine: a process with the memory of the guest, and a device that has all of it mapped. */
interface Machine {
  readonly memory: ProcessMemory;
  readonly ram: bigint;
  readonly iommufd: Iommufd;
  readonly ioas: number;
  readonly hwpt: number;
  readonly domain: IommuDomain;
}

async function start(device: IommuDevice): Promise<Machine> {
  const memory = new ProcessMemory();
  const { uptr: ram } = memory.mmap({ length: LENGTH, frames: 'scattered' });
  const iommufd = new Iommufd({ memory });
  const ioas = await iommufd.ioasAlloc();
  const bound = await iommufd.deviceBind(device);
  const hwpt = await iommufd.hwptAlloc({ device: bound.id, ioas, dirtyTracking: true });
  await bound.attach(hwpt);
  // In two mappings, as a guest's memory is around its holes; the bitmap goes across them.
  await iommufd.ioasMap({ ioas, iova: GUEST, uptr: ram, length: 100 * PAGE, prot: 'rw' });
  const rest = 100n * BigInt(PAGE);
  await iommufd.ioasMap({
    ioas,
    iova: GUEST + rest,
    uptr: ram + rest,
    length: LENGTH - 100 * PAGE,
    prot: 'rw',
  });
  iommufd.check();
  return { memory, ram, iommufd, ioas, hwpt, domain: iommufd.hwptDomain(hwpt) };
}

/** A guest that moves from one machine to another. */
class Migration {
  readonly here: Machine;
  readonly there: Machine;
  /** Pages that the device has written since the bitmap was read last. */
  readonly #written = new Set<number>();

  constructor(here: Machine, there: Machine) {
    this.here = here;
    this.there = there;
  }

  /** The device writes by DMA. */
  dma(writes: readonly Write[]): void {
    const { domain, memory } = this.here;
    for (const { at, bytes } of writes) {
      deviceWrite(domain, memory, GUEST + BigInt(at), bytes);
      for (let page = at; page < at + bytes.length; page += PAGE - (page % PAGE)) {
        this.#written.add(Math.floor(page / PAGE));
      }
    }
    this.here.iommufd.check();
  }

  async track(enable: boolean): Promise<void> {
    const { iommufd, hwpt } = this.here;
    await iommufd.setDirtyTracking({ hwpt, enable });
    this.#written.clear();
    iommufd.check();
  }

  /** Reads which pages are dirty; they are clean then. They must be those that were written, no more, no less. */
  async readDirty(): Promise<number[]> {
    const { iommufd, hwpt } = this.here;
    const request = { hwpt, iova: GUEST, length: LENGTH, pageSize: PAGE };
    const looked = await iommufd.getDirtyBitmap({ ...request, noClear: true });
    const bitmap = await iommufd.getDirtyBitmap(request);
    expect(bitmap).toEqual(looked);
    const dirty = pagesOf(bitmap);
    expect(dirty).toEqual([...this.#written].sort((a, b) => a - b));
    this.#written.clear();
    iommufd.check();
    return dirty;
  }

  copy(pages: Iterable<number>): void {
    const { here, there } = this;
    for (const page of pages) {
      const at = BigInt(page * PAGE);
      there.memory.write(there.ram + at, here.memory.read(here.ram + at, PAGE));
    }
  }

  /** The pages that are not the same on both machines. */
  differences(): number[] {
    const [a, b] = [this.here, this.there].map(({ memory, ram }) => Buffer.from(memory.read(ram, LENGTH)));
    return everyPage().filter((page) => {
      const [from, to] = [page * PAGE, (page + 1) * PAGE];
      return a!.compare(b!, from, to, from, to) !== 0;
    });
  }
}

/** All of a guest's memory as the device of a machine reads it. */
function readByDma({ domain, memory }: Machine): Buffer {
  const bytes = Buffer.alloc(LENGTH);
  deviceRead(domain, memory, GUEST, bytes);
  return bytes;
}

function everyPage(): number[] {
  return Array.from({ length: PAGES }, (_, page) => page);
}

function pagesOf(bitmap: Uint8Array): number[] {
  expect(bitmap).toHaveLength(PAGES / 8);
  return everyPage().filter((page) => bitmap[page >> 3]! & (1 << (page & 7)));
}

/** `count` bytes, all `value`. */
function filled(count: number, value: number): Uint8Array {
  return new Uint8Array(count).fill(value);
}

class RadixDevice implements IommuDevice {
  readonly name = 'nic';
  readonly dirtyTracking = true;

  createDomain({ dirtyTracking }: DomainRequest): RadixDomain {
    return new RadixDomain({ dirty: dirtyTracking });
  }
}

describe.each([
  ['a radix page table', () => new RadixDevice()],
  ['a mock domain, with io pages of 2 KiB', () => new MockDevice()],
] as const)('a device behind %s', (_, newDevice) => {
  test('goes on writing for three rounds', async () => {
    const [here, there] = [await start(newDevice()), await start(newDevice())];
    const vm = new Migration(here, there);
    for (const page of everyPage()) {
      here.memory.write(here.ram + BigInt(page * PAGE), filled(PAGE, 1 + (page % 251)));
    }
    expect(vm.differences()).toHaveLength(PAGES);

    // What was written before tracking is copied with everything else.
    vm.dma([{ at: 3 * PAGE, bytes: filled(PAGE, 0xf0) }]);
    await vm.track(true);
    vm.copy(everyPage());
    expect(vm.differences()).toEqual([]);

    // Round 1: a lot is written. Pages 99 to 101 are on both sides of the boundary between the mappings.
    vm.dma([
      { at: 10 * PAGE, bytes: filled(40 * PAGE, 0xf1) },
      { at: 99 * PAGE + 4000, bytes: filled(PAGE + 200, 0xf1) },
      { at: LENGTH - 1, bytes: filled(1, 0xff) },
    ]);
    const first = await vm.readDirty();
    expect(first).toEqual([...everyPage().slice(10, 50), 99, 100, 101, 255]);
    // The device writes again before the pages are copied: one of them, and another one.
    vm.dma([{ at: 20 * PAGE + 7, bytes: filled(1, 0xf2) }]);
    vm.copy(first);
    vm.dma([{ at: 200 * PAGE + 2048, bytes: filled(100, 0xf2) }]);
    expect(vm.differences()).toEqual([200]);

    // Round 2: less.
    const second = await vm.readDirty();
    expect(second).toEqual([20, 200]);
    vm.copy(second);
    expect(vm.differences()).toEqual([]);

    // Round 3: the device writes once more, and is stopped. The rest is copied.
    vm.dma([{ at: 0, bytes: filled(2, 0xf3) }]);
    expect(vm.differences()).toEqual([0]);
    vm.copy(await vm.readDirty());

    expect(await vm.readDirty()).toEqual([]);
    expect(vm.differences()).toEqual([]);
    await vm.track(false);
    expect(readByDma(there).equals(here.memory.read(here.ram, LENGTH))).toBe(true);
    for (const { iommufd, memory } of [here, there]) {
      await iommufd.close();
      expect(memory.physical.pinned).toBe(0);
    }
  });

  test('may write whatever it likes: both memories are equal in the end', async () => {
    const write = fc.integer({ min: 0, max: LENGTH - 1 }).chain((at) =>
      fc.record({
        at: fc.constant(at),
        bytes: fc.uint8Array({ minLength: 1, maxLength: Math.min(3 * PAGE, LENGTH - at), size: 'large' }),
      }),
    );
    const writes = fc.array(write, { maxLength: 8 });
    // Of each round: what is written before the bitmap is read, and between that and the copying.
    const rounds = fc.array(fc.tuple(writes, writes), { minLength: 3, maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(rounds, async (script) => {
        const vm = new Migration(await start(newDevice()), await start(newDevice()));
        await vm.track(true);
        vm.copy(everyPage());
        for (const [before, between] of script) {
          vm.dma(before);
          const dirty = await vm.readDirty();
          vm.dma(between);
          vm.copy(dirty);
        }
        vm.copy(await vm.readDirty());
        expect(await vm.readDirty()).toEqual([]);
        expect(vm.differences()).toEqual([]);
        for (const { iommufd, memory } of [vm.here, vm.there]) {
          await iommufd.close();
          expect(memory.physical.pinned).toBe(0);
        }
      }),
      { numRuns: 20 },
    );
  });
});
