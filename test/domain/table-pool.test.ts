import { afterEach, describe, expect, test, vi } from 'vitest';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { TablePool } from '../../src/domain/table-pool.js';
import { expectErrorNow } from '../helpers/expect-error.js';

/** A pool with one table, in which something is written. */
function poolWithOne(): { readonly pool: TablePool; readonly table: number } {
  const pool = new TablePool();
  pool.reserve(1);
  const table = pool.allocate();
  pool.words[table * 1024 + 3] = 77;
  pool.used[table] = 1;
  return { pool, table };
}

describe('TablePool', () => {
  test('takes no memory before it is told to, and reads as an empty table', () => {
    const pool = new TablePool();
    const root = pool.allocate();
    expect([pool.bytes, pool.live, pool.large, pool.used[root]]).toEqual([0, 1, false, 0]);
    expect(pool.words.every((word) => word === 0)).toBe(true);
    pool.reserve(3);
    expect(pool.bytes).toBe(4 * 4096);
    pool.words[root * 1024] = 7;
    expect(new TablePool().words[0]).toBe(0);
  });

  test('keeps the content of tables while it grows, small, large and shared', () => {
    const { pool, table } = poolWithOne();
    for (const more of [2, 30, 255, 256, 1000, 3000]) {
      pool.reserve(more);
      expect(pool.words.length).toBeGreaterThanOrEqual((1 + more) * 1024);
      expect(pool.large).toBe(more > 255);
      expect(pool.words[table * 1024 + 3]).toBe(77);
      expect(pool.used[table]).toBe(1);
      expect(pool.bytes).toBe(pool.words.byteLength);
    }
    const { words } = pool;
    const shared = pool.share();
    expect(shared).toBe(words.buffer);
    pool.reserve(6000);
    expect(pool.share()).toBe(shared);
    words[table * 1024 + 4] = 78;
    expect(pool.words[table * 1024 + 4]).toBe(78);
  });

  test('is shared with what is in it, small as it may be', () => {
    const { pool, table } = poolWithOne();
    const shared = pool.share();
    expect(new Int32Array(shared)[table * 1024 + 3]).toBe(77);
    pool.words[table * 1024 + 4] = 78;
    expect(new Int32Array(shared)[table * 1024 + 4]).toBe(78);
    expect(new TablePool().share()).toBeInstanceOf(SharedArrayBuffer);
  });

  test('hands out returned tables first', () => {
    const pool = new TablePool();
    const first = pool.allocate();
    pool.allocate();
    pool.release(first);
    expect(pool.live).toBe(1);
    expect(pool.allocate()).toBe(first);
    expect(pool.live).toBe(2);
  });

  test.each([
    ['new', () => new TablePool()],
    ['large', () => grown()],
  ])('(%s) refuses more than 4 GiB with ENOMEM, and is as before', (_how, make) => {
    const pool = make();
    const { bytes, words } = pool;
    expectErrorNow(() => pool.reserve(2 ** 20 + 1), 'ENOMEM');
    expect(pool.bytes).toBe(bytes);
    expect(pool.words).toBe(words);
    pool.reserve(100);
  });

  test('gives its memory back when it is cleared', () => {
    const pool = grown();
    pool.allocate();
    pool.release(pool.allocate());
    pool.clear();
    expect([pool.bytes, pool.live, pool.large]).toEqual([0, 0, false]);
    expect(pool.allocate()).toBe(0);
  });
});

function grown(): TablePool {
  const pool = new TablePool();
  pool.reserve(500);
  expect(pool.large).toBe(true);
  return pool;
}

describe('where there is no more room to grow in place', () => {
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  const SharedBuffer = SharedArrayBuffer;

  test('a large pool moves when it grows, and cannot be shared', () => {
    vi.stubGlobal(
      'SharedArrayBuffer',
      class {
        constructor() {
          throw new RangeError('Array buffer allocation failed');
        }
      },
    );
    const { pool, table } = poolWithOne();
    for (const more of [1000, 3000]) {
      pool.reserve(more);
      expect(pool.words[table * 1024 + 3]).toBe(77);
    }
    expectErrorNow(() => pool.share(), 'ENOMEM');
    expectErrorNow(() => pool.reserve(2 ** 20 + 1), 'ENOMEM');
    vi.stubGlobal('SharedArrayBuffer', SharedBuffer);
    expect(new Int32Array(pool.share())[table * 1024 + 3]).toBe(77);
  });
});

test('reserves of address space are limited, as V8 ends a process that has none left', async () => {
  const SharedBuffer = SharedArrayBuffer;
  // Room for growth is what is limited, so that these can do without.
  vi.stubGlobal(
    'SharedArrayBuffer',
    class extends SharedBuffer {
      constructor() {
        super(0);
      }
    },
  );
  vi.resetModules();
  const { newReserve } = await import('../../src/domain/table-reserve.js');
  const reserves: unknown[] = [];
  for (let number = 0; number < 16_384; number++) reserves.push(newReserve(1));
  expect(reserves).not.toContain(undefined);
  expect(newReserve(1)).toBeUndefined();
  vi.unstubAllGlobals();
});

test('a process can have more domains than fit if each set address space aside', () => {
  const domains = Array.from(
    { length: 70_000 },
    (_, number) => new RadixDomain({ shared: number % 2 === 0 }),
  );
  for (const domain of [domains.at(0), domains.at(-1)]) {
    domain?.map(0x1000n, 0x5000n, 0x1000n, 3);
    expect(domain?.iovaToPhys(0x1234n)).toBe(0x5234n);
  }
  expect(domains[1]?.iovaToPhys(0x1234n)).toBeUndefined();
  expect(domains[1]?.tableBytes).toBe(0);
});

describe('where threads cannot share memory', () => {
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  test('a pool has memory of its own, and grows', () => {
    vi.stubGlobal('SharedArrayBuffer', undefined);
    const { pool, table } = poolWithOne();
    pool.words[table * 1024] = 77;
    pool.reserve(1000);
    const before = pool.words;
    pool.reserve(3000);
    expect(pool.words[table * 1024]).toBe(77);
    before[table * 1024] = 78;
    expect(pool.words[table * 1024]).toBe(78);
    expect(pool.bytes).toBe(pool.words.byteLength);
    expectErrorNow(() => pool.reserve(2 ** 21), 'ENOMEM');
    pool.clear();
    expect(pool.words[table * 1024]).toBe(0);
  });

  test('a domain translates, but for its own thread only', () => {
    vi.stubGlobal('SharedArrayBuffer', undefined);
    const domain = new RadixDomain();
    for (let page = 0n; page < 64n; page++) domain.map(page << 39n, page << 12n, 4096n, 3);
    expect(domain.iovaToPhys((63n << 39n) + 5n)).toBe((63n << 12n) + 5n);
    expectErrorNow(() => domain.share(), 'EOPNOTSUPP');
    expectErrorNow(() => new RadixDomain({ shared: true }), 'EOPNOTSUPP');
  });
});
