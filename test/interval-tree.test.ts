import { IntervalTree as PackageTree } from '@flatten-js/interval-tree';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { IntervalTree, type TreeNode } from '../src/interval-tree.js';
import { mayHaveRoom, roomFor, roomOf } from '../src/room.js';
import { firstOf, hexRange, type Interval, join, lastOf, MAX_U64, split, WHOLE_SPACE } from '../src/u64.js';
import { propertyRuns } from './helpers/property-runs.js';

/** What a node and a tree are made of, for the tests that look at it or break it. */
interface Innards {
  left: Innards;
  right: Innards;
  parent: Innards | null;
  color: number;
  startHigh: number;
  startLow: number;
  lastHigh: number;
  lastLow: number;
  maxHigh: number;
  maxLow: number;
  room: number;
}
const innards = (node: TreeNode<number>) => node as TreeNode<number> & Innards;
const treeInnards = (tree: IntervalTree<number>) =>
  tree as IntervalTree<number> & { root: Innards; count: number; overlapping: boolean; nil_node: Innards };

function range(start: bigint, last: bigint): Interval {
  const end = split(last);
  return { ...split(start), lastPage: end.page, lastOffset: end.offset };
}

/** From `start` on, `more` bytes longer than one byte, or as many as there are. */
function rangeOf(start: bigint, more: bigint): Interval {
  return more > MAX_U64 - start ? range(start, MAX_U64) : range(start, start + more);
}

const startOf = (interval: Interval) => join(interval.page, interval.offset);
const endOf = (interval: Interval) => join(interval.lastPage, interval.lastOffset);

/** The places where a representation of 64-bit addresses may change its mind. */
const EDGES = [0n, 1n << 12n, 1n << 31n, 1n << 32n, 1n << 43n, 1n << 52n, 1n << 53n, 1n << 63n, MAX_U64];

const address = fc.oneof(
  {
    weight: 5,
    arbitrary: fc
      .tuple(fc.constantFrom(...EDGES), fc.integer({ min: -3, max: 3 }))
      .map(([edge, distance]) => BigInt.asUintN(64, edge + BigInt(distance))),
  },
  { weight: 5, arbitrary: fc.bigInt({ min: 0n, max: 40n }) },
  { weight: 1, arbitrary: fc.bigInt({ min: 0n, max: MAX_U64 }) },
);
const anyInterval = fc.oneof(
  fc.tuple(address, address).map(([a, b]) => (a < b ? range(a, b) : range(b, a))),
  fc.tuple(address, fc.bigInt({ min: 0n, max: 5n })).map(([start, more]) => rangeOf(start, more)),
);

interface Entry {
  readonly start: bigint;
  readonly last: bigint;
  readonly value: number;
  readonly node: TreeNode<number>;
}

/** The tree as a sorted array. */
class Model {
  entries: Entry[] = [];

  add(range: Interval, value: number, node: TreeNode<number>): void {
    const start = startOf(range);
    const at = this.entries.findIndex((entry) => entry.start > start);
    const entry = { start, last: endOf(range), value, node };
    this.entries.splice(at < 0 ? this.entries.length : at, 0, entry);
  }

  first(range: Interval, from = 0): Entry | undefined {
    const start = startOf(range);
    const last = endOf(range);
    return this.entries.slice(from).find((entry) => entry.start <= last && start <= entry.last);
  }

  /** What no entry covers, where entries do not overlap. */
  holes(): { start: bigint; last: bigint }[] {
    const starts = [0n, ...this.entries.map((entry) => entry.last + 1n)];
    const lasts = [...this.entries.map((entry) => entry.start - 1n), MAX_U64];
    return starts
      .map((start, at) => ({ start, last: lasts[at]! }))
      .filter(({ start, last }) => start <= last);
  }
}

function expectSame(tree: IntervalTree<number>, { entries }: Model): void {
  tree.verify();
  expect(tree.size).toBe(entries.length);
  expect([...tree]).toEqual(entries.map((entry) => entry.value));
  let node = tree.head();
  for (const entry of entries) {
    expect(node).toBe(entry.node);
    expect(entry.node.value).toBe(entry.value);
    expect(startOf(entry.node)).toBe(entry.start);
    expect(endOf(entry.node)).toBe(entry.last);
    node = tree.next(entry.node);
  }
  expect(node).toBeUndefined();
}

type Step = (tree: IntervalTree<number>, model: Model, value: number) => void;

const insert = anyInterval.map(
  (range): Step =>
    (tree, model, value) => {
      model.add(range, value, tree.insert(range, value));
    },
);
const insertDisjoint = anyInterval.map(
  (range): Step =>
    (tree, model, value) => {
      const inTheWay = model.first(range);
      const node = tree.insertDisjoint(range, value);
      if (inTheWay === undefined) model.add(range, value, node);
      else expect(node).toBe(inTheWay.node);
    },
);
const remove = fc.nat().map(
  (pick): Step =>
    (tree, model) => {
      if (model.entries.length === 0) return;
      const [gone] = model.entries.splice(pick % model.entries.length, 1);
      tree.delete(gone!.node);
      expect(() => tree.delete(gone!.node)).toThrow('was deleted');
    },
);
const search = anyInterval.map(
  (range): Step =>
    (tree, model) => {
      expect(tree.first(range)).toBe(model.first(range)?.node);
      model.entries.forEach((entry, at) => {
        expect(tree.nextIn(entry.node, range)).toBe(model.first(range, at + 1)?.node);
      });
    },
);
const holeSearch = fc
  .tuple(
    anyInterval,
    fc.bigInt({ min: 1n, max: 20n }),
    fc.constantFrom(0n, 12n, 20n, 40n),
    fc.integer({ min: 0, max: 22 }),
  )
  .map(
    ([window, length, shift, order]): Step =>
      (tree, model) => {
        const needed = roomFor(split(length << shift), 2 ** order);
        const from = startOf(window);
        const to = endOf(window);
        const hole = model.holes().find(({ start, last }) => {
          if (last < from) return false;
          const room = roomOf(Number(BigInt.asUintN(32, start)), Number(last - start + 1n));
          return last === MAX_U64 || mayHaveRoom(room, needed);
        });
        const expected =
          hole === undefined || hole.start > to
            ? undefined
            : hexRange(range(hole.start < from ? from : hole.start, hole.last > to ? to : hole.last));
        const found = tree.firstHole(window, needed);
        expect(found && hexRange(found)).toBe(expected);
      },
  );
const clear = fc.constant<Step>((tree, model) => {
  tree.clear();
  model.entries = [];
});
const empty = fc.constant<Step>((tree, model) => {
  for (const entry of model.entries.splice(0)) tree.delete(entry.node);
});

function runSteps(steps: readonly Step[]): void {
  const tree = new IntervalTree<number>();
  const model = new Model();
  for (const [value, step] of steps.entries()) {
    step(tree, model, value);
    expectSame(tree, model);
  }
}

test('has an entry until that one is deleted, wherever it stood', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.nat({ max: 40 }), { minLength: 1 }),
      fc.infiniteStream(fc.nat()),
      (pages, picks) => {
        const tree = new IntervalTree<number>();
        const nodes = pages.map((page) =>
          tree.insert(range(BigInt(page) << 12n, (BigInt(page) << 12n) + 9n), page),
        );
        const deleted = new Set<TreeNode<number>>();
        while (deleted.size < nodes.length) {
          expect(nodes.map((node) => tree.has(node))).toEqual(nodes.map((node) => !deleted.has(node)));
          const left = nodes.filter((node) => !deleted.has(node));
          const node = left[picks.next().value! % left.length]!;
          tree.delete(node);
          deleted.add(node);
        }
        expect(nodes.some((node) => tree.has(node))).toBe(false);
      },
    ),
    { numRuns: propertyRuns(100) },
  );
});

describe('IntervalTree', () => {
  test('does what a sorted array does, overlaps and equal keys included', () => {
    const step = fc.oneof(
      { weight: 6, arbitrary: insert },
      { weight: 4, arbitrary: insertDisjoint },
      { weight: 5, arbitrary: remove },
      { weight: 3, arbitrary: search },
      { weight: 1, arbitrary: fc.oneof(clear, empty) },
    );
    fc.assert(fc.property(fc.array(step, { maxLength: 60, size: 'max' }), runSteps), {
      numRuns: propertyRuns(250),
    });
  });

  test('does what a sorted array does while nothing overlaps', () => {
    const step = fc.oneof(
      { weight: 8, arbitrary: insertDisjoint },
      { weight: 3, arbitrary: remove },
      { weight: 3, arbitrary: search },
      { weight: 4, arbitrary: holeSearch },
      { weight: 1, arbitrary: empty },
    );
    fc.assert(fc.property(fc.array(step, { maxLength: 80, size: 'max' }), runSteps), {
      numRuns: propertyRuns(250),
    });
  });

  test('keeps every handle valid through the deletion of all other nodes in any order', () => {
    const size = 200;
    const order = fc.shuffledSubarray([...Array(size).keys()], { minLength: size });
    fc.assert(
      fc.property(order, order, fc.bigInt({ min: 1n, max: 40n }), (arrivals, departures, length) => {
        const tree = new IntervalTree<number>();
        const nodes: TreeNode<number>[] = [];
        for (const key of arrivals) {
          const start = BigInt(key) * 10n;
          nodes[key] = tree.insert(range(start, start + length - 1n), key);
        }
        const left = new Set(arrivals);
        for (const key of departures) {
          tree.delete(nodes[key]!);
          left.delete(key);
          tree.verify();
          for (const other of left) {
            expect(startOf(nodes[other]!)).toBe(BigInt(other) * 10n);
            expect(nodes[other]!.value).toBe(other);
          }
        }
        expect(tree.head()).toBeUndefined();
      }),
      { numRuns: propertyRuns(8) },
    );
  });

  test('gives back every 64-bit interval exactly and keeps it in 32-bit integers', () => {
    fc.assert(
      fc.property(anyInterval, (interval) => {
        const node = new IntervalTree<number>().insert(interval, 7);
        expect(firstOf(node)).toEqual(firstOf(interval));
        expect(lastOf(node)).toEqual(lastOf(interval));
        const { startHigh, startLow, lastHigh, lastLow, maxHigh, maxLow } = innards(node);
        for (const part of [startHigh, startLow, lastHigh, lastLow, maxHigh, maxLow]) {
          expect(part | 0).toBe(part);
        }
      }),
    );
  });

  test('returns the lowest start in the way', () => {
    const tree = new IntervalTree<number>();
    for (const start of [10n, 30n, 50n]) tree.insertDisjoint(range(start, start + 9n), Number(start));
    expect(tree.insertDisjoint(range(0n, 100n), 1).value).toBe(10);
    expect(tree.insertDisjoint(range(25n, 55n), 1).value).toBe(30);
    expect(tree.insertDisjoint(range(39n, 55n), 1).value).toBe(30);
    expect(tree.insertDisjoint(range(40n, 50n), 1).value).toBe(50);
    expect(tree.insertDisjoint(range(40n, 49n), 1).value).toBe(1);
    expect(tree.size).toBe(4);
  });

  test('orders equal starts by arrival', () => {
    const tree = new IntervalTree<string>();
    tree.insert(range(5n, 9n), 'first');
    tree.insert(range(5n, 5n), 'second');
    tree.insert(range(5n, 9n), 'third');
    expect([...tree]).toEqual(['first', 'second', 'third']);
  });

  test('lets the loop delete the entry it is at', () => {
    const tree = new IntervalTree<number>();
    const nodes = [0, 1, 2, 3].map((value) => tree.insert(range(BigInt(value), BigInt(value)), value));
    const seen: number[] = [];
    for (const value of tree) {
      seen.push(value);
      tree.delete(nodes[value]!);
    }
    expect(seen).toEqual([0, 1, 2, 3]);
    expect(tree.size).toBe(0);
  });

  test('refuses a node that was deleted', () => {
    const tree = new IntervalTree<number>();
    const gone = tree.insert(range(1n, 1n), 1);
    tree.insert(range(2n, 2n), 2);
    tree.delete(gone);
    expect(() => tree.delete(gone)).toThrow('was deleted');
    expect(() => tree.next(gone)).toThrow('was deleted');
    expect(() => tree.nextIn(gone, WHOLE_SPACE)).toThrow('was deleted');
    tree.verify();
    expect(tree.size).toBe(1);
  });

  test('is the package underneath, without what the package keeps for each node and tree', () => {
    const tree = new IntervalTree<number>();
    expect(tree).toBeInstanceOf(PackageTree);
    const node = tree.insert(range(1n, 1n), 1);
    expect(Object.keys(tree).sort()).toEqual(['count', 'overlapping', 'root']);
    expect(Object.keys(node).sort()).toEqual([
      ...['color', 'lastHigh', 'lastLow', 'left', 'maxHigh', 'maxLow'],
      ...['parent', 'right', 'room', 'startHigh', 'startLow', 'value'],
    ]);
  });

  test('does not keep a tree alive through the nil node that all trees share', () => {
    const tree = new IntervalTree<number>();
    const nodes = [...Array(20).keys()].map((key) => tree.insert(range(BigInt(key), BigInt(key)), key));
    const { nil_node } = treeInnards(tree);
    expect(treeInnards(new IntervalTree<number>()).nil_node).toBe(nil_node);
    for (const node of nodes) {
      tree.delete(node);
      expect(nil_node.parent).toBeNull();
      expect(innards(node).left).toBe(nil_node);
      expect(innards(node).right).toBe(nil_node);
    }
  });
});

describe('the cost of a search', () => {
  const SIZE = 4095;
  /** No path of a red-black tree is longer. */
  const HEIGHT = 2 * Math.log2(SIZE + 1);

  const shapes: Record<string, (key: number) => Interval> = {
    disjoint: (key) => range(BigInt(key) * 10n, BigInt(key) * 10n + 4n),
    nested: (key) => range(BigInt(key), BigInt(4 * SIZE - key)),
    equal: () => range(5n, 6n),
    'short ones under a long one': (key) =>
      key === 0 ? WHOLE_SPACE : range(BigInt(key) * 10n, BigInt(key) * 10n),
    'each a bit longer than the one before': (key) => range(BigInt(key), BigInt(key) * 3n),
  };

  test.each(Object.keys(shapes))('visits O(log n) nodes: %s', (shape) => {
    const tree = new IntervalTree<number>();
    const nodes = [...Array(SIZE).keys()].map((key) => tree.insert(shapes[shape]!(key), key));
    const visited = new Set<TreeNode<number>>();
    for (const node of nodes) {
      for (const side of ['left', 'right'] as const) {
        const child = innards(node)[side];
        Object.defineProperty(node, side, {
          get() {
            visited.add(node);
            return child;
          },
        });
      }
    }
    const queries = [0n, 1n, 77n, 5000n, 2n * BigInt(SIZE), 10n * BigInt(SIZE) - 6n, MAX_U64];
    for (const start of queries) {
      for (const length of [0n, 3n, 1000n]) {
        const window = rangeOf(start, length);
        visited.clear();
        const found = tree.first(window);
        expect(visited.size).toBeGreaterThan(0);
        expect(visited.size).toBeLessThanOrEqual(HEIGHT);
        for (const from of [nodes[0]!, nodes[SIZE >> 1]!, found ?? nodes[SIZE - 1]!]) {
          visited.clear();
          tree.nextIn(from, window);
          expect(visited.size).toBeLessThanOrEqual(2 * HEIGHT);
        }
      }
    }
  });
});

describe('a search for a hole', () => {
  const SIZE = 4095;
  const HEIGHT = 2 * Math.log2(SIZE + 1);
  const PAGE = 4096n;
  const UNKNOWN = -1;

  /** Areas of `used` pages, then `free` pages free, again and again; in random order. */
  function grow(used: bigint, free: bigint, size = SIZE) {
    const tree = new IntervalTree<number>();
    const stride = (used + free) * PAGE;
    const nodes: (TreeNode<number> & Innards)[] = [];
    for (let step = 0; step < size; step++) {
      const key = (step * 1201) % size;
      const start = BigInt(key) * stride;
      nodes[key] = innards(tree.insert(range(start, start + used * PAGE - 1n), key));
    }
    return { tree, nodes, behind: BigInt(size - 1) * stride + used * PAGE };
  }

  const known = (nodes: readonly Innards[]) => nodes.filter(({ room }) => room !== UNKNOWN).length;

  test('is what a tree pays for: nothing is noted before the first', () => {
    const { tree, nodes } = grow(1n, 3n);
    for (const node of nodes.splice(100, 500)) tree.delete(node);
    expect(known(nodes)).toBe(0);
    tree.firstHole(WHOLE_SPACE, roomFor(split(4n * PAGE), 1));
    expect(known(nodes)).toBe(nodes.length);
  });

  test('leaves little to note anew after an entry came or went', () => {
    const { tree, nodes } = grow(1n, 3n);
    const needed = roomFor(split(4n * PAGE), 1);
    for (let at = 0; at < SIZE; at += 37) {
      tree.firstHole(WHOLE_SPACE, needed);
      tree.delete(nodes[at]!);
      const rest = nodes.filter((_, key) => key !== at);
      expect(rest.length - known(rest)).toBeLessThanOrEqual(HEIGHT + 4);
      tree.firstHole(WHOLE_SPACE, needed);
      nodes[at] = innards(tree.insert(nodes[at]!, at));
      expect(SIZE - known(nodes)).toBeLessThanOrEqual(HEIGHT + 4);
    }
  });

  const shapes: Record<string, readonly [used: bigint, free: bigint, length: bigint, alignment: bigint]> = {
    'no holes': [1n, 0n, PAGE, 1n],
    'holes one page too small': [1n, 7n, 8n * PAGE, PAGE],
    'holes one byte too small': [1n, 3n, 3n * PAGE + 1n, 1n],
    'holes large enough for 3 pages, but no multiple of 4 pages in them': [5n, 3n, 3n * PAGE, 4n * PAGE],
    'holes of 511 pages for 260 pages in 2 MiB': [513n, 511n, 260n * PAGE, 512n * PAGE],
  };

  test.each(Object.keys(shapes))('visits O(log n) nodes: %s', (shape) => {
    const [used, free, length, alignment] = shapes[shape]!;
    const { tree, nodes, behind } = grow(used, free);
    const needed = roomFor(split(length), Number(alignment));
    tree.firstHole(WHOLE_SPACE, needed);
    const visited = new Set<TreeNode<number>>();
    for (const node of nodes) {
      const { right } = node;
      Object.defineProperty(node, 'right', {
        get() {
          visited.add(node);
          return right;
        },
      });
    }
    for (const from of [0n, 1n, 77n * PAGE, behind / 2n, behind - 1n]) {
      visited.clear();
      const found = tree.firstHole(range(from, MAX_U64), needed);
      expect(found && hexRange(found)).toBe(hexRange(range(behind, MAX_U64)));
      expect(visited.size).toBeLessThanOrEqual(HEIGHT);
    }
  });

  test('is refused where entries overlap', () => {
    const tree = new IntervalTree<number>();
    const byte = roomFor(split(1n), 1);
    tree.insert(range(1n, 5n), 1);
    expect(tree.firstHole(range(0n, 9n), byte)).toEqual(range(0n, 0n));
    tree.insert(range(5n, 7n), 2);
    expect(() => tree.firstHole(WHOLE_SPACE, byte)).toThrow('overlap');
    tree.verify();
  });
});

describe('a search in a tree without overlaps', () => {
  const disjoint = (tree: IntervalTree<number>) =>
    [...Array(100).keys()].map((key) => tree.insert(range(BigInt(key) * 10n, BigInt(key) * 10n + 9n), key));
  const overlapping = (tree: IntervalTree<number>) => [1, 2].map((value) => tree.insert(WHOLE_SPACE, value));

  const histories: Record<string, (tree: IntervalTree<number>) => void> = {
    new: () => {},
    cleared: (tree) => {
      overlapping(tree);
      tree.clear();
    },
    emptied: (tree) => {
      for (const node of overlapping(tree)) tree.delete(node);
    },
  };

  test.each(Object.keys(histories))(
    'is one descent that looks at no child for its max: %s tree',
    (history) => {
      const tree = new IntervalTree<number>();
      histories[history]!(tree);
      const nodes = disjoint(tree);
      let looks = 0;
      for (const node of nodes) {
        const max = innards(node).maxHigh;
        Object.defineProperty(node, 'maxHigh', {
          get() {
            looks++;
            return max;
          },
        });
      }
      for (let start = 0n; start < 1010n; start += 5n) {
        const found = start < 1000n ? nodes[Number(start / 10n)] : undefined;
        expect(tree.first(range(start, start + 20n))).toBe(found);
      }
      expect(looks).toBe(0);
    },
  );
});

describe('verify', () => {
  const some = fc
    .array(anyInterval, { minLength: 2, maxLength: 40, size: 'max' })
    .chain((intervals) => fc.tuple(fc.constant(intervals), fc.nat({ max: intervals.length - 1 })));

  function grow(intervals: readonly Interval[]) {
    const tree = new IntervalTree<number>();
    const nodes = intervals.map((interval, value) => innards(tree.insert(interval, value)));
    tree.verify();
    return { tree: treeInnards(tree), nodes };
  }

  test('notices one node of the wrong colour', () => {
    fc.assert(
      fc.property(some, ([intervals, pick]) => {
        const { tree, nodes } = grow(intervals);
        nodes[pick]!.color = 1 - nodes[pick]!.color;
        expect(() => tree.verify()).toThrow(/the root is red|red child|black height/i);
      }),
    );
  });

  test('tells a red root, a red child of a red node and an uneven black height apart', () => {
    const { tree, nodes } = grow([...Array(30).keys()].map((key) => range(BigInt(key), BigInt(key))));
    const { root } = tree;
    root.color = 1;
    expect(() => tree.verify()).toThrow('the root is red');
    root.color = 0;
    const red = nodes.find((node) => node.color === 1 && (node.left as unknown) !== tree.nil_node)!;
    for (const child of [red.left, red.right]) child.color = 1;
    expect(() => tree.verify()).toThrow('a red node has a red child');
    for (const child of [red.left, red.right]) child.color = 0;
    tree.verify();
    red.color = 0;
    expect(() => tree.verify()).toThrow('black height');
    red.color = 1;
    tree.verify();
  });

  test('notices a wrong max', () => {
    fc.assert(
      fc.property(some, fc.constantFrom('maxHigh', 'maxLow'), ([intervals, pick], half) => {
        const { tree, nodes } = grow(intervals);
        const right = nodes[pick]![half];
        nodes[pick]![half] ^= 1;
        expect(() => tree.verify()).toThrow('max is wrong');
        nodes[pick]![half] = right;
        tree.verify();
      }),
    );
  });

  test('notices room that is wrong, or known where it cannot be', () => {
    const apart = fc
      .integer({ min: 2, max: 60 })
      .chain((size) => fc.tuple(fc.constant(size), fc.nat(size - 1)));
    fc.assert(
      fc.property(apart, fc.nat(30), ([size, pick], bit) => {
        const { tree, nodes } = grow(
          [...Array(size).keys()].map((key) => rangeOf(BigInt((key + 1) ** 2), 0n)),
        );
        const node = nodes[pick]!;
        node.room = 0;
        expect(() => tree.verify()).toThrow(/room is (wrong|known above)/);
        node.room = -1;
        tree.firstHole(WHOLE_SPACE, roomFor(split(MAX_U64 >> 1n), 1));
        tree.verify();
        node.room ^= 1 << bit;
        expect(() => tree.verify()).toThrow('room is wrong');
        node.room = -1;
        if (node !== tree.root) expect(() => tree.verify()).toThrow('room is known above');
        for (let above = node.parent; above !== null; above = above.parent) above.room = -1;
        tree.verify();
      }),
    );
  });

  test('notices a wrong parent link', () => {
    fc.assert(
      fc.property(some, fc.boolean(), ([intervals, pick], none) => {
        const { tree, nodes } = grow(intervals);
        const node = nodes[pick]!;
        const right = node.parent;
        node.parent = none && right !== null ? null : node;
        expect(() => tree.verify()).toThrow('parent link');
        node.parent = right;
        tree.verify();
      }),
    );
  });

  test('notices starts out of order', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 40 }), fc.nat(), (size, pick) => {
        const { tree, nodes } = grow([...Array(size).keys()].map((key) => range(BigInt(key), 1000n)));
        const at = pick % (size - 1);
        nodes[at]!.startLow += 2;
        expect(() => tree.verify()).toThrow('order of start');
      }),
    );
  });

  test('notices an interval that ends before it starts', () => {
    const { tree, nodes } = grow([range(1n, 2n), range(5n, 6n)]);
    nodes[1]!.startLow += 2;
    expect(() => tree.verify()).toThrow('ends before it starts: [0x7, 0x6]');
  });

  test('notices a size that is not the number of nodes', () => {
    fc.assert(
      fc.property(some, ([intervals, pick]) => {
        const { tree, nodes } = grow(intervals);
        const node = nodes[pick]!;
        tree.count += 1;
        expect(() => tree.verify()).toThrow('size is');
        tree.count -= 1;
        if (node === tree.root) tree.root = tree.nil_node;
        else if (node.parent!.left === node) node.parent!.left = tree.nil_node;
        else node.parent!.right = tree.nil_node;
        expect(() => tree.verify()).toThrow(/size is|max is wrong/);
      }),
    );
  });

  test('notices an overlap in a tree that is taken to have none', () => {
    const { tree } = grow([range(1n, 4n), range(4n, 6n), range(20n, 21n)]);
    tree.overlapping = false;
    expect(() => tree.verify()).toThrow('overlap in a tree without overlaps');
  });

  test('notices a write to the shared nil node', () => {
    const { tree, nodes } = grow([range(1n, 4n)]);
    const { nil_node } = tree;
    nil_node.parent = nodes[0]!;
    try {
      expect(() => tree.verify()).toThrow('nil node');
    } finally {
      nil_node.parent = null;
    }
    nil_node.color = 1;
    try {
      expect(() => tree.verify()).toThrow('nil node');
    } finally {
      nil_node.color = 0;
    }
    nil_node.room = 1;
    try {
      expect(() => tree.verify()).toThrow('nil node');
    } finally {
      nil_node.room = 0;
    }
    tree.verify();
  });
});
