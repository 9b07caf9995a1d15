/** Mapping by file: what is checked when, what is pinned, and who sees which bytes. */
import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import { deviceRead, deviceWrite } from '../../src/domain/device-dma.js';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { IoPagetable } from '../../src/io-pagetable.js';
import { ForwardingMemory } from '../../src/memory/forwarding-memory.js';
import type { FrameRuns } from '../../src/memory/frame-runs.js';
import { type FileKind, MemoryFile, type MemoryFileOptions } from '../../src/memory/memory-file.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import type { UserFile } from '../../src/memory/user-file.js';
import { MAX_U64 } from '../../src/u64.js';
import { expectError, expectErrorNow } from '../helpers/expect-error.js';
import { settled } from '../helpers/watch.js';
import { PAGE, USER, World } from '../helpers/world.js';

function fileIn(world: World, options: MemoryFileOptions = {}): MemoryFile {
  return new MemoryFile({ physical: world.physical, size: 16n * PAGE, ...options });
}

async function accessOf(table: IoPagetable): Promise<IoptAccess> {
  const access: IoptAccess = new IoptAccess({
    needsPin: true,
    onUnmap: ({ iova, length }) => (length === MAX_U64 ? undefined : access.unpin(iova, length)),
  });
  await access.attach(table);
  return access;
}

describe('the checks of a map by file, in order', () => {
  const FAR = 2n ** 64n - PAGE;
  const rows: [string, string, { start?: bigint; length?: bigint; iova?: bigint }][] = [
    ['length 0, before all else', 'EINVAL', { start: MAX_U64, length: 0n, iova: 0x1001n }],
    ['start + length - 1 past 2^64 - 1, before the length', 'EOVERFLOW', { start: PAGE, length: FAR + 1n }],
    [
      'a length that leaves no room for a page, before the IOVA',
      'EINVAL',
      { start: 0n, length: FAR, iova: 0x1001n },
    ],
    ['an IOVA that is not aligned', 'EINVAL', { length: PAGE, iova: 0x1001n }],
    ['an area in the way', 'EEXIST', { length: PAGE, iova: 0x10000n }],
    ['an offset that is not aligned', 'EINVAL', { start: 1n, length: PAGE, iova: 0x30000n }],
    ['a page beyond the end of the file', 'EINVAL', { start: 15n * PAGE, length: 2n * PAGE, iova: 0x30000n }],
  ];
  for (const [name, code, { start = 0n, length = PAGE, iova }] of rows) {
    test(name, async () => {
      const world = new World();
      const table = world.table();
      const file = fileIn(world);
      await world.domain(table);
      await table.map({ file, start: 0n, iova: 0x10000n, length: 2n * PAGE, prot: 'rw' });
      await world.unchanged(async () => {
        await expectError(table.map({ file, start, length, iova, prot: 'rw' }), code as 'EINVAL');
        expectErrorNow(() => table.mapSync({ file, start, length, iova, prot: 'rw' }), code as 'EINVAL');
      });
    });
  }

  test('the range may end with the last byte of 2^64', async () => {
    const world = new World();
    const table = world.table();
    const request = {
      file: fileIn(world),
      start: 2n ** 64n - PAGE,
      length: PAGE,
      iova: 0n,
      prot: 'r',
    } as const;
    expect(await table.map(request)).toBe(0n);
    world.check();
  });

  test('what is no file is refused', async () => {
    const { table, file } = setting();
    const request = { start: 0n, length: PAGE, prot: 'r' } as const;
    const no = (value: object) => () => table.mapSync({ ...request, file: value as UserFile });
    expect(no({})).toThrow(/"options.file" argument must be a UserFile: it has no pin/);
    expect(no({ pin: file.pin })).toThrow(/it has no unpin/);
    expect(no({ pin: file.pin, unpin: file.unpin })).toThrow(/neither frames nor copyFromFrames/);
    expect(no({ onInvalidate: 1 })).toThrow(/a DmaBuf: it has no onInvalidate/);
    expect(() => table.mapSync({ ...request, file, start: -1n })).toThrow(/"options.start"/);
  });
});

function setting(options: MemoryFileOptions = {}, lockedPages?: number) {
  const world = new World(lockedPages);
  return { world, table: world.table(), file: fileIn(world, options) };
}

describe('placement', () => {
  const rows: [string, bigint, bigint, bigint][] = [
    ['offset 0 is aligned to the length', 0n, 0x5000n, 0x8000n],
    ['to 2 MiB at most', 0n, 0x400_0000n, 0x20_0000n],
    ['another offset to what it is aligned to', 0x1000n, 0x5000n, 0x1000n],
    ['the offset in the page is that of the file', 0x2345n, 0x100n, 0x1345n],
  ];
  for (const [name, start, length, iova] of rows) {
    test(name, async () => {
      const { table, file } = setting();
      expect(await table.map({ file, start, length, prot: 'r' })).toBe(iova);
      const [area] = [...table.state.areas];
      expect([area!.uptr, area!.fileOffset, area!.pages!.uptr]).toEqual([undefined, start, undefined]);
      expect(area!.pages!.fileOffset).toBe(start - (start % PAGE));
      table.check();
    });
  }

  test('a copy is placed by its first byte', async () => {
    const { table, file } = setting();
    await table.map({ file, start: 0n, iova: 0x100000n, length: 16n * PAGE, prot: 'r' });
    const copy = { from: table, srcIova: 0x102000n, length: 4n * PAGE, prot: 'r' } as const;
    expect(await table.copy(copy)).toBe(0x2000n);
  });
});

describe('what can be pinned', () => {
  const pinnable: FileKind[] = ['memfd', 'tmpfs', 'hugetlb'];
  for (const kind of ['memfd', 'tmpfs', 'hugetlb', 'disk', 'device', 'directory'] as const) {
    test(`pages of a ${kind}: ${pinnable.includes(kind) ? 'yes' : 'no'}`, async () => {
      const { world, table, file } = setting({ kind, size: 0x20_0000n });
      await table.map({ file, start: 0n, iova: 0x200000n, length: 3n * PAGE, prot: 'rw' });
      const access = await accessOf(table);
      const pinning = access.pin(0x200000n, PAGE);
      const writing = access.write(0x200000n, Uint8Array.of(1));
      if (pinnable.includes(kind)) {
        expect((await pinning).frames).toBe(1);
        await writing;
        await access.unpin(0x200000n, PAGE);
        await world.domain(table);
        expect(world.physical.pinned).toBe(3);
      } else {
        await expectError(pinning, 'EINVAL');
        await expectError(writing, 'EINVAL');
        await world.unchanged(() => expectError(table.addDomain(new RadixDomain()), 'EINVAL'));
        expect(world.physical.pinned).toBe(0);
      }
      world.check();
      await access.detach();
    });
  }

  test('not the last page of a file that ends in it; one such page fails the whole area', async () => {
    const { world, table, file } = setting({ size: 3n * PAGE - 1n });
    await world.domain(table);
    await world.unchanged(() =>
      expectError(table.map({ file, start: 0n, length: 3n * PAGE, prot: 'r' }), 'EINVAL'),
    );
    await table.map({ file, start: 0n, length: 2n * PAGE, prot: 'r' });
    expect(world.physical.pinned).toBe(2);
    world.check();
  });

  test('pages are pinned before they are charged', async () => {
    const { world, table, file } = setting({ size: 4n * PAGE }, 2);
    await world.domain(table);
    await world.unchanged(async () => {
      await expectError(table.map({ file, start: 0n, length: 5n * PAGE, prot: 'r' }), 'EINVAL');
      await expectError(table.map({ file, start: 0n, length: 3n * PAGE, prot: 'r' }), 'ENOMEM');
    });
    await table.map({ file, start: 0n, length: 2n * PAGE, prot: 'r' });
    expect(world.process.locked!.user.lockedPages).toBe(2);
    world.check();
  });

  test('nothing from 2^63 on, whatever the file says', async () => {
    const { world, table } = setting();
    const pinned: [number, number][] = [];
    const file: UserFile = {
      pin: (page, count, into: FrameRuns) => {
        pinned.push([page, count]);
        into.push(7, count);
        return count;
      },
      unpin: () => undefined,
      frames: () => new Uint8Array(Number(PAGE)),
    };
    await world.domain(table);
    const last = 2n ** 63n - PAGE;
    await table.map({ file, start: last, length: PAGE, iova: 0x1000n, prot: 'r' });
    await expectError(
      table.map({ file, start: 2n ** 63n, length: PAGE, iova: 0x2000n, prot: 'r' }),
      'EINVAL',
    );
    expect(pinned).toEqual([[2 ** 51 - 1, 1]]);
    table.check();
  });

  test('a read-only descriptor and a write seal do not matter', async () => {
    const { world, table, file } = setting();
    file.addSeals('write', 'shrink', 'grow', 'seal');
    await world.domain(table);
    const iova = await table.map({
      file: file.reopen({ writable: false }),
      start: 0n,
      length: PAGE,
      prot: 'rw',
    });
    const access = await accessOf(table);
    await access.write(iova, Uint8Array.of(1, 2, 3));
    deviceWrite(world.domains[0]!, world.process, iova + 3n, Uint8Array.of(4));
    expect([...file.read(0, 4)]).toEqual([1, 2, 3, 4]);
  });

  test('the process that mapped it may be gone', async () => {
    const { world, table, file } = setting();
    await table.map({ memory: world.process, file, start: 0n, iova: 0x1000n, length: PAGE, prot: 'rw' });
    world.process.exit();
    await world.domain(table);
    const access = await accessOf(table);
    await access.write(0x1000n, Uint8Array.of(9));
    expect(file.read(0, 1)[0]).toBe(9);
    world.check();
    await table.unmapAll();
    expect(world.physical.pinned).toBe(0);
  });

  test('without a process nobody is charged', async () => {
    const { world, file } = setting();
    const table = new IoPagetable();
    await table.addDomain(new RadixDomain());
    await table.map({ file, start: 0n, length: PAGE, prot: 'r' });
    expect([world.physical.pinned, [...table.state.areas][0]!.pages!.account]).toEqual([1, undefined]);
    table.check();
  });
});

describe('one page, two ways to it', () => {
  test('by file and by address: the same frame, pinned and charged twice', async () => {
    const { world, table, file } = setting({ frames: 'scattered' }, 16);
    const { uptr } = world.process.mmap({ file, offset: 2n * PAGE, length: 4n * PAGE });
    const domain = await world.domain(table);
    const byFile = await table.map({ file, start: 3n * PAGE, iova: 0x10000n, length: PAGE, prot: 'rw' });
    const byAddress = await table.map({ uptr: uptr + PAGE, iova: 0x20000n, length: PAGE, prot: 'rw' });
    expect(domain.iovaToPhys(byFile)).toBe(domain.iovaToPhys(byAddress));
    expect([world.process.pins(uptr + PAGE), file.pinsAt(3)]).toEqual([2, 2]);
    expect(world.process.locked!.user.lockedPages).toBe(2);
    world.process.write(uptr + PAGE + 5n, Uint8Array.of(77));
    const bytes = new Uint8Array(1);
    deviceRead(domain, world.process, byFile + 5n, bytes);
    expect([bytes[0], file.read(3n * PAGE + 5n, 1)[0]]).toEqual([77, 77]);
    world.check();
  });

  test('cutting leaves what is pinned to those who have it', async () => {
    const { world, table, file } = setting({ size: 4n * PAGE });
    const { uptr } = world.process.mmap({ file, length: 4n * PAGE });
    world.process.write(uptr, new Uint8Array(4 * 4096).fill(5));
    await table.map({ file, start: 0n, iova: 0x10000n, length: 4n * PAGE, prot: 'rw' });
    const access = await accessOf(table);
    await access.pin(0x11000n, PAGE);
    file.truncate(PAGE + 1n);
    const read = async (iova: bigint) => {
      const bytes = new Uint8Array(3);
      await access.read(iova, bytes);
      return [...bytes];
    };
    // Page 1 is the last one now: cleared in place. Page 2 is gone.
    expect(await read(0x11000n)).toEqual([5, 0, 0]);
    await expectError(read(0x12000n), 'EINVAL');
    expect(() => world.process.read(uptr + 2n * PAGE, 1)).toThrow('EFAULT');
    file.truncate(0);
    expect(await read(0x11000n)).toEqual([5, 0, 0]);
    expect(() => world.process.read(uptr, 1)).toThrow('EFAULT');
    file.truncate(4n * PAGE);
    expect(await read(0x11000n)).toEqual([5, 0, 0]);
    expect(await read(0x12000n)).toEqual([0, 0, 0]);
    expect([...world.process.read(uptr + PAGE, 2)]).toEqual([0, 0]);
    expect(world.process.pins(uptr + PAGE)).toBe(0);
    await access.unpin(0x11000n, PAGE);
    expect(await read(0x11000n)).toEqual([0, 0, 0]);
    world.check();
    expect(world.physical.pinned).toBe(0);
  });
});

describe('reading and writing', () => {
  test('always goes through pinned frames, page by page of what nobody holds', async () => {
    const { table, file } = setting();
    const counted = new CountingFile(file);
    await table.map({ file: counted, start: 0x800n, iova: 0x10800n, length: 0x3000n, prot: 'rw' });
    const access = new IoptAccess({ needsPin: false });
    await access.attach(table);
    await access.write(0x10800n, Uint8Array.of(1));
    access.readSync(0x11000n, new Uint8Array(0x2000));
    expect(counted.asked).toEqual([
      [0, 1],
      [1, 2],
    ]);
    expect(file.physical.pinned).toBe(0);
    expect(file.read(0x800n, 1)[0]).toBe(1);
  });

  test('a page that cannot be pinned fails its area; earlier areas stay', async () => {
    const { table, file } = setting({ size: 2n * PAGE });
    await table.map({ file, start: 0n, iova: 0x10000n, length: PAGE, prot: 'rw' });
    await table.map({ file, start: PAGE, iova: 0x11000n, length: 2n * PAGE, prot: 'rw' });
    const access = new IoptAccess({ needsPin: false });
    await access.attach(table);
    await expectError(access.write(0x10000n, new Uint8Array(3 * 4096).fill(1)), 'EINVAL');
    expect(file.read(0, 1)[0]).toBe(1);
    expect(file.read(PAGE, 1)[0]).toBe(0);
    await access.write(0x11000n, Uint8Array.of(2));
    expect(file.read(PAGE, 1)[0]).toBe(2);
  });

  test('permission comes first', async () => {
    const { table, file } = setting({ kind: 'device', size: 0n });
    await table.map({ file, start: 0n, iova: 0x10000n, length: PAGE, prot: 'r' });
    const access = new IoptAccess({ needsPin: false });
    await access.attach(table);
    await expectError(access.write(0x10000n, Uint8Array.of(1)), 'EPERM');
    await expectError(access.read(0x10000n, Uint8Array.of(1)), 'EINVAL');
  });
});

/** A file that keeps a list of what is pinned. */
class CountingFile implements UserFile {
  readonly asked: [number, number][] = [];
  readonly file: UserFile;

  constructor(file: UserFile) {
    this.file = file;
  }

  pin(page: number, count: number, into: FrameRuns): number | Promise<number> {
    this.asked.push([page, count]);
    return this.file.pin(page, count, into);
  }

  unpin(pfn: number, count: number, dirty: boolean): void {
    this.file.unpin(pfn, count, dirty);
  }

  frames(pfn: number, count: number): Uint8Array | undefined {
    return this.file.frames?.(pfn, count);
  }
}

/** A file that says later what it pinned, and cannot be asked now. */
class LateFile extends CountingFile {
  override pin(page: number, count: number, into: FrameRuns): Promise<number> {
    return Promise.resolve().then(() => super.pin(page, Math.min(2, count), into));
  }

  resident(): boolean {
    return false;
  }
}

describe('a file of the user', () => {
  test('may answer later, and give a part at a time', async () => {
    const { world, table, file } = setting();
    const late = new LateFile(file);
    await world.domain(table);
    await table.map({ file: late, start: 0n, iova: 0x10000n, length: 5n * PAGE, prot: 'rw' });
    expect(late.asked).toEqual([
      [0, 2],
      [2, 2],
      [4, 1],
    ]);
    await world.unchanged(async () => {
      const map = () => table.mapSync({ file: late, start: 0n, iova: 0x20000n, length: PAGE, prot: 'r' });
      expectErrorNow(map, 'EAGAIN');
      await settled();
    });
    const access = new IoptAccess({ needsPin: false });
    await access.attach(table);
    access.readSync(0x10000n, new Uint8Array(10));
    await table.map({ file: late, start: 8n * PAGE, iova: 0x30000n, length: PAGE, prot: 'r' });
    await table.removeDomain(world.domains[0]!);
    expectErrorNow(() => access.readSync(0x30000n, new Uint8Array(10)), 'EAGAIN');
    await access.read(0x30000n, new Uint8Array(10));
    expect(world.physical.pinned).toBe(0);
    world.check();
  });
});

describe('the rest is as for user memory', () => {
  test('copies share pages, areas are split, and unmapped', async () => {
    const { world, table, file } = setting({}, 64);
    const other = world.table();
    await table.setLargePages(false);
    await world.domain(table);
    await world.domain(other);
    await table.map({ file, start: 0n, iova: 0x10000n, length: 4n * PAGE, prot: 'r' });
    await expectError(
      other.copy({ from: table, srcIova: 0x10000n, iova: 0x40000n, length: PAGE, prot: 'rw' }),
      'EPERM',
    );
    await other.copy({ from: table, srcIova: 0x11000n, iova: 0x40000n, length: 2n * PAGE, prot: 'r' });
    expect(world.physical.pinned).toBe(4);
    await table.cutIova([0x11fffn]);
    world.check();
    expect(await table.unmap(0x10000n, 2n * PAGE)).toBe(2n * PAGE);
    world.check();
    expect(world.physical.pinned).toBe(3);
    await table.unmapAll();
    expect([world.physical.pinned, world.process.locked!.user.lockedPages]).toEqual([2, 2]);
    await other.unmapAll();
    expect([world.physical.pinned, world.process.locked!.user.lockedPages]).toEqual([0, 0]);
    world.check();
  });

  test('a page is pinned again where the file was cut and has grown: an area may show old and new ones', async () => {
    const { world, table, file } = setting({ size: 2n * PAGE });
    await table.map({ file, start: 0n, iova: 0x10000n, length: 2n * PAGE, prot: 'rw' });
    const access = await accessOf(table);
    const [old] = [(await access.pin(0x11000n, PAGE)).at(0)];
    file.truncate(0);
    file.truncate(2n * PAGE);
    const frames = await access.pin(0x10000n, 2n * PAGE);
    expect(frames.at(1)).toBe(old);
    expect(file.frameAt(0)).toBe(frames.at(0));
    expect(file.frameAt(1)).not.toBe(old);
    world.check();
  });

  test('through a memory in front of the process, too', async () => {
    const { world, file } = setting({}, 4);
    const table = world.table();
    await world.domain(table);
    const memory = new ForwardingMemory(new ProcessMemory({ lockedLimit: PAGE }));
    await expectError(table.map({ memory, file, start: 0n, length: 2n * PAGE, prot: 'r' }), 'ENOMEM');
    await table.map({ memory, file, start: 0n, length: PAGE, prot: 'r' });
    expect([memory.locked!.user.lockedPages, world.process.locked!.user.lockedPages]).toEqual([1, 0]);
    await table.map({ uptr: USER, length: PAGE, prot: 'r' });
    world.check();
  });
});
