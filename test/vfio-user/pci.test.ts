import { describe, expect, test } from 'vitest';
import { PciDevice } from '../../src/vfio-user/pci-device.js';
import type { PciDeviceOptions } from '../../src/vfio-user/pci-options.js';
import {
  COMMAND,
  DEVICE_FEATURE,
  FEATURE,
  FEATURE_FLAG,
  FEATURE_MIG_STATE,
  MIG_DATA,
  MIG_STATE,
} from '../../src/vfio-user/protocol.js';
import { join, type RawClient } from './raw-client.js';
import { plugged } from './served.js';

const CONFIG = 7;

function device(options: Partial<PciDeviceOptions> = {}): PciDevice {
  return new PciDevice({ vendor: 0x1234, device: 0x11e9, class: 0x010802, msi: { vectors: 1 }, ...options });
}

async function sizing(client: RawClient, offset: number): Promise<number[]> {
  const before = await client.get(CONFIG, offset);
  await client.set(CONFIG, offset, 0xffff_ffff);
  const mask = await client.get(CONFIG, offset);
  await client.set(CONFIG, offset, before);
  return [before, mask];
}

describe('configuration space', () => {
  test('begins with what the device is', async () => {
    const { client } = await plugged(device({ revision: 3, subsystemVendor: 0xaaaa, subsystem: 0xbbbb }));
    expect(await client.get(CONFIG, 0)).toBe(0x11e9_1234);
    expect(await client.get(CONFIG, 8)).toBe(0x0108_0203);
    expect(await client.get(CONFIG, 0x2c)).toBe(0xbbbb_aaaa);
    expect(await client.get(CONFIG, 6, 2)).toBe(0x10);
    await client.writeRegion(CONFIG, 0, new Uint8Array(16).fill(0xff));
    expect(await client.get(CONFIG, 0)).toBe(0x11e9_1234);
    expect(await client.get(CONFIG, 4, 2)).toBe(0x0544);
    expect(await client.get(CONFIG, 0xc)).toBe(0xff);
    await client.set(CONFIG, 0x3c, 0xffff, 2);
    expect(await client.get(CONFIG, 0x3c, 2)).toBe(0x00ff);
  });

  test('sizes BARs of every kind', async () => {
    const { client } = await plugged(
      device({
        bars: {
          0: { size: 0x1000 },
          1: { size: 0x20, kind: 'io' },
          2: { size: 0x10_0000, kind: 'memory64', prefetchable: true },
          4: { size: 2 ** 33, kind: 'memory64' },
        },
        rom: new Uint8Array(3000).fill(7),
      }),
    );
    expect(await sizing(client, 0x10)).toEqual([0, 0xffff_f000]);
    expect(await sizing(client, 0x14)).toEqual([1, 0xffff_ffe1]);
    expect(await sizing(client, 0x18)).toEqual([0xc, 0xfff0_000c]);
    expect(await sizing(client, 0x1c)).toEqual([0, 0xffff_ffff]);
    expect(await sizing(client, 0x20)).toEqual([4, 4]);
    expect(await sizing(client, 0x24)).toEqual([0, 0xffff_fffe]);
    expect(await sizing(client, 0x30)).toEqual([0, 0xffff_f001]);
    expect(await client.get(6, 2999, 1)).toBe(7);
    expect(await client.get(6, 4095, 1)).toBe(0);
    expect(await client.writeRegion(6, 0, new Uint8Array(4))).toMatchObject({ error: 22 });
    await client.set(CONFIG, 4, 7, 2);
    expect(await client.get(CONFIG, 4, 2)).toBe(7);
  });

  test('has its capabilities in a chain', async () => {
    const { client } = await plugged(
      device({
        powerManagement: true,
        express: true,
        capabilities: [{ data: Uint8Array.of(8, 1, 2, 3, 4, 5), writable: Uint8Array.of(0, 0xf) }],
      }),
    );
    const ids = [];
    for (let at = await client.get(CONFIG, 0x34, 1); at !== 0; at = await client.get(CONFIG, at + 1, 1)) {
      ids.push(await client.get(CONFIG, at, 1));
      expect(at % 4).toBe(0);
      if (ids.at(-1) !== 9) continue;
      await client.set(CONFIG, at + 2, 0xffff, 2);
      expect(await client.get(CONFIG, at + 2, 2)).toBe(0x0f08);
    }
    expect(ids).toEqual([1, 5, 0x10, 9]);
    expect(await client.get(CONFIG, 0xfff, 1)).toBe(0);
  });

  test('switches the device off and on', async () => {
    const powered = device({ powerManagement: true });
    const { client } = await plugged(powered);
    await client.enable();
    const control = 0x44;
    await client.set(CONFIG, control, 2, 2);
    expect(await client.get(CONFIG, control, 2)).toBe(8);
    await client.set(CONFIG, control, 3, 2);
    expect(await client.get(CONFIG, control, 2)).toBe(0xb);
    await expect(powered.dma.read(0, new Uint8Array(4))).rejects.toMatchObject({ code: 'EPERM' });
    await client.set(CONFIG, control, 1, 2);
    expect(await client.get(CONFIG, control, 2)).toBe(0xb);
    await client.set(CONFIG, control, 0, 2);
    expect(await client.get(CONFIG, control, 2)).toBe(8);
  });

  test('resets the function', async () => {
    const express = device({ express: true });
    let resets = 0;
    express.on('reset', () => resets++);
    const { client } = await plugged(express);
    await client.enable();
    const at = 0x50;
    expect(await client.get(CONFIG, at, 1)).toBe(0x10);
    await client.set(CONFIG, at + 8, 0x8000, 2);
    expect([resets, await client.get(CONFIG, at + 8, 2), express.busMaster]).toEqual([1, 0, false]);
  });
});

test.each<[string, object]>([
  ['a vendor', { vendor: 0x1_0000 }],
  ['a class', { class: -1 }],
  ['a BAR of 3 bytes', { bars: { 0: { size: 3 } } }],
  ['a BAR of no power of two', { bars: { 0: { size: 0x1800 } } }],
  ['a seventh BAR', { bars: { 6: { size: 16 } } }],
  ['a kind of BAR', { bars: { 0: { size: 16, kind: 'memory16' } } }],
  ['64 bits at the end', { bars: { 5: { size: 16, kind: 'memory64' } } }],
  ['a BAR in a BAR', { bars: { 0: { size: 16, kind: 'memory64' }, 1: { size: 16 } } }],
  ['too many ports', { bars: { 0: { size: 512, kind: 'io' } } }],
  ['three messages', { msi: { vectors: 3 } }],
  ['no messages', { msix: { vectors: 0, bar: 0 } }],
  ['a table outside', { bars: { 0: { size: 4096 } }, msix: { vectors: 1, bar: 0, tableOffset: 4096 } }],
  ['a table on its bits', { msix: { vectors: 1, bar: 0, tableOffset: 0, pendingOffset: 8 } }],
  ['memory outside', { bars: { 0: { size: 4096, memory: [{ offset: 4092, size: 8 }] } } }],
  ['half a migration', { saveState: () => new Uint8Array(0) }],
  ['too many capabilities', { capabilities: [{ data: new Uint8Array(300) }] }],
  ['an empty ROM', { rom: new Uint8Array(0) }],
  ['a pin', { intx: 'E' }],
])('options with %s are refused', (_, options) => {
  const all = { vendor: 1, device: 1, class: 0, ...options };
  expect(() => Reflect.construct(PciDevice, [all])).toThrow(/options|room/);
});

test('memory of a BAR is written by both sides, beside handlers', async () => {
  const seen: number[] = [];
  const mixed = device({
    bars: {
      0: {
        size: 0x4000,
        memory: [{ offset: 0x1000, size: 0x1000 }],
        read: (offset) => {
          seen.push(offset);
          return 0x55;
        },
      },
    },
  });
  const { client } = await plugged(mixed);
  await client.set(0, 0x1000, 0xabcd);
  expect([...mixed.barMemory(0).subarray(0x1000, 0x1002)]).toEqual([0xcd, 0xab]);
  mixed.barMemory(0)[0x1fff] = 9;
  const { payload } = await client.readRegion(0, 0x1ffe, 6);
  expect([...payload.subarray(16)]).toEqual([0, 9, 0x55, 0, 0, 0]);
  expect(seen).toEqual([0x2000]);
  expect(() => mixed.barMemory(1)).toThrow(RangeError);
});

describe('migration', () => {
  const NONE = 0xffff_ffff;

  function migrating() {
    const events: string[] = [];
    let value = 0;
    const pci = device({
      bars: {
        0: { size: 16, write: (_at, _width, written) => void (value = written), read: () => value },
        1: { size: 4096, memory: true },
      },
      saveState: () => Uint8Array.of(value),
      loadState: (state) => {
        if (state.length !== 1) throw new Error('not a byte');
        value = state[0]!;
      },
    });
    pci.on('stop', () => events.push('stop'));
    pci.on('resume', () => events.push('resume'));
    return { pci, events };
  }

  const feature = (client: RawClient, number: number, flags: number, data: Uint8Array, room = 0) =>
    client.call(
      COMMAND.DEVICE_FEATURE,
      join(DEVICE_FEATURE.encode({ argsz: 8 + data.length + room, flags: number | flags }), data),
    );
  const goTo = async (client: RawClient, state: number) =>
    (
      await feature(
        client,
        FEATURE.MIG_DEVICE_STATE,
        FEATURE_FLAG.SET,
        FEATURE_MIG_STATE.encode({ state, dataFd: NONE }),
      )
    ).error;
  const state = async (client: RawClient) => {
    const none = new Uint8Array(0);
    const { payload } = await feature(client, FEATURE.MIG_DEVICE_STATE, FEATURE_FLAG.GET, none, 8);
    return FEATURE_MIG_STATE.decode(payload, 8).state;
  };
  const readAll = async (client: RawClient) => {
    const parts: Uint8Array[] = [];
    for (;;) {
      const { error, payload } = await client.call(
        COMMAND.MIG_DATA_READ,
        MIG_DATA.encode({ argsz: 1008, size: 1000 }),
      );
      expect(error).toBe(0);
      if (payload.length === 8) return join(...parts);
      parts.push(payload.subarray(8));
    }
  };
  const write = async (client: RawClient, bytes: Uint8Array) => {
    const { error } = await client.call(
      COMMAND.MIG_DATA_WRITE,
      join(MIG_DATA.encode({ argsz: 8 + bytes.length, size: bytes.length }), bytes),
    );
    return error;
  };

  test('takes a device to another machine', async () => {
    const [source, target] = [migrating(), migrating()];
    const { client } = await plugged(source.pci);
    await client.enable();
    await client.set(CONFIG, 0x10, 0xfe00_0000);
    await client.set(0, 0, 77);
    await client.set(1, 0x20, 0x1234);
    expect(await state(client)).toBe(MIG_STATE.RUNNING);
    expect(await goTo(client, MIG_STATE.PRE_COPY)).toBe(0);
    expect(await readAll(client)).toHaveLength(0);
    await client.set(0, 0, 78);
    expect(await goTo(client, MIG_STATE.STOP_COPY)).toBe(0);
    expect(source.events).toEqual(['stop']);
    await expect(source.pci.dma.read(0, new Uint8Array(4))).rejects.toMatchObject({ code: 'EBUSY' });
    const bytes = await readAll(client);
    expect(bytes.length).toBeGreaterThan(4096);

    const other = await plugged(target.pci);
    expect(await goTo(other.client, MIG_STATE.RESUMING)).toBe(0);
    for (let at = 0; at < bytes.length; at += 700) {
      expect(await write(other.client, bytes.subarray(at, at + 700))).toBe(0);
    }
    expect(await goTo(other.client, MIG_STATE.RUNNING)).toBe(0);
    expect(target.events).toEqual(['stop', 'resume']);
    expect(await other.client.get(0, 0)).toBe(78);
    expect(await other.client.get(1, 0x20)).toBe(0x1234);
    expect(await other.client.get(CONFIG, 0x10)).toBe(0xfe00_0000);
    expect(target.pci.busMaster).toBe(true);
  });

  test('does not take what is no state of the device', async () => {
    const { pci } = migrating();
    const { client } = await plugged(pci);
    expect(await write(client, new Uint8Array(4))).toBe(22);
    expect((await client.call(COMMAND.MIG_DATA_READ, MIG_DATA.encode({ argsz: 16, size: 8 }))).error).toBe(
      22,
    );
    expect(await goTo(client, MIG_STATE.RESUMING)).toBe(0);
    expect(await write(client, new Uint8Array(4000))).toBe(0);
    expect(await goTo(client, MIG_STATE.STOP)).toBe(22);
    expect(await state(client)).toBe(MIG_STATE.ERROR);
    expect(await goTo(client, MIG_STATE.RUNNING)).toBe(22);
    expect(await goTo(client, 77)).toBe(22);
    expect((await client.call(COMMAND.DEVICE_RESET)).error).toBe(0);
    expect(await state(client)).toBe(MIG_STATE.RUNNING);
  });

  test('does not take more than a state can be', async () => {
    const { pci } = migrating();
    const { client } = await plugged(pci);
    await goTo(client, MIG_STATE.RESUMING);
    const much = new Uint8Array(2 ** 20);
    let error = 0;
    for (let time = 0; time < 80 && error === 0; time++) error = await write(client, much);
    expect(error).toBe(28);
  });
});
