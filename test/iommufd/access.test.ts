import { describe, expect, test } from 'vitest';
import type { IommufdAccess } from '../../src/iommufd/access-object.js';
import { APERTURE, bindMock, closeClean, gate, open, outcome, PAGE, RAM, slowly } from './setting.js';

describe('an access', () => {
  test('reads and writes what is mapped, and raises the alignment only if it pins', async () => {
    const setting = open();
    const { iommufd, memory } = setting;
    const ioas = await iommufd.ioasAlloc();
    await iommufd.ioasMap({ ioas, iova: 0x10_0001n, uptr: RAM + 1n, length: 100n, prot: 'rw' });
    const access = await iommufd.accessCreate({ ioas });
    expect(iommufd.ioasTable(ioas).alignment).toBe(1);
    await access.write(0x10_0003n, Uint8Array.of(1, 2, 3));
    expect(memory.read(RAM + 3n, 3n)).toEqual(Uint8Array.of(1, 2, 3));
    const target = new Uint8Array(2);
    access.readSync(0x10_0004n, target);
    expect(target).toEqual(Uint8Array.of(2, 3));
    access.writeSync(0x10_0004n, Uint8Array.of(9));
    await access.read(0x10_0004n, target);
    expect(target).toEqual(Uint8Array.of(9, 3));
    expect(await outcome(access.pin(0x10_0001n, 10n))).toBe('EINVAL');
    const pinning = iommufd.accessCreate({ ioas, needsPin: true, onUnmap: () => undefined });
    expect(await outcome(pinning)).toBe('EADDRINUSE');
    expect(await iommufd.ioasAlloc()).toBe(3);
    await closeClean(setting);
  });

  test('lets go of what it pinned when it is unmapped', async () => {
    const setting = open();
    const { iommufd, memory } = setting;
    const ioas = await iommufd.ioasAlloc();
    await iommufd.ioasMap({ ioas, iova: PAGE, uptr: RAM, length: 4n * PAGE, prot: 'rw' });
    const notices: [bigint, bigint][] = [];
    const access = await iommufd.accessCreate({
      ioas,
      needsPin: true,
      onUnmap: async ({ iova, length }) => {
        notices.push([iova, length]);
        if (memory.pins(RAM + PAGE) > 0) await access.unpin(2n * PAGE, PAGE);
      },
    });
    const frames = await access.pin(2n * PAGE, PAGE, { write: true });
    expect(frames.at(0)).toBe(memory.frameOf(RAM + PAGE));
    expect(memory.pins(RAM + PAGE)).toBe(1);
    expect(await iommufd.ioasUnmap({ ioas, iova: PAGE, length: 4n * PAGE })).toBe(4n * PAGE);
    expect(notices).toEqual([[PAGE, 4n * PAGE]]);
    expect(await outcome(access.unpin(2n * PAGE, PAGE))).toBe('EINVAL');
    await closeClean(setting);
  });

  test('moves to another address space with its pins dropped, also those its driver forgot', async () => {
    const setting = open();
    const { iommufd, memory } = setting;
    const [here, there] = [await iommufd.ioasAlloc(), await iommufd.ioasAlloc()];
    await iommufd.ioasMap({ ioas: here, iova: PAGE, uptr: RAM, length: PAGE, prot: 'rw' });
    let told = 0;
    const access = await iommufd.accessCreate({
      ioas: here,
      needsPin: true,
      onUnmap: () => {
        told += 1;
      },
    });
    await access.pin(PAGE, PAGE);
    await access.pin(PAGE, PAGE);
    await access.replace(here);
    expect([told, memory.pins(RAM)]).toEqual([0, 1]);
    expect(await outcome(access.replace(99))).toBe('ENOENT');
    expect(await outcome(access.attach(there))).toBe('EINVAL');
    expect([told, memory.pins(RAM)]).toEqual([0, 1]);
    await access.replace(there);
    expect([told, memory.pins(RAM), access.ioas]).toEqual([1, 0, there]);
    iommufd.check();
    await iommufd.destroy(here);
    expect(await outcome(iommufd.destroy(there))).toBe('EBUSY');
    await access.detach();
    await access.detach();
    expect(access.ioas).toBeUndefined();
    expect(await outcome(access.replace(there))).toBe('ENOENT');
    expect(await outcome(access.pin(PAGE, PAGE))).toBe('ENOENT');
    await access.attach(there);
    await access.destroy();
    await access.destroy();
    expect(await iommufd.ioasAlloc()).toBe(here);
    expect(await iommufd.ioasAlloc()).toBe(3);
    await closeClean(setting);
  });

  test('that cannot move stays where it was, with its pins', async () => {
    const setting = open();
    const { iommufd, memory } = setting;
    const [here, there] = [await iommufd.ioasAlloc(), await iommufd.ioasAlloc()];
    await iommufd.ioasMap({ ioas: here, iova: PAGE, uptr: RAM, length: PAGE, prot: 'rw' });
    await iommufd.ioasMap({ ioas: there, iova: 1n, uptr: RAM, length: 1n, prot: 'rw' });
    const access = await iommufd.accessCreate({ ioas: here, needsPin: true, onUnmap: () => undefined });
    await access.pin(PAGE, PAGE);
    expect(await outcome(access.replace(there))).toBe('EADDRINUSE');
    expect([access.ioas, memory.pins(RAM)]).toEqual([here, 1]);
    await access.unpin(PAGE, PAGE);
    await iommufd.destroy(there);
    await closeClean(setting);
  });
});

describe('an access that is destroyed while it tells its driver that it is leaving', () => {
  /** An access with a pin in `here`, whose driver does something the first time it is told to let go. */
  async function leaving(onFirst: (access: IommufdAccess) => Promise<void>) {
    const setting = open(10);
    const { iommufd } = setting;
    const [here, there] = [await iommufd.ioasAlloc(), await iommufd.ioasAlloc()];
    await iommufd.ioasMap({ ioas: here, iova: PAGE, uptr: RAM, length: PAGE, prot: 'rw' });
    let times = 0;
    const access: IommufdAccess = await iommufd.accessCreate({
      ioas: here,
      needsPin: true,
      onUnmap: async () => {
        times += 1;
        if (times === 1) await onFirst(access);
      },
    });
    await access.pin(PAGE, PAGE);
    return { setting, iommufd, here, there, access };
  }

  /** Nothing may be left of the access. */
  async function expectGone({ setting, here, there, access }: Awaited<ReturnType<typeof leaving>>) {
    const { iommufd, memory } = setting;
    expect([access.ioas, memory.physical.pinned]).toEqual([undefined, 0]);
    iommufd.check();
    for (const ioas of [here, there]) {
      expect(iommufd.ioasTable(ioas).snapshot().accesses).toBe(0);
      expect(await outcome(access.attach(ioas))).toBe('ENOENT');
      await iommufd.destroy(ioas);
    }
    expect(await outcome(access.destroy())).toBe('OK');
    await closeClean(setting);
  }

  test('for another address space: the replace fails, and it is in neither', async () => {
    const world = await leaving((access) => access.destroy());
    expect(await outcome(world.access.replace(world.there))).toBe('ENOENT');
    await expectGone(world);
  });

  test('and whose driver then fails: it does not stay where it was', async () => {
    const world = await leaving(async (access) => {
      await access.destroy();
      throw new Error('no');
    });
    await expect(world.access.replace(world.there)).rejects.toThrow('no');
    await expectGone(world);
  });

  test('for good', async () => {
    const detached = await leaving((access) => access.destroy());
    await detached.access.detach();
    await expectGone(detached);
    const destroyed = await leaving((access) => access.destroy());
    await destroyed.access.destroy();
    await expectGone(destroyed);
  });

  test('from elsewhere, at the same time', async () => {
    const driver = gate();
    const world = await leaving(() => driver.opened);
    const replacing = outcome(world.access.replace(world.there));
    await world.access.destroy();
    driver.open();
    expect(await replacing).toBe('ENOENT');
    await expectGone(world);
  });

  test('is not destroyed by a detach, which changes nothing then', async () => {
    const world = await leaving(async (access) => {
      await access.detach();
      expect(await outcome(world.iommufd.destroy(world.here))).toBe('EBUSY');
    });
    await world.access.replace(world.there);
    expect(world.access.ioas).toBe(world.there);
    world.iommufd.check();
    await world.access.destroy();
    await expectGone(world);
  });

  test('a driver that fails after a detach of its own keeps the access where it was', async () => {
    const world = await leaving(async (access) => {
      await access.detach();
      throw new Error('no');
    });
    await expect(world.access.replace(world.there)).rejects.toThrow('no');
    expect(world.access.ioas).toBe(world.here);
    world.iommufd.check();
    expect(await outcome(world.iommufd.destroy(world.here))).toBe('EBUSY');
    await world.access.destroy();
    await expectGone(world);
  });
});

describe('close', () => {
  test('tells accesses to let go, releases everything, and refuses later calls', async () => {
    const setting = open(100);
    const { iommufd, memory } = setting;
    const ioas = await iommufd.ioasAlloc();
    await iommufd.ioasMap({ ioas, iova: APERTURE, uptr: RAM, length: 8n * PAGE, prot: 'rw' });
    const device = await bindMock(iommufd);
    await device.attach(ioas);
    const manual = await iommufd.hwptAlloc({ device: device.id, ioas });
    let told = 0;
    const access = await iommufd.accessCreate({
      ioas,
      needsPin: true,
      onUnmap: () => {
        told += 1;
      },
    });
    await access.pin(APERTURE, 3n * PAGE);
    await iommufd.vfioIoasSet(ioas);
    expect(manual).toBeGreaterThan(0);
    expect(memory.locked?.user.lockedPages).toBe(8);
    await closeClean(setting);
    expect(told).toBe(1);
    await iommufd.close();
    await access.destroy();
    await device.unbind();
    expect(await outcome(iommufd.ioasAlloc())).toBe('EBADFD');
    expect(await outcome(access.pin(APERTURE, PAGE))).toBe('ENOENT');
  });

  test('releases everything also if a callback throws, and then says so', async () => {
    const setting = open();
    const { iommufd, memory } = setting;
    const ioas = await iommufd.ioasAlloc();
    await iommufd.ioasMap({ ioas, iova: PAGE, uptr: RAM, length: PAGE, prot: 'rw' });
    const options = {
      ioas,
      needsPin: true,
      onUnmap: () => {
        throw new Error('no');
      },
    };
    const [first, second] = [await iommufd.accessCreate(options), await iommufd.accessCreate(options)];
    await first.pin(PAGE, PAGE);
    await second.pin(PAGE, PAGE);
    await expect(first.replace(await iommufd.ioasAlloc())).rejects.toThrow('no');
    expect([first.ioas, memory.pins(RAM)]).toEqual([ioas, 1]);
    await expect(first.detach()).rejects.toThrow('no');
    expect([first.ioas, memory.pins(RAM)]).toEqual([undefined, 1]);
    await expect(iommufd.close()).rejects.toThrow(AggregateError);
    expect(memory.physical.pinned).toBe(0);
  });

  test('waits for calls in progress', async () => {
    const setting = open();
    const { iommufd, memory } = setting;
    const ioas = await iommufd.ioasAlloc();
    await (await bindMock(iommufd)).attach(ioas);
    const paging = gate();
    const slow = slowly(memory, paging.opened);
    const map = iommufd.ioasMap({ ioas, iova: APERTURE, uptr: RAM, length: PAGE, prot: 'rw', memory: slow });
    const closed = iommufd.close();
    let done = false;
    void closed.then(() => {
      done = true;
    });
    expect(await outcome(iommufd.ioasAlloc())).toBe('EBADFD');
    expect(done).toBe(false);
    paging.open();
    expect(await map).toBe(APERTURE);
    await closed;
    expect(memory.physical.pinned).toBe(0);
  });

  test('happens at the end of an `await using`', async () => {
    const setting = open();
    {
      await using iommufd = setting.iommufd;
      const ioas = await iommufd.ioasAlloc();
      await (await bindMock(iommufd)).attach(ioas);
      await iommufd.ioasMap({ ioas, uptr: RAM, length: PAGE, prot: 'rw' });
      expect(setting.memory.physical.pinned).toBe(1);
    }
    expect(setting.memory.physical.pinned).toBe(0);
  });
});
