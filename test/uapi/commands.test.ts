/** The commands, check by check (docs/checks.md). */
import { describe, expect, test } from 'vitest';
import {
  APERTURE,
  EADDRINUSE,
  EBUSY,
  EEXIST,
  EFAULT,
  EINVAL,
  EMSGSIZE,
  ENODEV,
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
  programMemory,
  RAM,
  ROM,
  ROOM,
  ROOM_LENGTH,
  struct,
  u8,
  u16,
  u32,
  u64,
} from './program.js';

describe.each(LINUX)('%s', (profile) => {
  const later = profile === 'linux-7.3';
  /** A program on this kernel. */
  const start = (options: ConstructorParameters<typeof Program>[0] = {}) =>
    new Program({ profile, ...options });

  /** Where arrays and bitmaps are. */
  const BUFFER = ROOM + 0x8000n;
  const END = ROOM + ROOM_LENGTH;

  /** A program with an address space and a mock device on it. */
  async function withDevice(flags = 0) {
    const program = start();
    const ioas = await program.ioas();
    return { program, ioas, ...(await program.mockDomain(ioas, flags)) };
  }

  test('2.1 DESTROY', async () => {
    const { program, ioas, stdev, idev, hwpt } = await withDevice();
    const destroy = (id: number) => program.refused(0x3b80, struct(8, u32(4, id)));
    const file = await program.access(ioas);
    expect(await destroy(0)).toBe(ENOENT);
    expect(await destroy(99)).toBe(ENOENT);
    expect(await destroy(0xffff_ffff)).toBe(ENOENT);
    for (const id of [ioas, idev, hwpt, 5]) expect(await destroy(id)).toBe(EBUSY);
    expect(await destroy(stdev)).toBe(0);
    for (const id of [stdev, idev, hwpt]) expect(await destroy(id)).toBe(ENOENT);
    expect(await destroy(ioas)).toBe(EBUSY);
    expect(await program.device.closeFile(file)).toBe(0);
    expect(await program.map(ioas, 0n, RAM, PAGE)).toBe(0);
    expect(await destroy(ioas)).toBe(0);
    await program.end();
  });

  test('2.2 IOAS_ALLOC', async () => {
    const program = start();
    expect(await program.refused(0x3b81, struct(12, u32(4, 1), u32(8, 77)))).toBe(EOPNOTSUPP);
    expect((await program.call(0x3b81, struct(12, u32(8, 77)))).u32(8)).toBe(1);
    await program.end();
  });

  describe('IOAS_IOVA_RANGES', () => {
    const request = (ioas: number, count: number, array = BUFFER, reserved = 0) =>
      struct(32, u32(4, ioas), u32(8, count), u32(12, reserved), u64(16, array), u64(24, 99n));

    /** Reservations [0x1000, 0x1fff] and [0x3000, 0x3fff]: three usable ranges. */
    async function reserved() {
      const program = start();
      const ioas = await program.ioas();
      for (const start of [0x1000n, 0x3000n]) {
        const added = await program.test(1, u32(8, ioas), u64(16, start), u64(24, PAGE));
        expect(added.result).toBe(0);
      }
      const entries = [0n, 0xfffn, 0x2000n, 0x2fffn, 0x4000n, MAX];
      return {
        program,
        ioas,
        array: (count: number) =>
          layout(
            count * 16,
            ...entries.map((value, at) => (at < count * 2 ? u64(at * 8, value) : () => undefined)),
          ),
      };
    }

    test('checks', async () => {
      const { program, ioas } = await reserved();
      expect(await program.refused(0x3b84, request(99, 1, BUFFER, 1))).toBe(EOPNOTSUPP);
      expect(await program.refused(0x3b84, request(99, 1))).toBe(ENOENT);
      expect(await program.refused(0x3b84, request(ioas, 3, 0n))).toBe(EFAULT);
      expect(await program.refused(0x3b84, request(ioas, 1, MAX - 3n))).toBe(EFAULT);
      await program.end();
    });

    test.each([0, 1, 2, 3, 4, 0xffff_ffff])('room for %d of three', async (count) => {
      const { program, ioas, array } = await reserved();
      program.memory.write(BUFFER, new Uint8Array(80).fill(0xee));
      const answer = await program.call(0x3b84, request(ioas, count, count === 0 ? 0n : BUFFER));
      expect(answer.result).toBe(count < 3 ? EMSGSIZE : 0);
      expect([answer.u32(8), answer.u64(24)]).toEqual([3, 1n]);
      const written = Math.min(count, 3);
      expect(program.memory.read(BUFFER, written * 16)).toEqual(array(written));
      const rest = program.memory.read(BUFFER + BigInt(written * 16), 80 - written * 16);
      expect(rest.every((byte) => byte === 0xee)).toBe(true);
      await program.end();
    });

    test('a fault in the array stops at once; one in the struct comes before EMSGSIZE', async () => {
      const { program, ioas, array } = await reserved();
      expect(await program.refused(0x3b84, request(ioas, 3, END - 32n))).toBe(EFAULT);
      expect(program.memory.read(END - 32n, 32)).toEqual(array(2));
      expect(await program.readOnly(0x3b84, request(ioas, 1))).toBe(EFAULT);
      expect(program.memory.read(BUFFER, 16)).toEqual(array(1));
      await program.end();
    });

    test('the alignment is that of the users', async () => {
      const { program, ioas } = await withDevice();
      const answer = await program.call(0x3b84, request(ioas, 8));
      expect([answer.result, answer.u32(8), answer.u64(24)]).toEqual([0, 1, 2048n]);
      expect(program.memory.read(BUFFER, 16)).toEqual(layout(16, u64(0, APERTURE), u64(8, 0x7fff_ffffn)));
      await program.end();
    });
  });

  test('2.4 IOAS_ALLOW_IOVAS', async () => {
    const program = start();
    const ioas = await program.ioas();
    const reserve = await program.test(1, u32(8, ioas), u64(16, 0x10_0000n), u64(24, PAGE));
    expect(reserve.result).toBe(0);
    const allow = (
      id: number,
      entries: bigint[],
      array = BUFFER,
      reserved = 0,
      count = entries.length / 2,
    ) => {
      program.memory.write(
        array < END ? array : BUFFER,
        layout(entries.length * 8, ...entries.map((value, at) => u64(at * 8, value))),
      );
      return program.refused(
        0x3b82,
        struct(24, u32(4, id), u32(8, count), u32(12, reserved), u64(16, array)),
      );
    };
    const place = async () =>
      (await program.call(0x3b85, struct(40, u32(4, 6), u32(8, ioas), u64(16, RAM), u64(24, PAGE)))).u64(32);
    expect(await allow(99, [0n, 1n], BUFFER, 1)).toBe(EOPNOTSUPP);
    expect(await allow(99, [0n, 1n])).toBe(ENOENT);
    expect(await allow(ioas, [0x5000n, 0x8fffn])).toBe(0);
    expect(await place()).toBe(0x5000n);
    expect(await allow(ioas, [5n, 5n])).toBe(EINVAL);
    expect(await allow(ioas, [5n, 4n])).toBe(EINVAL);
    expect(await allow(ioas, [0x1000n, 0x1fffn, 0x1fffn, 0x2fffn])).toBe(EINVAL);
    expect(await allow(ioas, [0x2000n, 0x2fffn, 0x1000n, 0x1fffn, 0x10_0000n, 0x10_0001n])).toBe(EADDRINUSE);
    // Entries that can be read are judged before the fault.
    expect(await allow(ioas, [], END, 0, 1)).toBe(EFAULT);
    expect(await allow(ioas, [0x1000n, 0x1fffn], END - 16n, 0, 2)).toBe(EFAULT);
    expect(await allow(ioas, [0x1000n, 0x1000n], END - 16n, 0, 2)).toBe(EINVAL);
    expect(await allow(ioas, [0x1000n, 0x2000n, 0x2000n, 0x3000n], END - 32n, 0, 3)).toBe(EINVAL);
    expect(await allow(ioas, [0x1000n, 0x2000n], END - 16n, 0, 0xffff_ffff)).toBe(EFAULT);
    // The old list is still in force.
    expect(await place()).toBe(0x6000n);
    expect(await allow(ioas, [], 0n)).toBe(0);
    expect(await place()).toBe(0x1000n);
    await program.end();
  });

  describe('IOAS_MAP', () => {
    const map = (flags: number, ioas: number, uptr: bigint, length: bigint, iova: bigint, reserved = 0) =>
      struct(
        40,
        u32(4, flags),
        u32(8, ioas),
        u32(12, reserved),
        u64(16, uptr),
        u64(24, length),
        u64(32, iova),
      );

    test('checks, in order', async () => {
      const { program, ioas } = await withDevice();
      const at = APERTURE;
      expect(await program.refused(0x3b85, map(8, 99, RAM, MAX, MAX))).toBe(EOPNOTSUPP);
      expect(await program.refused(0x3b85, map(0x8000_0000, 99, RAM, MAX, MAX))).toBe(EOPNOTSUPP);
      expect(await program.refused(0x3b85, map(0, 99, RAM, MAX, MAX, 1))).toBe(EOPNOTSUPP);
      expect(await program.refused(0x3b85, map(0, 99, RAM, MAX, 0n))).toBe(EOVERFLOW);
      expect(await program.refused(0x3b85, map(0, 99, RAM, PAGE, MAX))).toBe(EOVERFLOW);
      expect(await program.refused(0x3b85, map(6, ioas, RAM, PAGE, MAX))).toBe(EOVERFLOW);
      expect(await program.refused(0x3b85, map(1, 99, RAM, PAGE, at))).toBe(EINVAL);
      expect(await program.refused(0x3b85, map(7, 99, RAM, 0n, at))).toBe(ENOENT);
      expect(await program.refused(0x3b85, map(7, ioas, RAM, 0n, at))).toBe(EINVAL);
      expect(await program.refused(0x3b85, map(7, ioas, RAM, MAX - 1n, at))).toBe(later ? EOVERFLOW : EINVAL);
      expect(await program.refused(0x3b85, map(7, ioas, 0n, MAX - 1n, at))).toBe(EINVAL);
      expect(await program.refused(0x3b85, map(7, ioas, MAX, 2n, at))).toBe(EOVERFLOW);
      expect(await program.refused(0x3b85, map(7, ioas, RAM, PAGE, at + 1n))).toBe(EINVAL);
      expect(await program.refused(0x3b85, map(7, ioas, RAM, PAGE, 0n))).toBe(EINVAL);
      expect(await program.refused(0x3b85, map(7, ioas, 0n, PAGE, at))).toBe(EFAULT);
      expect(await program.refused(0x3b85, map(7, ioas, ROM, PAGE, at))).toBe(EFAULT);
      expect((await program.call(0x3b85, map(5, ioas, ROM, PAGE, at))).result).toBe(0);
      expect(await program.refused(0x3b85, map(7, ioas, RAM, PAGE, at))).toBe(EEXIST);
      await program.end();
    });

    test('the IOVA is chosen where it is not fixed', async () => {
      const { program, ioas } = await withDevice();
      for (const at of [APERTURE, APERTURE + PAGE]) {
        const answer = await program.call(0x3b85, map(6, ioas, RAM + 0x1000n, PAGE, 0x1234_5000n));
        expect([answer.result, answer.u64(32)]).toEqual([0, at]);
      }
      await program.end();
    });

    test('memory that is not there can be mapped while there is no page table', async () => {
      const program = start();
      const ioas = await program.ioas();
      expect(await program.map(ioas, 0x4000_0000n, 0x8000_0000n, 0x1000_0000n)).toBe(0);
      expect((await program.test(2, u32(8, ioas))).result).toBe(EFAULT);
      await program.end();
    });
  });

  test('2.6 IOAS_COPY', async () => {
    const program = start();
    const [from, to] = [await program.ioas(), await program.ioas()];
    expect(await program.map(from, 0x4000n, RAM, 0x3000n)).toBe(0);
    expect(await program.map(from, 0x8000n, ROM, PAGE, 5)).toBe(0);
    const copy = (
      flags: number,
      dst: number,
      src: number,
      length: bigint,
      dstIova: bigint,
      srcIova: bigint,
    ) =>
      struct(
        40,
        u32(4, flags),
        u32(8, dst),
        u32(12, src),
        u64(16, length),
        u64(24, dstIova),
        u64(32, srcIova),
      );
    const refused = (...fields: Parameters<typeof copy>) => program.refused(0x3b83, copy(...fields));
    expect(await refused(0x1_0000, 99, 99, MAX, MAX, MAX)).toBe(EOPNOTSUPP);
    expect(await refused(8, 99, 99, MAX, MAX, MAX)).toBe(EOPNOTSUPP);
    expect(await refused(0, 99, 99, MAX, 0n, 0n)).toBe(EOVERFLOW);
    expect(await refused(0, 99, 99, PAGE, MAX, 0n)).toBe(EOVERFLOW);
    expect(await refused(0, 99, 99, PAGE, 0n, MAX)).toBe(EOVERFLOW);
    expect(await refused(1, 99, 99, PAGE, 0n, 0n)).toBe(EINVAL);
    expect(await refused(7, to, 99, 0n, 0n, 0x4000n)).toBe(ENOENT);
    expect(await refused(7, 99, from, 0n, 0n, 0x4000n)).toBe(EINVAL);
    expect(await refused(7, 99, from, MAX - 1n, 0n, 0x4000n)).toBe(EOVERFLOW);
    expect(await refused(7, to, from, 0x4000n, 0n, 0x4000n)).toBe(ENOENT);
    expect(await refused(7, 99, from, PAGE, 0n, 0x4000n)).toBe(ENOENT);
    expect(await refused(7, to, from, PAGE, 0n, 0x8000n)).toBe(EPERM);
    const copied = await program.call(0x3b83, copy(6, to, from, 0x1000n, 0n, 0x5000n));
    expect([copied.result, copied.u64(24)]).toEqual([0, 0x1000n]);
    const fixed = await program.call(0x3b83, copy(7, to, from, 0x800n, 0x9000n, 0x5800n));
    expect([fixed.result, fixed.u64(24)]).toEqual([0, 0x9000n]);
    expect(await refused(7, to, from, PAGE, 0x9000n, 0x4000n)).toBe(EEXIST);
    await program.end();
  });

  test('2.7 IOAS_UNMAP', async () => {
    const program = start();
    const ioas = await program.ioas();
    const unmap = (id: number, iova: bigint, length: bigint) =>
      struct(24, u32(4, id), u64(8, iova), u64(16, length));
    for (const iova of [0x1000n, 0x3000n, 0x6000n])
      expect(await program.map(ioas, iova, RAM, 0x2000n)).toBe(0);
    const refused = (...fields: Parameters<typeof unmap>) => program.refused(0x3b86, unmap(...fields));
    expect(await refused(99, 0n, MAX)).toBe(ENOENT);
    expect(await refused(ioas, 1n, MAX)).toBe(EOVERFLOW);
    expect(await refused(ioas, MAX, 1n)).toBe(EOVERFLOW);
    expect(await refused(ioas, MAX, MAX)).toBe(EOVERFLOW);
    expect(await refused(ioas, 0x1000n, 0n)).toBe(EINVAL);
    expect(await refused(ioas, 0x1000n, MAX - 1n)).toBe(EOVERFLOW);
    expect(await refused(ioas, 0x10_0000n, PAGE)).toBe(ENOENT);
    // The first area goes, the second reaches outside.
    expect(await refused(ioas, 0x1000n, 0x3000n)).toBe(ENOENT);
    expect(await refused(ioas, 0x1000n, 0x2000n)).toBe(ENOENT);
    const two = await program.call(0x3b86, unmap(ioas, 0n, 0x10_0000n));
    expect([two.result, two.u64(16)]).toEqual([0, 0x4000n]);
    const nothing = await program.call(0x3b86, unmap(ioas, 0n, MAX));
    expect([nothing.result, nothing.u64(16)]).toEqual([0, 0n]);
    await program.end();
  });

  describe('OPTION', () => {
    const option = (id: number, op: number, object: number, value: bigint, reserved = 0) =>
      struct(24, u32(4, id), u16(8, op), u16(10, reserved), u32(12, object), u64(16, value));

    test('RLIMIT_MODE', async () => {
      const program = start();
      const refused = (...fields: Parameters<typeof option>) => program.refused(0x3b87, option(...fields));
      expect(await refused(0, 1, 0, 5n, 1)).toBe(EOPNOTSUPP);
      expect(await refused(2, 1, 0, 5n)).toBe(EOPNOTSUPP);
      expect(await refused(0, 2, 0, 5n)).toBe(EOPNOTSUPP);
      expect(await refused(0, 1, 1, 5n)).toBe(EOPNOTSUPP);
      expect(await refused(0, 0, 0, 2n)).toBe(EINVAL);
      program.caller = { capable: () => false };
      expect(await refused(0, 0, 0, 2n)).toBe(EPERM);
      program.caller = {};
      expect((await program.call(0x3b87, option(0, 1, 0, 5n))).u64(16)).toBe(0n);
      expect((await program.call(0x3b87, option(0, 0, 0, 1n))).result).toBe(0);
      const got = await program.call(0x3b87, option(0, 1, 0, MAX));
      expect([got.result, got.u64(16)]).toEqual([0, 1n]);
      await program.ioas();
      expect(await refused(0, 0, 0, 2n)).toBe(EBUSY);
      expect((await program.call(0x3b87, option(0, 1, 0, 0n))).u64(16)).toBe(1n);
      await program.end();
    });

    test('HUGE_PAGES: the object comes before the operation', async () => {
      const { program, ioas, stdev } = await withDevice();
      const refused = (...fields: Parameters<typeof option>) => program.refused(0x3b87, option(...fields));
      expect(await refused(1, 7, 99, 0n)).toBe(ENOENT);
      expect(await refused(1, 7, stdev, 0n)).toBe(ENOENT);
      expect(await refused(1, 7, ioas, 0n)).toBe(EOPNOTSUPP);
      expect(await refused(1, 0, ioas, 2n)).toBe(EINVAL);
      expect((await program.call(0x3b87, option(1, 1, ioas, 9n))).u64(16)).toBe(1n);
      expect(await program.map(ioas, APERTURE, RAM, PAGE)).toBe(0);
      expect(await refused(1, 0, ioas, 0n)).toBe(EINVAL);
      expect((await program.call(0x3b87, option(1, 0, ioas, 1n))).result).toBe(0);
      await program.end();
    });

    test('only the value is written back, and the setting stays where it cannot be', async () => {
      const program = start();
      const get = option(0, 1, 0, 7n);
      // The value is in writable memory, all before it is not.
      program.memory.protect(ROM, PAGE, true);
      program.memory.write(ROM + PAGE - 16n, get.subarray(0, 16));
      program.memory.protect(ROM, PAGE, false);
      program.memory.protect(ROM + PAGE, PAGE, true);
      program.memory.write(ROM + PAGE, get.subarray(16));
      expect(await program.ioctl(0x3b87, ROM + PAGE - 16n)).toBe(0);
      expect(program.memory.read(ROM + PAGE, 8)).toEqual(new Uint8Array(8));
      expect(await program.readOnly(0x3b87, option(0, 0, 0, 1n))).toBe(EFAULT);
      expect((await program.call(0x3b87, get)).u64(16)).toBe(1n);
      await program.end();
    });

    test('the container node starts with the mode that charges the process', async () => {
      const program = start({ accounting: 'mm' });
      expect((await program.call(0x3b87, option(0, 1, 0, 0n))).u64(16)).toBe(1n);
      await program.end();
    });
  });

  test('2.9 VFIO_IOAS', async () => {
    const program = start();
    const request = (id: number, op: number, reserved = 0) =>
      struct(12, u32(4, id), u16(8, op), u16(10, reserved));
    expect(await program.refused(0x3b88, request(0, 0, 1))).toBe(EOPNOTSUPP);
    expect(await program.refused(0x3b88, request(0, 3))).toBe(EOPNOTSUPP);
    expect(await program.refused(0x3b88, request(0, 0))).toBe(ENODEV);
    expect(await program.refused(0x3b88, request(1, 1))).toBe(ENOENT);
    const ioas = await program.ioas();
    expect(await program.readOnly(0x3b88, request(ioas, 1))).toBe(0);
    expect((await program.call(0x3b88, request(77, 0))).u32(4)).toBe(ioas);
    expect(await program.readOnly(0x3b88, request(77, 0))).toBe(EFAULT);
    expect(await program.readOnly(0x3b88, request(77, 2))).toBe(0);
    expect(await program.refused(0x3b88, request(0, 0))).toBe(ENODEV);
    expect(await program.refused(0x3b88, request(ioas, 1))).toBe(0);
    expect((await program.call(0x3b80, struct(8, u32(4, ioas)))).result).toBe(0);
    expect(await program.refused(0x3b88, request(0, 0))).toBe(ENODEV);
    await program.end();
  });

  describe('HWPT_ALLOC', () => {
    interface Fields {
      flags?: number;
      device?: number;
      pt?: number;
      reserved?: number;
      type?: number;
      length?: number;
      data?: bigint;
      fault?: number;
      reserved2?: number;
    }
    const request = ({
      flags = 0,
      device = 0,
      pt = 0,
      reserved = 0,
      type = 0,
      length = 0,
      data = 0n,
      fault = 0,
      reserved2 = 0,
    }: Fields) =>
      struct(
        48,
        u32(4, flags),
        u32(8, device),
        u32(12, pt),
        u32(16, 0x55),
        u32(20, reserved),
        u32(24, type),
        u32(28, length),
        u64(32, data),
        u32(40, fault),
        u32(44, reserved2),
      );

    test('rows 1 to 9', async () => {
      const { program, ioas, stdev, idev: device } = await withDevice();
      const noDirty = (await program.mockDomain(ioas, 1)).idev;
      const refused = (fields: Fields) => program.refused(0x3b89, request(fields));
      expect(await refused({ reserved: 1, type: 0, length: 4 })).toBe(EOPNOTSUPP);
      expect(await refused({ type: 0, length: 4 })).toBe(EINVAL);
      expect(await refused({ type: 5, length: 0 })).toBe(EINVAL);
      for (const id of [0, 99, stdev, ioas]) expect(await refused({ device: id, pt: 99 })).toBe(ENOENT);
      expect(await refused({ device, pt: 99, flags: 0xff })).toBe(EINVAL);
      for (const pt of [stdev, device]) expect(await refused({ device, pt, flags: 0xff })).toBe(EINVAL);
      for (const flags of later ? [5, 16, 0x8000_0000] : [4, 8, 0x8000_0000])
        expect(await refused({ device, pt: ioas, flags })).toBe(EOPNOTSUPP);
      expect(await refused({ device: noDirty, pt: ioas, flags: 2 })).toBe(EOPNOTSUPP);
      expect(await refused({ device, pt: ioas, type: 5, length: 4, data: BUFFER })).toBe(EOPNOTSUPP);
      expect(await program.map(ioas, APERTURE, RAM, PAGE)).toBe(0);
      const other = await program.ioas();
      expect(await program.map(other, 0n, RAM, PAGE)).toBe(0);
      expect(await refused({ device, pt: other })).toBe(EADDRINUSE);
      if (later) {
        expect(await refused({ device, pt: other, flags: 4 })).toBe(EADDRINUSE);
        // There are no fault queues; the table was made and is gone.
        expect(await refused({ device, pt: ioas, flags: 4 })).toBe(ENOENT);
      }
      for (const flags of later ? [0, 1, 2, 3, 8, 11] : [0, 1, 2, 3]) {
        const made = await program.call(0x3b89, request({ device, pt: ioas, flags, reserved2: 7 }));
        expect(made.result).toBe(0);
        expect((await program.call(0x3b80, struct(8, u32(4, made.u32(16))))).result).toBe(0);
      }
      await program.end();
    });

    test('rows 10 to 13: on a page table', async () => {
      const { program, ioas, idev: device, hwpt: automatic } = await withDevice();
      const [plain, parent] = [await program.hwpt(device, ioas), await program.hwpt(device, ioas, 1)];
      const refused = (fields: Fields) => program.refused(0x3b89, request({ device, ...fields }));
      const data = { type: 0xdead, length: 4, data: BUFFER };
      for (const pt of [automatic, plain, parent]) {
        expect(await refused({ pt })).toBe(EOPNOTSUPP);
        expect(await refused({ pt, flags: 4 })).toBe(EOPNOTSUPP);
        for (const flags of later ? [1, 2, 16] : [1, 2, 8])
          expect(await refused({ pt, flags, ...data })).toBe(EOPNOTSUPP);
      }
      expect(await refused({ pt: automatic, ...data })).toBe(EINVAL);
      expect(await refused({ pt: plain, flags: 4, ...data })).toBe(EINVAL);
      if (later) expect(await refused({ pt: plain, flags: 8, ...data })).toBe(EINVAL);
      expect(await refused({ pt: parent, ...data, type: 7 })).toBe(EOPNOTSUPP);
      expect(await refused({ pt: parent, ...data })).toBe(EOPNOTSUPP);
      await program.end();
    });

    test.runIf(later)('data for the driver, and the page tables that it asks for', async () => {
      const { program, ioas, idev: device } = await withDevice();
      const made = (fields: Fields) =>
        program.refused(0x3b89, request({ device, pt: ioas, type: 0xdead, data: BUFFER, ...fields }));
      program.memory.write(BUFFER, layout(16, u32(0, 7), u32(4, 2)));
      expect(await made({ type: 0xdeae, length: 3 })).toBe(EOPNOTSUPP);
      for (const length of [3, 9]) expect(await made({ length })).toBe(EINVAL);
      expect(await made({ length: 8, data: 0n })).toBe(EFAULT);
      expect(await made({ length: 8 })).toBe(EOPNOTSUPP);
      const alignmentWith = async (length: number, type: number) => {
        program.memory.write(BUFFER, layout(16, u32(4, type)));
        const own = await program.ioas();
        const fields = { device, pt: own, type: 0xdead, length, data: BUFFER };
        expect((await program.call(0x3b89, request(fields))).result).toBe(0);
        return program.device.iommufd.ioasTable(own).alignment;
      };
      expect(await alignmentWith(4, 1)).toBe(2048);
      expect(await alignmentWith(8, 0)).toBe(2048);
      expect(await alignmentWith(8, 1)).toBe(4096);
      await program.end();
    });

    test('a table made by hand lives until it is destroyed, and devices use it only by its id', async () => {
      const { program, ioas, idev, hwpt, stdev } = await withDevice();
      const manual = await program.hwpt(idev, ioas);
      const second = await program.mockDomain(ioas);
      expect(second.hwpt).toBe(hwpt);
      const third = await program.mockDomain(manual);
      expect(third.hwpt).toBe(manual);
      const destroy = (id: number) => program.refused(0x3b80, struct(8, u32(4, id)));
      expect(await destroy(manual)).toBe(EBUSY);
      for (const id of [stdev, second.stdev, third.stdev]) expect(await destroy(id)).toBe(0);
      expect(await destroy(hwpt)).toBe(ENOENT);
      expect(await destroy(ioas)).toBe(EBUSY);
      expect(await destroy(manual)).toBe(0);
      expect(await destroy(ioas)).toBe(0);
      await program.end();
    });
  });

  describe('GET_HW_INFO', () => {
    const request = (
      device: number,
      length: number,
      data = BUFFER,
      more: ((view: DataView) => void)[] = [],
    ) =>
      struct(
        40,
        u32(8, device),
        u32(12, length),
        u64(16, data),
        u32(24, 0x1234),
        u8(28, 9),
        u64(32, MAX),
        ...more,
      );

    test('checks', async () => {
      const { program, ioas, idev } = await withDevice();
      const unknown = later ? 2 : 1;
      expect(await program.refused(0x3b8a, request(99, 8, BUFFER, [u32(4, unknown)]))).toBe(EOPNOTSUPP);
      for (const at of [29, 30, 31]) {
        expect(await program.refused(0x3b8a, request(99, 8, BUFFER, [u8(at, 1)]))).toBe(EOPNOTSUPP);
      }
      expect(await program.refused(0x3b8a, request(99, 8, 0n))).toBe(ENOENT);
      expect(await program.refused(0x3b8a, request(ioas, 8, 0n))).toBe(ENOENT);
      expect(await program.refused(0x3b8a, request(idev, 1, 0n))).toBe(EFAULT);
      expect(await program.refused(0x3b8a, request(idev, 100, END - 50n))).toBe(EFAULT);
      expect(await program.refused(0x3b8a, request(idev, 0xffff_ffff))).toBe(EFAULT);
      expect(await program.readOnly(0x3b8a, request(idev, 0))).toBe(EFAULT);
      await program.end();
    });

    test.each([0, 3, 8, 20, 300_000])('room for %d bytes', async (room) => {
      const { program, idev } = await withDevice();
      program.memory.write(BUFFER, new Uint8Array(room + 8).fill(0xee));
      const answer = await program.call(0x3b8a, request(idev, room, room === 0 ? 0n : BUFFER));
      expect(answer.result).toBe(0);
      expect([answer.u32(8), answer.u32(12), answer.u32(24), answer.u32(28)]).toEqual([
        idev,
        8,
        0xfeed_beef,
        0,
      ]);
      expect(answer.u64(32)).toBe(later ? 9n : 1n);
      const known = layout(8, u32(4, 0xdead_beef)).subarray(0, Math.min(8, room));
      const data = program.memory.read(BUFFER, room);
      expect(data.subarray(0, known.length)).toEqual(known);
      expect(data.subarray(known.length).every((byte) => byte === 0)).toBe(true);
      expect(program.memory.read(BUFFER + BigInt(room), 8)).toEqual(new Uint8Array(8).fill(0xee));
      await program.end();
    });

    test.runIf(later)('can be asked for one type of data, and tells of PASIDs', async () => {
      const { program, ioas, idev } = await withDevice();
      const asked = (type: number) => request(idev, 8, BUFFER, [u32(4, 1), u32(24, type)]);
      expect(await program.refused(0x3b8a, request(99, 8, BUFFER, [u32(4, 1)]))).toBe(ENOENT);
      expect(await program.refused(0x3b8a, asked(0xfeed_bef0))).toBe(EOPNOTSUPP);
      for (const type of [0, 0xfeed_beef]) {
        const answer = await program.call(0x3b8a, asked(type));
        expect([answer.result, answer.u32(4), answer.u32(24)]).toEqual([0, 1, 0xfeed_beef]);
      }
      const able = (await program.mockDomain(ioas, 4)).idev;
      expect((await program.call(0x3b8a, request(able, 0))).u32(28)).toBe(20);
      await program.end();
    });

    test('a device without dirty tracking', async () => {
      const { program, idev } = await withDevice(1);
      expect((await program.call(0x3b8a, request(idev, 0))).u64(32)).toBe(later ? 8n : 0n);
      await program.end();
    });
  });

  describe('dirty tracking', () => {
    const set = (hwpt: number, flags: number, reserved = 0) =>
      struct(16, u32(4, flags), u32(8, hwpt), u32(12, reserved));

    test('2.12 HWPT_SET_DIRTY_TRACKING', async () => {
      const { program, ioas, idev, hwpt } = await withDevice();
      const tracking = await program.hwpt(idev, ioas, 2);
      expect(await program.refused(0x3b8b, set(99, 2))).toBe(EOPNOTSUPP);
      for (const id of [0, 99, ioas, idev]) expect(await program.refused(0x3b8b, set(id, 1))).toBe(ENOENT);
      for (const flags of [0, 1]) expect(await program.refused(0x3b8b, set(hwpt, flags))).toBe(EOPNOTSUPP);
      for (const flags of [1, 1, 0, 0])
        expect(await program.refused(0x3b8b, set(tracking, flags, 7))).toBe(0);
      await program.end();
    });

    /** [0x1000000, +0x4000) is mapped in a table that tracks; the io pages in `dirty` are marked. */
    async function tracked(dirty: number) {
      const { program, ioas, idev, hwpt } = await withDevice();
      const tracking = await program.hwpt(idev, ioas, 2);
      expect(await program.map(ioas, APERTURE, RAM, 0x4000n)).toBe(0);
      expect(await program.refused(0x3b8b, set(tracking, 1))).toBe(0);
      program.memory.write(BUFFER, layout(1, u8(0, dirty)));
      const marked = await program.test(
        13,
        u32(8, tracking),
        u64(24, APERTURE),
        u64(32, 0x4000n),
        u64(40, 2048n),
        u64(48, BUFFER),
      );
      expect(marked.result).toBe(0);
      return { program, ioas, idev, hwpt, tracking };
    }
    const get = (
      hwpt: number,
      iova: bigint,
      length: bigint,
      page: bigint,
      data = BUFFER,
      flags = 1,
      reserved = 0,
    ) =>
      struct(
        48,
        u32(4, hwpt),
        u32(8, flags),
        u32(12, reserved),
        u64(16, iova),
        u64(24, length),
        u64(32, page),
        u64(40, data),
      );

    test('2.13 HWPT_GET_DIRTY_BITMAP: checks', async () => {
      const { program, ioas, hwpt, tracking } = await tracked(0xff);
      const refused = (...fields: Parameters<typeof get>) => program.refused(0x3b8c, get(...fields));
      expect(await refused(99, APERTURE, 0n, 0n, 0n, 2)).toBe(EOPNOTSUPP);
      expect(await refused(99, APERTURE, 0n, 0n, 0n, 0, 1)).toBe(EOPNOTSUPP);
      for (const id of [0, 99, ioas]) expect(await refused(id, APERTURE, 0n, 0n)).toBe(ENOENT);
      expect(await refused(tracking, APERTURE, 0n, 2048n)).toBe(EINVAL);
      expect(await refused(tracking, APERTURE, 1000n, 2048n)).toBe(EINVAL);
      expect(await refused(tracking, APERTURE + 0x400n, 2048n, 2048n)).toBe(EINVAL);
      expect(await refused(tracking, APERTURE, 0x4000n, 0n)).toBe(EINVAL);
      expect(await refused(tracking, MAX - 0x7ffn, 0x1000n, 2048n)).toBe(EOVERFLOW);
      expect(await refused(hwpt, APERTURE, 0x4000n, 4096n)).toBe(EOPNOTSUPP);
      expect(await refused(hwpt, APERTURE, 0x4000n, 0n)).toBe(EINVAL);
      for (const page of [1024n, 4096n, 1n]) expect(await refused(tracking, APERTURE, 0x4000n, page)).toBe(0);
      expect(await refused(tracking, 0x2000_0000n, 0x4000n, 4096n)).toBe(0);
      expect(await refused(tracking, APERTURE, 0x10_0000n, 4096n)).toBe(0);
      for (const data of [0n, END, MAX, 1n << 63n])
        expect(await refused(tracking, APERTURE, 0x4000n, 2048n, data)).toBe(0);
      expect(await program.readOnly(0x3b8c, get(tracking, APERTURE, 0x4000n, 2048n))).toBe(0);
      await program.end();
    });

    // Later kernels have one mark for a whole page table entry; here these are of 4096 bytes.
    test.each([
      [2048n, later ? [0b1111_0011] : [0b1010_0011]],
      [4096n, [0b1101]],
      [1024n, later ? [0b0000_1111, 0b1111_1111] : [0b0000_1111, 0b1100_1100]],
      [0x4000n, [1]],
    ])('bits of %d bytes are set and never cleared, at any byte', async (page, expected) => {
      const { program, tracking } = await tracked(0b1010_0011);
      for (const offset of [0n, 0xff1n, 0xfffn]) {
        program.memory.write(BUFFER, new Uint8Array(0x3000));
        const at = BUFFER + offset;
        const before = Uint8Array.of(0x80, 0x10, 0xff);
        program.memory.write(at - 1n, before);
        expect(await program.refused(0x3b8c, get(tracking, APERTURE, 0x4000n, page, at))).toBe(0);
        const after = program.memory.read(at - 1n, 4);
        expect(after[0]).toBe(0x80);
        expect(after[1]).toBe(expected[0]! | 0x10);
        expect(after[2]).toBe((expected[1] ?? 0) | 0xff);
        expect(after[3]).toBe(0);
      }
      await program.end();
    });

    test('marks are cleared unless NO_CLEAR says not to, also where the bitmap is bad', async () => {
      const { program, tracking } = await tracked(0xff);
      const read = async (flags: number, data = BUFFER) => {
        program.memory.write(BUFFER, new Uint8Array(1));
        expect(await program.refused(0x3b8c, get(tracking, APERTURE, 0x2000n, 2048n, data, flags))).toBe(0);
        return program.memory.read(BUFFER, 1)[0];
      };
      expect(await read(1)).toBe(0x0f);
      expect(await read(0)).toBe(0x0f);
      expect(await read(1)).toBe(0);
      const rest = get(tracking, APERTURE + 0x2000n, 0x2000n, 2048n, 0n, 0);
      expect(await program.refused(0x3b8c, rest)).toBe(0);
      expect(await program.refused(0x3b8c, get(tracking, APERTURE, 0x4000n, 2048n, BUFFER, 1))).toBe(0);
      expect(program.memory.read(BUFFER, 1)[0]).toBe(0);
      await program.end();
    });

    test('a bitmap that ends in unmapped memory gets what fits', async () => {
      const { program, tracking } = await tracked(0xff);
      program.memory.write(END - 1n, new Uint8Array(1));
      expect(await program.refused(0x3b8c, get(tracking, APERTURE, 0x4000n, 1024n, END - 1n))).toBe(0);
      expect(program.memory.read(END - 1n, 1)[0]).toBe(0xff);
      await program.end();
    });

    test('a huge io page sets all the bits it has in the range', async () => {
      const { program, ioas, idev } = await withDevice(later ? 0 : 2);
      program.memory.write(BUFFER, layout(8, u32(4, 1)));
      const huge = later ? [u32(24, 0xdead), u32(28, 8), u64(32, BUFFER)] : [];
      const table = struct(48, u32(4, 2), u32(8, idev), u32(12, ioas), ...huge);
      const tracking = (await program.call(0x3b89, table)).u32(16);
      const megabyte = 0x10_0000n;
      const { uptr } = program.memory.mmap({ length: 4n * megabyte });
      const behind = (BigInt(program.memory.frameOf(uptr)) * PAGE) % megabyte;
      const aligned = uptr + (behind === 0n ? 0n : megabyte - behind);
      expect(await program.map(ioas, 2n * APERTURE, aligned, 2n * megabyte)).toBe(0);
      expect(await program.refused(0x3b8b, set(tracking, 1))).toBe(0);
      program.memory.write(BUFFER, layout(1, u8(0, 1)));
      const marked = await program.test(
        13,
        u32(8, tracking),
        u64(24, 2n * APERTURE),
        u64(32, 2048n),
        u64(40, 2048n),
        u64(48, BUFFER),
      );
      expect([marked.result, marked.u64(56)]).toEqual([0, 1n]);
      program.memory.write(BUFFER, new Uint8Array(0x2_0001));
      expect(await program.refused(0x3b8c, get(tracking, 2n * APERTURE, megabyte, 1n))).toBe(0);
      const bitmap = program.memory.read(BUFFER, 0x2_0001);
      expect(bitmap.subarray(0, 0x2_0000).every((byte) => byte === 0xff)).toBe(true);
      expect(bitmap[0x2_0000]).toBe(0);
      await program.end();
    });
  });

  describe('not modelled', () => {
    test('HWPT_INVALIDATE writes back always', async () => {
      const { program, ioas, hwpt } = await withDevice();
      const request = (id: number, data: bigint, length: number, count: number, reserved = 0) =>
        struct(
          32,
          u32(4, id),
          u64(8, data),
          u32(16, 0xdead_beef),
          u32(20, length),
          u32(24, count),
          u32(28, reserved),
        );
      const outcomes: [Uint8Array, number][] = [
        [request(99, BUFFER, 8, 1, 1), EOPNOTSUPP],
        [request(99, 0n, 8, 1), EINVAL],
        [request(99, BUFFER, 0, 1), EINVAL],
        [request(99, BUFFER, 4097, 1), EINVAL],
        [request(99, BUFFER, 8, 2 ** 19 + 1), EINVAL],
        [request(99, BUFFER, 4096, 2 ** 19), ENOENT],
        [request(99, 0n, 0, 0), ENOENT],
        [request(ioas, BUFFER, 8, 1), later ? EINVAL : ENOENT],
        [request(hwpt, BUFFER, 8, 1), later ? EINVAL : ENOENT],
      ];
      for (const [bytes, errno] of outcomes) {
        const answer = await program.call(0x3b8d, bytes);
        expect([answer.result, answer.u32(24)]).toEqual([errno, 0]);
        expect(await program.readOnly(0x3b8d, bytes)).toBe(EFAULT);
      }
      await program.end();
    });

    test('FAULT_QUEUE_ALLOC', async () => {
      const program = start();
      for (const flags of [0, 1, 0x8000_0000]) {
        expect(await program.refused(0x3b8e, struct(16, u32(4, flags)))).toBe(EOPNOTSUPP);
      }
      await program.end();
    });
  });

  test('locked memory: ENOMEM, and a caller with CAP_IPC_LOCK is not charged', async () => {
    const program = start({ memory: programMemory(4) });
    const ioas = await program.ioas();
    await program.mockDomain(ioas);
    expect(await program.map(ioas, APERTURE, RAM, 5n * PAGE)).toBe(ENOMEM);
    expect(await program.map(ioas, APERTURE, RAM, 4n * PAGE)).toBe(0);
    program.caller = { capable: (capability) => capability === 'CAP_IPC_LOCK' };
    expect(await program.map(ioas, 2n * APERTURE, RAM, 9n * PAGE)).toBe(0);
    expect(program.memory.locked?.user.lockedPages).toBe(4);
    await program.end();
  });
});
