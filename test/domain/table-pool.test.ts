import { afterEach, describe, expect, it, vi } from 'vitest';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { TablePool } from '../../src/domain/table-pool.js';
import { expectErrorNow } from '../helpers/expect-error.js';

describe('TablePool', () => {
  it('keeps the content of tables while it grows', () => {
    const pool = new TablePool();
    const table = pool.allocate();
    pool.words[table * 1024 + 3] = 77;
    pool.used[table] = 1;
    const before = pool.words;
    pool.reserve(1000);
    expect(pool.words.length).toBeGreaterThanOrEqual(1001 * 1024);
    expect(pool.words[table * 1024 + 3]).toBe(77);
    expect(pool.used[table]).toBe(1);
    pool.words[table * 1024 + 4] = 78;
    expect(before[table * 1024 + 4]).toBe(78);
    expect(pool.bytes).toBe(pool.words.byteLength);
  });

  it('hands out returned tables first', () => {
    const pool = new TablePool();
    const first = pool.allocate();
    pool.allocate();
    pool.release(first);
    expect(pool.live).toBe(1);
    expect(pool.allocate()).toBe(first);
    expect(pool.live).toBe(2);
  });

  it('refuses more than 4 GiB with ENOMEM, and is as before', () => {
    const pool = new TablePool();
    const { bytes, words } = pool;
    expectErrorNow(() => pool.reserve(2 ** 20 + 1), 'ENOMEM');
    expect(pool.bytes).toBe(bytes);
    expect(pool.words).toBe(words);
    pool.reserve(100);
  });

  it('gives its memory back when it is cleared', () => {
    const pool = new TablePool();
    const { bytes } = pool;
    pool.reserve(500);
    expect(pool.large).toBe(true);
    pool.allocate();
    pool.release(pool.allocate());
    pool.clear();
    expect([pool.bytes, pool.live, pool.large]).toEqual([bytes, 0, false]);
    expect(pool.allocate()).toBe(0);
  });
});

describe('where threads cannot share memory', () => {
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  it('a pool has memory of its own, and grows', () => {
    const shared = new TablePool().shared;
    expect(shared).toBeInstanceOf(SharedArrayBuffer);
    vi.stubGlobal('SharedArrayBuffer', undefined);
    const pool = new TablePool();
    expect(pool.shared).toBeUndefined();
    const table = pool.allocate();
    pool.words[table * 1024] = 77;
    const before = pool.words;
    pool.reserve(1000);
    expect(pool.words[table * 1024]).toBe(77);
    before[table * 1024] = 78;
    expect(pool.words[table * 1024]).toBe(78);
    expect(pool.bytes).toBe(pool.words.byteLength);
    expectErrorNow(() => pool.reserve(2 ** 21), 'ENOMEM');
    pool.clear();
    expect(pool.words[table * 1024]).toBe(0);
  });

  it('a domain translates, but for its own thread only', () => {
    vi.stubGlobal('SharedArrayBuffer', undefined);
    const domain = new RadixDomain();
    for (let page = 0n; page < 64n; page++) domain.map(page << 39n, page << 12n, 4096n, 3);
    expect(domain.iovaToPhys((63n << 39n) + 5n)).toBe((63n << 12n) + 5n);
    expectErrorNow(() => domain.share(), 'EOPNOTSUPP');
    expectErrorNow(() => new RadixDomain({ shared: true }), 'EOPNOTSUPP');
  });
});
