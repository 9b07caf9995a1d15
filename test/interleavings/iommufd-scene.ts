/**
 * Calls that meet in one iommufd, on one address space, with its end among them.
 */
import assert from 'node:assert/strict';
import { IommuError } from '../../src/errors.js';
import type { IoPagetable } from '../../src/io-pagetable.js';
import type { IommufdAccess } from '../../src/iommufd/access-object.js';
import type { BoundDevice } from '../../src/iommufd/bound-device.js';
import type { IommuDevice } from '../../src/iommufd/iommu-device.js';
import { Iommufd } from '../../src/iommufd/iommufd.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import type { ReservedRegion } from '../../src/table/reservations.js';
import { RecordingDomain } from '../helpers/recording-domain.js';
import type { Race } from './explore.js';
import { GatedProcess, Gates } from './gates.js';
import { type Call, named, type Scene } from './run.js';
import { tableFingerprint } from './table-scene.js';

const PAGE = 0x1000n;
const USER = 0x1000_0000n;
const HOLE = 0x13000n;
const MAX = 2n ** 64n - 1n;

/** How the address space begins. */
export type IommufdStart = 'attached' | 'detached' | 'unused';

/** What each start is. */
export const IOMMUFD_STARTS: Readonly<Record<IommufdStart, string>> = {
  attached: 'a device, and an access with a pin',
  detached: 'no device, and an access with a pin',
  unused: 'no device, and accesses that are not attached',
};

interface Stretch {
  readonly iova: bigint;
  readonly length: bigint;
}

/** A device that remembers its domains. */
class TestDevice implements IommuDevice {
  readonly name: string;
  readonly reservedRegions: readonly ReservedRegion[];
  readonly domains: RecordingDomain[] = [];
  readonly #last: bigint;

  constructor(name: string, last: bigint, reservedRegions: readonly ReservedRegion[] = []) {
    this.name = name;
    this.#last = last;
    this.reservedRegions = reservedRegions;
  }

  createDomain(): RecordingDomain {
    const domain = new RecordingDomain({ aperture: { start: 0x1000n, last: this.#last } });
    this.domains.push(domain);
    return domain;
  }
}

/** What is there once a scene is set up. */
interface Objects {
  readonly ioas: number;
  readonly table: IoPagetable;
  readonly access: IommufdAccess;
  readonly reader: IommufdAccess;
  readonly first: BoundDevice;
  readonly second: BoundDevice;
  readonly third: BoundDevice;
}

/** An address space with the areas of `TableScene`, an access that lets go when asked, and three devices. */
export class IommufdScene implements Scene {
  readonly gates = new Gates();
  readonly process = new ProcessMemory({ lockedLimit: 64n * PAGE });
  readonly iommufd = new Iommufd({ memory: new GatedProcess(this.process, this.gates) });
  readonly devices = {
    first: new TestDevice('first', MAX),
    second: new TestDevice('second', 0x17fffn),
    third: new TestDevice('third', MAX, [{ start: HOLE, length: PAGE, type: 'reserved' }]),
  };
  /** What the access has pinned or is just pinning. */
  readonly pinned = new Set<Stretch>();
  readonly #start: IommufdStart;
  #objects: Objects | undefined;

  private constructor(start: IommufdStart) {
    this.#start = start;
  }

  static async setUp(start: IommufdStart): Promise<IommufdScene> {
    const scene = new IommufdScene(start);
    scene.#objects = await scene.#build();
    if (start !== 'unused') await scene.pin({ iova: 0x10000n, length: PAGE });
    return scene;
  }

  async #build(): Promise<Objects> {
    const { iommufd, process, devices, gates } = this;
    process.mmap({ uptr: USER, length: 16n * PAGE });
    const ioas = await iommufd.ioasAlloc();
    const table = iommufd.ioasTable(ioas);
    await table.reserveIova({ start: 0x1000n, last: 0xffffn });
    const map = (iova: bigint, uptr: bigint, length: bigint) =>
      iommufd.ioasMap({ ioas, iova, uptr, length, prot: 'rw' });
    await map(0x10000n, USER, 2n * PAGE);
    await map(0x12000n, USER + 4n * PAGE, PAGE);
    await map(0x15000n, USER + 6n * PAGE, PAGE);
    const first = await iommufd.deviceBind(devices.first);
    const second = await iommufd.deviceBind(devices.second);
    const third = await iommufd.deviceBind(devices.third);
    if (this.#start === 'attached') await first.attach(ioas);
    const letGo = () => gates.pass('let go', () => this.unpinAll());
    const access = await iommufd.accessCreate({ needsPin: true, onUnmap: letGo });
    const reader = await iommufd.accessCreate();
    if (this.#start !== 'unused') for (const each of [access, reader]) await each.attach(ioas);
    return { ioas, table, access, reader, first, second, third };
  }

  get objects(): Objects {
    assert(this.#objects !== undefined);
    return this.#objects;
  }

  async pin(range: Stretch): Promise<void> {
    // Noted before it is there: an unmap may ask for it at once.
    this.pinned.add(range);
    try {
      await this.objects.access.pin(range.iova, range.length);
    } catch (error) {
      this.pinned.delete(range);
      throw error;
    }
  }

  /** Lets go of everything. What is not pinned after all is no longer there. */
  async unpinAll(): Promise<void> {
    for (const range of [...this.pinned]) {
      this.pinned.delete(range);
      try {
        await this.objects.access.unpin(range.iova, range.length);
      } catch (error) {
        if (!(error instanceof IommuError)) throw error;
      }
    }
  }

  fingerprint(): string {
    const { table, first, second, third, access } = this.objects;
    const { context } = this.iommufd;
    const attached = [first.hwpt, second.hwpt, third.hwpt, access.ioas, this.pinned.size].join();
    const objects = context.objects.all().map(({ id, users }) => `${id} ${users}`);
    return `${tableFingerprint(table.state)} ${context.closed} ${objects} ${attached}`;
  }

  observe(): unknown {
    const { iommufd, process, devices } = this;
    const { table, first, second, third, access } = this.objects;
    iommufd.check();
    table.check();
    return {
      table: table.snapshot(),
      pins: Array.from({ length: 16 }, (_, at) => process.pins(USER + BigInt(at) * PAGE)),
      pinned: process.physical.pinned,
      locked: process.locked?.user.lockedPages,
      domains: Object.values(devices).flatMap(({ domains }) =>
        domains.filter(({ mappedBytes }) => mappedBytes > 0n).map(({ contents }) => contents),
      ),
      attached: [first, second, third].map(({ hwpt }) => hwpt !== undefined),
      access: access.ioas,
      objects: iommufd.context.objects.all().length,
    };
  }

  async takeDown(): Promise<void> {
    await this.iommufd.close();
    const { process, devices } = this;
    assert(this.iommufd.context.objects.empty, 'objects after everything was closed');
    assert.equal(process.physical.pinned, 0, 'pins after everything was closed');
    assert.equal(process.locked?.user.lockedPages, 0, 'charges after everything was closed');
    for (const { mappedBytes } of Object.values(devices).flatMap(({ domains }) => domains)) {
      assert.equal(mappedBytes, 0n, 'a domain is empty in the end');
    }
  }
}

/** Every kind of call that is brought together. */
export const IOMMUFD_CALLS: readonly Call<IommufdScene>[] = [
  named('map fixed', ({ iommufd, objects: { ioas } }) =>
    iommufd.ioasMap({ ioas, iova: HOLE, uptr: USER + 8n * PAGE, length: 2n * PAGE, prot: 'rw' }),
  ),
  named('map auto', ({ iommufd, objects: { ioas } }) =>
    iommufd.ioasMap({ ioas, uptr: USER + 10n * PAGE, length: PAGE, prot: 'r' }),
  ),
  named('unmap', ({ iommufd, objects: { ioas } }) =>
    iommufd.ioasUnmap({ ioas, iova: 0x10000n, length: 6n * PAGE }),
  ),
  named('unmapAll', ({ iommufd, objects: { ioas } }) => iommufd.ioasUnmap({ ioas, iova: 0n, length: MAX })),
  named('copy', ({ iommufd, objects: { ioas } }) =>
    iommufd.ioasCopy({ from: ioas, srcIova: 0x11000n, to: ioas, iova: HOLE, length: 2n * PAGE, prot: 'rw' }),
  ),
  named('access', (scene) => scene.pin({ iova: 0x11000n, length: 2n * PAGE })),
  named('release', (scene) => scene.unpinAll()),
  named('read', ({ objects: { reader } }) => reader.read(0x11800n, new Uint8Array(0x1000), { slow: true })),
  named('attachAccess', ({ objects: { reader, ioas } }) => reader.attach(ioas)),
  named('detachAccess', ({ objects: { access } }) => access.detach()),
  named('addDomain', async ({ iommufd, objects: { second, ioas } }) => {
    await iommufd.hwptAlloc({ device: second.id, ioas });
  }),
  named('removeDomain', ({ objects: { first } }) => first.detach()),
  named('setAllowedIova', ({ iommufd, objects: { ioas } }) =>
    iommufd.ioasAllowIovas({ ioas, ranges: [{ start: HOLE, last: 0x18fffn }] }),
  ),
  named('reserve', async ({ objects: { third, ioas } }) => {
    await third.attach(ioas);
  }),
  named('destroy', ({ iommufd, objects: { ioas } }) => iommufd.destroy(ioas)),
  named('close', ({ iommufd }) => iommufd.close()),
];

function unmapOf(result: string): Call<IommufdScene> {
  const bytes = BigInt(result.split(' after ')[1] ?? 0);
  return named(`unmap ${bytes} bytes`, async ({ objects: { table } }) => {
    let left = bytes;
    for (const { iova, length } of [...table.state.areas]) {
      if (left === 0n) break;
      left -= await table.unmap(iova, length);
    }
    assert.equal(left, 0n);
  });
}

/** The errnos that the kernel gives when calls meet; U4 and others are rows of docs/checks.md. */
export const IOMMUFD_RACES: readonly Race<IommufdScene>[] = [
  {
    calls: ['unmap', 'unmapAll'],
    code: 'EBUSY',
    reason: 'U4: an area in the range is being set up or torn down; areas before it are gone',
    done: unmapOf,
  },
  {
    calls: ['access', 'read'],
    code: 'EINVAL',
    reason: 'P6, R5: an unmap is asking the users of the area to let go',
  },
  {
    calls: ['destroy'],
    code: 'EBUSY',
    reason: 'a call in progress holds the address space',
  },
];
