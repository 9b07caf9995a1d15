/**
 * The library's objects and the naive model's, two of everything over the same process memory.
 */
import assert from 'node:assert/strict';
import { IoptAccess } from '../../src/access/iopt-access.js';
import type { PinnedRange } from '../../src/access/pinned-range.js';
import type { IommuDomain } from '../../src/domain/iommu-domain.js';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { IoPagetable } from '../../src/io-pagetable.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import { type Profile, rulesOf } from '../../src/rules.js';
import { LateMemory } from './late-memory.js';
import type { MapRequest } from './map-requests.js';
import { NaiveAccess } from './naive-access.js';
import { NaiveProcess } from './naive-process.js';
import { MAX, meets, PAGE } from './naive-ranges.js';
import { type NaiveDomain, NaiveTable, NaiveWorld, naiveDomain } from './naive-table.js';
import { type Poison, poisonedMock, poisonedRadix } from './poison.js';
import { RemoteMemory } from './remote-memory.js';
import { REGIONS, TABLES } from './setting.js';

/** What a run is about. */
export interface LockStepOptions {
  readonly profile: Profile;
  /** The most pages that may be pinned; absent: no limit. */
  readonly limitPages?: number;
  /** The memory makes every pin and copy wait, and pins at most so many pages at once. */
  readonly latePortion?: number;
  /** The memory has no live views, and answers late. */
  readonly remote?: boolean;
  /** The library is asked by its synchronous calls, and by the others only where those say that they would wait. */
  readonly sync?: boolean;
}

/** A stretch of IOVA. */
export interface Stretch {
  readonly iova: bigint;
  readonly length: bigint;
}

/** What an access was told to let go of. */
export interface Notice extends Stretch {
  /** Number of the access. */
  readonly access: number;
}

/** A table. */
export interface TablePair {
  readonly library: IoPagetable;
  readonly model: NaiveTable;
}

/** A domain. */
export interface DomainPair {
  readonly library: IommuDomain;
  readonly model: NaiveDomain;
  /** What the library's domain refuses; absent for one that refuses nothing. */
  readonly poison?: Poison;
  /** The map requests that the library's domain got in this operation; absent for one that cannot tell. */
  readonly requests?: MapRequest[];
  /** The table it is attached to. */
  table: TablePair | undefined;
}

/** An access. */
export interface AccessPair {
  readonly library: IoptAccess;
  readonly model: NaiveAccess;
  /** Ranges that the library's access has pinned, in the order of the model's pins. */
  readonly pins: Stretch[];
  /** So many notices more the library's access ignores. */
  ignores: number;
}

/** A range held by `IoPagetable.access`. */
export interface HoldPair {
  readonly library: PinnedRange;
  readonly model: NaiveAccess;
}

/** Numbers of the pages of user memory. */
export const USER_PAGES: readonly bigint[] = REGIONS.flatMap(({ uptr, pages }) =>
  Array.from({ length: pages }, (_, at) => uptr / PAGE + BigInt(at)),
);

/** The io page of the mock domains. */
const IO_PAGE = 2n ** 11n;
/** What later kernels' mock domains keep instead: every power of two from the io page to 64 GiB. */
const ENTRY_SIZES = 2n ** 37n - IO_PAGE;

/** Everything a run works with. */
export class Pairs {
  readonly sync: boolean;
  readonly memory: ProcessMemory;
  readonly world: NaiveWorld;
  readonly tables: readonly TablePair[];
  readonly domains: readonly DomainPair[];
  readonly accesses: readonly AccessPair[];
  /** Owners of reservations. */
  readonly owners: readonly object[] = [{ name: 'owner 0' }, { name: 'owner 1' }];
  readonly devices: readonly object[] = [{ name: 'device 0' }, { name: 'device 1' }];
  holds: HoldPair[] = [];
  /** What the library told the accesses in this operation. */
  readonly notices: Notice[] = [];
  /** Frame number of each user page; it stays so. */
  readonly frames: ReadonlyMap<bigint, bigint>;

  constructor({ profile, limitPages, latePortion, remote = false, sync = false }: LockStepOptions) {
    this.sync = sync;
    const lockedLimit = limitPages === undefined ? undefined : BigInt(limitPages) * PAGE;
    this.memory = new ProcessMemory({ lockedLimit });
    const regions = REGIONS.map(({ uptr, pages, writable, frames }) => {
      const length = BigInt(pages) * PAGE;
      this.memory.mmap({ uptr, length, writable, frames });
      return { start: uptr, last: uptr + length - 1n, writable };
    });
    this.frames = new Map(USER_PAGES.map((page) => [page, BigInt(this.memory.frameOf(page * PAGE))]));
    assert.equal(new Set(this.frames.values()).size, USER_PAGES.length, 'each page is a frame of its own');
    this.world = new NaiveWorld(
      new NaiveProcess(regions, {
        limitPages: limitPages === undefined ? undefined : BigInt(limitPages),
        frameOf: (page) => this.frames.get(page)!,
      }),
    );
    const late = latePortion === undefined ? this.memory : new LateMemory(this.memory, latePortion);
    const memory = remote ? new RemoteMemory(this.memory) : late;
    this.tables = Array.from({ length: TABLES }, () => ({
      library: new IoPagetable({ memory, profile }),
      model: new NaiveTable(this.world, rulesOf(profile)),
    }));
    this.domains = domainPairs(profile);
    this.accesses = [true, true, true, false].map((needsPin) => this.#accessPair(needsPin));
  }

  #accessPair(needsPin: boolean): AccessPair {
    const pair: AccessPair = {
      model: new NaiveAccess(this.world, needsPin),
      library: new IoptAccess({ needsPin, onUnmap: (notice) => this.#letGo(pair, notice) }),
      pins: [],
      ignores: 0,
    };
    return pair;
  }

  /** What the library's access does when it is told: it unpins every range that overlaps, unless it ignores that. */
  async #letGo(pair: AccessPair, { iova, length }: Stretch): Promise<void> {
    this.notices.push({ access: this.accesses.indexOf(pair), iova, length });
    if (pair.ignores > 0 && length !== MAX) {
      pair.ignores -= 1;
      return;
    }
    const told = { start: iova, last: iova + length - 1n };
    for (const pin of [...pair.pins]) {
      if (!meets({ start: pin.iova, last: pin.iova + pin.length - 1n }, told)) continue;
      await pair.library.unpin(pin.iova, pin.length);
      pair.pins.splice(pair.pins.indexOf(pin), 1);
    }
  }
}

function domainPairs(profile: Profile): DomainPair[] {
  const all = { start: 0n, last: MAX };
  const low = { start: 0x1000n, last: 2n ** 53n - 1n };
  const sizes = PAGE | 0x200000n | 0x40000000n;
  const poison: Poison = { at: undefined };
  return [
    mockPair(profile, false),
    mockPair(profile, true),
    { library: new RadixDomain(), model: naiveDomain(sizes, all), table: undefined },
    { library: new RadixDomain({ dirty: true }), model: naiveDomain(sizes, all, true), table: undefined },
    { library: poisonedRadix(poison, low), model: naiveDomain(PAGE, low), poison, table: undefined },
  ];
}

function mockPair(profile: Profile, dirty: boolean): DomainPair {
  const poison: Poison = { at: undefined };
  const requests: MapRequest[] = [];
  const library = poisonedMock(profile, poison, dirty, (request) => requests.push(request));
  const entries = rulesOf(profile).testPageTables === 'entries';
  const aperture = { start: 0x1000000n, last: 0x7fffffffn };
  const model = naiveDomain(entries ? ENTRY_SIZES : IO_PAGE, aperture, dirty, { entries });
  return { library, model, poison, requests, table: undefined };
}
