/** Drivers that throw, reject or answer late, and signals that are aborted meanwhile: all is undone. */
import { describe, expect, test } from 'vitest';
import type { DomainRequest, IommuDevice } from '../../src/iommufd/iommu-device.js';
import { MockDomain } from '../../src/testing/mock-domain.js';
import { settled, watch } from '../helpers/watch.js';
import { APERTURE, closeClean, open, PAGE, RAM } from './setting.js';

type Method = 'createDomain' | 'attach' | 'detach' | 'freeDomain';

/** A device whose driver does something else when it is asked to. */
class Odd implements IommuDevice {
  readonly name = 'odd';
  readonly alive = new Set<MockDomain>();
  domain: MockDomain | undefined;
  /** What happens at the start of a method; a promise is waited for. */
  before: ((method: Method) => void | Promise<void>) | undefined;

  createDomain(_request: DomainRequest): MockDomain | Promise<MockDomain> {
    return this.#do('createDomain', () => {
      const domain = new MockDomain();
      this.alive.add(domain);
      return domain;
    });
  }

  freeDomain(domain: MockDomain): void | Promise<void> {
    domain.free();
    this.alive.delete(domain);
    return this.#do('freeDomain', () => undefined);
  }

  attach(domain: MockDomain): void | Promise<void> {
    return this.#do('attach', () => {
      this.domain = domain;
    });
  }

  detach(): void | Promise<void> {
    return this.#do('detach', () => {
      this.domain = undefined;
    });
  }

  #do<T>(method: Method, then: () => T): T | Promise<T> {
    const first = this.before?.(method);
    return first === undefined ? then() : first.then(then);
  }
}

const boom = new Error('boom');
const KINDS: [
  kind: string,
  (at: Method, stop: AbortController) => (method: Method) => void | Promise<void>,
][] = [
  [
    'throws',
    (at) => (method) => {
      if (method === at) throw boom;
    },
  ],
  ['rejects', (at) => (method) => (method === at ? Promise.reject(boom) : undefined)],
  [
    'answers late, and the signal is aborted meanwhile',
    (at, stop) => async (method) => {
      if (method !== at) return;
      await settled();
      stop.abort(boom);
      await settled();
    },
  ],
  [
    'aborts the signal, and then throws',
    (at, stop) => (method) => {
      if (method !== at) return;
      stop.abort(boom);
      throw boom;
    },
  ],
];

async function scene() {
  const setting = open();
  const { iommufd } = setting;
  const [here, there] = [await iommufd.ioasAlloc(), await iommufd.ioasAlloc()];
  for (const ioas of [here, there]) {
    await iommufd.ioasMap({ ioas, iova: APERTURE, uptr: RAM, length: PAGE, prot: 'rw' });
  }
  const device = new Odd();
  const bound = await iommufd.deviceBind(device);
  const state = () => [bound.hwpt, device.domain, device.alive.size, setting.memory.physical.pinned];
  return { setting, iommufd, here, there, device, bound, state };
}

describe.each(KINDS)('a driver that %s', (_kind, driver) => {
  test.each(['createDomain', 'attach'] as const)('in %s: attach and replace are undone', async (at) => {
    const { setting, iommufd, here, there, device, bound, state } = await scene();
    for (const [call, ioas] of [
      ['attach', here],
      ['replace', there],
    ] as const) {
      const before = state();
      const stop = new AbortController();
      device.before = driver(at, stop);
      const answer = watch(bound[call](ioas, { signal: stop.signal }));
      for (let round = 0; round < 4; round++) await settled();
      // Aborted where nothing else had to be waited for, the call has completed.
      if (answer.state === 'fulfilled') {
        expect(stop.signal.aborted).toBe(true);
      } else {
        expect(answer.error).toBe(boom);
        expect(state()).toEqual(before);
      }
      iommufd.check();
      device.before = undefined;
      if (answer.state === 'rejected') await bound[call](ioas);
      expect(device.domain).toBe(iommufd.hwptDomain(bound.hwpt!));
      iommufd.check();
    }
    await closeClean(setting);
    expect(device.alive.size).toBe(0);
  });

  test('in createDomain: no page table is made', async () => {
    const { setting, iommufd, here, device, bound, state } = await scene();
    const before = state();
    const stop = new AbortController();
    device.before = driver('createDomain', stop);
    const answer = watch(iommufd.hwptAlloc({ device: bound.id, ioas: here, signal: stop.signal }));
    for (let round = 0; round < 4; round++) await settled();
    device.before = undefined;
    if (answer.state === 'rejected') {
      expect(state()).toEqual(before);
      expect(await iommufd.hwptAlloc({ device: bound.id, ioas: here })).toBe(4);
    } else expect(answer.value).toBe(4);
    await closeClean(setting);
    expect(device.alive.size).toBe(0);
  });

  test.each(['detach', 'freeDomain'] as const)('in %s: the device is detached all the same', async (at) => {
    const { setting, here, device, bound } = await scene();
    await bound.attach(here);
    const stop = new AbortController();
    device.before = driver(at, stop);
    const answer = watch(bound.detach({ signal: stop.signal }));
    for (let round = 0; round < 4; round++) await settled();
    expect(answer.state).not.toBe('pending');
    expect([bound.hwpt, device.alive.size, setting.memory.physical.pinned]).toEqual([undefined, 0, 0]);
    device.before = undefined;
    await bound.detach();
    await bound.attach(here);
    await closeClean(setting);
  });
});
