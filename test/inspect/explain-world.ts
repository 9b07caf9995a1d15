/**
 * Random tables for `explain`: operations as plain data, each of which can be asked about and then made, and worlds
 * that can be built again from their operations.
 */
import fc from 'fast-check';
import type { PinnedRange } from '../../src/access/pinned-range.js';
import type { IommuDomain } from '../../src/domain/iommu-domain.js';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { IommuError } from '../../src/errors.js';
import type { AlternativeStep, Explanation } from '../../src/explain/explanation.js';
import type { ExplainRequest } from '../../src/explain/request.js';
import { IoPagetable } from '../../src/io-pagetable.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import type { Protection } from '../../src/protection.js';
import type { Profile } from '../../src/rules.js';
import { MockDomain } from '../../src/testing/mock-domain.js';

const PAGE = 0x1000n;
const MAX = 2n ** 64n - 1n;

/** A call that can be asked about. `table` and `domain` are numbers; an IOVA of `null` is the table's choice. */
export type Asked =
  | { op: 'map'; table: number; iova: bigint | null; uptr: bigint; length: bigint; prot: Protection }
  | {
      op: 'copy';
      table: number;
      from: number;
      srcIova: bigint;
      iova: bigint | null;
      length: bigint;
      prot: Protection;
    }
  | { op: 'unmap'; table: number; iova: bigint; length: bigint }
  | { op: 'access'; table: number; iova: bigint; length: bigint; write: boolean }
  | { op: 'addDomain'; table: number; domain: number };

/** Something else that changes the state. */
export type Other =
  | { op: 'removeDomain'; domain: number }
  | { op: 'reserve'; table: number; start: bigint; length: bigint }
  | { op: 'allow'; table: number; start: bigint; length: bigint }
  | { op: 'cut'; table: number; at: bigint }
  | { op: 'largePages'; table: number; enable: boolean }
  | { op: 'release'; hold: number }
  | { op: 'munmap' | 'protect'; uptr: bigint };

export type Operation = Asked | Other;

export interface WorldOptions {
  readonly profile: Profile;
  readonly lockedPages?: number;
}

function lastOf({ start, length }: { start: bigint; length: bigint }): bigint {
  const last = start + length - 1n;
  return last > MAX ? MAX : last;
}

export function isAsked(op: Operation): op is Asked {
  return ['map', 'copy', 'unmap', 'access', 'addDomain'].includes(op.op);
}

/** Two tables and three domains over the memory of one process. */
export class ExplainWorld {
  readonly memory: ProcessMemory;
  readonly tables: IoPagetable[];
  readonly domains: readonly IommuDomain[] = [
    new RadixDomain(),
    new RadixDomain({ aperture: { start: 0x11000n, last: 0x2fffn * PAGE } }),
    new MockDomain({ aperture: { start: 0n, last: 2n ** 32n - 1n } }),
  ];
  readonly #attached: (IoPagetable | undefined)[] = [];
  readonly #holds: PinnedRange[] = [];

  constructor({ profile, lockedPages }: WorldOptions) {
    this.memory = new ProcessMemory(
      lockedPages === undefined ? {} : { lockedLimit: BigInt(lockedPages) * PAGE },
    );
    this.memory.mmap({ uptr: 0x40000n, length: 8n * PAGE, frames: 'scattered' });
    this.memory.mmap({ uptr: 0x48000n, length: 2n * PAGE, writable: false });
    this.memory.mmap({ uptr: 0x4b000n, length: 4n * PAGE });
    this.tables = [0, 1].map(() => new IoPagetable({ memory: this.memory, profile }));
  }

  /** Everything that asking must not change. */
  state(): object {
    const { locked } = this.memory;
    return {
      tables: this.tables.map((table) => table.snapshot()),
      pinned: this.memory.physical.pinned,
      locked: locked && [locked.user.lockedPages, locked.mm.lockedPages],
      domains: this.domains.map((domain) => domain.mappedBytes),
      locks: this.tables.map(({ state }) => [state.domainsLock.free, state.iovaLock.free]),
    };
  }

  request(op: Asked): ExplainRequest {
    switch (op.op) {
      case 'map': {
        const { uptr, length, prot } = op;
        return { call: 'map', uptr, length, prot, iova: op.iova ?? undefined };
      }
      case 'copy': {
        const { srcIova, length, prot } = op;
        const from = this.tables[op.from]!;
        return { call: 'copy', from, srcIova, length, prot, iova: op.iova ?? undefined };
      }
      case 'unmap':
        return { call: 'unmap', iova: op.iova, length: op.length };
      case 'access':
        return { call: 'access', iova: op.iova, length: op.length, write: op.write };
      case 'addDomain':
        return { call: 'addDomain', domain: this.domains[op.domain]! };
    }
  }

  explain(op: Asked): Promise<Explanation> {
    return this.tables[op.table]!.explain(this.request(op));
  }

  /** Makes a call; gives what it gave, or the error. */
  async run(op: Operation): Promise<{ value?: unknown; error?: IommuError }> {
    try {
      return { value: await this.#make(op) };
    } catch (error) {
      if (error instanceof IommuError) return { error };
      throw error;
    }
  }

  async #make(op: Operation): Promise<unknown> {
    if (isAsked(op)) return await this.#call(this.tables[op.table]!, this.request(op));
    switch (op.op) {
      case 'removeDomain': {
        const domain = this.domains[op.domain]!;
        await this.#attached[op.domain]?.removeDomain(domain);
        this.#attached[op.domain] = undefined;
        return;
      }
      case 'reserve':
        return await this.tables[op.table]!.reserveIova({ start: op.start, last: lastOf(op) });
      case 'allow':
        return await this.tables[op.table]!.setAllowedIova([{ start: op.start, last: lastOf(op) }]);
      case 'cut':
        return await this.tables[op.table]!.cutIova([op.at]);
      case 'largePages':
        return await this.tables[op.table]!.setLargePages(op.enable);
      case 'release':
        return await this.#holds.splice(op.hold % (this.#holds.length || 1), 1)[0]?.release();
      case 'munmap':
        return this.memory.munmap(op.uptr, PAGE);
      case 'protect':
        return this.memory.protect(op.uptr, PAGE, false);
    }
  }

  async #call(table: IoPagetable, request: ExplainRequest): Promise<unknown> {
    switch (request.call) {
      case 'map':
        return await table.map(request);
      case 'copy':
        return await table.copy({ ...request, from: this.tables.find((each) => each === request.from)! });
      case 'unmap':
        return await table.unmap(request.iova, request.length);
      case 'access': {
        const { write = false } = request;
        this.#holds.push(await table.access(request.iova, request.length, { write }));
        return;
      }
      case 'addDomain': {
        // A domain serves one table at a time.
        const number = this.domains.indexOf(request.domain);
        const other = this.#attached[number];
        if (other !== undefined && other !== table) await other.removeDomain(request.domain);
        await table.addDomain(request.domain);
        this.#attached[number] = table;
        return;
      }
    }
  }

  /** Whether a domain is attached to another table than the one it is to be added to. */
  elsewhere(op: Asked): boolean {
    if (op.op !== 'addDomain') return false;
    const attached = this.#attached[op.domain];
    return attached !== undefined && attached !== this.tables[op.table];
  }

  /** Does one step of an alternative for a call. @throws what it throws */
  async apply(step: AlternativeStep, op: Asked): Promise<void> {
    const table = this.tables[op.table]!;
    switch (step.call) {
      case 'map':
      case 'unmap':
      case 'access':
        await this.#call(table, step);
        return;
      case 'copy':
        await table.copy({ ...step, from: this.tables[op.op === 'copy' ? op.from : 0]! });
        return;
      case 'addDomain':
        await this.#call(table, this.request(op));
        return;
      case 'cutIova':
        await table.cutIova(step.addresses);
        return;
      case 'setAllowedIova':
        await table.setAllowedIova(step.ranges);
        return;
      case 'raise-locked-limit': {
        const { locked } = this.memory;
        const account = step.of === 'user' ? locked!.user : locked!.mm;
        account.limitPages = Number(step.limitBytes / PAGE);
        return;
      }
      case 'provide-memory':
        for (let at = 0n; at < step.length; at += PAGE) this.#provide(step.uptr + at);
        return;
    }
  }

  #provide(uptr: bigint): void {
    const there = this.memory.regions.some(
      (region) => region.uptr <= uptr && uptr < region.uptr + region.length,
    );
    if (there) this.memory.protect(uptr, PAGE, true);
    else this.memory.mmap({ uptr, length: PAGE });
  }

  check(): void {
    for (const table of this.tables) table.check();
  }
}

const pick = <T>(...values: T[]): fc.Arbitrary<T> => fc.constantFrom(...values);
const mostly = <T>(usual: fc.Arbitrary<T>, odd: fc.Arbitrary<T>, weight: number): fc.Arbitrary<T> =>
  fc.oneof({ arbitrary: usual, weight }, { arbitrary: odd, weight: 1 });

const table = fc.nat({ max: 1 });
const domain = fc.nat({ max: 2 });
const iova = mostly(
  fc.nat({ max: 14 }).map((page) => 0x10000n + BigInt(page) * PAGE),
  pick(
    0n,
    0x10800n,
    0x12800n,
    0x1000n,
    0x14001n,
    2n ** 32n - PAGE,
    MAX - PAGE + 1n,
    MAX - 2n * PAGE + 1n,
    MAX,
  ),
  9,
);
const length = mostly(
  pick(PAGE, PAGE, 2n * PAGE, 3n * PAGE, 5n * PAGE, 0x800n),
  pick(0n, 1n, 0x1800n, 0x1001n, 2n ** 40n, 2n ** 63n, MAX - PAGE, MAX),
  12,
);
const uptr = mostly(
  fc.nat({ max: 15 }).map((page) => 0x40000n + BigInt(page) * PAGE),
  pick(0x40800n, 0x41800n, 0x4b400n, 0x40001n, 0n, MAX - PAGE + 1n, MAX - PAGE),
  9,
);
const place = mostly<bigint | null>(iova, fc.constant(null), 2);
const prot = pick<Protection>('rw', 'rw', 'rw', 'r', 'w', '');

const asked: fc.Arbitrary<Asked> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ op: fc.constant('map' as const), table, iova: place, uptr, length, prot }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant('copy' as const),
      table,
      from: table,
      srcIova: iova,
      iova: place,
      length,
      prot,
    }),
  },
  { weight: 5, arbitrary: fc.record({ op: fc.constant('unmap' as const), table, iova, length }) },
  {
    weight: 4,
    arbitrary: fc.record({ op: fc.constant('access' as const), table, iova, length, write: fc.boolean() }),
  },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('addDomain' as const), table, domain }) },
);

const other: fc.Arbitrary<Other> = fc.oneof(
  fc.record({ op: fc.constant('removeDomain' as const), domain }),
  fc.record({
    op: fc.constant('reserve' as const),
    table,
    start: iova,
    length: pick(PAGE, 2n * PAGE, 0x800n),
  }),
  fc.record({ op: fc.constant('allow' as const), table, start: iova, length: pick(2n * PAGE, 8n * PAGE) }),
  fc.record({ op: fc.constant('cut' as const), table, at: iova.map((at) => (at === 0n ? at : at - 1n)) }),
  fc.record({ op: fc.constant('largePages' as const), table, enable: fc.boolean() }),
  fc.record({ op: fc.constant('release' as const), hold: fc.nat({ max: 3 }) }),
  fc.record({ op: pick('munmap' as const, 'protect' as const), uptr: uptr.map((at) => at - (at % PAGE)) }),
);

/** Maps that mostly work, to have something to ask about. */
const beginning: fc.Arbitrary<Operation[]> = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        op: fc.constant('map' as const),
        table,
        iova: fc.nat({ max: 4 }).map((at) => 0x10000n + BigInt(at) * 3n * PAGE),
        uptr: fc.nat({ max: 5 }).map((page) => 0x40000n + BigInt(page) * PAGE),
        length: pick(PAGE, 2n * PAGE, 3n * PAGE),
        prot: pick<Protection>('rw', 'rw', 'r'),
      }),
    },
    { weight: 1, arbitrary: fc.record({ op: fc.constant('addDomain' as const), table, domain }) },
    {
      weight: 1,
      arbitrary: fc.record({
        op: fc.constant('access' as const),
        table,
        iova: pick(0x10000n, 0x13000n),
        length: pick(PAGE, 2n * PAGE),
        write: fc.constant(false),
      }),
    },
  ),
  { maxLength: 8 },
);

/** Lists of operations. */
export const operations: fc.Arbitrary<Operation[]> = fc
  .tuple(
    beginning,
    fc.array(fc.oneof({ arbitrary: asked, weight: 4 }, { arbitrary: other, weight: 1 }), {
      minLength: 1,
      maxLength: 12,
      size: 'max',
    }),
  )
  .map(([first, rest]) => [...first, ...rest]);
