/** The VFIO type 1 calls. */
import { describe, expect, test } from 'vitest';
import {
  APERTURE,
  EEXIST,
  EFAULT,
  EINVAL,
  ENODEV,
  ENOENT,
  ENOTTY,
  EOVERFLOW,
  LINUX,
  layout,
  MAX,
  PAGE,
  Program,
  RAM,
  ROM,
  ROOM,
  ROOM_LENGTH,
  struct,
  u16,
  u32,
  u64,
} from './program.js';

describe.each(LINUX)('%s', (profile) => {
  /** A program on this kernel. */
  const start = (options: ConstructorParameters<typeof Program>[0] = {}) =>
    new Program({ profile, ...options });

  const END = ROOM + ROOM_LENGTH;

  /** A program whose VFIO calls act on an address space. */
  async function compat() {
    const program = start();
    const ioas = await program.ioas();
    expect((await program.call(0x3b88, struct(12, u32(4, ioas), u16(8, 1)))).result).toBe(0);
    return { program, ioas };
  }

  function map(flags: number, vaddr: bigint, iova: bigint, size: bigint): Uint8Array {
    return struct(32, u32(4, flags), u64(8, vaddr), u64(16, iova), u64(24, size));
  }

  function unmap(flags: number, iova: bigint, size: bigint): Uint8Array {
    return struct(24, u32(4, flags), u64(8, iova), u64(16, size));
  }

  test('the version, and what is not there', async () => {
    const program = start();
    expect(await program.ioctl(0x3b64, MAX)).toBe(0);
    expect(await program.ioctl(0x3b75, ROOM)).toBe(ENOTTY);
    await program.end();
  });

  test('CHECK_EXTENSION', async () => {
    const { program, ioas } = await compat();
    for (const [extension, supported] of [
      [0n, 0],
      [1n, 1],
      [2n, 0],
      [3n, 1],
      [4n, 1],
      [5n, 0],
      [6n, 0],
      [7n, 0],
      [8n, 0],
      [9n, 1],
      [10n, 0],
      [0x1_0000_0001n, 0],
      [MAX, 0],
    ] as const) {
      expect(await program.ioctl(0x3b65, extension)).toBe(supported);
    }
    await program.mockDomain(ioas);
    expect(await program.ioctl(0x3b65, 4n)).toBe(0);
    await program.call(0x3b88, struct(12, u16(8, 2)));
    expect(await program.ioctl(0x3b65, 4n)).toBe(ENODEV);
    expect(await program.ioctl(0x3b65, 1n)).toBe(1);
    await program.end();
  });

  test('SET_IOMMU', async () => {
    const lonely = start();
    for (const type of [0n, 2n, 4n, 8n, 0x1_0000_0001n, MAX]) {
      expect(await lonely.ioctl(0x3b66, type)).toBe(EINVAL);
    }
    for (const type of [1n, 3n]) expect(await lonely.ioctl(0x3b66, type)).toBe(ENODEV);
    await lonely.end();
    const { program, ioas } = await compat();
    const hugePages = async () =>
      (await program.call(0x3b87, struct(24, u32(4, 1), u16(8, 1), u32(12, ioas)))).u64(16);
    await program.mockDomain(ioas);
    expect((await program.call(0x3b71, map(3, RAM, APERTURE, PAGE))).result).toBe(0);
    expect(await program.ioctl(0x3b66, 1n)).toBe(EINVAL);
    expect((await program.call(0x3b72, unmap(2, 0n, 0n))).u64(16)).toBe(PAGE);
    expect(await program.ioctl(0x3b66, 3n)).toBe(0);
    expect(await hugePages()).toBe(1n);
    expect(await program.ioctl(0x3b66, 1n)).toBe(0);
    expect(await hugePages()).toBe(0n);
    expect(await program.ioctl(0x3b66, 3n)).toBe(0);
    expect(await hugePages()).toBe(0n);
    await program.end();
  });

  test('MAP_DMA', async () => {
    const lonely = start();
    for (const argument of [0n, END - 31n, MAX]) expect(await lonely.ioctl(0x3b71, argument)).toBe(EFAULT);
    const short = map(4, RAM, APERTURE, PAGE);
    short[0] = 31;
    expect(await lonely.refused(0x3b71, short)).toBe(EINVAL);
    expect(await lonely.refused(0x3b71, map(4, RAM, APERTURE, PAGE))).toBe(EINVAL);
    expect(await lonely.refused(0x3b71, map(3, RAM, APERTURE, PAGE))).toBe(ENODEV);
    await lonely.end();
    const { program } = await compat();
    expect(await program.refused(0x3b71, map(3, RAM, APERTURE, 0n))).toBe(EINVAL);
    expect(await program.refused(0x3b71, map(3, RAM, MAX, 2n))).toBe(EOVERFLOW);
    expect(await program.refused(0x3b71, map(0, RAM, APERTURE, PAGE))).toBe(0);
    expect(await program.refused(0x3b71, map(1, RAM, APERTURE, PAGE))).toBe(EEXIST);
    expect(await program.readOnly(0x3b71, map(2, RAM, 2n * APERTURE, PAGE))).toBe(0);
    // What is behind the struct is nobody's business.
    const larger = new Uint8Array(100).fill(0x77);
    larger.set(map(3, RAM, 3n * APERTURE, PAGE));
    larger[0] = 100;
    expect(await program.refused(0x3b71, larger)).toBe(0);
    program.memory.write(END - 32n, map(3, RAM, 4n * APERTURE, PAGE));
    program.memory.write(END - 32n, layout(4, u32(0, 0xffff_ffff)));
    expect(await program.ioctl(0x3b71, END - 32n)).toBe(0);
    await program.end();
  });

  describe('UNMAP_DMA', () => {
    test('checks; what is written back', async () => {
      const lonely = start();
      for (const argument of [0n, END - 23n, MAX]) expect(await lonely.ioctl(0x3b72, argument)).toBe(EFAULT);
      const short = unmap(1, 5n, 5n);
      short[0] = 23;
      expect(await lonely.refused(0x3b72, short)).toBe(EINVAL);
      for (const flags of [1, 4, 0x8000_0000])
        expect(await lonely.refused(0x3b72, unmap(flags, 0n, 5n))).toBe(EINVAL);
      expect(await lonely.refused(0x3b72, unmap(2, 5n, 5n))).toBe(ENODEV);
      await lonely.end();

      const { program } = await compat();
      for (const iova of [0x1000n, 0x3000n, 0x6000n]) {
        expect(await program.refused(0x3b71, map(3, RAM, iova, 0x2000n))).toBe(0);
      }
      expect(await program.refused(0x3b72, unmap(2, 1n, 0n))).toBe(EINVAL);
      expect(await program.refused(0x3b72, unmap(2, 0n, 1n))).toBe(EINVAL);
      const outcome = async (flags: number, iova: bigint, size: bigint) => {
        const answer = await program.call(0x3b72, unmap(flags, iova, size));
        return [answer.result, answer.u64(16)];
      };
      expect(await outcome(0, 0x10_0000n, PAGE)).toEqual([0, 0n]);
      expect(await outcome(0, 0x1000n, 0n)).toEqual([EINVAL, 0n]);
      expect(await outcome(0, MAX, 2n)).toEqual([EOVERFLOW, 0n]);
      expect(await outcome(0, 0x1000n, 0x1000n)).toEqual([ENOENT, 0n]);
      // One area goes before the one that reaches outside.
      expect(await outcome(0, 0x1000n, 0x3000n)).toEqual([ENOENT, 0x2000n]);
      expect(await program.readOnly(0x3b72, unmap(0, 0x3000n, 0x2000n))).toBe(EFAULT);
      expect(await outcome(0, 0x3000n, 0x2000n)).toEqual([0, 0n]);
      expect(await program.readOnly(0x3b72, unmap(0, 0x6000n, 0x1000n))).toBe(EFAULT);
      expect(await outcome(2, 0n, 0n)).toEqual([0, 0x2000n]);
      expect(await outcome(2, 0n, 0n)).toEqual([0, 0n]);
      await program.end();
    });

    test('type 1 cuts; a cut that fails writes nothing', async () => {
      const { program, ioas } = await compat();
      expect(await program.ioctl(0x3b66, 1n)).toBe(0);
      expect(await program.refused(0x3b71, map(3, RAM, APERTURE, 0x4000n))).toBe(0);
      await program.mockDomain(ioas);
      const middle = await program.call(0x3b72, unmap(0, APERTURE + PAGE, PAGE));
      expect([middle.result, middle.u64(16)]).toEqual([0, PAGE]);
      expect(await program.refused(0x3b72, unmap(0, APERTURE + 0x2000n, 0x800n))).toBe(EINVAL);
      const last = await program.call(0x3b72, unmap(0, APERTURE + 0x2000n, PAGE));
      expect([last.result, last.u64(16)]).toEqual([0, PAGE]);
      const all = await program.call(0x3b72, unmap(2, 0n, 0n));
      expect(all.u64(16)).toBe(2n * PAGE);
      await program.end();
    });
  });

  describe('GET_INFO', () => {
    test('checks', async () => {
      const lonely = start();
      for (const argument of [0n, END - 15n, MAX]) expect(await lonely.ioctl(0x3b70, argument)).toBe(EFAULT);
      for (const size of [0, 15]) expect(await lonely.refused(0x3b70, struct(16, u32(0, size)))).toBe(EINVAL);
      expect(await lonely.refused(0x3b70, struct(16))).toBe(ENODEV);
      await lonely.end();
      const { program } = await compat();
      expect(await program.readOnly(0x3b70, struct(24))).toBe(EFAULT);
      expect(await program.readOnly(0x3b70, struct(72))).toBe(EFAULT);
      program.memory.write(END - 20n, struct(20, u32(0, 1000)));
      expect(await program.ioctl(0x3b70, END - 20n)).toBe(EFAULT);
      await program.end();
    });

    /** The whole answer for usable ranges. */
    function answer(room: number, ranges: readonly (readonly [bigint, bigint])[], sizes: bigint): Uint8Array {
      const total = 56 + 16 * ranges.length;
      const bytes = new Uint8Array(Math.max(room, total)).fill(0xee);
      const put = (at: number, part: Uint8Array) => {
        if (at + part.length <= room) bytes.set(part, at);
      };
      put(24, layout(12, u16(0, 3), u16(2, 1), u32(4, room >= 40 ? 40 : 0), u32(8, 0xffff_ffff)));
      for (const [at, [start, last]] of ranges.entries()) {
        put(56 + 16 * at, layout(16, u64(0, start), u64(8, last)));
      }
      if (room >= total) put(40, layout(16, u16(0, 1), u16(2, 1), u32(8, ranges.length)));
      const head = layout(24, u32(0, total), u32(4, 3), u64(8, sizes), u32(16, room >= total ? 24 : 0));
      bytes.set(head.subarray(0, Math.min(room, 24)));
      return bytes.subarray(0, room);
    }

    /** Page sizes of the mock domain. */
    const sizes = profile === 'linux-7.3' ? 0x1f_ffff_f000n : 0x1000n;
    const ROOMS = [16, 17, 20, 23, 24, 35, 36, 39, 40, 48, 55, 56, 71, 72, 73, 87, 88, 103, 104, 105, 4000];

    test.each(ROOMS)('room for %d bytes, one hole', async (room) => {
      const { program, ioas } = await compat();
      const request = new Uint8Array(room).fill(0xee);
      request.set(layout(4, u32(0, room)));
      const whole = await program.call(0x3b70, request);
      expect(whole.result).toBe(0);
      expect(whole.bytes).toEqual(answer(room, [[0n, MAX]], 0xffff_ffff_ffff_f000n));
      await program.mockDomain(ioas);
      const mock = await program.call(0x3b70, request);
      expect(mock.bytes).toEqual(answer(room, [[APERTURE, 0x7fff_ffffn]], sizes));
      await program.end();
    });

    test.each(ROOMS)('room for %d bytes, three holes', async (room) => {
      const { program, ioas } = await compat();
      for (const start of [0x1000n, 0x3000n]) {
        expect((await program.test(1, u32(8, ioas), u64(16, start), u64(24, PAGE))).result).toBe(0);
      }
      const request = new Uint8Array(room).fill(0xee);
      request.set(layout(4, u32(0, room)));
      const ranges = [
        [0n, 0xfffn],
        [0x2000n, 0x2fffn],
        [0x4000n, MAX],
      ] as const;
      const { bytes, result } = await program.call(0x3b70, request);
      expect(result).toBe(0);
      expect(bytes).toEqual(answer(room, ranges, 0xffff_ffff_ffff_f000n));
      await program.end();
    });

    test('only the first 16 bytes are read', async () => {
      const { program } = await compat();
      program.memory.write(END - 16n, struct(16));
      expect(await program.ioctl(0x3b70, END - 16n)).toBe(0);
      expect(program.memory.read(END - 16n, 16)).toEqual(answer(16, [[0n, MAX]], 0xffff_ffff_ffff_f000n));
      expect(ROM).toBeGreaterThan(RAM);
      await program.end();
    });
  });
});
