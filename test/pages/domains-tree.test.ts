/** The tree of the areas whose frames a domain holds, which is no tree while there is one. */
import { beforeEach, describe, expect, test } from 'vitest';
import { IntervalTree } from '../../src/interval-tree.js';
import type { IoPagetable } from '../../src/io-pagetable.js';
import { indexInterval, type MappedArea } from '../../src/pages/mapped-area.js';
import { PAGE, USER, World } from '../helpers/world.js';

describe('the domains tree', () => {
  let table: IoPagetable;

  beforeEach(async () => {
    const world = new World();
    table = world.table();
    await world.domain(table);
    await table.map({ uptr: USER, iova: 0x8000n, length: 4n * PAGE, prot: 'rw' });
  });

  const pages = () => table.state.areas.head()!.value.pages!;

  test('of one area answers as a tree of one', () => {
    const [area] = [...table.state.areas];
    const sole = pages().domainsTree!;
    expect(sole).not.toBeInstanceOf(IntervalTree);
    const tree = new IntervalTree<MappedArea>();
    const node = tree.insert(indexInterval(0, 3), area!);
    const answers = (of: typeof sole) => {
      const head = of.head()!;
      const ranges = [indexInterval(0, 0), indexInterval(3, 9), indexInterval(4, 4)];
      return [
        of.size,
        [head.page, head.offset, head.lastPage, head.lastOffset, head.value],
        ranges.map((range) => [of.first(range)?.value, of.nextIn(head, range), of.next(head)]),
      ];
    };
    expect(answers(sole)).toEqual(answers(tree));
    expect(sole.head()).toBe(area!.storageNode);
    expect(tree.head()).toBe(node);
    sole.verify();
  });

  test('of one area notices an interval that ends before it begins', () => {
    Object.assign(pages().domainsTree!, { lastPage: -1 });
    expect(() => pages().domainsTree!.verify()).toThrow(/ends before it/);
  });

  test('grows, and shrinks to nothing', async () => {
    for (const at of [1n, 2n]) {
      const srcIova = 0x8000n + at * PAGE;
      await table.copy({ from: table, srcIova, iova: 0x10000n * at, length: PAGE, prot: 'r' });
    }
    const shared = pages();
    expect([shared.domainsTree?.size, shared.domainsTree instanceof IntervalTree]).toEqual([3, true]);
    shared.domainsTree?.verify();
    for (const [iova, length, size] of [
      [0x10000n, PAGE, 2],
      [0x8000n, 4n * PAGE, 1],
      [0x20000n, PAGE, undefined],
    ] as const) {
      await table.unmap(iova, length);
      expect(shared.domainsTree?.size).toBe(size);
    }
    expect(shared.npinned).toBe(0);
  });
});
