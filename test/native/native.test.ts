/** The few functions of Linux that Node does not have. */
import { mkdtempSync, openSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { loadNative } from '../../src/native/native.js';
import { mapsNaming, openDescriptors } from '../helpers/descriptors.js';
import { expectErrorNow } from '../helpers/expect-error.js';

const native = await loadNative('the tests');
const folder = mkdtempSync(join(tmpdir(), 'iopt-native-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('memory of files', () => {
  test('is the same for all who map it', () => {
    const file = native.memfd('shared-by-two', 8192);
    const one = native.mapFile(file, 8192);
    const other = native.mapFile(file, 8192);
    native.close(file);
    new Uint8Array(one.buffers[0]!)[8191] = 7;
    expect(new Uint8Array(other.buffers[0]!)[8191]).toBe(7);
    expect(one.writable).toBe(true);
    one.release();
    other.release();
  });

  test('reads as zeroes after its release, and harms nobody', () => {
    const file = native.memfd('released-memory', 4096);
    const mapping = native.mapFile(file, 4096);
    const view = new Uint8Array(mapping.buffers[0]!);
    view.fill(9);
    expect(mapsNaming('released-memory')).toHaveLength(1);
    mapping.release();
    mapping.release();
    expect(mapsNaming('released-memory')).toEqual([]);
    expect(view[0]).toBe(0);
    view[0] = 1;
    const again = native.mapFile(file, 4096);
    expect(new Uint8Array(again.buffers[0]!)[0]).toBe(9);
    again.release();
    native.close(file);
  });

  test('is copied when it is written, if the file is open for reading only', () => {
    const path = join(folder, 'read-only');
    writeFileSync(path, Buffer.alloc(4096, 5));
    const file = openSync(path, 'r');
    const mapping = native.mapFile(file, 4096);
    const view = new Uint8Array(mapping.buffers[0]!);
    expect([mapping.writable, view[0]]).toEqual([false, 5]);
    view[0] = 6;
    const again = native.mapFile(file, 4096);
    expect(new Uint8Array(again.buffers[0]!)[0]).toBe(5);
    mapping.release();
    again.release();
    native.close(file);
  });

  test('of more than 1 GiB is in several buffers', () => {
    const file = native.memfd('large-memory', 2n ** 31n + 4096n);
    const mapping = native.mapFile(file, 2 ** 31 + 4096);
    expect(mapping.buffers.map((buffer) => buffer.byteLength)).toEqual([2 ** 30, 2 ** 30, 4096]);
    new Uint8Array(mapping.buffers[2]!)[0] = 3;
    mapping.release();
    native.close(file);
  });

  test('is refused where there is none', () => {
    const [one, other] = native.socketPair();
    expectErrorNow(() => native.mapFile(one, 4096), 'ENODEV');
    expectErrorNow(() => native.mapFile(99_999, 4096), 'EBADF');
    native.close(one);
    native.close(other);
  });

  test('belongs to a file, of a length', () => {
    const path = join(folder, 'identity');
    writeFileSync(path, '');
    truncateSync(path, 2 ** 40);
    const one = openSync(path, 'r');
    const other = openSync(path, 'r+');
    expect(native.fileOf(one)).toEqual(native.fileOf(other));
    expect(native.fileOf(one).size).toBe(2n ** 40n);
    native.close(one);
    native.close(other);
  });
});

describe('eventfds', () => {
  test('count', () => {
    const event = native.eventfd();
    expect(native.takeCount(event)).toBe(0n);
    native.signal(event);
    native.signal(event);
    expect(native.takeCount(event)).toBe(2n);
    expect(native.takeCount(event)).toBe(0n);
    native.close(event);
  });

  test('are told from everything else', () => {
    const event = native.eventfd();
    const file = native.memfd('no eventfd', 4096);
    expect([native.isEventfd(event), native.isEventfd(file), native.isEventfd(99_999)]).toEqual([
      true,
      false,
      false,
    ]);
    native.close(event);
    native.close(file);
  });
});

describe('sockets', () => {
  test('pass descriptors with the bytes that they were sent with', () => {
    const before = openDescriptors();
    const [one, other] = native.socketPair();
    const event = native.eventfd();
    native.send(one, new Uint8Array([1, 2]));
    expect(native.sendWith(one, new Uint8Array([3, 4, 5]), [event, event, event])).toBe(3);
    const bytes = new Uint8Array(16);
    expect(native.receiveWith(other, bytes.subarray(0, 2))).toEqual({
      length: 2,
      descriptors: [],
      truncated: false,
    });
    const got = native.receiveWith(other, bytes)!;
    expect([got.length, got.descriptors.length, got.truncated]).toEqual([3, 3, false]);
    expect([...bytes.subarray(0, 3)]).toEqual([3, 4, 5]);
    native.signal(got.descriptors[1]!);
    expect(native.takeCount(event)).toBe(1n);
    expect(native.receiveWith(other, bytes)).toBeUndefined();
    for (const each of [...got.descriptors, event, one]) native.close(each);
    expect(native.receiveWith(other, bytes)?.length).toBe(0);
    native.close(other);
    expect(openDescriptors()).toBe(before);
  });

  test('drop descriptors that nobody asks for', () => {
    const before = openDescriptors();
    const [one, other] = native.socketPair();
    native.sendWith(one, new Uint8Array([1]), [one, other]);
    expect(native.receive(other, new Uint8Array(16))).toBe(1);
    expect(native.receive(other, new Uint8Array(16))).toBeUndefined();
    native.close(one);
    native.close(other);
    expect(openDescriptors()).toBe(before);
  });

  test('take what there is room for', () => {
    const [one, other] = native.socketPair();
    const bytes = new Uint8Array(2 ** 20);
    expect(native.send(one, bytes)).toBeLessThan(2 ** 20);
    expect(native.send(one, bytes)).toBe(0);
    native.close(other);
    expectErrorNow(() => native.send(one, bytes), 'EPIPE');
    native.close(one);
  });

  test('listen for this user only', () => {
    const path = join(folder, 'socket');
    expectErrorNow(() => native.connect(path), 'ENOENT');
    const socket = native.listen(path);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(native.accept(socket)).toBeUndefined();
    const client = native.connect(path)!;
    const server = native.accept(socket)!;
    native.send(client, new Uint8Array([1]));
    expect(native.receive(server, new Uint8Array(4))).toBe(1);
    for (const each of [socket, client, server]) native.close(each);
    expectErrorNow(() => native.listen(path), 'EADDRINUSE');
    expectErrorNow(() => native.connect(path), 'ECONNREFUSED');
    expectErrorNow(() => native.listen('x'.repeat(108)), 'EINVAL');
    expectErrorNow(() => native.listen(''), 'EINVAL');
  });
});

test('what is missing is said', async () => {
  vi.resetModules();
  vi.doMock('koffi', () => {
    throw new Error("Cannot find package 'koffi'");
  });
  const { loadNative: loadAgain } = await import('../../src/native/native.js');
  await expect(loadAgain('INTx and MSI-X interrupts')).rejects.toMatchObject({
    code: 'EOPNOTSUPP',
    message: expect.stringContaining("INTx and MSI-X interrupts need the optional package 'koffi'"),
  });
  vi.doUnmock('koffi');
});
