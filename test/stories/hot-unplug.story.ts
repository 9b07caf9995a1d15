/**
 * A device disappears in the middle of its DMA. It has a page table, its driver has pinned memory, and just then the
 * driver waits for memory that is still on its way to this machine, as in a post-copy migration.
 */
import { describe, expect, test } from 'vitest';
import { deviceRead, deviceWrite } from '../../src/domain/device-dma.js';
import { refuse } from '../../src/errors.js';
import {
  type BoundDevice,
  type IommuDevice,
  type IommuDomain,
  Iommufd,
  type IommufdAccess,
  ProcessMemory,
  RadixDomain,
  type UnmapNotice,
} from '../../src/index.js';
import { pagePins } from '../../src/testing/index.js';
import { GatedMemory } from '../helpers/gated-memory.js';
import { settled, watch } from '../helpers/watch.js';

const PAGE = 4096n;
/** The guest has two pieces of memory: one is here, the other one arrives page by page. */
const PAGES = 32;
const LENGTH = BigInt(PAGES) * PAGE;
const GUEST = 0x4000_0000n;

interface Range {
  readonly iova: bigint;
  readonly length: bigint;
}

/** What the driver shares with the guest all the time, in the memory that is here. */
const RINGS: Range = { iova: GUEST + 2n * PAGE, length: 4n * PAGE };
/** A buffer of the guest's, in the memory that is not. */
const BUFFER: Range = { iova: GUEST + 5n * PAGE, length: 3n * PAGE };
const CONTENT = new Uint8Array(Number(BUFFER.length)).fill(0xc0);

/** The device. It reaches only what its page table gives it. */
class Nic implements IommuDevice {
  readonly name = 'nic';
  domain: IommuDomain | undefined;

  createDomain(): RadixDomain {
    return new RadixDomain();
  }

  attach(domain: IommuDomain): void {
    this.domain = domain;
  }

  detach(): void {
    this.domain = undefined;
  }
}

/** An access of the driver, with the list that a driver keeps of what it has pinned. */
class Pinner {
  #access!: IommufdAccess;
  readonly #pinned = new Set<Range>();

  static async on(iommufd: Iommufd, ioas: number): Promise<Pinner> {
    const pinner = new Pinner();
    const onUnmap = (area: UnmapNotice) => pinner.#letGo(area);
    pinner.#access = await iommufd.accessCreate({ ioas, needsPin: true, onUnmap });
    return pinner;
  }

  get access(): IommufdAccess {
    return this.#access;
  }

  async pin(range: Range, signal?: AbortSignal): Promise<void> {
    await this.#access.pin(range.iova, range.length, { write: true, ...(signal && { signal }) });
    this.#pinned.add(range);
  }

  async #letGo(area: UnmapNotice): Promise<void> {
    for (const range of [...this.#pinned]) {
      if (range.iova + range.length <= area.iova || area.iova + area.length <= range.iova) continue;
      this.#pinned.delete(range);
      await this.#access.unpin(range.iova, range.length);
    }
  }
}

/** A machine with a device at work, whose driver uses two address spaces. */
interface Machine {
  readonly process: ProcessMemory;
  /** The process's memory as the kernel sees it: who wants a page that is not there waits at its gate. */
  readonly memory: GatedMemory;
  readonly iommufd: Iommufd;
  /** The memory that is here, pinned for the page table. */
  readonly here: { readonly ioas: number; readonly ram: bigint };
  /** The memory that is arriving, in an address space that no device has a page table for. */
  readonly arriving: { readonly ioas: number; readonly ram: bigint };
  readonly nic: Nic;
  readonly device: BoundDevice;
  readonly hwpt: number;
  /** The driver's accesses: the one for its rings, and the one for buffers. */
  readonly rings: Pinner;
  readonly buffers: Pinner;
}

async function start(): Promise<Machine> {
  const process = new ProcessMemory();
  const memory = new GatedMemory(process);
  const iommufd = new Iommufd({ memory });
  const guestMemory = async () => {
    const { uptr: ram } = process.mmap({ length: LENGTH, frames: 'scattered' });
    const ioas = await iommufd.ioasAlloc();
    await iommufd.ioasMap({ ioas, iova: GUEST, uptr: ram, length: LENGTH, prot: 'rw' });
    return { ioas, ram };
  };
  const [here, arriving] = [await guestMemory(), await guestMemory()];
  process.write(arriving.ram + (BUFFER.iova - GUEST), CONTENT);
  const plugged = await plug(iommufd, here.ioas);
  const [rings, buffers] = [await Pinner.on(iommufd, here.ioas), await Pinner.on(iommufd, arriving.ioas)];
  await rings.pin(RINGS);
  expect(pagePins(process, { uptr: here.ram, length: LENGTH })).toEqual([{ pages: PAGES, pins: 1 }]);
  iommufd.check();
  memory.close();
  return { process, memory, iommufd, here, arriving, ...plugged, rings, buffers };
}

/** Binds a device, gives it a page table on an address space, and sees it do DMA. */
async function plug(iommufd: Iommufd, ioas: number) {
  const nic = new Nic();
  const device = await iommufd.deviceBind(nic);
  const hwpt = await iommufd.hwptAlloc({ device: device.id, ioas });
  await device.attach(hwpt);
  return { nic, device, hwpt };
}

/** What the driver does when its device is gone. */
async function unplug({ iommufd, device, hwpt, rings, buffers }: Machine): Promise<void> {
  await device.unbind();
  await iommufd.destroy(hwpt);
  await rings.access.destroy();
  await buffers.access.destroy();
}

/** What a device writes must be what it reads again, through its page table. */
function expectDma({ domain }: Nic, memory: ProcessMemory, iova: bigint): void {
  const [sent, received] = [Uint8Array.of(1, 2, 3, 4), new Uint8Array(4)];
  deviceWrite(domain!, memory, iova + PAGE - 2n, sent);
  deviceRead(domain!, memory, iova + PAGE - 2n, received);
  expect(received).toEqual(sent);
}

/** After the unplug: nothing is pinned, and another device can use both address spaces. */
async function expectUsable({ process, memory, iommufd, here, arriving, nic }: Machine): Promise<void> {
  expect(nic.domain).toBeUndefined();
  expect(process.physical.pinned).toBe(0);
  iommufd.check();
  memory.open();
  for (const { ioas, ram } of [here, arriving]) {
    expect(iommufd.ioasTable(ioas).snapshot()).toMatchObject({ accesses: 0, domains: [], alignment: 1 });
    const next = await plug(iommufd, ioas);
    expectDma(next.nic, process, RINGS.iova);
    expect(pagePins(process, { uptr: ram, length: LENGTH })).toEqual([{ pages: PAGES, pins: 1 }]);
    iommufd.check();
    await next.device.unbind();
    await iommufd.destroy(next.hwpt);
    expect(await iommufd.ioasUnmap({ ioas, iova: GUEST, length: LENGTH })).toBe(LENGTH);
    iommufd.check();
    await iommufd.destroy(ioas);
  }
  await iommufd.close();
  expect(process.physical.pinned).toBe(0);
}

/** What the driver is doing when the device goes, with the memory that is arriving. */
const WORK = {
  read: async ({ buffers }: Machine, signal: AbortSignal) => {
    const bytes = new Uint8Array(CONTENT.length);
    await buffers.access.read(BUFFER.iova, bytes, { signal });
    expect(bytes).toEqual(CONTENT);
  },
  write: async ({ buffers, process, arriving }: Machine, signal: AbortSignal) => {
    const bytes = new Uint8Array(CONTENT.length).fill(0xd0);
    await buffers.access.write(BUFFER.iova, bytes, { signal });
    expect(process.read(arriving.ram + (BUFFER.iova - GUEST), BUFFER.length)).toEqual(bytes);
  },
  pin: async ({ buffers }: Machine, signal: AbortSignal) => {
    await buffers.pin(BUFFER, signal);
  },
};

describe.each(Object.entries(WORK))('a device that goes while its driver waits in a %s', (_, work) => {
  /** The device has gone and the driver is cleaning up, but still waits for memory. */
  async function unplugInTheMiddle() {
    const machine = await start();
    const { process, memory, iommufd, nic, hwpt, here } = machine;
    expectDma(nic, process, RINGS.iova);
    const giveUp = new AbortController();
    const working = watch(work(machine, giveUp.signal));
    const unplugging = watch(unplug(machine));
    await settled();
    expect([working.state, unplugging.state]).toEqual(['pending', 'pending']);
    expect(memory.pending).toHaveLength(1);
    // The hardware is out of the game already; nothing keeps the memory that is here.
    expect(nic.domain).toBeUndefined();
    expect(() => iommufd.hwptDomain(hwpt)).toThrow('ENOENT');
    expect(pagePins(process, { uptr: here.ram, length: LENGTH })).toEqual([{ pages: PAGES, pins: 0 }]);
    return { machine, memory, working, unplugging, giveUp };
  }

  test('and the memory arrives', async () => {
    const { machine, memory, working, unplugging } = await unplugInTheMiddle();
    memory.pending[0]!.settle();
    await settled();
    expect(working.error).toBeUndefined();
    expect([working.state, unplugging.state]).toEqual(['fulfilled', 'fulfilled']);
    await expectUsable(machine);
  });

  test('and the memory is lost', async () => {
    const { machine, memory, working, unplugging } = await unplugInTheMiddle();
    memory.pending[0]!.fail(refuse('EFAULT', 'fault', 'the other machine does not answer'));
    await settled();
    expect(working.error).toMatchObject({ code: 'EFAULT' });
    expect(unplugging.state).toBe('fulfilled');
    await expectUsable(machine);
  });

  test('and nobody waits for the memory any more', async () => {
    const { machine, memory, working, unplugging, giveUp } = await unplugInTheMiddle();
    giveUp.abort();
    await settled();
    expect(working.error).toBe(giveUp.signal.reason);
    expect(unplugging.state).toBe('fulfilled');
    expect(memory.pending).toHaveLength(1);
    // It arrives all the same. Pages that were pinned for nobody are unpinned again.
    memory.pending[0]!.settle();
    await settled();
    await expectUsable(machine);
  });
});

describe('a device that goes while it is moving to another address space', () => {
  async function unplugInTheMiddle() {
    const machine = await start();
    const moving = watch(machine.device.replace(machine.arriving.ioas));
    const unplugging = watch(unplug(machine));
    await settled();
    expect([moving.state, unplugging.state]).toEqual(['pending', 'pending']);
    // The unplug waits its turn. The device has its next page table, which is empty still, and the old one is full.
    expect(machine.nic.domain).not.toBe(machine.iommufd.hwptDomain(machine.hwpt));
    expect(machine.nic.domain?.mappedBytes).toBe(0n);
    expect(machine.process.physical.pinned).toBe(PAGES);
    return { machine, memory: machine.memory, moving, unplugging };
  }

  test('and the memory arrives', async () => {
    const { machine, memory, moving, unplugging } = await unplugInTheMiddle();
    memory.open();
    await settled();
    expect([moving.state, unplugging.state]).toEqual(['fulfilled', 'fulfilled']);
    await expectUsable(machine);
  });

  test('and the memory is lost', async () => {
    const { machine, memory, moving, unplugging } = await unplugInTheMiddle();
    memory.pending[0]!.fail(refuse('EFAULT', 'fault', 'the other machine does not answer'));
    await settled();
    expect(moving.error).toMatchObject({ code: 'EFAULT' });
    expect(unplugging.state).toBe('fulfilled');
    await expectUsable(machine);
  });
});
