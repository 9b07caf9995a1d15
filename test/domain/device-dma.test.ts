import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DmaFault, deviceRead, deviceWrite } from '../../src/domain/device-dma.js';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import type { FrameRuns } from '../../src/memory/frame-runs.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import type { UserMemory } from '../../src/memory/user-memory.js';
import { MockDomain } from '../../src/testing/mock-domain.js';
import { expectErrorNow } from '../helpers/expect-error.js';

/** Frames 0 to n − 1 in one buffer, of which at most two are shown at a time. */
class Frames implements UserMemory {
  readonly bytes: Uint8Array;

  constructor(count: number) {
    this.bytes = new Uint8Array(count * 4096);
  }

  frames(pfn: number, count: number): Uint8Array {
    return this.bytes.subarray(pfn * 4096, (pfn + Math.min(count, 2)) * 4096);
  }

  pin(_page: number, count: number, _write: boolean, _into: FrameRuns): number {
    return count;
  }

  unpin(): void {}

  copyFromUser(): number {
    return 0;
  }

  copyToUser(): number {
    return 0;
  }
}

function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, at) => 1 + (at % 251));
}

function faultOf(call: () => void): DmaFault {
  try {
    call();
  } catch (error) {
    if (error instanceof DmaFault) return error;
    throw error;
  }
  return expect.fail('the access did not fault');
}

const START = 2n ** 63n - 0x2000n;

describe('device reads and writes', () => {
  test('go to the frames behind scattered pages, at any byte', () => {
    fc.assert(
      fc.property(
        fc.shuffledSubarray([0, 1, 2, 3, 4, 5, 6, 7], { minLength: 8 }),
        fc.nat(8 * 4096 - 1),
        fc.nat(8 * 4096),
        (order, offset, wanted) => {
          const length = Math.min(wanted, 8 * 4096 - offset);
          const memory = new Frames(8);
          const domain = new RadixDomain();
          order.forEach((pfn, at) => {
            domain.map(START + BigInt(at * 4096), BigInt(pfn * 4096), 4096n, 3);
          });
          const source = pattern(length);
          deviceWrite(domain, memory, START + BigInt(offset), source);
          const expected = new Uint8Array(8 * 4096);
          source.forEach((byte, at) => {
            const page = Math.floor((offset + at) / 4096);
            expected[order[page]! * 4096 + ((offset + at) % 4096)] = byte;
          });
          expect(Buffer.compare(memory.bytes, expected)).toBe(0);
          const target = new Uint8Array(length);
          deviceRead(domain, memory, START + BigInt(offset), target);
          expect(Buffer.compare(target, source)).toBe(0);
        },
      ),
      { numRuns: 50 },
    );
  });

  test('cross a large page in the pieces that the memory has', () => {
    const memory = new Frames(512);
    const domain = new RadixDomain();
    domain.map(0n, 0n, 0x20_0000n, 3);
    const source = pattern(0x1f_f000);
    deviceWrite(domain, memory, 0x801, source);
    expect(Buffer.compare(memory.bytes.subarray(0x801, 0x801 + source.length), source)).toBe(0);
    expect(memory.bytes[0x800]).toBe(0);
  });

  test('work through a mock domain, whose io pages are half pages', () => {
    const memory = new Frames(4);
    const domain = new MockDomain();
    domain.map(0x100_0000n, 0x800n, 0x800n);
    domain.map(0x100_0800n, 0x3000n, 0x800n);
    deviceWrite(domain, memory, 0x100_07ff, Uint8Array.of(7, 8));
    expect([memory.bytes[0xfff], memory.bytes[0x3000]]).toEqual([7, 8]);
    const fault = faultOf(() => deviceRead(domain, memory, 0x100_0ffe, new Uint8Array(3)));
    expect([fault.iova, fault.copied]).toEqual([0x100_1000n, 2]);
  });

  test('reach the memory of a process', async () => {
    const memory = new ProcessMemory();
    const region = memory.mmap({ length: 0x4000n, frames: 'scattered' });
    const domain = new RadixDomain();
    for (let at = 0n; at < 0x4000n; at += 0x1000n) {
      domain.map(at, BigInt(memory.frameOf(region.uptr + at)) * 0x1000n, 0x1000n, 3);
    }
    deviceWrite(domain, memory, 0xffe, Uint8Array.of(1, 2, 3, 4));
    const seen = new Uint8Array(6);
    await memory.copyFromUser(Number(region.uptr / 0x1000n), 0xffd, seen, 0, 6);
    expect([...seen]).toEqual([0, 1, 2, 3, 4, 0]);
  });
});

describe('a device faults', () => {
  test('at the first page that is not mapped, after copying what lies before it', () => {
    const memory = new Frames(4);
    const domain = new RadixDomain();
    domain.map(0x1000n, 0n, 0x2000n, 3);
    domain.map(0x4000n, 0x3000n, 0x1000n, 3);
    const source = pattern(0x4000);
    const fault = faultOf(() => deviceWrite(domain, memory, 0x1800n, source));
    expect([fault.code, fault.errno, fault.iova, fault.copied]).toEqual(['EFAULT', -14, 0x3000n, 0x1800]);
    expect(fault.message).toBe('EFAULT: device write [0x1800, 0x57ff]: nothing is mapped at 0x3000');
    expect(Buffer.compare(memory.bytes.subarray(0x800, 0x2000), source.subarray(0, 0x1800))).toBe(0);
    expect(memory.bytes.subarray(0x2000).every((byte) => byte === 0)).toBe(true);
  });

  test.each([
    ['r', 1],
    ['w', 2],
    ['', 0],
  ])('where the protection "%s" does not allow the access', (_, protection) => {
    const memory = new Frames(1);
    const domain = new RadixDomain();
    domain.map(0n, 0n, 0x1000n, protection);
    const byte = Uint8Array.of(9);
    const allowed = (bit: number, call: () => void) => {
      if (protection & bit) return call();
      const fault = faultOf(call);
      expect(fault.reason).toMatchObject({ check: 'permission', wanted: bit === 1 ? 'read' : 'write' });
      expect([fault.iova, fault.copied]).toEqual([5n, 0]);
    };
    allowed(2, () => deviceWrite(domain, memory, 5, byte));
    expect(memory.bytes[5]).toBe(protection & 2 ? 9 : 0);
    const target = Uint8Array.of(1);
    allowed(1, () => deviceRead(domain, memory, 5, target));
    expect(target[0]).toBe(protection & 1 ? 0 : 1);
  });

  test('past the end of the address space', () => {
    const memory = new Frames(1);
    const domain = new RadixDomain();
    domain.map(0n, 0n, 0x1000n, 3);
    const top = 2n ** 64n - 1n;
    expect(faultOf(() => deviceRead(domain, memory, top, new Uint8Array(2))).iova).toBe(top);
    domain.unmap(0n, 0x1000n);
    domain.map(top - 0xfffn, 0n, 0x1000n, 3);
    const fault = faultOf(() => deviceRead(domain, memory, top, new Uint8Array(2)));
    expect([fault.iova, fault.copied]).toEqual([top + 1n, 1]);
  });

  test('not at all for no bytes', () => {
    deviceRead(new RadixDomain(), new Frames(0), 0n, new Uint8Array(0));
    deviceWrite(new RadixDomain(), new Frames(0), 0n, new Uint8Array(0));
  });

  test('not for a wrong buffer or address, which is a TypeError or RangeError', () => {
    const memory = new Frames(1);
    const domain = new RadixDomain();
    const buffer: unknown = [1];
    expect(() => deviceRead(domain, memory, 0, buffer as Uint8Array)).toThrow(TypeError);
    expect(() => deviceWrite(domain, memory, -1, Uint8Array.of(1))).toThrow(RangeError);
  });
});

describe('dirty marks of a device', () => {
  test.each([
    ['RadixDomain', () => new RadixDomain({ dirty: true }), 0x1000n],
    ['MockDomain', () => new MockDomain({ profile: 'linux-6.12', dirty: true }), 0x800n],
  ])('are left by writes, not by reads, while a %s tracks them', (_, make, ioPage) => {
    const memory = new Frames(4);
    const domain = make();
    const start = 0x100_0000n;
    domain.map(start, 0n, 0x4000n, 3);
    const dirtyBytes = () => {
      const found: bigint[] = [];
      domain.dirty!.readAndClear(start, 0x4000n, false, (iova) => found.push(iova - start));
      return found;
    };
    deviceWrite(domain, memory, start, Uint8Array.of(1));
    domain.dirty!.setTracking(true);
    deviceRead(domain, memory, start, new Uint8Array(0x4000));
    expect(dirtyBytes()).toEqual([]);
    deviceWrite(domain, memory, start + 2n * ioPage - 1n, new Uint8Array(2));
    expect(dirtyBytes()).toEqual([ioPage, 2n * ioPage]);
    expect(dirtyBytes()).toEqual([]);
  });
});

test.each([
  ['of no bytes', { length: 0n }],
  ['of less than no bytes', { length: -4096n }],
  ['of a number of bytes', { length: 4096 }],
  ['without an address', { physical: undefined }],
  ['at a negative address', { physical: -4096n }],
])('a domain that gives a translation %s is EFAULT, and does not keep the device for ever', (_what, part) => {
  const found = { physical: 0n, protection: 3, length: 4096n, ...part };
  const domain = new RadixDomain();
  const lying = Object.assign(domain, { translate: () => found });
  expectErrorNow(() => deviceRead(lying, new Frames(1), 0n, new Uint8Array(8)), 'EFAULT');
});
