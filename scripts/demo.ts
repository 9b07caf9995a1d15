/**
 * `npm run demo`: the bug report that started this project, replayed on two kernels; a device that writes guest
 * RAM; and a part of a log recorded behind a real virtio-iommu, with every translation checked.
 *
 * Exits with 1 if anything is not as recorded, or not as it has to be.
 */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict';
import { IoptAccess, ProcessMemory, RadixDomain } from '../src/index.js';
import { formatBytes, printable, renderText } from '../src/render/index.js';
import {
  formatDivergence,
  type LogEvent,
  Replayer,
  type ReplaySpace,
  readLog,
  replay,
} from '../src/replay/index.js';
import { linesOfFile } from '../src/replay/log-file.js';

type Profile = 'linux' | 'rfc-v1';

const BUG_REPORT = new URL('../test/logs/bug-report.log', import.meta.url);
const VIRTIO_IOMMU = new URL('../test/logs/virtio-iommu-disk.log.gz', import.meta.url);
/** Most IOMMUs translate 48 bits. */
const APERTURE = { start: 0n, last: 2n ** 48n - 1n };
const PAGE_SIZE = 4096n;

const hex = (value: bigint) => `0x${value.toString(16)}`;
const print = (text = '') => console.log(text);
/** Text two columns further in. */
const indent = (text: string) => text.replaceAll(/^(?=.)/gm, '  ');

/** Text in lines of at most 100 columns. */
const wrap = (text: string) => indent(text.replaceAll(/(.{1,96})(?: |$)/g, '$1\n').trimEnd());

function heading(text: string): void {
  print(`\n${text}\n${'='.repeat(text.length)}\n`);
}

async function showBugReport(): Promise<LogEvent[]> {
  heading('The bug report');
  print('A VMM with a virtual IOMMU maps a page at the top of 4 GiB, unmaps the 16 MiB around it, and maps');
  print('256 KiB there. The kernel refuses the unmap, then the map, and the VMM aborts:\n');
  let line = 0;
  for await (const text of linesOfFile(BUG_REPORT)) print(`  ${++line}  ${printable(text)}`);
  const events: LogEvent[] = [];
  for await (const event of readLog(linesOfFile(BUG_REPORT))) {
    ok(event.type !== 'malformed', `line ${event.line} of the bug report cannot be read`);
    events.push(event);
  }
  print('\n(Line 2 was printed before the call and line 4 after it: one unmap, answered with ENOENT.)');
  return events;
}

interface Ended {
  readonly space: ReplaySpace;
  readonly memory: ProcessMemory;
}

/** Replays the bug report with a picture after each step, and gives the table as it is then. */
async function replayBugReport(
  events: readonly LogEvent[],
  profile: Profile,
  expected: readonly string[],
): Promise<Ended> {
  const memory = new ProcessMemory();
  const createDomain = () => new RadixDomain({ aperture: APERTURE });
  const replayer = new Replayer({ profile, memory, createDomain });
  const answers: string[] = [];
  let space: ReplaySpace | undefined;
  for (const event of events) {
    // The memory of the VMM, at the addresses it had; neighbouring pages have frames apart, as they often do.
    if (event.type === 'vfio-map') {
      memory.mmap({ uptr: event.uptr, length: event.length, frames: 'scattered' });
    }
    const step = await replayer.apply(event);
    ok(step !== undefined, `line ${event.line} of the bug report is no request`);
    const { line, operation, logged, answer, divergence } = step;
    print(`line ${line}: ${operation}`);
    const verdict = divergence === undefined ? '' : ': they differ';
    print(`  the log says ${logged}, ${profile} says ${answer.code}${verdict}`);
    const why = answer.error?.message ?? divergence?.reason;
    if (why !== undefined) print(wrap(`why: ${why}`));
    print();
    space = step.space;
    space.table.check();
    print(indent(renderText(space.table.snapshot())));
    print();
    answers.push(answer.code);
  }
  deepStrictEqual(answers, expected, `${profile} answers ${answers}, but has to answer ${expected}`);
  ok(space !== undefined, 'the bug report has no request');
  return { space, memory };
}

/** A device writes through an access; the bytes are looked up as the IOMMU and as the process find them. */
async function writeAsDevice({ space, memory }: Ended): Promise<void> {
  heading('A device writes');
  const bytes = new TextEncoder().encode('written by a device through IOVA');
  const iova = 0xfffc1000n - 12n;
  const access = new IoptAccess({ needsPin: false });
  await access.attach(space.table);
  await access.write(iova, bytes);
  await access.detach();
  print(
    `${bytes.length} bytes to IOVA ${hex(iova)}, across the end of a page, through an access of the table.`,
  );
  print("What the domain's page table leads to, page by page:\n");
  const [area] = space.table.snapshot().areas;
  ok(area?.uptr, 'nothing is mapped');
  const arrived: number[] = [];
  for (let at = iova; at < iova + BigInt(bytes.length); at += PAGE_SIZE - (at % PAGE_SIZE)) {
    const physical = space.domain.iovaToPhys(at);
    ok(physical !== undefined, `the domain does not translate ${hex(at)}`);
    const offset = Number(physical % PAGE_SIZE);
    const frame = memory.frames(Number(physical / PAGE_SIZE), 1);
    const here = frame.subarray(offset, offset + bytes.length - arrived.length);
    arrived.push(...here);
    const user: bigint = BigInt(area.uptr) + at - BigInt(area.iova);
    print(`  IOVA ${hex(at)} -> physical ${hex(physical)} = guest RAM at user ${hex(user)}`);
    print(`    ${[...here].map((byte) => byte.toString(16).padStart(2, '0')).join(' ')}`);
    print(`    ${JSON.stringify(new TextDecoder().decode(here))}`);
    deepStrictEqual(memory.read(user, here.length), here.slice(), `guest RAM at ${hex(user)} differs`);
  }
  deepStrictEqual(Uint8Array.from(arrived), bytes, 'the bytes did not arrive where the domain leads');
}

/** Replays the kept part of a real log; every translation in it has to lead to the frame it led to. */
async function replayVirtioIommu(): Promise<void> {
  heading('A real guest behind a virtio-iommu');
  print(
    'QEMU 7.2, a Linux 6.12 guest doing disk I/O: each map and unmap is run, each translation compared.\n',
  );
  const memory = new ProcessMemory();
  const ram = memory.mmap({ length: 512n << 20n, frames: 'scattered', sparse: true });
  const start = performance.now();
  const figures = await replay(linesOfFile(VIRTIO_IOMMU), {
    memory,
    guestRam: ram.uptr,
    onDivergence: (divergence) => print(printable(formatDivergence(divergence, 'linux'))),
    onMalformed: ({ line, problem }) => print(printable(`line ${line} cannot be read: ${problem}`)),
  });
  const time = Math.round(performance.now() - start);
  const { requests, translations, misses, divergences, malformed, peakAreas, peakPinnedBytes } = figures;
  print(
    `virtio-iommu: ${requests} requests, ${translations} translations and ${misses} misses checked, ` +
      `${divergences} mismatches, peak ${peakAreas} areas, peak ${formatBytes(peakPinnedBytes)} pinned, ${time} ms`,
  );
  strictEqual(divergences + malformed, 0, 'the model differs from the log');
  ok(requests > 0 && translations > 0, 'the log has no requests or no translations');
}

const events = await showBugReport();
heading('Under rfc-v1, the first public patch of March 2022');
await replayBugReport(events, 'rfc-v1', ['OK', 'ENOENT', 'EADDRINUSE']);
heading('Under linux, version 6.12');
const ended = await replayBugReport(events, 'linux', ['OK', 'OK', 'OK']);
await writeAsDevice(ended);
await replayVirtioIommu();
