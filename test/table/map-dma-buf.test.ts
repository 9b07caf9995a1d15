/** Mapping dma-bufs: nothing of them is pinned, and their exporter takes them back at any time. */
import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import { DmaFault, deviceRead, deviceWrite } from '../../src/domain/device-dma.js';
import { DmaBufExporter } from '../../src/memory/dma-buf-exporter.js';
import { PhysicalMemory } from '../../src/memory/physical-memory.js';
import { MAX_U64 } from '../../src/u64.js';
import { expectError, expectErrorNow } from '../helpers/expect-error.js';
import { RecordingDomain } from '../helpers/recording-domain.js';
import { PAGE, USER, World } from '../helpers/world.js';

function setting(pages = 8) {
  const world = new World(0);
  const bar = new DmaBufExporter({ physical: world.physical, size: BigInt(pages) * PAGE });
  return { world, table: world.table(), bar };
}

describe('an exporter', () => {
  test('has consecutive frames from a multiple of its size, rounded up to a power of two', () => {
    const physical = new PhysicalMemory();
    for (const pages of [1, 3, 512, 5]) {
      const { pfn, size, buffer } = new DmaBufExporter({ physical, size: pages * 4096 });
      expect([size, buffer.byteLength]).toEqual([BigInt(pages) * PAGE, pages * 4096]);
      expect(pfn % 2 ** Math.ceil(Math.log2(pages))).toBe(0);
      new Uint8Array(buffer)[4096 * pages - 1] = pages % 256;
      expect(physical.frames(pfn, pages).at(-1)).toBe(pages % 256);
    }
  });

  test('takes a buffer, and not too large a part of it', () => {
    const buffer = new SharedArrayBuffer(8192);
    expect(new DmaBufExporter({ buffer }).size).toBe(8192n);
    expect(new DmaBufExporter({ buffer, size: 4096 }).size).toBe(4096n);
    for (const size of [12288, 100, 0]) expectErrorNow(() => new DmaBufExporter({ buffer, size }), 'EINVAL');
    expectErrorNow(() => new DmaBufExporter({}), 'EINVAL');
    expect(() => new DmaBufExporter({ size: PAGE, physical: 1 as unknown as PhysicalMemory })).toThrow(
      TypeError,
    );
  });

  test('gives its frames back when its device is gone', async () => {
    const physical = new PhysicalMemory();
    const first = new DmaBufExporter({ physical, size: PAGE });
    await first.free();
    await first.free();
    expect(first.revoked).toBe(true);
    expect(new DmaBufExporter({ physical, size: PAGE }).pfn).toBe(first.pfn);
  });
});

describe('the checks of a map, in order', () => {
  const rows: [string, string, { start?: bigint; length?: bigint; iova?: bigint; revoked?: boolean }][] = [
    ['length 0', 'EINVAL', { length: 0n, start: MAX_U64, revoked: true }],
    ['past 2^64', 'EOVERFLOW', { length: 2n, start: MAX_U64, revoked: true }],
    [
      'one byte beyond the end, before the revocation',
      'EINVAL',
      { length: 8n * PAGE, start: 1n, revoked: true },
    ],
    ['wholly beyond the end', 'EINVAL', { length: 1n, start: 8n * PAGE }],
    ['revoked, before alignment and areas', 'ENODEV', { iova: 0x10001n, revoked: true }],
    ['alignment', 'EINVAL', { iova: 0x10001n }],
    ['an area in the way', 'EEXIST', { iova: 0x10000n }],
  ];
  for (const [name, code, { start = 0n, length = PAGE, iova = 0x30000n, revoked = false }] of rows) {
    test(name, async () => {
      const { world, table, bar } = setting();
      await world.domain(table);
      await table.map({ file: bar, start: 0n, iova: 0x10000n, length: PAGE, prot: 'rw' });
      if (revoked) await bar.revoke();
      await world.unchanged(() =>
        expectError(table.map({ file: bar, start, length, iova, prot: 'rw' }), code as 'EINVAL'),
      );
    });
  }

  test('a chosen IOVA suits the offset', async () => {
    const { table, bar } = setting();
    expect(await table.map({ file: bar, start: 2n * PAGE, length: 6n * PAGE, prot: 'r' })).toBe(0x2000n);
    expect(await table.map({ file: bar, start: 0n, length: 8n * PAGE, prot: 'r' })).toBe(0x8000n);
    expect(await table.map({ file: bar, start: 0x1234n, length: 1n, prot: 'r' })).toBe(0x1234n);
    expect([...table.state.areas].map((area) => area.fileOffset)).toEqual([0x1234n, 0x2000n, 0n]);
    table.check();
  });
});

describe('a dma-buf that is mapped', () => {
  test('is neither pinned nor charged, and in one run', async () => {
    const { world, table, bar } = setting(3);
    const domain = new RecordingDomain({ ioPage: 2048 });
    await table.map({ file: bar, start: 0n, iova: 0x10000n, length: 3n * PAGE, prot: 'rw' });
    await world.domain(table, domain);
    expect(domain.requests).toEqual([`map 0x10000 to 0x${(bar.pfn * 4096).toString(16)} + 0x3000 rw`]);
    const [area] = [...table.state.areas];
    expect([world.physical.pinned, area!.pages!.npinned]).toEqual([0, 0]);
    world.check();
    await table.unmapAll();
    expect(domain.mappedBytes).toBe(0n);
    world.check();
  });

  test('page by page where large pages are disabled', async () => {
    const { world, table, bar } = setting(3);
    await table.setLargePages(false);
    const domain = await world.domain(table, new RecordingDomain({}));
    await table.map({ file: bar, start: PAGE, iova: 0x10000n, length: 2n * PAGE, prot: 'rw' });
    expect(domain.requests).toHaveLength(2);
    world.check();
  });

  test('from the middle of a page', async () => {
    const { world, table, bar } = setting(3);
    const domain = await world.domain(table, new RecordingDomain({ ioPage: 2048 }));
    await table.map({ file: bar, start: 0x800n, iova: 0x10800n, length: 0x1000n, prot: 'rw' });
    expect(domain.iovaToPhys(0x11000n)).toBe(BigInt(bar.pfn + 1) * PAGE);
    world.check();
  });

  test('one device writes into the memory of another', async () => {
    const { world, table, bar } = setting();
    const domain = await world.domain(table);
    const iova = await table.map({ file: bar, start: PAGE, length: 2n * PAGE, prot: 'rw' });
    deviceWrite(domain, world.process, iova + PAGE - 1n, Uint8Array.of(1, 2));
    expect([...new Uint8Array(bar.buffer, 8191, 2)]).toEqual([1, 2]);
  });

  test('cannot be touched by the CPU: EINVAL, after EPERM', async () => {
    const { world, table, bar } = setting();
    await table.map({ memory: world.process, uptr: USER, iova: 0xf000n, length: PAGE, prot: 'rw' });
    await table.map({ file: bar, start: 0n, iova: 0x10000n, length: PAGE, prot: 'r' });
    const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
    await access.attach(table);
    for (const domain of [false, true]) {
      if (domain) {
        world.process.locked!.user.limitPages = 1;
        await world.domain(table);
      }
      const before = world.physical.pinned;
      await expectError(access.pin(0x10000n, PAGE), 'EINVAL');
      await expectError(access.pin(0x10000n, PAGE, { write: true }), 'EPERM');
      await expectError(access.read(0x10000n, new Uint8Array(1)), 'EINVAL');
      await expectError(access.read(0x10000n, new Uint8Array(1), { slow: true }), 'EINVAL');
      await expectError(access.write(0x10000n, new Uint8Array(1)), 'EPERM');
      expectErrorNow(() => access.pinSync(0x10000n, PAGE), 'EINVAL');
      expectErrorNow(() => access.readSync(0x10000n, new Uint8Array(1)), 'EINVAL');
      expect(world.physical.pinned).toBe(before);
      world.check();
    }
  });

  test('is never split, wherever the cut is not one byte from an end', async () => {
    const { world, table, bar } = setting();
    await table.setLargePages(false);
    await table.map({ file: bar, start: 0n, iova: 0x10000n, length: 2n * PAGE, prot: 'rw' });
    await world.unchanged(async () => {
      for (const at of [0x10fffn, 0x10001n]) await expectError(table.cutIova([at]), 'EOPNOTSUPP');
      await table.cutIova([0x10000n, 0x11fffn]);
    });
  });

  test('is copied, and goes with the last of its areas', async () => {
    const { world, table, bar } = setting();
    const other = world.table();
    await world.domain(table);
    await world.domain(other);
    await table.map({ file: bar, start: 0n, iova: 0x10000n, length: 4n * PAGE, prot: 'r' });
    await expectError(other.copy({ from: table, srcIova: 0x10000n, length: PAGE, prot: 'w' }), 'EPERM');
    const iova = await other.copy({ from: table, srcIova: 0x11000n, length: 2n * PAGE, prot: 'r' });
    expect(world.domains[1]!.iovaToPhys(iova)).toBe(BigInt(bar.pfn + 1) * PAGE);
    world.check();
    expect(table.unmapAllSync()).toBe(4n * PAGE);
    world.check();
    expect(other.unmapAllSync()).toBe(2n * PAGE);
    expect(world.domains.map(({ mappedBytes }) => mappedBytes)).toEqual([0n, 0n]);
    world.check();
  });
});

describe('revocation', () => {
  async function mapped() {
    const { world, table, bar } = setting();
    const other = world.table();
    const [first, second, third] = [
      await world.domain(table),
      await world.domain(table, new RecordingDomain({ ioPage: 2048 })),
      await world.domain(other),
    ];
    await table.map({ file: bar, start: 0n, iova: 0x10000n, length: 4n * PAGE, prot: 'rw' });
    await other.copy({ from: table, srcIova: 0x11000n, iova: 0x20000n, length: PAGE, prot: 'rw' });
    world.check();
    return { world, table, other, bar, first, second, third };
  }

  test('empties all domains of all tables at once, for good', async () => {
    const { world, table, other, bar, first, second, third } = await mapped();
    const revoking = bar.revoke();
    expect([first, second, third].map(({ mappedBytes }) => mappedBytes)).toEqual([0n, 0n, 0n]);
    await revoking;
    world.check();
    expect(() => deviceRead(first, world.process, 0x10000n, new Uint8Array(1))).toThrow(DmaFault);
    bar.restore();
    // Copies, and new domains, of what was taken back are empty.
    await table.copy({ from: table, srcIova: 0x10000n, iova: 0x90000n, length: 2n * PAGE, prot: 'r' });
    const later = await world.domain(table);
    expect(later.mappedBytes).toBe(0n);
    world.check();
    // A new mapping is not.
    await table.map({ file: bar, start: 0n, iova: 0x40000n, length: PAGE, prot: 'rw' });
    expect(first.mappedBytes).toBe(PAGE);
    world.check();
    await table.removeDomain(first);
    world.check();
    expect(table.unmapSync(0x10000n, 4n * PAGE)).toBe(4n * PAGE);
    expect(await other.unmapAll()).toBe(PAGE);
    expect(await table.unmapAll()).toBe(3n * PAGE);
    world.check();
  });

  test('while no domain has it', async () => {
    const { world, table, bar } = setting();
    await table.map({ file: bar, start: 0n, iova: 0x10000n, length: PAGE, prot: 'rw' });
    await bar.invalidate();
    expect(bar.revoked).toBe(false);
    const domain = await world.domain(table);
    expect(domain.mappedBytes).toBe(0n);
    world.check();
  });

  test('by the domain itself, while it maps', async () => {
    const { world, table, bar } = setting();
    class Revoking extends RecordingDomain {
      override map(iova: bigint, physical: bigint, size: bigint, protection: number): void {
        super.map(iova, physical, size, protection);
        void bar.revoke();
      }
    }
    const domain = await world.domain(table, new Revoking());
    await table.map({ file: bar, start: 0n, iova: 0x10000n, length: PAGE, prot: 'rw' });
    expect(domain.mappedBytes).toBe(0n);
    world.check();
  });

  test('waits for devices', async () => {
    const { world, table, bar } = setting();
    let flushed!: () => void;
    class Busy extends RecordingDomain {
      flush(): Promise<void> {
        return new Promise((resolve) => {
          flushed = resolve;
        });
      }
    }
    const domain = await world.domain(table, new Busy());
    await table.map({ file: bar, start: 0n, iova: 0x10000n, length: PAGE, prot: 'rw' });
    let over = false;
    const revoking = bar.revoke().then(() => {
      over = true;
    });
    expect(domain.mappedBytes).toBe(0n);
    await new Promise(setImmediate);
    expect(over).toBe(false);
    flushed();
    await revoking;
    world.check();
  });

  test('a domain that refuses a map leaves nothing behind', async () => {
    const { world, table, bar } = setting();
    const domain = await world.domain(table);
    const refusing = await world.domain(table, new RecordingDomain());
    refusing.mapsLeft = 0;
    await world.unchanged(() =>
      expectError(table.map({ file: bar, start: 0n, length: PAGE, prot: 'r' }), 'ENOMEM'),
    );
    await bar.revoke();
    expect(domain.mappedBytes).toBe(0n);
  });
});
