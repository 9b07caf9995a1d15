/** Pins and unpins: rows P of docs/checks.md. */
import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import type { FrameRuns } from '../../src/memory/frame-runs.js';
import { MAX_U64 } from '../../src/u64.js';
import { expectError } from '../helpers/expect-error.js';
import { settled, watch } from '../helpers/watch.js';
import { NOWHERE, PAGE, READ_ONLY, USER, World } from '../helpers/world.js';

const frames = (runs: FrameRuns) => Array.from({ length: runs.frames }, (_, at) => runs.at(at));

function accessOf(): IoptAccess {
  return new IoptAccess({ needsPin: true, onUnmap: () => undefined });
}

/** Areas: [0x1000, 0x2fff] rw, then [0x3000, 0x3fff] r, then [0x4000, 0x4fff] w, a gap, [0x8000, 0x8fff] rw. */
async function stage() {
  const world = new World();
  const table = world.table();
  await table.map({ uptr: USER, iova: 0x1000n, length: 2n * PAGE, prot: 'rw' });
  await table.map({ uptr: USER + 8n * PAGE, iova: 0x3000n, length: PAGE, prot: 'r' });
  await table.map({ uptr: USER + 16n * PAGE, iova: 0x4000n, length: PAGE, prot: 'w' });
  await table.map({ uptr: USER + 24n * PAGE, iova: 0x8000n, length: PAGE, prot: 'rw' });
  const access = accessOf();
  await access.attach(table);
  const frame = (page: bigint) => world.process.frameOf(USER + page * PAGE);
  return { world, table, access, frame };
}

describe('the checks of a pin, in order', () => {
  test('1: an access that cannot pin, or has no callback: EINVAL, even for nothing', async () => {
    const { table } = await stage();
    for (const access of [
      new IoptAccess({ needsPin: false, onUnmap: () => undefined }),
      new IoptAccess({ needsPin: true }),
    ]) {
      await expectError(access.pin(0x1000n, PAGE), 'EINVAL');
      await access.attach(table);
      const error = await expectError(access.pin(0x1000n, PAGE), 'EINVAL');
      expect([error.reason.check, error.syscall, error.range]).toEqual(['state', 'pin', '[0x1000, 0x1fff]']);
    }
  });

  test('2, 3 come before 4: length 0 EINVAL, past 2^64 - 1 EOVERFLOW, then not attached ENOENT', async () => {
    const access = accessOf();
    await expectError(access.pin(0x1000n, 0n), 'EINVAL');
    await expectError(access.pin(0x1000n, MAX_U64), 'EOVERFLOW');
    await expectError(access.pin(0x1000n, PAGE), 'ENOENT');
  });

  test('6: not at the start of a page of the memory: EINVAL', async () => {
    const { world, access } = await stage();
    await world.unchanged(() => expectError(access.pin(0x1800n, PAGE), 'EINVAL'));
  });

  test('7: an area that ends mid-page, if the range goes on after it: EINVAL', async () => {
    const world = new World();
    const from = world.table();
    await from.map({ uptr: USER, iova: 0x10000n, length: 2560n, prot: 'rw' });
    await from.map({ uptr: USER + PAGE, iova: 0x10a00n, length: 1536n, prot: 'rw' });
    const table = world.table();
    const access = accessOf();
    await access.attach(table);
    // The second area begins mid-page in iova, at a page boundary of its memory.
    await table.copy({ from, srcIova: 0x10000n, iova: 0x1000n, length: 4096n, prot: 'rw' });
    await world.unchanged(() => expectError(access.pin(0x1000n, PAGE), 'EINVAL'));
    // It is the offset in the memory that counts, not the iova.
    expect(frames(await access.pin(0x1a00n, 1536n))).toEqual([world.process.frameOf(USER + PAGE)]);
    expect(frames(await access.pin(0x1000n, 2560n))).toEqual([world.process.frameOf(USER)]);
    world.check();
  });

  test('8: without the permission asked for: EPERM naming the area', async () => {
    const { world, access } = await stage();
    for (const [iova, write, area] of [
      [0x3000n, true, '0x3000'],
      [0x4000n, false, '0x4000'],
    ] as const) {
      await world.unchanged(async () => {
        const error = await expectError(access.pin(iova, PAGE, { write }), 'EPERM');
        const wanted = write ? 'write' : 'read';
        expect(error.reason).toMatchObject({ check: 'permission', wanted, area: { iova: area } });
      });
    }
    // A write pin needs nothing but W, a read pin nothing but R.
    await access.pin(0x4000n, PAGE, { write: true });
    await access.pin(0x3000n, PAGE);
    world.check();
  });

  test('9: a writable area has writable pages, so read-only memory is refused by its area', async () => {
    const { world, table, access } = await stage();
    await table.map({ uptr: READ_ONLY, iova: 0x20000n, length: PAGE, prot: 'r' });
    await world.unchanged(() => expectError(access.pin(0x20000n, PAGE, { write: true }), 'EPERM'));
    expect((await access.pin(0x20000n, PAGE)).frames).toBe(1);
  });

  test('10: memory that is not there: EFAULT', async () => {
    const { world, table, access } = await stage();
    await table.map({ uptr: NOWHERE, iova: 0x9000n, length: PAGE, prot: 'rw' });
    await world.unchanged(async () => {
      const error = await expectError(access.pin(0x8000n, 2n * PAGE), 'EFAULT');
      expect(error.reason).toMatchObject({ check: 'memory', uptr: '0x40000000' });
    });
  });

  test('11: a hole comes after what the areas before it say', async () => {
    const { world, access } = await stage();
    const pin = (iova: bigint, length: bigint, write = false) => access.pin(iova, length, { write });
    await world.unchanged(() => expectError(pin(0n, 2n * PAGE), 'ENOENT'));
    await world.unchanged(() => expectError(pin(0x4000n, 2n * PAGE, true), 'ENOENT'));
    await world.unchanged(() => expectError(pin(0x3000n, 4n * PAGE, true), 'EPERM'));
    await world.unchanged(async () => {
      const error = await expectError(pin(0x1000n, 8n * PAGE), 'EPERM');
      expect(error.reason).toMatchObject({ area: { iova: '0x4000' } });
    });
  });
});

describe('a pin', () => {
  test('gives a frame for each page covered, area by area', async () => {
    const { access, frame } = await stage();
    expect(frames(await access.pin(0x1000n, 3n * PAGE))).toEqual([frame(0n), frame(1n), frame(8n)]);
    // The end may be anywhere in a page.
    expect(frames(await access.pin(0x2000n, PAGE + 100n))).toEqual([frame(1n), frame(8n)]);
    expect(frames(await access.pin(0x2000n, 1n))).toEqual([frame(1n)]);
  });

  test('counts in every area it goes through, and is taken back by the same range only', async () => {
    const { world, table, access } = await stage();
    await access.pin(0x1000n, 3n * PAGE);
    const pins = () => table.snapshot().areas.map((area) => area.pins);
    expect(pins()).toEqual([1, 1, 0, 0]);
    for (const [iova, length, code] of [
      [0x1000n, 2n * PAGE - 1n, undefined],
      [0x8000n, PAGE, 'EINVAL'],
      [0x1000n, 0n, 'EINVAL'],
      [0x1000n, MAX_U64, 'EOVERFLOW'],
      [0x2000n, PAGE, 'EINVAL'],
      [0x9000n, PAGE, 'EINVAL'],
    ] as const) {
      if (code !== undefined) await world.unchanged(() => expectError(access.unpin(iova, length), code));
    }
    await access.unpin(0x1000n, 3n * PAGE);
    expect([pins(), world.physical.pinned]).toEqual([[0, 0, 0, 0], 0]);
    world.check();
  });

  test('a range that covers the same pages is the same pin', async () => {
    const { world, access } = await stage();
    await access.pin(0x1000n, 2n * PAGE);
    await access.unpin(0x1000n, PAGE + 1n);
    expect(world.physical.pinned).toBe(0);
    world.check();
  });

  test('unpin of more than was pinned takes back the parts that were, and says so', async () => {
    const { world, table, access } = await stage();
    await access.pin(0x1000n, 2n * PAGE);
    await expectError(access.unpin(0x1000n, 3n * PAGE), 'EINVAL');
    expect([table.snapshot().areas[0]!.pins, world.physical.pinned]).toEqual([0, 0]);
    world.check();
  });

  test('an access that is not attached has nothing to unpin: ENOENT', async () => {
    await expectError(accessOf().unpin(0x1000n, PAGE), 'ENOENT');
  });

  test('holds the table for reading while it waits for memory: other pins go on, an unmap waits', async () => {
    const { world, table, access } = await stage();
    const other = accessOf();
    await other.attach(table);
    await other.pin(0x3000n, PAGE);
    world.memory.close();
    const first = watch(access.pin(0x1000n, PAGE));
    const again = watch(other.pin(0x3000n, PAGE));
    await settled();
    expect([first.state, again.state]).toEqual(['pending', 'fulfilled']);
    const unmap = watch(table.unmap(0x8000n, PAGE));
    // It came after the unmap, in the same tick, and is had after it.
    const late = watch(other.pin(0x8000n, PAGE));
    await settled();
    expect([unmap.state, late.state]).toEqual(['pending', 'pending']);
    world.memory.open();
    await settled();
    expect([first.state, unmap.state, late.error]).toMatchObject([
      'fulfilled',
      'fulfilled',
      { code: 'ENOENT' },
    ]);
    world.check();
  });

  test('a second pin of the same pages waits for the first and shares its frames', async () => {
    const { world, table, access } = await stage();
    const other = accessOf();
    await other.attach(table);
    world.memory.close();
    const first = watch(access.pin(0x1000n, 2n * PAGE));
    const second = watch(other.pin(0x1000n, 2n * PAGE));
    await settled();
    expect([first.state, second.state, world.memory.pending.length]).toEqual(['pending', 'pending', 1]);
    world.memory.open();
    await settled();
    expect(frames(second.value!)).toEqual(frames(first.value!));
    expect([world.memory.pins.length, world.physical.pinned]).toEqual([1, 2]);
    world.check();
  });

  test('runs to its end before the promise is returned', async () => {
    const { world, table, access } = await stage();
    void access.pin(0x1000n, 3n * PAGE);
    expect([world.physical.pinned, table.snapshot().areas[0]!.pins]).toEqual([3, 1]);
    void access.unpin(0x1000n, 3n * PAGE);
    expect(world.physical.pinned).toBe(0);
    world.check();
  });
});
