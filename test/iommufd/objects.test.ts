import { describe, expect, test } from 'vitest';
import {
  APERTURE,
  bindMock,
  closeClean,
  failure,
  gate,
  open,
  outcome,
  PAGE,
  RAM,
  slowly,
} from './setting.js';

describe('ids', () => {
  test('begin with 1, are shared by all kinds of objects, and the lowest free one is taken', async () => {
    const setting = open();
    const { iommufd, driver } = setting;
    expect(await iommufd.ioasAlloc()).toBe(1);
    expect(await driver.mockDomain({ pt: 1 })).toEqual({ testDevice: 2, device: 3, hwpt: 4 });
    expect(await iommufd.ioasAlloc()).toBe(5);
    const access = await iommufd.accessCreate({ ioas: 5 });
    expect(access.id).toBe(6);
    expect(await iommufd.hwptAlloc({ device: 3, ioas: 1 })).toBe(7);
    await iommufd.destroy(2);
    expect(await iommufd.ioasAlloc()).toBe(2);
    expect(await iommufd.ioasAlloc()).toBe(3);
    expect(await iommufd.ioasAlloc()).toBe(4);
    expect(await iommufd.ioasAlloc()).toBe(8);
    await closeClean(setting);
  });

  test('two devices on one address space share its automatic page table', async () => {
    const setting = open();
    const { iommufd, driver } = setting;
    await iommufd.ioasAlloc();
    expect(await driver.mockDomain({ pt: 1 })).toEqual({ testDevice: 2, device: 3, hwpt: 4 });
    expect(await driver.mockDomain({ pt: 1 })).toEqual({ testDevice: 5, device: 6, hwpt: 4 });
    await iommufd.destroy(2);
    expect(await outcome(iommufd.destroy(4))).toBe('EBUSY');
    await iommufd.destroy(5);
    expect(await outcome(iommufd.destroy(4))).toBe('ENOENT');
    expect(await iommufd.ioasAlloc()).toBe(2);
    await closeClean(setting);
  });

  test('a failed call uses none up', async () => {
    const setting = open();
    const { iommufd, driver } = setting;
    const ioas = await iommufd.ioasAlloc();
    await iommufd.ioasMap({ ioas, iova: 0x1000n, uptr: RAM, length: PAGE, prot: 'rw' });
    const { id: device } = await bindMock(iommufd);
    // The mapping lies outside the aperture of the mock domain.
    expect(await outcome(iommufd.hwptAlloc({ device, ioas }))).toBe('EADDRINUSE');
    expect(await outcome(driver.mockDomain({ pt: ioas }))).toBe('EADDRINUSE');
    expect(await outcome(driver.mockDomain({ pt: 77 }))).toBe('ENOENT');
    expect(await outcome(driver.mockDomain({ pt: device }))).toBe('EINVAL');
    expect(await outcome(driver.mockDomain({ pt: ioas, flags: 2 }))).toBe('EINVAL');
    expect(await outcome(driver.createAccess({ ioas: 77, flags: 0 }))).toBe('ENOENT');
    expect(await iommufd.ioasAlloc()).toBe(3);
    iommufd.check();
    await closeClean(setting);
  });

  test('are neither 0 nor of the wrong kind', async () => {
    const setting = open();
    const { iommufd } = setting;
    const ioas = await iommufd.ioasAlloc();
    expect(await outcome(iommufd.destroy(0))).toBe('ENOENT');
    expect(await outcome(iommufd.getHwInfo({ device: ioas }))).toBe('ENOENT');
    expect(await outcome(iommufd.setDirtyTracking({ hwpt: ioas, enable: false }))).toBe('ENOENT');
    const error = await failure(iommufd.setDirtyTracking({ hwpt: ioas, enable: false }));
    expect(error.message).toContain('object 1 is an address space, not a page table');
    await closeClean(setting);
  });
});

describe('destroy', () => {
  test('refuses what is in use, and says by whom', async () => {
    const setting = open();
    const { iommufd, driver } = setting;
    const ioas = await iommufd.ioasAlloc();
    const { testDevice, device, hwpt } = await driver.mockDomain({ pt: ioas });
    const access = await iommufd.accessCreate({ ioas });
    expect(await outcome(iommufd.destroy(ioas))).toBe('EBUSY');
    expect(await outcome(iommufd.destroy(hwpt))).toBe('EBUSY');
    expect(await outcome(iommufd.destroy(device))).toBe('EBUSY');
    expect(await outcome(iommufd.destroy(access.id))).toBe('EBUSY');
    expect((await failure(iommufd.destroy(ioas))).message).toContain('1 page table and 1 access');
    await iommufd.destroy(testDevice);
    expect(await outcome(iommufd.destroy(ioas))).toBe('EBUSY');
    await access.destroy();
    await iommufd.destroy(ioas);
    expect(await iommufd.ioasAlloc()).toBe(1);
    await closeClean(setting);
  });

  test('takes an address space with all its mappings', async () => {
    const setting = open();
    const { iommufd, memory } = setting;
    const from = await iommufd.ioasAlloc();
    const to = await iommufd.ioasAlloc();
    await iommufd.ioasMap({ ioas: from, iova: APERTURE, uptr: RAM, length: PAGE, prot: 'rw' });
    const device = await bindMock(iommufd);
    await device.attach(to);
    await iommufd.ioasCopy({ from, srcIova: APERTURE, to, length: PAGE, prot: 'r' });
    expect(memory.pins(RAM)).toBe(1);
    await iommufd.destroy(from);
    expect(memory.pins(RAM)).toBe(1);
    await device.unbind();
    expect(memory.pins(RAM)).toBe(0);
    await closeClean(setting);
  });

  test('a manual page table lives until it is destroyed, and only without devices', async () => {
    const setting = open();
    const { iommufd } = setting;
    const ioas = await iommufd.ioasAlloc();
    const device = await bindMock(iommufd);
    const hwpt = await iommufd.hwptAlloc({ device: device.id, ioas });
    expect(await device.attach(hwpt)).toBe(hwpt);
    expect(await outcome(iommufd.destroy(hwpt))).toBe('EBUSY');
    await device.detach();
    expect(iommufd.hwptDomain(hwpt)).toBe(iommufd.ioasTable(ioas).domains[0]);
    await iommufd.destroy(hwpt);
    expect(iommufd.ioasTable(ioas).domains).toEqual([]);
    await closeClean(setting);
  });

  test('an object that a call in progress works on is busy', async () => {
    const setting = open();
    const { iommufd, memory } = setting;
    const ioas = await iommufd.ioasAlloc();
    await (await bindMock(iommufd)).attach(ioas);
    const paging = gate();
    const slow = slowly(memory, paging.opened);
    const map = iommufd.ioasMap({ ioas, iova: APERTURE, uptr: RAM, length: PAGE, prot: 'rw', memory: slow });
    expect(await outcome(iommufd.destroy(ioas))).toBe('EBUSY');
    expect(await outcome(iommufd.ioasUnmap({ ioas, iova: APERTURE, length: PAGE }))).toBe('EBUSY');
    paging.open();
    expect(await map).toBe(APERTURE);
    await closeClean(setting);
  });
});

test('of two calls that wait to destroy the same object, one does, and the other finds nothing', async () => {
  const setting = open();
  const { iommufd, memory } = setting;
  const { opened, open: answer } = gate();
  const ioas = await iommufd.ioasAlloc();
  const { id: device } = await bindMock(iommufd);
  const hwpt = await iommufd.hwptAlloc({ device, ioas });
  const request = { ioas, iova: APERTURE, uptr: RAM, length: PAGE, prot: 'rw' } as const;
  const map = iommufd.ioasMap({ ...request, memory: slowly(memory, opened) });
  const another = iommufd.hwptAlloc({ device, ioas });
  const both = [outcome(iommufd.destroy(hwpt)), outcome(iommufd.destroy(hwpt))];
  answer();
  expect(await Promise.all([map, ...both])).toEqual([APERTURE, 'OK', 'ENOENT']);
  expect(await another).toBe(hwpt + 1);
  expect(await iommufd.ioasAlloc()).toBe(hwpt);
  await closeClean(setting);
});
