/** The requests that a domain gets. */
import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import type { PageOperations } from '../../src/domain/iommu-domain.js';
import { IoPagetable } from '../../src/io-pagetable.js';
import type { FrameRuns } from '../../src/memory/frame-runs.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import { MAX_U64 } from '../../src/u64.js';
import { expectError } from '../helpers/expect-error.js';
import { RecordingDomain } from '../helpers/recording-domain.js';
import { settled, watch } from '../helpers/watch.js';
import { PAGE, SCATTERED, USER, World } from '../helpers/world.js';

/** Memory in which user page n, counted from 0x10000, has the n-th of some frames. */
class GivenFrames extends ProcessMemory {
  readonly #pfns: readonly number[];

  constructor(...pfns: number[]) {
    super();
    this.#pfns = pfns;
  }

  override pin(page: number, count: number, _write: boolean, into: FrameRuns): number {
    for (const pfn of this.#pfns.slice(page - 0x10, page - 0x10 + count)) into.push(pfn, 1);
    return count;
  }

  override unpin(): void {}
}

describe('a map', () => {
  test('is one request a run of frames', async () => {
    const table = new IoPagetable({ memory: new GivenFrames(10, 11, 12, 40, 41) });
    const domain = new RecordingDomain({ ioPage: 2048 });
    await table.addDomain(domain);
    await table.map({ uptr: 0x10800n, iova: 0x1000000n, length: 0x4000n, prot: 'rw' });
    expect(domain.requests).toEqual([
      'map 0x1000000 to 0xa800 + 0x2800 rw',
      'map 0x1002800 to 0x28000 + 0x1800 rw',
    ]);
    await table.unmapAll();
    expect(domain.requests.slice(2)).toEqual(['unmap 0x1000000 + 0x4000']);
  });

  test.each([false, true])(
    'runs go on across calls of pin and tiers (whole pages: %s)',
    async (wholePages) => {
      const world = new World();
      const table = world.table();
      world.memory.mostPerPin = 2;
      await table.map({ uptr: USER, iova: 0x8000n, length: 7n * PAGE, prot: 'r' });
      const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
      await access.attach(table);
      await access.pin(0xa000n, PAGE);
      const domain = await world.domain(table, new RecordingDomain({ wholePages }));
      expect(domain.requests).toHaveLength(1);
      expect(domain.requests[0]).toMatch(/^map 0x8000 to 0x[0-9a-f]+ \+ 0x7000 r$/);
    },
  );

  test.each([false, true])('scattered frames are a request each (whole pages: %s)', async (wholePages) => {
    const world = new World();
    const table = world.table();
    const domain = await world.domain(table, new RecordingDomain({ wholePages }));
    await table.map({ uptr: SCATTERED, iova: 0x8000n, length: 3n * PAGE, prot: 'w' });
    const expected = [0n, 1n, 2n].map((page) => {
      const physical = BigInt(world.process.frameOf(SCATTERED + page * PAGE)) * PAGE;
      return `map 0x${(0x8000n + page * PAGE).toString(16)} to 0x${physical.toString(16)} + 0x1000 w`;
    });
    expect(domain.requests).toEqual(expected);
    await table.unmapAll();
    expect(domain.requests.slice(3)).toEqual(['unmap 0x8000 + 0x3000']);
  });

  test.each([false, true])(
    'without large pages is a request a page (whole pages: %s)',
    async (wholePages) => {
      const world = new World();
      const table = world.table();
      await table.setLargePages(false);
      const domain = await world.domain(table, new RecordingDomain({ wholePages }));
      await table.map({ uptr: USER, iova: 0x8000n, length: 3n * PAGE, prot: 'rw' });
      expect(domain.requests.map((request) => request.replace(/to 0x[0-9a-f]+ /, ''))).toEqual([
        'map 0x8000 + 0x1000 rw',
        'map 0x9000 + 0x1000 rw',
        'map 0xa000 + 0x1000 rw',
      ]);
      await table.setLargePages(true);
      await table.map({ uptr: USER, iova: 0x20000n, length: 3n * PAGE, prot: 'rw' });
      expect(domain.requests).toHaveLength(4);
      world.check();
    },
  );

  test('an area at the end of the address space with several runs is mapped right (Q6)', async () => {
    const pfns = [0x200, 0x201, 0x202, 0x203, 0x304, 0x305, 0x306, 0x307];
    const table = new IoPagetable({ memory: new GivenFrames(...pfns) });
    const domain = new RecordingDomain();
    await table.addDomain(domain);
    const iova = MAX_U64 - 0x7fffn;
    await table.map({ uptr: 0x10000n, iova, length: 0x8000n, prot: 'rw' });
    expect(domain.requests).toEqual([
      'map 0xffffffffffff8000 to 0x200000 + 0x4000 rw',
      'map 0xffffffffffffc000 to 0x304000 + 0x4000 rw',
    ]);
    expect(pfns.map((_, at) => domain.iovaToPhys(iova + BigInt(at) * PAGE))).toEqual(
      pfns.map((pfn) => BigInt(pfn) * PAGE),
    );
    table.check();
  });

  test('iova and memory may begin at different bytes of a page: requests break where CPU pages do', async () => {
    const table = new IoPagetable({ memory: new GivenFrames(10, 40) });
    const domain = new RecordingDomain({ ioPage: 512 });
    await table.addDomain(domain);
    await table.map({ uptr: 0x10200n, iova: 0x1000600n, length: 0x1000n, prot: 'r' });
    expect(domain.requests).toEqual([
      'map 0x1000600 to 0xa200 + 0xe00 r',
      'map 0x1001400 to 0x28000 + 0x200 r',
    ]);
    expect(domain.iovaToPhys(0x10013ffn)).toBe(0xafffn);
    table.check();
  });
});

describe('an unmap', () => {
  test('empties every domain before a page is unpinned', async () => {
    const world = new World();
    const table = world.table();
    const domains = [
      await world.domain(table, new RecordingDomain()),
      await world.domain(table, new RecordingDomain({ wholePages: true })),
    ];
    await table.map({ uptr: USER, iova: 0x8000n, length: 3n * PAGE, prot: 'rw' });
    const diary: string[] = [];
    for (const [number, domain] of domains.entries()) {
      const unmap = domain.unmap.bind(domain);
      domain.unmap = (iova, size) => {
        diary.push(`domain ${number}`);
        unmap(iova, size);
      };
    }
    const unpin = world.memory.unpin.bind(world.memory);
    world.memory.unpin = (pfn, count, dirty) => {
      diary.push(`unpin ${count}`);
      unpin(pfn, count, dirty);
    };
    await table.unmapAll();
    // The storage domain comes last, as the frames are read back from it.
    expect(diary).toEqual(['domain 1', 'domain 0', 'unpin 3']);
    world.check();
  });

  test('unpins only what nobody else holds, though it unmaps everything at once', async () => {
    const world = new World();
    const table = world.table();
    const domain = await world.domain(table, new RecordingDomain());
    await table.map({ uptr: USER, iova: 0x8000n, length: 5n * PAGE, prot: 'rw' });
    await table.copy({ from: table, srcIova: 0xa000n, iova: 0x20000n, length: PAGE, prot: 'r' });
    const unpinned: number[] = [];
    const unpin = world.memory.unpin.bind(world.memory);
    world.memory.unpin = (pfn, count, dirty) => {
      unpinned.push(pfn - world.process.frameOf(USER), count);
      unpin(pfn, count, dirty);
    };
    await table.unmap(0x8000n, 5n * PAGE);
    expect(domain.requests.slice(-1)).toEqual(['unmap 0x8000 + 0x5000']);
    expect(unpinned).toEqual([0, 2, 3, 2]);
    world.check();
  });

  test('unpins several runs in one call where the memory can', async () => {
    const world = new World();
    const table = world.table();
    await world.domain(table);
    const calls: string[] = [];
    const unpin = world.memory.unpin.bind(world.memory);
    Object.assign(world.memory, {
      unpin(pfn: number, count: number, dirty: boolean) {
        calls.push(`unpin ${count}`);
        unpin(pfn, count, dirty);
      },
      unpinAll(frames: FrameRuns, dirty: boolean) {
        calls.push(`unpin ${frames.runs} runs${dirty ? ', written' : ''}`);
        frames.forEachRun(0, frames.frames, (pfn, count) => unpin(pfn, count, dirty));
      },
    });
    await table.map({ uptr: USER, iova: 0x1000n, length: 3n * PAGE, prot: 'rw' });
    await table.map({ uptr: SCATTERED, iova: 0x8000n, length: 3n * PAGE, prot: 'rw' });
    await table.map({ uptr: SCATTERED + 8n * PAGE, iova: 0x10000n, length: 2n * PAGE, prot: 'r' });
    await table.unmapAll();
    expect(calls).toEqual(['unpin 3', 'unpin 3 runs, written', 'unpin 2 runs']);
    expect(world.physical.pinned).toBe(0);
    world.check();
  });

  test('tells the memory whether pages may have been written', async () => {
    const world = new World();
    const table = world.table();
    await world.domain(table);
    const dirty: boolean[] = [];
    const { memory } = world;
    const unpin = memory.unpin.bind(memory);
    Object.assign(memory, {
      unpin(pfn: number, count: number, written: boolean) {
        dirty.push(written);
        unpin(pfn, count, written);
      },
    });
    await table.map({ uptr: USER, iova: 0x1000n, length: PAGE, prot: 'rw' });
    await table.map({ uptr: USER, iova: 0x2000n, length: PAGE, prot: 'r' });
    await table.unmapAll();
    expect(dirty).toEqual([true, false]);
  });
});

describe('operations on whole pages', () => {
  /** A domain with them, and what it is asked: operation, first page, number of pages. */
  async function asked() {
    const world = new World();
    const table = world.table();
    const domain = new RecordingDomain({ wholePages: true });
    const { map, unmap, frames } = domain.pages!;
    const calls: [string, number, number][] = [];
    let failing = Number.POSITIVE_INFINITY;
    Object.assign(domain.pages!, {
      map: (...request: Parameters<PageOperations['map']>) => {
        if (calls.push(['map', request[0], request[3]]) > failing) throw new Error('the test says so');
        map(...request);
      },
      unmap: (...request: Parameters<PageOperations['unmap']>) => {
        calls.push(['unmap', ...request]);
        unmap(...request);
      },
      frames: (...request: Parameters<PageOperations['frames']>) => {
        calls.push(['frames', request[0], request[1]]);
        frames(...request);
      },
    });
    return { world, table, domain, calls, failAfter: (calls: number) => (failing = calls) };
  }

  test('are asked for an area of whole pages', async () => {
    const { world, table, domain, calls } = await asked();
    await world.domain(table, domain);
    await table.map({ uptr: SCATTERED, iova: 0x8000n, length: 5n * PAGE, prot: 'rw' });
    await table.unmapAll();
    expect(calls).toEqual([
      ['map', 8, 5],
      ['frames', 8, 5],
      ['unmap', 8, 5],
    ]);
    world.check();
  });

  test.each([0, 1, 4])('page by page, after %d pages a failure unmaps just those', async (pages) => {
    const { world, table, domain, calls, failAfter } = await asked();
    await table.setLargePages(false);
    await world.domain(table, domain);
    failAfter(pages);
    const map = table.map({ uptr: SCATTERED, iova: 0x8000n, length: 5n * PAGE, prot: 'rw' });
    await world.unchanged(() => expect(map).rejects.toThrow('the test says so'));
    const maps = Array.from({ length: pages + 1 }, (_, at) => ['map', 8 + at, 1]);
    expect(calls).toEqual(pages === 0 ? maps : [...maps, ['unmap', 8, pages]]);
    expect(domain.mappedBytes).toBe(0n);
  });

  test.each([
    [0n, 0n, 1n],
    [0n, 0x800n, 1n],
    [0x800n, 0n, 1n],
    [0x800n, 0x800n, 1n],
    [0n, 0n, 2n],
    [0n, 0x800n, 2n],
    [0x800n, 0n, 2n],
    [0x800n, 0x800n, 2n],
    [0x800n, 0x800n, 3n],
  ])(
    'from byte %d of a page on, at byte %d of an io-virtual one, %d half pages',
    async (from, at, halves) => {
      const world = new World();
      const table = world.table();
      const domains = [false, true].map((wholePages) => new RecordingDomain({ ioPage: 2048, wholePages }));
      for (const domain of domains) await world.domain(table, domain);
      const length = halves * 0x800n;
      await table.map({ uptr: SCATTERED + from, iova: 0x8000n + at, length, prot: 'rw' });
      expect(domains[1]!.contents).toEqual(domains[0]!.contents);
      expect(domains[0]!.mappedBytes).toBe(length);
      world.check();
      await table.unmapAll();
      expect(domains.map(({ mappedBytes }) => mappedBytes)).toEqual([0n, 0n]);
    },
  );

  test('are not asked for half a page at the beginning of one', async () => {
    const { world, table, domain, calls } = await asked();
    const from = world.table();
    for (const half of [0n, 0x800n]) {
      await from.map({ uptr: USER + 4n * half, iova: 0x8000n + half, length: 0x800n, prot: 'r' });
    }
    // Only the whole copy has to fit the alignment that the access demands.
    await new IoptAccess({ needsPin: true, onUnmap: () => undefined }).attach(table);
    await table.copy({ from, srcIova: 0x8000n, iova: 0x8000n, length: PAGE, prot: 'r' });
    await world.unchanged(() => expectError(table.addDomain(domain), 'EINVAL'));
    expect(calls).toEqual([]);
  });
});

describe('what is kept of domains', () => {
  test('is gone with the last area that has one', async () => {
    const world = new World();
    const table = world.table();
    await world.domain(table);
    const iova = await table.map({ uptr: USER, length: 4n * PAGE, prot: 'rw' });
    const pages = table.state.areas.head()!.value.pages!;
    const copy = await table.copy({ from: table, srcIova: iova, length: PAGE, prot: 'rw' });
    await table.unmap(iova, 4n * PAGE);
    expect([pages.domainsTree?.size, pages.npinned]).toEqual([1, 1]);
    await table.unmap(copy, PAGE);
    expect([pages.domainsTree, pages.npinned]).toEqual([undefined, 0]);
  });
});

test('a map of memory that answers late, which a domain refuses, waits for the flush of another one', async () => {
  const world = new World();
  const table = world.table();
  const { opened, open } = gate();
  const first = Object.assign(new RecordingDomain(), { flush: () => opened });
  await world.domain(table, first);
  const second = await world.domain(table, new RecordingDomain());
  second.mapsLeft = 0;
  world.memory.close();
  const map = watch(table.map({ uptr: USER, iova: 0x8000n, length: PAGE, prot: 'rw' }));
  world.memory.open();
  await settled();
  expect([map.state, first.mappedBytes, world.physical.pinned]).toEqual(['pending', 0n, 1]);
  open();
  await settled();
  expect([map.state, table.areaCount, world.physical.pinned]).toEqual(['rejected', 0, 0]);
  world.check();
});

/** A promise, and what fulfils it. */
function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}
