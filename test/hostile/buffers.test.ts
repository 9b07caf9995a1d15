/** Buffers that are detached or resized while the library works with them. */

import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import { expectError, expectErrorNow } from '../helpers/expect-error.js';
import { settled, watch } from '../helpers/watch.js';
import { PAGE, USER, World } from '../helpers/world.js';

/** A buffer that can shrink and grow, and its bytes. */
function resizable(bytes: number) {
  const buffer: ArrayBuffer = Reflect.construct(ArrayBuffer, [bytes, { maxByteLength: bytes }]);
  const resize = (length: number) => Reflect.apply(Reflect.get(buffer, 'resize'), buffer, [length]);
  return { buffer, bytes: new Uint8Array(buffer), resize };
}

function detach(buffer: ArrayBuffer): void {
  structuredClone(buffer, { transfer: [buffer] });
}

describe('the memory of a process', () => {
  const WAYS: [string, (memory: ReturnType<typeof resizable>) => void][] = [
    ['is detached', ({ buffer }) => detach(buffer)],
    ['shrinks', ({ resize }) => resize(4096)],
  ];

  test.each(WAYS)('%s: what is gone is EFAULT, and pins can be given back', async (_how, shrink) => {
    const world = new World();
    const source = resizable(8 * 4096);
    const ram = world.process.mmap({ length: 8n * PAGE, buffer: source.buffer });
    const table = world.table();
    const domain = await world.domain(table);
    const map = { iova: 0x1000n, uptr: ram.uptr, length: 4n * PAGE, prot: 'rw' } as const;
    await table.map(map);
    const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
    await access.attach(table);
    const range = await table.access(0x2000n, 2n * PAGE);
    expect(range.pages[0]).toHaveLength(4096);
    shrink(source);
    await world.unchanged(async () => {
      await expectError(table.map({ ...map, iova: 0x10_0000n, uptr: ram.uptr + 2n * PAGE }), 'EFAULT');
      await expectError(access.read(0x3000n, new Uint8Array(8)), 'EFAULT');
      await expectError(access.write(0x3000n, new Uint8Array(8)), 'EFAULT');
      await expectError(access.read(0x3000n, new Uint8Array(8), { slow: true }), 'EFAULT');
      expectErrorNow(() => access.readSync(0x3000n, new Uint8Array(8), { slow: true }), 'EFAULT');
    });
    // What devices see is as it was, and everything can be let go.
    expect(domain.iovaToPhys(0x3000n)).toBeDefined();
    await range.release();
    await access.detach();
    expect(await table.unmapAll()).toBe(4n * PAGE);
    expect(world.physical.pinned).toBe(0);
    world.check();
  });

  test('grows again: it can be pinned again', async () => {
    const world = new World();
    const source = resizable(8 * 4096);
    const ram = world.process.mmap({ length: 8n * PAGE, buffer: source.buffer });
    const table = world.table();
    await world.domain(table);
    const map = { uptr: ram.uptr, length: 8n * PAGE, prot: 'rw' } as const;
    source.resize(4096);
    await world.unchanged(() => expectError(table.map(map), 'EFAULT'));
    source.resize(8 * 4096);
    await table.map(map);
    world.check();
  });
});

describe("a caller's buffer", () => {
  async function waiting() {
    const world = new World();
    const table = world.table();
    await table.map({ iova: 0x1000n, uptr: USER, length: 4n * PAGE, prot: 'rw' });
    const access = new IoptAccess({ needsPin: false });
    await access.attach(table);
    const buffer = resizable(5000);
    world.memory.close();
    return { world, table, access, buffer };
  }
  const WAYS: [string, (buffer: ReturnType<typeof resizable>) => void][] = [
    ['is detached', ({ buffer }) => detach(buffer)],
    ['shrinks', ({ resize }) => resize(100)],
  ];
  const CALLS = (['read', 'write'] as const).flatMap((direction) =>
    ([{ slow: true }, {}, { caller: new ProcessMemory() }] as const).map((options) => ({
      direction,
      options,
    })),
  );

  describe.each(WAYS)('%s while a call waits', (_how, shrink) => {
    test.each(CALLS)('$direction $options: an error, and nothing is held', async ({ direction, options }) => {
      const { world, access, buffer } = await waiting();
      const call = watch(access[direction](0x1000n, buffer.bytes, options));
      await settled();
      expect(call.state).toBe('pending');
      shrink(buffer);
      world.memory.open();
      await settled();
      expect(call.state).toBe('rejected');
      expect(call.error).toBeInstanceOf(RangeError);
      expect(world.physical.pinned).toBe(0);
      world.check();
      await access[direction](0x1000n, new Uint8Array(5000), options);
    });

    test('is empty from then on: EINVAL', async () => {
      const { world, access, buffer } = await waiting();
      detach(buffer.buffer);
      await world.unchanged(() => expectError(access.read(0x1000n, buffer.bytes), 'EINVAL'));
    });
  });

  test('for dirty bits has no room: they are dropped, as past the end of any bitmap', async () => {
    const world = new World();
    const table = world.table();
    const domain = await world.domain(table, new RadixDomain({ dirty: true }));
    await table.map({ iova: 0x1000n, uptr: USER, length: 4n * PAGE, prot: 'rw' });
    await table.setDirtyTracking(domain, true);
    domain.dirty!.mark(0x2000n, PAGE);
    const { buffer, bytes } = resizable(8);
    detach(buffer);
    const request = { domain, iova: 0x1000n, length: 4n * PAGE, pageSize: PAGE } as const;
    await table.readDirty({ ...request, bitmap: bytes, keep: true });
    const bitmap = new Uint8Array(1);
    await table.readDirty({ ...request, bitmap });
    expect(bitmap[0]).toBe(2);
  });
});
