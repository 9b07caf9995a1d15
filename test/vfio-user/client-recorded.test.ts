/** The client says what libvfio-user's client says, and understands what libvfio-user's server answers. */
import { expect, test } from 'vitest';
import { VfioUserClient } from '../../src/vfio-user/client.js';
import { loadDescriptorSupport } from '../../src/vfio-user/native-transport.js';
import { IRQ } from '../../src/vfio-user/protocol.js';
import { openDescriptors, settledDescriptors } from '../helpers/descriptors.js';
import { expectError } from '../helpers/expect-error.js';
import { payloadOf, type RecordedMessage, RecordedServer, recordedLines } from './recorded.js';
import { transportPair } from './transports.js';

const session = recordedLines<RecordedMessage>('libvfio-user-sample.jsonl.gz');

test('a session of libvfio-user, from the version to the end of a migration', async () => {
  const before = openDescriptors();
  const [ours, theirs] = await transportPair('with descriptors');
  const server = new RecordedServer(theirs, session);
  const support = await loadDescriptorSupport('the test');
  const client = await VfioUserClient.over(ours, support);
  await runSession(client, server).catch((error: unknown) => {
    throw server.problems[0] ?? error;
  });
  expect(server.problems).toEqual([]);
  expect(server.left).toBe(0);
  await client.close();
  expect(await settledDescriptors(before)).toBe(before);
});

/** The steps of the session, in order. */
async function runSession(client: VfioUserClient, server: RecordedServer): Promise<void> {
  expect(client.capabilities).toEqual({
    maxMessageDescriptors: 8,
    maxDataTransfer: 2 ** 20,
    writeMultiple: false,
    migrationPageSize: 4096,
  });
  await expectError(client.regionRead(0xdeadbeef, 0, 4), 'EINVAL');
  expect(await client.deviceInfo()).toEqual({ flags: 3, regions: 9, interrupts: 5 });
  const sizes = [8n, 0x4000n, 0n, 0n, 0n, 0n, 0n, 256n, 0n];
  for (const [index, size] of sizes.entries()) {
    const info = await client.regionInfo(index);
    expect([info.index, info.size]).toEqual([index, size]);
    expect(info.areas).toEqual(
      index === 1
        ? [
            { offset: 0n, size: 0x1000n },
            { offset: 0x2000n, size: 0x1000n },
          ]
        : [],
    );
  }
  const config = await client.regionRead(7, 0, 64);
  expect([...config.subarray(0, 4)]).toEqual([0xad, 0xde, 0xef, 0xbe]);
  await client.reset();
  const ram = client.allocate(0x10000);
  for (let at = 0; at < 0x10000; at += 0x1000) {
    await client.dmaMap({ iova: at, ram, offset: at, length: 0x1000 });
  }
  const counts = [];
  for (let index = 0; index < 5; index++) counts.push((await client.interruptInfo(index)).count);
  expect(counts).toEqual([1, 0, 0, 1, 1]);
  await client.enableInterrupts(IRQ.INTX, 1, () => undefined);
  await client.startDirtyLogging(0x1000);
  await client.regionWrite(0, 0, Buffer.from('f0990a6b00000000', 'hex'));
  expect(await client.regionRead(0, 0, 8)).toEqual(new Uint8Array(8).fill(255));
  while (session[session.length - server.left]?.cmd !== 'DEVICE_FEATURE') {
    if (server.problems.length > 0) throw server.problems[0];
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect([0, 0x400, 0x800, 0xc00].map((at) => ram.bytes[at])).toEqual([0x41, 0x42, 0x43, 0x44]);
  for (let at = 0; at < 0x10000; at += 0x1000) {
    const bits = await client.dirtyPages(at, 0x1000, 0x1000);
    expect([at, bits.length, bits[0]]).toEqual([at, 8, at === 0x1000 ? 1 : 0]);
  }
  await client.stopDirtyLogging();
  for (let at = 0; at < 0x8000; at += 0x1000) await client.dmaUnmap(at, 0x1000);
  await client.regionWrite(0, 0, Buffer.from('fa990a6b00000000', 'hex'));
  await migrate(client);
}

/** The source's side of a migration: states, data and writes come as they do in the session. */
async function migrate(client: VfioUserClient): Promise<void> {
  const first = session.findIndex(
    ({ cmd, payload }) => cmd === 'DEVICE_FEATURE' && payload.startsWith('10000000020002'),
  );
  for (const line of session.slice(first).filter(({ from }) => from === 'client')) {
    const payload = payloadOf(line);
    if (line.cmd === 'DEVICE_FEATURE') await client.setMigrationState(payload[8]!);
    else if (line.cmd === 'MIG_DATA_READ') await client.readMigrationData(0x400);
    else if (line.cmd === 'REGION_WRITE') await client.regionWrite(payload[8]!, 0, payload.subarray(16));
    else throw new Error(`a ${line.cmd} in a migration`);
  }
}
