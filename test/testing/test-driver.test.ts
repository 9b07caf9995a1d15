import { describe, expect, test } from 'vitest';
import { pagePins } from '../../src/testing/checks.js';
import {
  APERTURE,
  closeClean,
  MAX,
  open,
  outcome,
  PAGE,
  RAM,
  RAM_LENGTH,
  ROM,
  ROM_LENGTH,
} from '../iommufd/setting.js';

/** A mock device over two pages. */
async function mapped() {
  const setting = open();
  const ioas = await setting.iommufd.ioasAlloc();
  const { hwpt } = await setting.driver.mockDomain({ pt: ioas });
  await setting.iommufd.ioasMap({ ioas, iova: APERTURE, uptr: RAM + 0x800n, length: 2n * PAGE, prot: 'rw' });
  return { ...setting, ioas, hwpt };
}

test('checkMap finds the bytes behind every io page, or says where it does not', async () => {
  const { driver, hwpt, ...setting } = await mapped();
  const good = { hwpt, iova: APERTURE, length: 2n * PAGE, uptr: RAM + 0x800n };
  const check = (changes: Partial<typeof good>) => outcome(driver.checkMap({ ...good, ...changes }));
  expect(await check({})).toBe('OK');
  expect(await check({ iova: APERTURE + 0x800n, uptr: RAM + 0x1000n, length: 0x800n })).toBe('OK');
  expect(await check({ uptr: RAM })).toBe('EINVAL');
  expect(await check({ length: 3n * PAGE })).toBe('EINVAL');
  expect(await check({ length: 0n, uptr: 0n })).toBe('OK');
  expect(await check({ uptr: 0x1000n })).toBe('EFAULT');
  expect(await check({ hwpt: 99 })).toBe('ENOENT');
  expect(await check({ hwpt: 99, iova: APERTURE + 1n })).toBe('EINVAL');
  expect(await check({ hwpt: 99, uptr: MAX - 0x7ffn, length: 0x800n })).toBe('EINVAL');
  await closeClean({ driver, ...setting });
});

test('checkRefs and pagePins count the pins of each page', async () => {
  const { driver, memory, ...setting } = await mapped();
  const check = (uptr: bigint, length: bigint, refs: number) =>
    outcome(driver.checkRefs({ uptr, length, refs }));
  expect(await check(RAM, 3n * PAGE, 1)).toBe('OK');
  expect(await check(RAM, 4n * PAGE, 1)).toBe('EIO');
  expect(await check(RAM + 3n * PAGE, PAGE, 0)).toBe('OK');
  expect(await check(RAM + 1n, PAGE, 0)).toBe('EINVAL');
  expect(await check(RAM, PAGE + 1n, 0)).toBe('EINVAL');
  expect(await check(MAX - 0xfffn, PAGE, 0)).toBe('EINVAL');
  expect(await check(0n, PAGE, 0)).toBe('EFAULT');
  expect(await check(0n, 0n, 5)).toBe('OK');
  expect(pagePins(memory, { uptr: RAM, length: RAM_LENGTH + ROM_LENGTH })).toEqual([
    { pages: 3, pins: 1 },
    { pages: Number((RAM_LENGTH + ROM_LENGTH) / PAGE) - 3, pins: 0 },
  ]);
  expect(() => pagePins(memory, { uptr: ROM, length: ROM_LENGTH + PAGE })).toThrow('EFAULT');
  await closeClean({ driver, memory, ...setting });
});

test('addReserved reserves for good', async () => {
  const { driver, iommufd, ioas, ...setting } = await mapped();
  const add = (start: bigint, length: bigint, where = ioas) =>
    outcome(driver.addReserved({ ioas: where, start, length }));
  expect(await add(PAGE, 0n, 99)).toBe('EINVAL');
  expect(await add(MAX, 2n, 99)).toBe('EOVERFLOW');
  expect(await add(PAGE, PAGE, 99)).toBe('ENOENT');
  expect(await add(APERTURE, PAGE)).toBe('EADDRINUSE');
  expect(await add(0x3000_0000n, PAGE)).toBe('OK');
  const map = iommufd.ioasMap({ ioas, iova: 0x3000_0000n, uptr: RAM, length: PAGE, prot: 'r' });
  expect(await outcome(map)).toBe('EINVAL');
  await closeClean({ driver, iommufd, ...setting });
});

describe('dirty', () => {
  test('checks its arguments in the order of the test driver', async () => {
    const { driver, iommufd, hwpt, ioas, ...setting } = await mapped();
    const good = { hwpt, iova: APERTURE, length: PAGE, pageSize: 2048n, bitmap: Uint8Array.of(1) };
    const dirty = (changes: Partial<typeof good>) => outcome(driver.dirty({ ...good, ...changes }));
    expect(await dirty({ pageSize: 0n, hwpt: 99 })).toBe('EINVAL');
    expect(await dirty({ length: 0n, hwpt: 99 })).toBe('EINVAL');
    expect(await dirty({ iova: APERTURE + 1n, hwpt: 99 })).toBe('EINVAL');
    expect(await dirty({ length: PAGE + 1n, hwpt: 99 })).toBe('EINVAL');
    expect(await dirty({ length: 2048n * (2n ** 27n + 1n), hwpt: 99 })).toBe('EOVERFLOW');
    expect(await dirty({ hwpt: 99 })).toBe('ENOENT');
    expect(await dirty({})).toBe('EINVAL');
    expect(ioas).toBe(1);
    await closeClean({ driver, iommufd, ...setting });
  });

  test('marks io pages that are mapped; other page sizes than 2048 reach other io pages', async () => {
    const setting = open();
    const { iommufd, driver } = setting;
    const ioas = await iommufd.ioasAlloc();
    const { device } = await driver.mockDomain({ pt: ioas });
    const hwpt = await iommufd.hwptAlloc({ device, ioas, dirtyTracking: true });
    await iommufd.ioasMap({ ioas, iova: 2n * APERTURE, uptr: RAM, length: PAGE, prot: 'rw' });
    await iommufd.setDirtyTracking({ hwpt, enable: true });
    const dirty = (iova: bigint, length: bigint, pageSize: bigint, bits: number[]) =>
      driver.dirty({ hwpt, iova, length, pageSize, bitmap: () => Uint8Array.from(bits) });
    expect(await outcome(dirty(2n * APERTURE, 16n * 2048n, 2048n, [0xff]))).toBe('EFAULT');
    expect(await dirty(2n * APERTURE, 16n * 2048n, 2048n, [0xff, 0xff])).toBe(2);
    expect(await dirty(2n * APERTURE, 2048n, 2048n, [0xff])).toBe(1);
    expect(await dirty(2n * APERTURE, PAGE, PAGE, [1])).toBe(0);
    expect(await dirty(4n * APERTURE, PAGE, PAGE, [1])).toBe(1);
    await closeClean(setting);
  });
});

test('the memory limit has a least value and no effect', async () => {
  const setting = open();
  expect(await outcome(setting.driver.setTempMemoryLimit(11))).toBe('EINVAL');
  expect(await outcome(setting.driver.setTempMemoryLimit(12))).toBe('OK');
  await closeClean(setting);
});
