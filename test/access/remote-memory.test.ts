/** Memory without live views: everything works by copy, and what cannot says so. */

import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import { deviceRead, deviceWrite } from '../../src/domain/device-dma.js';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { IoPagetable } from '../../src/io-pagetable.js';
import { ForwardingMemory } from '../../src/memory/forwarding-memory.js';
import type { UserMemory } from '../../src/memory/user-memory.js';
import { expectError, expectErrorNow } from '../helpers/expect-error.js';
import { settled, watch } from '../helpers/watch.js';
import { PAGE, SCATTERED, USER, World } from '../helpers/world.js';
import { RemoteMemory } from '../model/remote-memory.js';

/** A table over remote memory: [0x1000, 0x3fff] scattered, [0x4000, 0x5fff] contiguous. */
async function setting(options: { domain?: boolean } = {}) {
  const world = new World();
  const memory = new RemoteMemory(world.process);
  const table = new IoPagetable({ memory });
  const domain = new RadixDomain();
  if (options.domain) await table.addDomain(domain);
  await table.map({ iova: 0x1000n, uptr: SCATTERED, length: 3n * PAGE, prot: 'rw' });
  await table.map({ iova: 0x4000n, uptr: USER, length: 2n * PAGE, prot: 'rw' });
  const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
  await access.attach(table);
  return { world, memory, table, domain, access };
}

const pattern = (length: number) => Uint8Array.from({ length }, (_, at) => 1 + (at % 251));

describe('memory without live views', () => {
  test.each([true, false])('is read and written through its frames (with a domain: %s)', async (domain) => {
    const { world, table, access } = await setting({ domain });
    const caller = new World().process;
    for (const [at, length, options] of [
      [0x1ff0n, 0x3020, { slow: true }],
      [0x4010n, 50, { caller }],
      [0x2008n, 0x1800, {}],
    ] as const) {
      const bytes = pattern(length);
      await access.write(at, bytes, options);
      const back = new Uint8Array(length);
      await access.read(at, back, options);
      expect(back).toEqual(bytes);
      await access.read(at, back.fill(0));
      expect(back).toEqual(bytes);
    }
    table.check();
    expect(world.physical.pinned).toBe(domain ? 5 : 0);
  });

  test('can be pinned, but has no pages to look at', async () => {
    const { world, table } = await setting();
    const range = await table.access(0x1000n, 4n * PAGE, { write: true });
    expectErrorNow(() => range.pages, 'EOPNOTSUPP');
    expect(world.physical.pinned).toBe(4);
    await range.release();
    expect(world.physical.pinned).toBe(0);
    table.check();
  });

  test('makes the synchronous calls say EAGAIN, with nothing changed', async () => {
    const { world, table, access } = await setting({ domain: true });
    const before = world.process.read(SCATTERED, 3n * PAGE);
    const target = new Uint8Array(0x2000).fill(7);
    for (const options of [{}, { slow: true }, { caller: new World().process }]) {
      expectErrorNow(() => access.readSync(0x1000n, target, options), 'EAGAIN');
      expectErrorNow(() => access.writeSync(0x1000n, target, options), 'EAGAIN');
    }
    await settled();
    expect(target).toEqual(new Uint8Array(0x2000).fill(7));
    expect(world.process.read(SCATTERED, 3n * PAGE)).toEqual(before);
    table.check();
  });

  test('that is there right now is copied right now', async () => {
    const { process } = new World();
    const there = {
      pin: (...request) => process.pin(...request),
      unpin: (pfn, count) => process.unpin(pfn, count),
      copyFromUser: (...request) => process.copyFromUser(...request),
      copyToUser: (...request) => process.copyToUser(...request),
      copyFromFrames: (...request) => new ForwardingMemory(process).copyFromFrames(...request),
      copyToFrames: (...request) => new ForwardingMemory(process).copyToFrames(...request),
    } satisfies UserMemory;
    const table = new IoPagetable({ memory: there });
    const domain = new RadixDomain();
    await table.addDomain(domain);
    await table.map({ iova: 0x1000n, uptr: SCATTERED, length: 3n * PAGE, prot: 'rw' });
    const access = new IoptAccess({ needsPin: false });
    await access.attach(table);
    access.writeSync(0x1800n, pattern(0x1500), { slow: true });
    const back = new Uint8Array(0x1500);
    deviceRead(domain, there, 0x1800n, back);
    expect(back).toEqual(pattern(0x1500));
    deviceWrite(domain, there, 0x1801n, Uint8Array.of(9));
    access.readSync(0x1801n, back.subarray(0, 1), { slow: true });
    expect(back[0]).toBe(9);
  });

  test('does not serve a device that cannot wait: EAGAIN', async () => {
    const { memory, domain } = await setting({ domain: true });
    expectErrorNow(() => deviceRead(domain, memory, 0x1000n, new Uint8Array(8)), 'EAGAIN');
    await settled();
  });

  test.each([0, 63, 65, -1, Number.NaN, undefined, null, '64'])(
    'and says that it copied %s of 64 bytes: EFAULT',
    async (said) => {
      const { world, table, access, memory } = await setting();
      for (const answer of [said, Promise.resolve(said)]) {
        memory.copyFromFrames = () => answer as Promise<number>;
        memory.copyToFrames = () => answer as Promise<number>;
        await expectError(access.read(0x4000n, new Uint8Array(64), { slow: true }), 'EFAULT');
        await expectError(access.write(0x4000n, new Uint8Array(64), { slow: true }), 'EFAULT');
      }
      expect(world.physical.pinned).toBe(0);
      table.check();
    },
  );

  test('without the copies either is no memory', () => {
    const { process } = new World();
    const blind = {
      pin: (...request: Parameters<typeof process.pin>) => process.pin(...request),
      unpin: () => undefined,
      copyFromUser: () => 0,
      copyToUser: () => 0,
      copyFromFrames: () => 0,
    };
    expect(() => new IoPagetable({ memory: blind })).toThrow(/neither frames nor copyToFrames/);
  });

  test('is not left with the buffer of a call that is aborted', async () => {
    const { world, table, access, memory } = await setting();
    for (const options of [{}, { slow: true }, { caller: new World().process }]) {
      let answer = (): void => undefined;
      const late = (give: () => number) =>
        new Promise<number>((resolve) => {
          answer = () => resolve(give());
        });
      memory.copyFromUser = (page, offset, target, at, length) =>
        late(
          () =>
            target.fill(3, at, at + length) &&
            world.process.copyFromUser(page, offset, target, at, 0) + length,
        );
      memory.copyFromFrames = (_pfn, _offset, target, at, length) =>
        late(() => target.fill(3, at, at + length) && length);
      const abort = new AbortController();
      const target = new Uint8Array(64);
      const read = watch(access.read(0x4000n, target, { ...options, signal: abort.signal }));
      await settled();
      abort.abort();
      await settled();
      expect([read.state, read.error]).toEqual(['rejected', abort.signal.reason]);
      answer();
      await settled();
      expect(target).toEqual(new Uint8Array(64));
      expect(world.physical.pinned).toBe(0);
      table.check();
    }
  });
});
