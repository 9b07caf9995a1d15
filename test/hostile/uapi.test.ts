/** `uapi` with arrays, callers and memory that say something else than they are, or something else each time. */
import { describe, expect, test } from 'vitest';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { IommuError } from '../../src/errors.js';
import type { Caller } from '../../src/iommufd/caller.js';
import type { UserMemory } from '../../src/memory/user-memory.js';
import { COMMANDS } from '../../src/uapi/commands.js';
import { IommufdDevice } from '../../src/uapi/device.js';
import { decode } from '../../src/uapi/encoding.js';
import { decodeRanges, encodeRanges } from '../../src/uapi/ranges.js';
import { decodeVfioInfo } from '../../src/uapi/vfio-info-bytes.js';
import { EFAULT, ENOMEM, Program, programMemory, RAM, ROOM, struct, u32, u64 } from '../uapi/program.js';

/** Says of itself what is not so. */
class Liar extends Uint8Array {
  override get length(): number {
    return 2 ** 20;
  }

  override subarray(): Liar {
    return Object.assign(new Liar(0), { length: 1e9 });
  }
}

/** An array whose buffer is gone. */
function detached(): Uint8Array {
  const bytes = new Uint8Array(64);
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
  return bytes;
}

describe('arrays of bytes', () => {
  test('are what they are, whatever they say', () => {
    const ioas = struct(12, u32(8, 7));
    expect(decode('IOAS_ALLOC', new Liar(ioas))).toEqual(decode('IOAS_ALLOC', ioas));
    const ranges = [{ start: 1n, last: 2n }];
    expect(decodeRanges(new Liar(encodeRanges(ranges)), 1)).toEqual(ranges);
    expect(() => decodeRanges(new Liar(16), 2)).toThrow(
      expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }),
    );
    expect(decodeVfioInfo(new Liar(struct(24, u32(4, 2), u32(16, 20)))).capabilities).toEqual([]);
  });

  test('are empty when their buffer is gone', () => {
    expect(decode('DESTROY', detached())).toEqual({ size: 0, id: 0 });
    expect(decodeVfioInfo(detached()).capabilities).toEqual([]);
    expect(() => decodeRanges(detached(), 1)).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }));
  });

  test('are none if they only look like some', () => {
    const looks = Object.create(Uint8Array.prototype);
    for (const call of [
      () => decode('DESTROY', looks),
      () => decodeRanges(looks, 0),
      () => decodeVfioInfo(looks),
    ]) {
      expect(call).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE' }));
    }
  });
});

test('a driver that has no room for a page table: HWPT_ALLOC says so, and takes no id', async () => {
  const program = new Program();
  const ioas = await program.ioas();
  let full = true;
  const nic = await program.device.iommufd.deviceBind({
    name: 'nic',
    createDomain() {
      if (full) throw new IommuError('ENOMEM', { check: 'domain', detail: 'there is no room' });
      return new RadixDomain();
    },
  });
  const alloc = struct(48, u32(8, nic.id), u32(12, ioas));
  for (let again = 0; again < 3; again++) expect(await program.refused(0x3b89, alloc)).toBe(ENOMEM);
  full = false;
  expect(await program.hwpt(nic.id, ioas)).toBe(nic.id + 1);
  await program.end();
});

test('who calls is read once: what is mapped is charged to the process whose memory it is', async () => {
  const program = new Program({ memory: programMemory(1) });
  const [own, other] = [programMemory(1), programMemory()];
  const ioas = await program.ioas();
  await program.mockDomain(ioas);
  own.write(ROOM, struct(40, u32(4, 7), u32(8, ioas), u64(16, RAM), u64(24, 0x4000n), u64(32, 0x100_0000n)));
  const asked: string[] = [];
  const caller: Caller = {
    get memory() {
      asked.push('memory');
      return asked.length === 1 ? own : other;
    },
  };
  // Four pages over a limit of one.
  expect(await program.device.ioctl(COMMANDS.IOAS_MAP.request, ROOM, undefined, caller)).toBe(ENOMEM);
  expect(asked).toEqual(['memory']);
  for (const wrong of [null, 7, { memory: 7 }, { capable: 7 }]) {
    await expect(program.device.ioctl(0x3b81, ROOM, undefined, wrong as never)).rejects.toMatchObject({
      code: 'ERR_INVALID_ARG_TYPE',
    });
  }
  await program.end();
});

test.each([Number.NaN, -1, 0.5, 1e9, undefined, 'all'])(
  'memory that copied %s bytes has copied none',
  async (said) => {
    const memory: UserMemory = {
      pin: () => 0,
      unpin: () => undefined,
      frames: () => new Uint8Array(4096),
      copyFromUser: () => said as never,
      copyToUser: () => said as never,
    };
    const device = new IommufdDevice({ memory });
    expect(await device.ioctl(0x3b81, 0x1000n)).toBe(EFAULT);
    device.check();
    await device.close();
  },
);
