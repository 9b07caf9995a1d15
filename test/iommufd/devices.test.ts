import { describe, expect, test } from 'vitest';
import type { IommuDomain } from '../../src/domain/iommu-domain.js';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { refuse } from '../../src/errors.js';
import type { DomainRequest, IommuDevice } from '../../src/iommufd/iommu-device.js';
import type { ReservedRegion } from '../../src/table/reservations.js';
import { MOCK_FLAGS } from '../../src/testing/mock-device.js';
import { APERTURE, bindMock, closeClean, gate, open, outcome, PAGE, RAM, slowly } from './setting.js';

/** A device that remembers which domain it uses. */
class Nic implements IommuDevice {
  readonly name = 'nic';
  readonly dirtyTracking = true;
  readonly enforcesCoherency = true;
  readonly reservedRegions: readonly ReservedRegion[];
  domain: IommuDomain | undefined;
  refusal: 'EINVAL' | 'EBUSY' | undefined;
  /** Domains that were made and not freed. */
  readonly alive = new Set<IommuDomain>();

  constructor(reservedRegions: readonly ReservedRegion[] = []) {
    this.reservedRegions = reservedRegions;
  }

  createDomain({ dirtyTracking }: DomainRequest): RadixDomain {
    const domain = new RadixDomain({ dirty: dirtyTracking });
    this.alive.add(domain);
    return domain;
  }

  freeDomain(domain: IommuDomain): void {
    expect(this.domain).not.toBe(domain);
    expect(domain.mappedBytes).toBe(0n);
    expect(this.alive.delete(domain)).toBe(true);
  }

  attach(domain: IommuDomain): void {
    if (this.refusal !== undefined) throw refuse(this.refusal, 'domain', 'not this one');
    this.domain = domain;
  }

  detach(): void {
    this.domain = undefined;
  }
}

describe('attach', () => {
  test('gives the device the domain of its page table, filled with what is mapped', async () => {
    const setting = open();
    const { iommufd, memory } = setting;
    const ioas = await iommufd.ioasAlloc();
    await iommufd.ioasMap({ ioas, iova: APERTURE, uptr: RAM, length: 4n * PAGE, prot: 'rw' });
    expect(memory.physical.pinned).toBe(0);
    const nic = new Nic();
    const bound = await iommufd.deviceBind(nic);
    const hwpt = await bound.attach(ioas);
    expect(bound.hwpt).toBe(hwpt);
    expect(nic.domain).toBe(iommufd.hwptDomain(hwpt));
    expect(nic.domain!.iovaToPhys(APERTURE + PAGE)).toBe(BigInt(memory.frameOf(RAM + PAGE)) * PAGE);
    expect(memory.physical.pinned).toBe(4);
    await bound.detach();
    expect(nic.domain).toBeUndefined();
    expect(nic.alive.size).toBe(0);
    expect(bound.hwpt).toBeUndefined();
    expect(memory.physical.pinned).toBe(0);
    expect(await outcome(iommufd.destroy(hwpt))).toBe('ENOENT');
    await closeClean(setting);
  });

  test('never takes a manual page table unless it is named', async () => {
    const setting = open();
    const { iommufd } = setting;
    const ioas = await iommufd.ioasAlloc();
    const device = await bindMock(iommufd);
    const manual = await iommufd.hwptAlloc({ device: device.id, ioas });
    const automatic = await device.attach(ioas);
    expect(automatic).not.toBe(manual);
    expect(await device.replace(manual)).toBe(manual);
    expect(await outcome(iommufd.destroy(automatic))).toBe('ENOENT');
    await closeClean(setting);
  });

  test('tries the next automatic table after an EINVAL, and gives up after any other error', async () => {
    const setting = open();
    const { iommufd } = setting;
    const ioas = await iommufd.ioasAlloc();
    const first = await iommufd.deviceBind(new Nic());
    const hwpt = await first.attach(ioas);
    const picky = new Nic();
    let offers = 0;
    picky.attach = (domain) => {
      offers += 1;
      if (domain === iommufd.hwptDomain(hwpt)) throw refuse('EINVAL', 'domain', 'not this one');
      picky.domain = domain;
    };
    const second = await iommufd.deviceBind(picky);
    expect(await second.attach(ioas)).not.toBe(hwpt);
    expect(offers).toBe(2);
    const broken = new Nic();
    broken.refusal = 'EBUSY';
    const third = await iommufd.deviceBind(broken);
    expect(await outcome(third.attach(ioas))).toBe('EBUSY');
    expect([broken.alive.size, picky.alive.size]).toEqual([0, 1]);
    await closeClean(setting);
  });

  test('is undone where a mapping cannot be pinned: no id, no reservation, no device on the table', async () => {
    const setting = open();
    const { iommufd, memory } = setting;
    const ioas = await iommufd.ioasAlloc();
    await iommufd.ioasMap({ ioas, iova: APERTURE, uptr: RAM - PAGE, length: 2n * PAGE, prot: 'rw' });
    const nic = new Nic([{ start: 0xfee0_0000n, length: 0x10_0000n, type: 'msi' }]);
    const bound = await iommufd.deviceBind(nic);
    const before = iommufd.ioasTable(ioas).snapshot();
    expect(await outcome(bound.attach(ioas))).toBe('EFAULT');
    expect(iommufd.ioasTable(ioas).snapshot()).toEqual(before);
    expect(nic.domain).toBeUndefined();
    expect(await outcome(iommufd.hwptAlloc({ device: bound.id, ioas }))).toBe('EFAULT');
    expect(nic.alive.size).toBe(0);
    expect(memory.physical.pinned).toBe(0);
    expect(await iommufd.ioasAlloc()).toBe(3);
    await closeClean(setting);
  });

  test('of an attached, a missing or an unbound device, or to nothing, is refused', async () => {
    const setting = open();
    const { iommufd } = setting;
    const ioas = await iommufd.ioasAlloc();
    const device = await bindMock(iommufd);
    expect(await outcome(device.replace(ioas))).toBe('EINVAL');
    expect(await outcome(device.attach(99))).toBe('ENOENT');
    expect(await outcome(device.attach(device.id))).toBe('EINVAL');
    await device.attach(ioas);
    expect(await outcome(device.attach(ioas))).toBe('EINVAL');
    await Promise.all([device.unbind(), device.unbind()]);
    await device.unbind();
    expect(await outcome(device.attach(ioas))).toBe('ENOENT');
    await closeClean(setting);
  });

  test('a device without dirty tracking cannot use a table made for it', async () => {
    const setting = open();
    const { iommufd, driver } = setting;
    const ioas = await iommufd.ioasAlloc();
    const able = await bindMock(iommufd);
    const unable = await bindMock(iommufd, MOCK_FLAGS.NO_DIRTY);
    const refused = iommufd.hwptAlloc({ device: unable.id, ioas, dirtyTracking: true });
    expect(await outcome(refused)).toBe('EOPNOTSUPP');
    const hwpt = await iommufd.hwptAlloc({ device: able.id, ioas, dirtyTracking: true });
    expect(await outcome(unable.attach(hwpt))).toBe('EINVAL');
    expect(await outcome(driver.mockDomain({ pt: hwpt, flags: MOCK_FLAGS.NO_DIRTY }))).toBe('EINVAL');
    expect((await iommufd.getHwInfo({ device: unable.id })).capabilities).toBe(8n);
    expect(await iommufd.getHwInfo({ device: able.id })).toEqual({
      type: 0xfeed_beef,
      data: Uint8Array.of(0, 0, 0, 0, 0xef, 0xbe, 0xad, 0xde),
      maxPasidLog2: 0,
      capabilities: 9n,
    });
    await closeClean(setting);
  });
});

describe('replace', () => {
  test('moves the device, and the automatic table goes with its last device', async () => {
    const setting = open();
    const { iommufd, driver } = setting;
    const [here, there] = [await iommufd.ioasAlloc(), await iommufd.ioasAlloc()];
    const a = await driver.mockDomain({ pt: here });
    const b = await driver.mockDomain({ pt: here });
    expect(await driver.mockDomainReplace({ testDevice: a.testDevice, pt: here })).toBe(a.hwpt);
    const moved = await driver.mockDomainReplace({ testDevice: a.testDevice, pt: there });
    expect(moved).not.toBe(a.hwpt);
    expect(iommufd.ioasTable(here).domains).toHaveLength(1);
    expect(await driver.mockDomainReplace({ testDevice: b.testDevice, pt: moved })).toBe(moved);
    expect(iommufd.ioasTable(here).domains).toHaveLength(0);
    expect(await outcome(iommufd.destroy(a.hwpt))).toBe('ENOENT');
    expect(await outcome(driver.mockDomainReplace({ testDevice: a.device, pt: here }))).toBe('ENOENT');
    expect(await outcome(driver.mockDomainReplace({ testDevice: a.testDevice, pt: a.device }))).toBe(
      'EINVAL',
    );
    expect(await outcome(driver.mockDomainReplace({ testDevice: a.testDevice, pt: 99 }))).toBe('ENOENT');
    await closeClean(setting);
  });

  test('that fails leaves the device where it was', async () => {
    const setting = open();
    const { iommufd } = setting;
    const [here, there] = [await iommufd.ioasAlloc(), await iommufd.ioasAlloc()];
    await iommufd.ioasMap({ ioas: there, iova: APERTURE, uptr: RAM - PAGE, length: PAGE, prot: 'r' });
    const nic = new Nic([{ start: 0x8000_0000n, length: PAGE, type: 'direct' }]);
    const bound = await iommufd.deviceBind(nic);
    const hwpt = await bound.attach(here);
    const reserved = iommufd.ioasTable(here).snapshot().reserved;
    expect(await outcome(bound.replace(there))).toBe('EFAULT');
    expect(bound.hwpt).toBe(hwpt);
    expect(nic.domain).toBe(iommufd.hwptDomain(hwpt));
    expect(nic.alive.size).toBe(1);
    expect(iommufd.ioasTable(here).snapshot().reserved).toEqual(reserved);
    expect(iommufd.ioasTable(there).snapshot().reserved).toEqual([]);
    await closeClean(setting);
  });

  test('two devices can change places at the same time', async () => {
    const setting = open();
    const { iommufd } = setting;
    const [here, there] = [await iommufd.ioasAlloc(), await iommufd.ioasAlloc()];
    const [a, b] = [await bindMock(iommufd), await bindMock(iommufd)];
    await a.attach(here);
    await b.attach(there);
    await Promise.all([a.replace(there), b.replace(here)]);
    expect(iommufd.ioasTable(here).domains).toEqual([iommufd.hwptDomain(b.hwpt!)]);
    expect(iommufd.ioasTable(there).domains).toEqual([iommufd.hwptDomain(a.hwpt!)]);
    await closeClean(setting);
  });
});

test('a test device can be destroyed while it is moving', async () => {
  const setting = open();
  const { iommufd, driver, memory } = setting;
  const [here, there] = [await iommufd.ioasAlloc(), await iommufd.ioasAlloc()];
  const paging = gate();
  const slow = slowly(memory, paging.opened);
  await iommufd.ioasMap({ ioas: there, iova: APERTURE, uptr: RAM, length: PAGE, prot: 'r', memory: slow });
  const { testDevice, device } = await driver.mockDomain({ pt: here });
  const moving = outcome(driver.mockDomainReplace({ testDevice, pt: there }));
  const destroying = outcome(iommufd.destroy(testDevice));
  const late = outcome(driver.mockDomainReplace({ testDevice, pt: here }));
  paging.open();
  expect(await Promise.all([moving, destroying, late])).toEqual(['OK', 'OK', 'ENOENT']);
  expect(await outcome(iommufd.getHwInfo({ device }))).toBe('ENOENT');
  expect(iommufd.ioasTable(there).domains).toEqual([]);
  await closeClean(setting);
});

describe('reserved regions', () => {
  const regions = (...types: ReservedRegion['type'][]): ReservedRegion[] =>
    types.map((type, at) => ({ start: 0x1000_0000n * BigInt(at + 1), length: PAGE, type }));

  test('are reserved while the device is attached; relaxable ones are not', async () => {
    const setting = open();
    const { iommufd } = setting;
    const ioas = await iommufd.ioasAlloc();
    const bound = await iommufd.deviceBind(
      new Nic(regions('direct', 'direct-relaxable', 'reserved', 'sw-msi')),
    );
    await bound.attach(ioas);
    expect(bound.msiWindow).toBe(0x4000_0000n);
    expect(
      iommufd
        .ioasTable(ioas)
        .snapshot()
        .reserved.map(({ start }) => start),
    ).toEqual(['0x10000000', '0x30000000', '0x40000000']);
    const map = (iova: bigint) => iommufd.ioasMap({ ioas, iova, uptr: RAM, length: PAGE, prot: 'rw' });
    expect(await outcome(map(0x1000_0000n))).toBe('EINVAL');
    expect(await outcome(map(0x2000_0000n))).toBe('OK');
    await bound.detach();
    expect(bound.msiWindow).toBeUndefined();
    expect(await outcome(map(0x1000_0000n))).toBe('OK');
    expect(await outcome(bound.attach(ioas))).toBe('EADDRINUSE');
    expect(iommufd.ioasTable(ioas).domains).toEqual([]);
    await closeClean(setting);
  });

  test('of a hardware and a software MSI window together are refused', async () => {
    const setting = open();
    const { iommufd } = setting;
    const ioas = await iommufd.ioasAlloc();
    for (const types of [regions('msi', 'sw-msi'), regions('sw-msi', 'sw-msi')]) {
      const bound = await iommufd.deviceBind(new Nic(types));
      expect(await outcome(bound.attach(ioas))).toBe('EINVAL');
    }
    expect(iommufd.ioasTable(ioas).snapshot().reserved).toEqual([]);
    await closeClean(setting);
  });
});
