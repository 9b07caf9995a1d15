/** The test command, operation by operation. */
import { describe, expect, test } from 'vitest';
import {
  APERTURE,
  EADDRINUSE,
  EBADE,
  EBADFD,
  EBUSY,
  EFAULT,
  EINVAL,
  EIO,
  ENOENT,
  ENOMEM,
  EOPNOTSUPP,
  EOVERFLOW,
  EPERM,
  LINUX,
  layout,
  MAX,
  PAGE,
  Program,
  type Put,
  RAM,
  ROM,
  ROOM,
  ROOM_LENGTH,
  struct,
  u8,
  u32,
  u64,
} from './program.js';

describe.each(LINUX)('%s', (profile) => {
  const later = profile === 'linux-7.3';
  /** A program on this kernel. */
  const start = (options: ConstructorParameters<typeof Program>[0] = {}) =>
    new Program({ profile, ...options });

  const BUFFER = ROOM + 0x8000n;
  const END = ROOM + ROOM_LENGTH;
  const BIG = 16n * 1024n * 1024n + 1n;

  async function open() {
    const program = start();
    return { program, ioas: await program.ioas() };
  }

  /** The test command, where the struct must come back as it was. */
  function refused(program: Program, op: number, ...fields: Put[]): Promise<number> {
    return program.refused(0x3ba0, struct(72, u32(4, op), ...fields));
  }

  test('unknown operations; reserved and last are ignored', async () => {
    const { program } = await open();
    for (const op of later ? [0, 24, 0xffff_ffff] : [0, 16, 17, 0xffff_ffff])
      expect(await refused(program, op)).toBe(EOPNOTSUPP);
    expect(await refused(program, 9, u32(16, 12), u32(12, 7), u32(64, 9))).toBe(0);
    await program.end();
  });

  describe('devices and domains', () => {
    test('MOCK_DOMAIN: the flags are looked at by the second of its operations', async () => {
      const { program, ioas } = await open();
      const id = u32(8, ioas);
      for (const flags of later ? [2, 8] : [4, 8]) {
        expect(await refused(program, 12, u32(8, 99), u32(28, flags))).toBe(EINVAL);
      }
      expect(await refused(program, 12, u32(8, 99))).toBe(ENOENT);
      expect(await refused(program, 2, u32(8, 0), u32(28, 99))).toBe(ENOENT);
      const first = await program.test(2, id, u32(28, 99));
      expect([first.result, first.u32(8), first.u32(16), first.u32(24), first.u32(20)]).toEqual([
        0,
        ioas,
        2,
        3,
        4,
      ]);
      for (const other of [2, 3]) expect(await refused(program, 2, u32(8, other))).toBe(EINVAL);
      const second = await program.mockDomain(ioas);
      expect(second).toEqual({ stdev: 5, idev: 6, hwpt: 4 });
      const noDirty = await program.mockDomain(ioas, 1);
      expect(noDirty.hwpt).toBe(4);
      const tracking = await program.hwpt(second.idev, ioas, 2);
      expect(await refused(program, 12, u32(8, tracking), u32(28, 1))).toBe(EINVAL);
      expect((await program.mockDomain(tracking)).hwpt).toBe(tracking);
      await program.end();
    });

    test('MOCK_DOMAIN: what stands in the way of attaching', async () => {
      const { program, ioas } = await open();
      expect(await program.map(ioas, 0x1000n, RAM, PAGE)).toBe(0);
      expect(await refused(program, 2, u32(8, ioas))).toBe(EADDRINUSE);
      const other = await program.ioas();
      expect(await program.map(other, APERTURE, RAM + 0x1n, 0x801n)).toBe(0);
      expect(await refused(program, 2, u32(8, other))).toBe(EADDRINUSE);
      const third = await program.ioas();
      expect(await program.map(third, APERTURE, 0x5000n, PAGE)).toBe(0);
      expect(await refused(program, 2, u32(8, third))).toBe(EFAULT);
      // Nothing is left of the devices.
      expect(await program.ioas()).toBe(4);
      await program.end();
    });

    test('MOCK_DOMAIN_REPLACE', async () => {
      const { program, ioas } = await open();
      const other = await program.ioas();
      const device = await program.mockDomain(ioas);
      const replace = async (id: number, pt: number) => {
        const answer = await program.test(10, u32(8, id), u32(16, pt));
        return [answer.result, answer.u32(16)];
      };
      for (const id of [0, 99, ioas, device.idev, device.hwpt])
        expect(await replace(id, 99)).toEqual([ENOENT, 99]);
      expect(await replace(device.stdev, 99)).toEqual([ENOENT, 99]);
      for (const pt of [device.stdev, device.idev])
        expect(await replace(device.stdev, pt)).toEqual([EINVAL, pt]);
      expect(await replace(device.stdev, ioas)).toEqual([0, device.hwpt]);
      expect(await replace(device.stdev, device.hwpt)).toEqual([0, device.hwpt]);
      const moved = await replace(device.stdev, other);
      expect(moved).toEqual([0, 6]);
      expect((await program.call(0x3b80, struct(8, u32(4, device.hwpt)))).result).toBe(ENOENT);
      expect((await program.call(0x3b80, struct(8, u32(4, ioas)))).result).toBe(0);
      const second = await program.mockDomain(other);
      expect(second.hwpt).toBe(6);
      await program.end();
    });

    test('ADD_RESERVED', async () => {
      const { program, ioas } = await open();
      const add = (id: number, start: bigint, length: bigint) =>
        refused(program, 1, u32(8, id), u64(16, start), u64(24, length));
      expect(await add(99, 0n, 0n)).toBe(EINVAL);
      expect(await add(99, MAX, 2n)).toBe(EOVERFLOW);
      expect(await add(99, 0n, 1n)).toBe(ENOENT);
      expect(await add(ioas, MAX, 1n)).toBe(0);
      expect(await program.map(ioas, 0x1000n, RAM, PAGE)).toBe(0);
      expect(await add(ioas, 0x1fffn, 1n)).toBe(EADDRINUSE);
      program.memory.write(BUFFER, layout(16, u64(0, 0x5000n), u64(8, 0x5fffn)));
      expect((await program.call(0x3b82, struct(24, u32(4, ioas), u32(8, 1), u64(16, BUFFER)))).result).toBe(
        0,
      );
      expect(await add(ioas, 0x5fffn, 2n)).toBe(EADDRINUSE);
      expect(await add(ioas, 0x6000n, PAGE)).toBe(0);
      expect(await program.map(ioas, 0x6000n, RAM, PAGE)).toBe(EINVAL);
      await program.end();
    });

    test('MD_CHECK_MAP', async () => {
      const { program, ioas } = await open();
      const { hwpt } = await program.mockDomain(ioas);
      expect(await program.map(ioas, APERTURE, RAM + 0x800n, 0x2000n)).toBe(0);
      const check = (id: number, iova: bigint, length: bigint, uptr: bigint) =>
        refused(program, 3, u32(8, id), u64(16, iova), u64(24, length), u64(32, uptr));
      for (const [iova, length, uptr] of [
        [1n, 0x800n, RAM],
        [APERTURE, 1n, RAM],
        [APERTURE, 0x800n, RAM + 1n],
        [APERTURE, 0x1000n, MAX - 0x7ffn],
      ] as const) {
        expect(await check(99, iova, length, uptr)).toBe(later ? ENOENT : EINVAL);
        expect(await check(hwpt, iova, length, uptr)).toBe(EINVAL);
      }
      for (const id of [0, 99, ioas]) expect(await check(id, APERTURE, 0x800n, RAM)).toBe(ENOENT);
      expect(await check(hwpt, APERTURE, 0x2000n, RAM + 0x800n)).toBe(0);
      expect(await check(hwpt, APERTURE + 0x800n, 0x1000n, RAM + 0x1000n)).toBe(0);
      expect(await check(hwpt, APERTURE, 0x800n, RAM)).toBe(EINVAL);
      expect(await check(hwpt, APERTURE, 0x2800n, RAM + 0x800n)).toBe(EINVAL);
      expect(await check(hwpt, 0n, 0n, 0n)).toBe(0);
      expect(await check(hwpt, APERTURE, 0x800n, 0n)).toBe(EFAULT);
      expect(await check(hwpt, APERTURE, 1n << 40n, RAM + 0x800n)).toBe(EINVAL);
      await program.end();
    });

    test('MD_CHECK_REFS', async () => {
      const { program, ioas } = await open();
      await program.mockDomain(ioas);
      expect(await program.map(ioas, APERTURE, RAM, 0x2000n)).toBe(0);
      const refs = (uptr: bigint, length: bigint, count: number) =>
        refused(program, 4, u64(16, length), u64(24, uptr), u32(32, count));
      expect(await refs(RAM, 0x2000n, 1)).toBe(0);
      expect(await refs(RAM, 0x3000n, 1)).toBe(EIO);
      expect(await refs(RAM + 0x2000n, PAGE, 0)).toBe(0);
      expect(await refs(RAM + 1n, PAGE, 1)).toBe(EINVAL);
      expect(await refs(RAM, 1n, 1)).toBe(EINVAL);
      expect(await refs(MAX - 0xfffn, PAGE, 0)).toBe(EINVAL);
      expect(await refs(0n, PAGE, 0)).toBe(EFAULT);
      expect(await refs(0n, 0n, 9)).toBe(0);
      expect(await program.map(ioas, 2n * APERTURE, RAM, PAGE)).toBe(0);
      expect(await refs(RAM, PAGE, 2)).toBe(0);
      await program.end();
    });

    test('SET_TEMP_MEMORY_LIMIT, MD_CHECK_IOTLB and TRIGGER_IOPF', async () => {
      const { program, ioas } = await open();
      for (const limit of [0, 11]) expect(await refused(program, 9, u32(16, limit))).toBe(EINVAL);
      for (const limit of [12, 65_536]) expect(await refused(program, 9, u32(16, limit))).toBe(0);
      const { stdev, idev, hwpt } = await program.mockDomain(ioas);
      for (const id of [0, 99, ioas, hwpt]) {
        expect(await refused(program, 14, u32(8, id), u32(16, 1), u32(20, 0))).toBe(ENOENT);
      }
      for (const id of [0, 99, stdev, ioas]) expect(await refused(program, 15, u32(16, id))).toBe(ENOENT);
      expect(await refused(program, 15, u32(16, idev), u64(32, 1n))).toBe(0);
      await program.end();
    });

    test('DIRTY', async () => {
      const { program, ioas } = await open();
      const { idev, hwpt } = await program.mockDomain(ioas);
      const tracking = await program.hwpt(idev, ioas, 2);
      expect(await program.map(ioas, APERTURE, RAM, 0x4000n)).toBe(0);
      program.memory.write(BUFFER, layout(2, u8(0, 0xff), u8(1, 0xff)));
      const dirty = async (id: number, iova: bigint, length: bigint, page: bigint, uptr = BUFFER) => {
        const fields = [
          u32(8, id),
          u64(24, iova),
          u64(32, length),
          u64(40, page),
          u64(48, uptr),
          u64(56, 99n),
        ];
        const answer = await program.test(13, ...fields);
        return answer.result === 0 ? answer.u64(56) : answer.result;
      };
      const at = APERTURE;
      expect(await dirty(99, at, 0x800n, 0n)).toBe(EINVAL);
      expect(await dirty(99, at, 0n, 0x800n)).toBe(EINVAL);
      expect(await dirty(99, at + 1n, 0x800n, 0x800n)).toBe(EINVAL);
      expect(await dirty(99, at, 0x801n, 0x800n)).toBe(EINVAL);
      expect(await dirty(99, at, 0x800n, 0x800n, 0n)).toBe(EINVAL);
      expect(await dirty(99, 0n, (1n << 27n) + 1n, 1n)).toBe(EOVERFLOW);
      expect(await dirty(99, 0n, 1n << 27n, 1n)).toBe(ENOENT);
      expect(await dirty(hwpt, at, 0x800n, 0x800n)).toBe(EINVAL);
      expect(await dirty(tracking, at, 0x800n, 0x800n)).toBe(EINVAL);
      expect((await program.call(0x3b8b, struct(16, u32(4, 1), u32(8, tracking)))).result).toBe(0);
      expect(await dirty(tracking, at, 0x800n, 0x800n, END)).toBe(EFAULT);
      expect(await dirty(tracking, at, 9n * 0x800n, 0x800n, END - 1n)).toBe(EFAULT);
      expect(await dirty(tracking, at, 0x2000n, 0x800n)).toBe(4n);
      expect(await dirty(tracking, at, 0x8000n, 0x800n)).toBe(later ? 16n : 8n);
      expect(await dirty(tracking, at, 0x4000n, 0x1000n)).toBe(later ? 4n : 0n);
      await program.end();
    });
  });

  describe('accesses', () => {
    test('CREATE_ACCESS', async () => {
      const { program, ioas } = await open();
      expect(await refused(program, 5, u32(8, 99), u32(20, 2))).toBe(EOPNOTSUPP);
      expect(await refused(program, 5, u32(8, 99))).toBe(ENOENT);
      expect(await program.map(ioas, 0x1001n, RAM, PAGE)).toBe(0);
      expect(await refused(program, 5, u32(8, ioas), u32(20, 1))).toBe(EADDRINUSE);
      const file = await program.access(ioas, 0);
      const second = await program.access(ioas, 0);
      expect(second).not.toBe(file);
      for (const id of [2, 3]) expect((await program.call(0x3b80, struct(8, u32(4, id)))).result).toBe(EBUSY);
      // The number is free again when the file is closed.
      expect(await program.device.closeFile(file)).toBe(0);
      expect(await program.access(ioas, 0)).toBe(file);
      await program.end(file, second);
    });

    const pages = (file: number, flags: number, iova: bigint, length: bigint, uptr = 0n): Put[] => [
      u32(8, file),
      u32(16, flags),
      u32(20, 0x77),
      u64(24, iova),
      u64(32, length),
      u64(40, uptr),
    ];

    test('ACCESS_PAGES: checks, in order; a failure uses no number up', async () => {
      const { program, ioas } = await open();
      expect(await program.map(ioas, 0x1000n, RAM, 0x2000n)).toBe(0);
      expect(await program.map(ioas, 0x5000n, RAM + 0x3000n, PAGE, 5)).toBe(0);
      const [plain, file] = [await program.access(ioas, 0), await program.access(ioas)];
      const refuse = (...fields: Parameters<typeof pages>) => refused(program, 7, ...pages(...fields));
      expect(await refuse(99, 2, 0n, BIG)).toBe(ENOMEM);
      for (const flags of [2, 4, 0x1_0000]) expect(await refuse(99, flags, 0n, PAGE)).toBe(EOPNOTSUPP);
      expect(await refuse(99, 0, 0n, PAGE)).toBe(EBADFD);
      expect(await refuse(plain, 0, 0n, 0n)).toBe(EOPNOTSUPP);
      expect(await refuse(file, 0, 0x1000n, 0n)).toBe(EINVAL);
      expect(await refuse(file, 0, MAX, 2n)).toBe(EOVERFLOW);
      expect(await refuse(file, 0, 0x1001n, PAGE)).toBe(EINVAL);
      expect(await refuse(file, 1, 0x5000n, PAGE)).toBe(EPERM);
      expect(await refuse(file, 0, 0x2000n, 0x2000n)).toBe(ENOENT);
      expect(await refuse(file, 0, 0x1000n, 0x2000n, RAM + 0x1000n)).toBe(EBADE);
      expect(await refuse(file, 0, 0x1000n, 0x2000n, 0x5000n)).toBe(EFAULT);
      expect(await program.readOnly(0x3ba0, struct(72, u32(4, 7), ...pages(file, 0, 0x1000n, PAGE)))).toBe(
        EFAULT,
      );
      expect(program.memory.physical.pinned).toBe(0);
      for (const item of [0, 1]) {
        const pinned = await program.test(7, ...pages(file, 1, 0x1000n, 0x2000n, RAM));
        expect([pinned.result, pinned.u32(20)]).toEqual([0, item]);
      }
      expect(program.memory.pins(RAM)).toBe(1);
      await program.end(plain, file);
    });

    test('DESTROY_ACCESS_PAGES', async () => {
      const { program, ioas } = await open();
      expect(await program.map(ioas, 0x1000n, RAM, PAGE)).toBe(0);
      const file = await program.access(ioas);
      for (let item = 0; item < 2; item++) {
        expect((await program.test(7, ...pages(file, 0, 0x1000n, PAGE))).u32(20)).toBe(item);
      }
      const destroy = (id: number, item: number) => refused(program, 6, u32(8, id), u32(16, item));
      expect(await destroy(99, 0)).toBe(EBADFD);
      expect(await destroy(file, 2)).toBe(ENOENT);
      expect(await destroy(file, 0)).toBe(0);
      expect(await destroy(file, 0)).toBe(ENOENT);
      const unmap = struct(24, u32(4, ioas), u64(8, 0x1000n), u64(16, PAGE));
      expect((await program.call(0x3b86, unmap)).result).toBe(0);
      expect(program.memory.pins(RAM)).toBe(0);
      expect(await destroy(file, 1)).toBe(ENOENT);
      await program.end(file);
    });

    test.each([0, 1])('ACCESS_RW, flags %d of the access', async (kind) => {
      const { program, ioas } = await open();
      expect(await program.map(ioas, 0x1000n, RAM, 0x2000n)).toBe(0);
      expect(await program.map(ioas, 0x5000n, RAM + 0x3000n, PAGE, 5)).toBe(0);
      const file = await program.access(ioas, kind);
      const rw = (id: number, flags: number, iova: bigint, length: bigint, uptr = BUFFER) =>
        refused(program, 8, u32(8, id), u64(16, iova), u64(24, length), u64(32, uptr), u32(40, flags));
      expect(await rw(99, 2, 0n, BIG)).toBe(ENOMEM);
      for (const flags of [2, 8, 0x1_0000]) expect(await rw(99, flags, 0n, 8n)).toBe(EOPNOTSUPP);
      expect(await rw(99, 1, 0n, 8n, 0n)).toBe(EBADFD);
      expect(await rw(file, 1, 0x9000n, 8n, 0n)).toBe(EFAULT);
      expect(await rw(file, 1, MAX, 8n, END - 4n)).toBe(EFAULT);
      for (const slow of [0, 4]) {
        expect(await rw(file, slow, 0x1000n, 0n)).toBe(EINVAL);
        expect(await rw(file, slow | 1, 0x1000n, 0n, 0n)).toBe(EINVAL);
        expect(await rw(file, slow, MAX, 8n, 0n)).toBe(EOVERFLOW);
        expect(await rw(file, slow | 1, 0x5000n, 8n)).toBe(EPERM);
        expect(await rw(file, slow, 0x2ff9n, 8n, 0n)).toBe(ENOENT);
        for (const target of [0n, ROM, END - 7n])
          expect(await rw(file, slow, 0x1000n, 8n, target)).toBe(EFAULT);
        program.memory.write(RAM + 0xffcn, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
        expect(await rw(file, slow, 0x1ffcn, 8n, END - 8n)).toBe(0);
        expect([...program.memory.read(END - 8n, 8)]).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
        expect(await rw(file, slow | 1, 0x1ffbn, 8n, END - 8n)).toBe(0);
        expect([...program.memory.read(RAM + 0xffbn, 9)]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 8]);
        expect(await rw(file, slow | 1, 0x1000n, 8n, ROM)).toBe(0);
      }
      await program.end(file);
    });

    test('ACCESS_REPLACE_IOAS', async () => {
      const { program, ioas } = await open();
      const other = await program.ioas();
      expect(await program.map(ioas, 0x1000n, RAM, PAGE)).toBe(0);
      const file = await program.access(ioas);
      expect((await program.test(7, ...pages(file, 0, 0x1000n, PAGE))).result).toBe(0);
      const replace = (id: number, to: number) => refused(program, 11, u32(8, id), u32(16, to));
      expect(await replace(99, 99)).toBe(EBADFD);
      expect(await replace(file, 99)).toBe(ENOENT);
      expect(await replace(file, 3)).toBe(ENOENT);
      expect(await replace(file, ioas)).toBe(0);
      expect(program.memory.pins(RAM)).toBe(1);
      expect(await replace(file, other)).toBe(0);
      expect(program.memory.pins(RAM)).toBe(0);
      expect((await program.call(0x3b80, struct(8, u32(4, ioas)))).result).toBe(0);
      expect((await program.call(0x3b80, struct(8, u32(4, other)))).result).toBe(EBUSY);
      await program.end(file);
    });
  });
});
