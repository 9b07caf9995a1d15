/** Callbacks and memory that call back into the iommufd that calls them, and calls that are aborted. */

import { describe, expect, test } from 'vitest';
import type { IommuError } from '../../src/errors.js';
import type { IommufdAccess } from '../../src/iommufd/access-object.js';
import type { BoundDevice } from '../../src/iommufd/bound-device.js';
import type { UserMemory } from '../../src/memory/user-memory.js';
import { expectError } from '../helpers/expect-error.js';
import { settled, watch } from '../helpers/watch.js';
import { APERTURE, bindMock, closeClean, gate, open, PAGE, RAM, slowly } from '../iommufd/setting.js';
import { oddMemory } from './odd-memory.js';

const MAP = { iova: APERTURE, uptr: RAM, length: 2n * PAGE, prot: 'rw' } as const;

describe('a callback of an access', () => {
  async function pinned(onUnmap: (setting: ReturnType<typeof open>, access: IommufdAccess) => unknown) {
    const setting = open();
    const { iommufd } = setting;
    const ioas = await iommufd.ioasAlloc();
    await iommufd.ioasMap({ ioas, ...MAP });
    let told = false;
    const access: IommufdAccess = await iommufd.accessCreate({
      ioas,
      needsPin: true,
      onUnmap: async () => {
        if (told) return;
        told = true;
        await onUnmap(setting, access);
      },
    });
    await access.pin(APERTURE, PAGE);
    return { setting, iommufd, ioas, access };
  }

  test('may not close the iommufd: the call it runs for would wait for itself', async () => {
    const errors: unknown[] = [];
    const { setting, iommufd, ioas } = await pinned(async ({ iommufd }, access) => {
      errors.push(await iommufd.close().catch((error: IommuError) => error.code));
      await access.unpin(APERTURE, PAGE);
    });
    expect(await iommufd.ioasUnmap({ ioas, iova: APERTURE, length: MAP.length })).toBe(MAP.length);
    expect(errors).toEqual(['EDEADLOCK']);
    await closeClean(setting);
  });

  test('may be told to let go by close itself, and call it again', async () => {
    const { iommufd, setting } = await pinned(({ iommufd }) => iommufd.close());
    await iommufd.close();
    expect(setting.memory.physical.pinned).toBe(0);
  });

  test('may destroy its access, and more', async () => {
    const { setting, iommufd, ioas } = await pinned(async ({ iommufd }, access) => {
      await access.destroy();
      const other = await iommufd.ioasAlloc();
      await iommufd.ioasMap({ ioas: other, ...MAP });
      await (await bindMock(iommufd)).attach(other);
    });
    expect(await iommufd.ioasUnmap({ ioas, iova: APERTURE, length: MAP.length })).toBe(MAP.length);
    await closeClean(setting);
  });

  test('may unmap what it has let go of', async () => {
    const { setting, iommufd, ioas } = await pinned(async ({ iommufd }, access) => {
      await access.unpin(APERTURE, PAGE);
      await iommufd.ioasUnmap({ ioas: 1, iova: APERTURE, length: MAP.length });
    });
    await expectError(iommufd.ioasUnmap({ ioas, iova: APERTURE, length: MAP.length }), 'ENOENT');
    await closeClean(setting);
  });
});

describe('the maker of a driver object', () => {
  test('may not close the iommufd, but use it', async () => {
    const setting = open();
    const { iommufd } = setting;
    const id = await iommufd.addDriverObject(async () => {
      await expectError(iommufd.close(), 'EDEADLOCK');
      const ioas = await iommufd.ioasAlloc();
      return { kind: 'test', dispose: () => iommufd.destroy(ioas).catch(() => undefined) };
    });
    await iommufd.destroy(id);
    await closeClean(setting);
  });

  test('that gives no object: a TypeError, and the id is free again', async () => {
    const setting = open();
    const { iommufd } = setting;
    for (const parts of [undefined, null, 1, {}, { kind: 'test' }, { kind: 'test', dispose: 1 }]) {
      const adding = iommufd.addDriverObject(async () => parts as never);
      await expect(adding).rejects.toMatchObject({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' });
    }
    expect(await iommufd.ioasAlloc()).toBe(1);
    await closeClean(setting);
  });
});

describe('a memory that calls the iommufd while it pins', () => {
  type Inner = (setting: ReturnType<typeof open>, device: BoundDevice) => Promise<unknown>;
  const INNER: [string, Inner][] = [
    ['attach', (_setting, device) => device.attach(1)],
    ['hwptAlloc', async ({ iommufd }) => iommufd.hwptAlloc({ device: 2, ioas: 1 })],
    ['ioasMap', ({ iommufd }) => iommufd.ioasMap({ ioas: 1, ...MAP, iova: 0x200_0000n })],
    ['destroy', ({ iommufd }) => iommufd.destroy(1)],
    ['close', ({ iommufd }) => iommufd.close()],
  ];
  test.each(INNER)('%s: it works, or is refused', async (_name, call) => {
    const setting = open();
    const { iommufd, memory } = setting;
    const codes: unknown[] = [];
    let busy = false;
    const busyMemory: UserMemory = oddMemory(memory, {
      pin: async (...request) => {
        if (!busy) {
          busy = true;
          const code = await call(setting, other).then(
            () => 'done',
            (error: IommuError) => error.code,
          );
          codes.push(code);
        }
        return memory.pin(...request);
      },
    });
    const ioas = await iommufd.ioasAlloc();
    const [device, other] = [await bindMock(iommufd), await bindMock(iommufd)];
    await iommufd.ioasMap({ ioas, ...MAP, memory: busyMemory });
    await device.attach(ioas);
    expect(codes).toHaveLength(1);
    expect(['done', 'EDEADLOCK', 'EBUSY']).toContain(codes[0]);
    await closeClean(setting);
  });
});

describe('a signal', () => {
  test('aborts what waits for memory, and what waits for a callback', async () => {
    const setting = open();
    const { iommufd, memory } = setting;
    const ioas = await iommufd.ioasAlloc();
    const device = await bindMock(iommufd);
    await device.attach(ioas);
    const { opened, open: openGate } = gate();
    const late = slowly(memory, opened);
    const abort = new AbortController();
    const { signal } = abort;
    const map = watch(iommufd.ioasMap({ ioas, ...MAP, memory: late, signal }));
    await iommufd.vfioIoasSet(ioas);
    const vfioMap = watch(iommufd.vfioMap({ ...MAP, iova: 0x200_0000n, memory: late, signal }));
    const lazy = await iommufd.ioasAlloc();
    await iommufd.ioasMap({ ioas: lazy, ...MAP, memory: late });
    const copy = watch(
      iommufd.ioasCopy({ from: lazy, srcIova: APERTURE, to: ioas, length: PAGE, prot: 'r', signal }),
    );
    const access = await iommufd.accessCreate({ ioas: lazy, needsPin: true, onUnmap: () => opened });
    const pin = watch(access.pin(APERTURE, PAGE, { signal }));
    await settled();
    expect([map, vfioMap, copy, pin].map(({ state }) => state)).toEqual(Array(4).fill('pending'));
    abort.abort();
    await settled();
    for (const { state, error } of [map, vfioMap, copy, pin]) {
      expect([state, error]).toEqual(['rejected', signal.reason]);
    }
    iommufd.check();
    openGate();
    await settled();
    expect(memory.physical.pinned).toBe(0);
    await closeClean(setting);
  });

  test.each(['ioasUnmap', 'vfioUnmap'] as const)('aborts %s', async (name) => {
    const setting = open();
    const { iommufd } = setting;
    const ioas = await iommufd.ioasAlloc();
    await iommufd.vfioIoasSet(ioas);
    await iommufd.ioasMap({ ioas, ...MAP });
    const access = await iommufd.accessCreate({ ioas, needsPin: true, onUnmap: () => new Promise(() => 0) });
    await access.pin(APERTURE, PAGE);
    const abort = new AbortController();
    const range = { iova: APERTURE, length: MAP.length, signal: abort.signal };
    const unmap = watch(
      name === 'ioasUnmap' ? iommufd.ioasUnmap({ ioas, ...range }) : iommufd.vfioUnmap(range),
    );
    await settled();
    expect(unmap.state).toBe('pending');
    abort.abort();
    await settled();
    expect([unmap.state, unmap.error]).toEqual(['rejected', abort.signal.reason]);
    await access.unpin(APERTURE, PAGE);
    expect(await iommufd.ioasUnmap({ ioas, iova: APERTURE, length: MAP.length })).toBe(MAP.length);
    iommufd.check();
  });
});
