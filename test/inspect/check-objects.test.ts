/** Each invariant of the objects of a context is broken by hand, and it is the one that is named. */
import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import { InvariantError } from '../../src/inspect/check.js';
import type { IommufdAccess } from '../../src/iommufd/access-object.js';
import type { BoundDevice } from '../../src/iommufd/bound-device.js';
import { HwQueue, QueueAccess } from '../../src/iommufd/hw-queue.js';
import { HwPagetable } from '../../src/iommufd/hwpt.js';
import { Ioas } from '../../src/iommufd/ioas.js';
import type { Iommufd } from '../../src/iommufd/iommufd.js';
import type { ObjectTable } from '../../src/iommufd/object-table.js';
import { Viommu } from '../../src/iommufd/viommu.js';
import { intervalOf, split } from '../../src/u64.js';
import { RecordingDomain } from '../helpers/recording-domain.js';
import { APERTURE, bindMock, open, PAGE, RAM } from '../iommufd/setting.js';

/** The type of the mock device's virtual IOMMU and of its queues. */
const VIOMMU_TYPE = 0xdead_beef;
/** An id that no object has. */
const NO_ID = 99;

/** A context with three address spaces, and what there is to break in it. */
interface Live {
  readonly iommufd: Iommufd;
  readonly objects: ObjectTable;
  /** Used by a device and an access, with a mapping. */
  readonly ioas: Ioas;
  /** Not used. */
  readonly other: Ioas;
  readonly hwpt: HwPagetable;
  readonly device: BoundDevice;
  readonly idle: BoundDevice;
  readonly access: IommufdAccess;
  /** A page table for nesting, of the third address space. */
  readonly parent: HwPagetable;
  /** On `parent`, with two queues. */
  readonly viommu: Viommu;
  readonly queue: HwQueue;
  /** Depends on `queue`. */
  readonly dependent: HwQueue;
}

async function live(): Promise<Live> {
  const { iommufd } = open();
  const { objects } = iommufd.context;
  const first = await iommufd.ioasAlloc();
  const second = await iommufd.ioasAlloc();
  const device = await bindMock(iommufd);
  const idle = await bindMock(iommufd);
  const table = await device.attach(first);
  const access = await iommufd.accessCreate({ ioas: first, needsPin: true, onUnmap: () => undefined });
  await iommufd.ioasMap({ ioas: first, iova: APERTURE, uptr: RAM, length: PAGE, prot: 'rw' });
  await iommufd.vfioIoasSet(first);
  const third = await iommufd.ioasAlloc();
  await iommufd.ioasMap({ ioas: third, iova: APERTURE, uptr: RAM, length: PAGE, prot: 'rw' });
  const parent = await iommufd.hwptAlloc({ device: idle.id, ioas: third, nestParent: true });
  const viommu = await iommufd.viommuAlloc({ device: idle.id, hwpt: parent, type: VIOMMU_TYPE });
  const place = { viommu, type: VIOMMU_TYPE, iova: APERTURE, length: PAGE };
  const queue = await iommufd.hwQueueAlloc({ ...place, index: 0 });
  const dependent = await iommufd.hwQueueAlloc({ ...place, index: 1 });
  iommufd.check();
  const ioas = objects.get(first, Ioas);
  const other = objects.get(second, Ioas);
  return {
    iommufd,
    objects,
    ioas,
    other,
    hwpt: objects.get(table, HwPagetable),
    device,
    idle,
    access,
    parent: objects.get(parent, HwPagetable),
    viommu: objects.get(viommu, Viommu),
    queue: objects.get(queue, HwQueue),
    dependent: objects.get(dependent, HwQueue),
  };
}

const BREAKS: [invariant: string, how: string, breakIt: (live: Live) => unknown][] = [
  [
    'objects are found by their ids',
    'one that takes itself for another',
    ({ other }) => Object.assign(other, { id: 77 }),
  ],
  [
    'an address space is used by its page tables and accesses',
    'a user that is gone',
    ({ other }) => Object.assign(other, { users: 1 }),
  ],
  [
    'an address space is used by its page tables and accesses',
    'a user that was forgotten',
    ({ ioas }) => Object.assign(ioas, { users: 1 }),
  ],
  [
    'attached accesses are attached to the table',
    'the table knows nothing of it',
    ({ ioas }) => {
      ioas.table.state.accesses.length = 0;
      ioas.table.state.alignment = 2048;
    },
  ],
  [
    'the domains of a table are those of its page tables',
    'a domain that no page table has',
    ({ other }) => {
      const domain = new RecordingDomain();
      other.table.state.domains.push(domain);
      other.table.state.geometries.set(domain, domain);
      align(other, PAGE);
    },
  ],
  [
    'the domains of a table are those of its page tables',
    'a page table of which the table knows nothing',
    ({ other, hwpt }) => {
      other.hwpts.add(hwpt);
      other.users += 1;
    },
  ],
  [
    'the domains of a table are those of its page tables',
    'a page table with the domain of another',
    ({ hwpt }) => Object.assign(hwpt, { domain: new RecordingDomain() }),
  ],
  [
    'page tables of an address space exist and know it',
    'one that takes another for its own',
    ({ hwpt, other }) => Object.assign(hwpt, { ioas: other }),
  ],
  [
    'ranges are reserved for attached devices only',
    'a device that has gone',
    ({ other, idle }) =>
      other.table.state.reserved.insert(intervalOf(split(0n), split(PAGE))!, { owner: idle }),
  ],
  [
    'a page table is one of its address space',
    'of which the address space knows nothing',
    ({ ioas }) => {
      ioas.hwpts.clear();
      ioas.users -= 1;
      ioas.table.state.domains.length = 0;
      ioas.table.state.geometries.clear();
      for (const area of ioas.table.state.areas) {
        area.pages!.domainsTree = undefined;
        area.pages!.npinned = 0;
        area.pages!.lastNpinned = 0;
        area.storageDomain = undefined;
      }
      ioas.table.state.reserved.clear();
    },
  ],
  [
    'an address space is used by its page tables and accesses',
    'a queue that was forgotten',
    ({ parent }) => Object.assign(parent.ioas, { users: 2 }),
  ],
  [
    'attached accesses are attached to the table',
    'the table knows nothing of what pins a queue',
    ({ parent }) => parent.ioas.table.state.accesses.pop(),
  ],
  [
    'a page table is used by its devices and virtual IOMMUs',
    'a user too many',
    ({ hwpt }) => Object.assign(hwpt, { users: 2 }),
  ],
  [
    'a page table is used by its devices and virtual IOMMUs',
    'a virtual IOMMU that was forgotten',
    ({ parent }) => Object.assign(parent, { users: 0 }),
  ],
  [
    'virtual IOMMUs of a page table exist',
    'one that is gone',
    ({ iommufd, parent, viommu }) => {
      parent.viommus.add(new Viommu(NO_ID, iommufd.context, parent, viommu.driver, []));
      parent.users += 1;
    },
  ],
  [
    'a virtual IOMMU is one of its page table',
    'of which the page table knows nothing',
    ({ parent, viommu }) => {
      parent.viommus.delete(viommu);
      parent.users -= 1;
    },
  ],
  [
    'a virtual IOMMU is used by its queues',
    'by one of them only',
    ({ viommu }) => Object.assign(viommu, { users: 1 }),
  ],
  [
    'a virtual IOMMU knows the queues that exist',
    'and one that is gone',
    ({ objects, viommu, queue }) => {
      viommu.queues.add(new HwQueue(NO_ID, objects, queue));
      viommu.users += 1;
    },
  ],
  [
    'a hardware queue is used by those that depend on it',
    'one that was forgotten',
    ({ queue }) => Object.assign(queue, { users: 0 }),
  ],
  [
    'a hardware queue is used by those that depend on it',
    'one that does so no longer',
    ({ dependent }) => Object.assign(dependent, { dependsOn: undefined }),
  ],
  [
    'hardware queues are known to their virtual IOMMU',
    'one of which it knows nothing',
    ({ viommu, queue }) => viommu.queues.delete(queue),
  ],
  [
    'a hardware queue has its access',
    'one that is gone',
    ({ queue }) => {
      const { ioas, memory } = queue.access;
      Object.assign(queue, { access: new QueueAccess(NO_ID, ioas, memory) });
      ioas.users -= 1;
    },
  ],
  [
    'devices of a page table exist and know it',
    'one that is not attached',
    ({ hwpt, idle }) => {
      hwpt.devices.add(idle);
      hwpt.users += 1;
    },
  ],
  [
    'an automatic page table has devices',
    'it has outlived the last',
    ({ hwpt, device }) => {
      hwpt.devices.delete(device);
      hwpt.users -= 1;
    },
  ],
  [
    'an attached device is one of its page table',
    'of which the page table knows nothing',
    ({ hwpt, device, idle }) => {
      Object.assign(hwpt, { traits: { ...hwpt.traits, automatic: false } });
      hwpt.devices.delete(device);
      hwpt.users -= 1;
      expect(idle.hwpt).toBeUndefined();
    },
  ],
  ['a device is used by its driver', 'by nobody', ({ idle }) => Object.assign(idle, { users: 0 })],
  ['an access is used by its driver', 'by others too', ({ access }) => Object.assign(access, { users: 2 })],
  [
    'accesses are attached to address spaces that exist',
    'one that is gone',
    ({ objects, ioas, hwpt, device }) => {
      const all = objects.all();
      // Everything but the access: the context forgets the rest.
      Object.assign(objects, {
        all: () => all.filter((object) => ![ioas, hwpt, device].some((gone) => gone === object)),
      });
    },
  ],
];

function align({ table }: Ioas, alignment: bigint): void {
  table.state.alignment = Number(alignment);
}

describe('a broken invariant is named', () => {
  test.each(BREAKS)('%s: %s', async (invariant, _how, breakIt) => {
    const broken = await live();
    breakIt(broken);
    const check = () => broken.iommufd.check();
    expect(check).toThrow(InvariantError);
    expect(check).toThrow(expect.objectContaining({ invariant }));
  });

  test('every invariant that is checked is among them', async () => {
    const source = await readFile(new URL('../../src/iommufd/check.ts', import.meta.url), 'utf8');
    const named = [...source.matchAll(/(?:broken|expect)\(\s*'([^']*)'/g)].map(([, invariant]) => invariant!);
    expect([...new Set(named)].sort()).toEqual([...new Set(BREAKS.map(([invariant]) => invariant))].sort());
  });

  test('the tables are checked with the objects', async () => {
    const { iommufd, ioas } = await live();
    const [area] = [...ioas.table.state.areas];
    area!.pages!.references = 2;
    expect(() => iommufd.check()).toThrow(expect.objectContaining({ invariant: 'references = areas' }));
  });
});

describe('what is no broken invariant', () => {
  test('an access that a program has attached to the table itself', async () => {
    const { iommufd, ioas } = await live();
    await new IoptAccess({ needsPin: false }).attach(ioas.table);
    iommufd.check();
  });

  test('an address space that VFIO calls acted on before it was destroyed', async () => {
    const { iommufd, other } = await live();
    await iommufd.vfioIoasSet(other.id);
    await iommufd.destroy(other.id);
    iommufd.check();
  });
});
