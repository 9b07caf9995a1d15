import { describe, expect, test } from 'vitest';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { getDirtyBitmap, setDirtyTracking } from '../../src/iommufd/dirty.js';
import { APERTURE, bindMock, closeClean, MAX, open, outcome, PAGE, RAM, type Setting } from './setting.js';

const LENGTH = 4n * PAGE;

/** A page table with dirty tracking over four mapped pages. */
async function tracked(setting: Setting) {
  const { iommufd } = setting;
  const ioas = await iommufd.ioasAlloc();
  const device = await bindMock(iommufd);
  const hwpt = await iommufd.hwptAlloc({ device: device.id, ioas, dirtyTracking: true });
  await iommufd.ioasMap({ ioas, iova: APERTURE, uptr: RAM, length: LENGTH, prot: 'rw' });
  return { ioas, device, hwpt };
}

test('marks are read by page size, cleared unless kept, and forgotten when tracking is enabled', async () => {
  const setting = open(undefined, { profile: 'linux-6.12' });
  const { iommufd, driver } = setting;
  const { hwpt } = await tracked(setting);
  const mark = (bits: number[]) =>
    driver.dirty({ hwpt, iova: APERTURE, length: LENGTH, pageSize: 2048n, bitmap: Uint8Array.from(bits) });
  const read = (pageSize: bigint, noClear: boolean, bitmap?: Uint8Array) =>
    iommufd.getDirtyBitmap({ hwpt, iova: APERTURE, length: LENGTH, pageSize, noClear, bitmap });
  expect(await outcome(mark([1]))).toBe('EINVAL');
  await iommufd.setDirtyTracking({ hwpt, enable: true });
  expect(await mark([0b1000_0011])).toBe(3);
  expect(await read(2048n, true)).toEqual(Uint8Array.of(0b1000_0011));
  expect(await read(4096n, true)).toEqual(Uint8Array.of(0b1001));
  expect(await read(1024n, true)).toEqual(Uint8Array.of(0b1111, 0b1100_0000));
  expect(await read(2048n, false, Uint8Array.of(0b100))).toEqual(Uint8Array.of(0b1000_0111));
  expect(await read(2048n, false)).toEqual(Uint8Array.of(0));
  await mark([0xff]);
  await iommufd.setDirtyTracking({ hwpt, enable: true });
  expect(await read(2048n, false)).toEqual(Uint8Array.of(0));
  await mark([0xff]);
  await iommufd.setDirtyTracking({ hwpt, enable: false });
  expect(await read(2048n, false)).toEqual(Uint8Array.of(0));
  await closeClean(setting);
});

test('marks of linux-7.3 are those of whole entries, and are read without tracking, too', async () => {
  const setting = open();
  const { iommufd, driver } = setting;
  const { hwpt } = await tracked(setting);
  const mark = (bits: number[]) =>
    driver.dirty({ hwpt, iova: APERTURE, length: LENGTH, pageSize: 2048n, bitmap: Uint8Array.from(bits) });
  const read = (pageSize: bigint, noClear: boolean, bitmap?: Uint8Array) =>
    iommufd.getDirtyBitmap({ hwpt, iova: APERTURE, length: LENGTH, pageSize, noClear, bitmap });
  expect(await outcome(mark([1]))).toBe('EINVAL');
  await iommufd.setDirtyTracking({ hwpt, enable: true });
  expect(await mark([0b1000_0011])).toBe(3);
  expect(await read(2048n, true)).toEqual(Uint8Array.of(0b1100_0011));
  expect(await read(4096n, true)).toEqual(Uint8Array.of(0b1001));
  expect(await read(1024n, true)).toEqual(Uint8Array.of(0b1111, 0b1111_0000));
  expect(await read(2048n, false, Uint8Array.of(0b100))).toEqual(Uint8Array.of(0b1100_0111));
  expect(await read(2048n, false)).toEqual(Uint8Array.of(0));
  await mark([0xff]);
  await iommufd.setDirtyTracking({ hwpt, enable: true });
  expect(await read(2048n, false)).toEqual(Uint8Array.of(0));
  await mark([0b100]);
  await iommufd.setDirtyTracking({ hwpt, enable: false });
  expect(await read(2048n, false)).toEqual(Uint8Array.of(0b1100));
  expect(await read(2048n, false)).toEqual(Uint8Array.of(0));
  await closeClean(setting);
});

describe('the request', () => {
  test('is checked in the order of the kernel', async () => {
    const setting = open();
    const { iommufd } = setting;
    const { hwpt, ioas } = await tracked(setting);
    const good = {
      flags: 0,
      hwptId: hwpt,
      iova: APERTURE,
      length: LENGTH,
      pageSize: 2048n,
      bitmap: new Uint8Array(1),
    };
    const get = (changes: Partial<typeof good>) =>
      outcome(getDirtyBitmap(iommufd.context, { ...good, ...changes }));
    expect(await get({ flags: 2, hwptId: 99 })).toBe('EOPNOTSUPP');
    expect(await get({ hwptId: ioas, length: 0n })).toBe('ENOENT');
    expect(await get({ length: 0n })).toBe('EINVAL');
    expect(await get({ length: MAX })).toBe('EOVERFLOW');
    expect(await get({ iova: APERTURE + 0x400n })).toBe('EINVAL');
    expect(await get({ length: 1000n })).toBe('EINVAL');
    expect(await get({ pageSize: 0n })).toBe('EINVAL');
    expect(await get({ pageSize: 8192n, iova: APERTURE + PAGE })).toBe('EINVAL');
    expect(await get({ pageSize: 3000n })).toBe('OK');
    expect(await get({})).toBe('OK');
    expect(await outcome(setDirtyTracking(iommufd.context, { flags: 2, hwptId: 99 }))).toBe('EOPNOTSUPP');
    expect(await outcome(setDirtyTracking(iommufd.context, { flags: 1, hwptId: 99 }))).toBe('ENOENT');
    await closeClean(setting);
  });

  test('needs a page table made for it, but only after its arguments are good', async () => {
    const setting = open();
    const { iommufd } = setting;
    const ioas = await iommufd.ioasAlloc();
    const hwpt = await (await bindMock(iommufd)).attach(ioas);
    const get = (length: bigint) =>
      outcome(iommufd.getDirtyBitmap({ hwpt, iova: APERTURE, length, pageSize: PAGE }));
    expect(await get(0n)).toBe('EINVAL');
    expect(await get(PAGE)).toBe('EOPNOTSUPP');
    for (const enable of [true, false]) {
      expect(await outcome(iommufd.setDirtyTracking({ hwpt, enable }))).toBe('EOPNOTSUPP');
    }
    await closeClean(setting);
  });

  test('over more than the aperture gets a bitmap of the aperture only', async () => {
    const setting = open();
    const { iommufd } = setting;
    const { hwpt } = await tracked(setting);
    const length = MAX - APERTURE + 1n;
    const bitmap = await iommufd.getDirtyBitmap({ hwpt, iova: APERTURE, length, pageSize: PAGE });
    expect(bitmap.length).toBe(Number((0x8000_0000n - APERTURE) / PAGE / 8n));
    await closeClean(setting);
  });

  test('of more bits than a buffer can have: ENOMEM', async () => {
    const setting = open();
    const { iommufd } = setting;
    const ioas = await iommufd.ioasAlloc();
    const { id: device } = await iommufd.deviceBind({
      name: 'nic',
      dirtyTracking: true,
      createDomain: () => new RadixDomain({ dirty: true }),
    });
    const hwpt = await iommufd.hwptAlloc({ device, ioas, dirtyTracking: true });
    const get = (length: bigint) =>
      outcome(iommufd.getDirtyBitmap({ hwpt, iova: 0n, length, pageSize: PAGE }));
    expect(await get(2n ** 46n + PAGE * 8n)).toBe('ENOMEM');
    expect(await get(2n ** 63n)).toBe('ENOMEM');
    await closeClean(setting);
  });
});
