/** The server and the client, against each other, over both transports. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { VfioUserClient } from '../../src/vfio-user/client.js';
import type { ClientRam } from '../../src/vfio-user/client-memory.js';
import { PciDevice } from '../../src/vfio-user/pci-device.js';
import { COMMAND, FEATURE, FEATURE_FLAG, IRQ, MIG_STATE, REGION } from '../../src/vfio-user/protocol.js';
import { type DeviceServer, serve } from '../../src/vfio-user/server.js';
import { mapsNaming, openDescriptors, settledDescriptors } from '../helpers/descriptors.js';
import { expectError } from '../helpers/expect-error.js';

const folder = mkdtempSync(join(tmpdir(), 'iopt-both-'));
afterAll(() => rmSync(folder, { recursive: true }));
let sockets = 0;

const MODES = ['always', 'never'] as const;
const COMMAND_REGISTER = 4;
const BUS_MASTER = Uint8Array.of(6, 0);

/** Registers: 0 source, 8 target, 16 length and go. What was copied is followed by an interrupt of vector 1. */
class Copier {
  readonly device: PciDevice;
  readonly registers = new Map<number, number>();
  /** Bytes, for the migration. */
  state = Uint8Array.of(1, 2, 3);
  readonly writes: string[] = [];
  readonly errors: unknown[] = [];

  constructor(mode: (typeof MODES)[number]) {
    this.device = new PciDevice({
      vendor: 0x1234,
      device: 0x11e9,
      class: 0xff0000,
      bars: {
        0: {
          size: 0x1000,
          read: (offset) => this.registers.get(offset) ?? 0,
          write: (offset, width, value) => {
            this.writes.push(`${offset}/${width}=${value}`);
            this.registers.set(offset, value);
            return offset === 16 ? this.#copy(value) : undefined;
          },
        },
        2: { size: 0x4000, memory: [{ offset: 0x1000, size: 0x1000 }] },
      },
      msi: { vectors: 2 },
      ...(mode === 'always' ? { intx: 'A' as const } : {}),
      saveState: () => this.state,
      loadState: (state) => {
        this.state = Uint8Array.from(state);
      },
    });
    this.device.on('error', (error) => this.errors.push(error));
  }

  async #copy(length: number): Promise<void> {
    const bytes = new Uint8Array(length);
    const register = (offset: number) => BigInt(this.registers.get(offset) ?? 0);
    await this.device.dma.read(register(0), bytes);
    await this.device.dma.write(register(8), bytes);
    this.device.interrupt(1);
  }
}

function u32(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

interface Pair {
  readonly copier: Copier;
  readonly server: DeviceServer;
  readonly client: VfioUserClient;
}

async function withPair(mode: (typeof MODES)[number], run: (pair: Pair) => Promise<void>): Promise<void> {
  const before = openDescriptors();
  const copier = new Copier(mode);
  const socket = join(folder, `socket-${sockets++}`);
  const server = await serve(copier.device, { socket, descriptors: mode });
  const client = await VfioUserClient.connect(socket, { descriptors: mode, dmaWhileWaiting: false });
  try {
    await run({ copier, server, client });
  } finally {
    await client.close();
    await server.close();
  }
  expect(await settledDescriptors(before)).toBeLessThanOrEqual(before);
}

/** Has the device copy, and waits for its interrupt. */
async function copy(client: VfioUserClient, from: number, to: number, length: number): Promise<void> {
  const interrupted = new Promise<void>((resolve) => client.once('msi', () => resolve()));
  client.regionPost(0, 0, u32(from));
  client.regionPost(0, 8, u32(to));
  client.regionPost(0, 16, u32(length));
  await interrupted;
}

/** Switches MSI on, with two vectors, at an address. */
async function enableMsi(client: VfioUserClient, address: number, data: number): Promise<void> {
  const config = await client.regionRead(REGION.CONFIG, 0, 256);
  let at = config[0x34]!;
  while (config[at] !== 5) at = config[at + 1]!;
  await client.regionWrite(REGION.CONFIG, at + 4, u32(address));
  await client.regionWrite(REGION.CONFIG, at + 8, u32(0));
  await client.regionWrite(REGION.CONFIG, at + 12, Uint8Array.of(data & 255, data >> 8));
  await client.regionWrite(REGION.CONFIG, at + 2, Uint8Array.of(0x91, 0));
}

function numbered(ram: ClientRam): void {
  for (let at = 0; at < ram.bytes.length; at++) ram.bytes[at] = (at * 7 + (at >> 8)) & 255;
}

describe.each(MODES)('descriptors: %s', (mode) => {
  test('a device is what its author says', () =>
    withPair(mode, async ({ client }) => {
      expect(client.passesDescriptors).toBe(mode === 'always');
      expect(client.capabilities).toMatchObject({ writeMultiple: true, maxDataTransfer: 2 ** 20 });
      expect(await client.deviceInfo()).toEqual({ flags: 3, regions: 9, interrupts: 5 });
      const sizes = [];
      for (let index = 0; index < 9; index++) sizes.push(Number((await client.regionInfo(index)).size));
      expect(sizes).toEqual([0x1000, 0, 0x4000, 0, 0, 0, 0, 256, 0]);
      const areas = mode === 'always' ? [{ offset: 0x1000n, size: 0x1000n }] : [];
      expect((await client.regionInfo(2)).areas).toEqual(areas);
      expect([...(await client.regionRead(REGION.CONFIG, 0, 4))]).toEqual([0x34, 0x12, 0xe9, 0x11]);
      expect((await client.interruptInfo(IRQ.MSI)).count).toBe(2);
      await expectError(client.interruptInfo(7), 'EINVAL');
      await expectError(client.regionRead(9, 0, 4), 'EINVAL');
      await expectError(client.regionRead(0, 0xffd, 4), 'EINVAL');
      await expectError(client.request(14, []), 'ENOTTY');
    }));

  test('writes arrive in order, however they are sent', () =>
    withPair(mode, async ({ client, copier }) => {
      client.regionPost(0, 0, u32(1));
      client.regionPostMany([
        { region: 0, offset: 4, data: u32(2) },
        { region: 0, offset: 0x20, data: Uint8Array.of(3) },
      ]);
      await client.regionWriteMany([{ region: 0, offset: 0x30, data: Uint8Array.of(4, 0) }]);
      await client.regionWrite(0, 4, u32(5));
      expect(copier.writes).toEqual(['0/4=1', '4/4=2', '32/1=3', '48/2=4', '4/4=5']);
      expect(await client.regionRead(0, 4, 4)).toEqual(u32(5));
      await expectError(client.regionWriteMany([{ region: 0, offset: 0x1000, data: u32(1) }]), 'EINVAL');
    }));

  test('DMA goes where the client has mapped, and interrupts after it', () =>
    withPair(mode, async ({ client, copier }) => {
      const ram = client.allocate(0x200000);
      numbered(ram);
      const byMessage = client.allocate(0x100000);
      await client.dmaMap({ iova: 0x10000000, ram });
      await client.dmaMap({ iova: 0x20000000, ram: byMessage, byMessage: true });
      await expectError(client.dmaMap({ iova: 0x10001000, ram, length: 0x1000 }), 'EEXIST');
      await client.regionWrite(REGION.CONFIG, COMMAND_REGISTER, BUS_MASTER);
      await enableMsi(client, 0xfee00000, 0x4020);
      const messages: string[] = [];
      client.on('msi', (address, data) => messages.push(`${address.toString(16)}=${data.toString(16)}`));
      await copy(client, 0x10000123, 0x10100045, 0x50000);
      await copy(client, 0x10100045, 0x20000fff, 0x20001);
      expect(messages).toEqual(['fee00000=4021', 'fee00000=4021']);
      expect(
        Buffer.compare(byMessage.bytes.subarray(0xfff, 0x20fff), ram.bytes.subarray(0x123, 0x20123)),
      ).toBe(0);
      expect(copier.errors).toEqual([]);
      copier.device.dma.table?.check();

      await client.dmaUnmap(0x20000000, 0x100000);
      client.regionPost(0, 8, u32(0x20000000));
      await client.regionWrite(0, 16, u32(8));
      while (copier.errors.length === 0) await new Promise((resolve) => setImmediate(resolve));
      expect(copier.errors).toMatchObject([{ code: 'ENOENT' }]);
    }));

  test('unmaps take what lies inside, and refuse a cut', () =>
    withPair(mode, async ({ client, copier }) => {
      const ram = client.allocate(0x4000);
      for (const iova of [0x1000, 0x2000, 0x8000]) await client.dmaMap({ iova, ram, length: 0x1000 });
      await client.dmaMap({ iova: 0x10000, ram, prot: 'r' });
      expect(copier.device.dma.table?.areaCount).toBe(4);
      await client.dmaUnmap(0, 0x8000);
      expect(copier.device.dma.table?.areaCount).toBe(2);
      await client.dmaUnmap(0x4000_0000, 0x1000);
      await expectError(client.dmaUnmap(0x11000, 0x1000), 'ENOENT');
      await client.dmaUnmap(0xfef0_0000, 2n ** 64n - 0xfef0_0000n);
      await client.dmaUnmap(0, 2n ** 64n - 4096n);
      expect(copier.device.dma.table?.areaCount).toBe(0);
      if (mode === 'always') expect(mapsNaming('memfd:io-pagetable')).toHaveLength(2);
    }));

  test('a device migrates', () =>
    withPair(mode, async ({ client, copier }) => {
      expect(await client.hasFeature(FEATURE.MIGRATION, FEATURE_FLAG.GET)).toBe(true);
      expect(await client.hasFeature(99, FEATURE_FLAG.GET)).toBe(false);
      expect((await client.migrationFlags()) & 1n).toBe(1n);
      expect(await client.migrationState()).toBe(MIG_STATE.RUNNING);
      await client.regionWrite(REGION.CONFIG, COMMAND_REGISTER, BUS_MASTER);
      copier.state = Uint8Array.from({ length: 5000 }, (_, at) => at & 255);
      await client.setMigrationState(MIG_STATE.STOP);
      await client.setMigrationState(MIG_STATE.STOP_COPY);
      const parts: Uint8Array[] = [];
      for (let part = await client.readMigrationData(1024); part.length > 0; ) {
        parts.push(part);
        part = await client.readMigrationData(1024);
      }
      await withPair(mode, async (other) => {
        await other.client.setMigrationState(MIG_STATE.STOP);
        await other.client.setMigrationState(MIG_STATE.RESUMING);
        for (const part of parts) await other.client.writeMigrationData(part);
        await other.client.setMigrationState(MIG_STATE.STOP);
        await other.client.setMigrationState(MIG_STATE.RUNNING);
        expect(other.copier.state).toEqual(copier.state);
        expect((await other.client.regionRead(REGION.CONFIG, COMMAND_REGISTER, 1))[0]! & 4).toBe(4);
      });
    }));

  test('what the device writes is logged', () =>
    withPair(mode, async ({ client }) => {
      const ram = client.allocate(0x100000);
      await client.dmaMap({ iova: 0x100000, ram });
      await client.regionWrite(REGION.CONFIG, COMMAND_REGISTER, BUS_MASTER);
      await enableMsi(client, 0xfee00000, 0x20);
      await client.startDirtyLogging(4096, [{ iova: 0x100000, length: 0x100000 }]);
      await copy(client, 0x100000, 0x105800, 0x1000);
      const dirty = await client.dirtyPages(0x100000, 0x100000, 4096);
      expect([dirty.length, dirty[0], ...dirty.subarray(1)].filter((each) => each !== 0)).toEqual([32, 0x60]);
      expect((await client.dirtyPages(0x100000, 0x100000, 4096)).every((each) => each === 0)).toBe(true);
      await client.stopDirtyLogging();
      await expectError(client.dirtyPages(0x100000, 0x100000, 4096), 'EINVAL');
    }));

  test('a reset puts registers back, and leaves maps', () =>
    withPair(mode, async ({ client, copier }) => {
      await client.dmaMap({ iova: 0, ram: client.allocate(0x1000) });
      await client.regionWrite(REGION.CONFIG, COMMAND_REGISTER, BUS_MASTER);
      await client.reset();
      expect([...(await client.regionRead(REGION.CONFIG, COMMAND_REGISTER, 2))]).toEqual([0, 0]);
      expect(copier.device.dma.table?.areaCount).toBe(1);
    }));

  test('one client after the other, never two', () =>
    withPair(mode, async ({ client, server, copier }) => {
      await client.dmaMap({ iova: 0, ram: client.allocate(0x1000) });
      await client.regionWrite(0, 0, u32(77));
      await expectError(VfioUserClient.connect(server.socket, { descriptors: mode }), 'EBUSY');
      await client.close();
      await expectError(client.reset(), 'EPIPE');
      const next = await VfioUserClient.connect(server.socket, { descriptors: mode });
      expect(await next.regionRead(0, 0, 4)).toEqual(u32(77));
      expect(copier.device.dma.table?.areaCount).toBe(0);
      await next.close();
    }));

  test('a client hears that the server has gone', () =>
    withPair(mode, async ({ client, server }) => {
      const closed = new Promise<Error | undefined>((resolve) => client.once('close', resolve));
      await server.close();
      expect(await closed).toBeUndefined();
      await expectError(client.deviceInfo(), 'EPIPE');
      expect(() => client.regionPost(0, 0, u32(1))).toThrow('EPIPE');
      await expectError(VfioUserClient.connect(server.socket, { descriptors: mode }), 'ENOENT');
    }));
});

describe('with descriptors', () => {
  test('a region is memory of both', () =>
    withPair('always', async ({ client, copier }) => {
      const [area] = await client.mapRegion(2);
      expect([area?.offset, area?.bytes.length]).toEqual([0x1000n, 0x1000]);
      area!.bytes[5] = 9;
      expect(await client.regionRead(2, 0x1004, 4)).toEqual(Uint8Array.of(0, 9, 0, 0));
      copier.device.barMemory(2)[0x1000] = 3;
      expect(area?.bytes[0]).toBe(3);
      expect(await client.mapRegion(0)).toEqual([]);
    }));

  test('the line interrupts until it is taken back', () =>
    withPair('always', async ({ client, copier }) => {
      const told: number[] = [];
      await client.enableInterrupts(IRQ.INTX, 1, (vector, times) => told.push(vector, times));
      copier.device.interrupt();
      while (told.length === 0) await new Promise((resolve) => setImmediate(resolve));
      expect((await client.regionRead(REGION.CONFIG, 6, 1))[0]! & 8).toBe(8);
      await client.unmaskInterrupts(IRQ.INTX);
      while (told.length === 2) await new Promise((resolve) => setImmediate(resolve));
      copier.device.clearInterrupt();
      await client.unmaskInterrupts(IRQ.INTX);
      expect((await client.regionRead(REGION.CONFIG, 6, 1))[0]! & 8).toBe(0);
      expect(told).toEqual([0, 1, 0, 1]);
      await client.disableInterrupts(IRQ.INTX);
      copier.device.interrupt();
      await client.reset();
      expect(told).toHaveLength(4);
    }));
});

test('a session is recorded, as a log that replays', async () => {
  const socket = join(folder, `socket-${sockets++}`);
  const record = join(folder, 'record.jsonl');
  const server = await serve(new Copier('always').device, { socket, record });
  const client = await VfioUserClient.connect(socket);
  await client.dmaMap({ iova: 0x1000, ram: client.allocate(0x2000) });
  await client.dmaUnmap(0x1000, 0x2000);
  await expectError(client.dmaMap({ iova: 0x1001, ram: client.allocate(0x1000) }), 'EINVAL');
  await client.close();
  await server.close();
  const lines = readFileSync(record, 'utf8').trimEnd().split('\n');
  expect(lines.map((line) => JSON.parse(line)).map(({ from, cmd }) => `${from} ${cmd}`)).toEqual([
    'client VERSION',
    'server VERSION',
    'client DMA_MAP',
    'server DMA_MAP',
    'client DMA_UNMAP',
    'server DMA_UNMAP',
    'client DMA_MAP',
    'server DMA_MAP',
  ]);
  expect(JSON.parse(lines[7]!)).toMatchObject({ flags: 0x21, error: 22, payload: '' });
  expect(JSON.parse(lines[2]!)).toMatchObject({ fds: 1, size: 48, flags: 0, error: 0 });
});

test('a client says which command had no answer in time', async () => {
  const copier = new Copier('never');
  const socket = join(folder, `socket-${sockets++}`);
  await using _server = await serve(copier.device, { socket, descriptors: 'never' });
  await using client = await VfioUserClient.connect(socket, { descriptors: 'never', timeout: 1000 });
  copier.registers.get = () => {
    const until = performance.now() + 1500;
    while (performance.now() < until);
    return 5;
  };
  const error = await expectError(client.regionRead(0, 0, 4), 'ETIMEDOUT');
  expect(error.syscall).toBe('REGION_READ');
  expect(COMMAND[error.syscall as 'REGION_READ']).toBe(9);
});
