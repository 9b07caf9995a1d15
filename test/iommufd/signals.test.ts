/** Every call that can wait is ended by its signal, and leaves nothing behind; then it can be made again. */
import { expect, test } from 'vitest';
import type { BoundDevice } from '../../src/iommufd/bound-device.js';
import { Iommufd } from '../../src/iommufd/iommufd.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import { MockDomain } from '../../src/testing/mock-domain.js';
import { GatedMemory } from '../helpers/gated-memory.js';
import { settled, watch } from '../helpers/watch.js';
import { APERTURE, PAGE } from './setting.js';

interface Scene {
  readonly iommufd: Iommufd;
  readonly uptr: bigint;
  readonly ioas: number;
  /** Attached to another address space. */
  readonly attached: BoundDevice;
  readonly idle: BoundDevice;
  /** Being attached to `ioas`. */
  readonly blocked: BoundDevice;
}

/** Calls that wait while a device is being attached to their address space. */
const CALLS: [name: string, call: (scene: Scene, signal: AbortSignal) => Promise<unknown>][] = [
  [
    'ioasMap',
    ({ iommufd, ioas, uptr }, signal) => iommufd.ioasMap({ ioas, uptr, length: PAGE, prot: 'r', signal }),
  ],
  [
    'ioasCopy',
    ({ iommufd, ioas }, signal) =>
      iommufd.ioasCopy({ from: ioas, to: ioas, srcIova: APERTURE, length: PAGE, prot: 'r', signal }),
  ],
  [
    'ioasUnmap',
    ({ iommufd, ioas }, signal) => iommufd.ioasUnmap({ ioas, iova: APERTURE, length: PAGE, signal }),
  ],
  ['vfioSetIommu', ({ iommufd }, signal) => iommufd.vfioSetIommu(1, { signal })],
  [
    'vfioMap',
    ({ iommufd, uptr }, signal) =>
      iommufd.vfioMap({ iova: APERTURE + 16n * PAGE, uptr, length: PAGE, prot: 'r', signal }),
  ],
  ['vfioUnmap', ({ iommufd }, signal) => iommufd.vfioUnmap({ iova: APERTURE, length: PAGE, signal })],
  ['option', ({ iommufd, ioas }, signal) => iommufd.option({ option: 'huge-pages', ioas, value: 1, signal })],
  ['hwptAlloc', ({ iommufd, ioas, idle }, signal) => iommufd.hwptAlloc({ device: idle.id, ioas, signal })],
  ['ioasIovaRanges', ({ iommufd, ioas }, signal) => iommufd.ioasIovaRanges({ ioas, signal })],
  ['ioasAllowIovas', ({ iommufd, ioas }, signal) => iommufd.ioasAllowIovas({ ioas, ranges: [], signal })],
  ['vfioInfo', ({ iommufd }, signal) => iommufd.vfioInfo({ signal })],
  ['accessCreate', ({ iommufd, ioas }, signal) => iommufd.accessCreate({ ioas, signal })],
  ['attach', ({ idle, ioas }, signal) => idle.attach(ioas, { signal })],
  ['replace', ({ attached, ioas }, signal) => attached.replace(ioas, { signal })],
  ['detach', ({ blocked }, signal) => blocked.detach({ signal })],
  ['unbind', ({ blocked }, signal) => blocked.unbind({ signal })],
  ['close', ({ iommufd }, signal) => iommufd.close({ signal })],
];

test.each(CALLS)('%s', async (_name, call) => {
  const process = new ProcessMemory();
  const { uptr } = process.mmap({ length: 16n * PAGE });
  const memory = new GatedMemory(process);
  const iommufd = new Iommufd({ memory });
  const [ioas, other] = [await iommufd.ioasAlloc(), await iommufd.ioasAlloc()];
  await iommufd.vfioIoasSet(ioas);
  await iommufd.ioasMap({ ioas, iova: APERTURE, uptr, length: PAGE, prot: 'rw' });
  const bind = (name: string) => iommufd.deviceBind({ name, createDomain: () => new MockDomain() });
  const [attached, idle, blocked] = [await bind('attached'), await bind('idle'), await bind('blocked')];
  await attached.attach(other);
  const before = iommufd.ioasTable(ioas).snapshot();

  // The first attach fills its page table from memory that does not answer, and keeps all locks meanwhile.
  memory.close();
  const blocker = new AbortController();
  const blocking = watch(blocked.attach(ioas, { signal: blocker.signal }));
  const scene = { iommufd, uptr, ioas, attached, idle, blocked };
  const stop = new AbortController();
  const stopped = watch(call(scene, stop.signal));
  await settled();
  expect([blocking.state, stopped.state]).toEqual(['pending', 'pending']);
  const reason = new Error('stop');
  stop.abort(reason);
  await settled();
  expect([blocking.state, stopped.error]).toEqual(['pending', reason]);
  blocker.abort(reason);
  await settled();
  expect(blocking.error).toBe(reason);
  expect(iommufd.ioasTable(ioas).snapshot()).toEqual(before);
  iommufd.check();

  memory.open();
  await settled();
  await call(scene, new AbortController().signal);
  await iommufd.close();
  expect(process.physical.pinned).toBe(0);
});
