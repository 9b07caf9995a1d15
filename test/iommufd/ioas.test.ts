import { describe, expect, test } from 'vitest';
import {
  IOAS_MAP,
  type IoasCopyFields,
  type IovaRanges,
  ioasAllowIovas,
  ioasCopy,
  ioasMap,
  PartialAnswerError,
} from '../../src/iommufd/ioas-commands.js';
import { bindMock, closeClean, failure, MAX, open, outcome, PAGE, RAM } from './setting.js';

describe('map', () => {
  test.each([
    ['linux-7.3', 'EOVERFLOW'],
    ['linux-6.12', 'EINVAL'],
  ] as const)('checks its arguments in the order of the kernel: %s', async (profile, past) => {
    const setting = open(undefined, { profile });
    const { iommufd } = setting;
    const ioasId = await iommufd.ioasAlloc();
    const good = {
      flags: IOAS_MAP.FIXED_IOVA | IOAS_MAP.READABLE,
      ioasId,
      userVa: RAM,
      length: PAGE,
      iova: PAGE,
    };
    const map = (changes: Partial<typeof good>) => outcome(ioasMap(iommufd.context, { ...good, ...changes }));
    expect(await map({ flags: 8, iova: MAX, ioasId: 99 })).toBe('EOPNOTSUPP');
    expect(await map({ flags: 0, iova: MAX, ioasId: 99 })).toBe('EOVERFLOW');
    expect(await map({ flags: 1, length: MAX, ioasId: 99 })).toBe('EOVERFLOW');
    expect(await map({ flags: 1, ioasId: 99 })).toBe('EINVAL');
    expect(await map({ ioasId: 99, length: 0n })).toBe('ENOENT');
    expect(await map({ length: 0n })).toBe('EINVAL');
    expect(await map({ length: MAX - 1n })).toBe(past);
    expect(await map({ userVa: 0n, length: MAX - 1n })).toBe('EINVAL');
    expect(await map({ iova: MAX - 1n, length: 4n })).toBe('EOVERFLOW');
    expect(await map({})).toBe('OK');
    expect(await map({})).toBe('EEXIST');
    await closeClean(setting);
  });

  test('chooses an IOVA if none is given, and names the call in errors', async () => {
    const setting = open();
    const { iommufd } = setting;
    const ioas = await iommufd.ioasAlloc();
    expect(await iommufd.ioasMap({ ioas, uptr: RAM + PAGE, length: PAGE, prot: 'rw' })).toBe(0x1000n);
    expect(await iommufd.ioasMap({ ioas, uptr: RAM, length: 2n * PAGE, prot: 'r' })).toBe(0x2000n);
    const error = await failure(iommufd.ioasMap({ ioas: 9, uptr: RAM, length: PAGE, prot: 'rw' }));
    expect(error.message).toBe('ENOENT: ioas_map: object 9 does not exist');
    expect(await outcome(iommufd.ioasMap({ ioas, uptr: RAM, length: PAGE, prot: '' }))).toBe('EINVAL');
    await closeClean(setting);
  });

  test('takes the memory of another process', async () => {
    const setting = open();
    const { iommufd, memory } = setting;
    const other = open().memory;
    const ioas = await iommufd.ioasAlloc();
    await (await bindMock(iommufd)).attach(ioas);
    await iommufd.ioasMap({ ioas, uptr: RAM, length: PAGE, prot: 'rw', memory: other });
    expect([memory.pins(RAM), other.pins(RAM)]).toEqual([0, 1]);
    await closeClean(setting);
    expect(other.physical.pinned).toBe(0);
  });
});

describe('copy', () => {
  test('looks at the source before the destination', async () => {
    const setting = open();
    const { iommufd } = setting;
    const src = await iommufd.ioasAlloc();
    await iommufd.ioasMap({ ioas: src, iova: PAGE, uptr: RAM, length: PAGE, prot: 'r' });
    const good: IoasCopyFields = {
      flags: IOAS_MAP.READABLE,
      dstIoasId: src,
      srcIoasId: src,
      length: PAGE,
      srcIova: PAGE,
      dstIova: 0n,
    };
    const copy = (changes: Partial<typeof good>) =>
      outcome(ioasCopy(iommufd.context, { ...good, ...changes }));
    expect(await copy({ flags: 8, length: MAX })).toBe('EOPNOTSUPP');
    expect(await copy({ flags: 0, dstIova: MAX })).toBe('EOVERFLOW');
    expect(await copy({ flags: 0, srcIova: MAX })).toBe('EOVERFLOW');
    expect(await copy({ flags: 1, srcIoasId: 9 })).toBe('EINVAL');
    expect(await copy({ srcIoasId: 9, length: 0n })).toBe('ENOENT');
    expect(await copy({ dstIoasId: 9, length: 0n })).toBe('EINVAL');
    expect(await copy({ dstIoasId: 9, srcIova: MAX - 1n })).toBe('EOVERFLOW');
    expect(await copy({ dstIoasId: 9, srcIova: 0n })).toBe('ENOENT');
    expect(await copy({ dstIoasId: 9 })).toBe('ENOENT');
    expect(await copy({ flags: IOAS_MAP.WRITEABLE })).toBe('EPERM');
    expect(await copy({})).toBe('OK');
    await closeClean(setting);
  });
});

describe('unmap', () => {
  test('of nothing is ENOENT, of everything a success', async () => {
    const setting = open();
    const { iommufd } = setting;
    const ioas = await iommufd.ioasAlloc();
    const unmap = (iova: bigint, length: bigint) => iommufd.ioasUnmap({ ioas, iova, length });
    expect(await outcome(unmap(PAGE, PAGE))).toBe('ENOENT');
    expect(await outcome(unmap(MAX, PAGE))).toBe('EOVERFLOW');
    expect(await outcome(unmap(PAGE, MAX))).toBe('EOVERFLOW');
    expect(await outcome(unmap(PAGE, 0n))).toBe('EINVAL');
    expect(await unmap(0n, MAX)).toBe(0n);
    await iommufd.ioasMap({ ioas, iova: PAGE, uptr: RAM, length: 3n * PAGE, prot: 'r' });
    expect(await unmap(0n, MAX)).toBe(3n * PAGE);
    await closeClean(setting);
  });

  test('that stops half-way tells the bytes that went', async () => {
    const setting = open();
    const { iommufd } = setting;
    const ioas = await iommufd.ioasAlloc();
    await iommufd.ioasMap({ ioas, iova: 0x1000n, uptr: RAM, length: PAGE, prot: 'r' });
    await iommufd.ioasMap({ ioas, iova: 0x3000n, uptr: RAM, length: 2n * PAGE, prot: 'r' });
    const error = await failure(iommufd.ioasUnmap({ ioas, iova: 0x1000n, length: 0x3000n }));
    expect([error.code, error.unmapped]).toEqual(['ENOENT', PAGE]);
    const nothing = await failure(iommufd.ioasUnmap({ ioas, iova: 0x1800n, length: 0x3000n }));
    expect([nothing.code, nothing.unmapped]).toEqual(['ENOENT', 0n]);
    await closeClean(setting);
  });
});

describe('iova ranges', () => {
  test('that do not fit are EMSGSIZE, with the first ones and their number', async () => {
    const setting = open();
    const { iommufd, driver } = setting;
    const ioas = await iommufd.ioasAlloc();
    for (const start of [0x1000n, 0x3000n]) await driver.addReserved({ ioas, start, length: PAGE });
    const all = await iommufd.ioasIovaRanges({ ioas });
    expect(all).toEqual({
      ranges: [
        { start: 0n, last: 0xfffn },
        { start: 0x2000n, last: 0x2fffn },
        { start: 0x4000n, last: MAX },
      ],
      total: 3,
      alignment: 1,
    });
    expect(await iommufd.ioasIovaRanges({ ioas, max: 3 })).toEqual(all);
    const error = await failure(iommufd.ioasIovaRanges({ ioas, max: 1 }));
    expect(error).toBeInstanceOf(PartialAnswerError);
    expect(error.code).toBe('EMSGSIZE');
    expect((error as PartialAnswerError<IovaRanges>).answer).toEqual({
      ...all,
      ranges: all.ranges.slice(0, 1),
    });
    await closeClean(setting);
  });
});

describe('allowed ranges', () => {
  test.each([['rw'], [5], [null], [{}]])('that are none, %j: an error that says so', async (ranges) => {
    const { iommufd } = open();
    const ioas = await iommufd.ioasAlloc();
    await expect(iommufd.ioasAllowIovas({ ioas, ranges: ranges as never })).rejects.toMatchObject({
      name: 'TypeError',
      code: 'ERR_INVALID_ARG_TYPE',
    });
  });

  test('keep the old list on any error, and an earlier range refuses before a later one is read', async () => {
    const setting = open();
    const { iommufd } = setting;
    const ioas = await iommufd.ioasAlloc();
    const allow = (...ranges: [bigint, bigint][]) =>
      iommufd.ioasAllowIovas({ ioas, ranges: ranges.map(([start, last]) => ({ start, last })) });
    await allow([0x10000n, 0x1ffffn]);
    expect(await outcome(allow([0x5000n, 0x5000n]))).toBe('EINVAL');
    expect(await outcome(allow([0x6000n, 0x5000n]))).toBe('EINVAL');
    expect(await outcome(allow([0x5000n, 0x6000n], [0x6000n, 0x7000n]))).toBe('EINVAL');
    expect(await iommufd.ioasMap({ ioas, uptr: RAM, length: PAGE, prot: 'r' })).toBe(0x10000n);
    const faulting = function* (bad: boolean) {
      yield { start: 0x5000n, last: bad ? 0x5000n : 0x6000n };
      throw new RangeError('unreadable');
    };
    const read = (bad: boolean) => ioasAllowIovas(iommufd.context, { ioasId: ioas, ranges: faulting(bad) });
    expect(await outcome(read(true))).toBe('EINVAL');
    await expect(read(false)).rejects.toThrow('unreadable');
    expect(await outcome(iommufd.ioasAllowIovas({ ioas: 9, ranges: faulting(true) }))).toBe('ENOENT');
    await closeClean(setting);
  });
});
