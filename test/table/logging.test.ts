/** The debug namespaces: silent, and free of work, while they are off. */
import { format } from 'node:util';
import createDebug from 'debug';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import type { IoPagetable } from '../../src/io-pagetable.js';
import * as u64 from '../../src/u64.js';
import { PAGE, USER, World } from '../helpers/world.js';

vi.mock(import('../../src/u64.js'), async (original) => {
  const module = await original();
  return { ...module, hex: vi.fn(module.hex) };
});

let lines: string[];
const { log } = createDebug;

beforeEach(() => {
  lines = [];
  createDebug.log = (...printed: unknown[]) => {
    lines.push(format(...printed));
  };
  createDebug.disable();
});

afterEach(() => {
  createDebug.disable();
  createDebug.log = log;
});

/** Something of every namespace. */
async function work(table: IoPagetable, world: World): Promise<void> {
  await world.domain(table);
  await table.map({ uptr: USER, iova: 0x1000n, length: 2n * PAGE, prot: 'rw' });
  await table.copy({ from: table, srcIova: 0x1000n, iova: 0x8000n, length: PAGE, prot: 'r' });
  const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
  await access.attach(table);
  await access.pin(0x8000n, PAGE);
  await access.unpin(0x8000n, PAGE);
  await table.unmap(0x1000n, 2n * PAGE);
}

describe('debug', () => {
  test('off: nothing is printed and nothing is formatted', async () => {
    const world = new World();
    const table = world.table();
    vi.mocked(u64.hex).mockClear();
    await work(table, world);
    expect(lines).toEqual([]);
    expect(u64.hex).not.toHaveBeenCalled();
  });

  test.each([
    ['iopt:map', '0x10000000 + 0x2000 at 0x1000 rw'],
    ['iopt:copy', '0x1000 + 0x1000 to 0x8000 r'],
    ['iopt:unmap', '0x1000 + 0x2000: 0x2000 bytes'],
    ['iopt:domain', 'add a domain to 0 others'],
    ['iopt:access', 'pin 0x8000 + 0x1000'],
    ['iopt:pages', 'pinned 2 pages from index 0 on'],
  ])('%s on: what happened is printed, and nothing of the others', async (namespace, words) => {
    createDebug.enable(namespace);
    const world = new World();
    await work(world.table(), world);
    expect(lines.join('\n')).toContain(words);
    expect(lines.every((line) => line.includes(namespace))).toBe(true);
  });

  test('a call that fails is not printed as done', async () => {
    createDebug.enable('iopt:map');
    const table = new World().table();
    await table.map({ uptr: USER, iova: 0n, length: PAGE, prot: 'r' });
    await expect(table.map({ uptr: USER, iova: 0n, length: PAGE, prot: 'r' })).rejects.toThrow('EEXIST');
    expect(lines).toHaveLength(1);
  });
});
