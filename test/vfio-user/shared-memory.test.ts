/** Guest memory in files that a client shares. */
import { mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import { IoPagetable } from '../../src/io-pagetable.js';
import { SharedMemory } from '../../src/vfio-user/shared-memory.js';
import { mapsNaming, openDescriptors } from '../helpers/descriptors.js';
import { expectErrorNow } from '../helpers/expect-error.js';
import { native } from './transports.js';

test('is mapped once, whatever parts of it there are, and goes with the last', async () => {
  const before = openDescriptors();
  const memory = new SharedMemory(native);
  const file = native.memfd('once-and-only', 2 ** 20);
  const part = (offset: bigint, length: bigint) => memory.map(native.duplicate(file), offset, length, true);
  const first = part(0n, 0x10000n);
  const second = part(0x8000n, 0x10000n);
  expect(mapsNaming('once-and-only')).toHaveLength(1);
  expect([memory.files, second.uptr - first.uptr]).toEqual([1, 0x8000n]);

  const table = new IoPagetable({ memory: memory.memory });
  await table.map({ iova: 0x40000, uptr: second.uptr, length: 0x10000, prot: 'rw' });
  const access = new IoptAccess({ needsPin: false });
  await access.attach(table);
  access.writeSync(0x40010, Uint8Array.of(1, 2, 3));
  const seen = native.mapFile(file, 2 ** 20);
  expect([...new Uint8Array(seen.buffers[0]!, 0x8010, 3)]).toEqual([1, 2, 3]);
  seen.release();
  table.check();

  first.release();
  first.release();
  expect(mapsNaming('once-and-only')).toHaveLength(1);
  await table.unmapAll();
  second.release();
  expect([memory.files, mapsNaming('once-and-only')]).toEqual([0, []]);
  native.close(file);
  expect(openDescriptors()).toBe(before);
});

test('of a file that has grown is mapped again, and the old parts stay', () => {
  const memory = new SharedMemory(native);
  const file = native.memfd('growing', 4096);
  const old = memory.map(native.duplicate(file), 0n, 4096n, true);
  native.truncate(file, 16_384);
  const grown = memory.map(native.duplicate(file), 4096n, 8192n, true);
  expect(memory.files).toBe(2);
  memory.memory.write(old.uptr, Uint8Array.of(5));
  expect(memory.memory.read(grown.uptr - 4096n, 1)).toEqual(Uint8Array.of(5));
  old.release();
  expect(memory.files).toBe(1);
  expect(memory.memory.read(grown.uptr, 1)).toEqual(Uint8Array.of(0));
  memory.close();
  grown.release();
  expect([memory.files, mapsNaming('growing')]).toEqual([0, []]);
  native.close(file);
});

test('is refused where the file has it not, and the descriptor is closed', () => {
  const before = openDescriptors();
  const memory = new SharedMemory(native);
  const file = native.memfd('short-of-it', 8192);
  const refused = (offset: bigint, length: bigint) =>
    expectErrorNow(() => memory.map(native.duplicate(file), offset, length, true), 'EINVAL');
  refused(0n, 12_288n);
  refused(8192n, 4096n);
  refused(4096n, 2n ** 64n - 4096n);
  refused(2n ** 63n, 2n ** 63n);
  refused(0n, 0n);
  refused(1n, 4096n);
  refused(0n, 4097n);
  native.truncate(file, 100);
  refused(0n, 4096n);
  native.truncate(file, 2n ** 62n);
  expectErrorNow(() => memory.map(native.duplicate(file), 0n, 4096n, true), 'ENOMEM');
  const [one, other] = native.socketPair();
  expectErrorNow(() => memory.map(one, 0n, 4096n, true), 'EINVAL');
  expectErrorNow(() => memory.map(99_999, 0n, 4096n, true), 'EBADF');
  native.close(other);
  native.close(file);
  expect([memory.files, openDescriptors()]).toEqual([0, before]);
});

test('that is open for reading only is not written', () => {
  const folder = mkdtempSync(join(tmpdir(), 'iopt-shared-'));
  const path = join(folder, 'rom');
  writeFileSync(path, Buffer.alloc(8192, 7));
  const memory = new SharedMemory(native);
  expectErrorNow(() => memory.map(openSync(path, 'r'), 0n, 4096n, true), 'EACCES');
  const rom = memory.map(openSync(path, 'r'), 4096n, 4096n, false);
  expect(memory.memory.read(rom.uptr, 2)).toEqual(Uint8Array.of(7, 7));
  const ram = memory.map(openSync(path, 'r+'), 0n, 4096n, true);
  expect(memory.files).toBe(2);
  rom.release();
  ram.release();
  expect(memory.files).toBe(0);
  rmSync(folder, { recursive: true });
});
