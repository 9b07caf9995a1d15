import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { IommuError } from '../../src/errors.js';
import type { PlannedCopy, PlannedMap } from '../../src/iommufd/locked-bytes.js';
import {
  APERTURE,
  bindMock,
  closeClean,
  failure,
  open,
  outcome,
  PAGE,
  RAM,
  type Setting,
} from './setting.js';

async function attached(setting: Setting): Promise<number> {
  const ioas = await setting.iommufd.ioasAlloc();
  await (await bindMock(setting.iommufd)).attach(ioas);
  return ioas;
}

describe('the limit', () => {
  test('may be reached exactly; beyond it a mapping fails with the numbers and leaves nothing', async () => {
    const setting = open(4);
    const { iommufd, memory } = setting;
    const ioas = await attached(setting);
    await iommufd.ioasMap({ ioas, iova: APERTURE, uptr: RAM, length: 4n * PAGE, prot: 'rw' });
    const before = iommufd.ioasTable(ioas).snapshot();
    const more = { ioas, iova: APERTURE + 0x10000n, uptr: RAM, length: 2n * PAGE, prot: 'rw' } as const;
    const error: IommuError = await failure(iommufd.ioasMap(more));
    expect(error.code).toBe('ENOMEM');
    expect(error.reason).toEqual({
      check: 'locked-memory',
      of: 'user',
      limitBytes: 4n * PAGE,
      lockedBytes: 4n * PAGE,
      neededBytes: 2n * PAGE,
    });
    expect(iommufd.ioasTable(ioas).snapshot()).toEqual(before);
    expect(memory.physical.pinned).toBe(4);
    const copy = { from: ioas, srcIova: APERTURE, to: ioas, length: 4n * PAGE, prot: 'r' } as const;
    expect(await outcome(iommufd.ioasCopy(copy))).toBe('OK');
    await closeClean(setting);
  });

  test('counts for the process in mode mm, and not at all with CAP_IPC_LOCK', async () => {
    const setting = open(2, { accounting: 'mm' });
    const { iommufd, memory } = setting;
    const ioas = await attached(setting);
    const map = (iova: bigint, capable?: () => boolean) =>
      outcome(iommufd.ioasMap({ ioas, iova, uptr: RAM, length: 2n * PAGE, prot: 'rw', capable }));
    expect(await map(APERTURE)).toBe('OK');
    expect([memory.locked?.user.lockedPages, memory.locked?.mm.lockedPages]).toEqual([0, 2]);
    expect(await map(APERTURE + 0x10000n)).toBe('ENOMEM');
    expect(await map(APERTURE + 0x10000n, () => true)).toBe('OK');
    expect([memory.locked?.user.lockedPages, memory.locked?.mm.lockedPages]).toEqual([0, 2]);
    await closeClean(setting);
  });

  test('is charged to the process that mapped, whoever opened the context', async () => {
    const setting = open();
    const { iommufd, memory } = setting;
    const other = open(3).memory;
    const ioas = await attached(setting);
    const map = (length: bigint) =>
      outcome(iommufd.ioasMap({ ioas, uptr: RAM, length, prot: 'rw', memory: other }));
    expect(await map(3n * PAGE)).toBe('OK');
    expect(other.locked?.user.lockedPages).toBe(3);
    expect(await map(PAGE)).toBe('ENOMEM');
    expect(memory.locked).toBeUndefined();
    await closeClean(setting);
    expect(other.locked?.user.lockedPages).toBe(0);
  });
});

describe('what if', () => {
  test('tells mode by mode what mappings would lock', async () => {
    const setting = open(10);
    const { iommufd } = setting;
    const lazy = await iommufd.ioasAlloc();
    const ioas = await attached(setting);
    await iommufd.ioasMap({ ioas, iova: APERTURE, uptr: RAM, length: 4n * PAGE, prot: 'rw' });
    const mappings = [
      { ioas, uptr: RAM + 0x800n, length: PAGE },
      { ioas, uptr: RAM, length: PAGE },
      { ioas: lazy, uptr: RAM, length: 6n * PAGE },
    ];
    const now = await iommufd.lockedBytesIfMapped({ mappings });
    const charge = { bytes: 3n * PAGE, lockedBytes: 4n * PAGE, limitBytes: 10n * PAGE, fits: true };
    expect(now).toEqual({
      pinnedBytes: 3n * PAGE,
      none: { bytes: 0n, lockedBytes: 0n, limitBytes: undefined, fits: true },
      user: charge,
      mm: { ...charge, lockedBytes: 0n },
    });
    const later = await iommufd.lockedBytesIfMapped({ mappings, attached: true });
    expect(later.pinnedBytes).toBe(9n * PAGE);
    expect([later.user.fits, later.mm.fits]).toEqual([false, true]);
    await closeClean(setting);
  });

  test('refuses what cannot be answered', async () => {
    const setting = open(10);
    const { iommufd } = setting;
    const ioas = await iommufd.ioasAlloc();
    const ask = (mapping: PlannedMap | PlannedCopy) =>
      outcome(iommufd.lockedBytesIfMapped({ mappings: [mapping] }));
    expect(await ask({ ioas: 9, uptr: RAM, length: PAGE })).toBe('ENOENT');
    expect(await ask({ ioas, uptr: RAM, length: 0n })).toBe('EINVAL');
    expect(await ask({ ioas, uptr: 0xffff_ffff_ffff_f000n, length: PAGE })).toBe('EOVERFLOW');
    expect(await ask({ ioas, from: ioas, srcIova: 0n, length: PAGE })).toBe('ENOENT');
    expect(await ask({ ioas, from: ioas, srcIova: 0n, length: 0n })).toBe('EINVAL');
    const question = { mappings: { ioas, uptr: RAM, length: PAGE } };
    // @ts-expect-error: no list
    await expect(iommufd.lockedBytesIfMapped(question)).rejects.toThrow(
      '"question.mappings" argument must be an array',
    );
    await closeClean(setting);
  });

  test('can be asked for another process', async () => {
    const setting = open(10);
    const { iommufd } = setting;
    const ioas = await attached(setting);
    const mappings = [{ ioas, uptr: RAM, length: 5n * PAGE }];
    expect((await iommufd.lockedBytesIfMapped({ mappings })).user.fits).toBe(true);
    const { user } = await iommufd.lockedBytesIfMapped({ mappings, memory: open(4).memory });
    expect(user).toEqual({ bytes: 5n * PAGE, lockedBytes: 0n, limitBytes: 4n * PAGE, fits: false });
    await closeClean(setting);
  });

  test('fits whatever is planned where the limit is infinite', async () => {
    const setting = open(10);
    const { iommufd, memory } = setting;
    const ioas = await attached(setting);
    memory.locked!.user.limitPages = Number.POSITIVE_INFINITY;
    const mappings = [{ ioas, uptr: RAM, length: 100n * PAGE }];
    const { user, mm } = await iommufd.lockedBytesIfMapped({ mappings });
    expect(user).toEqual({ bytes: 100n * PAGE, lockedBytes: 0n, limitBytes: undefined, fits: true });
    expect(mm.fits).toBe(false);
    await closeClean(setting);
  });

  test('is what then happens', async () => {
    const pages = fc.record({ first: fc.nat({ max: 40 }), count: fc.integer({ min: 1, max: 12 }) });
    const plan = fc.record({
      existing: fc.array(pages, { minLength: 1, maxLength: 3 }),
      copyFirst: fc.boolean(),
      pins: fc.array(pages, { maxLength: 2 }),
      maps: fc.array(fc.record({ target: fc.nat({ max: 2 }), range: pages }), { maxLength: 4 }),
      copies: fc.array(fc.record({ target: fc.nat({ max: 2 }), source: fc.nat({ max: 2 }), part: pages }), {
        maxLength: 4,
      }),
      mode: fc.constantFrom('user' as const, 'mm' as const),
    });
    await fc.assert(
      fc.asyncProperty(plan, async ({ existing, copyFirst, pins, maps, copies, mode }) => {
        const setting = open(100_000, { accounting: mode });
        const { iommufd, memory } = setting;
        const source = await iommufd.ioasAlloc();
        const targets = [await attached(setting), await attached(setting), await iommufd.ioasAlloc()];
        let at = APERTURE;
        const areas: { iova: bigint; count: number }[] = [];
        for (const { first, count } of existing) {
          const length = BigInt(count) * PAGE;
          await iommufd.ioasMap({
            ioas: source,
            iova: at,
            uptr: RAM + BigInt(first) * PAGE,
            length,
            prot: 'rw',
          });
          areas.push({ iova: at, count });
          at += length;
        }
        const total = areas.reduce((sum, { count }) => sum + count, 0);
        const clip = ({ first, count }: { first: number; count: number }) => {
          const from = first % total;
          return {
            srcIova: APERTURE + BigInt(from) * PAGE,
            length: BigInt(Math.min(count, total - from)) * PAGE,
          };
        };
        if (copyFirst) {
          await iommufd.ioasCopy({ from: source, to: targets[0]!, ...clip(existing[0]!), prot: 'rw' });
        }
        const access = await iommufd.accessCreate({ ioas: source, needsPin: true, onUnmap: () => undefined });
        for (const pin of pins) {
          const { srcIova, length } = clip(pin);
          await access.pin(srcIova, length);
        }
        const plannedMaps = maps.map(({ target, range }) => ({
          ioas: targets[target]!,
          uptr: RAM + BigInt(range.first) * PAGE,
          length: BigInt(range.count) * PAGE,
        }));
        const plannedCopies = copies.map(({ target, part }) => ({
          ioas: targets[target]!,
          from: source,
          ...clip(part),
        }));
        const forecast = await iommufd.lockedBytesIfMapped({ mappings: [...plannedMaps, ...plannedCopies] });
        const pinnedBefore = memory.physical.pinned;
        const counter = memory.locked![mode];
        const lockedBefore = counter.lockedPages;
        for (const map of plannedMaps) await iommufd.ioasMap({ ...map, prot: 'rw' });
        for (const { ioas, ...copy } of plannedCopies) {
          await iommufd.ioasCopy({ ...copy, to: ioas, prot: 'rw' });
        }
        expect(BigInt(memory.physical.pinned - pinnedBefore) * PAGE).toBe(forecast.pinnedBytes);
        expect(BigInt(counter.lockedPages - lockedBefore) * PAGE).toBe(forecast[mode].bytes);
        expect(forecast[mode].lockedBytes).toBe(BigInt(lockedBefore) * PAGE);
        await closeClean(setting);
      }),
      { numRuns: 60 },
    );
  });
});
