/**
 * A vfio-user device and its client in one process: what the server costs beside an echo over the same kind of socket,
 * and DMA beside bare copies.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadNative } from '../../src/native/native.js';
import { headerOf } from '../../src/vfio-user/client-requests.js';
import { PciDevice, REGION, serve, type Transport, VfioUserClient } from '../../src/vfio-user/index.js';
import { loadDescriptorSupport } from '../../src/vfio-user/native-transport.js';
import { listenAtSocket } from '../../src/vfio-user/socket-acceptor.js';
import type { GroupRun } from '../harness/group.js';
import type { Subject } from '../harness/side-by-side.js';

const LIMITS = { maxMessageSize: 2 ** 20 + 64 };
const SIZES = [64, 4096, 2 ** 20];
const RAM = 2 ** 22;
const IOVA = 0x1000_0000;
const MODES = ['always', 'never'] as const;
const NAMES = { always: 'with descriptors', never: 'without descriptors' } as const;

function device(): PciDevice {
  return new PciDevice({
    vendor: 0x1234,
    device: 0x11e9,
    class: 0xff0000,
    bars: { 0: { size: 0x1000, read: () => 1 } },
  });
}

/** Listens, and answers what looks like a REGION_READ as the simplest server would. */
async function echo(mode: (typeof MODES)[number], socket: string) {
  const open: Transport[] = [];
  const accept = (transport: Transport) => {
    open.push(transport);
    transport.listen({
      message: ({ header, payload }) => {
        const body = header.command === 1 ? payload : Buffer.concat([payload, new Uint8Array(4)]);
        transport.send([headerOf(header.id, header.command, body.length, 1), body]);
      },
      closed: () => undefined,
    });
  };
  const support = mode === 'always' ? await loadDescriptorSupport('the benchmark') : undefined;
  const acceptor = await (support?.listen(socket, LIMITS, accept) ?? listenAtSocket(socket, LIMITS, accept));
  return async () => {
    for (const each of open) each.close();
    await acceptor.close();
  };
}

function roundTrips(subject: string, client: VfioUserClient): Subject {
  return {
    row: 'regionRead',
    subject,
    size: 1,
    run: async (count) => {
      for (let call = 0; call < count; call++) await client.regionRead(0, 0, 4);
    },
  };
}

function transfers(mode: (typeof MODES)[number], dma: PciDevice['dma'], size: number): Subject[] {
  const buffer = new Uint8Array(size);
  const subjects: Subject[] = [
    {
      row: 'deviceRead',
      subject: `io-pagetable (read, ${NAMES[mode]})`,
      size,
      run: async (count) => {
        for (let call = 0; call < count; call++) await dma.read(IOVA + size, buffer);
      },
    },
    {
      row: 'deviceWrite',
      subject: `io-pagetable (write, ${NAMES[mode]})`,
      size,
      run: async (count) => {
        for (let call = 0; call < count; call++) await dma.write(IOVA + size, buffer);
      },
    },
  ];
  if (mode === 'never') return subjects;
  return [
    ...subjects,
    {
      row: 'deviceRead',
      subject: 'io-pagetable (readSync)',
      size,
      run: (count) => {
        for (let call = 0; call < count; call++) dma.readSync(IOVA + size, buffer);
      },
    },
    {
      row: 'deviceWrite',
      subject: 'io-pagetable (writeSync)',
      size,
      run: (count) => {
        for (let call = 0; call < count; call++) dma.writeSync(IOVA + size, buffer);
      },
    },
  ];
}

/** Copies between memory of the same kinds as those of the transfers. */
function bareCopies(memory: Uint8Array, size: number): Subject[] {
  const buffer = new Uint8Array(size);
  return [
    {
      row: 'deviceRead',
      subject: 'typed-array copy',
      size,
      run: (count) => {
        for (let call = 0; call < count; call++) buffer.set(memory.subarray(size, size + size));
      },
    },
    {
      row: 'deviceWrite',
      subject: 'typed-array copy',
      size,
      run: (count) => {
        for (let call = 0; call < count; call++) memory.set(buffer, size);
      },
    },
  ];
}

/** Round trips, and DMA. */
export async function vfioUserGroup(run: GroupRun): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'iopt-bench-'));
  const ends: (() => Promise<void>)[] = [];
  const trips: Subject[] = [];
  const dma: Subject[] = [];
  for (const mode of MODES) {
    const socket = join(folder, mode);
    const served = device();
    const server = await serve(served, { socket, descriptors: mode });
    const client = await VfioUserClient.connect(socket, { descriptors: mode, timeout: 0 });
    await client.regionWrite(REGION.CONFIG, 4, Uint8Array.of(6, 0));
    await client.dmaMap({ iova: IOVA, ram: client.allocate(RAM) });
    const endEcho = await echo(mode, `${socket}-echo`);
    const echoed = await VfioUserClient.connect(`${socket}-echo`, { descriptors: mode, timeout: 0 });
    trips.push(roundTrips(`io-pagetable (${NAMES[mode]})`, client));
    trips.push(roundTrips(`echo (${NAMES[mode]})`, echoed));
    for (const size of SIZES) dma.push(...transfers(mode, served.dma, size));
    ends.push(async () => {
      await client.close();
      await echoed.close();
      await endEcho();
      await server.close();
    });
  }
  const native = await loadNative('the benchmark');
  const file = native.memfd('bench', RAM);
  const mapping = native.mapFile(file, RAM);
  for (const size of SIZES) dma.push(...bareCopies(new Uint8Array(mapping.buffers[0]!), size));
  await run.measure(trips);
  await run.measure(dma);
  mapping.release();
  native.close(file);
  for (const end of ends) await end();
  rmSync(folder, { recursive: true });
}
