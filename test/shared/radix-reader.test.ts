/** What a reader of a shared domain sees, here in the same thread. */
import { describe, expect, test, vi } from 'vitest';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { RadixReader } from '../../src/domain/radix-reader.js';
import { MOST_READERS } from '../../src/domain/shared-control.js';
import { LEAF } from '../../src/domain/table-entry.js';
import { TablePublisher } from '../../src/domain/table-publisher.js';
import type { WebAssemblyMemory } from '../../src/memory/page-content.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import { SharedFrames } from '../../src/memory/shared-frames.js';
import { expectErrorNow } from '../helpers/expect-error.js';
import { settled, watch } from '../helpers/watch.js';

declare const WebAssembly: {
  Memory: new (options: { initial: number; maximum: number; shared: boolean }) => WebAssemblyMemory;
};

const PAGE = 4096;
const MEGA = 2 ** 21;

function shared() {
  const domain = new RadixDomain({ shared: true, dirty: true });
  return { domain, reader: RadixReader.from(domain.share()) };
}

async function expectPending(promise: Promise<void>): Promise<void> {
  const watched = watch(promise);
  await settled();
  expect(watched.state).toBe('pending');
}

/** A handle as another thread gets it. */
const sent = <T>(value: T): T => structuredClone(value);

describe('RadixReader', () => {
  test('gives what the domain gives, as numbers and as bigints', () => {
    const { domain, reader } = shared();
    domain.map(0x5000n, 0x1_0000_0000n, 0x3000n, 1);
    domain.map(2n ** 63n, 2n ** 51n, 2n ** 21n, 3);
    expect(reader.iovaToPhys(0x5123)).toBe(0x1_0000_0123);
    expect(reader.iovaToPhys(0x7fffn)).toBe(0x1_0000_2fffn);
    expect(reader.iovaToPhys(0x4fff)).toBeUndefined();
    expect(reader.iovaToPhys(2n ** 63n + 0x1234n)).toBe(2n ** 51n + 0x1234n);
    for (const iova of [0n, 0x5000n, 0x7ffen, 0x8000n, 2n ** 63n + 0x10_0001n, 2n ** 64n - 1n]) {
      expect(reader.translate(iova)).toEqual(domain.translate(iova));
    }
    expect(reader.pageSizeBitmap).toBe(domain.pageSizeBitmap);
  });

  test('refuses what is no address', () => {
    const { reader } = shared();
    expect(() => reader.iovaToPhys(-1)).toThrow(RangeError);
    expect(() => reader.iovaToPhys(0.5)).toThrow(RangeError);
    expect(() => reader.iovaToPhys(2n ** 64n)).toThrow(RangeError);
    // @ts-expect-error: not an address
    expect(() => reader.translate('0x1000')).toThrow(TypeError);
  });

  test('sees tables that were added after it was made', () => {
    const { domain, reader } = shared();
    const before = domain.tableBytes;
    for (let at = 0; at < 300; at++) domain.map(at * 2 ** 30, at * PAGE, PAGE, 3);
    expect(domain.tableBytes).toBeGreaterThan(before);
    for (let at = 0; at < 300; at++) expect(reader.iovaToPhys(at * 2 ** 30)).toBe(at * PAGE);
  });

  test('keeps in step while the root moves up and down and tables are emptied', () => {
    const { domain, reader } = shared();
    for (const bits of [45n, 50n, 63n, 48n]) {
      domain.map(0x1000n, 0x7000n, 0x1000n, 3);
      domain.map(2n ** bits, 0x9000n, 0x1000n, 3);
      expect([reader.iovaToPhys(0x1000n), reader.iovaToPhys(2n ** bits)]).toEqual([0x7000n, 0x9000n]);
      domain.unmap(2n ** bits, 0x1000n);
      expect([reader.iovaToPhys(0x1000n), reader.iovaToPhys(2n ** bits)]).toEqual([0x7000n, undefined]);
      domain.unmap(0n, 2n ** 64n - 4096n);
      expect(reader.iovaToPhys(0x1000n)).toBeUndefined();
    }
  });

  test('sees a large page split', () => {
    const { domain, reader } = shared();
    domain.map(MEGA, 4 * MEGA, MEGA, 3);
    expect(reader.translate(MEGA)?.length).toBe(BigInt(MEGA));
    domain.unmap(MEGA + PAGE, PAGE);
    expect(reader.translate(MEGA)).toEqual({ physical: BigInt(4 * MEGA), protection: 3, length: 4096n });
    expect(reader.iovaToPhys(MEGA + PAGE)).toBeUndefined();
    expect(reader.iovaToPhys(2 * MEGA - 1)).toBe(5 * MEGA - 1);
  });

  test('keeps what is mapped in sight of an attempt to map over it', () => {
    const { domain, reader } = shared();
    domain.map(0x3000, 0x9000, PAGE, 3);
    expectErrorNow(() => domain.map(0x1000, 0x1000, 0x5000, 3), 'EEXIST');
    expect(reader.iovaToPhys(0x3000)).toBe(0x9000);
    expect(reader.iovaToPhys(0x1000)).toBeUndefined();
    expect(domain.mappedBytes).toBe(4096n);
  });

  test('is made of a handle that was sent, any number of times, up to 256', () => {
    const { domain, reader } = shared();
    domain.map(0x1000, 0x2000, PAGE, 1);
    const handle = sent(domain.share());
    const readers = Array.from({ length: MOST_READERS - 1 }, () => RadixReader.from(handle));
    expectErrorNow(() => RadixReader.from(handle), 'ENOSPC');
    reader.close();
    const last = RadixReader.from(handle);
    for (const one of [...readers, last]) expect(one.iovaToPhys(0x1000)).toBe(0x2000);
  });

  test('takes nothing but a handle', () => {
    // @ts-expect-error: no handle
    expect(() => RadixReader.from(undefined)).toThrow(TypeError);
    // @ts-expect-error: no handle
    expect(() => RadixReader.from({ tables: new ArrayBuffer(8) })).toThrow(TypeError);
    expectErrorNow(() => new RadixDomain().share(), 'EOPNOTSUPP');
    expect(() => new RadixDomain().unshare(shared().domain.share())).toThrow(TypeError);
    expect(() => shared().domain.unshare(shared().domain.share())).toThrow(TypeError);
  });
});

describe('a reader and the slots of others', () => {
  test('closed twice, and used closed, it leaves the reader alone that has its slot now', async () => {
    const { domain, reader } = shared();
    domain.map(0x1000, 0x2000, PAGE, 3);
    const handle = domain.share();
    reader.close();
    const first = RadixReader.from(handle);
    first.close();
    const second = RadixReader.from(handle);
    expect(second.iovaToPhys(0x1000)).toBe(0x2000);
    const waiting = domain.quiesce();
    first.close();
    first.quiescent();
    expectErrorNow(() => first.iovaToPhys(0x1000), 'ENODEV');
    expectErrorNow(() => first.dirty.mark(0x1000, 1), 'ENODEV');
    await expectPending(waiting);
    expect(second.iovaToPhys(0x1000)).toBe(0x2000);
    second.quiescent();
    await waiting;
    second.close();
  });

  test('evicted while it used something, it is told so, and leaves its slot to the next one', async () => {
    const { domain, reader } = shared();
    const handle = domain.share();
    const lost = RadixReader.from(handle);
    lost.iovaToPhys(0x1000);
    domain.unshare(handle);
    domain.unshare(handle);
    expectErrorNow(() => RadixReader.from(handle), 'ENODEV');
    const next = RadixReader.from(domain.share());
    next.iovaToPhys(0x1000);
    const waiting = domain.quiesce();
    lost.quiescent();
    expectErrorNow(() => lost.translate(0x1000), 'ENODEV');
    lost.close();
    await expectPending(waiting);
    for (const one of [next, reader]) one.close();
    await waiting;
  });

  test('a handle is only taken back by the domain that gave it, and as it gave it', () => {
    const { domain } = shared();
    const handle = domain.share();
    expect(() => domain.unshare({ ...handle, ticket: shared().domain.share().ticket })).toThrow(TypeError);
    RadixReader.from(handle).close();
  });
});

test('an owner that ended while it split a page does not keep a reader that marks it for ever', () => {
  const { domain } = shared();
  domain.map(0, MEGA, MEGA, 3);
  domain.dirty?.setTracking(true);
  const handle = domain.share();
  const publisher = new TablePublisher(handle.control);
  // What was told last, and that the large page is being replaced.
  publisher.cover(0, 511, 512, LEAF | 3, 1);
  publisher.moveRoot(0, 3);
  const { now } = Date;
  let time = 1;
  vi.spyOn(Date, 'now').mockImplementation(() => (time += 100));
  try {
    const reader = RadixReader.from(handle);
    expectErrorNow(() => reader.dirty.mark(0, PAGE), 'EIO');
    reader.close();
  } finally {
    vi.restoreAllMocks();
  }
  expect(Date.now).toBe(now);
});

describe('quiescence', () => {
  test('is waited for only while a reader may be using a translation', async () => {
    const { domain, reader } = shared();
    expect(domain.flush?.()).toBeUndefined();
    reader.iovaToPhys(0);
    const waiting = domain.quiesce();
    await expectPending(waiting);
    reader.iovaToPhys(0);
    await expectPending(waiting);
    reader.quiescent();
    await waiting;
    expect(domain.flush?.()).toBeUndefined();
    reader.quiescent();
    expect(domain.flush?.()).toBeUndefined();
  });

  test('is reached for an earlier wait though the reader goes on', async () => {
    const { domain, reader } = shared();
    const other = RadixReader.from(domain.share());
    reader.iovaToPhys(0);
    other.iovaToPhys(0);
    const waiting = domain.quiesce();
    reader.quiescent();
    reader.iovaToPhys(0);
    await expectPending(waiting);
    other.quiescent();
    other.iovaToPhys(0);
    await waiting;
    await expectPending(domain.quiesce());
    reader.close();
    other.close();
  });

  test('does not count a closed reader, which translates nothing more', async () => {
    const { domain, reader } = shared();
    reader.iovaToPhys(0);
    const waiting = domain.quiesce();
    reader[Symbol.dispose]();
    await waiting;
    expectErrorNow(() => reader.iovaToPhys(0), 'ENODEV');
    expectErrorNow(() => reader.read(0, new Uint8Array(1), new ProcessMemory()), 'ENODEV');
  });

  test('does not count the readers of a handle that was taken back', async () => {
    const { domain, reader } = shared();
    const handle = domain.share();
    const lost = [RadixReader.from(sent(handle)), RadixReader.from(sent(handle))];
    for (const one of lost) one.iovaToPhys(0);
    const waiting = domain.quiesce();
    await expectPending(waiting);
    // A clone is not the handle itself, but has its buffers.
    domain.unshare(handle);
    await waiting;
    for (const one of lost) {
      one.quiescent();
      expectErrorNow(() => one.iovaToPhys(0), 'ENODEV');
    }
    expect(reader.iovaToPhys(0)).toBeUndefined();
    reader.close();
  });

  test('is polled for where Atomics.waitAsync is missing', async () => {
    const { domain, reader } = shared();
    const { waitAsync } = Atomics;
    Reflect.deleteProperty(Atomics, 'waitAsync');
    try {
      reader.iovaToPhys(0);
      const waiting = domain.quiesce();
      await expectPending(waiting);
      reader.quiescent();
      await waiting;
    } finally {
      Object.assign(Atomics, { waitAsync });
    }
  });

  test('is no matter for a domain that is not shared', async () => {
    const domain = new RadixDomain();
    expect([domain.flush, domain.hide]).toEqual([undefined, undefined]);
    await domain.quiesce();
  });
});

describe('a hidden range', () => {
  test('is out of sight until it is shown, with all that is changed in it', () => {
    const { domain, reader } = shared();
    domain.map(0x1000, 0x1000, 0x4000, 3);
    const show = domain.hide?.(0x2000n, 0x3fffn);
    expect([0x1000, 0x2000, 0x3000, 0x4000].map((iova) => reader.iovaToPhys(iova))).toEqual([
      0x1000,
      undefined,
      undefined,
      0x4000,
    ]);
    domain.unmap(0x2000, PAGE);
    // Whoever translates now was not told of it.
    expect(domain.flush?.()).toBeUndefined();
    expect(domain.hide?.(0n, 1n)).toBeUndefined();
    show?.();
    expect([0x2000, 0x3000].map((iova) => reader.iovaToPhys(iova))).toEqual([undefined, 0x3000]);
    expect(domain.flush?.()).toBeInstanceOf(Promise);
    reader.close();
  });

  test('does not excuse a flush from what is unmapped elsewhere', () => {
    const { domain, reader } = shared();
    domain.map(0x1000, 0x1000, 0x4000, 3);
    const show = domain.hide?.(0x2000n, 0x3fffn);
    expect(reader.iovaToPhys(0x1000)).toBe(0x1000);
    domain.unmap(0x1000, PAGE);
    expect(domain.flush?.()).toBeInstanceOf(Promise);
    show?.();
    reader.close();
  });

  test('is refused, with nothing changed, while a reader may be using a translation', () => {
    const { domain, reader } = shared();
    domain.map(0x1000, 0x1000, PAGE, 3);
    reader.iovaToPhys(0x1000);
    expect(domain.hide?.(0x1000n, 0x1fffn)).toBeUndefined();
    expect(reader.iovaToPhys(0x1000)).toBe(0x1000);
    reader.close();
  });
});

describe('memory that is shared', () => {
  function machine() {
    const memory = new ProcessMemory();
    const buffer = new SharedArrayBuffer(16 * PAGE);
    const growable = new SharedArrayBuffer(PAGE, { maxByteLength: 4 * PAGE });
    const { uptr } = memory.mmap({ length: 16 * PAGE, buffer });
    const scattered = new SharedArrayBuffer(64 * PAGE);
    const other = memory.mmap({ length: 64 * PAGE, buffer: scattered, frames: 'scattered' });
    const grows = memory.mmap({ length: 4 * PAGE, buffer: growable });
    const own = memory.mmap({ length: PAGE });
    memory.mmap({ length: 4 * PAGE, buffer, bufferOffset: 4 * PAGE });
    const wasm = new WebAssembly.Memory({ initial: 1, maximum: 2, shared: true });
    const guest = memory.mmap({ length: 2 ** 16, buffer: wasm });
    const frames = SharedFrames.from(sent(memory.share()));
    return { memory, buffer, uptr, scattered, other, growable, grows, own, wasm, guest, frames };
  }

  test('has the frames of its shared buffers, and no others', () => {
    const { memory, uptr, other, growable, grows, own, guest, frames } = machine();
    expect(memory.share().ranges).toHaveLength(4);
    for (const { region, pages } of [
      { region: { uptr }, pages: 16 },
      { region: other, pages: 64 },
      { region: guest, pages: 16 },
    ]) {
      for (let at = 0n; at < BigInt(pages); at++) {
        const page = region.uptr + at * 4096n;
        memory.write(page + 5n, Uint8Array.of(Number(at) + 1));
        expect(frames.frames(memory.frameOf(page), 1)[5]).toBe(Number(at) + 1);
      }
    }
    const first = memory.frameOf(uptr);
    expect(frames.frames(first + 2, 5)).toHaveLength(5 * PAGE);
    expect(frames.frames(first + 12, 100)).toHaveLength(4 * PAGE);
    expect(frames.frames(memory.frameOf(other.uptr), 4)).toHaveLength(PAGE);
    expectErrorNow(() => frames.frames(memory.frameOf(own.uptr), 1), 'EFAULT');
    const last = memory.frameOf(grows.uptr) + 3;
    expectErrorNow(() => frames.frames(last, 1), 'EFAULT');
    growable.grow(4 * PAGE);
    expect(frames.frames(last, 2)).toHaveLength(PAGE);
    // @ts-expect-error: no handle
    expect(() => SharedFrames.from({})).toThrow(TypeError);
  });

  test('is read and written through the domain, across pages', () => {
    const { memory, buffer, uptr, frames } = machine();
    const { domain, reader } = shared();
    domain.map(0x10_0000, memory.frameOf(uptr) * PAGE, 2 * PAGE, 3);
    domain.map(0x10_2000, memory.frameOf(uptr + 0x5000n) * PAGE, PAGE, 1);
    const bytes = Uint8Array.from({ length: 600 }, (_, at) => at % 251);
    reader.write(0x10_0f00, bytes, frames);
    expect(memory.read(uptr + 0xf00n, 600)).toEqual(bytes);
    new Uint8Array(buffer).fill(7, 0x5000, 0x6000);
    const back = new Uint8Array(0x1100);
    reader.read(0x10_0f00n, back, frames);
    expect(back.subarray(0, 600)).toEqual(bytes);
    expect(reader.iovaToPhys(0x10_2000)).toBeDefined();
    reader.read(0x10_2000, back.subarray(0, 16), frames);
    expect(back.subarray(0, 16)).toEqual(new Uint8Array(16).fill(7));
    // It had translated before, and goes on with that.
    expect(domain.flush?.()).toBeInstanceOf(Promise);
    reader.quiescent();
    const fault = expectErrorNow(() => reader.write(0x10_1ffe, bytes, frames), 'EFAULT');
    expect(fault).toMatchObject({ iova: 0x10_2000n, copied: 2 });
    expect(domain.flush?.()).toBeUndefined();
  });

  test('has its pages marked dirty while the domain tracks that', () => {
    const { memory, uptr, frames } = machine();
    const { domain, reader } = shared();
    domain.map(0x1000, memory.frameOf(uptr) * PAGE, 4 * PAGE, 3);
    const dirty = () => {
      const pages: bigint[] = [];
      domain.dirty?.readAndClear(0n, 2n ** 40n, false, (iova) => pages.push(iova));
      return pages;
    };
    reader.write(0x1000, Uint8Array.of(1), frames);
    domain.dirty?.setTracking(true);
    expect(dirty()).toEqual([]);
    reader.write(0x2fff, Uint8Array.of(1, 2), frames);
    reader.write(0x2fff, Uint8Array.of(1, 2), frames);
    reader.read(0x1000, new Uint8Array(8), frames);
    expect(dirty()).toEqual([0x2000n, 0x3000n]);
    expect(dirty()).toEqual([]);
    // What is hidden may stay; its mark is not lost.
    const show = domain.hide?.(0x1000n, 0x4fffn);
    reader.dirty.mark(0x4000, 1);
    reader.dirty.mark(0x4000, 0);
    reader.dirty.mark(0x9000n, 2n ** 14n);
    show?.();
    reader.quiescent();
    expect(dirty()).toEqual([0x4000n]);
    domain.dirty?.setTracking(false);
    reader.write(0x1000, Uint8Array.of(1), frames);
    domain.dirty?.setTracking(true);
    expect(dirty()).toEqual([]);
  });
});
