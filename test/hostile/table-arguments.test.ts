/** The functions of tables, accesses, memory and domains, with garbage for arguments. */
import fc from 'fast-check';
import { describe, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import { deviceRead, deviceWrite } from '../../src/domain/device-dma.js';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { IoPagetable } from '../../src/io-pagetable.js';
import { FrameRuns } from '../../src/memory/frame-runs.js';
import { LockedMemory } from '../../src/memory/locked-memory.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import { MockDomain } from '../../src/testing/mock-domain.js';
import { PAGE, READ_ONLY, SCATTERED, USER, World } from '../helpers/world.js';
import { callSpoilt, damage, nameOf, RUNS, type Target, type Watchable } from './garbage.js';
// Loaded here, so that no call has to wait for it.
import '../../src/explain/explain.js';

/** Tables, an access and domains, and a bit of everything in them. */
class Setting implements Watchable {
  readonly world = new World(1000);
  readonly table: IoPagetable = this.world.table();
  readonly lazy: IoPagetable = this.world.table();
  readonly access = new IoptAccess({ needsPin: true, onUnmap: () => this.#letGo() });
  readonly free = new IoptAccess({ needsPin: false });
  readonly domain = new RadixDomain({ dirty: true });
  readonly mock = new MockDomain({ dirty: true, aperture: { start: 0n, last: 0xffff_ffffn } });
  readonly frames = new FrameRuns();
  readonly spare = new RadixDomain({ dirty: true });
  #held = true;

  static async make(): Promise<Setting> {
    const setting = new Setting();
    const { world, table, lazy, access, domain, mock, frames, spare } = setting;
    await world.domain(table, domain);
    await table.map({ iova: 0x1000n, uptr: USER, length: 4n * PAGE, prot: 'rw' });
    await table.map({ iova: 0x8000n, uptr: READ_ONLY, length: PAGE, prot: 'r' });
    await lazy.map({ iova: 0x1000n, uptr: SCATTERED, length: 4n * PAGE, prot: 'rw' });
    await lazy.setAllowedIova([{ start: 0n, last: 0xffffn }]);
    await access.attach(table);
    await access.pin(0x1000n, PAGE);
    await table.setDirtyTracking(domain, true);
    mock.map(0x10_0000n, 0x1000n, 0x2000n);
    spare.map(0x10_0000n, 0x1000n, 0x2000n, 3);
    frames.push(7, 3);
    return setting;
  }

  async #letGo(): Promise<void> {
    if (this.#held) await this.access.unpin(0x1000n, PAGE);
    this.#held = false;
  }

  state(): unknown {
    const { world, access, free, domain, mock, frames, spare } = this;
    return [
      world.state(),
      world.process.regions.map(({ uptr, length, writable }) => ({ uptr, length, writable })),
      world.process.read(USER, 4n * PAGE),
      [access.table === this.table, free.table === undefined],
      [
        mock.mappedBytes,
        mock.dirty?.tracking,
        domain.dirty?.tracking,
        spare.mappedBytes,
        spare.dirty?.tracking,
      ],
      [frames.runs, frames.frames],
    ];
  }

  check(): void {
    this.world.check();
  }
}

type On = Target<Setting>;

const range = { start: 0x10_0000n, last: 0x1f_ffffn };
const on = (object: (setting: Setting) => object, kind: 'sync' | 'promise') => {
  return (what: string, args: (setting: Setting) => unknown[] = () => []): On => ({
    on: object,
    what,
    kind,
    args,
  });
};
const table = on(({ table }) => table, 'promise');
const tableNow = on(({ table }) => table, 'sync');
const access = on(({ access }) => access, 'promise');
const accessNow = on(({ access }) => access, 'sync');
const memory = on(({ world }) => world.process, 'sync');
const radix = on(({ spare }) => spare, 'sync');
const mock = on(({ mock }) => mock, 'sync');
const frames = on(({ frames }) => frames, 'sync');
const dirty = on(({ mock }) => mock.dirty!, 'sync');
const radixDirty = on(({ spare }) => spare.dirty!, 'sync');

const map = ({ world }: Setting) => [
  {
    iova: 0x2_0000n,
    uptr: USER + 8n * PAGE,
    length: PAGE,
    prot: 'rw',
    memory: world.memory,
    accounting: 'user',
  },
];
const copy = ({ lazy }: Setting) => [
  { from: lazy, srcIova: 0x1000n, iova: 0x3_0000n, length: PAGE, prot: 'r' },
];
const buffer = () => new Uint8Array(100);

const TABLE: On[] = [
  table('map', map),
  tableNow('mapSync', map),
  table('copy', copy),
  tableNow('copySync', copy),
  table('unmap', () => [0x8000n, PAGE, {}]),
  tableNow('unmapSync', () => [0x8000n, PAGE]),
  table('unmapAll', () => [{}]),
  table('access', () => [0x1000n, PAGE, { write: true, onUnmap: () => undefined }]),
  table('addDomain', () => [new RadixDomain({ aperture: { start: 0x1000n, last: 0xffffn } }), {}]),
  table('removeDomain', ({ domain }) => [domain]),
  table('reserveIova', () => [{ ...range, owner: {} }]),
  table('removeReservedIova', () => [null]),
  table('setAllowedIova', () => [[range, { start: 0x20_0000n, last: 0x2f_ffffn }]]),
  table('iovaRanges'),
  table('enforceReservedRegions', () => [{}, [{ start: range.start, length: PAGE, type: 'sw-msi' }]]),
  table('setLargePages', () => [true]),
  table('cutIova', () => [[0x1fffn]]),
  table('setDirtyTracking', ({ domain }) => [domain, true]),
  table('readDirty', ({ domain }) => [
    { domain, iova: 0x1000n, length: PAGE, pageSize: PAGE, bitmap: new Uint8Array(1), keep: true },
  ]),
  table('explain', (setting) => [{ call: 'map', ...(map(setting)[0] as object) }]),
  table('explain', () => [{ call: 'unmap', iova: 0x1000n, length: PAGE }]),
  tableNow('snapshot'),
  tableNow('check'),
  {
    what: IoPagetable,
    kind: 'class',
    args: ({ world }) => [
      { memory: world.process, profile: 'linux-6.12', accounting: 'mm', faults: { fails: () => false } },
    ],
  },
];

const ACCESS: On[] = [
  on(({ free }) => free, 'promise')('attach', ({ table }) => [table]),
  access('replace', ({ lazy }) => [lazy]),
  access('detach'),
  access('pin', () => [0x2000n, PAGE, { write: true }]),
  accessNow('pinSync', () => [0x2000n, PAGE, { write: true }]),
  access('unpin', () => [0x1000n, PAGE]),
  accessNow('unpinSync', () => [0x1000n, PAGE]),
  access('read', () => [0x1000n, buffer(), { slow: true, kernelThread: false, caller: new ProcessMemory() }]),
  access('write', () => [0x1000n, buffer(), { slow: false }]),
  accessNow('readSync', () => [0x1000n, buffer(), { slow: true }]),
  accessNow('writeSync', () => [0x1000n, buffer(), { slow: true }]),
  { what: IoptAccess, kind: 'class', args: () => [{ needsPin: true, onUnmap: () => undefined }] },
];

const MEMORY: On[] = [
  memory('mmap', () => [
    {
      length: PAGE,
      uptr: 0x5000_0000n,
      buffer: new ArrayBuffer(0x4000),
      bufferOffset: PAGE,
      writable: true,
      frames: 'scattered',
      sparse: false,
    },
  ]),
  memory('mmap', () => [{ length: PAGE, sparse: true }]),
  memory('munmap', () => [USER + 0x100n * PAGE, PAGE]),
  memory('protect', () => [USER + 0x100n * PAGE, PAGE, false]),
  memory('pins', () => [USER]),
  memory('frameOf', () => [USER]),
  memory('pinsAt', () => [Number(USER / PAGE)]),
  memory('frameAt', () => [Number(USER / PAGE)]),
  memory('read', () => [USER, 100n]),
  memory('write', () => [USER + 0x100n * PAGE, buffer()]),
  memory('exit'),
  memory('fork'),
  memory('frames', ({ world }) => [world.process.frameOf(USER), 1]),
  memory('copyFromUser', () => [Number(USER / PAGE), 0, buffer(), 0, 100]),
  memory('copyToUser', () => [Number(USER / PAGE) + 0x100, 0, buffer(), 0, 100]),
  memory('pin', () => [Number(USER / PAGE), 0, true, new FrameRuns()]),
  memory('unpin', ({ world }) => [world.process.frameOf(USER), 0]),
  {
    what: ProcessMemory,
    kind: 'class',
    args: ({ world }) => [{ lockedLimit: PAGE, physical: world.physical }],
  },
  { what: LockedMemory, kind: 'class', args: () => ['user', 5] },
];

const DOMAIN: On[] = [
  radix('map', () => [0x100_0000n, 0x1000n, PAGE, 3]),
  radix('unmap', () => [0x10_0000n, PAGE]),
  radix('iovaToPhys', () => [0x10_0000n]),
  radix('translate', () => [0x10_0000n]),
  radixDirty('setTracking', () => [true]),
  radixDirty('mark', () => [0x10_0000n, PAGE]),
  radixDirty('readAndClear', () => [0x10_0000n, PAGE, true, () => undefined]),
  mock('map', () => [0x100_0000n, 0x1000n, PAGE]),
  mock('unmap', () => [0x10_0000n, 0x2000n]),
  mock('iovaToPhys', () => [0x10_0000n]),
  mock('entry', () => [0x10_0000n]),
  mock('makeDirty', () => [0x10_0000n, PAGE, 2048n, new Uint8Array(1)]),
  mock('free'),
  dirty('setTracking', () => [true]),
  dirty('mark', () => [0x10_0000n, PAGE]),
  dirty('readAndClear', () => [0x10_0000n, PAGE, true, undefined]),
  {
    what: RadixDomain,
    kind: 'class',
    args: () => [{ pageSizes: [4096n, 2n ** 21n], aperture: { start: 0n, last: 0xffffn }, dirty: true }],
  },
  {
    what: MockDomain,
    kind: 'class',
    args: () => [
      {
        huge: false,
        dirty: true,
        strict: true,
        ioPageSize: 4096,
        aperture: { start: 0n, last: 0xffffn },
        onMap: () => 0,
      },
    ],
  },
  { what: deviceRead, kind: 'sync', args: ({ domain, world }) => [domain, world.process, 0x1000n, buffer()] },
  {
    what: deviceWrite,
    kind: 'sync',
    args: ({ domain, world }) => [domain, world.process, 0x1000n, buffer()],
  },
];

const FRAMES: On[] = [
  frames('push', () => [20, 1]),
  frames('append', () => [new FrameRuns()]),
  frames('at', () => [0]),
  frames('slice', () => [0, 1]),
  frames('truncate', () => [3]),
  frames('reserve', () => [1]),
];

describe.each([
  ['IoPagetable', TABLE],
  ['IoptAccess', ACCESS],
  ['memory', MEMORY],
  ['domains', DOMAIN],
  ['FrameRuns', FRAMES],
])('%s', (_group, targets) => {
  test.each(targets.map((target) => [nameOf(target), target] as const))('%s', async (_name, target) => {
    await fc.assert(
      fc.asyncProperty(damage, async (how) => {
        await callSpoilt(await Setting.make(), target, how);
      }),
      { numRuns: RUNS },
    );
  });
});
