/** Recorded sessions of vfio-user as logs. */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  formatVfioUserLine,
  readVfioUserLine,
  type VfioUserEvent,
} from '../../src/replay/formats/vfio-user/vfio-user-log.js';
import { openLogRun } from '../../src/replay/open-log.js';
import { type Profile, resolveProfile } from '../../src/rules.js';
import { headerOf } from '../../src/vfio-user/client-requests.js';
import { openRecording } from '../../src/vfio-user/record.js';
import { Heard, transportPair } from '../vfio-user/transports.js';

const u64 = fc.bigInt(0n, 2n ** 64n - 1n);
const id = fc.option(fc.integer({ min: 0, max: 0xffff }), { nil: undefined });
const events: fc.Arbitrary<VfioUserEvent> = fc.oneof(
  fc.record({ type: fc.constant('vfiouser-begin' as const), line: fc.nat() }),
  fc.record({
    type: fc.constant('vfiouser-map' as const),
    line: fc.nat(),
    id,
    iova: u64,
    length: u64,
    flags: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    offset: u64,
    file: fc.boolean(),
  }),
  fc
    .record({
      type: fc.constant('vfiouser-unmap' as const),
      line: fc.nat(),
      id,
      iova: u64,
      length: u64,
      removed: fc.option(fc.nat(), { nil: undefined }),
    })
    .map((event) => ({ ...event, removed: event.id === undefined ? event.removed : undefined })),
  fc.record({
    type: fc.constant('vfiouser-reply' as const),
    line: fc.nat(),
    call: fc.constantFrom('map' as const, 'unmap' as const),
    id: fc.integer({ min: 0, max: 0xffff }),
    error: fc.integer({ min: 0, max: 133 }),
  }),
);

function linesOf(url: URL): string[] {
  const bytes = readFileSync(url);
  return (url.pathname.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString().trimEnd().split('\n');
}

/** Replays lines, and gives the divergences and the figures. */
async function replay(lines: readonly string[], profile: Profile = resolveProfile()) {
  const divergences: string[] = [];
  const source = { name: 'the log', lines: fromArray(lines) };
  const options = { profile, until: Number.POSITIVE_INFINITY, lockedLimit: undefined };
  const run = await openLogRun(source, options, {
    onDivergence: ({ line, operation, logged, answered }) =>
      divergences.push(`${line}: ${operation}: ${logged}, not ${answered}`),
    onMalformed: ({ line, problem }) => divergences.push(`${line}: ${problem}`),
  });
  for await (const action of run.actions) await action.run();
  return { divergences, figures: await run.replayer.finish() };
}

async function* fromArray(lines: readonly string[]): AsyncGenerator<string> {
  yield* lines;
}

test('what is written is read back', () => {
  fc.assert(
    fc.property(events, (event) => {
      expect(readVfioUserLine(formatVfioUserLine(event), event.line)).toEqual(event);
    }),
  );
});

describe('a recorded session', () => {
  test('of a guest behind intel-iommu, with its reset', async () => {
    const lines = linesOf(new URL('../logs/vfio-user-nvme.jsonl.gz', import.meta.url));
    const { divergences, figures } = await replay(lines);
    expect(divergences).toEqual([]);
    expect(figures).toMatchObject({ requests: 4939, malformed: 0, notReplayed: 0, peakAreas: 87 });
  });

  test('is answered by rfc-v1 as the report of 2022 has it', async () => {
    const lines = linesOf(new URL('../logs/vfio-user-nvme.jsonl.gz', import.meta.url));
    const { divergences } = await replay(lines, 'rfc-v1');
    expect(divergences.filter((each) => each.includes('[0xff000000, 0xffffffff]'))).toEqual([
      expect.stringContaining('unmap [0xff000000, 0xffffffff]: OK, not ENOENT'),
    ]);
  });

  test('of libvfio-user, with the answers of its server', async () => {
    const url = new URL('../vfio-user/recordings/libvfio-user-sample.jsonl.gz', import.meta.url);
    const lines = linesOf(url);
    const { divergences, figures } = await replay(lines);
    expect(divergences).toEqual([]);
    expect(figures).toMatchObject({ requests: 24, peakAreas: 16, notReplayed: 0 });
    const wrong = lines.map((line) =>
      line.includes('"id": 4663') && line.includes('server')
        ? line.replace('"error": 0', '"error": 17')
        : line,
    );
    expect((await replay(wrong)).divergences).toEqual([
      expect.stringContaining('map [0x3000, 0x3fff] from byte 0x3000 of a file: EEXIST, not OK'),
    ]);
  });

  test('that says how many mappings went is compared with that, too', async () => {
    const lines = [
      '{"format": "vfio-user-dma-1"}',
      '{"op":"map","iova":"0x1000","size":"0x1000","flags":3,"offset":"0x0","fd":true}',
      '{"op":"map","iova":"0x2000","size":"0x1000","flags":3,"offset":"0x1000","fd":true}',
      '{"op":"unmap","iova":"0x0","size":"0x10000","removes":3}',
      '{"op":"unmap","iova":"0x0","size":"0x10000","removes":0}',
      '{"op":"map","iova":"0x2000","size":"nothing"}',
    ];
    expect((await replay(lines)).divergences).toEqual([
      '4: unmap [0x0, 0xffff]: OK, not OK',
      '6: its size is no hexadecimal number of 64 bits',
    ]);
  });
});

test('what a server records is such a log', async () => {
  const lines: string[] = [];
  const [client, server] = await transportPair('with descriptors');
  const recorded = openRecording((line) => lines.push(line)).over(server);
  const heard = new Heard(recorded);
  new Heard(client);
  const events: VfioUserEvent[] = [
    { type: 'vfiouser-begin', line: 1 },
    {
      type: 'vfiouser-map',
      line: 2,
      id: 7,
      iova: 0x1000n,
      length: 0x1000n,
      flags: 3,
      offset: 0n,
      file: false,
    },
    { type: 'vfiouser-reply', line: 3, call: 'map', id: 7, error: 0 },
    { type: 'vfiouser-unmap', line: 4, id: 8, iova: 0n, length: 2n ** 64n - 1n, removed: undefined },
    { type: 'vfiouser-reply', line: 5, call: 'unmap', id: 8, error: 22 },
  ];
  const sent = sendable(events);
  for (const [at, { header, payload }] of sent.entries()) {
    const fromServer = at === 2 || at === 4;
    (fromServer ? recorded : client).send([header, payload]);
    const expected = sent.slice(0, at + 1).filter((_, each) => each !== 2 && each !== 4).length;
    await heard.until(() => heard.messages.length === expected);
  }
  expect(lines.map((line, at) => readVfioUserLine(line, at + 1))).toEqual(events);
  client.close();
  server.close();
});

/** Messages whose recording has these events. */
function sendable(events: readonly VfioUserEvent[]) {
  return events.map((event) => {
    const { id = 0, cmd, flags = 0, error = 0, payload = '00000000' } = JSON.parse(formatVfioUserLine(event));
    const command = { VERSION: 1, DMA_MAP: 2, DMA_UNMAP: 3 }[cmd as 'VERSION' | 'DMA_MAP' | 'DMA_UNMAP'];
    const bytes = Uint8Array.from(Buffer.from(event.type === 'vfiouser-reply' ? '' : payload, 'hex'));
    return { header: headerOf(id, command, bytes.length, flags, error), payload: bytes };
  });
}
