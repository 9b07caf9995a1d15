/**
 * Calls that meet in one table, on ranges that overlap.
 */
import assert from 'node:assert/strict';
import { IoptAccess } from '../../src/access/iopt-access.js';
import type { PinnedRange } from '../../src/access/pinned-range.js';
import { checkTables } from '../../src/inspect/check.js';
import { IoPagetable } from '../../src/io-pagetable.js';
import { PhysicalMemory } from '../../src/memory/physical-memory.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import type { RwLock } from '../../src/rw-lock.js';
import { RecordingDomain } from '../helpers/recording-domain.js';
import { hex } from '../model/ops.js';
import type { Race } from './explore.js';
import { GatedProcess, Gates } from './gates.js';
import { type Call, named, type Scene } from './run.js';

const PAGE = 0x1000n;
const USER = 0x1000_0000n;
const RESERVED = { name: 'a test' };
/** Where the calls meet: three pages in two areas, a hole of two pages, an area of one page. */
const RANGE = { iova: 0x10000n, length: 6n * PAGE };
const HOLE = 0x13000n;

/** How the table begins. */
export type TableStart = 'pinned' | 'lazy' | 'bare' | 'faulty';

/** What each start is. */
export const TABLE_STARTS: Readonly<Record<TableStart, string>> = {
  pinned: 'a domain, and a range held by a user who lets go when asked',
  lazy: 'no domain, and a range held by a user who lets go when asked',
  bare: 'a domain, and nothing held',
  faulty: 'a domain, nothing held, and of the memory for fixed maps the second page is missing',
};

/**
 * A table with areas [0x10000, 0x11fff], [0x12000, 0x12fff] and [0x15000, 0x15fff]; what is below is reserved;
 * and another one, without a domain, that shows the pages of the first area. Memory is pinned page by page.
 */
export class TableScene implements Scene {
  readonly gates = new Gates();
  readonly process = new ProcessMemory({ physical: new PhysicalMemory(), lockedLimit: 64n * PAGE });
  readonly table = new IoPagetable({ memory: new GatedProcess(this.process, this.gates) });
  readonly other = new IoPagetable();
  /** The domain that is there in the beginning, the one that is added, and the one that the other table gets. */
  readonly domains = [
    new RecordingDomain(),
    new RecordingDomain({ aperture: { start: 0x1000n, last: 0x17fffn } }),
    new RecordingDomain(),
  ] as const;
  readonly reader = new IoptAccess({ needsPin: false });
  readonly otherReader = new IoptAccess({ needsPin: false });
  /** Ranges held by users of `IoPagetable.access`. */
  readonly held: PinnedRange[] = [];

  readonly #frames: number[];

  constructor() {
    this.process.mmap({ uptr: USER, length: 16n * PAGE });
    this.#frames = Array.from({ length: 16 }, (_, at) => this.process.frameOf(USER + BigInt(at) * PAGE));
  }

  static async setUp(start: TableStart): Promise<TableScene> {
    const scene = new TableScene();
    const { table, other, process, domains, reader, otherReader } = scene;
    await table.reserveIova({ start: 0x1000n, last: 0xffffn });
    await table.map({ iova: 0x10000n, uptr: USER, length: 2n * PAGE, prot: 'rw' });
    await table.map({ iova: 0x12000n, uptr: USER + 4n * PAGE, length: PAGE, prot: 'rw' });
    await table.map({ iova: 0x15000n, uptr: USER + 6n * PAGE, length: PAGE, prot: 'rw' });
    if (start !== 'lazy') await table.addDomain(domains[0]);
    await other.copy({ from: table, srcIova: 0x10000n, iova: 0x40000n, length: 2n * PAGE, prot: 'rw' });
    await reader.attach(table);
    await otherReader.attach(other);
    if (start === 'pinned' || start === 'lazy') await scene.hold(0x10000n, PAGE);
    if (start === 'faulty') process.munmap(USER + 9n * PAGE, PAGE);
    return scene;
  }

  /** Holds a range until an unmap asks for it and the schedule lets the answer be given. */
  async hold(iova: bigint, length: bigint): Promise<void> {
    const { gates, held } = this;
    // The unmap may ask before this function has got the range.
    const holding: Promise<PinnedRange> = this.table.access(iova, length, {
      onUnmap: () => gates.pass('let go', async () => (await holding).release()),
    });
    held.push(await holding);
  }

  fingerprint(): string {
    return `${tableFingerprint(this.table.state)} ${tableFingerprint(this.other.state)}`;
  }

  observe(): unknown {
    const { table, other, process, domains, held } = this;
    checkTables([table.state, other.state], true, true);
    return {
      table: table.snapshot(),
      other: other.snapshot(),
      pins: this.#frames.map((frame) => process.physical.pins(frame)),
      pinned: process.physical.pinned,
      locked: process.locked?.user.lockedPages,
      domains: domains.map(({ contents }) => contents),
      held: held.map(({ iova, released }) => `${hex(iova)} ${released}`).sort(),
    };
  }

  async takeDown(): Promise<void> {
    const { table, other, process, domains, held, reader, otherReader } = this;
    for (const range of held) await range.release();
    await reader.detach();
    await otherReader.detach();
    for (const each of [table, other]) {
      await each.unmapAll();
      for (const domain of domains) await each.removeDomain(domain);
    }
    checkTables([table.state, other.state]);
    assert.equal(process.physical.pinned, 0, 'pins after everything was taken down');
    assert.equal(process.locked?.user.lockedPages, 0, 'charges after everything was taken down');
    for (const domain of domains) assert.equal(domain.mappedBytes, 0n, 'a domain is empty in the end');
  }
}

/** Something that differs whenever what calls can see of a table differs. */
export function tableFingerprint(table: IoPagetable['state']): string {
  const { areas, domains, domainsLock, iovaLock, reserved, accesses } = table;
  const all = [...areas].map(({ iova, pages, pins, preventAccess }) => {
    return `${iova} ${pages?.npinned} ${pages && lockState(pages.mutex)} ${pins} ${preventAccess}`;
  });
  const locks = `${lockState(domainsLock)} ${lockState(iovaLock)}`;
  return `${locks} ${all} ${domains.length} ${reserved.size} ${accesses.length}`;
}

/** Who holds a lock, and whether somebody waits for it. */
function lockState(lock: RwLock): string {
  if (lock.writing || !lock.tryRead()) return lock.writing ? 'writing' : 'reading, others wait';
  lock.releaseRead();
  return lock.free ? 'free' : 'reading';
}

function mapAuto({ table }: TableScene, iova?: bigint): Promise<bigint> {
  return table.map({ iova, uptr: USER + 10n * PAGE, length: PAGE, prot: 'r' });
}

/** Every kind of call that is brought together; `there`: in the other table. */
export const TABLE_CALLS: readonly Call<TableScene>[] = [
  named('map fixed', ({ table }) =>
    table.map({ iova: HOLE, uptr: USER + 8n * PAGE, length: 2n * PAGE, prot: 'rw' }),
  ),
  named('map auto', (scene) => mapAuto(scene)),
  named('unmap', ({ table }) => table.unmap(RANGE.iova, RANGE.length)),
  named('unmapAll', ({ table }) => table.unmapAll()),
  named('copy', ({ table }) =>
    table.copy({ from: table, srcIova: 0x11000n, iova: HOLE, length: 2n * PAGE, prot: 'rw' }),
  ),
  named('access', (scene) => scene.hold(0x11000n, 2n * PAGE)),
  named('release', async ({ held }) => held[0]?.release()),
  named('read', ({ reader }) => reader.read(0x11800n, new Uint8Array(0x1000), { slow: true })),
  named('read directly', ({ reader }) => reader.read(0x11800n, new Uint8Array(0x1000))),
  named('read there', ({ otherReader }) =>
    otherReader.read(0x40800n, new Uint8Array(0x1000), { slow: true }),
  ),
  named('addDomain there', ({ other, domains }) => other.addDomain(domains[2])),
  named('unmap there', ({ other }) => other.unmap(0x40000n, 2n * PAGE)),
  named('addDomain', ({ table, domains }) => table.addDomain(domains[1])),
  named('removeDomain', ({ table, domains }) => table.removeDomain(domains[0])),
  named('setAllowedIova', ({ table }) => table.setAllowedIova([{ start: HOLE, last: 0x18fffn }])),
  named('reserve', ({ table }) => table.reserveIova({ start: HOLE, last: HOLE + 0xfffn, owner: RESERVED })),
];

/** What an unmap that failed has removed: areas from the lowest on, up to so many bytes. */
function unmapOf(result: string): Call<TableScene> {
  const bytes = BigInt(result.split(' after ')[1] ?? 0);
  return named(`unmap ${bytes} bytes`, async ({ table }) => {
    let left = bytes;
    for (const { iova, length } of [...table.state.areas]) {
      if (left === 0n) break;
      left -= await table.unmap(iova, length);
    }
    assert.equal(left, 0n);
  });
}

/** The errnos that the kernel gives when calls meet; U4 and others are rows of docs/checks.md. */
export const TABLE_RACES: readonly Race<TableScene>[] = [
  {
    calls: ['unmap', 'unmapAll'],
    code: 'EBUSY',
    reason: 'U4: an area in the range is being set up or torn down; areas before it are gone',
    done: unmapOf,
  },
  {
    calls: ['map fixed', 'copy'],
    code: 'EEXIST',
    reason: 'M10: a half-initialised area occupies its IOVA, whatever becomes of it',
  },
  {
    calls: ['map auto'],
    code: 'OK',
    reason: 'M6: a half-initialised area is avoided, whatever becomes of it',
    done: mapTo,
  },
  {
    calls: ['access', 'read', 'read directly'],
    code: 'EINVAL',
    reason: 'P6, R5: an unmap is asking the users of the area to let go',
  },
  {
    calls: ['reserve', 'addDomain'],
    code: 'EADDRINUSE',
    reason: 'V1: a half-initialised area stands in the way of a reservation',
  },
];

/** A map to a place that was chosen while others occupied what was free before and after. */
function mapTo(result: string): Call<TableScene> {
  const iova = BigInt(result.slice('OK '.length));
  return named(`map to ${iova}`, (scene) => mapAuto(scene, iova));
}
