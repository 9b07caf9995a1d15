/** Several processes, access files that outlive the device, memory that answers later. */
import { describe, expect, test } from 'vitest';
import type { Caller } from '../../src/iommufd/caller.js';
import type { FrameRuns } from '../../src/memory/frame-runs.js';
import type { UserMemory } from '../../src/memory/user-memory.js';
import { AccessFiles } from '../../src/testing/access-files.js';
import { testCommands } from '../../src/testing/uapi-test-commands.js';
import { IommufdDevice } from '../../src/uapi/device.js';
import { GatedMemory } from '../helpers/gated-memory.js';
import {
  APERTURE,
  EBADF,
  EBADFD,
  EBUSY,
  EFAULT,
  EIO,
  ENOENT,
  ENOMEM,
  EOPNOTSUPP,
  layout,
  PAGE,
  Program,
  programMemory,
  RAM,
  ROOM,
  struct,
  u8,
  u32,
  u64,
} from './program.js';

const BUFFER = ROOM + 0x8000n;

async function rw(program: Program, file: number, flags: number, iova: bigint): Promise<number> {
  const fields = [u32(8, file), u64(16, iova), u64(24, 8n), u64(32, BUFFER), u32(40, flags)];
  return (await program.test(8, ...fields)).result;
}

async function refs(program: Program, uptr: bigint, count: number): Promise<number> {
  return (await program.test(4, u64(16, PAGE), u64(24, uptr), u32(32, count))).result;
}

async function pin(program: Program, file: number, iova: bigint, uptr = 0n): Promise<number> {
  const fields = [u32(8, file), u64(24, iova), u64(32, PAGE), u64(40, uptr)];
  return (await program.test(7, ...fields)).result;
}

describe('after a fork', () => {
  test('structs and pointers are addresses of the caller, and mappings keep the memory of who made them', async () => {
    const program = new Program();
    const ioas = await program.ioas();
    await program.mockDomain(ioas);
    const file = await program.access(ioas);
    const child = program.memory.fork();
    // Something of the child's own, which is nothing in the parent.
    child.mmap({ uptr: 0x7000_0000n, length: 2n * PAGE });
    child.write(0x7000_0000n, Uint8Array.of(7, 6, 5, 4, 3, 2, 1, 0));
    program.caller = { memory: child };
    expect(await program.map(ioas, APERTURE, 0x7000_0000n, PAGE)).toBe(0);
    expect(await pin(program, file, APERTURE, 0x7000_0000n)).toBe(0);
    program.caller = {};
    expect(await program.map(ioas, 2n * APERTURE, 0x7000_0000n, PAGE)).toBe(EFAULT);
    expect(await pin(program, file, APERTURE, 0x7000_0000n)).toBe(EFAULT);
    expect(await rw(program, file, 0, APERTURE)).toBe(0);
    expect([...program.memory.read(BUFFER, 8)]).toEqual([7, 6, 5, 4, 3, 2, 1, 0]);
    child.exit();
    // What is pinned stays usable, by others and by copies.
    expect(await rw(program, file, 1, APERTURE)).toBe(0);
    const other = await program.ioas();
    await program.mockDomain(other);
    const copy = [
      u32(4, 7),
      u32(8, other),
      u32(12, ioas),
      u64(16, PAGE),
      u64(24, APERTURE),
      u64(32, APERTURE),
    ];
    expect((await program.call(0x3b83, struct(40, ...copy))).result).toBe(0);
    program.caller = { memory: child };
    expect(await program.ioctl(0x3b81, ROOM)).toBe(EFAULT);
    program.caller = {};
    await program.end(file);
  });

  test('pinning more of a process that is gone is EFAULT', async () => {
    const program = new Program();
    const ioas = await program.ioas();
    const child = program.memory.fork();
    program.caller = { memory: child };
    expect(await program.map(ioas, APERTURE, RAM, PAGE)).toBe(0);
    program.caller = {};
    child.exit();
    expect((await program.test(2, u32(8, ioas))).result).toBe(EFAULT);
    const file = await program.access(ioas);
    expect(await pin(program, file, APERTURE)).toBe(EFAULT);
    expect(await rw(program, file, 0, APERTURE)).toBe(EFAULT);
    await program.end(file);
  });

  test('pins are counted for each page of the machine', async () => {
    const program = new Program();
    const ioas = await program.ioas();
    await program.mockDomain(ioas);
    const child = program.memory.fork();
    const second = new Program({ memory: child });
    const childIoas = await second.ioas();
    await second.mockDomain(childIoas);
    expect(await program.map(ioas, APERTURE, RAM, PAGE)).toBe(0);
    expect(await refs(second, RAM, 1)).toBe(0);
    expect(await second.map(childIoas, APERTURE, RAM, PAGE)).toBe(0);
    expect(await refs(program, RAM, 2)).toBe(0);
    await second.device.close();
    const fresh = new Program({ memory: child });
    expect(await refs(fresh, RAM, 1)).toBe(0);
    expect(await refs(fresh, RAM, 0)).toBe(EIO);
    await fresh.device.close();
    await program.end();
  });

  test('each process has its own capabilities and counters', async () => {
    const program = new Program({ memory: programMemory(2) });
    const ioas = await program.ioas();
    await program.mockDomain(ioas);
    const child = program.memory.fork();
    const privileged: Caller = { memory: child, capable: () => true };
    const poor: Caller = { memory: child };
    program.caller = poor;
    expect(await program.map(ioas, APERTURE, RAM, 3n * PAGE)).toBe(ENOMEM);
    program.caller = privileged;
    expect(await program.map(ioas, APERTURE, RAM, 3n * PAGE)).toBe(0);
    program.caller = { memory: child, capable: () => false };
    expect(await program.map(ioas, 2n * APERTURE, RAM, 2n * PAGE)).toBe(0);
    expect(program.memory.locked?.user.lockedPages).toBe(2);
    program.caller = {};
    await program.end();
  });
});

describe('access files', () => {
  test('keep their device alive, and work through any other', async () => {
    const program = new Program();
    const ioas = await program.ioas();
    expect(await program.map(ioas, APERTURE, RAM, PAGE)).toBe(0);
    const [file, second] = [await program.access(ioas), await program.access(ioas, 0)];
    expect(await pin(program, file, APERTURE)).toBe(0);
    await program.device.close();
    const other = new Program({ memory: program.memory });
    expect(await refs(other, RAM, 1)).toBe(0);
    expect(await rw(other, second, 1, APERTURE)).toBe(0);
    expect(await pin(other, file, APERTURE, RAM)).toBe(0);
    // Its address spaces are those of its own device.
    expect((await other.test(11, u32(8, file), u32(16, ioas))).result).toBe(0);
    expect((await other.test(11, u32(8, file), u32(16, 77))).result).toBe(ENOENT);
    // The closed device itself answers nothing but this.
    expect(await rw(program, second, 0, APERTURE)).toBe(0);
    expect(await program.ioctl(0x3b81, ROOM)).toBe(EBADF);
    expect(await other.device.closeFile(file)).toBe(0);
    expect(await refs(other, RAM, 0)).toBe(0);
    expect(await rw(other, file, 0, APERTURE)).toBe(EBADFD);
    expect(await rw(other, second, 0, APERTURE)).toBe(0);
    expect(await program.device.closeFile(second)).toBe(0);
    expect(await rw(other, second, 0, APERTURE)).toBe(EBADFD);
    await program.device.close();
    await other.end();
  });

  test('the last of them releases everything, before its close returns', async () => {
    const program = new Program();
    const ioas = await program.ioas();
    await program.mockDomain(ioas);
    expect(await program.map(ioas, APERTURE, RAM, 4n * PAGE)).toBe(0);
    const files = [await program.access(ioas), await program.access(ioas, 0)];
    await program.device.close();
    expect(program.memory.physical.pinned).toBe(4);
    expect(await program.device.closeFile(files[0]!)).toBe(0);
    expect(program.memory.physical.pinned).toBe(4);
    expect(await program.device.closeFile(files[1]!)).toBe(0);
    expect(program.memory.physical.pinned).toBe(0);
    expect(await program.device.closeFile(files[1]!)).toBe(EBADF);
  });

  test('are numbered by machine, or as the host likes', async () => {
    const first = new Program();
    const fork = new Program({ memory: first.memory.fork() });
    const elsewhere = new Program();
    const files = new AccessFiles(3);
    const own = new Program({ commands: testCommands({ files }) });
    const programs = [first, fork, elsewhere, own];
    const numbers: number[] = [];
    for (const program of programs) numbers.push(await program.access(await program.ioas()));
    expect(numbers).toEqual([2 ** 20, 2 ** 20 + 1, 2 ** 20, 3]);
    expect(files.has(3)).toBe(true);
    for (const [at, program] of programs.entries()) await program.end(numbers[at]!);
    expect(files.has(3)).toBe(false);
  });
});

describe('memory that answers later', () => {
  test('a call waits for it, and one that is closed meanwhile ends first', async () => {
    const memory = new GatedMemory(programMemory());
    const device = new IommufdDevice({ memory, commands: testCommands() });
    memory.memory.write(ROOM, struct(12));
    memory.close();
    const call = device.ioctl(0x3b81, ROOM);
    let closed = false;
    const close = device.close().then(() => {
      closed = true;
    });
    while (memory.pending.length === 0) await Promise.resolve();
    expect(memory.pending.map(({ kind }) => kind)).toEqual(['read']);
    expect(closed).toBe(false);
    memory.open();
    expect(await call).toBe(0);
    await close;
    expect(await device.ioctl(0x3b81, ROOM)).toBe(EBADF);
  });

  test('an object that is being handed over cannot be found yet', async () => {
    const memory = new GatedMemory(programMemory());
    const device = new IommufdDevice({ memory, commands: testCommands() });
    memory.memory.write(ROOM, struct(12));
    memory.memory.write(ROOM + 64n, struct(8, u32(4, 1)));
    memory.close();
    const alloc = device.ioctl(0x3b81, ROOM);
    const reach = async (kind: string) => {
      while (memory.pending.at(-1)?.kind !== kind) {
        memory.pending[0]?.settle();
        await Promise.resolve();
      }
    };
    await reach('write');
    const destroy = device.ioctl(0x3b80, ROOM + 64n);
    while (memory.pending.length < 2) await Promise.resolve();
    memory.pending[1]!.settle();
    while (memory.pending.length < 2) await Promise.resolve();
    memory.pending[1]!.settle();
    expect(await destroy).toBe(ENOENT);
    memory.open();
    expect(await alloc).toBe(0);
    expect(await device.ioctl(0x3b80, ROOM + 64n)).toBe(0);
    await device.close();
  });

  test('a file that is closed while its device is closed and its creation fails leaves nothing', async () => {
    const memory = new GatedMemory(programMemory());
    const device = new IommufdDevice({ memory, commands: testCommands() });
    memory.memory.write(ROOM, struct(12));
    expect(await device.ioctl(0x3b81, ROOM)).toBe(0);
    memory.memory.write(ROOM, struct(72, u32(4, 5), u32(8, 1)));
    memory.close();
    const create = device.ioctl(0x3ba0, ROOM);
    while (memory.pending.at(-1)?.kind !== 'write') {
      memory.pending[0]?.settle();
      await Promise.resolve();
    }
    const close = device.close();
    memory.memory.munmap(ROOM, PAGE);
    memory.open();
    expect(await create).toBe(EFAULT);
    await close;
    expect(memory.memory.physical.pinned).toBe(0);
  });
});

describe('memory of the host that has only what UserMemory asks for', () => {
  /** The same memory without what the test driver would like to know. */
  function plain(program: Program): UserMemory {
    const { memory } = program;
    return {
      pin: async (page: number, count: number, write: boolean, into: FrameRuns) =>
        memory.pin(page, count, write, into),
      unpin: (pfn, count) => memory.unpin(pfn, count),
      frames: (pfn, count) => memory.frames(pfn, count),
      copyFromUser: async (page, offset, target, targetOffset, length) =>
        memory.copyFromUser(page, offset, target, targetOffset, length),
      copyToUser: async (page, offset, source, sourceOffset, length) =>
        memory.copyToUser(page, offset, source, sourceOffset, length),
    };
  }

  test('pages are told apart by pinning them; pins cannot be counted', async () => {
    const program = new Program();
    program.caller = { memory: plain(program) };
    const ioas = await program.ioas();
    const { hwpt } = await program.mockDomain(ioas);
    const file = await program.access(ioas);
    expect(await program.map(ioas, APERTURE, RAM, 2n * PAGE)).toBe(0);
    const check = (uptr: bigint) =>
      program.test(3, u32(8, hwpt), u64(16, APERTURE), u64(24, PAGE), u64(32, uptr));
    expect((await check(RAM)).result).toBe(0);
    expect((await check(0n)).result).toBe(EFAULT);
    expect(await pin(program, file, APERTURE, RAM)).toBe(0);
    expect(await refs(program, RAM, 1)).toBe(EOPNOTSUPP);
    expect(program.memory.pins(RAM)).toBe(1);
    program.memory.write(BUFFER, layout(8, u8(0, 9)));
    expect(await rw(program, file, 1, APERTURE)).toBe(0);
    expect(program.memory.read(RAM, 1)[0]).toBe(9);
    program.caller = {};
    await program.end(file);
  });

  test('pages of huge pages are passed over', async () => {
    const program = new Program();
    const memory = Object.assign(plain(program), {
      pinsAt: (page: number) =>
        page === Number(RAM / PAGE) ? ('uncounted' as const) : program.memory.pinsAt(page),
    });
    program.caller = { memory };
    expect(await refs(program, RAM, 77)).toBe(0);
    expect(await refs(program, RAM + PAGE, 77)).toBe(EIO);
    expect(await refs(program, 0n, 77)).toBe(EFAULT);
    program.caller = {};
    await program.end();
  });
});

test('a device that the host binds is a device of the program', async () => {
  const program = new Program();
  const ioas = await program.ioas();
  const bound = await program.device.iommufd.deviceBind({
    name: 'nic',
    createDomain: () => {
      throw new Error('broken hardware');
    },
  });
  const info = await program.call(0x3b8a, struct(40, u32(8, bound.id)));
  expect([info.result, info.u32(12), info.u32(24), info.u64(32)]).toEqual([0, 0, 0, 8n]);
  expect((await program.call(0x3b80, struct(8, u32(4, bound.id)))).result).toBe(EBUSY);
  // What is wrong with the host is told to the host.
  program.memory.write(ROOM, struct(48, u32(8, bound.id), u32(12, ioas)));
  await expect(program.ioctl(0x3b89, ROOM)).rejects.toThrow('broken hardware');
  await program.end();
});
