/** Where the data of a command is, for all forms that a driver may choose. */
import { describe, expect, test } from 'vitest';
import { dataPieces } from '../../examples/nvme/prp.js';

/** Guest memory that has lists of addresses. */
function memory(lists: Readonly<Record<string, readonly bigint[]>>) {
  const reads: [string, number][] = [];
  const read = async (iova: bigint, target: Uint8Array) => {
    const at = `0x${iova.toString(16)}`;
    reads.push([at, target.length / 8]);
    const entries = BigUint64Array.from(lists[at] ?? []);
    target.set(new Uint8Array(entries.buffer).subarray(0, target.length));
  };
  return { read, reads };
}

const page = (number: number) => BigInt(number) * 4096n;

describe('data pieces', () => {
  test('within a page there is one, wherever it begins', async () => {
    const { read, reads } = memory({});
    expect(await dataPieces(read, 0x1200n, 0xdead000n, 512)).toEqual([{ iova: 0x1200n, length: 512 }]);
    expect(await dataPieces(read, 0x1000n, 0xdead000n, 4096)).toEqual([{ iova: 0x1000n, length: 4096 }]);
    expect(reads).toEqual([]);
  });

  test('across one end of a page there are two, and no list', async () => {
    const { read, reads } = memory({});
    expect(await dataPieces(read, 0x1e00n, 0x7000n, 4096)).toEqual([
      { iova: 0x1e00n, length: 512 },
      { iova: 0x7000n, length: 3584 },
    ]);
    expect(await dataPieces(read, 0x1000n, 0x7000n, 8192)).toHaveLength(2);
    expect(reads).toEqual([]);
  });

  test('more come from a list, which may begin anywhere in its page', async () => {
    const { read, reads } = memory({ '0x9f00': [page(5), page(3), page(8)] });
    expect(await dataPieces(read, 0x1800n, 0x9f00n, 2048 + 2 * 4096 + 512)).toEqual([
      { iova: 0x1800n, length: 2048 },
      { iova: page(5), length: 4096 },
      { iova: page(3), length: 4096 },
      { iova: page(8), length: 512 },
    ]);
    expect(reads).toEqual([['0x9f00', 3]]);
  });

  test('a list that ends with its page ends with a page, or leads to the next list', async () => {
    const whole = memory({ '0x9ff0': [page(5), page(6)] });
    expect((await dataPieces(whole.read, 0x1000n, 0x9ff0n, 3 * 4096)).map(({ iova }) => iova)).toEqual([
      0x1000n,
      page(5),
      page(6),
    ]);
    const chained = memory({ '0x9ff0': [page(5), 0xa000n], '0xa000': [page(6), page(7)] });
    expect((await dataPieces(chained.read, 0x1000n, 0x9ff0n, 4 * 4096)).map(({ iova }) => iova)).toEqual([
      0x1000n,
      page(5),
      page(6),
      page(7),
    ]);
    expect(chained.reads).toEqual([
      ['0x9ff0', 2],
      ['0xa000', 2],
    ]);
  });

  test('pages and further lists begin with a page, so no list leads to itself for ever', async () => {
    const odd = memory({ '0x9000': [page(5), page(6) + 8n] });
    await expect(dataPieces(odd.read, 0x1000n, 0x9000n, 3 * 4096)).rejects.toThrow('0x6008');
    const loop = memory({ '0x9ff8': [0x9ff8n] });
    await expect(dataPieces(loop.read, 0x1000n, 0x9ff8n, 3 * 4096)).rejects.toThrow('0x9ff8');
  });
});
