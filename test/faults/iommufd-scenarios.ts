/** Calls on an iommufd, each on a state in which it has something to undo. */

import type { IommuDomain } from '../../src/domain/iommu-domain.js';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import type { FaultPoint } from '../../src/faults.js';
import type { IommufdAccess } from '../../src/iommufd/access-object.js';
import type { BoundDevice } from '../../src/iommufd/bound-device.js';
import { Ioas } from '../../src/iommufd/ioas.js';
import type { DomainRequest, IommuDevice } from '../../src/iommufd/iommu-device.js';
import { Iommufd } from '../../src/iommufd/iommufd.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import type { FaultCounter } from '../../src/testing/fault-injector.js';
import { MockDevice } from '../../src/testing/mock-device.js';
import { MockDomain } from '../../src/testing/mock-domain.js';
import { TestDriver } from '../../src/testing/test-driver.js';
import { PAGE } from './fault-world.js';
import type { Scenario } from './table-scenarios.js';

const RAM = 0x1_0000_0000n;
const APERTURE = 0x100_0000n;

/** A device with reserved regions whose domains are filled through fault points of their own. */
class Nic implements IommuDevice {
  readonly name: string;
  readonly dirtyTracking = true;
  readonly reservedRegions = [
    { start: 0x8000_0000n, length: 0x10_0000n, type: 'direct' },
    { start: 0xfee0_0000n, length: 0x10_0000n, type: 'msi' },
  ] as const;
  /** The domain it uses. */
  domain: IommuDomain | undefined;
  /** Domains that were made and not freed. */
  alive = 0;

  constructor(name: string) {
    this.name = name;
  }

  createDomain({ dirtyTracking }: DomainRequest): RadixDomain {
    this.alive += 1;
    return new RadixDomain({ dirty: dirtyTracking });
  }

  freeDomain(): void {
    this.alive -= 1;
  }

  attach(domain: IommuDomain): void {
    this.domain = domain;
  }

  detach(): void {
    this.domain = undefined;
  }
}

/** A context with two address spaces; the first has mappings, of which an access has a part pinned. */
class Setting {
  readonly memory = new ProcessMemory({ lockedLimit: 1024n * PAGE });
  readonly iommufd: Iommufd;
  readonly driver: TestDriver;
  readonly nics = [new Nic('eth0'), new Nic('eth1')] as const;
  readonly bound: BoundDevice[] = [];
  readonly accesses: IommufdAccess[] = [];

  constructor(faults: FaultCounter) {
    this.memory.mmap({ uptr: RAM, length: 64n * PAGE, frames: 'scattered' });
    this.iommufd = new Iommufd({ memory: this.memory, faults });
    this.driver = new TestDriver(this.iommufd, { memory: this.memory });
  }

  /** Makes address spaces 1 and 2, devices 3 and 4, access 5. */
  async build(): Promise<void> {
    const { iommufd } = this;
    const ioas = await iommufd.ioasAlloc();
    await iommufd.ioasAlloc();
    await iommufd.ioasMap({ ioas, iova: APERTURE, uptr: RAM, length: 3n * PAGE, prot: 'rw' });
    await iommufd.ioasMap({
      ioas,
      iova: APERTURE + 3n * PAGE,
      uptr: RAM + 8n * PAGE,
      length: 4n * PAGE,
      prot: 'r',
    });
    for (const nic of this.nics) this.bound.push(await iommufd.deviceBind(nic));
    let pinned = false;
    const access: IommufdAccess = await iommufd.accessCreate({
      ioas,
      needsPin: true,
      onUnmap: async () => {
        if (pinned) await access.unpin(APERTURE + PAGE, PAGE);
        pinned = false;
      },
    });
    await access.pin(APERTURE + PAGE, PAGE);
    pinned = true;
    this.accesses.push(access);
  }

  state(): object {
    const { memory } = this;
    const pins = Array.from({ length: 64 }, (_, page) => memory.pins(RAM + BigInt(page) * PAGE));
    const objects = this.iommufd.context.objects.all().map((object) => ({
      id: object.id,
      kind: object.kind,
      users: object.users,
      table: object instanceof Ioas ? object.table.snapshot() : undefined,
      locks:
        object instanceof Ioas
          ? [object.table.state.domainsLock.free, object.table.state.iovaLock.free]
          : undefined,
    }));
    return {
      objects,
      pinned: memory.physical.pinned,
      pins: pins.join(''),
      locked: [memory.locked?.user.lockedPages, memory.locked?.mm.lockedPages],
      devices: this.nics.map(({ alive, domain }) => [alive, domain?.mappedBytes]),
      attached: this.bound.map((device) => [device.hwpt, device.msiWindow]),
      accesses: this.accesses.map((access) => access.ioas),
      compat: this.iommufd.context.compat?.id,
    };
  }
}

interface Traits {
  readonly neverFails?: boolean;
  readonly partial?: readonly FaultPoint[];
  readonly done?: readonly FaultPoint[];
  readonly detours?: readonly FaultPoint[];
}

function onIommufd(
  name: string,
  build: (setting: Setting) => Promise<() => Promise<unknown>>,
  { neverFails = false, ...traits }: Traits = {},
): Scenario {
  return {
    name: `iommufd: ${name}`,
    neverFails,
    prepare: async (faults) => {
      const setting = new Setting(faults);
      await setting.build();
      const call = await build(setting);
      return { ...traits, call, state: () => setting.state(), check: () => setting.iommufd.check() };
    },
  };
}

/** On mappings and a page table with dirty tracking for the first address space. */
async function manualTable({ iommufd }: Setting): Promise<number> {
  return await iommufd.hwptAlloc({ device: 3, ioas: 1, dirtyTracking: true });
}

/** All of them. */
export const IOMMUFD_SCENARIOS: readonly Scenario[] = [
  onIommufd(
    'ioasAlloc',
    async ({ iommufd }) =>
      () =>
        iommufd.ioasAlloc(),
  ),
  onIommufd(
    'ioasMap',
    async ({ iommufd, bound }) => {
      await bound[0]!.attach(1);
      const request = {
        ioas: 1,
        iova: 0x200_0000n,
        uptr: RAM + 16n * PAGE,
        length: 3n * PAGE,
        prot: 'rw',
      } as const;
      return () => iommufd.ioasMap(request);
    },
    { done: ['response'] },
  ),
  onIommufd(
    'ioasCopy to an address space with a device',
    async ({ iommufd, bound }) => {
      await bound[0]!.attach(2);
      const request = { from: 1, srcIova: APERTURE, to: 2, length: 7n * PAGE, prot: 'r' } as const;
      return () => iommufd.ioasCopy(request);
    },
    { done: ['response'] },
  ),
  onIommufd(
    'ioasUnmap',
    async ({ iommufd, bound }) => {
      await bound[0]!.attach(1);
      return () => iommufd.ioasUnmap({ ioas: 1, iova: APERTURE, length: 7n * PAGE });
    },
    { done: ['response'] },
  ),
  onIommufd('ioasAllowIovas', async ({ iommufd }) => {
    const ranges = [0n, 0x100_0000n, 0x200_0000n].map((start) => ({ start, last: start + 0xffffffn }));
    return () => iommufd.ioasAllowIovas({ ioas: 1, ranges });
  }),
  onIommufd(
    'ioasIovaRanges',
    async ({ iommufd }) =>
      () =>
        iommufd.ioasIovaRanges({ ioas: 1 }),
  ),
  ...[0, 1, undefined].map((value) =>
    onIommufd(
      `option huge-pages, ${value ?? 'read'}`,
      async ({ iommufd }) =>
        () =>
          iommufd.option({ option: 'huge-pages', ioas: 1, value }),
    ),
  ),
  onIommufd('lockedBytesIfMapped', async ({ iommufd }) => () => {
    const mappings = [
      { ioas: 1, uptr: RAM, length: PAGE },
      { ioas: 2, from: 1, srcIova: APERTURE, length: PAGE },
    ];
    return iommufd.lockedBytesIfMapped({ mappings, attached: true });
  }),
  onIommufd('deviceBind', async ({ iommufd }) => {
    const device = new MockDevice();
    return () => iommufd.deviceBind(device);
  }),
  onIommufd(
    'getHwInfo',
    async ({ iommufd }) =>
      () =>
        iommufd.getHwInfo({ device: 3 }),
  ),
  onIommufd(
    'attach of a device, which makes a page table',
    async ({ bound }) =>
      () =>
        bound[0]!.attach(1),
  ),
  onIommufd(
    'attach of a second device',
    async ({ bound }) => {
      await bound[0]!.attach(1);
      return () => bound[1]!.attach(1);
    },
    // An EINVAL of one page table is not the end: another one is tried, or made.
    { detours: ['device-regions'] },
  ),
  onIommufd('attach to a page table', async (setting) => {
    const hwpt = await manualTable(setting);
    return () => setting.bound[0]!.attach(hwpt);
  }),
  onIommufd('replace of the address space of a device', async ({ iommufd, bound }) => {
    await iommufd.ioasCopy({
      from: 1,
      srcIova: APERTURE,
      to: 2,
      iova: 0x300_0000n,
      length: 3n * PAGE,
      prot: 'rw',
    });
    await bound[0]!.attach(1);
    return () => bound[0]!.replace(2);
  }),
  onIommufd('replace of the page table of a device', async (setting) => {
    const hwpt = await manualTable(setting);
    await setting.bound[0]!.attach(1);
    return () => setting.bound[0]!.replace(hwpt);
  }),
  onIommufd(
    'detach and unbind of a device',
    async ({ bound }) => {
      await bound[0]!.attach(1);
      return async () => {
        await bound[0]!.detach();
        await bound[0]!.unbind();
      };
    },
    { neverFails: true },
  ),
  onIommufd(
    'hwptAlloc',
    async ({ iommufd }) =>
      () =>
        iommufd.hwptAlloc({ device: 3, ioas: 1, nestParent: true }),
  ),
  onIommufd('setDirtyTracking', async (setting) => {
    const hwpt = await manualTable(setting);
    return () => setting.iommufd.setDirtyTracking({ hwpt, enable: true });
  }),
  onIommufd('getDirtyBitmap', async (setting) => {
    const hwpt = await manualTable(setting);
    await setting.iommufd.setDirtyTracking({ hwpt, enable: true });
    const request = { hwpt, iova: APERTURE, length: 7n * PAGE, pageSize: PAGE };
    return () => setting.iommufd.getDirtyBitmap(request);
  }),
  onIommufd('destroy of a page table', async (setting) => {
    const hwpt = await manualTable(setting);
    return () => setting.iommufd.destroy(hwpt);
  }),
  onIommufd('destroy of an address space', async ({ iommufd }) => {
    await iommufd.ioasCopy({ from: 1, srcIova: APERTURE, to: 2, length: PAGE, prot: 'r' });
    return () => iommufd.destroy(2);
  }),
  onIommufd(
    'accessCreate',
    async ({ iommufd }) =>
      () =>
        iommufd.accessCreate({ ioas: 1, needsPin: true }),
  ),
  onIommufd(
    'pin of an access',
    async ({ accesses }) =>
      () =>
        accesses[0]!.pin(APERTURE, 7n * PAGE),
  ),
  onIommufd(
    'replace of the address space of an access',
    async ({ accesses }) =>
      () =>
        accesses[0]!.replace(2),
  ),
  onIommufd(
    'detach and destroy of an access',
    async ({ accesses }) =>
      async () => {
        await accesses[0]!.detach();
        await accesses[0]!.destroy();
      },
    { neverFails: true },
  ),
  onIommufd('vfioMap', async ({ iommufd, bound }) => {
    await iommufd.vfioIoasSet(1);
    await bound[0]!.attach(1);
    const request = { iova: 0x200_0000n, uptr: RAM + 16n * PAGE, length: 2n * PAGE, prot: 'r' } as const;
    return () => iommufd.vfioMap(request);
  }),
  onIommufd(
    'vfioUnmap of a part of a mapping',
    async ({ iommufd, bound }) => {
      await iommufd.vfioIoasSet(2);
      await iommufd.vfioSetIommu(1);
      await bound[0]!.attach(2);
      await iommufd.vfioMap({ iova: 0x200_0000n, uptr: RAM + 16n * PAGE, length: 8n * PAGE, prot: 'rw' });
      return () => iommufd.vfioUnmap({ iova: 0x200_2000n, length: 3n * PAGE });
    },
    { partial: ['split'] },
  ),
  onIommufd(
    'vfioIoasSet',
    async ({ iommufd }) =>
      () =>
        iommufd.vfioIoasSet(2),
  ),
  onIommufd(
    'mockDomain of the test driver',
    async ({ driver }) =>
      () =>
        driver.mockDomain({ pt: 1 }),
  ),
  onIommufd('mockDomainReplace of the test driver', async ({ driver, iommufd }) => {
    await iommufd.ioasCopy({
      from: 1,
      srcIova: APERTURE,
      to: 2,
      iova: APERTURE,
      length: 7n * PAGE,
      prot: 'r',
    });
    const { testDevice } = await driver.mockDomain({ pt: 1 });
    return () => driver.mockDomainReplace({ testDevice, pt: 2 });
  }),
  onIommufd('createAccess and accessPages of the test driver', async ({ driver }) => {
    const file = await driver.createAccess({ ioas: 1, flags: 1 });
    return () => driver.accessPages(file, { iova: APERTURE, length: 4n * PAGE, flags: 0 });
  }),
  onIommufd(
    'close',
    async ({ iommufd, bound }) => {
      await bound[0]!.attach(1);
      await bound[1]!.attach(2);
      return () => iommufd.close();
    },
    { neverFails: true },
  ),
  {
    name: 'map into a mock domain with huge io pages, at each of its calls',
    neverFails: false,
    prepare: async (faults) => {
      // Later kernels map a request in one call.
      const profile = 'linux-6.12';
      const memory = new ProcessMemory();
      memory.mmap({ uptr: RAM, length: 0x40_0000n });
      const iommufd = new Iommufd({ memory, faults, profile });
      const ioas = await iommufd.ioasAlloc();
      const table = iommufd.ioasTable(ioas);
      const domain = new MockDomain({ huge: true, profile, faults });
      await table.addDomain(domain);
      return {
        call: () =>
          table.map({ iova: APERTURE + 0xff000n, uptr: RAM + 0xff000n, length: 0x20_2000n, prot: 'rw' }),
        state: () => [table.snapshot(), memory.physical.pinned, domain.mappedBytes],
        check: () => table.check(),
      };
    },
  },
];
