import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { IntervalTree, type TreeNode } from '../src/interval-tree.js';
import { doubleSpans, holesFor, spans } from '../src/spans.js';
import { byteLength, hexRange, type Interval, MAX_U64, split, WHOLE_SPACE } from '../src/u64.js';
import { propertyRuns } from './helpers/property-runs.js';

function range(start: bigint, last: bigint): Interval {
  const end = split(last);
  return { ...split(start), lastPage: end.page, lastOffset: end.offset };
}

/** A tree with an entry for each [start, last]. */
function treeOf(...entries: (readonly [bigint, bigint])[]): IntervalTree<number> {
  const tree = new IntervalTree<number>();
  for (const [value, [start, last]] of entries.entries()) tree.insert(range(start, last), value);
  return tree;
}

const text = (list: Iterable<Interval & { used: boolean | number }>) =>
  [...list].map((span) => `${Number(span.used)} ${hexRange(span)}`);

/** The universe of the naive model: this many addresses from one of these bases on. */
const UNIVERSE = 40;
const BASES = [
  0n,
  4096n - 20n,
  2n ** 32n - 20n,
  2n ** 44n - 20n,
  2n ** 63n - 20n,
  MAX_U64 - BigInt(UNIVERSE - 1),
];

type Piece = readonly [number, number];
const piece = fc
  .tuple(fc.nat({ max: UNIVERSE - 1 }), fc.oneof(fc.nat({ max: 3 }), fc.nat({ max: UNIVERSE })))
  .map(([start, more]): Piece => [start, Math.min(start + more, UNIVERSE - 1)]);
const pieces = fc.array(piece, { maxLength: 12, size: 'max' });

const place = (base: bigint, [start, last]: Piece) => [base + BigInt(start), base + BigInt(last)] as const;
const covers = (list: readonly Piece[], at: number) =>
  list.some(([start, last]) => start <= at && at <= last);

/** Goes through a window address by address and joins neighbours of the same kind. */
function naive(base: bigint, [start, last]: Piece, kind: (at: number) => number): string[] {
  const out: string[] = [];
  for (let from = start; from <= last; ) {
    let to = from;
    while (to < last && kind(to + 1) === kind(from)) to++;
    out.push(`${kind(from)} ${hexRange(range(...place(base, [from, to])))}`);
    from = to + 1;
  }
  return out;
}

/** Counts the entries that are asked for. */
class CountingTree extends IntervalTree<number> {
  visited = 0;

  override first(window: Interval): TreeNode<number> | undefined {
    this.visited++;
    return super.first(window);
  }

  override nextIn(node: TreeNode<number>, window: Interval): TreeNode<number> | undefined {
    this.visited++;
    return super.nextIn(node, window);
  }

  override next(node: TreeNode<number>): TreeNode<number> | undefined {
    this.visited++;
    return super.next(node);
  }

  override head(): TreeNode<number> | undefined {
    this.visited++;
    return super.head();
  }
}

/** Entries of 10 bytes, one every `stride` bytes from 0 on. */
function counting(entries: number, stride: bigint): CountingTree {
  const tree = new CountingTree();
  for (let key = 0; key < entries; key++) {
    const start = BigInt(key) * stride;
    tree.insert(range(start, start + 9n), key);
  }
  return tree;
}

describe('spans', () => {
  test('partitions a window as a walk over its addresses does', () => {
    fc.assert(
      fc.property(fc.constantFrom(...BASES), pieces, piece, (base, entries, window) => {
        const tree = treeOf(...entries.map((entry) => place(base, entry)));
        expect(text(spans(tree, range(...place(base, window))))).toEqual(
          naive(base, window, (at) => Number(covers(entries, at))),
        );
      }),
      { numRuns: propertyRuns(2000) },
    );
  });

  test('covers the whole space, with and without a tree', () => {
    const whole = '[0x0, 0xffffffffffffffff]';
    expect(text(spans(treeOf(), WHOLE_SPACE))).toEqual([`0 ${whole}`]);
    expect(text(spans(undefined, WHOLE_SPACE))).toEqual([`0 ${whole}`]);
    expect(text(spans(treeOf([0n, MAX_U64]), WHOLE_SPACE))).toEqual([`1 ${whole}`]);
    expect(text(spans(treeOf([0n, MAX_U64 >> 1n], [(MAX_U64 >> 1n) + 1n, MAX_U64]), WHOLE_SPACE))).toEqual([
      `1 ${whole}`,
    ]);
    expect(text(spans(treeOf([0n, 0n], [MAX_U64, MAX_U64]), WHOLE_SPACE))).toEqual([
      '1 [0x0, 0x0]',
      '0 [0x1, 0xfffffffffffffffe]',
      '1 [0xffffffffffffffff, 0xffffffffffffffff]',
    ]);
  });

  test('takes an entry of a tree as the window', () => {
    const window = treeOf([0x10n, 0x2fffn]).head()!;
    expect(text(spans(treeOf([0n, 0xffn]), window))).toEqual(['1 [0x10, 0xff]', '0 [0x100, 0x2fff]']);
    expect(text(doubleSpans(treeOf([0n, 0xffn]), treeOf([0x80n, 0x1000n]), window))).toEqual([
      '1 [0x10, 0xff]',
      '2 [0x100, 0x1000]',
      '0 [0x1001, 0x2fff]',
    ]);
  });

  test('starts in the middle without a walk from the head, and stops at the end of the window', () => {
    const tree = counting(5000, 20n);
    tree.visited = 0;
    expect([...spans(tree, range(50_000n, 50_045n))].length).toBe(5);
    expect(tree.visited).toBeLessThanOrEqual(4);
  });

  test('visits only what the spans asked for need', () => {
    const tree = counting(5000, 20n);
    tree.visited = 0;
    const walk = spans(tree, WHOLE_SPACE);
    expect(tree.visited).toBe(0);
    for (let asked = 1; asked <= 10; asked++) {
      walk.next();
      expect(tree.visited).toBeLessThanOrEqual(1 + asked);
    }
  });

  test('visits each entry of a long used span once', () => {
    const tree = counting(1000, 10n);
    tree.visited = 0;
    expect(text(spans(tree, WHOLE_SPACE))).toEqual(['1 [0x0, 0x270f]', '0 [0x2710, 0xffffffffffffffff]']);
    expect(tree.visited).toBe(1001);
  });

  test('skips entries that end before the window or do not lengthen a span', () => {
    const tree = counting(5000, 20n);
    tree.insert(range(0n, 99_990n), -1);
    tree.visited = 0;
    expect(text(spans(tree, range(60_000n, 200_000n)))).toEqual([
      '1 [0xea60, 0x18696]',
      '0 [0x18697, 0x30d40]',
    ]);
    expect(tree.visited).toBeLessThanOrEqual(3);
  });
});

describe('holesFor', () => {
  test('gives the unused spans that are long enough', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...BASES),
        pieces,
        piece,
        fc.nat({ max: 6 }),
        (base, entries, window, most) => {
          const tree = new IntervalTree<number>();
          for (const entry of entries) tree.insertDisjoint(range(...place(base, entry)), 0);
          const around = range(...place(base, window));
          const holes = [...spans(tree, around)].filter((span) => !span.used);
          const found = [...holesFor(tree, around, { page: 0, offset: most + 1 }, 1)];
          expect(holes.map(hexRange)).toEqual(expect.arrayContaining(found.map(hexRange)));
          const missed = holes.filter((hole) => !found.some((one) => hexRange(one) === hexRange(hole)));
          for (const hole of missed) expect(byteLength(hole)).toBeLessThanOrEqual(most);
          if (most === 0) expect(missed).toEqual([]);
        },
      ),
      { numRuns: propertyRuns(1000) },
    );
  });
});

describe('doubleSpans', () => {
  test('partitions a window as a walk over its addresses does', () => {
    fc.assert(
      fc.property(fc.constantFrom(...BASES), pieces, pieces, piece, (base, first, second, window) => {
        const trees = [first, second].map((entries) => treeOf(...entries.map((entry) => place(base, entry))));
        expect(text(doubleSpans(trees[0], trees[1], range(...place(base, window))))).toEqual(
          naive(base, window, (at) => (covers(first, at) ? 1 : covers(second, at) ? 2 : 0)),
        );
      }),
      { numRuns: propertyRuns(3000) },
    );
  });

  test('takes no tree as an empty one', () => {
    const tree = treeOf([0x10n, 0x1fn]);
    const window = range(0n, 0x1fn);
    expect(text(doubleSpans(undefined, undefined, window))).toEqual(['0 [0x0, 0x1f]']);
    expect(text(doubleSpans(tree, undefined, window))).toEqual(['0 [0x0, 0xf]', '1 [0x10, 0x1f]']);
    expect(text(doubleSpans(undefined, tree, window))).toEqual(['0 [0x0, 0xf]', '2 [0x10, 0x1f]']);
  });

  test('does not visit what the first tree covers in the second', () => {
    const second = counting(5000, 20n);
    second.visited = 0;
    expect([...doubleSpans(treeOf([0n, MAX_U64]), second, WHOLE_SPACE)].length).toBe(1);
    expect(second.visited).toBe(0);

    const holed = treeOf([0n, 39_999n], [40_040n, 79_999n], [80_040n, MAX_U64]);
    expect(text(doubleSpans(holed, second, WHOLE_SPACE)).map((span) => span[0])).toEqual([
      ...['1', '2', '0', '2', '0', '1', '2', '0', '2', '0', '1'],
    ]);
    expect(second.visited).toBeLessThanOrEqual(10);
  });

  test('begins in the second tree where the first lets it', () => {
    const second = counting(5000, 10n);
    second.visited = 0;
    expect(text(doubleSpans(treeOf([0n, 49_989n]), second, WHOLE_SPACE)).length).toBe(3);
    expect(second.visited).toBeLessThanOrEqual(2);
  });

  test('starts in the middle of both trees', () => {
    const first = counting(5000, 40n);
    const second = counting(5000, 20n);
    first.visited = 0;
    second.visited = 0;
    expect([...doubleSpans(first, second, range(50_000n, 50_079n))].length).toBe(8);
    expect(first.visited + second.visited).toBeLessThanOrEqual(10);
  });

  test('walks a long used span of the second tree once, however often the first interrupts it', () => {
    const second = counting(1000, 10n);
    const first = treeOf(
      ...[...Array(500).keys()].map((key) => [BigInt(key) * 20n, BigInt(key) * 20n] as const),
    );
    second.visited = 0;
    expect([...doubleSpans(first, second, range(0n, 9_999n))].length).toBe(1000);
    expect(second.visited).toBeLessThanOrEqual(1001);
  });
});
