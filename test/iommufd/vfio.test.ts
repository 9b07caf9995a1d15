import { describe, expect, test } from 'vitest';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { vfioCheckExtension, vfioIoas, vfioMap, vfioUnmap } from '../../src/iommufd/vfio.js';
import { APERTURE, bindMock, closeClean, failure, MAX, open, outcome, PAGE, RAM } from './setting.js';

/** A context whose VFIO calls act on an address space. */
async function compat(lockedPages?: number, options?: Parameters<typeof open>[1]) {
  const setting = open(lockedPages, options);
  const ioas = await setting.iommufd.ioasAlloc();
  await setting.iommufd.vfioIoasSet(ioas);
  return { ...setting, ioas };
}

test('the compatibility address space is set, read and cleared, and goes with its object', async () => {
  const setting = open();
  const { iommufd } = setting;
  expect(await outcome(iommufd.vfioIoasGet())).toBe('ENODEV');
  expect(await outcome(iommufd.vfioIoasSet(1))).toBe('ENOENT');
  const ioas = await iommufd.ioasAlloc();
  await iommufd.vfioIoasSet(ioas);
  expect(await iommufd.vfioIoasGet()).toBe(ioas);
  await iommufd.vfioIoasClear();
  expect(await outcome(iommufd.vfioIoasGet())).toBe('ENODEV');
  await iommufd.vfioIoasSet(ioas);
  await iommufd.destroy(ioas);
  expect(await outcome(iommufd.vfioInfo())).toBe('ENODEV');
  expect(await outcome(vfioIoas(iommufd.context, { op: 3, ioasId: 0 }))).toBe('EOPNOTSUPP');
  await closeClean(setting);
});

test('extensions: cache coherency depends on the page tables', async () => {
  const setting = open();
  const { iommufd } = setting;
  const ask = (extension: number) => vfioCheckExtension(iommufd.context, extension);
  expect(await Promise.all([1, 3, 9].map(ask))).toEqual([1, 1, 1]);
  expect(await Promise.all([0, 2, 5, 6, 7, 8, 10, 99].map(ask))).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
  expect(await outcome(ask(4))).toBe('ENODEV');
  const ioas = await iommufd.ioasAlloc();
  await iommufd.vfioIoasSet(ioas);
  expect(await iommufd.vfioCheckExtension(4)).toBe(1);
  await (await bindMock(iommufd)).attach(ioas);
  expect(await iommufd.vfioCheckExtension(4)).toBe(0);
  await closeClean(setting);
});

test('type 1 disables large pages, type 1 v2 changes nothing', async () => {
  const { iommufd, ioas, ...setting } = await compat();
  expect(await outcome(iommufd.vfioSetIommu(2))).toBe('EINVAL');
  await iommufd.vfioSetIommu(3);
  expect(iommufd.ioasTable(ioas).largePages).toBe(true);
  await iommufd.vfioSetIommu(1);
  expect(iommufd.ioasTable(ioas).largePages).toBe(false);
  await iommufd.vfioSetIommu(3);
  expect(iommufd.ioasTable(ioas).largePages).toBe(false);
  await iommufd.vfioIoasClear();
  expect(await outcome(iommufd.vfioSetIommu(3))).toBe('ENODEV');
  expect(await outcome(iommufd.vfioSetIommu(2))).toBe('EINVAL');
  await closeClean({ iommufd, ...setting });
});

describe('unmap', () => {
  test('splits mappings in type 1', async () => {
    const { iommufd, ioas, ...setting } = await compat();
    await iommufd.vfioSetIommu(1);
    await (await bindMock(iommufd)).attach(ioas);
    await iommufd.vfioMap({ iova: APERTURE, uptr: RAM, length: 4n * PAGE, prot: 'rw' });
    expect(await iommufd.vfioUnmap({ iova: APERTURE + PAGE, length: PAGE })).toBe(PAGE);
    const areas = iommufd
      .ioasTable(ioas)
      .snapshot()
      .areas.map(({ iova, last }) => [iova, last]);
    expect(areas).toEqual([
      ['0x1000000', '0x1000fff'],
      ['0x1002000', '0x1003fff'],
    ]);
    iommufd.check();
    expect(await iommufd.vfioUnmap({ iova: APERTURE + PAGE, length: PAGE })).toBe(0n);
    expect(await iommufd.vfioUnmap({ all: true })).toBe(3n * PAGE);
    await closeClean({ iommufd, ...setting });
  });

  test('takes whole mappings in type 1 v2, and tells what went before it failed', async () => {
    const { iommufd, ioas, ...setting } = await compat();
    await iommufd.vfioMap({ iova: APERTURE, uptr: RAM, length: PAGE, prot: '' });
    await iommufd.vfioMap({ iova: APERTURE + PAGE, uptr: RAM, length: 2n * PAGE, prot: 'r' });
    const partial = await failure(iommufd.vfioUnmap({ iova: APERTURE, length: 2n * PAGE }));
    expect([partial.code, partial.unmapped]).toEqual(['ENOENT', PAGE]);
    const empty = await failure(iommufd.vfioUnmap({ iova: APERTURE, length: 0n }));
    expect([empty.code, empty.unmapped]).toEqual(['EINVAL', 0n]);
    const past = await failure(iommufd.vfioUnmap({ iova: MAX, length: 2n }));
    expect([past.code, past.unmapped]).toEqual(['EOVERFLOW', 0n]);
    const all = await failure(iommufd.vfioUnmap({ iova: APERTURE, all: true }));
    expect([all.code, all.unmapped]).toEqual(['EINVAL', undefined]);
    expect(ioas).toBe(1);
    await closeClean({ iommufd, ...setting });
  });

  test('that cannot split tells no bytes, and keeps the splits made', async () => {
    const { iommufd, ioas, ...setting } = await compat();
    await iommufd.vfioSetIommu(1);
    await iommufd.vfioMap({ iova: APERTURE, uptr: RAM, length: 4n * PAGE, prot: 'rw' });
    const error = await failure(iommufd.vfioUnmap({ iova: APERTURE + 0x800n, length: 2n * PAGE + 0x800n }));
    expect([error.code, error.unmapped]).toEqual(['EINVAL', undefined]);
    expect(
      iommufd
        .ioasTable(ioas)
        .snapshot()
        .areas.map(({ iova }) => iova),
    ).toEqual(['0x1000000', '0x1003000']);
    await closeClean({ iommufd, ...setting });
  });
});

test('flags and order of checks', async () => {
  const setting = open();
  const { context } = setting.iommufd;
  const map = { flags: 3, vaddr: RAM, iova: PAGE, size: PAGE };
  expect(await outcome(vfioMap(context, { ...map, flags: 4 }))).toBe('EINVAL');
  expect(await outcome(vfioMap(context, map))).toBe('ENODEV');
  expect(await outcome(vfioUnmap(context, { flags: 1, iova: 0n, size: 0n }))).toBe('EINVAL');
  const unmap = await failure(vfioUnmap(context, { flags: 2, iova: PAGE, size: 0n }));
  expect([unmap.code, unmap.unmapped]).toEqual(['ENODEV', undefined]);
  await closeClean(setting);
});

test.each([
  ['linux-7.3', 0x1f_ffff_f000n],
  ['linux-6.12', 0x1000n],
] as const)(
  'info has the page sizes that all page tables share, and the chain of capabilities: %s',
  async (profile, pageSizes) => {
    const { iommufd, ioas, ...setting } = await compat(undefined, { profile });
    const whole = [{ start: 0n, last: MAX }];
    expect(await iommufd.vfioInfo()).toEqual({
      flags: 3,
      pageSizes: 0xffff_ffff_ffff_f000n,
      ranges: whole,
      capabilities: [
        { id: 3, version: 1, offset: 24, next: 40, available: 0xffff_ffff },
        { id: 1, version: 1, offset: 40, next: 0, ranges: whole },
      ],
      size: 72,
    });
    await setting.driver.addReserved({ ioas, start: 0x3000_0000n, length: PAGE });
    await (await bindMock(iommufd)).attach(ioas);
    const info = await iommufd.vfioInfo();
    expect(info.pageSizes).toBe(pageSizes);
    expect(info.size).toBe(56 + 16 * 2);
    expect(info.ranges).toEqual([
      { start: 0x100_0000n, last: 0x2fff_ffffn },
      { start: 0x3000_1000n, last: 0x7fff_ffffn },
    ]);
    await closeClean({ iommufd, ...setting });
  },
);

test('info has the page sizes of whole pages as they are', async () => {
  const { iommufd, ioas, ...setting } = await compat();
  const nic = { name: 'nic', createDomain: () => new RadixDomain({ pageSizes: [2n ** 12n, 2n ** 21n] }) };
  await (await iommufd.deviceBind(nic)).attach(ioas);
  expect((await iommufd.vfioInfo()).pageSizes).toBe(0x20_1000n);
  await closeClean({ iommufd, ...setting });
});

test.each([
  ['linux-7.3', 'EINVAL'],
  ['linux-6.12', 'OK'],
] as const)('a mapping without permission, and a page table: %s', async (profile, expected) => {
  const { iommufd, ioas, ...setting } = await compat(undefined, { profile });
  const map = (iova: bigint) => outcome(iommufd.vfioMap({ iova, uptr: RAM, length: PAGE, prot: '' }));
  expect(await map(APERTURE)).toBe('OK');
  const device = await bindMock(iommufd);
  expect(await outcome(device.attach(ioas))).toBe(expected);
  expect(await iommufd.vfioUnmap({ all: true })).toBe(PAGE);
  expect(await outcome(device.detach())).toBe('OK');
  expect(await outcome(device.attach(ioas))).toBe('OK');
  expect(await map(APERTURE)).toBe(expected);
  await closeClean({ iommufd, ...setting });
});

test('mappings are charged as the context says', async () => {
  const { iommufd, ioas, ...setting } = await compat(4);
  await (await bindMock(iommufd)).attach(ioas);
  const map = (iova: bigint, pages: bigint) =>
    outcome(iommufd.vfioMap({ iova, uptr: RAM, length: pages * PAGE, prot: 'rw' }));
  expect(await map(APERTURE, 4n)).toBe('OK');
  expect(await map(APERTURE + 0x10000n, 1n)).toBe('ENOMEM');
  expect(setting.memory.locked?.user.lockedPages).toBe(4);
  await closeClean({ iommufd, ...setting });
});
