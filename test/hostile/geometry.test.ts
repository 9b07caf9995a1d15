/** Domains and memories that answer differently each time: they are asked once, and what they said then counts. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { deviceRead } from '../../src/domain/device-dma.js';
import type { IommuDomain } from '../../src/domain/iommu-domain.js';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { IoPagetable } from '../../src/io-pagetable.js';
import { Iommufd } from '../../src/iommufd/iommufd.js';
import { LockedMemory } from '../../src/memory/locked-memory.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import { MAX_U64 } from '../../src/u64.js';
import { expectError, expectErrorNow } from '../helpers/expect-error.js';

const PAGE = 0x1000n;
const BITMAPS: readonly unknown[] = [PAGE, 0n, 512n, 0x20_0000n, -1n, 2n ** 64n, 1, undefined, null];
const APERTURES: readonly unknown[] = [
  { start: 0n, last: MAX_U64 },
  { start: PAGE, last: 0xffff_ffffn },
  { start: 2n, last: 1n },
  { start: -1n, last: 2n ** 64n },
  { start: 0n },
  undefined,
  null,
  7,
];

/** A domain that says the next of the given things of itself whenever it is asked, and the last from then on. */
function lying(bitmaps: readonly unknown[], apertures: readonly unknown[]) {
  const domain = new RadixDomain();
  const next = (values: readonly unknown[]) => {
    let asked = 0;
    return () => values[Math.min(asked++, values.length - 1)];
  };
  const answers = {
    pageSizeBitmap: next(bitmaps),
    aperture: next(apertures),
    pages: () => undefined,
    flush: () => undefined,
  };
  const lies = new Proxy(domain, {
    get(target, key) {
      if (key in answers) return answers[key as keyof typeof answers]();
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  return { domain, lies: lies as IommuDomain };
}

async function table() {
  const memory = new ProcessMemory();
  const { uptr } = memory.mmap({ length: 16n * PAGE });
  const iopt = new IoPagetable({ memory });
  await iopt.map({ iova: 0x10000n, uptr, length: 4n * PAGE, prot: 'rw' });
  return { memory, uptr, iopt };
}

describe('what a domain says of itself', () => {
  test('is read once when it is added, and never again', async () => {
    const { iopt, uptr } = await table();
    const { lies } = lying([PAGE, undefined], [{ start: PAGE, last: 0xffff_ffffn }, undefined]);
    await iopt.addDomain(lies);
    expect(iopt.snapshot().domains).toEqual([
      { pageSizes: ['0x1000'], aperture: { start: '0x1000', last: '0xffffffff' } },
    ]);
    expect((await iopt.iovaRanges()).ranges).toEqual([{ start: PAGE, last: 0xffff_ffffn }]);
    const explained = await iopt.explain({ call: 'map', iova: 0n, uptr, length: PAGE, prot: 'r' });
    expect(explained).toMatchObject({ ok: false, code: 'EINVAL' });
    await iopt.setLargePages(true);
    iopt.check();
    await expectError(iopt.setDirtyTracking(lies, true), 'EOPNOTSUPP');
    await iopt.removeDomain(lies);
    expect((await iopt.iovaRanges()).ranges).toEqual([{ start: 0n, last: MAX_U64 }]);
    iopt.check();
  });

  test('whatever it is, gives an error with a code or a table that works', async () => {
    const answers = (values: readonly unknown[]) =>
      fc.array(fc.constantFrom(...values), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(answers(BITMAPS), answers(APERTURES), async (bitmaps, apertures) => {
        const { iopt, uptr, memory } = await table();
        const { lies, domain } = lying(bitmaps, apertures);
        const calls = [
          () => iopt.explain({ call: 'addDomain', domain: lies }),
          () => iopt.addDomain(lies),
          () => iopt.map({ uptr, length: PAGE, prot: 'rw' }),
          () => iopt.setLargePages(true),
          () => iopt.removeDomain(lies),
        ];
        for (const call of calls) {
          await call().catch((error: unknown) => expect(error).toHaveProperty('code', expect.any(String)));
          iopt.check();
        }
        expect(iopt.domains).toEqual([]);
        expect(domain.mappedBytes).toBe(0n);
        await iopt.unmapAll();
        expect(memory.physical.pinned).toBe(0);
      }),
      { numRuns: 50 },
    );
  });

  test.each(BITMAPS.slice(1))(
    'a device that reads through one of page sizes %o gets an answer or EFAULT',
    (bitmap) => {
      const memory = new ProcessMemory();
      const domain = { pageSizeBitmap: bitmap as bigint, iovaToPhys: () => 0n };
      try {
        deviceRead(domain, memory, 0n, new Uint8Array(8));
      } catch (error) {
        expect(error).toHaveProperty('code', 'EFAULT');
      }
    },
  );
});

describe('the counters of a memory', () => {
  test('are read once for each mapping: what is charged is given back where it was charged', async () => {
    const counters = [0, 1].map(() => ({
      user: new LockedMemory('user', 1000),
      mm: new LockedMemory('process', 1000),
    }));
    let asked = 0;
    class Fickle extends ProcessMemory {
      override get locked() {
        return counters[asked++ % 2]!;
      }
    }
    const memory = new Fickle();
    const { uptr } = memory.mmap({ length: 16n * PAGE });
    for (const accounting of ['user', 'mm'] as const) {
      const iopt = new IoPagetable({ memory, accounting });
      await iopt.addDomain(new RadixDomain());
      await iopt.map({ iova: 0n, uptr, length: 4n * PAGE, prot: 'rw' });
      await iopt.map({ iova: 0x10000n, uptr, length: 2n * PAGE, prot: 'rw' });
      await (await iopt.access(0n, PAGE)).release();
      iopt.check();
      await iopt.unmapAll();
      expect(counters.map(({ user, mm }) => [user.lockedPages, mm.lockedPages])).toEqual([
        [0, 0],
        [0, 0],
      ]);
    }
  });
});

describe('the memory named by a request', () => {
  test('is read once, by map and by ioasMap', async () => {
    const { iopt, memory, uptr } = await table();
    const other = new ProcessMemory({ lockedLimit: 0n });
    const naming = <T extends object>(request: T) => {
      let asked = 0;
      return new Proxy(request, {
        get: (target, key) =>
          key === 'memory' ? [memory, other][Math.min(asked++, 1)] : Reflect.get(target, key),
      });
    };
    await iopt.addDomain(new RadixDomain());
    const iova = await iopt.map(naming({ uptr, length: PAGE, prot: 'rw' as const }));
    expectErrorNow(() => iopt.mapSync({ iova, uptr, length: PAGE, prot: 'rw' }), 'EEXIST');
    const fd = new Iommufd({ memory: other });
    const ioas = await fd.ioasAlloc();
    const nic = await fd.deviceBind({ name: 'nic', createDomain: () => new RadixDomain() });
    await nic.attach(ioas);
    await fd.ioasMap(naming({ ioas, iova: 0n, uptr, length: PAGE, prot: 'rw' as const }));
    expect(memory.pins(uptr)).toBe(3);
    fd.check();
  });
});
