import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import type { PinnedRange } from '../../src/access/pinned-range.js';
import { MAX_U64 } from '../../src/u64.js';
import { expectError } from '../helpers/expect-error.js';
import { settled, watch } from '../helpers/watch.js';
import { PAGE, SCATTERED, USER, World } from '../helpers/world.js';

/** A table with [0x1000, 0x2fff] and [0x3000, 0x3fff], rw. */
async function stage() {
  const world = new World();
  const table = world.table();
  await table.map({ uptr: SCATTERED, iova: 0x1000n, length: 2n * PAGE, prot: 'rw' });
  await table.map({ uptr: USER, iova: 0x3000n, length: PAGE, prot: 'rw' });
  return { world, table };
}

describe('the pages of a pinned range', () => {
  test('are live views of 4096 bytes, one for each page in order', async () => {
    const { world, table } = await stage();
    const range = await table.access(0x1000n, 3n * PAGE, { write: true });
    expect([range.iova, range.length, range.pages.length]).toEqual([0x1000n, 3n * PAGE, 3]);
    expect(range.pages.map((page) => page.length)).toEqual([4096, 4096, 4096]);
    expect(range.pages).toBe(range.pages);
    for (const [number, uptr] of [SCATTERED, SCATTERED + PAGE, USER].entries()) {
      world.process.write(uptr + 7n, Uint8Array.of(number + 1));
      expect(range.pages[number]![7]).toBe(number + 1);
      range.pages[number]![8] = number + 10;
      expect(world.process.read(uptr + 8n, 1n)).toEqual(Uint8Array.of(number + 10));
    }
    await range.release();
    world.check();
  });

  test('of contiguous memory are one for each page, too', async () => {
    const world = new World();
    const table = world.table();
    await table.map({ uptr: USER, iova: 0n, length: 4n * PAGE, prot: 'r' });
    world.process.write(USER + PAGE, Uint8Array.of(42));
    const range = await table.access(PAGE, 3n * PAGE - 5n);
    expect(range.pages).toHaveLength(3);
    expect(range.pages[0]![0]).toBe(42);
  });
});

describe('releasing', () => {
  test('unpins, and gives back the alignment', async () => {
    const { world, table } = await stage();
    const range = await table.access(0x1000n, 2n * PAGE);
    expect([world.physical.pinned, table.alignment, table.snapshot().accesses]).toEqual([2, 4096, 1]);
    expect(range.released).toBe(false);
    await range.release();
    expect([range.released, world.physical.pinned, table.alignment]).toEqual([true, 0, 1]);
    await world.unchanged(() => range.release());
  });

  test('by using, at the end of the block', async () => {
    const { world, table } = await stage();
    let kept: PinnedRange;
    {
      using range = await table.access(0x1000n, 2n * PAGE);
      kept = range;
      expect(world.physical.pinned).toBe(2);
    }
    expect([kept.released, world.physical.pinned, table.snapshot().accesses]).toEqual([true, 0, 0]);
    world.check();
  });

  test('by using while the table is busy, right after that', async () => {
    const { world, table } = await stage();
    await table.state.iovaLock.write();
    {
      const opening = table.access(0x1000n, PAGE);
      table.state.iovaLock.releaseWrite();
      using _range = await opening;
      await table.state.iovaLock.write();
    }
    expect(world.physical.pinned).toBe(1);
    table.state.iovaLock.releaseWrite();
    await settled();
    expect([world.physical.pinned, table.snapshot().accesses]).toEqual([0, 0]);
    world.check();
  });
});

describe('an unmap', () => {
  test('of any area it reaches into makes a range release itself', async () => {
    const { world, table } = await stage();
    const [both, second] = [await table.access(0x1000n, 3n * PAGE), await table.access(0x2000n, PAGE)];
    expect(await table.unmap(0x3000n, PAGE)).toBe(PAGE);
    expect([both.released, second.released, world.physical.pinned]).toEqual([true, false, 1]);
    expect(await table.unmap(0x1000n, 2n * PAGE)).toBe(2n * PAGE);
    expect([second.released, world.physical.pinned, table.snapshot().accesses]).toEqual([true, 0, 0]);
    world.check();
  });

  test('asks onUnmap instead, and waits for it', async () => {
    const { world, table } = await stage();
    const notices: unknown[] = [];
    let letGo = () => {};
    const range = await table.access(0x2000n, PAGE, {
      onUnmap: async (area) => {
        notices.push(area);
        await new Promise<void>((resolve) => {
          letGo = resolve;
        });
        await range.release();
      },
    });
    const unmap = watch(table.unmap(0x1000n, 2n * PAGE));
    await settled();
    expect([unmap.state, range.released, notices]).toEqual([
      'pending',
      false,
      [{ iova: 0x1000n, length: 0x2000n }],
    ]);
    letGo();
    await settled();
    expect([unmap.value, range.released]).toEqual([2n * PAGE, true]);
    world.check();
  });

  test('of other areas does not concern it', async () => {
    const { world, table } = await stage();
    const range = await table.access(0x1000n, PAGE, { onUnmap: () => expect.fail('not its area') });
    const other = await table.access(0x3000n, PAGE);
    await table.unmap(0x3000n, PAGE);
    expect([range.released, other.released]).toEqual([false, true]);
    await range.release();
    world.check();
  });

  test('hands onUnmap the range, which nobody else may have yet', async () => {
    const { world, table } = await stage();
    let told: PinnedRange | undefined;
    const pinning = table.access(0x3000n, PAGE, {
      onUnmap: (_, pinned) => {
        told = pinned;
        return pinned.release();
      },
    });
    expect(await table.unmap(0x3000n, PAGE)).toBe(PAGE);
    const range = await pinning;
    expect(range).toBe(told);
    expect(range.released).toBe(true);
    world.check();
  });

  test('gives up on an onUnmap that does not let go: EDEADLOCK', async () => {
    const { world, table } = await stage();
    let asked = 0;
    const range = await table.access(0x1000n, PAGE, {
      onUnmap: () => {
        asked += 1;
      },
    });
    await expectError(table.unmap(0x1000n, 2n * PAGE), 'EDEADLOCK');
    expect([asked, range.released, range.pages.length]).toEqual([101, false, 1]);
    await range.release();
    expect(await table.unmap(0x1000n, 2n * PAGE)).toBe(2n * PAGE);
    world.check();
  });

  test('within which a range is opened elsewhere does not disturb it', async () => {
    const { world, table } = await stage();
    const access: IoptAccess = new IoptAccess({
      needsPin: true,
      async onUnmap({ iova }) {
        if (iova !== 0x1000n) return;
        using range = await table.access(0x3000n, PAGE);
        expect(range.pages).toHaveLength(1);
        await expectError(table.access(0x1000n, PAGE), 'EINVAL');
        await access.unpin(0x1000n, PAGE);
      },
    });
    await access.attach(table);
    await access.pin(0x1000n, PAGE);
    expect(await table.unmap(0x1000n, 2n * PAGE)).toBe(2n * PAGE);
    world.check();
  });
});

describe('opening', () => {
  test.each([
    ['length 0', 0x1000n, 0n, 'EINVAL'],
    ['past 2^64 - 1', 0x1000n, MAX_U64, 'EOVERFLOW'],
    ['a hole', 0x3000n, 2n * PAGE, 'ENOENT'],
    ['the middle of a page', 0x1800n, PAGE, 'EINVAL'],
  ] as const)('%s: refused without a trace', async (_what, iova, length, code) => {
    const { world, table } = await stage();
    await world.unchanged(async () => {
      const error = await expectError(table.access(iova, length), code);
      expect(error.syscall).toBe(length === 0n || length === MAX_U64 ? 'access' : 'pin');
    });
  });

  test('a table with areas that are not page aligned: EADDRINUSE', async () => {
    const { world, table } = await stage();
    await table.map({ uptr: USER, iova: 0x8001n, length: 1n, prot: 'r' });
    await world.unchanged(() => expectError(table.access(0x1000n, PAGE), 'EADDRINUSE'));
  });

  test('for writing needs a writable mapping: EPERM', async () => {
    const { world, table } = await stage();
    await table.map({ uptr: USER, iova: 0x8000n, length: PAGE, prot: 'r' });
    await world.unchanged(() => expectError(table.access(0x8000n, PAGE, { write: true }), 'EPERM'));
    const range = await table.access(0x8000n, PAGE);
    await range.release();
    world.check();
  });

  test('runs to its end before the promise is returned', async () => {
    const { world, table } = await stage();
    const opening = table.access(0x1000n, PAGE);
    expect(world.physical.pinned).toBe(1);
    void (await opening).release();
    expect([world.physical.pinned, table.snapshot().accesses]).toEqual([0, 0]);
    world.check();
  });
});
