/** The functions of an iommufd, its devices and accesses, and of the test kit, with garbage for arguments. */
import fc from 'fast-check';
import { describe, test } from 'vitest';
import type { IommufdAccess } from '../../src/iommufd/access-object.js';
import type { BoundDevice } from '../../src/iommufd/bound-device.js';
import { Ioas } from '../../src/iommufd/ioas.js';
import { Iommufd } from '../../src/iommufd/iommufd.js';
import { AccessFiles } from '../../src/testing/access-files.js';
import { checkMap, checkRefs, pagePins } from '../../src/testing/checks.js';
import { createMemory } from '../../src/testing/create-memory.js';
import { FaultCounter } from '../../src/testing/fault-injector.js';
import { MockAccess } from '../../src/testing/mock-access.js';
import { MockDevice } from '../../src/testing/mock-device.js';
import { sweepFaults } from '../../src/testing/sweep-faults.js';
import { TestDriver } from '../../src/testing/test-driver.js';
import { callSpoilt, damage, nameOf, RUNS, type Target, type Watchable } from './garbage.js';

const PAGE = 0x1000n;
const RAM = 0x1_0000_0000n;
const APERTURE = 0x100_0000n;

/** A context with two address spaces, two devices and a page table on the first, and two accesses. */
class Setting implements Watchable {
  readonly memory = createMemory([{ uptr: RAM, length: 16n * PAGE, writable: true }], { lockedPages: 100 });
  readonly iommufd = new Iommufd({ memory: this.memory });
  readonly files = new AccessFiles();
  readonly driver = new TestDriver(this.iommufd, { memory: this.memory, files: this.files });
  readonly faults = new FaultCounter();
  readonly devices: BoundDevice[] = [];
  readonly accesses: IommufdAccess[] = [];
  /** Id of a page table with dirty tracking. */
  hwpt = 0;
  /** Id of a test device. */
  testDevice = 0;

  static async make(): Promise<Setting> {
    const setting = new Setting();
    const { iommufd, driver } = setting;
    for (const ioas of [await iommufd.ioasAlloc(), await iommufd.ioasAlloc()]) {
      await iommufd.ioasMap({ ioas, iova: APERTURE, uptr: RAM, length: 2n * PAGE, prot: 'rw' });
    }
    for (let count = 0; count < 2; count++) setting.devices.push(await iommufd.deviceBind(new MockDevice()));
    setting.hwpt = await iommufd.hwptAlloc({ device: setting.devices[0]!.id, ioas: 1, dirtyTracking: true });
    await iommufd.setDirtyTracking({ hwpt: setting.hwpt, enable: true });
    await setting.devices[1]!.attach(1);
    setting.testDevice = (await driver.mockDomain({ pt: 1 })).testDevice;
    setting.accesses.push(await iommufd.accessCreate({ ioas: 2, needsPin: true, onUnmap: () => undefined }));
    setting.accesses.push(await iommufd.accessCreate());
    await driver.createAccess({ ioas: 1, flags: 1 });
    await driver.accessPages(0, { iova: APERTURE, length: PAGE, flags: 0 });
    await iommufd.vfioIoasSet(1);
    return setting;
  }

  state(): unknown {
    const { memory, iommufd, devices, accesses } = this;
    return [
      iommufd.context.objects.all().map((object) => ({
        id: object.id,
        kind: object.kind,
        users: object.users,
        table: object instanceof Ioas ? object.table.snapshot() : undefined,
      })),
      memory.physical.pinned,
      memory.locked?.user.lockedPages,
      memory.read(RAM, 100n),
      devices.map((device) => device.hwpt),
      accesses.map((access) => access.ioas),
      iommufd.context.compat?.id,
      iommufd.context.accounting,
    ];
  }

  check(): void {
    this.iommufd.check();
  }
}

const on = (object: (setting: Setting) => object, kind: 'sync' | 'promise') => {
  return (what: string, args: (setting: Setting) => unknown[] = () => []): Target<Setting> => {
    return { on: object, what, kind, args };
  };
};
const iommufd = on(({ iommufd }) => iommufd, 'promise');
const iommufdNow = on(({ iommufd }) => iommufd, 'sync');
const device = on(({ devices }) => devices[0]!, 'promise');
const attached = on(({ devices }) => devices[1]!, 'promise');
const access = on(({ accesses }) => accesses[0]!, 'promise');
const accessNow = on(({ accesses }) => accesses[0]!, 'sync');
const idle = on(({ accesses }) => accesses[1]!, 'promise');
const driver = on(({ driver }) => driver, 'promise');
const files = on(({ files }) => files, 'promise');
const filesNow = on(({ files }) => files, 'sync');
const faults = on(({ faults }) => faults, 'sync');

const buffer = () => new Uint8Array(64);
const capable = () => true;

const IOMMUFD: Target<Setting>[] = [
  iommufd('destroy', () => [2]),
  iommufd('addDriverObject', () => [async () => ({ kind: 'test', dispose: async () => undefined })]),
  iommufd('close'),
  iommufdNow('ioasTable', () => [1]),
  iommufdNow('hwptDomain', ({ hwpt }) => [hwpt]),
  iommufdNow('check'),
  iommufd('ioasAlloc'),
  iommufd('ioasIovaRanges', () => [{ ioas: 1, max: 3 }]),
  iommufd('ioasAllowIovas', () => [{ ioas: 2, ranges: [{ start: 0n, last: 0xffffn }] }]),
  iommufd('ioasMap', ({ memory }) => [
    { ioas: 1, iova: 0x200_0000n, uptr: RAM, length: PAGE, prot: 'rw', memory, capable },
  ]),
  iommufd('ioasCopy', () => [
    { from: 1, srcIova: APERTURE, to: 2, iova: 0x300_0000n, length: PAGE, prot: 'r' },
  ]),
  iommufd('ioasUnmap', () => [{ ioas: 1, iova: APERTURE, length: 2n * PAGE }]),
  iommufd('option', ({ memory }) => [{ option: 'huge-pages', ioas: 2, value: 0, memory, capable }]),
  iommufd('option', () => [{ option: 'rlimit-mode', value: 1 }]),
  iommufd('lockedBytesIfMapped', () => [
    {
      mappings: [
        { ioas: 1, uptr: RAM, length: PAGE },
        { ioas: 2, from: 1, srcIova: APERTURE, length: PAGE },
      ],
      attached: true,
    },
  ]),
  iommufd('deviceBind', () => [new MockDevice()]),
  iommufd('deviceBind', () => [{ name: 'nic', createDomain: () => 0 }]),
  iommufd('getHwInfo', ({ devices }) => [{ device: devices[0]!.id }]),
  iommufd('hwptAlloc', ({ devices }) => [
    { device: devices[0]!.id, ioas: 2, dirtyTracking: true, nestParent: false },
  ]),
  iommufd('setDirtyTracking', ({ hwpt }) => [{ hwpt, enable: true }]),
  iommufd('getDirtyBitmap', ({ hwpt }) => [
    { hwpt, iova: APERTURE, length: PAGE, pageSize: 2048n, bitmap: new Uint8Array(1), noClear: true },
  ]),
  iommufd('accessCreate', () => [{ ioas: 1, needsPin: true, onUnmap: () => undefined }]),
  iommufd('vfioIoasGet'),
  iommufd('vfioIoasSet', () => [2]),
  iommufd('vfioIoasClear'),
  iommufd('vfioCheckExtension', () => [1]),
  iommufd('vfioSetIommu', () => [3]),
  iommufd('vfioMap', ({ memory }) => [
    { iova: 0x200_0000n, uptr: RAM, length: PAGE, prot: '', memory, capable },
  ]),
  iommufd('vfioUnmap', () => [{ iova: APERTURE, length: 2n * PAGE, all: false }]),
  iommufd('vfioInfo'),
  {
    what: Iommufd,
    kind: 'class',
    args: ({ memory, faults }) => [{ memory, capable, profile: 'linux-6.12', accounting: 'mm', faults }],
  },
];

const USERS: Target<Setting>[] = [
  device('attach', () => [1]),
  attached('replace', () => [2]),
  attached('detach'),
  device('unbind'),
  idle('attach', () => [1]),
  access('replace', () => [1]),
  access('detach'),
  access('destroy'),
  access('pin', () => [APERTURE, PAGE, { write: true }]),
  access('unpin', () => [APERTURE, PAGE]),
  access('read', () => [APERTURE, buffer(), { slow: true }]),
  access('write', () => [APERTURE, buffer(), {}]),
  accessNow('readSync', () => [APERTURE, buffer(), { slow: true }]),
  accessNow('writeSync', () => [APERTURE, buffer(), {}]),
];

const KIT: Target<Setting>[] = [
  driver('addReserved', () => [{ ioas: 2, start: 0n, length: PAGE }]),
  driver('mockDomain', () => [{ pt: 1, flags: 0 }]),
  driver('mockDomainReplace', ({ testDevice }) => [{ testDevice, pt: 2 }]),
  driver('checkMap', ({ hwpt, memory }) => [{ hwpt, iova: APERTURE, length: PAGE, uptr: RAM, memory }]),
  driver('checkRefs', ({ memory }) => [{ uptr: RAM, length: PAGE, refs: 2, memory }]),
  driver('setTempMemoryLimit', () => [100]),
  driver('dirty', ({ hwpt }) => [
    { hwpt, iova: APERTURE, length: PAGE, pageSize: 2048n, bitmap: new Uint8Array(1) },
  ]),
  driver('createAccess', () => [{ ioas: 2, flags: 1 }]),
  driver('closeAccess', () => [0]),
  driver('accessPages', () => [0, { iova: APERTURE, length: PAGE, flags: 1, uptr: RAM }]),
  driver('destroyAccessPages', () => [0, 0]),
  driver('accessRw', () => [0, { iova: APERTURE, length: 8n, flags: 5, source: buffer }]),
  driver('accessReplaceIoas', () => [0, 2]),
  { what: TestDriver, kind: 'class', args: ({ iommufd, memory, files }) => [iommufd, { memory, files }] },
  { what: MockDevice, kind: 'class', args: () => [{ name: 'mock', flags: 2 }] },
  files('close', () => [0]),
  filesNow('has', () => [0]),
  filesNow('get', () => [0]),
  filesNow('add', () => [MockAccess.closed(), () => undefined]),
  faults('arm', () => [3]),
  { what: AccessFiles, kind: 'class', args: () => [3] },
  {
    what: checkMap,
    args: ({ memory, iommufd, hwpt }) => {
      const domain = () => iommufd.hwptDomain(hwpt);
      return [{ domain, memory, iova: APERTURE, length: PAGE, uptr: RAM }];
    },
  },
  { what: checkRefs, kind: 'sync', args: ({ memory }) => [memory, { uptr: RAM, length: PAGE, refs: 3 }] },
  { what: pagePins, kind: 'sync', args: ({ memory }) => [memory, { uptr: RAM, length: PAGE }] },
  {
    what: createMemory,
    kind: 'sync',
    args: () => [[{ uptr: RAM, length: PAGE, writable: true }], { lockedPages: 3 }],
  },
  { what: sweepFaults, args: () => [async () => ({ call: async () => undefined, state: () => 0 })] },
];

describe.each([
  ['Iommufd', IOMMUFD],
  ['devices and accesses', USERS],
  ['the test kit', KIT],
])('%s', (_group, targets) => {
  test.each(targets.map((target) => [nameOf(target), target] as const))('%s', async (_name, target) => {
    await fc.assert(
      fc.asyncProperty(damage, async (how) => {
        await callSpoilt(await Setting.make(), target, how);
      }),
      { numRuns: RUNS },
    );
  });
});
