import { describe, expect, test } from 'vitest';
import { Attachment } from '../../src/access/attachment.js';
import { IoptAccess, type UnmapNotice } from '../../src/access/iopt-access.js';
import { MAX_U64 } from '../../src/u64.js';
import { expectError } from '../helpers/expect-error.js';
import { settled, watch } from '../helpers/watch.js';
import { PAGE, USER, World } from '../helpers/world.js';

function accessOf(onUnmap: (notice: UnmapNotice) => void | Promise<void> = () => undefined): IoptAccess {
  return new IoptAccess({ needsPin: true, onUnmap });
}

/** Two tables, each with the same page at 0x1000. */
async function twoTables() {
  const world = new World();
  const [a, b] = [world.table(), world.table()];
  await a.map({ uptr: USER, iova: 0x1000n, length: PAGE, prot: 'rw' });
  await b.copy({ from: a, srcIova: 0x1000n, iova: 0x1000n, length: PAGE, prot: 'rw' });
  return { world, a, b };
}

test('a table forgets the accesses that leave it', async () => {
  const world = new World();
  const table = world.table();
  const accesses = [0, 1, 2].map(() => new IoptAccess({ needsPin: false }));
  for (const access of accesses) await access.attach(table);
  for (const [number, left] of [
    [1, 3],
    [2, 1],
    [0, 0],
  ] as const) {
    await accesses[number]!.detach();
    expect(table.state.accesses).toHaveLength(left);
  }
});

describe('attach', () => {
  test('raises the alignment to 4096 for an access that pins, and not for one that does not', async () => {
    const { a, b } = await twoTables();
    const [pins, reads] = [accessOf(), new IoptAccess({ needsPin: false })];
    await pins.attach(a);
    await reads.attach(b);
    expect([a.alignment, b.alignment]).toEqual([4096, 1]);
    expect([pins.table, a.snapshot().accesses]).toEqual([a, 1]);
    await pins.detach();
    expect([pins.table, a.snapshot().accesses, a.alignment]).toEqual([undefined, 0, 1]);
  });

  test('twice: EINVAL, wherever to', async () => {
    const { world, a, b } = await twoTables();
    const access = accessOf();
    await access.attach(a);
    for (const table of [a, b]) {
      await world.unchanged(async () => {
        const error = await expectError(access.attach(table), 'EINVAL');
        expect(error.syscall).toBe('attach');
      });
    }
    expect(access.table).toBe(a);
  });

  test('twice at once: the second is EINVAL, too', async () => {
    const { world, a, b } = await twoTables();
    const access = accessOf();
    await a.state.domainsLock.read();
    const first = watch(access.attach(a));
    const second = watch(access.attach(b));
    await settled();
    a.state.domainsLock.releaseRead();
    await settled();
    expect([first.state, second.error]).toMatchObject(['fulfilled', { code: 'EINVAL', syscall: 'attach' }]);
    expect([a.snapshot().accesses, b.snapshot().accesses]).toEqual([1, 0]);
    world.check();
  });

  test('to a table with an area that is not page aligned: EADDRINUSE naming it', async () => {
    const { world, a } = await twoTables();
    const access = accessOf();
    await a.map({ uptr: USER + 0x800n, iova: 0x10000n, length: PAGE, prot: 'r' });
    await world.unchanged(async () => {
      const error = await expectError(access.attach(a), 'EADDRINUSE');
      expect(error.reason).toMatchObject({ what: 'page offset', value: '0x800', area: { iova: '0x10000' } });
    });
    expect(access.table).toBeUndefined();
    await a.unmap(0x10000n, PAGE);
    await access.attach(a);
  });

  test('the 65,537th access of a table: EBUSY', async () => {
    const { world, a } = await twoTables();
    const { accesses } = a.state;
    for (let number = 0; number < 65536; number++) {
      accesses.push({ iovaAlignment: 1, notifyUnmap: () => undefined });
    }
    await world.unchanged(() => expectError(accessOf().attach(a), 'EBUSY'));
    accesses[77] = undefined;
    const access = accessOf();
    await access.attach(a);
    expect(accesses[77]).toBeInstanceOf(Attachment);
    expect(accesses).toHaveLength(65536);
  });
});

describe('replace and detach', () => {
  test('replace an access that is not attached: ENOENT; detach it: nothing', async () => {
    const { world, a } = await twoTables();
    const access = accessOf(() => expect.fail('there is nothing to let go of'));
    await world.unchanged(() => expectError(access.replace(a), 'ENOENT'));
    await world.unchanged(() => access.detach());
  });

  test('replace by the same table: nothing', async () => {
    const { world, a } = await twoTables();
    const access = accessOf(() => expect.fail('there is nothing to let go of'));
    await access.attach(a);
    await world.unchanged(() => access.replace(a));
  });

  test('both ask to let go of (0, 2^64 - 1) first, while the access is in neither table for new pins', async () => {
    const { world, a, b } = await twoTables();
    const notices: unknown[] = [];
    const access = accessOf(async (notice) => {
      notices.push(
        notice,
        access.table,
        [a, b].map((table) => table.snapshot().accesses),
      );
      await expectError(access.pin(0x1000n, PAGE), 'ENOENT');
      await expectError(access.read(0x1000n, new Uint8Array(1)), 'ENOENT');
      // Unpinning goes to the table that is being left.
      await access.unpin(0x1000n, PAGE);
    });
    await access.attach(a);
    await access.pin(0x1000n, PAGE);
    await access.replace(b);
    expect(notices).toEqual([{ iova: 0n, length: MAX_U64 }, undefined, [1, 1]]);
    expect([access.table, a.snapshot().accesses, b.snapshot().accesses]).toEqual([b, 0, 1]);
    await access.pin(0x1000n, PAGE);
    await access.detach();
    expect(notices.slice(3)).toEqual([{ iova: 0n, length: MAX_U64 }, undefined, [0, 1]]);
    expect(world.physical.pinned).toBe(0);
    world.check();
  });

  test('within that window replace is ENOENT, detach does nothing and attach is EBUSY, to whatever table', async () => {
    const { world, a, b } = await twoTables();
    const third = world.table();
    let times = 0;
    const access = accessOf(async () => {
      if ((times += 1) > 1) return;
      await expectError(access.replace(a), 'ENOENT');
      await access.detach();
      for (const table of [a, b, third]) {
        const error = await expectError(access.attach(table), 'EBUSY');
        expect(error.syscall).toBe('attach');
      }
    });
    await access.attach(a);
    await access.replace(b);
    expect(access.table).toBe(b);
    expect([a, b, third].map((table) => table.snapshot().accesses)).toEqual([0, 1, 0]);
    expect([a.alignment, b.alignment]).toEqual([1, 4096]);
    world.check();
    await access.detach();
    expect(b.snapshot().accesses).toBe(0);
    world.check();
  });

  test('a replace that the new table refuses leaves the access where it was, with its pins', async () => {
    const { world, a, b } = await twoTables();
    await b.map({ uptr: USER + 0x800n, iova: 0x10000n, length: PAGE, prot: 'r' });
    const access = accessOf(() => expect.fail('it does not leave'));
    await access.attach(a);
    await access.pin(0x1000n, PAGE);
    await world.unchanged(() => expectError(access.replace(b), 'EADDRINUSE'));
    expect(access.table).toBe(a);
    await access.unpin(0x1000n, PAGE);
    world.check();
  });

  test('a callback that throws keeps the access where it was', async () => {
    const { world, a, b } = await twoTables();
    const broken = new Error('broken');
    const access = accessOf(() => Promise.reject(broken));
    await access.attach(a);
    await world.unchanged(() => expect(access.replace(b)).rejects.toBe(broken));
    await world.unchanged(() => expect(access.detach()).rejects.toBe(broken));
    expect(access.table).toBe(a);
    await access.pin(0x1000n, PAGE);
    world.check();
  });

  test('an access without a callback just leaves', async () => {
    const { world, a, b } = await twoTables();
    const access = new IoptAccess({ needsPin: false });
    await access.attach(a);
    await access.replace(b);
    expect([a, b].map((table) => table.snapshot().accesses)).toEqual([0, 1]);
    await access.detach();
    world.check();
  });

  test('pages of one table stay pinned through another while the access moves', async () => {
    const world = new World();
    const [first, second, third] = [world.table(), world.table(), world.table()];
    await first.map({ uptr: USER, iova: 0x1000n, length: 2n * PAGE, prot: 'rw' });
    const notices: UnmapNotice[] = [];
    const access = accessOf(async (notice) => {
      notices.push(notice);
      await access.unpin(0x1000n, 2n * PAGE);
    });
    await access.attach(first);
    const pinned = await access.pin(0x1000n, 2n * PAGE);
    const domain = await world.domain(second);
    await second.copy({ from: first, srcIova: 0x1000n, iova: 0x8000n, length: 2n * PAGE, prot: 'rw' });
    expect([world.memory.pins.length, world.physical.pinned]).toEqual([1, 2]);
    expect(domain.iovaToPhys(0x8000n)).toBe(BigInt(pinned.at(0)) * PAGE);
    await access.replace(third);
    expect(notices).toEqual([{ iova: 0n, length: MAX_U64 }]);
    const { pages } = [...first.state.areas][0]!;
    expect([pages!.store, pages!.npinned, world.physical.pinned]).toEqual([undefined, 2, 2]);
    world.check();
  });
});
