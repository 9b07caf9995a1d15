/** Where the data of a command is, for all forms that a driver may choose. */
import { describe, expect, test } from 'vitest';
import { followPrps } from '../../examples/nvme/prp.js';

const page = (number: number) => BigInt(number) * 4096n;

/** Guest memory that has lists of addresses; what is read is noted, in entries. */
class Lists {
  readonly reads: [iova: bigint, entries: number][] = [];
  readonly #lists: ReadonlyMap<bigint, readonly bigint[]>;

  constructor(...lists: [bigint, bigint[]][]) {
    this.#lists = new Map(lists);
  }

  async read(iova: bigint, target: Uint8Array): Promise<void> {
    this.reads.push([iova, target.length / 8]);
    const entries = BigUint64Array.from(this.#lists.get(iova) ?? []);
    target.set(new Uint8Array(entries.buffer).subarray(0, target.length));
  }
}

describe('data pieces', () => {
  test('within a page there is one, wherever it begins', async () => {
    const memory = new Lists();
    expect(await followPrps(memory, 0x1200n, 0xdead000n, 512)).toEqual([{ iova: 0x1200n, length: 512 }]);
    expect(await followPrps(memory, 0x1000n, 0xdead000n, 4096)).toEqual([{ iova: 0x1000n, length: 4096 }]);
    expect(memory.reads).toEqual([]);
  });

  test('across one end of a page there are two, and no list', async () => {
    const memory = new Lists();
    expect(await followPrps(memory, 0x1e00n, 0x7000n, 4096)).toEqual([
      { iova: 0x1e00n, length: 512 },
      { iova: 0x7000n, length: 3584 },
    ]);
    expect(await followPrps(memory, 0x1000n, 0x7000n, 8192)).toHaveLength(2);
    expect(memory.reads).toEqual([]);
  });

  test('more come from a list, which may begin anywhere in its page; pages in a row are one piece', async () => {
    const memory = new Lists([0x9f00n, [page(5), page(6), page(8)]]);
    expect(await followPrps(memory, 0x1800n, 0x9f00n, 2048 + 2 * 4096 + 512)).toEqual([
      { iova: 0x1800n, length: 2048 },
      { iova: page(5), length: 8192 },
      { iova: page(8), length: 512 },
    ]);
    expect(memory.reads).toEqual([[0x9f00n, 3]]);
  });

  test('a list that ends with its page ends with data, or leads to the next list', async () => {
    const whole = new Lists([0x9ff0n, [page(5), page(7)]]);
    expect(await followPrps(whole, 0x1000n, 0x9ff0n, 3 * 4096)).toMatchObject([
      { iova: 0x1000n },
      { iova: page(5) },
      { iova: page(7) },
    ]);
    const chained = new Lists([0x9ff0n, [page(5), 0xa000n]], [0xa000n, [page(7), page(9)]]);
    expect(await followPrps(chained, 0x1000n, 0x9ff0n, 4 * 4096)).toMatchObject([
      { iova: 0x1000n },
      { iova: page(5) },
      { iova: page(7) },
      { iova: page(9) },
    ]);
    expect(chained.reads).toEqual([
      [0x9ff0n, 2],
      [0xa000n, 2],
    ]);
  });

  test('pages and further lists begin with a page, so no list leads to itself for ever', async () => {
    const odd = new Lists([0x9000n, [page(5), page(6) + 8n]]);
    await expect(followPrps(odd, 0x1000n, 0x9000n, 3 * 4096)).rejects.toMatchObject({ status: 2 });
    const loop = new Lists([0x9ff8n, [0x9ff8n]]);
    await expect(followPrps(loop, 0x1000n, 0x9ff8n, 3 * 4096)).rejects.toMatchObject({ status: 2 });
  });
});
