/** Memory that breaks its contract: the call that asked it fails with a clear error, and nothing is left behind. */

import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { IommuError } from '../../src/errors.js';
import type { FrameRuns } from '../../src/memory/frame-runs.js';
import type { UserMemory } from '../../src/memory/user-memory.js';
import { expectErrorNow } from '../helpers/expect-error.js';
import { RecordingDomain } from '../helpers/recording-domain.js';
import { settled } from '../helpers/watch.js';
import { PAGE, USER, World } from '../helpers/world.js';
import { oddMemory } from './odd-memory.js';

/** A world in which a table has an area, with nothing pinned, of a memory that a test can turn odd. */
async function setting() {
  const world = new World(1000);
  const odd: Partial<UserMemory> = {};
  const memory: UserMemory = oddMemory(world.process, {
    pin: (...request) => (odd.pin ?? world.process.pin.bind(world.process))(...request),
    frames: (...request) => (odd.frames ?? world.process.frames.bind(world.process))(...request),
    copyFromUser: (...request) =>
      (odd.copyFromUser ?? world.process.copyFromUser.bind(world.process))(...request),
    copyToUser: (...request) => (odd.copyToUser ?? world.process.copyToUser.bind(world.process))(...request),
  });
  const lazy = world.table();
  await lazy.map({ iova: 0x1000n, uptr: USER, length: 4n * PAGE, prot: 'rw', memory });
  const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
  await access.attach(lazy);
  const filled = world.table();
  await world.domain(filled);
  const domain = new RecordingDomain();
  world.domains.push(domain);
  const caller = new World().process;
  /** Calls that pin. */
  const pinning: Record<string, () => Promise<unknown>> = {
    map: () => filled.map({ uptr: USER + 8n * PAGE, length: 4n * PAGE, prot: 'rw', memory }),
    copy: () => filled.copy({ from: lazy, srcIova: 0x1000n, length: 3n * PAGE, prot: 'r' }),
    addDomain: () => lazy.addDomain(domain),
    access: () => lazy.access(0x2000n, 2n * PAGE),
    pin: () => access.pin(0x1000n, 4n * PAGE),
    'read through frames': () => access.read(0x1800n, new Uint8Array(0x2000), { slow: true }),
    'write of one page of another process': () => access.write(0x1800n, new Uint8Array(9), { caller }),
  };
  return { world, odd, lazy, access, pinning };
}

const STRANGE = [0, -1, Number.NaN, 0.5, 99, Number.POSITIVE_INFINITY, undefined, null, '4', 4n, {}] as const;
const CALLS = [
  'map',
  'copy',
  'addDomain',
  'access',
  'pin',
  'read through frames',
  'write of one page of another process',
];

describe.each(CALLS)('%s', (name) => {
  describe.each(['now', 'later'] as const)('memory that answers %s', (when) => {
    const answer = (value: unknown) => (when === 'now' ? value : Promise.resolve(value)) as number;

    test.each(STRANGE)('and says that it pinned %s pages', async (said) => {
      const { world, odd, pinning } = await setting();
      for (const given of [0, 1]) {
        odd.pin = (page, _count, write, into) => {
          if (given > 0) world.process.pin(page, given, write, into);
          return answer(said);
        };
        await world.unchanged(async () => {
          const error: unknown = await pinning[name]!().catch((reason: unknown) => reason);
          expect(error).toBeInstanceOf(IommuError);
          expect(error).toMatchObject({ code: 'EFAULT', reason: { check: 'fault' } });
          expect(String(error)).toMatch(`gave ${given} and says it gave`);
        });
      }
      delete odd.pin;
      await pinning[name]!();
      world.check();
    });

    test('and gives more than it was asked for', async () => {
      const { world, odd, pinning } = await setting();
      odd.pin = (page, count, write, into) => answer(world.process.pin(page, count + 1, write, into));
      await world.unchanged(async () => {
        await expect(pinning[name]!()).rejects.toMatchObject({ code: 'EFAULT' });
      });
    });

    test('and gives frames that cannot be', async () => {
      const { world, odd, pinning } = await setting();
      const frames: [pfn: unknown, count: unknown][] = [
        [Number.NaN, 1],
        [-1, 1],
        [0.5, 1],
        ['1', 1],
        [1n, 1],
        [7, -1],
        [7, 0],
        [7, Number.NaN],
        [7, 0.5],
        [2 ** 52, 1],
        [2 ** 52 - 1, 2],
        [2 ** 53, 1],
      ];
      for (const [pfn, count] of frames) {
        odd.pin = (_page, _count, _write, into: { push(pfn: unknown, count: unknown): void }) => {
          into.push(pfn, count);
          return answer(1);
        };
        await world.unchanged(async () => {
          const error: unknown = await pinning[name]!().catch((reason: unknown) => reason);
          expect(error instanceof RangeError || error instanceof TypeError, String(error)).toBe(true);
        });
      }
    });

    test('and throws after the first pages', async () => {
      const { world, odd, pinning } = await setting();
      const failure = new Error('no more');
      let pins = 0;
      odd.pin = (page, _count, write, into) => {
        pins += 1;
        if (pins % 2 === 0 || name.startsWith('write')) {
          if (when === 'later') return Promise.reject(failure);
          throw failure;
        }
        return answer(world.process.pin(page, 1, write, into));
      };
      await world.unchanged(() => expect(pinning[name]!()).rejects.toBe(failure));
    });
  });
});

test('frames past what a domain can address: its error, and they are unpinned', async () => {
  const { world } = await setting();
  const table = world.tables[1]!;
  const unpinned: number[] = [];
  const memory = oddMemory(world.process, {
    pin: (_page, count, _write, into: FrameRuns) => {
      into.push(2 ** 52 - count, count);
      return count;
    },
    unpin: (pfn, count) => unpinned.push(pfn, count),
  });
  await world.unchanged(async () => {
    const map = table.map({ iova: 0x8000n, uptr: USER, length: 2n * PAGE, prot: 'rw', memory });
    await expect(map).rejects.toMatchObject({ code: 'EINVAL' });
  });
  expect(unpinned).toEqual([2 ** 52 - 2, 2]);
});

describe('memory that copies', () => {
  test.each(STRANGE.filter((said) => said !== 0))('and says that it copied %s bytes', async (said) => {
    const { world, odd, access } = await setting();
    for (const answer of [said, Promise.resolve(said)]) {
      odd.copyFromUser = () => answer as number;
      odd.copyToUser = () => answer as number;
      for (const call of ['read', 'write'] as const) {
        await world.unchanged(async () => {
          const error: unknown = await access[call](0x1000n, new Uint8Array(70)).catch(
            (reason: unknown) => reason,
          );
          expect(error).toMatchObject({
            code: 'EFAULT',
            reason: { check: 'fault' },
          });
        });
      }
    }
  });

  test.each([new Uint8Array(0), new Uint8Array(100), new Uint8Array(5000), {}, 'bytes'])(
    'through frames, and gives %o for them',
    async (bytes) => {
      const { world, odd, access, lazy } = await setting();
      odd.frames = () => bytes as Uint8Array;
      await world.unchanged(async () => {
        for (const call of ['read', 'write'] as const) {
          const transfer = access[call](0x1000n, new Uint8Array(9000), { slow: true });
          await expect(transfer).rejects.toMatchObject({ code: 'EFAULT', reason: { check: 'fault' } });
        }
      });
      const range = await lazy.access(0x1000n, PAGE);
      expectErrorNow(() => range.pages, 'EFAULT');
      await range.release();
      world.check();
    },
  );

  test('through frames, and throws', async () => {
    const { world, odd, access } = await setting();
    const failure = new Error('gone');
    odd.frames = () => {
      throw failure;
    };
    const caller = new World().process;
    await world.unchanged(async () => {
      await expect(access.read(0x1000n, new Uint8Array(9000), { slow: true })).rejects.toBe(failure);
      await expect(access.read(0x1000n, new Uint8Array(9), { caller })).rejects.toBe(failure);
    });
  });
});

describe('memory that answers later than it says', () => {
  test('the synchronous calls are refused, and what it pins all the same is unpinned', async () => {
    const { world, odd, lazy, access } = await setting();
    const filled = world.tables[1]!;
    odd.pin = (page, count, write, into) => settled().then(() => world.process.pin(page, count, write, into));
    const caller = new World().process;
    await world.unchanged(async () => {
      const request = { from: lazy, srcIova: 0x1000n, length: PAGE, prot: 'r' } as const;
      expectErrorNow(() => filled.copySync(request), 'EAGAIN');
      expectErrorNow(() => access.pinSync(0x1000n, PAGE), 'EAGAIN');
      expectErrorNow(() => access.readSync(0x1000n, new Uint8Array(9), { slow: true }), 'EAGAIN');
      expectErrorNow(() => access.readSync(0x1000n, new Uint8Array(9), { caller }), 'EAGAIN');
      await settled();
      await settled();
    });
    await access.pin(0x1000n, 4n * PAGE);
    await access.unpin(0x1000n, 4n * PAGE);
    world.check();
  });

  test('ten thousand pages, one at a time', async () => {
    const world = new World();
    const { process } = world;
    const ram = process.mmap({ length: 10_000n * PAGE, frames: 'scattered' });
    const memory = oddMemory(process, {
      pin: async (page, _count, write, into) => process.pin(page, 1, write, into),
    });
    const table = world.table();
    await table.addDomain(new RadixDomain());
    await table.map({ uptr: ram.uptr, length: ram.length, prot: 'rw', memory });
    expect(world.physical.pinned).toBe(10_000);
    expect(await table.unmapAll()).toBe(ram.length);
    expect(world.physical.pinned).toBe(0);
  });
});
