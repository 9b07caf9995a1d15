import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AccessFiles } from '../../src/testing/access-files.js';
import { MOCK_ACCESS } from '../../src/testing/mock-access.js';
import { TestDriver } from '../../src/testing/test-driver.js';
import {
  APERTURE,
  bindMock,
  closeClean,
  MAX,
  open,
  outcome,
  PAGE,
  RAM,
  ROM,
  type Setting,
} from '../iommufd/setting.js';

const SIXTEEN_MIB = 0x100_0000n;

/** A pinning access over four pages. */
async function pinning(setting: Setting) {
  const { iommufd, driver } = setting;
  const ioas = await iommufd.ioasAlloc();
  await iommufd.ioasMap({ ioas, iova: APERTURE, uptr: RAM, length: 4n * PAGE, prot: 'rw' });
  const file = await driver.createAccess({ ioas, flags: 1 });
  return { ioas, file };
}

describe('items', () => {
  test('are numbered from 0, and a failed pin uses no number up', async () => {
    const setting = open();
    const { driver } = setting;
    const { file } = await pinning(setting);
    const pin = (iova: bigint) => driver.accessPages(file, { iova, length: PAGE, flags: 0 });
    expect(await pin(APERTURE)).toBe(0);
    expect(await outcome(pin(APERTURE + 4n * PAGE))).toBe('ENOENT');
    expect(await pin(APERTURE)).toBe(1);
    await driver.destroyAccessPages(file, 0);
    expect(await outcome(driver.destroyAccessPages(file, 0))).toBe('ENOENT');
    expect(await pin(APERTURE)).toBe(2);
    await driver.closeAccess(file);
    await closeClean(setting);
  });

  test('are dropped whole when a part of them is unmapped', async () => {
    const setting = open();
    const { iommufd, driver, memory } = setting;
    const { ioas, file } = await pinning(setting);
    await iommufd.ioasMap({
      ioas,
      iova: APERTURE + 4n * PAGE,
      uptr: RAM + 8n * PAGE,
      length: PAGE,
      prot: 'rw',
    });
    const pin = (iova: bigint, length: bigint) => driver.accessPages(file, { iova, length, flags: 0 });
    const across = await pin(APERTURE + 3n * PAGE, 2n * PAGE);
    const beside = await pin(APERTURE, PAGE);
    expect([RAM, RAM + 3n * PAGE, RAM + 8n * PAGE].map((page) => memory.pins(page))).toEqual([1, 1, 1]);
    await iommufd.ioasUnmap({ ioas, iova: APERTURE + 4n * PAGE, length: PAGE });
    expect([RAM, RAM + 3n * PAGE, RAM + 8n * PAGE].map((page) => memory.pins(page))).toEqual([1, 0, 0]);
    expect(await outcome(driver.destroyAccessPages(file, across))).toBe('ENOENT');
    await driver.destroyAccessPages(file, beside);
    await closeClean(setting);
  });

  test('never make an unmap fail, however pins and unmaps come together', async () => {
    const range = fc.record({ first: fc.nat({ max: 3 }), count: fc.integer({ min: 1, max: 4 }) });
    await fc.assert(
      fc.asyncProperty(fc.array(range, { maxLength: 12 }), fc.nat({ max: 12 }), async (pins, at) => {
        const setting = open();
        const { iommufd, driver, memory } = setting;
        const { ioas, file } = await pinning(setting);
        const calls = pins.map(({ first, count }, index) => async () => {
          if (index === at) await iommufd.ioasUnmap({ ioas, iova: APERTURE, length: 4n * PAGE });
          const iova = APERTURE + BigInt(first) * PAGE;
          const length = BigInt(Math.min(count, 4 - first)) * PAGE;
          return await outcome(driver.accessPages(file, { iova, length, flags: 0 }));
        });
        const answers = await Promise.all(calls.map((call) => call()));
        for (const answer of answers) expect(['OK', 'EINVAL', 'ENOENT']).toContain(answer);
        const unmapped = at < pins.length;
        expect(iommufd.ioasTable(ioas).snapshot().areas).toHaveLength(unmapped ? 0 : 1);
        if (unmapped) expect(memory.physical.pinned).toBe(0);
        await closeClean(setting);
      }),
    );
  });
});

describe('checks come in the order of the test driver', () => {
  test('of a pin', async () => {
    const setting = open();
    const { iommufd, driver, memory } = setting;
    const { ioas, file } = await pinning(setting);
    const rw = await driver.createAccess({ ioas, flags: 0 });
    const good = { iova: APERTURE, length: PAGE, flags: 0, uptr: RAM };
    const pin = (which: number, changes: Partial<typeof good>) =>
      outcome(driver.accessPages(which, { ...good, ...changes }));
    expect(await pin(99, { length: SIXTEEN_MIB + 1n, flags: 4 })).toBe('ENOMEM');
    expect(await pin(99, { flags: 4 })).toBe('EOPNOTSUPP');
    expect(await pin(99, { length: 0n })).toBe('EBADFD');
    expect(await pin(rw, { length: 0n })).toBe('EOPNOTSUPP');
    expect(await pin(file, { length: 0n })).toBe('EINVAL');
    expect(await pin(file, { iova: MAX })).toBe('EOVERFLOW');
    expect(await pin(file, { uptr: RAM + PAGE })).toBe('EBADE');
    expect(await pin(file, { uptr: 0x1000n })).toBe('EFAULT');
    expect(memory.pins(RAM)).toBe(0);
    expect(await pin(file, { uptr: 0n })).toBe('OK');
    expect(await pin(file, { length: 100n, uptr: RAM })).toBe('OK');
    await iommufd.ioasMap({ ioas, iova: 0x2000_0000n, uptr: ROM, length: PAGE, prot: 'r' });
    expect(await pin(file, { iova: 0x2000_0000n, uptr: ROM, flags: MOCK_ACCESS.WRITE })).toBe('EPERM');
    await closeClean(setting);
  });

  test('of a read and a write', async () => {
    const setting = open();
    const { driver } = setting;
    const { file } = await pinning(setting);
    const good = { iova: APERTURE, length: 8n, flags: 0 };
    const rw = (which: number, changes: Partial<typeof good>, source?: () => Uint8Array) =>
      outcome(driver.accessRw(which, { ...good, ...changes, source }));
    const faulting = () => {
      throw new RangeError('unreadable');
    };
    expect(await rw(99, { length: SIXTEEN_MIB + 1n, flags: 2 })).toBe('ENOMEM');
    expect(await rw(99, { flags: 2 })).toBe('EOPNOTSUPP');
    expect(await rw(99, { flags: MOCK_ACCESS.WRITE }, faulting)).toBe('EBADFD');
    await expect(rw(file, { iova: 0n, flags: MOCK_ACCESS.WRITE }, faulting)).rejects.toThrow('unreadable');
    expect(await rw(file, { iova: 0n, flags: MOCK_ACCESS.WRITE })).toBe('ENOENT');
    expect(await rw(file, { length: 0n })).toBe('EINVAL');
    await closeClean(setting);
  });

  test('of a closed access', async () => {
    const setting = open();
    const { driver } = setting;
    const { ioas, file } = await pinning(setting);
    await driver.closeAccess(file);
    expect(await outcome(driver.closeAccess(file))).toBe('EBADFD');
    expect(await outcome(driver.accessReplaceIoas(file, ioas))).toBe('EBADFD');
    expect(await outcome(driver.destroyAccessPages(file, 0))).toBe('EBADFD');
    await closeClean(setting);
  });
});

test('written bytes arrive in the memory, by either path', async () => {
  const setting = open();
  const { driver, memory } = setting;
  const { file } = await pinning(setting);
  const bytes = Uint8Array.from({ length: 5000 }, (_, at) => at);
  for (const [offset, slow] of [
    [1n, 0],
    [6000n, MOCK_ACCESS.SLOW_PATH],
  ] as const) {
    const where = { iova: APERTURE + offset, length: BigInt(bytes.length) };
    await driver.accessRw(file, { ...where, flags: MOCK_ACCESS.WRITE | slow, source: () => bytes });
    expect(memory.read(RAM + offset, BigInt(bytes.length))).toEqual(bytes);
    expect(await driver.accessRw(file, { ...where, flags: slow })).toEqual(bytes);
  }
  await closeClean(setting);
});

test('moving to another address space drops the items only if it succeeds', async () => {
  const setting = open();
  const { iommufd, driver, memory } = setting;
  const { ioas, file } = await pinning(setting);
  const there = await iommufd.ioasAlloc();
  const item = await driver.accessPages(file, { iova: APERTURE, length: PAGE, flags: 0 });
  expect(await outcome(driver.accessReplaceIoas(file, 99))).toBe('ENOENT');
  await driver.accessReplaceIoas(file, ioas);
  expect(memory.pins(RAM)).toBe(1);
  await driver.accessReplaceIoas(file, there);
  expect(memory.pins(RAM)).toBe(0);
  expect(await outcome(driver.destroyAccessPages(file, item))).toBe('ENOENT');
  await closeClean(setting);
});

test('files can be shared by the drivers of several contexts, and take the lowest free number', async () => {
  const setting = open();
  const { iommufd, memory } = setting;
  const files = new AccessFiles();
  const [a, b] = [new TestDriver(iommufd, { memory, files }), new TestDriver(iommufd, { memory, files })];
  const ioas = await iommufd.ioasAlloc();
  expect(await a.createAccess({ ioas, flags: 0 })).toBe(0);
  expect(await b.createAccess({ ioas, flags: 0 })).toBe(1);
  await b.closeAccess(0);
  expect(await outcome(a.accessReplaceIoas(0, ioas))).toBe('EBADFD');
  expect(await b.createAccess({ ioas, flags: 0 })).toBe(0);
  expect(await outcome(a.createAccess({ ioas, flags: 2 }))).toBe('EOPNOTSUPP');
  await closeClean(setting);
});

test('pages that a domain has pinned are shared with it', async () => {
  const setting = open();
  const { iommufd, driver, memory } = setting;
  const { ioas, file } = await pinning(setting);
  await (await bindMock(iommufd)).attach(ioas);
  await driver.accessPages(file, { iova: APERTURE, length: 2n * PAGE, flags: 0, uptr: RAM });
  expect(memory.pins(RAM)).toBe(1);
  await driver.checkRefs({ uptr: RAM, length: 4n * PAGE, refs: 1 });
  await closeClean(setting);
});
