/** Every call that can wait is ended by its signal, and leaves nothing behind; then it can be made again. */
import { expect, test } from 'vitest';
import type { BoundDevice } from '../../src/iommufd/bound-device.js';
import { Iommufd } from '../../src/iommufd/iommufd.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import { MockDomain } from '../../src/testing/index.js';
import { GatedMemory } from '../helpers/gated-memory.js';
import { settled, watch } from '../helpers/watch.js';
import { APERTURE, outcome, PAGE } from './setting.js';

interface Scene {
  readonly iommufd: Iommufd;
  readonly uptr: bigint;
  readonly ioas: number;
  /** An address space without mappings. */
  readonly other: number;
  /** A page table of `ioas`. */
  readonly hwpt: number;
  /** Attached to `hwpt`. */
  readonly attached: BoundDevice;
  readonly idle: BoundDevice;
}

/** Calls that wait while a map into the address space fills its page tables and does not end. */
const CALLS: [
  name: string,
  call: (scene: Scene, signal: AbortSignal) => Promise<unknown>,
  /** What the same call ends with afterwards; absent: well. */
  again?: 'EINVAL',
][] = [
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
  ['vfioSetIommu', ({ iommufd }, signal) => iommufd.vfioSetIommu(1, { signal }), 'EINVAL'],
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
  ['replace', ({ attached, other }, signal) => attached.replace(other, { signal })],
  ['detach', ({ attached }, signal) => attached.detach({ signal })],
  ['unbind', ({ attached }, signal) => attached.unbind({ signal })],
  ['close', ({ iommufd }, signal) => iommufd.close({ signal })],
];

test.each(CALLS)('%s', async (_name, call, again) => {
  const process = new ProcessMemory();
  const { uptr } = process.mmap({ length: 16n * PAGE });
  const memory = new GatedMemory(process);
  const iommufd = new Iommufd({ memory });
  const [ioas, other] = [await iommufd.ioasAlloc(), await iommufd.ioasAlloc()];
  await iommufd.vfioIoasSet(ioas);
  await iommufd.ioasMap({ ioas, iova: APERTURE, uptr, length: PAGE, prot: 'rw' });
  const bind = (name: string) => iommufd.deviceBind({ name, createDomain: () => new MockDomain() });
  const [attached, idle] = [await bind('attached'), await bind('idle')];
  const hwpt = await attached.attach(ioas);
  const scene = { iommufd, uptr, ioas, other, hwpt, attached, idle };
  const before = iommufd.ioasTable(ioas).snapshot();

  // An attach that waits for a page keeps the address space and its locks, and pins wait for the same memory.
  memory.close();
  const stopBlocking = new AbortController();
  const blocked = await iommufd.deviceBind({ name: 'blocked', createDomain: () => new MockDomain() });
  const blocking = watch(
    iommufd.ioasMap({
      ioas,
      iova: APERTURE + 8n * PAGE,
      uptr,
      length: 2n * PAGE,
      prot: 'rw',
      signal: stopBlocking.signal,
    }),
  );
  const attaching = watch(blocked.attach(ioas, { signal: stopBlocking.signal }));
  await settled();
  const stop = new AbortController();
  const stopped = watch(call(scene, stop.signal));
  await settled();
  expect(stopped.state).toBe('pending');
  const reason = new Error('stop');
  stop.abort(reason);
  await settled();
  expect(stopped.error).toBe(reason);
  stopBlocking.abort(new Error('stop all'));
  await settled();
  expect([blocking.state, attaching.state]).not.toContain('pending');
  memory.open();
  await settled();
  expect(iommufd.ioasTable(ioas).snapshot()).toEqual(before);
  iommufd.check();
  expect(await outcome(call(scene, new AbortController().signal))).toBe(again ?? 'OK');
  await iommufd.close();
  expect(process.physical.pinned).toBe(0);
});
