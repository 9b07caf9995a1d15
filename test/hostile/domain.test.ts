/** Domains that break their contract, or are changed behind the table's back. */

import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import type { IommuDomain } from '../../src/domain/iommu-domain.js';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { RadixReader } from '../../src/domain/radix-reader.js';
import type { IoPagetable } from '../../src/io-pagetable.js';
import { expectError } from '../helpers/expect-error.js';
import { RecordingDomain } from '../helpers/recording-domain.js';
import { PAGE, USER, World } from '../helpers/world.js';

const AREA = { iova: 0x1000n, uptr: USER, length: 2n * PAGE, prot: 'rw' } as const;
const failure = new Error('the hardware does not answer');

/** A domain whose functions fail when the test says so. */
class FailingDomain extends RecordingDomain {
  failing: 'map' | 'unmap' | 'iovaToPhys' | undefined;

  override map(...request: Parameters<RecordingDomain['map']>): void {
    if (this.failing === 'map') throw failure;
    super.map(...request);
  }

  override unmap(...request: Parameters<RecordingDomain['unmap']>): void {
    if (this.failing === 'unmap') throw failure;
    super.unmap(...request);
  }

  override iovaToPhys(iova: bigint): bigint | undefined {
    if (this.failing === 'iovaToPhys') throw failure;
    return super.iovaToPhys(iova);
  }
}

/** No call is stuck, and the table can go on. */
async function goesOn(world: World, table: IoPagetable): Promise<void> {
  for (const { state } of world.tables) {
    expect([state.domainsLock.free, state.iovaLock.free]).toEqual([true, true]);
    for (const area of state.areas) expect(area.pages?.mutex.free).toBe(true);
  }
  await table.map({ ...AREA, iova: 0x9000n, uptr: USER + 9n * PAGE });
  expect(await table.unmap(0x9000n, AREA.length)).toBe(AREA.length);
}

describe('a domain whose unmap throws', () => {
  test('an unmap fails with that, and succeeds when the domain has recovered', async () => {
    const world = new World();
    const table = world.table();
    const domain = await world.domain(table, new FailingDomain());
    await table.map(AREA);
    domain.failing = 'unmap';
    await world.unchanged(() => expect(table.unmap(AREA.iova, AREA.length)).rejects.toBe(failure));
    await world.unchanged(() => expect(table.unmapAll()).rejects.toBe(failure));
    await world.unchanged(() => expect(() => table.unmapSync(AREA.iova, AREA.length)).toThrow(failure));
    expect(failure, 'an error of somebody else').not.toHaveProperty('unmapped');
    domain.failing = undefined;
    await goesOn(world, table);
    expect(await table.unmap(AREA.iova, AREA.length)).toBe(AREA.length);
    expect(world.physical.pinned).toBe(0);
    world.check();
  });

  test('removing it is done all the same, and says so', async () => {
    const world = new World();
    const table = world.table();
    const domain = await world.domain(
      table,
      new FailingDomain({ aperture: { start: 0x1000n, last: 0xffffffn } }),
    );
    const other = await world.domain(table, new RecordingDomain());
    await table.map(AREA);
    domain.failing = 'unmap';
    await expect(table.removeDomain(domain)).rejects.toBe(failure);
    expect(table.domains).toEqual([other]);
    expect(table.snapshot().reserved).toEqual([]);
    await goesOn(world, table);
    expect(await table.unmapAll()).toBe(AREA.length);
    expect(world.physical.pinned).toBe(0);
    world.check();
  });

  test('while it undoes a map that another one has refused: nothing stays pinned, no lock held', async () => {
    const world = new World();
    const table = world.table();
    const first = await world.domain(table, new FailingDomain());
    const second = await world.domain(table, new FailingDomain());
    first.failing = 'unmap';
    second.failing = 'map';
    await expect(table.map(AREA)).rejects.toBe(failure);
    expect([table.areaCount, world.physical.pinned]).toEqual([0, 0]);
    first.failing = second.failing = undefined;
    // What the first domain did not let go of is its own affair.
    await goesOn(world, table);
  });
});

describe('a domain whose flush fails', () => {
  const nothing = () => undefined;

  class NoFlush extends RecordingDomain {
    flush: () => PromiseLike<void> | void = nothing;
  }

  const WAYS: [string, () => PromiseLike<void> | void][] = [
    ['throws', thrower],
    ['rejects', () => Promise.reject(failure)],
  ];

  function thrower(): never {
    throw failure;
  }

  async function flushing() {
    const world = new World();
    const table = world.table();
    const domain = await world.domain(table, new NoFlush());
    return { world, table, domain };
  }

  test.each(WAYS)('(it %s) an unmap says so; what devices may be using stays pinned', async (_how, flush) => {
    const { world, table, domain } = await flushing();
    await table.map(AREA);
    domain.flush = flush;
    await expect(table.unmap(AREA.iova, AREA.length)).rejects.toBe(failure);
    expect([domain.mappedBytes, world.physical.pinned]).toEqual([0n, 2]);
    domain.flush = nothing;
    await goesOn(world, table);
    expect(await table.unmapAll()).toBe(AREA.length);
    expect([table.areaCount, world.physical.pinned]).toEqual([0, 2]);
  });

  test.each(WAYS)('(it %s) an unmap that cannot wait changes nothing, in no domain', async (how, flush) => {
    const world = new World();
    const table = world.table();
    const shared = await world.domain(table, new RadixDomain({ shared: true }));
    const domain = await world.domain(table, new NoFlush());
    await table.map(AREA);
    const reader = RadixReader.from(shared.share());
    reader.quiescent();
    domain.flush = flush;
    await world.unchanged(() => {
      const call = () => table.unmapSync(AREA.iova, AREA.length);
      if (how === 'throws') expect(call).toThrow(failure);
      else expect(call).toThrow(expect.objectContaining({ code: 'EAGAIN' }));
    });
    expect(reader.iovaToPhys(AREA.iova)).toBe(shared.iovaToPhys(AREA.iova));
    domain.flush = nothing;
    reader.close();
    await goesOn(world, table);
    expect(await table.unmapAll()).toBe(AREA.length);
  });

  test.each(WAYS)('(it %s) removing the domain is done all the same, and says so', async (_how, flush) => {
    const { world, table, domain } = await flushing();
    await table.map(AREA);
    domain.flush = flush;
    await expect(table.removeDomain(domain)).rejects.toBe(failure);
    expect([table.domains, world.physical.pinned]).toEqual([[], 2]);
    await goesOn(world, table);
    expect(await table.unmapAll()).toBe(AREA.length);
  });

  test.each(WAYS)(
    '(it %s) a map that another domain refuses says so, and leaves no area',
    async (_how, flush) => {
      const { world, table, domain } = await flushing();
      const second = await world.domain(table, new RecordingDomain());
      domain.flush = flush;
      second.mapsLeft = 0;
      await expect(table.map(AREA)).rejects.toBe(failure);
      expect([table.areaCount, domain.mappedBytes, world.physical.pinned]).toEqual([0, 0n, 2]);
      domain.flush = nothing;
      second.mapsLeft = Number.POSITIVE_INFINITY;
      await goesOn(world, table);
      world.check();
    },
  );
});

describe('a domain that has lost what it was given', () => {
  const DOMAINS: [string, () => IommuDomain & { unmap(iova: bigint, size: bigint): void }][] = [
    ['RadixDomain', () => new RadixDomain()],
    ['RecordingDomain', () => new RecordingDomain()],
  ];
  test.each(DOMAINS)(
    '%s: unmap, copy and pin are EFAULT; what is left is not touched',
    async (_name, make) => {
      const world = new World();
      const table = world.table();
      const domain = await world.domain(table, make());
      await table.map(AREA);
      const frame = BigInt(world.process.frameOf(USER + PAGE));
      const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
      await access.attach(table);
      const other = world.table();
      await other.addDomain(new RecordingDomain());
      domain.unmap(0x2000n, PAGE);
      const before = world.state();
      await expectError(table.unmap(AREA.iova, AREA.length), 'EFAULT');
      await expectError(
        other.copy({ from: table, srcIova: 0x1000n, length: AREA.length, prot: 'r' }),
        'EFAULT',
      );
      await expectError(access.pin(0x1000n, AREA.length), 'EFAULT');
      expect(() => table.check()).toThrow();
      expect(world.state()).toEqual(before);
      await goesOn(world, table);
      // It is made good again: as if nothing had been.
      domain.map(0x2000n, frame * PAGE, PAGE, 3);
      world.check();
      expect(await table.unmapAll()).toBe(AREA.length);
      expect(world.physical.pinned).toBe(0);
    },
  );
});

describe('pins given back behind the back of the table', () => {
  test('an unmap says so; no lock stays held', async () => {
    const world = new World();
    const table = world.table();
    await world.domain(table);
    await table.map(AREA);
    world.process.unpin(world.process.frameOf(USER), 1);
    await expectError(table.unmap(AREA.iova, AREA.length), 'EINVAL');
    await goesOn(world, table);
  });
});

describe('what is no domain', () => {
  const good = () => {
    const domain = new RecordingDomain();
    return {
      pageSizeBitmap: domain.pageSizeBitmap,
      aperture: domain.aperture,
      map: domain.map.bind(domain),
      unmap: domain.unmap.bind(domain),
      iovaToPhys: domain.iovaToPhys.bind(domain),
    };
  };
  const BAD: [string, object][] = [
    ['no map', { map: undefined }],
    ['no unmap', { unmap: 1 }],
    ['no iovaToPhys', { iovaToPhys: null }],
    ['no page size', { pageSizeBitmap: 0n }],
    ['page sizes as a number', { pageSizeBitmap: 4096 }],
    ['page sizes past 64 bits', { pageSizeBitmap: 2n ** 64n }],
    ['negative page sizes', { pageSizeBitmap: -4096n }],
    ['no aperture', { aperture: undefined }],
    ['an aperture of numbers', { aperture: { start: 0, last: 1 } }],
    ['an aperture upside down', { aperture: { start: 2n, last: 1n } }],
    ['an aperture past 64 bits', { aperture: { start: 0n, last: 2n ** 64n } }],
  ];
  test.each(BAD)('%s: refused, with nothing changed', async (_what, part) => {
    const world = new World();
    const table = world.table();
    await table.map(AREA);
    await world.unchanged(async () => {
      const adding = table.addDomain({ ...good(), ...part });
      await expect(adding).rejects.toMatchObject({ code: expect.stringMatching(/^ERR_/) });
    });
    await table.addDomain(good());
    world.check();
  });
});
