/** Devices whose drivers throw, or call back into the iommufd that calls them. */

import { describe, expect, test } from 'vitest';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import type { BoundDevice } from '../../src/iommufd/bound-device.js';
import type { IommuDevice } from '../../src/iommufd/iommu-device.js';
import { Iommufd } from '../../src/iommufd/iommufd.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import { settled, type Watched, watch } from '../helpers/watch.js';

const PAGE = 0x1000n;
const RAM = 0x1_0000_0000n;
const IOVA = 0x100_0000n;
const failure = new Error('the driver does not feel like it');

type Callback = 'createDomain' | 'attach' | 'detach' | 'freeDomain';

/** A device whose driver does something more in one of its functions. */
class Device implements IommuDevice {
  readonly name: string;
  readonly dirtyTracking = true;
  during: Callback | undefined;
  does: () => void = () => undefined;
  /** Domains that were made and not freed. */
  alive = 0;

  constructor(name: string) {
    this.name = name;
  }

  createDomain(): RadixDomain {
    this.#now('createDomain');
    this.alive += 1;
    return new RadixDomain({ dirty: true });
  }

  attach(): void {
    this.#now('attach');
  }

  detach(): void {
    this.#now('detach');
  }

  freeDomain(): void {
    this.alive -= 1;
    this.#now('freeDomain');
  }

  #now(callback: Callback): void {
    if (this.during === callback) this.does();
  }
}

class Setting {
  readonly memory = new ProcessMemory();
  readonly iommufd = new Iommufd({ memory: this.memory });
  readonly device = new Device('eth0');
  readonly bound: BoundDevice[] = [];

  /** Two address spaces with a mapping, one device on the first and one on none; both are the same driver's. */
  static async make(): Promise<Setting> {
    const setting = new Setting();
    const { iommufd, memory, bound } = setting;
    memory.mmap({ uptr: RAM, length: 8n * PAGE });
    for (const ioas of [await iommufd.ioasAlloc(), await iommufd.ioasAlloc()]) {
      await iommufd.ioasMap({ ioas, iova: IOVA, uptr: RAM, length: 2n * PAGE, prot: 'rw' });
    }
    for (const device of [setting.device, new Device('eth1')]) bound.push(await iommufd.deviceBind(device));
    await bound[0]!.attach(1);
    return setting;
  }

  state(): unknown {
    const { iommufd, memory, bound, device } = this;
    return [
      [1, 2].map((ioas) => iommufd.ioasTable(ioas).snapshot()),
      iommufd.context.objects.all().map(({ id, kind, users }) => [id, kind, users]),
      bound.map(({ hwpt }) => hwpt),
      [memory.physical.pinned, device.alive],
    ];
  }
}

const CALLS: Record<string, (setting: Setting) => Promise<unknown>> = {
  'attach of another device': ({ bound }) => bound[1]!.attach(1),
  'replace by another address space': ({ bound }) => bound[0]!.replace(2),
  hwptAlloc: ({ iommufd, bound }) => iommufd.hwptAlloc({ device: bound[0]!.id, ioas: 1 }),
  detach: ({ bound }) => bound[0]!.detach(),
  unbind: ({ bound }) => bound[0]!.unbind(),
  close: ({ iommufd }) => iommufd.close(),
};

/** What must have happened when a function of the driver throws: the call is undone, or done all the same. */
const MAKING: readonly Callback[] = ['createDomain', 'attach'];

const CASES = (['createDomain', 'attach', 'detach', 'freeDomain'] as const).flatMap((callback) =>
  Object.keys(CALLS).map((call) => [callback, call] as const),
);

describe('a driver', () => {
  test.each(CASES)('whose %s throws: %s ends, and nothing is lost', async (callback, call) => {
    const setting = await Setting.make();
    const { iommufd, memory, device } = setting;
    const before = setting.state();
    let thrown = 0;
    device.during = callback;
    device.does = () => {
      thrown += 1;
      throw failure;
    };
    const outcome = watch(CALLS[call]!(setting));
    await settled();
    expect(outcome.state).toBe(thrown === 0 ? 'fulfilled' : 'rejected');
    device.during = undefined;
    if (call !== 'close') {
      if (outcome.state === 'rejected' && MAKING.includes(callback)) expect(setting.state()).toEqual(before);
      iommufd.check();
      await iommufd.close().catch(() => undefined);
    }
    expect([memory.physical.pinned, iommufd.context.objects.all(), device.alive]).toEqual([0, [], 0]);
  });

  test.each(CASES)('whose %s calls the iommufd: %s ends, as does what it began', async (callback, call) => {
    const setting = await Setting.make();
    const { iommufd, memory, bound, device } = setting;
    const begun: Watched<unknown>[] = [];
    device.during = callback;
    device.does = () => {
      device.during = undefined;
      const calls: Promise<unknown>[] = [
        iommufd.ioasMap({ ioas: 1, uptr: RAM + 4n * PAGE, length: PAGE, prot: 'rw' }),
        iommufd.ioasUnmap({ ioas: 1, iova: IOVA, length: 2n * PAGE }),
        iommufd.hwptAlloc({ device: bound[0]!.id, ioas: 1 }),
        bound[0]!.replace(2),
        bound[1]!.attach(2),
        iommufd.destroy(1),
      ];
      begun.push(...calls.map((promise) => watch(promise)));
    };
    begun.push(watch(CALLS[call]!(setting)));
    for (let turns = 0; turns < 20; turns++) await settled();
    expect(begun.map(({ state }) => state)).not.toContain('pending');
    device.during = undefined;
    if (call !== 'close') iommufd.check();
    await iommufd.close();
    expect([memory.physical.pinned, iommufd.context.objects.all(), device.alive]).toEqual([0, [], 0]);
  });
});
