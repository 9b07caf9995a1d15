/**
 * A program as it would be written in C: it lays bytes out by hand and knows nothing of the library's tables.
 */
import { expect } from 'vitest';
import type { ProcessMemory } from '../../src/memory/process-memory.js';
import { createMemory } from '../../src/testing/create-memory.js';
import { testCommands } from '../../src/testing/uapi-test-commands.js';
import { IommufdDevice, type IommufdDeviceOptions } from '../../src/uapi/device.js';
import type { DeviceCaller } from '../../src/uapi/device-caller.js';

/** 2 MiB that may be mapped; the next 64 KiB are read-only. */
export const RAM = 0x1_0000_0000n;
export const ROM = 0x1_0020_0000n;
/** Where the program has its structs and buffers: 1 MiB, with nothing mapped before and behind it. */
export const ROOM = 0x2_0000_0000n;
export const ROOM_LENGTH = 0x10_0000n;
export const APERTURE = 0x100_0000n;
export const MAX = 0xffff_ffff_ffff_ffffn;
export const PAGE = 0x1000n;

/** The kernels that have the device. */
export const LINUX = ['linux-6.12', 'linux-7.3'] as const;

/** Errno numbers, negative as ioctl gives them. */
export const EPERM = -1;
export const ENOENT = -2;
export const EIO = -5;
export const ENXIO = -6;
export const E2BIG = -7;
export const EBADF = -9;
export const ENOMEM = -12;
export const EFAULT = -14;
export const EBUSY = -16;
export const EEXIST = -17;
export const ENODEV = -19;
export const EINVAL = -22;
export const EMFILE = -24;
export const ENOTTY = -25;
export const ERANGE = -34;
export const EBADE = -52;
export const EOVERFLOW = -75;
export const EBADFD = -77;
export const EMSGSIZE = -90;
export const EOPNOTSUPP = -95;
export const EADDRINUSE = -98;

/** A field at a byte offset. */
export type Put = (view: DataView) => void;

export function u8(at: number, value: number): Put {
  return (view) => view.setUint8(at, value);
}

export function u16(at: number, value: number): Put {
  return (view) => view.setUint16(at, value, true);
}

export function u32(at: number, value: number): Put {
  return (view) => view.setUint32(at, value, true);
}

export function s32(at: number, value: number): Put {
  return (view) => view.setInt32(at, value, true);
}

export function u64(at: number, value: bigint): Put {
  return (view) => view.setBigUint64(at, value, true);
}

/** Bytes of a struct whose first field is its size. */
export function struct(size: number, ...fields: Put[]): Uint8Array {
  return layout(size, u32(0, size), ...fields);
}

/** Bytes with fields in them. */
export function layout(length: number, ...fields: Put[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(length));
  for (const put of fields) put(view);
  return new Uint8Array(view.buffer);
}

/** What a call left behind in the struct that it was given. */
export class Answer {
  readonly result: number;
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  constructor(result: number, bytes: Uint8Array) {
    this.result = result;
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer);
  }

  u32(at: number): number {
    return this.#view.getUint32(at, true);
  }

  u64(at: number): bigint {
    return this.#view.getBigUint64(at, true);
  }
}

/** Whether two arrays have the same bytes; quick where they are long. */
function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

/** Memory of a program. */
export function programMemory(lockedPages?: number): ProcessMemory {
  return createMemory(
    [
      { uptr: RAM, length: ROM - RAM, writable: true },
      { uptr: ROM, length: 0x1_0000n, writable: false },
      { uptr: ROOM, length: ROOM_LENGTH, writable: true },
    ],
    { lockedPages },
  );
}

/** A program with the device open. */
export class Program {
  readonly memory: ProcessMemory;
  readonly device: IommufdDevice;
  /** Who calls, if not the opener of the device. */
  caller: DeviceCaller = {};

  constructor(options: Partial<IommufdDeviceOptions> & { memory?: ProcessMemory } = {}) {
    this.memory = options.memory ?? programMemory();
    this.device = new IommufdDevice({ commands: testCommands(), ...options, memory: this.memory });
  }

  /** ioctl with a struct at the start of the room. Not a byte behind the struct may change. */
  async call(request: number, bytes: Uint8Array, at = ROOM): Promise<Answer> {
    const guard = new Uint8Array(64).fill(0xa5);
    this.memory.write(at, bytes);
    this.memory.write(at + BigInt(bytes.length), guard);
    const result = await this.ioctl(request, at);
    expect(same(this.memory.read(at + BigInt(bytes.length), 64), guard)).toBe(true);
    return new Answer(result, this.memory.read(at, bytes.length));
  }

  /** As `call`, where the struct must come back as it was. */
  async refused(request: number, bytes: Uint8Array): Promise<number> {
    const answer = await this.call(request, bytes);
    expect(same(answer.bytes, bytes)).toBe(true);
    return answer.result;
  }

  ioctl(request: number, argument: bigint): Promise<number> {
    return this.device.ioctl(request, argument, undefined, this.caller);
  }

  /** Puts a struct into the last bytes of the read-only region: it can be read, but not written. */
  async readOnly(request: number, bytes: Uint8Array): Promise<number> {
    const at = ROM + 0x8000n;
    this.memory.protect(ROM, 0x1_0000n, true);
    this.memory.write(at, bytes);
    this.memory.protect(ROM, 0x1_0000n, false);
    return await this.ioctl(request, at);
  }

  /** IOAS_ALLOC. */
  async ioas(): Promise<number> {
    const answer = await this.call(0x3b81, struct(12));
    expect(answer.result).toBe(0);
    return answer.u32(8);
  }

  /** IOAS_MAP at an IOVA. */
  async map(ioas: number, iova: bigint, uptr: bigint, length: bigint, flags = 7): Promise<number> {
    const fields = [u32(4, flags), u32(8, ioas), u64(16, uptr), u64(24, length), u64(32, iova)];
    return (await this.call(0x3b85, struct(40, ...fields))).result;
  }

  /** The test command's MOCK_DOMAIN: ids of the test device, the page table and the bound device. */
  async mockDomain(pt: number, flags = 0): Promise<{ stdev: number; hwpt: number; idev: number }> {
    const answer = await this.call(0x3ba0, struct(72, u32(4, 12), u32(8, pt), u32(28, flags)));
    expect(answer.result).toBe(0);
    expect(answer.u32(8)).toBe(pt);
    return { stdev: answer.u32(16), hwpt: answer.u32(20), idev: answer.u32(24) };
  }

  /** MOCK_DOMAIN, which must be refused. */
  async mockDomainRefused(pt: number, errno: number): Promise<void> {
    expect((await this.test(2, u32(8, pt))).result).toBe(errno);
  }

  /** The test command. */
  test(op: number, ...fields: Put[]): Promise<Answer> {
    return this.call(0x3ba0, struct(72, u32(4, op), ...fields));
  }

  /** CREATE_ACCESS: number of the file. */
  async access(ioas: number, flags = 1): Promise<number> {
    const answer = await this.test(5, u32(8, ioas), u32(20, flags));
    expect(answer.result).toBe(0);
    return answer.u32(16);
  }

  /** HWPT_ALLOC on an address space. */
  async hwpt(device: number, ioas: number, flags = 0): Promise<number> {
    const answer = await this.call(0x3b89, struct(48, u32(4, flags), u32(8, device), u32(12, ioas)));
    expect(answer.result).toBe(0);
    return answer.u32(16);
  }

  /** Ends a test: the device is checked and closed, and nothing stays pinned. */
  async end(...files: number[]): Promise<void> {
    this.device.check();
    await this.device.close();
    for (const file of files) expect(await this.device.closeFile(file)).toBe(0);
    expect(this.memory.physical.pinned).toBe(0);
    expect(this.memory.locked?.user.lockedPages ?? 0).toBe(0);
    expect(this.memory.locked?.mm.lockedPages ?? 0).toBe(0);
  }
}
