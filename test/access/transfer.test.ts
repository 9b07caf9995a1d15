/** Reading and writing through an access: rows R of docs/checks.md. */
import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import type { TransferOptions } from '../../src/access/transfer.js';
import { MAX_U64 } from '../../src/u64.js';
import { expectError } from '../helpers/expect-error.js';
import { NOWHERE, PAGE, READ_ONLY, SCATTERED, USER, World } from '../helpers/world.js';

/** A byte for each user address, so that each can be told from its neighbours. */
const pattern = (from: bigint, length: number) => {
  const first = Number(from % 251n);
  return Uint8Array.from({ length }, (_, at) => (first + at) % 251);
};

/**
 * Areas without alignment: [0x1000, 0x2fff] of scattered pages rw, [0x3000, 0x30ff] of 0x10000f00 on, rw; after a
 * gap [0x8000, 0x8fff] r and [0x9000, 0x9fff] w. Memory has its pattern where they show it.
 */
async function stage() {
  const world = new World();
  const table = world.table();
  for (const [uptr, iova, length, prot] of [
    [SCATTERED, 0x1000n, 2n * PAGE, 'rw'],
    [USER + 0xf00n, 0x3000n, 0x100n, 'rw'],
    [USER + 8n * PAGE, 0x8000n, PAGE, 'r'],
    [USER + 16n * PAGE, 0x9000n, PAGE, 'w'],
  ] as const) {
    world.process.write(uptr, pattern(uptr, Number(length)));
    await table.map({ uptr, iova, length, prot });
  }
  const access = new IoptAccess({ needsPin: false });
  await access.attach(table);
  return { world, table, access };
}

const stranger = () => ({ caller: new World().memory });

const WAYS: [string, () => TransferOptions][] = [
  ['directly', () => ({})],
  ['slowly', () => ({ slow: true })],
  ['from another process', stranger],
  ['from a kernel thread', () => ({ ...stranger(), kernelThread: true })],
];

describe.each(WAYS)('a transfer %s', (_way, options) => {
  test.each([
    ['a byte', 0x1fffn, 1],
    ['inside a page', 0x1234n, 100],
    ['a whole page', 0x1000n, 4096],
    ['over a page boundary', 0x1ff0n, 32],
    ['everything, over an area boundary', 0x1000n, 0x2100],
    ['the end', 0x30ffn, 1],
  ])('%s, exactly', async (_what, iova, length) => {
    const { world, access } = await stage();
    const mapped = Buffer.concat([pattern(SCATTERED, 0x2000), pattern(USER + 0xf00n, 0x100)]);
    const expected = new Uint8Array(mapped.subarray(Number(iova) - 0x1000, Number(iova) - 0x1000 + length));
    const bytes = new Uint8Array(length);
    await access.read(iova, bytes, options());
    expect(Buffer.compare(bytes, expected)).toBe(0);
    const all = () =>
      Buffer.concat([world.process.read(SCATTERED, 3n * PAGE), world.process.read(USER, PAGE)]);
    const before = all();
    await access.write(iova, expected.toReversed(), options());
    await access.read(iova, bytes);
    expect(Buffer.compare(bytes, expected.toReversed())).toBe(0);
    // Nothing but the range has changed.
    await access.write(iova, expected);
    expect(Buffer.compare(all(), before)).toBe(0);
    expect(world.physical.pinned).toBe(0);
    world.check();
  });

  test('checks: nothing EINVAL, past the end EOVERFLOW, hole ENOENT, permission EPERM', async () => {
    const { world, access } = await stage();
    const bytes = new Uint8Array(16);
    const calls = [
      [() => access.read(0x1000n, new Uint8Array(0), options()), 'EINVAL'],
      [() => access.write(MAX_U64, bytes, options()), 'EOVERFLOW'],
      [() => access.read(0x5000n, bytes, options()), 'ENOENT'],
      [() => access.write(0x8000n, bytes, options()), 'EPERM'],
      [() => access.read(0x9000n, bytes, options()), 'EPERM'],
    ] as const;
    for (const [call, code] of calls) await world.unchanged(() => expectError(call(), code));
    await access.read(0x8000n, bytes, options());
    await access.write(0x9000n, bytes, options());
  });

  test('what earlier areas got stays when a later one fails', async () => {
    const { world, access } = await stage();
    const bytes = new Uint8Array(0x20).fill(0xee);
    const error = await expectError(access.read(0x30f0n, bytes, options()), 'ENOENT');
    expect(error.reason).toEqual({ check: 'not-mapped', iova: '0x3100' });
    expect(bytes).toEqual(Uint8Array.of(...pattern(USER + 0xff0n, 0x10), ...Array<number>(0x10).fill(0xee)));
    // The second area cannot be read: EPERM, and the bytes of the first are there.
    await expectError(access.read(0x8ff0n, bytes, options()), 'EPERM');
    expect(bytes.subarray(0, 0x10)).toEqual(pattern(USER + 8n * PAGE + 0xff0n, 0x10));
    world.check();
  });

  test('memory that cannot be touched: EFAULT', async () => {
    const { world, table, access } = await stage();
    await table.map({ uptr: USER + 511n * PAGE, iova: 0x20000n, length: 2n * PAGE, prot: 'rw' });
    await table.map({ uptr: READ_ONLY, iova: 0x30000n, length: 2n * PAGE, prot: 'rw' });
    for (const [iova, length] of [
      [0x20ff0n, 32],
      [0x21000n, 8],
    ] as const) {
      await expectError(access.read(iova, new Uint8Array(length), options()), 'EFAULT');
      await expectError(access.write(iova, new Uint8Array(length), options()), 'EFAULT');
    }
    await expectError(access.write(0x30000n, new Uint8Array(8), options()), 'EFAULT');
    expect(world.physical.pinned).toBe(0);
    world.check();
  });
});

describe('which memory is meant', () => {
  /** A page with a domain, of which the process has then mapped another one in its place. */
  async function remapped() {
    const { world, table, access } = await stage();
    const domain = await world.domain(world.table());
    await world.tables[1]!.copy({
      from: table,
      srcIova: 0x1000n,
      iova: 0x1000n,
      length: 2n * PAGE,
      prot: 'rw',
    });
    world.process.munmap(SCATTERED, 2n * PAGE);
    world.process.mmap({ uptr: SCATTERED, length: 2n * PAGE });
    const read = async (length: number, options: TransferOptions) => {
      const bytes = new Uint8Array(length);
      await access.read(0x1000n, bytes, options);
      return bytes.every((byte) => byte === 0) ? 'the present page' : 'the pinned page';
    };
    return { world, access, domain, read };
  }

  test('directly, and of a single page, what the process has there now; else what devices see', async () => {
    const { read } = await remapped();
    expect(await read(100, {})).toBe('the present page');
    expect(await read(8192, {})).toBe('the present page');
    expect(await read(100, stranger())).toBe('the present page');
    expect(await read(4096, { slow: true })).toBe('the present page');
    expect(await read(4097, { slow: true })).toBe('the pinned page');
    expect(await read(8192, stranger())).toBe('the pinned page');
    expect(await read(8192, { slow: true, kernelThread: true })).toBe('the present page');
  });

  test('the slow way takes each frame from the store, from a domain, or pins it for the while', async () => {
    const { world, table, access } = await stage();
    const pinner = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
    const other = world.table();
    await pinner.attach(other);
    await other.map({ uptr: USER + 32n * PAGE, iova: 0n, length: 6n * PAGE, prot: 'rw' });
    world.process.write(USER + 32n * PAGE, pattern(USER + 32n * PAGE, 6 * 4096));
    await pinner.pin(PAGE, PAGE);
    const third = world.table();
    await world.domain(third);
    await third.copy({ from: other, srcIova: 3n * PAGE, iova: 0n, length: PAGE, prot: 'rw' });
    await table.copy({ from: other, srcIova: 0n, iova: 0x20000n, length: 6n * PAGE, prot: 'rw' });
    world.memory.pins.length = 0;
    const bytes = new Uint8Array(6 * 4096);
    await access.read(0x20000n, bytes, { slow: true });
    expect(Buffer.compare(bytes, pattern(USER + 32n * PAGE, 6 * 4096))).toBe(0);
    const first = Number(USER / PAGE) + 32;
    expect(world.memory.pins).toEqual([
      { page: first, count: 1, write: true },
      { page: first + 2, count: 1, write: true },
      { page: first + 4, count: 2, write: true },
    ]);
    expect(world.physical.pinned).toBe(2);
    world.check();
  });

  test('a single page for another process is pinned for writing only to write', async () => {
    const { world, table, access } = await stage();
    await table.map({ uptr: READ_ONLY, iova: 0x30000n, length: 2n * PAGE, prot: 'rw' });
    await access.read(0x30000n, new Uint8Array(8), stranger());
    await expectError(access.write(0x30000n, new Uint8Array(8), stranger()), 'EFAULT');
    // Several pages are pinned as the map would pin them.
    await expectError(access.read(0x30ff8n, new Uint8Array(16), stranger()), 'EFAULT');
    expect(world.memory.pins.map(({ write }) => write)).toEqual([false, true, true]);
  });
});

describe('a process that is gone', () => {
  test('what a domain or an access holds can be read and written, the rest is EFAULT', async () => {
    const { world, table, access } = await stage();
    const domained = world.table();
    await world.domain(domained);
    await domained.copy({ from: table, srcIova: 0x1000n, iova: 0x1000n, length: PAGE, prot: 'rw' });
    const pinner = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
    await pinner.attach(domained);
    await pinner.pin(0x1000n, PAGE);
    world.process.exit();
    for (const options of [{}, { slow: true }, stranger(), { ...stranger(), kernelThread: true }]) {
      const bytes = new Uint8Array(16);
      await access.write(0x1ff0n, Uint8Array.of(1, 2, 3), options);
      await access.read(0x1ff0n, bytes, options);
      expect([...bytes]).toEqual([1, 2, 3, ...pattern(SCATTERED + 0xff3n, 13)]);
      await expectError(access.read(0x1ff1n, bytes, options), 'EFAULT');
      await expectError(access.write(0x3000n, bytes, options), 'EFAULT');
    }
    world.check();
  });
});

describe('an access', () => {
  test('that is not attached: ENOENT, after the checks of the range', async () => {
    const access = new IoptAccess({ needsPin: false });
    await expectError(access.read(0x1000n, new Uint8Array(0)), 'EINVAL');
    await expectError(access.write(MAX_U64, new Uint8Array(2)), 'EOVERFLOW');
    const error = await expectError(access.read(0x1000n, new Uint8Array(1)), 'ENOENT');
    expect([error.syscall, error.range]).toEqual(['read', '[0x1000, 0x1000]']);
  });

  test('that pins may read and write, too', async () => {
    const world = new World();
    const table = world.table();
    await table.map({ uptr: USER, iova: 0n, length: PAGE, prot: 'rw' });
    const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
    await access.attach(table);
    await access.write(5n, Uint8Array.of(9));
    expect(world.process.read(USER + 5n, 1n)).toEqual(Uint8Array.of(9));
  });

  test('runs to its end before the promise is returned', async () => {
    const { access } = await stage();
    const bytes = new Uint8Array(16);
    void access.read(0x1000n, bytes);
    expect(bytes).toEqual(pattern(SCATTERED, 16));
  });

  test('waits for memory that answers late', async () => {
    const { world, access } = await stage();
    world.memory.close();
    const bytes = new Uint8Array(0x2010);
    const expected = [pattern(SCATTERED, 0x2000), pattern(USER + 0xf00n, 0x10)];
    const reading = access.read(0x1000n, bytes);
    expect(world.memory.pending.map(({ kind, count }) => [kind, count])).toEqual([['read', 0x2000]]);
    world.memory.open();
    await reading;
    expect(Buffer.compare(bytes, Buffer.concat(expected))).toBe(0);
    world.check();
  });

  test('a failing late answer is passed on, and locks are free again', async () => {
    const { world, table, access } = await stage();
    const broken = new Error('the page server has gone');
    for (const options of [{}, { slow: true }, stranger()]) {
      world.memory.close();
      const write = access.write(0x1000n, new Uint8Array(8), options);
      world.memory.pending[0]!.fail(broken);
      await expect(write).rejects.toBe(broken);
      world.memory.open();
    }
    expect(await table.unmapAll()).toBe(0x4100n);
    world.check();
  });
});

test('a hole in the memory behind an area is EFAULT at its address, read and write', async () => {
  const { world, table, access } = await stage();
  await table.map({ uptr: NOWHERE, iova: 0x20000n, length: PAGE, prot: 'rw' });
  for (const call of [access.read(0x20010n, new Uint8Array(4)), access.write(0x20010n, new Uint8Array(4))]) {
    expect((await expectError(call, 'EFAULT')).reason).toMatchObject({ check: 'memory', uptr: '0x40000010' });
  }
  world.check();
});
