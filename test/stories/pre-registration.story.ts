/**
 * A VMM registers guest memory once, before any device is there: it maps it in an address space of its own and pins
 * it. What devices get later are copies of that. However many there are, no page is pinned or charged twice.
 */
import { expect, test } from 'vitest';
import {
  type BoundDevice,
  Iommufd,
  type IommufdAccess,
  ProcessMemory,
  RadixDomain,
} from '../../src/index.js';
import { type PinRun, pagePins } from '../../src/testing/index.js';
import { GatedMemory } from '../helpers/gated-memory.js';

const PAGES = 64;
const LENGTH = BigInt(PAGES) * 4096n;
/** Where the guest's memory is in the address space that it is registered in, and in the one that devices use. */
const REGISTERED = 0x1_0000_0000n;
const GUEST = 0x8000_0000n;

interface Registration {
  readonly pool: number;
  readonly access: IommufdAccess;
  /** Ends it; the memory stays mapped. */
  readonly unpin: () => Promise<void>;
}

class Vmm {
  /** It may lock just as much as the guest has: to charge a page twice would be ENOMEM. */
  readonly process = new ProcessMemory({ lockedLimit: LENGTH });
  readonly memory = new GatedMemory(this.process);
  readonly iommufd = new Iommufd({ memory: this.memory });
  readonly ram = this.process.mmap({ length: LENGTH, frames: 'scattered' }).uptr;

  /** Maps the memory in an address space without devices, and pins it there by an access. */
  async register(): Promise<Registration> {
    const { iommufd, ram } = this;
    const pool = await iommufd.ioasAlloc();
    await iommufd.ioasMap({ ioas: pool, iova: REGISTERED, uptr: ram, length: LENGTH, prot: 'rw' });
    this.expect('nothing', [pool]);
    let pinned = false;
    const unpin = async () => {
      if (!pinned) return;
      pinned = false;
      await access.unpin(REGISTERED, LENGTH);
    };
    const access: IommufdAccess = await iommufd.accessCreate({ ioas: pool, needsPin: true, onUnmap: unpin });
    await access.pin(REGISTERED, LENGTH, { write: true });
    pinned = true;
    this.expect('the access', [pool]);
    return { pool, access, unpin };
  }

  /** A device with a page table of its own on an address space. */
  async plug(name: string, ioas: number): Promise<{ device: BoundDevice; hwpt: number }> {
    const { iommufd } = this;
    const device = await iommufd.deviceBind({ name, createDomain: () => new RadixDomain() });
    const hwpt = await iommufd.hwptAlloc({ device: device.id, ioas });
    await device.attach(hwpt);
    return { device, hwpt };
  }

  async unplug({ device, hwpt }: { device: BoundDevice; hwpt: number }): Promise<void> {
    await device.unbind();
    await this.iommufd.destroy(hwpt);
  }

  /** Checks how often each page is pinned and charged, given what holds it and in which address spaces it is mapped. */
  expect(holders: string, mappedIn: readonly number[]): void {
    const pins = holders === 'nothing' ? 0 : 1;
    const everyPage: PinRun[] = [{ pages: PAGES, pins }];
    expect(pagePins(this.process, { uptr: this.ram, length: LENGTH }), `held by ${holders}`).toEqual(
      everyPage,
    );
    expect(this.process.locked?.user.lockedPages).toBe(pins * PAGES);
    for (const ioas of mappedIn) {
      // All address spaces that show the pages show the same ones.
      expect(this.iommufd.ioasTable(ioas).snapshot().pages).toMatchObject([
        { references: mappedIn.length, pinned: pins * PAGES },
      ]);
    }
    this.iommufd.check();
  }

  /** Checks that page tables lead every page of the guest to the page that was registered. */
  expectTranslations(hwpts: readonly number[]): void {
    for (const hwpt of hwpts) {
      const domain = this.iommufd.hwptDomain(hwpt);
      for (let at = 0n; at < LENGTH; at += 4096n) {
        const frame = BigInt(this.process.frameOf(this.ram + at));
        expect(domain.iovaToPhys(GUEST + at)).toBe(frame * 4096n);
      }
    }
  }
}

function pagesAskedFor(memory: GatedMemory): number {
  return memory.pins.reduce((pages, { count }) => pages + count, 0);
}

test('what was pinned at registration is not pinned again for devices', async () => {
  const vmm = new Vmm();
  const { iommufd, memory } = vmm;
  const { pool, access, unpin } = await vmm.register();
  const askedBefore = memory.pins.length;

  const guest = await iommufd.ioasAlloc();
  const nic = await vmm.plug('nic', guest);
  const gpu = await vmm.plug('gpu', guest);
  vmm.expect('the access', [pool]);
  const copying = { from: pool, srcIova: REGISTERED, length: LENGTH };

  // What would it cost to map the memory for the devices? Anew, more than there is; copied, nothing.
  const anew = { ioas: guest, uptr: vmm.ram, length: LENGTH };
  const { user } = await iommufd.lockedBytesIfMapped({ mappings: [anew] });
  expect([user.bytes, user.fits]).toEqual([LENGTH, false]);
  const { pinnedBytes } = await iommufd.lockedBytesIfMapped({ mappings: [{ ioas: guest, ...copying }] });
  expect(pinnedBytes).toBe(0n);

  await iommufd.ioasCopy({ ...copying, to: guest, iova: GUEST, prot: 'rw' });
  vmm.expect('the access and two page tables', [pool, guest]);
  vmm.expectTranslations([nic.hwpt, gpu.hwpt]);

  // And back, in the reverse order.
  expect(await iommufd.ioasUnmap({ ioas: guest, iova: GUEST, length: LENGTH })).toBe(LENGTH);
  vmm.expect('the access', [pool]);
  await vmm.unplug(gpu);
  await vmm.unplug(nic);
  await iommufd.destroy(guest);
  vmm.expect('the access', [pool]);
  await unpin();
  vmm.expect('nothing', [pool]);
  await access.destroy();
  await iommufd.destroy(pool);
  vmm.expect('nothing', []);

  // In all that time the memory was asked for its pages only by the registration.
  expect(pagesAskedFor(memory)).toBe(PAGES);
  expect(memory.pins).toHaveLength(askedBefore);
  await iommufd.close();
});

test('devices keep the pages when the registration goes first', async () => {
  const vmm = new Vmm();
  const { iommufd, memory } = vmm;
  const { pool, access } = await vmm.register();
  const guest = await iommufd.ioasAlloc();
  const copying = { from: pool, srcIova: REGISTERED, to: guest, iova: GUEST, length: LENGTH };
  await iommufd.ioasCopy({ ...copying, prot: 'rw' });
  vmm.expect('the access', [pool, guest]);
  const nic = await vmm.plug('nic', guest);
  vmm.expect('the access and a page table', [pool, guest]);
  const gpu = await vmm.plug('gpu', guest);
  vmm.expect('the access and two page tables', [pool, guest]);

  // Unmapping makes the access let go. The page tables hold what it held.
  expect(await iommufd.ioasUnmap({ ioas: pool, iova: REGISTERED, length: LENGTH })).toBe(LENGTH);
  vmm.expect('two page tables', [guest]);
  await vmm.unplug(nic);
  vmm.expect('a page table', [guest]);
  vmm.expectTranslations([gpu.hwpt]);
  await vmm.unplug(gpu);
  vmm.expect('nothing', [guest]);
  expect(pagesAskedFor(memory)).toBe(PAGES);

  // A device that comes now has to pin them again: nobody did so meanwhile.
  const disk = await vmm.plug('disk', guest);
  vmm.expect('a page table', [guest]);
  vmm.expectTranslations([disk.hwpt]);
  await access.destroy();
  await iommufd.close();
  vmm.expect('nothing', []);
});
