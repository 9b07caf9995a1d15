/** Handing what is mapped over to another process: all or nothing, and the charges with it. */
import { describe, expect, test } from 'vitest';
import { Iommufd } from '../../src/iommufd/iommufd.js';
import { DmaBufExporter } from '../../src/memory/dma-buf-exporter.js';
import { ForwardingMemory } from '../../src/memory/forwarding-memory.js';
import { MemoryFile } from '../../src/memory/memory-file.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import { GatedMemory } from '../helpers/gated-memory.js';
import { settled, watch } from '../helpers/watch.js';
import { APERTURE, bindMock, failure, outcome, PAGE } from './setting.js';

type Accounting = 'user' | 'mm';

/** Two processes on one machine, a file of 16 pages, and an iommufd of the first with an attached address space. */
async function setting(
  pages: number,
  { accounting = 'user' as Accounting, same = false, more = pages } = {},
) {
  const old = new ProcessMemory({ lockedLimit: BigInt(pages) * PAGE });
  const successor = same
    ? old.fork()
    : new ProcessMemory({ physical: old.physical, lockedLimit: BigInt(more) * PAGE });
  if (same) {
    successor.locked!.user.limitPages = more;
    successor.locked!.mm.limitPages = more;
  }
  const file = new MemoryFile({ physical: old.physical, size: 16n * PAGE });
  const iommufd = new Iommufd({ memory: old, accounting, profile: 'linux' });
  const ioas = await iommufd.ioasAlloc();
  await (await bindMock(iommufd)).attach(ioas);
  let next = APERTURE;
  const map = (count: number, options: { memory?: ProcessMemory; capable?: () => boolean } = {}) => {
    const iova = next;
    next += 0x10_0000n;
    return iommufd.ioasMapFile({
      ioas,
      file,
      start: 0n,
      iova,
      length: BigInt(count) * PAGE,
      prot: 'rw',
      ...options,
    });
  };
  const charged = () =>
    [old, successor].map(({ locked }) => [locked!.user.lockedPages, locked!.mm.lockedPages]);
  return { old, successor, file, iommufd, ioas, map, charged };
}

describe('what is charged', () => {
  test('moves to the successor, and so does what is pinned later', async () => {
    for (const accounting of ['user', 'mm'] as const) {
      const { successor, iommufd, ioas, map, charged } = await setting(16, { accounting });
      const counts = (...pages: number[]) =>
        pages.map((count) => (accounting === 'user' ? [count, 0] : [0, count]));
      const iova = await map(8);
      const other = await iommufd.ioasAlloc();
      await iommufd.ioasCopy({
        from: ioas,
        srcIova: iova,
        to: other,
        iova: APERTURE,
        length: 4n * PAGE,
        prot: 'r',
      });
      expect(charged()).toEqual(counts(8, 0));
      await iommufd.changeProcess(successor);
      expect(charged()).toEqual(counts(0, 8));
      iommufd.check();
      // Maps of the old process are still its own; what was handed over is unpinned for the successor.
      await map(2);
      expect(charged()).toEqual(counts(2, 8));
      await iommufd.ioasUnmap({ ioas, iova, length: 8n * PAGE });
      expect(charged()).toEqual(counts(2, 0));
      await (await bindMock(iommufd)).attach(other);
      expect(charged()).toEqual(counts(2, 4));
      iommufd.check();
      await iommufd.close();
      expect(charged()).toEqual(counts(0, 0));
    }
  });

  test('inside one user: twice for a moment, once for each of the processes', async () => {
    const six = await setting(14, { same: true });
    await six.map(6);
    await six.iommufd.changeProcess(six.successor);
    expect(six.charged()).toEqual([
      [6, 0],
      [6, 0],
    ]);
    const eight = await setting(14, { same: true });
    await eight.map(8);
    const error = await failure(eight.iommufd.changeProcess(eight.successor));
    expect([error.code, error.syscall]).toEqual(['ENOMEM', 'ioas_change_process']);
    expect(error.reason).toMatchObject({ of: 'user', lockedBytes: 8n * PAGE, neededBytes: 8n * PAGE });
    expect(eight.charged()).toEqual([
      [8, 0],
      [8, 0],
    ]);
    eight.iommufd.check();
    const process = await setting(14, { same: true, accounting: 'mm' });
    await process.map(8);
    await process.iommufd.changeProcess(process.successor);
    expect(process.charged()).toEqual([
      [0, 0],
      [0, 8],
    ]);
  });

  test('to the process itself nothing: it may be beyond its limit', async () => {
    const { old, iommufd, map, charged } = await setting(8);
    await map(8);
    old.locked!.user.limitPages = 1;
    await iommufd.changeProcess(old);
    await iommufd.changeProcess(new ForwardingMemory(old));
    expect(charged()).toEqual([
      [8, 0],
      [0, 0],
    ]);
    iommufd.check();
  });

  test('only what is pinned, and each page once', async () => {
    const { successor, iommufd, ioas, map } = await setting(8, { more: 0 });
    const privileged = await map(4, { capable: () => true });
    await iommufd.ioasCopy({ from: ioas, srcIova: privileged, to: ioas, length: 4n * PAGE, prot: 'r' });
    const lazy = await iommufd.ioasAlloc();
    await iommufd.ioasMapFile({ ioas: lazy, file: new MemoryFile(), start: 0n, length: PAGE, prot: 'r' });
    await iommufd.changeProcess(successor);
    iommufd.check();
    expect(await outcome(iommufd.ioasUnmap({ ioas, iova: 0n, length: 2n ** 64n - 1n }))).toBe('OK');
  });

  test('of a limit that is passed nothing is charged, in either mode', async () => {
    const { old, successor, iommufd, ioas, map, charged } = await setting(16, { more: 8 });
    await map(4);
    const table = iommufd.ioasTable(ioas);
    const file = new MemoryFile({ physical: old.physical, size: 16n * PAGE });
    await table.map({ file, start: 0n, iova: 0x4000_0000n, length: 9n * PAGE, prot: 'r', accounting: 'mm' });
    expect((await failure(iommufd.changeProcess(successor))).reason).toMatchObject({ of: 'process' });
    expect(charged()).toEqual([
      [4, 9],
      [0, 0],
    ]);
    iommufd.check();
    successor.locked!.mm.limitPages = 9;
    await iommufd.changeProcess(successor);
    expect(charged()).toEqual([
      [0, 0],
      [4, 9],
    ]);
  });

  test('the counter of a process that is gone went with it', async () => {
    const { old, successor, iommufd, map, charged } = await setting(8, { accounting: 'mm' });
    await map(3);
    old.exit();
    await iommufd.changeProcess(successor);
    expect(charged()[1]).toEqual([0, 3]);
    iommufd.check();
  });

  test('a process without limits takes everything', async () => {
    const { iommufd, map, charged } = await setting(8);
    await map(8);
    await iommufd.changeProcess(new ProcessMemory());
    expect(charged()).toEqual([
      [0, 0],
      [0, 0],
    ]);
    iommufd.check();
  });
});

describe('refusals', () => {
  test('with nothing mapped there is none', async () => {
    const { successor, iommufd } = await setting(0);
    await iommufd.changeProcess(successor);
  });

  test('EINVAL if something is not of a file, before the charge; and nothing has changed', async () => {
    for (const what of ['memory', 'dma-buf'] as const) {
      const { old, successor, iommufd, ioas, map, charged } = await setting(8, { more: 0 });
      await map(4);
      const table = iommufd.ioasTable(ioas);
      const at = { iova: 0x4000_0000n, length: PAGE, prot: 'r' } as const;
      if (what === 'memory') await table.map({ ...at, uptr: old.mmap({ length: PAGE }).uptr });
      else {
        const file = new DmaBufExporter({ physical: old.physical, size: PAGE });
        await table.map({ ...at, file, start: 0n });
      }
      const before = charged();
      expect((await failure(iommufd.changeProcess(successor))).code).toBe('EINVAL');
      expect(charged()).toEqual(before);
      await table.unmap(0x4000_0000n, PAGE);
      expect((await failure(iommufd.changeProcess(successor))).code).toBe('ENOMEM');
      iommufd.check();
    }
  });

  test('EBUSY at an area that is being set up, by ascending address space and IOVA', async () => {
    const { old, successor, iommufd, ioas } = await setting(8);
    const gated = new GatedMemory(old);
    const { uptr } = old.mmap({ length: 4n * PAGE });
    gated.close();
    const mapping = watch(
      iommufd.ioasMap({ ioas, memory: gated, uptr, iova: APERTURE + 0x10000n, length: PAGE, prot: 'r' }),
    );
    await settled();
    expect((await failure(iommufd.changeProcess(successor))).code).toBe('EBUSY');
    const table = iommufd.ioasTable(ioas);
    const lazy = await iommufd.ioasAlloc();
    await iommufd.ioasMap({ ioas: lazy, uptr, length: PAGE, prot: 'r' });
    expect((await failure(iommufd.changeProcess(successor))).code).toBe('EBUSY');
    gated.open();
    await settled();
    expect(mapping.state).toBe('fulfilled');
    expect(table.areaCount).toBe(1);
    expect((await failure(iommufd.changeProcess(successor))).code).toBe('EINVAL');
    iommufd.check();
  });

  test('a memory that is none', async () => {
    const { iommufd } = await setting(8);
    await expect(iommufd.changeProcess({} as ProcessMemory)).rejects.toThrow(TypeError);
  });
});

describe('locks', () => {
  test('it waits for those who hold a table, and no address space is made meanwhile', async () => {
    const { successor, iommufd, ioas, map, charged } = await setting(8);
    await map(2);
    const second = await iommufd.ioasAlloc();
    const { iovaLock } = iommufd.ioasTable(second).state;
    const first = iommufd.ioasTable(ioas).state.iovaLock;
    iovaLock.tryRead();
    const controller = new AbortController();
    const changing = watch(iommufd.changeProcess(successor, { signal: controller.signal }));
    const making = watch(iommufd.ioasAlloc());
    const reading = watch(iommufd.ioasIovaRanges({ ioas }));
    await settled();
    expect([changing.state, making.state, reading.state, first.writing]).toEqual([
      'pending',
      'pending',
      'pending',
      true,
    ]);
    expect(charged()[1]).toEqual([0, 0]);
    controller.abort();
    await settled();
    expect([changing.state, making.state, reading.state]).toEqual(['rejected', 'fulfilled', 'fulfilled']);
    expect([first.free, iommufd.context.ioasCreation.free]).toEqual([true, true]);
    const again = watch(iommufd.changeProcess(successor));
    await settled();
    iovaLock.releaseRead();
    await settled();
    expect([again.state, charged()[1]]).toEqual(['fulfilled', [2, 0]]);
    iommufd.check();
  });
});
