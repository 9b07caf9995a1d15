import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as pathOf } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { PciDevice } from '../../src/vfio-user/pci-device.js';
import type { PciDeviceOptions } from '../../src/vfio-user/pci-options.js';
import {
  COMMAND,
  DEVICE_FEATURE,
  DMA_ACCESS,
  FEATURE,
  FEATURE_FLAG,
  LOGGING_RANGE,
  LOGGING_REPORT,
  LOGGING_START,
} from '../../src/vfio-user/protocol.js';
import type { ServeOptions } from '../../src/vfio-user/server.js';
import { settled } from '../helpers/watch.js';
import { join, RawClient } from './raw-client.js';
import { plugged } from './served.js';

function plain(options: Partial<PciDeviceOptions> = {}): PciDevice {
  return new PciDevice({
    vendor: 1,
    device: 1,
    class: 0xff0000,
    msi: { vectors: 4 },
    bars: { 0: { size: 16 } },
    ...options,
  });
}

/** A device with a client that has mapped its first 256 KiB and lets the device do DMA. */
async function ready(options: Partial<ServeOptions> = {}, device = plain()) {
  const { server, client } = await plugged(device, options);
  await client.enable();
  expect(await client.map(0, 0x40000)).toBe(0);
  for (let at = 0; at < client.memory.length; at++) client.memory[at] = (at * 7 + (at >> 8)) & 0xff;
  return { server, client, device, dma: device.dma };
}

const failure = (call: Promise<unknown>) =>
  call.then(
    () => 'done',
    (error: unknown) => (error instanceof Error && 'code' in error ? error.code : error),
  );

describe('DMA by messages', () => {
  test('reads and writes in pieces of at most 64 KiB, of which replies of 128 KiB are under way', async () => {
    const { client, dma } = await ready();
    expect(await client.unmap(0, 0x40000)).toBe(0);
    expect(await client.map(0, 0x100000)).toBe(0);
    client.answers = false;
    const target = new Uint8Array(0xff000);
    const read = dma.read(0x123, target);
    // QEMU loses what its socket does not take, which is little more than that.
    for (let answered = 0; answered < 16; answered += 2) {
      await client.until(() => client.asked.length === answered + 2);
      await settled();
      const under = client.asked.slice(answered);
      const counts = under.map(({ payload }) => Number(DMA_ACCESS.decode(payload).count));
      expect(counts).toEqual([0x10000, answered === 14 ? 0xf000 : 0x10000]);
      for (const message of under.reverse()) client.answer(message);
    }
    await read;
    client.answers = true;
    expect(Buffer.from(target).equals(client.memory.subarray(0x123, 0x123 + target.length))).toBe(true);
    const source = Uint8Array.from({ length: 70_000 }, (_, at) => at & 0xff);
    await dma.write(0x20001, source);
    expect(Buffer.from(client.memory.subarray(0x20001, 0x20001 + source.length)).equals(source)).toBe(true);
  });

  test('has no more than 16 under way, nor more than the client allows', async () => {
    const device = plain();
    const { server, client: first } = await plugged(device);
    await first.close();
    const client = await RawClient.open(server.socket, '{"capabilities":{"max_data_xfer_size":1024}}\0');
    await client.enable();
    await client.map(0, 0x40000);
    client.answers = false;
    const read = device.dma.read(0, new Uint8Array(0x8000));
    await client.until(() => client.asked.length === 16);
    expect(await client.get(7, 0, 2)).toBe(1);
    expect(client.asked.map(({ payload }) => DMA_ACCESS.decode(payload).count)).toEqual(
      Array(16).fill(1024n),
    );
    client.answers = true;
    for (const message of client.asked.slice(0)) client.answer(message);
    await read;
    expect(client.asked).toHaveLength(32);
    await client.close();
  });

  test('has the errors of the library', async () => {
    const { client, dma } = await ready();
    expect(await client.map(0x100000, 0x1000, 1)).toBe(0);
    expect(await client.map(0x200000, 0x1000)).toBe(0);
    const bytes = new Uint8Array(16);
    await expect(dma.read(0x50000, bytes)).rejects.toMatchObject({ code: 'ENOENT', syscall: 'read' });
    await expect(dma.read(0x3fff8, bytes)).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(dma.write(0x100000, bytes)).rejects.toMatchObject({ code: 'EPERM', syscall: 'write' });
    await expect(dma.read(0n, new Uint8Array(0))).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(dma.read(2n ** 64n - 8n, bytes)).rejects.toMatchObject({ code: 'EOVERFLOW' });
    // Mapped, but the client has nothing there after all.
    await expect(dma.read(0x200000, bytes)).rejects.toMatchObject({ code: 'EFAULT', syscall: 'read' });
    expect(() => dma.readSync(0, bytes)).toThrow(expect.objectContaining({ code: 'EAGAIN' }));
    await expect(dma.pin(0, 4096)).rejects.toMatchObject({ code: 'EOPNOTSUPP' });
    dma.table?.check();
    expect(await client.unmap(0, 2n ** 64n - 1n)).toBe(0);
  });

  test('needs bus mastering, and a client', async () => {
    const { client, device, dma } = await ready();
    await client.set(7, 4, 2, 2);
    await expect(dma.write(0, new Uint8Array(4))).rejects.toMatchObject({
      code: 'EPERM',
      message: /bus mastering/,
    });
    expect(() => dma.writeSync(0, new Uint8Array(4))).toThrow(/bus mastering/);
    await client.enable();
    expect(await failure(dma.write(0, new Uint8Array(4)))).toBe('done');
    await client.close();
    await expect.poll(() => device.connected).toBe(false);
    await expect(dma.write(0, new Uint8Array(4))).rejects.toMatchObject({ code: 'ENODEV' });
  });

  test('ends when the client goes', async () => {
    const { client, dma } = await ready();
    client.answers = false;
    const reads = [0, 0x1000, 0x20000].map((iova) => failure(dma.read(iova, new Uint8Array(0x4000))));
    await client.until(() => client.asked.length === 3);
    await client.close();
    expect(await Promise.all(reads)).toEqual(['ENODEV', 'ENODEV', 'ENODEV']);
  });

  test('ends by a signal, and at a reset', async () => {
    const { client, dma } = await ready();
    client.answers = false;
    const controller = new AbortController();
    const read = failure(dma.read(0, new Uint8Array(4), { signal: controller.signal }));
    const other = failure(dma.read(0, new Uint8Array(4)));
    await client.until(() => client.asked.length === 2);
    controller.abort(Object.assign(new Error('enough'), { code: 'MINE' }));
    expect(await read).toBe('MINE');
    expect(await client.call(COMMAND.DEVICE_RESET)).toMatchObject({ error: 0 });
    expect(await other).toBe('ECANCELED');
    for (const message of client.asked) client.answer(message);
    dma.table?.check();
  });

  test('cannot be begun where the client waits for a register', async () => {
    const tried: unknown[] = [];
    const device = plain({
      bars: {
        0: {
          size: 16,
          read: () => {
            tried.push(failure(device.dma.read(0, new Uint8Array(4))));
            return 5;
          },
          write: async (_offset, _width, value) => {
            await device.dma.write(value, Uint8Array.of(9)).catch(() => undefined);
          },
        },
      },
    });
    const { client } = await ready({}, device);
    expect(await client.get(0, 0)).toBe(5);
    expect(await Promise.all(tried)).toEqual(['EDEADLOCK']);
    client.postRegister(0, 0, 0x77, 1);
    await client.until(() => client.asked.length === 1);
    expect(client.memory[0x77]).toBe(9);
  });

  test('follows lists', async () => {
    const { client, dma } = await ready();
    const segments = [
      { iova: 0x1000, length: 3 },
      { iova: 0x5000n, length: 0 },
      { iova: 0x200, length: 5 },
    ];
    const bytes = new Uint8Array(8);
    await dma.readList(segments, bytes);
    expect([...bytes]).toEqual([
      ...client.memory.subarray(0x1000, 0x1003),
      ...client.memory.subarray(0x200, 0x205),
    ]);
    await dma.writeList(segments, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
    expect([...client.memory.subarray(0x1000, 0x1003)]).toEqual([1, 2, 3]);
    expect([...client.memory.subarray(0x200, 0x205)]).toEqual([4, 5, 6, 7, 8]);
    await expect(dma.readList(segments, new Uint8Array(9))).rejects.toThrow(RangeError);
    await expect(dma.readList(segments, new Uint8Array(7))).rejects.toThrow(RangeError);
  });
});

describe('maps', () => {
  test('do not overlap, and are of whole pages', async () => {
    const { client } = await ready();
    expect(await client.map(0x3f000, 0x2000)).toBe(17);
    expect(await client.map(0x40800, 0x1000)).toBe(22);
    expect(await client.map(0x40000, 0)).toBe(22);
    expect(await client.map(0x40000, 0x800)).toBe(22);
    expect(await client.map(2n ** 64n - 4096n, 8192)).toBe(75);
    expect(await client.map(0x40000, 0x1000, 4)).toBe(22);
    expect(await client.map(2n ** 63n, 2n ** 63n - 4096n)).toBe(0);
    expect(await client.unmap(2n ** 63n, 2n ** 63n)).toBe(0);
  });

  test('go in whole, several at a time, and up to 2^64', async () => {
    const { client, dma } = await ready();
    expect(await client.map(0x80000, 0x1000)).toBe(0);
    expect(await client.unmap(0x100000, 0x1000)).toBe(0);
    expect(await client.unmap(0x1000, 0x1000)).toBe(2);
    expect(await client.unmap(0x1000, 0x100000)).toBe(2);
    expect(dma.table?.snapshot().areas).toHaveLength(2);
    expect(await client.unmap(0, 0)).toBe(22);
    expect(await client.unmap(0, 1, 4)).toBe(22);
    expect(await client.unmap(0xfef00000n, 0xffffffff01100000n)).toBe(0);
    expect(await client.unmap(0, 0xfee00000n)).toBe(0);
    expect(dma.table?.snapshot().areas).toEqual([]);
    expect(await client.map(0, 0x40000)).toBe(0);
    expect(await client.unmap(0, 0, 2)).toBe(0);
    expect(dma.table?.snapshot().areas).toEqual([]);
  });

  test('go exactly, where the profile wants that', async () => {
    const { client } = await ready({ profile: 'rfc-v1' });
    expect(await client.unmap(0xff000000n, 0x1000000)).toBe(2);
    expect(await client.unmap(0, 0x80000)).toBe(2);
    expect(await client.unmap(0, 0x40000)).toBe(0);
  });

  test('go while DMA is under way: it is ended, and its late answers dropped', async () => {
    const { client, dma } = await ready();
    expect(await client.map(0x80000, 0x1000)).toBe(0);
    client.answers = false;
    const gone = [
      failure(dma.read(0, new Uint8Array(0x18000))),
      failure(dma.write(0x30000, new Uint8Array(4))),
    ];
    const stays = new Uint8Array(8);
    const kept = dma.read(0x80000, stays);
    await client.until(() => client.asked.length === 4);
    expect(await client.unmap(0, 0x40000)).toBe(0);
    expect(await Promise.all(gone)).toEqual(['ECANCELED', 'ECANCELED']);
    await expect(dma.read(0, new Uint8Array(4))).rejects.toMatchObject({ code: 'ENOENT' });
    for (const message of client.asked) client.answer(message);
    await kept;
    expect([...stays]).toEqual([...client.memory.subarray(0x80000, 0x80008)]);
    expect(await client.map(0, 0x40000)).toBe(0);
    client.answers = true;
    expect(await failure(dma.read(0, new Uint8Array(4)))).toBe('done');
    dma.table?.check();
  });

  test('go while commands queue behind them, which are handled in order', async () => {
    const { client, dma } = await ready();
    client.answers = false;
    const reads = Array.from({ length: 8 }, (_, at) => failure(dma.read(at * 0x1000, new Uint8Array(4))));
    await client.until(() => client.asked.length === 8);
    const answers: Promise<number>[] = [];
    for (let round = 0; round < 300; round++) {
      answers.push(client.unmap(0, 0x40000), client.map(0, 0x40000), client.map(0x1000, 0x1000));
    }
    expect(await Promise.all(answers)).toEqual(Array.from({ length: 300 }, () => [0, 0, 17]).flat());
    expect(await Promise.all(reads)).toEqual(Array(8).fill('ECANCELED'));
  });

  test('are 65535 at most', async () => {
    const { client } = await ready();
    const answers: Promise<number>[] = [];
    for (let at = 1; at <= 65_535; at++) answers.push(client.map(0x100_0000 + at * 8192, 4096));
    const errors = await Promise.all(answers);
    expect(errors.slice(0, -1).every((error) => error === 0)).toBe(true);
    expect(errors.at(-1)).toBe(28);
  });
});

describe('DMA by the file', () => {
  async function withFile() {
    const folder = mkdtempSync(pathOf(tmpdir(), 'vfio-user-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const path = pathOf(folder, 'memory');
    writeFileSync(
      path,
      Uint8Array.from({ length: 0x80000 }, (_, at) => (at >> 8) & 0xff),
    );
    return { path, ...(await ready({ memoryPath: path })) };
  }

  test('is synchronous, and asks nobody', async () => {
    const { path, client, dma } = await withFile();
    const bytes = new Uint8Array(4);
    dma.readSync(0x1234, bytes);
    expect([...bytes]).toEqual([0x12, 0x12, 0x12, 0x12]);
    dma.writeSync(0x1235, Uint8Array.of(7, 8));
    await dma.write(0x2000, Uint8Array.of(9));
    expect([...readFileSync(path).subarray(0x1234, 0x1238)]).toEqual([0x12, 7, 8, 0x12]);
    expect(readFileSync(path)[0x2000]).toBe(9);
    expect(await client.map(0x100000, 0x1000, 1, 0x40000)).toBe(0);
    dma.readSync(0x100000, bytes);
    expect([...bytes]).toEqual([0, 0, 0, 0]);
    expect(client.asked).toEqual([]);
    await expect(dma.pin(0, 4096)).rejects.toMatchObject({ code: 'EOPNOTSUPP' });
  });

  test('leaves to messages what may be no part of it', async () => {
    const { client, dma } = await withFile();
    expect(await client.map(0x80000, 0x1000, 1)).toBe(0);
    expect(await client.map(0x90000, 0x1000, 3, 0x80000)).toBe(0);
    const bytes = new Uint8Array(4);
    for (const iova of [0x80000, 0x90000]) {
      expect(() => dma.readSync(iova, bytes)).toThrow(expect.objectContaining({ code: 'EAGAIN' }));
      await dma.read(iova, bytes);
      expect([...bytes]).toEqual([...client.memory.subarray(iova, iova + 4)]);
    }
    // One transfer that is both.
    const both = new Uint8Array(0x1000);
    expect(await client.map(0x40000, 0x1000, 1)).toBe(0);
    await dma.read(0x3f800, both);
    expect([...both.subarray(0, 1), ...both.subarray(0x800, 0x801)]).toEqual([0xf8, client.memory[0x40000]]);
  });

  test('ends with EFAULT where the file does', async () => {
    const { path, dma } = await withFile();
    truncateSync(path, 0x1000);
    expect(() => dma.readSync(0x1000, new Uint8Array(4))).toThrow(
      expect.objectContaining({ code: 'EFAULT' }),
    );
  });

  test('is not there without the file', async () => {
    const missing = plugged(plain(), { memoryPath: '/nowhere/at/all' });
    await expect(missing).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

describe('MSI', () => {
  /** Where the capability is: alone. */
  const AT = 0x40;

  test('is a write to the address that the guest gives', async () => {
    const { client, device } = await ready();
    expect(await client.get(7, AT, 4)).toBe(0x0084_0005);
    device.interrupt(0);
    await client.set(7, AT + 4, 0xfee0_1003);
    await client.set(7, AT + 8, 1);
    await client.set(7, AT + 12, 0x4321, 2);
    await client.set(7, AT + 2, 0xffff, 2);
    expect(await client.get(7, AT + 2, 2)).toBe(0x00f5);
    await client.set(7, AT + 2, 0x21, 2);
    device.interrupt(0);
    device.interrupt(3);
    await client.until(() => client.messages.length === 2);
    expect(client.messages).toEqual([
      { address: 0x1_fee0_1000n, data: 0x4320 },
      { address: 0x1_fee0_1000n, data: 0x4323 },
    ]);
    await client.set(7, 4, 2, 2);
    device.interrupt(1);
    expect(await client.get(7, 4, 2)).toBe(2);
    expect(client.messages).toHaveLength(2);
    expect(() => device.interrupt(4)).toThrow(RangeError);
    expect(() => device.interrupt(-1)).toThrow(RangeError);
  });

  test('says once what many say while the client is busy', async () => {
    const { client, device, dma } = await ready();
    await client.set(7, AT + 4, 0xfee0_0000);
    await client.set(7, AT + 2, 1, 2);
    client.answers = false;
    const reads = Array.from({ length: 16 }, () => dma.read(0, new Uint8Array(4)));
    await client.until(() => client.asked.length === 16);
    for (let time = 0; time < 100_000; time++) device.interrupt(0);
    client.answers = true;
    for (const message of client.asked.slice(0)) client.answer(message);
    await Promise.all(reads);
    await client.until(() => client.messages.length > 0);
    expect(await client.get(7, 0, 2)).toBe(1);
    expect(client.messages).toHaveLength(1);
  });
});

describe('logging', () => {
  const feature = (client: RawClient, number: number, flags: number, data: Uint8Array, room = 0) =>
    client.call(
      COMMAND.DEVICE_FEATURE,
      join(DEVICE_FEATURE.encode({ argsz: 8 + data.length + room, flags: number | flags }), data),
    );
  const begin = (client: RawClient, ranges: readonly (readonly [number, number])[] = []) =>
    feature(
      client,
      FEATURE.DMA_LOGGING_START,
      FEATURE_FLAG.SET,
      join(
        LOGGING_START.encode({ pageSize: 4096, numRanges: ranges.length }),
        ...ranges.map(([iova, length]) => LOGGING_RANGE.encode({ iova, length })),
      ),
    );
  const report = async (client: RawClient, iova: number, length: number, pageSize = 4096) => {
    const data = LOGGING_REPORT.encode({ iova, length, pageSize });
    const { error, payload } = await feature(client, FEATURE.DMA_LOGGING_REPORT, FEATURE_FLAG.GET, data, 64);
    return error === 0 ? [...payload.subarray(32)] : error;
  };

  test('tells which pages were written, once', async () => {
    const { client, dma } = await ready();
    expect(await report(client, 0, 0x10000)).toBe(22);
    expect(await begin(client)).toMatchObject({ error: 0 });
    expect(await begin(client)).toMatchObject({ error: 16 });
    expect(await client.map(0x80000, 0x2000)).toBe(0);
    await dma.write(0x1fff, Uint8Array.of(1, 2));
    await dma.read(0x5000, new Uint8Array(4));
    await dma.write(0x81000, Uint8Array.of(1));
    expect(await report(client, 0, 0x10000)).toEqual([0b110, 0, 0, 0, 0, 0, 0, 0]);
    expect(await report(client, 0, 0x10000)).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
    // Over a gap, and in larger pages.
    await dma.write(0x2000, Uint8Array.of(1));
    expect(await report(client, 0, 0x82000)).toEqual([
      4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0,
    ]);
    await dma.write(0x7000, Uint8Array.of(1));
    expect(await report(client, 0, 0x10000, 0x4000)).toEqual([2, 0, 0, 0, 0, 0, 0, 0]);
    expect(await report(client, 0, 0x1000, 0x4000)).toBe(22);
    expect(await report(client, 0, 0x4000_0000)).toBe(22);
    expect(await client.unmap(0x80000, 0x2000)).toBe(0);
    dma.table?.check();
    expect(
      await feature(client, FEATURE.DMA_LOGGING_STOP, FEATURE_FLAG.SET, new Uint8Array(0)),
    ).toMatchObject({ error: 0 });
    expect(
      await feature(client, FEATURE.DMA_LOGGING_STOP, FEATURE_FLAG.SET, new Uint8Array(0)),
    ).toMatchObject({ error: 22 });
    dma.table?.check();
  });

  test('keeps to its ranges', async () => {
    const { client, dma } = await ready();
    expect(await begin(client, [[0x4000, 0x2000]])).toMatchObject({ error: 0 });
    await dma.write(0x3000, new Uint8Array(0x5000));
    expect(await report(client, 0, 0x10000)).toEqual([0b110000, 0, 0, 0, 0, 0, 0, 0]);
    expect(await begin(client, [[0, 0]])).toMatchObject({ error: 22 });
  });

  test('costs nothing for maps of any size', async () => {
    const { client, dma } = await ready();
    expect(await client.map(2n ** 62n, 2n ** 63n)).toBe(0);
    expect(await begin(client)).toMatchObject({ error: 0 });
    expect(await failure(dma.write(2n ** 62n, Uint8Array.of(1)))).toBe('EFAULT');
    dma.table?.check();
    expect(await client.unmap(0, 2n ** 64n - 1n)).toBe(0);
  });

  test('is a feature of every device, and migration of those that save', async () => {
    const { client } = await ready();
    const { GET, SET, PROBE } = FEATURE_FLAG;
    const none = new Uint8Array(0);
    expect(await feature(client, FEATURE.DMA_LOGGING_REPORT, GET | PROBE, none)).toMatchObject({ error: 0 });
    expect(await feature(client, FEATURE.DMA_LOGGING_REPORT, SET | PROBE, none)).toMatchObject({ error: 22 });
    expect(await feature(client, FEATURE.DMA_LOGGING_REPORT, 0, none)).toMatchObject({ error: 22 });
    expect(await feature(client, FEATURE.MIGRATION, GET, none, 8)).toMatchObject({ error: 25 });
    expect(await client.call(COMMAND.MIG_DATA_READ, Uint8Array.of(16, 0, 0, 0, 8, 0, 0, 0))).toMatchObject({
      error: 25,
    });
  });
});
