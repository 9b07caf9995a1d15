/** The ends of things: done twice they wait for the same end, refused once they can be repeated. */
import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import type { IommufdAccess } from '../../src/iommufd/access-object.js';
import { MockDomain } from '../../src/testing/mock-domain.js';
import { settled, watch } from '../helpers/watch.js';
import { bindMock, closeClean, gate, open, outcome, PAGE, RAM } from './setting.js';

/** An access with a pin, whose callback waits for a gate before it unpins what is still pinned. */
async function holdingOn() {
  const setting = open();
  const { iommufd, memory } = setting;
  const ioas = await iommufd.ioasAlloc();
  await iommufd.ioasMap({ ioas, iova: PAGE, uptr: RAM, length: PAGE, prot: 'rw' });
  const driver = gate();
  const access: IommufdAccess = await iommufd.accessCreate({
    ioas,
    needsPin: true,
    onUnmap: async () => {
      await driver.opened;
      await access.unpin(PAGE, PAGE).catch(() => undefined);
    },
  });
  await access.pin(PAGE, PAGE);
  return { setting, iommufd, memory, ioas, access, driver };
}

describe('a second call waits for the first one', () => {
  test('close', async () => {
    const { iommufd, memory, driver } = await holdingOn();
    const first = watch(iommufd.close());
    const second = watch(iommufd[Symbol.asyncDispose]());
    await settled();
    expect([first.state, second.state, memory.physical.pinned]).toEqual(['pending', 'pending', 1]);
    driver.open();
    await settled();
    expect([first.state, second.state, memory.physical.pinned]).toEqual(['fulfilled', 'fulfilled', 0]);
  });

  test.each(['detach', 'destroy'] as const)('%s of an access', async (end) => {
    const { setting, access, memory, driver } = await holdingOn();
    const calls = [watch(access[end]()), watch(access[end]())];
    await settled();
    expect(calls.map(({ state }) => state)).toEqual(['pending', 'pending']);
    driver.open();
    await settled();
    expect(calls.map(({ state }) => state)).toEqual(['fulfilled', 'fulfilled']);
    expect([access.ioas, memory.physical.pinned]).toEqual([undefined, 0]);
    await closeClean(setting);
  });

  test('destroy of an access, and close', async () => {
    const { iommufd, access, driver } = await holdingOn();
    const calls = [watch(iommufd.close()), watch(access.destroy())];
    await settled();
    expect(calls.map(({ state }) => state)).toEqual(['pending', 'pending']);
    driver.open();
    await settled();
    expect(calls.map(({ state }) => state)).toEqual(['fulfilled', 'fulfilled']);
  });

  test('unbind of a device whose driver detaches late', async () => {
    const setting = open();
    const { iommufd } = setting;
    const ioas = await iommufd.ioasAlloc();
    const driver = gate();
    const device = await iommufd.deviceBind({
      name: 'nic',
      createDomain: () => new MockDomain(),
      detach: () => driver.opened,
    });
    await device.attach(ioas);
    const calls = [watch(device.unbind()), watch(device.unbind())];
    await settled();
    expect(calls.map(({ state }) => state)).toEqual(['pending', 'pending']);
    driver.open();
    await settled();
    expect(calls.map(({ state }) => state)).toEqual(['fulfilled', 'fulfilled']);
    await closeClean(setting);
  });
});

describe('a refused call can be repeated', () => {
  test('close by an asynchronous callback, which would wait for itself', async () => {
    const setting = open();
    const { iommufd } = setting;
    const ioas = await iommufd.ioasAlloc();
    await iommufd.ioasMap({ ioas, iova: PAGE, uptr: RAM, length: PAGE, prot: 'rw' });
    const answers: string[] = [];
    const access: IommufdAccess = await iommufd.accessCreate({
      ioas,
      needsPin: true,
      onUnmap: async () => {
        await settled();
        answers.push(await outcome(iommufd.close()));
        await access.unpin(PAGE, PAGE);
      },
    });
    await access.pin(PAGE, PAGE);
    const unmapping = iommufd.ioasUnmap({ ioas, iova: PAGE, length: PAGE });
    expect(await unmapping).toBe(PAGE);
    expect(answers).toEqual(['EDEADLOCK']);
    expect(await iommufd.ioasAlloc()).toBe(3);
    await access.detach().catch(() => undefined);
    await closeClean(setting);
  });

  test('close from outside while a callback runs waits for it', async () => {
    const { iommufd, memory, ioas, driver } = await holdingOn();
    const unmapping = watch(iommufd.ioasUnmap({ ioas, iova: PAGE, length: PAGE }));
    const closing = watch(iommufd.close());
    await settled();
    expect([unmapping.state, closing.state]).toEqual(['pending', 'pending']);
    driver.open();
    await settled();
    expect([unmapping.value, closing.state, memory.physical.pinned]).toEqual([PAGE, 'fulfilled', 0]);
  });

  test('a close that was stopped while it waited leaves the context open', async () => {
    const { setting, iommufd, ioas, driver } = await holdingOn();
    const unmapping = iommufd.ioasUnmap({ ioas, iova: PAGE, length: PAGE });
    const stop = new AbortController();
    const closing = iommufd.close({ signal: stop.signal });
    stop.abort(new Error('not yet'));
    await expect(closing).rejects.toThrow('not yet');
    driver.open();
    expect(await unmapping).toBe(PAGE);
    expect(await iommufd.ioasAlloc()).toBe(3);
    await closeClean(setting);
  });

  test('a close that was stopped while an access lets go goes on later', async () => {
    const { iommufd, memory, driver } = await holdingOn();
    const stop = new AbortController();
    const closing = iommufd.close({ signal: stop.signal });
    await settled();
    stop.abort(new Error('not yet'));
    await expect(closing).rejects.toThrow('not yet');
    expect(await outcome(iommufd.ioasAlloc())).toBe('EBADFD');
    expect(memory.physical.pinned).toBe(1);
    driver.open();
    await iommufd.close();
    expect(memory.physical.pinned).toBe(0);
  });

  test('destroy of an address space whose table has an access that does not let go', async () => {
    const setting = open();
    const { iommufd } = setting;
    const ioas = await iommufd.ioasAlloc();
    await iommufd.ioasMap({ ioas, iova: PAGE, uptr: RAM, length: PAGE, prot: 'rw' });
    const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
    await access.attach(iommufd.ioasTable(ioas));
    await access.pin(PAGE, PAGE);
    expect(await outcome(iommufd.destroy(ioas))).toBe('EDEADLOCK');
    expect(iommufd.ioasTable(ioas).snapshot().areas).toHaveLength(1);
    await access.unpin(PAGE, PAGE);
    await access.detach();
    await iommufd.destroy(ioas);
    await closeClean(setting);
  });
});

describe('an attach that waited for its turn', () => {
  test('to a page table that went with its last device fails, and changes nothing', async () => {
    const setting = open();
    const { iommufd } = setting;
    const ioas = await iommufd.ioasAlloc();
    const [a, b] = [await bindMock(iommufd), await bindMock(iommufd)];
    const hwpt = await a.attach(ioas);
    const [, attached] = await Promise.all([a.detach(), outcome(b.attach(hwpt))]);
    expect(attached).toBe('ENOENT');
    expect(b.hwpt).toBeUndefined();
    iommufd.check();
    await b.attach(ioas);
    await closeClean(setting);
  });
});
