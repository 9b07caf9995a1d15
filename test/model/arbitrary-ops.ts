/**
 * Random operations: addresses from few places, so that they collide, and near the edges where arithmetic breaks.
 */
import fc from 'fast-check';
import type { Charged, Prot } from './naive-table.js';
import { type Hex, hex, type Op, type Place, type Point, type RegionOp, type Span } from './ops.js';
import { ACCESSES, DOMAINS, OWNERS, REGIONS, TABLES } from './setting.js';

type Arb<T> = fc.Arbitrary<T>;

const device = fc.nat({ max: OWNERS - 1 });
const owner = fc.oneof(device, fc.constant(null));
const nth = fc.nat({ max: 7 });

/** The lower of two random numbers below `count`: what happens to few objects adds up. */
const lowBelow = (count: number): Arb<number> =>
  fc.tuple(fc.nat({ max: count - 1 }), fc.nat({ max: count - 1 })).map(([a, b]) => Math.min(a, b));
const table = lowBelow(TABLES);
const access = lowBelow(ACCESSES);
const domain = fc.nat({ max: DOMAINS - 1 });

/** One of `values`, each as often as it is listed; shrinks to the first. */
const pick = <T>(...values: T[]): Arb<T> => fc.constantFrom(...values);
const hexOf = (values: Arb<bigint>): Arb<Hex> => values.map((value) => hex(BigInt.asUintN(64, value)));

/** Mostly `usual`, sometimes `odd`. */
const mostly = <T>(usual: Arb<T>, odd: Arb<T>, weight = 9): Arb<T> =>
  fc.oneof({ arbitrary: usual, weight }, { arbitrary: odd, weight: 1 });

const base = mostly(
  pick(0x1000000n),
  pick(0n, 0x7fff_0000n, 2n ** 32n - 0x4000n, 2n ** 53n - 0x4000n, 2n ** 63n - 0x4000n, 2n ** 64n - 0x10000n),
  5,
);

/**
 * How ragged addresses and lengths are: whole pages only, often half pages, or mostly pages with all kinds of oddities;
 * `edges`: around 0, 2 MiB, 2^53, 2^63 and 2^64, and a byte around the sizes of pages.
 */
export type Grain = 'pages' | 'half pages' | 'mixed' | 'edges';

interface Odds {
  readonly base: Arb<bigint>;
  readonly jitter: Arb<bigint>;
  readonly length: Arb<bigint>;
  readonly ragged: Arb<number>;
}

const ODDS: { readonly [Name in Grain]: Odds } = {
  pages: {
    base,
    jitter: pick(0n),
    length: pick(0x1000n, 0x1000n, 0x2000n, 0x2000n, 0x3000n, 0x5000n),
    ragged: mostly(pick(0), pick(0x1000, -0x1000, 0x2000, -0x2000), 4),
  },
  'half pages': {
    base,
    jitter: pick(0n, 0n, 0x800n),
    length: pick(0x800n, 0x800n, 0x1000n, 0x1800n, 0x1800n, 0x2000n, 0x2800n),
    ragged: mostly(pick(0), pick(0x800, -0x800, 0x1000, -0x1000), 4),
  },
  mixed: {
    base,
    jitter: mostly(pick(0n), pick(0x800n, 0x800n, 0x800n, 1n, 0xfffn, 0x200n), 12),
    length: mostly(
      pick(0x1000n, 0x1000n, 0x1000n, 0x2000n, 0x2000n, 0x2000n, 0x3000n, 0x3000n, 0x5000n, 0x800n, 0x1800n),
      pick(
        0n,
        1n,
        0x200n,
        0xfffn,
        0x1001n,
        0x10000n,
        0x300000n,
        2n ** 32n,
        2n ** 53n + 1n,
        2n ** 63n - 1n,
        2n ** 63n,
        2n ** 64n - 0x1001n,
        2n ** 64n - 1n,
      ),
      14,
    ),
    ragged: mostly(pick(0), pick(0x1000, -0x1000, 0x2000, -0x2000, 0x800, -0x800, 1, -1), 4),
  },
  edges: {
    base: pick(
      0x1000000n - 0x4000n,
      0n,
      0x200000n - 0x4000n,
      2n ** 32n - 0x4000n,
      2n ** 53n - 0x4000n,
      2n ** 63n - 0x4000n,
      2n ** 64n - 0x8000n,
    ),
    jitter: mostly(pick(0n), pick(1n, 0x7ffn, 0x800n, 0x801n, 0xfffn), 2),
    length: mostly(
      pick(0x1000n, 0x2000n, 0x800n, 1n, 0x7ffn, 0x801n, 0xfffn, 0x1001n, 0x1fffn, 0x4000n),
      pick(
        0n,
        0x1fffffn,
        0x200000n,
        0x200001n,
        2n ** 53n - 1n,
        2n ** 53n + 1n,
        2n ** 63n - 2n,
        2n ** 63n - 1n,
        2n ** 63n,
        2n ** 64n - 0x1001n,
        2n ** 64n - 0x1000n,
        2n ** 64n - 1n,
      ),
      5,
    ),
    ragged: mostly(pick(0), pick(1, -1, 0x7ff, -0x7ff, 0x800, -0x800, 0xfff, -0xfff, 0x1000, -0x1000), 2),
  },
};

const prot: Arb<Prot> = pick<Prot>('rw', 'rw', 'rw', 'r', 'r', 'w');

/** Mostly the user's counter: only the property with a limit can tell the difference. */
const charged: Arb<Charged> = pick<Charged>('user', 'user', 'user', 'user', 'mm', 'none');

/** A length that stays inside the address space where it is used. */
const shortLength = hexOf(pick(0x1000n, 0x1000n, 0x2000n, 0x800n, 1n));

const step = pick(0n, 1n, 2n, 3n, 4n, 5n, 6n, 8n, 10n, 12n, 15n);

const memory = mostly(
  fc
    .constantFrom(...REGIONS.flatMap((region) => (region.writable ? [region, region, region] : [region])))
    .chain(({ uptr: start, pages }) => lowBelow(pages).map((page) => start + BigInt(page) * 0x1000n)),
  pick(0n, 0x1a000n, 2n ** 64n - 0x2000n, 2n ** 64n - 0x1000n),
  20,
);

type EveryOp = { readonly [Kind in Op['op']]: Arb<Extract<Op, { op: Kind }>> };

function everyOp({ base, jitter, length: lengths, ragged }: Odds): EveryOp {
  const address = hexOf(
    fc.tuple(base, step, jitter).map(([start, pages, odd]) => start + pages * 0x1000n + odd),
  );
  const uptr = hexOf(fc.tuple(memory, jitter).map(([page, odd]) => page + odd));
  const length = hexOf(lengths);
  const span: Arb<Span> = fc.oneof(
    {
      arbitrary: fc.record({ area: nth, through: pick(0, 0, 0, 0, 1, 1, 2, 7), first: ragged, last: ragged }),
      weight: 6,
    },
    { arbitrary: fc.record({ at: address, length }), weight: 1 },
  );
  const place: Arb<Place> = fc.oneof(
    { arbitrary: address, weight: 3 },
    { arbitrary: fc.record({ after: nth, gap: ragged }), weight: 5 },
    { arbitrary: fc.constant(null), weight: 2 },
  );
  const point: Arb<Point> = fc.oneof(
    {
      arbitrary: fc.record({
        area: nth,
        offset: pick(0xfff, 0x1fff, 0x2fff, 0x7ff, 0, 1, 0x1000, 0x1800, 0x2000, -1),
      }),
      weight: 4,
    },
    { arbitrary: address, weight: 1 },
  );
  const region: Arb<RegionOp> = fc.record({
    start: address,
    length: shortLength,
    type: pick('direct', 'direct-relaxable', 'reserved', 'msi', 'sw-msi'),
  });
  const allowed = fc
    .tuple(address, hexOf(pick(0xffffn, 0xfffn, 0x4fffn, 0x1n, 0x0n, 0x7ffn)))
    .map(([start, bytes]) => ({ start, last: hex(BigInt.asUintN(64, BigInt(start) + BigInt(bytes))) }));

  return {
    map: fc.record({ op: fc.constant('map'), table, iova: place, uptr, length, prot, charged }),
    copy: fc.record({ op: fc.constant('copy'), table, from: table, source: span, iova: place, prot }),
    unmap: fc.record({ op: fc.constant('unmap'), table, range: span }),
    unmapAll: fc.record({ op: fc.constant('unmapAll'), table }),
    addDomain: fc.record({ op: fc.constant('addDomain'), table, domain }),
    removeDomain: fc.record({ op: fc.constant('removeDomain'), domain }),
    poison: fc.record({ op: fc.constant('poison'), domain, at: mostly(point, fc.constant(null), 2) }),
    reserve: fc.record({ op: fc.constant('reserve'), table, start: address, length: shortLength, owner }),
    unreserve: fc.record({ op: fc.constant('unreserve'), table, owner }),
    regions: fc.record({
      op: fc.constant('regions'),
      table,
      device,
      regions: fc.array(region, { maxLength: 3 }),
    }),
    allow: fc.record({ op: fc.constant('allow'), table, ranges: fc.array(allowed, { maxLength: 3 }) }),
    iovaRanges: fc.record({ op: fc.constant('iovaRanges'), table }),
    largePages: fc.record({ op: fc.constant('largePages'), table, enable: fc.boolean() }),
    cut: fc.record({
      op: fc.constant('cut'),
      table,
      addresses: fc.array(point, { minLength: 1, maxLength: 2 }),
    }),
    attach: fc.record({ op: fc.constant('attach'), access, table }),
    replace: fc.record({ op: fc.constant('replace'), access, table }),
    detach: fc.record({ op: fc.constant('detach'), access }),
    ignore: fc.record({
      op: fc.constant('ignore'),
      access,
      notices: pick(0, 1, 2, 60, 99, 100, 101, 120, 1000),
    }),
    pin: fc.record({ op: fc.constant('pin'), access, range: span, write: fc.boolean() }),
    unpin: fc.record({ op: fc.constant('unpin'), access, pin: nth }),
    read: fc.record({ op: fc.constant('read'), access, range: span, slow: fc.boolean() }),
    write: fc.record({
      op: fc.constant('write'),
      access,
      range: span,
      slow: fc.boolean(),
      seed: fc.nat({ max: 255 }),
    }),
    hold: fc.record({ op: fc.constant('hold'), table, range: span, write: fc.boolean() }),
    release: fc.record({ op: fc.constant('release'), hold: nth }),
    changeMemory: fc.record({
      op: fc.constant('changeMemory'),
      region: fc.nat({ max: REGIONS.length - 1 }),
      page: nth,
      pages: pick(1, 2, 4),
      to: pick('read-only', 'writable', 'gone'),
    }),
    exit: fc.record({ op: fc.constant('exit') }),
    trackDirty: fc.record({
      op: fc.constant('trackDirty'),
      domain,
      enable: mostly(pick(true), pick(false), 4),
    }),
    markDirty: fc.record({ op: fc.constant('markDirty'), domain, at: point }),
    readDirty: fc.record({
      op: fc.constant('readDirty'),
      domain,
      range: span,
      pageSize: hexOf(pick(0x1000n, 0x800n, 0x200n, 0x2000n, 0n, 0x3000n)),
      keep: fc.boolean(),
    }),
  };
}

/** How often each kind of operation comes; a kind that is missing never does. */
export type Mix = Partial<Record<Op['op'], number>>;

/** Lists of random operations in the given mix; some begin with domains and accesses. */
export function arbitraryOps(mix: Mix, maxLength: number, grain: Grain = 'mixed'): Arb<Op[]> {
  const every = everyOp(ODDS[grain]);
  const { addDomain = 0, attach = 0 } = mix;
  const beginning = fc.array(oneOf(every, { addDomain, attach }), { maxLength: 8 });
  const rest = fc.array(oneOf(every, mix), { minLength: 1, maxLength, size: 'max' });
  return fc.tuple(beginning, rest).map(([first, others]) => [...first, ...others]);
}

function oneOf(every: EveryOp, mix: Mix): Arb<Op> {
  const choices: { arbitrary: Arb<Op>; weight: number }[] = [];
  for (const [kind, arbitrary] of Object.entries(every)) {
    const weight = Object.entries(mix).find(([name]) => name === kind)?.[1] ?? 0;
    if (weight > 0) choices.push({ arbitrary, weight });
  }
  return fc.oneof(...choices);
}
