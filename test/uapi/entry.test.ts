/** Dispatch and size rules (rows X of docs/checks.md), write-back, object ids. */
import { describe, expect, test } from 'vitest';
import { IommufdDevice } from '../../src/uapi/device.js';
import {
  APERTURE,
  E2BIG,
  EBADF,
  EFAULT,
  EINVAL,
  ENOENT,
  ENOTTY,
  EOPNOTSUPP,
  LINUX,
  MAX,
  Program,
  RAM,
  ROOM,
  ROOM_LENGTH,
  struct,
  u32,
  u64,
} from './program.js';

describe.each(LINUX)('%s', (profile) => {
  const later = profile === 'linux-7.3';
  /** The last number before the test driver's. */
  const last = later ? 0x95 : 0x8e;
  /** A program on this kernel. */
  const start = (options: ConstructorParameters<typeof Program>[0] = {}) =>
    new Program({ profile, ...options });

  /** Just behind the room, and other places that are no memory. */
  const NOWHERE = [0n, 1n, ROOM - 1n, ROOM + ROOM_LENGTH, 1n << 63n, MAX - 3n, MAX];
  /** Requests with least and known sizes. */
  const SIZES: readonly (readonly [name: string, request: number, least: number, known: number])[] = [
    ['DESTROY', 0x3b80, 8, 8],
    ['IOAS_ALLOC', 0x3b81, 12, 12],
    ['IOAS_ALLOW_IOVAS', 0x3b82, 24, 24],
    ['IOAS_COPY', 0x3b83, 40, 40],
    ['IOAS_IOVA_RANGES', 0x3b84, 32, 32],
    ['IOAS_MAP', 0x3b85, 40, 40],
    ['IOAS_UNMAP', 0x3b86, 24, 24],
    ['OPTION', 0x3b87, 24, 24],
    ['VFIO_IOAS', 0x3b88, 12, 12],
    ['HWPT_ALLOC', 0x3b89, 24, 48],
    ['GET_HW_INFO', 0x3b8a, 32, 40],
    ['HWPT_SET_DIRTY_TRACKING', 0x3b8b, 16, 16],
    ['HWPT_GET_DIRTY_BITMAP', 0x3b8c, 48, 48],
    ['HWPT_INVALIDATE', 0x3b8d, 32, 32],
    ['FAULT_QUEUE_ALLOC', 0x3b8e, 16, 16],
    ['test', 0x3ba0, 68, 72],
    ...(later
      ? ([
          ['IOAS_MAP_FILE', 0x3b8f, 40, 40],
          ['VIOMMU_ALLOC', 0x3b90, 24, 40],
          ['VDEVICE_ALLOC', 0x3b91, 24, 24],
          ['IOAS_CHANGE_PROCESS', 0x3b92, 8, 8],
          ['VEVENTQ_ALLOC', 0x3b93, 28, 32],
          ['HW_QUEUE_ALLOC', 0x3b94, 40, 40],
          ['IOAS_NOIOMMU_GET_PA', 0x3b95, 40, 40],
        ] as const)
      : []),
  ];
  const VFIO_WITH_POINTER = [0x3b70, 0x3b71, 0x3b72];

  describe('dispatch', () => {
    test('X1: numbers below 0x80 and past the table are VFIO; unknown ones never touch their argument', async () => {
      const program = start();
      for (const argument of [...NOWHERE, ROOM]) {
        for (const number of [0, 1, 0x63, 0x67, 0x6f, 0x73, 0x75, 0x7f, 0xa1, 0xff]) {
          expect(await program.ioctl(0x3b00 | number, argument)).toBe(ENOTTY);
        }
        expect(await program.ioctl(0x3b64, argument)).toBe(0);
      }
      await program.end();
    });

    test('X2: the size is read before the request is looked at', async () => {
      const program = start();
      for (const argument of NOWHERE) {
        for (let number = 0x80; number <= 0xa0; number++) {
          expect(await program.ioctl(0x3b00 | number, argument)).toBe(EFAULT);
          expect(await program.ioctl(0xc004_3b00 | number, argument)).toBe(EFAULT);
        }
        for (const request of VFIO_WITH_POINTER) expect(await program.ioctl(request, argument)).toBe(EFAULT);
      }
      // Half of the size is there.
      expect(await program.ioctl(0x3b81, ROOM + ROOM_LENGTH - 2n)).toBe(EFAULT);
      await program.end();
    });

    test('X3: the request must match in all 32 bits', async () => {
      const program = start();
      const requests = Array.from({ length: 0x9f - last }, (_, at) => 0x3b01 + last + at);
      requests.push(0x3c81, 0x81, 0x8000_3b81, 0x400c_3b81, 0xc00c_3b81, 0x3a81, 0xffff_3ba0);
      for (const request of requests) {
        expect(await program.refused(request, struct(12))).toBe(ENOTTY);
        expect(await program.refused(request | 0, struct(12))).toBe(ENOTTY);
      }
      expect(await program.ioctl(0x8000_3b64, 0n)).toBe(ENOTTY);
      await program.end();
    });

    test.each(SIZES)('X4: %s is not called with less than its least size', async (_name, request, least) => {
      const program = start();
      for (const size of [0, 1, 4, least - 1]) {
        expect(await program.refused(request, struct(least, u32(0, size)))).toBe(EINVAL);
        // Only four bytes are read so far.
        program.memory.write(ROOM + ROOM_LENGTH - 4n, struct(4, u32(0, size)));
        expect(await program.ioctl(request, ROOM + ROOM_LENGTH - 4n)).toBe(EINVAL);
      }
      await program.end();
    });

    test.each(SIZES)(
      'rows 5 and 6: %s with more than is known, or cut off',
      async (_name, request, least, known) => {
        const program = start();
        const plain = (await program.call(request, struct(known))).result;
        expect([E2BIG, EFAULT, ENOTTY]).not.toContain(plain);
        for (const more of [1, 8, 4000, 500_000]) {
          expect((await program.call(request, struct(known + more))).result).toBe(plain);
        }
        for (const [more, where] of [
          [1, 0],
          [200, 0],
          [200, 199],
          [300_000, 65_536],
          [300_000, 299_999],
        ] as const) {
          const bytes = struct(known + more);
          bytes[known + where] = 1;
          expect(await program.refused(request, bytes)).toBe(E2BIG);
        }
        // The tail: what is there is looked at before the fault.
        const end = ROOM + ROOM_LENGTH;
        const big = struct(known + 64, u32(0, known + 65));
        program.memory.write(end - BigInt(big.length), big);
        expect(await program.ioctl(request, end - BigInt(big.length))).toBe(EFAULT);
        big[known + 63] = 1;
        program.memory.write(end - BigInt(big.length), big);
        expect(await program.ioctl(request, end - BigInt(big.length))).toBe(E2BIG);
        const huge = struct(known, u32(0, 0xffff_ffff));
        program.memory.write(end - BigInt(known), huge);
        expect(await program.ioctl(request, end - BigInt(known))).toBe(EFAULT);
        // The body.
        const short = struct(least, u32(0, known)).subarray(0, least - 1);
        program.memory.write(end - BigInt(short.length), short);
        expect(await program.ioctl(request, end - BigInt(short.length))).toBe(EFAULT);
        await program.end();
      },
    );

    test('without test commands the table ends with the last of the others', async () => {
      const program = start({ commands: undefined });
      for (let number = last + 1; number <= 0xff; number++) {
        expect(await program.ioctl(0x3b00 | number, 0n)).toBe(ENOTTY);
      }
      expect(await program.ioctl(0x3b00 | last, 0n)).toBe(EFAULT);
      expect(await program.refused(0x3ba0, struct(72, u32(4, 9), u32(16, 12)))).toBe(ENOTTY);
      await program.end();
    });

    test('what is not known of an argument is cut off, as C does', async () => {
      const program = start();
      program.memory.write(ROOM, struct(12));
      expect(await program.device.ioctl(0x3b81 - 2 ** 32, ROOM - (1n << 64n))).toBe(0);
      expect(await program.device.ioctl(0x3b81, Number(ROOM))).toBe(0);
      await program.end();
    });

    test('what no program can send is the fault of the host', async () => {
      const program = start();
      const { device } = program;
      // @ts-expect-error: not a number
      await expect(device.ioctl('0x3b81', ROOM)).rejects.toThrow(TypeError);
      // @ts-expect-error: not an address
      await expect(device.ioctl(0x3b81, null)).rejects.toThrow(TypeError);
      for (const commands of [true, null, {}, { request: 1 }]) {
        const options = { memory: program.memory, commands: commands as never };
        expect(() => new IommufdDevice(options)).toThrow(
          expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' }),
        );
      }
      // @ts-expect-error: no memory
      expect(() => new IommufdDevice({})).toThrow(TypeError);
      await program.end();
    });
  });

  describe('write-back', () => {
    test('a struct that is larger than known is written back as far as known, its size as it was', async () => {
      const program = start();
      const answer = await program.call(0x3b81, struct(2000));
      expect(answer.result).toBe(0);
      expect(answer.u32(0)).toBe(2000);
      expect(answer.u32(8)).toBe(1);
      expect(answer.bytes.subarray(12).every((byte) => byte === 0)).toBe(true);
      await program.end();
    });

    test('a shorter struct is written back short', async () => {
      const program = start();
      const ioas = await program.ioas();
      const { idev } = await program.mockDomain(ioas);
      for (const size of [24, 25, 31, 47, 48]) {
        const answer = await program.call(0x3b89, struct(size, u32(8, idev), u32(12, ioas)));
        expect(answer.result).toBe(0);
        expect(answer.u32(0)).toBe(size);
        const destroy = struct(8, u32(4, answer.u32(16)));
        expect((await program.call(0x3b80, destroy)).result).toBe(0);
      }
      const info = await program.call(0x3b8a, struct(35, u32(8, idev)));
      expect(info.result).toBe(0);
      expect([info.u32(12), info.u32(24)]).toEqual([8, 0xfeed_beef]);
      expect([...info.bytes.subarray(32)]).toEqual([later ? 9 : 1, 0, 0]);
      const device = await program.call(0x3ba0, struct(68, u32(4, 2), u32(8, ioas)));
      expect([device.result, device.u32(8)]).toEqual([0, ioas]);
      await program.end();
    });

    test('nothing is written for DESTROY, ALLOW_IOVAS and SET_DIRTY_TRACKING', async () => {
      const program = start();
      const ioas = await program.ioas();
      const { idev } = await program.mockDomain(ioas);
      const hwpt = await program.hwpt(idev, ioas, 2);
      expect(await program.readOnly(0x3b82, struct(24, u32(4, ioas)))).toBe(0);
      expect(await program.readOnly(0x3b8b, struct(16, u32(4, 1), u32(8, hwpt)))).toBe(0);
      expect(await program.readOnly(0x3b80, struct(8, u32(4, hwpt)))).toBe(0);
      await program.end();
    });
  });

  describe('object ids', () => {
    test('the lowest free one is taken, and a failed call takes none', async () => {
      const program = start();
      expect([await program.ioas(), await program.ioas(), await program.ioas()]).toEqual([1, 2, 3]);
      expect((await program.call(0x3b80, struct(8, u32(4, 2)))).result).toBe(0);
      expect(await program.readOnly(0x3b81, struct(12))).toBe(EFAULT);
      expect((await program.call(0x3b81, struct(12, u32(4, 1)))).result).toBe(EOPNOTSUPP);
      expect(await program.ioas()).toBe(2);
      expect(await program.mockDomain(1)).toEqual({ stdev: 4, idev: 5, hwpt: 6 });
      expect(await program.ioas()).toBe(7);
      await program.end();
    });

    test('what could not be written back is not there', async () => {
      const program = start();
      const ioas = await program.ioas();
      expect(await program.readOnly(0x3b81, struct(12))).toBe(EFAULT);
      expect((await program.call(0x3b80, struct(8, u32(4, 2)))).result).toBe(ENOENT);
      const { idev, hwpt } = await program.mockDomain(ioas);
      expect(await program.map(ioas, APERTURE, RAM, 0x1000n)).toBe(0);
      expect(await program.readOnly(0x3b89, struct(48, u32(8, idev), u32(12, ioas)))).toBe(EFAULT);
      expect((await program.call(0x3b80, struct(8, u32(4, hwpt + 1)))).result).toBe(ENOENT);
      for (const op of [2, 12]) {
        const device = struct(72, u32(4, op), u32(8, ioas));
        expect(await program.readOnly(0x3ba0, device)).toBe(EFAULT);
      }
      expect(await program.readOnly(0x3ba0, struct(72, u32(4, 5), u32(8, ioas)))).toBe(EFAULT);
      expect(await program.ioas()).toBe(hwpt + 1);
      await program.end();
    });

    test('what MAP, COPY and UNMAP did stays when it could not be written back', async () => {
      const program = start();
      const ioas = await program.ioas();
      const fields = [u32(4, 7), u32(8, ioas), u64(16, RAM), u64(24, 0x1000n), u64(32, 0x5000n)];
      expect(await program.readOnly(0x3b85, struct(40, ...fields))).toBe(EFAULT);
      const copy = [
        u32(4, 7),
        u32(8, ioas),
        u32(12, ioas),
        u64(16, 0x1000n),
        u64(24, 0x9000n),
        u64(32, 0x5000n),
      ];
      expect(await program.readOnly(0x3b83, struct(40, ...copy))).toBe(EFAULT);
      const unmap = struct(24, u32(4, ioas), u64(8, 0x5000n), u64(16, 0x1000n));
      expect(await program.readOnly(0x3b86, unmap)).toBe(EFAULT);
      expect((await program.call(0x3b86, unmap)).result).toBe(ENOENT);
      const rest = await program.call(0x3b86, struct(24, u32(4, ioas), u64(8, 0x9000n), u64(16, 0x1000n)));
      expect([rest.result, rest.u64(16)]).toEqual([0, 0x1000n]);
      await program.end();
    });
  });

  test('calls on a closed device, and on its access files', async () => {
    const program = start();
    const ioas = await program.ioas();
    const file = await program.access(ioas);
    program.memory.write(ROOM, struct(12));
    expect(await program.device.ioctl(0x3b81, ROOM, file)).toBe(ENOTTY);
    expect(await program.device.ioctl(0x3ba0, ROOM, file)).toBe(ENOTTY);
    expect(await program.device.ioctl(0x3b81, ROOM, file + 1)).toBe(EBADF);
    expect(await program.device.closeFile(file + 1)).toBe(EBADF);
    await program.device.close();
    expect(await program.ioctl(0x3b81, ROOM)).toBe(EBADF);
    expect(await program.ioctl(0x3b64, ROOM)).toBe(EBADF);
    expect((await program.test(2, u32(8, ioas))).result).toBe(EBADF);
    expect((await program.test(6, u32(8, file))).result).toBe(ENOENT);
    expect(await program.device.closeFile(file)).toBe(0);
    expect(await program.device.ioctl(0x3b81, ROOM, file)).toBe(EBADF);
  });
});
