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
  await closeClean({ driver, ...setting });
});

test.each([
  ['linux-7.3', 'ENOENT'],
  ['linux-6.12', 'EINVAL'],
] as const)('checkMap under %s: what comes first, arguments or page table', async (profile, first) => {
  const setting = open(undefined, { profile });
  const good = { hwpt: 99, iova: APERTURE, length: PAGE, uptr: RAM };
  const check = (changes: Partial<typeof good>) => outcome(setting.driver.checkMap({ ...good, ...changes }));
  expect(await check({})).toBe('ENOENT');
  expect(await check({ iova: APERTURE + 1n })).toBe(first);
  expect(await check({ uptr: MAX - 0x7ffn, length: 0x800n })).toBe(first);
  await closeClean(setting);
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

  test.each(['linux-7.3', 'linux-6.12'] as const)(
    'marks what is mapped, and counts it (%s)',
    async (profile) => {
      const setting = open(undefined, { profile });
      const { iommufd, driver } = setting;
      const ioas = await iommufd.ioasAlloc();
      const { device } = await driver.mockDomain({ pt: ioas });
      const hwpt = await iommufd.hwptAlloc({ device, ioas, dirtyTracking: true });
      await iommufd.ioasMap({ ioas, iova: 2n * APERTURE, uptr: RAM, length: PAGE, prot: 'rw' });
      await iommufd.setDirtyTracking({ hwpt, enable: true });
      const dirty = (iova: bigint, length: bigint, pageSize: bigint, bits: number[]) =>
        driver.dirty({ hwpt, iova, length, pageSize, bitmap: () => Uint8Array.from(bits) });
      expect(await outcome(dirty(2n * APERTURE, 16n * 2048n, 2048n, [0xff]))).toBe('EFAULT');
      const later = profile === 'linux-7.3';
      expect(await dirty(2n * APERTURE, 16n * 2048n, 2048n, [0xff, 0xff])).toBe(later ? 16 : 2);
      expect(await dirty(2n * APERTURE, 2048n, 2048n, [0xff])).toBe(1);
      const marked = async (at: bigint) => {
        await iommufd.setDirtyTracking({ hwpt, enable: true });
        const count = await dirty(at, PAGE, PAGE, [1]);
        const request = { hwpt, iova: 2n * APERTURE, length: PAGE, pageSize: 2048n };
        return [count, ...(await iommufd.getDirtyBitmap(request))];
      };
      // 6.12 looks the io page up by the address divided by the page size: any but 2048 bytes reach others.
      expect(await marked(2n * APERTURE)).toEqual(later ? [1, 0b11] : [0, 0]);
      expect(await marked(4n * APERTURE)).toEqual(later ? [1, 0] : [1, 0b01]);
      await closeClean(setting);
    },
  );
});

test('the memory limit has a least value and no effect', async () => {
  const setting = open();
  expect(await outcome(setting.driver.setTempMemoryLimit(11))).toBe('EINVAL');
  expect(await outcome(setting.driver.setTempMemoryLimit(12))).toBe('OK');
  await closeClean(setting);
});
