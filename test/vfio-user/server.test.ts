import { existsSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { describe, expect, test } from 'vitest';
import { PciDevice } from '../../src/vfio-user/pci-device.js';
import type { PciDeviceOptions } from '../../src/vfio-user/pci-options.js';
import {
  COMMAND,
  DEVICE_INFO,
  HEADER,
  IRQ_INFO,
  IRQ_SET,
  MESSAGE_FLAG,
  MULTI_WRITE,
  REGION_ACCESS,
  REGION_INFO,
  VERSION,
  WRITE_MULTI,
} from '../../src/vfio-user/protocol.js';
import { serve } from '../../src/vfio-user/server.js';
import { bytesOf, join, RawClient } from './raw-client.js';
import { plugged, served, socketPath } from './served.js';

/** A device with registers that only remember. */
function registers(options: Partial<PciDeviceOptions> = {}): PciDevice & { readonly seen: string[] } {
  const values = new Map<number, number>();
  const seen: string[] = [];
  const device = new PciDevice({
    vendor: 0x1234,
    device: 0x11e9,
    class: 0xff0000,
    msi: { vectors: 1 },
    bars: {
      0: {
        size: 0x1000,
        read: (offset, width) => {
          seen.push(`read ${offset} ${width}`);
          return values.get(offset) ?? 0;
        },
        write: (offset, width, value) => {
          seen.push(`write ${offset} ${width} ${value}`);
          values.set(offset, value);
        },
      },
    },
    ...options,
  });
  return Object.assign(device, { seen });
}

describe('a socket', () => {
  test('has mode 0600, and is gone with its server', async () => {
    const server = await served(registers());
    expect(statSync(server.socket).mode & 0o777).toBe(0o600);
    await server.close();
    expect(existsSync(server.socket)).toBe(false);
  });

  test('that nobody listens at is replaced', async () => {
    const path = socketPath();
    const first = await served(registers(), { socket: path });
    // What a server that was killed leaves behind: a file of a socket that is closed.
    const { spawnSync } = await import('node:child_process');
    await first.close();
    spawnSync(process.execPath, [
      '-e',
      `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`,
    ]);
    expect(existsSync(path)).toBe(true);
    const second = await served(registers(), { socket: path });
    const client = await RawClient.open(second.socket);
    await client.close();
  });

  test('that somebody listens at, or a file, is left alone', async () => {
    const path = socketPath();
    const other = createServer().listen(path);
    await new Promise((resolve) => other.once('listening', resolve));
    const device = registers();
    await expect(serve(device, { socket: path, descriptors: 'never' })).rejects.toMatchObject({
      code: 'EADDRINUSE',
    });
    await new Promise((resolve) => other.close(resolve));
    writeFileSync(path, 'mine');
    await expect(serve(device, { socket: path, descriptors: 'never' })).rejects.toMatchObject({
      code: 'EADDRINUSE',
    });
    expect(existsSync(path)).toBe(true);
    // It is free for another server.
    await (await serve(device, { socket: socketPath(), descriptors: 'never' })).close();
  });

  test('is one of each device', async () => {
    const device = registers();
    await served(device);
    await expect(served(device)).rejects.toMatchObject({ code: 'EBUSY' });
  });

  test('of a device that would have no interrupts says what is missing', async () => {
    const { vendor, device: id, class: kind } = { vendor: 1, device: 2, class: 3 };
    const lines = new PciDevice({ vendor, device: id, class: kind, intx: 'A' });
    await expect(served(lines)).rejects.toMatchObject({
      code: 'EOPNOTSUPP',
      message: /INTx needs descriptors/,
    });
    const table = new PciDevice({ vendor, device: id, class: kind, msix: { vectors: 1, bar: 0 } });
    await expect(served(table)).rejects.toMatchObject({
      code: 'EOPNOTSUPP',
      message: /MSI-X needs descriptors/,
    });
  });
});

describe('VERSION', () => {
  test('comes first', async () => {
    const server = await served(registers());
    const client = await RawClient.connect(server.socket);
    expect(await client.call(COMMAND.DEVICE_RESET)).toMatchObject({ error: 22 });
    const { error, payload } = await client.version(undefined, 0, 7);
    expect(error).toBe(0);
    expect(VERSION.decode(payload)).toEqual({ major: 0, minor: 2 });
    const text = new TextDecoder().decode(payload.subarray(4));
    expect(text.endsWith('\0')).toBe(true);
    expect(JSON.parse(text.slice(0, -1))).toMatchObject({
      capabilities: { max_msg_fds: 16, write_multiple: true },
    });
    expect(await client.version()).toMatchObject({ error: 22 });
    expect(await client.call(COMMAND.DEVICE_RESET)).toMatchObject({ error: 0 });
    await client.close();
  });

  test.each([
    ['another major version', '{}\0', 1],
    ['no JSON', '{"capabilities": NaN}\0', 0],
    ['no NUL', '{}', 0],
    ['a NUL in between', '{}\0{}\0', 0],
    ['no object', '[]\0', 0],
    ['capabilities that are none', '{"capabilities":7}\0', 0],
    ['a size that is none', '{"capabilities":{"max_data_xfer_size":-1}}\0', 0],
    ['a size in words', '{"capabilities":{"max_data_xfer_size":"1"}}\0', 0],
    ['a deep text', `${'['.repeat(200_000)}\0`, 0],
  ])('with %s is refused, and the connection closed', async (_, json, major) => {
    const server = await served(registers());
    const client = await RawClient.connect(server.socket);
    expect(await client.version(json, major)).toMatchObject({ error: 22 });
    await client.closed;
    await (await RawClient.open(server.socket)).close();
  });

  test('without a text is one', async () => {
    const server = await served(registers());
    const client = await RawClient.connect(server.socket);
    expect(await client.version('')).toMatchObject({ error: 0 });
    await client.close();
  });
});

describe('clients', () => {
  test('come one at a time', async () => {
    const { server, client } = await plugged(registers());
    const second = await RawClient.connect(server.socket);
    expect(await second.version()).toMatchObject({ error: 16 });
    await second.closed;
    expect(await client.get(0, 0)).toBe(0);
  });

  test('find the device as it was, and nothing of the one before', async () => {
    const device = registers();
    const events: string[] = [];
    device.on('connect', () => events.push('connect'));
    device.on('disconnect', (error) => events.push(`disconnect ${error?.message ?? ''}`));
    const { server, client } = await plugged(device);
    await client.set(0, 8, 77);
    await client.enable();
    expect(await client.map(0x1000, 0x1000)).toBe(0);
    await client.close();
    const next = await RawClient.open(server.socket);
    expect(await next.get(0, 8)).toBe(77);
    expect(device.busMaster).toBe(true);
    expect(device.dma.table?.snapshot().areas).toEqual([]);
    await next.close();
    await server.close();
    expect(events).toEqual(['connect', 'disconnect ', 'connect', 'disconnect ']);
    expect(device.connected).toBe(false);
  });

  test('may go at any byte', async () => {
    const server = await served(registers());
    const client = await RawClient.open(server.socket);
    const whole = client.encode(
      COMMAND.REGION_READ,
      REGION_ACCESS.encode({ offset: 0, region: 0, count: 4 }),
    ).bytes;
    await client.close();
    for (let cut = 1; cut < whole.length; cut++) {
      const each = await RawClient.open(server.socket);
      each.socket.end(whole.subarray(0, cut));
      await each.closed;
    }
    await (await RawClient.open(server.socket)).close();
  });

  test('of several devices do not meet', async () => {
    const [a, b] = [await plugged(registers()), await plugged(registers())];
    await a.client.set(0, 0, 1);
    await b.client.set(0, 0, 2);
    expect([await a.client.get(0, 0), await b.client.get(0, 0)]).toEqual([1, 2]);
  });
});

describe('a device', () => {
  test('says what it has', async () => {
    const { client } = await plugged(registers());
    const info = await client.call(COMMAND.DEVICE_GET_INFO, DEVICE_INFO.encode({ argsz: 16 }));
    expect(DEVICE_INFO.decode(info.payload)).toEqual({ argsz: 16, flags: 3, numRegions: 9, numIrqs: 5 });
    const sizes = [];
    for (let index = 0; index < 9; index++) {
      const region = await client.call(
        COMMAND.DEVICE_GET_REGION_INFO,
        REGION_INFO.encode({ argsz: 32, index }),
      );
      const { flags, size } = REGION_INFO.decode(region.payload);
      sizes.push([flags, Number(size)]);
    }
    expect(sizes).toEqual([
      [3, 4096],
      [0, 0],
      [0, 0],
      [0, 0],
      [0, 0],
      [0, 0],
      [0, 0],
      [3, 256],
      [0, 0],
    ]);
    const counts = [];
    for (let index = 0; index < 5; index++) {
      const irq = await client.call(COMMAND.DEVICE_GET_IRQ_INFO, IRQ_INFO.encode({ argsz: 16, index }));
      counts.push(IRQ_INFO.decode(irq.payload).count);
    }
    expect(counts).toEqual([0, 1, 0, 1, 1]);
    for (const [command, struct] of [
      [COMMAND.DEVICE_GET_REGION_INFO, REGION_INFO],
      [COMMAND.DEVICE_GET_IRQ_INFO, IRQ_INFO],
    ] as const) {
      expect(await client.call(command, struct.encode({ argsz: struct.length, index: 9 }))).toMatchObject({
        error: 22,
      });
      expect(await client.call(command, struct.encode({ argsz: 4, index: 0 }))).toMatchObject({ error: 22 });
      expect(await client.call(command, new Uint8Array(8))).toMatchObject({ error: 22 });
    }
  });

  test('has registers, read and written in natural pieces', async () => {
    const device = registers();
    const { client } = await plugged(device);
    await client.set(0, 0x10, 0xdeadbeef);
    expect(await client.get(0, 0x10)).toBe(0xdeadbeef);
    device.seen.length = 0;
    expect((await client.readRegion(0, 0x11, 9)).error).toBe(0);
    expect(device.seen).toEqual(['read 17 1', 'read 18 2', 'read 20 4', 'read 24 2']);
    device.seen.length = 0;
    await client.writeRegion(0, 0x20, Uint8Array.of(1, 0, 0, 0, 2, 0, 0, 0));
    expect(device.seen).toEqual(['write 32 4 1', 'write 36 4 2']);
  });

  test('is not read beyond its end, and not without a count', async () => {
    const { client } = await plugged(registers());
    for (const [region, offset, count] of [
      [0, 0x1000, 1],
      [0, 0xffe, 4],
      [0, 0, 0],
      [0, 0, 0x1001],
      [0, 0, 0xffff_ffff],
      [1, 0, 1],
      [6, 0, 1],
      [9, 0, 1],
      [0xffff_ffff, 0, 1],
      [7, 253, 4],
    ] as const) {
      expect(await client.readRegion(region, offset, count), `${region} ${offset} ${count}`).toMatchObject({
        error: 22,
      });
    }
    const past = REGION_ACCESS.encode({ offset: 2n ** 64n - 1n, region: 0, count: 4 });
    expect(await client.call(COMMAND.REGION_READ, past)).toMatchObject({ error: 22 });
    const short = join(REGION_ACCESS.encode({ offset: 0, region: 0, count: 4 }), new Uint8Array(3));
    expect(await client.call(COMMAND.REGION_WRITE, short)).toMatchObject({ error: 22 });
    expect(await client.writeRegion(0, 0, new Uint8Array(0))).toMatchObject({ error: 22 });
  });

  test('takes many writes in one message, in order', async () => {
    const device = registers();
    const { client } = await plugged(device);
    const write = (offset: number, count: number, data: bigint) =>
      MULTI_WRITE.encode({ offset, region: 0, count, data });
    const payload = join(
      WRITE_MULTI.encode({ count: 4 }),
      write(0, 4, 1n),
      write(0x2000, 4, 9n),
      write(4, 2, 2n),
      write(8, 8, 0x4_0000_0003n),
    );
    expect(await client.call(COMMAND.REGION_WRITE_MULTI, payload)).toMatchObject({ error: 22 });
    expect(device.seen).toEqual(['write 0 4 1', 'write 4 2 2', 'write 8 4 3', 'write 12 4 4']);
    const wrong = join(WRITE_MULTI.encode({ count: 2n ** 63n }), write(0, 4, 1n));
    expect(await client.call(COMMAND.REGION_WRITE_MULTI, wrong)).toMatchObject({ error: 22 });
    client.post(COMMAND.REGION_WRITE_MULTI, join(WRITE_MULTI.encode({ count: 1 }), write(0, 4, 5n)));
    expect(await client.get(0, 0)).toBe(5);
  });

  test('does not know other commands', async () => {
    const { client } = await plugged(registers());
    for (const command of [0, 11, 12, 14, 19, 0xffff]) {
      expect(await client.call(command, new Uint8Array(32)), `${command}`).toMatchObject({ error: 25 });
    }
  });

  test('answers nothing that wants no answer', async () => {
    const device = registers();
    const { client } = await plugged(device);
    client.post(99, new Uint8Array(4));
    client.postRegister(0, 0x2000, 1);
    client.postRegister(0, 0, 3);
    expect(await client.get(0, 0)).toBe(3);
  });

  test('is reset', async () => {
    const device = registers();
    let resets = 0;
    device.on('reset', () => resets++);
    const { client } = await plugged(device);
    await client.enable();
    await client.set(7, 0x10, 0xfe000000);
    expect(await client.get(7, 0x10)).toBe(0xfe000000);
    expect(await client.map(0x1000, 0x1000)).toBe(0);
    expect(await client.call(COMMAND.DEVICE_RESET)).toMatchObject({ error: 0 });
    expect([await client.get(7, 0x10), await client.get(7, 4, 2), resets]).toEqual([0, 0, 1]);
    expect(device.dma.table?.snapshot().areas).toHaveLength(1);
  });

  test('that throws is heard of, and answers with an error', async () => {
    const errors: unknown[] = [];
    const promised: string = 'promise';
    const device = new PciDevice({
      vendor: 1,
      device: 1,
      class: 0,
      bars: {
        0: {
          size: 16,
          read: (offset) => {
            if (offset === 0) throw new Error('broken');
            return Reflect.get({ promise: Promise.resolve(4) }, promised);
          },
          write: async () => {
            throw new Error('later');
          },
        },
      },
    });
    device.on('error', (error) => errors.push(error));
    const { client } = await plugged(device);
    expect(await client.readRegion(0, 0, 4)).toMatchObject({ error: 5 });
    expect(await client.readRegion(0, 4, 4)).toMatchObject({ error: 35 });
    await client.set(0, 0, 1);
    expect(errors.map(String)).toEqual([
      'Error: broken',
      expect.stringContaining('gave a promise'),
      'Error: later',
    ]);
  });
});

describe('a stream', () => {
  test('of bytes one by one is as good as one of messages', async () => {
    const { client } = await plugged(registers());
    const { bytes } = client.encode(
      COMMAND.REGION_WRITE,
      join(REGION_ACCESS.encode({ offset: 0, region: 0, count: 4 }), bytesOf(9, 4)),
      MESSAGE_FLAG.NO_REPLY,
    );
    for (const byte of bytes) {
      client.socket.write(Uint8Array.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await client.get(0, 0)).toBe(9);
  });

  test.each([
    ['a size below the header', { size: 15, flags: 0 }],
    ['a size beyond all measure', { size: 0xffff_ffff, flags: 0 }],
    ['neither command nor reply', { size: 16, flags: 2 }],
    ['a reply that nobody waits for', { size: 16, flags: 1 }],
  ])('with %s is closed', async (_, { size, flags }) => {
    const { server, client } = await plugged(registers());
    client.socket.write(HEADER.encode({ id: 0, command: 4, size, flags }));
    await client.closed;
    await (await RawClient.open(server.socket)).close();
  });

  test('whose answers nobody reads is not read either', async () => {
    const device = registers();
    const { server, client } = await plugged(device);
    client.socket.pause();
    const { bytes } = client.encode(
      COMMAND.REGION_READ,
      REGION_ACCESS.encode({ offset: 0, region: 0, count: 4096 }),
    );
    let stuck = false;
    for (let sent = 0; sent < 100_000 && !stuck; sent++) {
      if (client.socket.write(bytes)) continue;
      stuck = await Promise.race([
        new Promise<boolean>((resolve) => client.socket.once('drain', () => resolve(false))),
        new Promise<boolean>((resolve) => setTimeout(() => resolve(true), 300)),
      ]);
    }
    expect(stuck).toBe(true);
    client.socket.resume();
    expect(await client.get(0, 0)).toBe(0);
    await server.close();
  });
});

test('SET_IRQS says no to what means nothing', async () => {
  const { client } = await plugged(registers());
  const set = async (flags: number, index: number, start: number, count: number, data = 0) => {
    const payload = join(
      IRQ_SET.encode({ argsz: 20 + data, flags, index, start, count }),
      new Uint8Array(data),
    );
    return (await client.call(COMMAND.DEVICE_SET_IRQS, payload)).error;
  };
  expect(await set(0x24, 1, 0, 1)).toBe(0);
  expect(await set(0x24, 3, 0, 1)).toBe(0);
  expect(await set(0x21, 1, 0, 0)).toBe(0);
  expect(await set(0x21, 1, 0, 1)).toBe(0);
  expect(await set(0x22, 1, 0, 1, 1)).toBe(0);
  expect(await set(0x22, 1, 0, 1)).toBe(22);
  expect(await set(0x24, 0, 0, 1)).toBe(22);
  expect(await set(0x24, 1, 0, 2)).toBe(22);
  expect(await set(0x24, 1, 0xffff_ffff, 0xffff_ffff)).toBe(22);
  expect(await set(0x24, 5, 0, 1)).toBe(22);
  expect(await set(0x27, 1, 0, 1)).toBe(22);
  expect(await set(0x20, 1, 0, 1)).toBe(22);
  expect(await set(0x121, 1, 0, 1)).toBe(22);
  expect(await set(0x11, 1, 0, 1)).toBe(22);
  expect((await client.call(COMMAND.DEVICE_SET_IRQS, new Uint8Array(19))).error).toBe(22);
});
