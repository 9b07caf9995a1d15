/**
 * Readers in worker threads, at full speed, while the owner maps and unmaps. Each page says in its content where it is
 * mapped, and is poisoned when it is not any more and readers have been waited for: a wrong, torn or stale translation
 * is found by whoever uses it. The tests end after a number of requests and of translations, whatever time they take.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { IoPagetable } from '../../src/io-pagetable.js';
import { FrameRuns } from '../../src/memory/frame-runs.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import { type RunningReader, startReader } from './readers.js';
import {
  FAR_PAGE,
  HINTS,
  HUGE_REGION,
  KEPT_PAGE,
  MAPPED,
  MAPPING,
  PROGRESS_WORDS,
  REGION_PAGES,
  REGIONS,
  type ReaderData,
  SECTIONS,
  STOP,
  UNMAPPED,
  UNMAPPING,
  WIDE_COUNT,
  WIDE_PAGE,
  WIDE_PHASE,
} from './scene.js';
import { PAGE, randomBelow, StampedPages } from './stamped-pages.js';

const FRAMES = 8192;
const HUGE = 512;
/** Requests that the owner makes at least, and sections that each reader finishes meanwhile at least. */
const REQUESTS = 4000;
const ENOUGH_SECTIONS = 10_000;
/** Frames that wait for a quiescent point together. */
const BATCH = 4;

interface Mapping {
  readonly page: number;
  readonly frames: readonly number[];
}

/** The owner of a shared domain. */
class Owner {
  readonly memory = new ProcessMemory();
  readonly domain = new RadixDomain({ shared: true });
  readonly progress = new SharedArrayBuffer(PROGRESS_WORDS * 4);
  readonly words = new Int32Array(this.progress);
  readonly random = randomBelow(7);
  readonly uptr: bigint;
  readonly pages: StampedPages;
  readonly readers: RunningReader[] = [];
  /** Frames by number, in no order, poisoned. */
  readonly free: number[] = [];
  /** Aligned runs of 512 of them. */
  readonly hugeFree: number[] = [];
  #retired: number[] = [];
  #retirements = 0;

  constructor() {
    const buffer = new SharedArrayBuffer(FRAMES * PAGE);
    this.uptr = this.memory.mmap({ length: buffer.byteLength, buffer }).uptr;
    const first = this.memory.frameOf(this.uptr);
    this.pages = new StampedPages(buffer, first);
    for (let frame = first; frame < first + FRAMES; frame++) {
      this.pages.poison(frame);
      if (frame - first < 2 * HUGE) continue;
      this.free.push(frame);
    }
    this.hugeFree.push(first, first + HUGE);
  }

  start(role: ReaderData['role']): RunningReader {
    const { progress } = this;
    const reader = startReader({
      domain: this.domain.share(),
      memory: this.memory.share(),
      progress,
      number: this.readers.length,
      role,
    });
    this.readers.push(reader);
    return reader;
  }

  /** Makes requests until there were enough of them, and of sections of the readers. */
  async run(request: () => Promise<void> | void): Promise<void> {
    const failed: unknown[] = [];
    for (const { report } of this.readers) report.catch((error: unknown) => failed.push(error));
    for (let at = 0; at < REQUESTS || this.#busy; at++) {
      await request();
      // A reader that has found something wrong ends, and is not waited for.
      if (at % 16 === 0) await turn();
      if (failed.length > 0) throw failed[0];
    }
  }

  get #busy(): boolean {
    return this.readers.some((_, number) => this.words[SECTIONS + number]! < ENOUGH_SECTIONS);
  }

  /** Takes a frame of which nobody has written anything since it was poisoned, for a page. */
  take(page: number): number {
    const at = this.random(this.free.length);
    const frame = this.free[at]!;
    this.free[at] = this.free.at(-1)!;
    this.free.pop();
    this.pages.checkPoison(frame);
    this.pages.stamp(frame, page);
    return frame;
  }

  map({ page, frames }: Mapping): void {
    const runs = new FrameRuns();
    for (const frame of frames) runs.push(frame, 1);
    this.domain.pages?.map(page, runs, 0, frames.length, 3);
  }

  newMapping(page: number, count: number): Mapping {
    return { page, frames: Array.from({ length: count }, (_, at) => this.take(page + at)) };
  }

  /** Unmaps pages whose frames may be used again once readers have passed a quiescent point. */
  async unmap(page: number, frames: readonly number[], count = frames.length): Promise<void> {
    this.domain.pages?.unmap(page, count);
    this.#retired.push(...frames);
    this.#retirements += 1;
    if (this.#retirements % BATCH === 0) await this.reclaim();
  }

  async reclaim(): Promise<void> {
    await this.domain.quiesce();
    for (const frame of this.#retired) this.pages.poison(frame);
    this.free.push(...this.#retired.filter((frame) => frame >= this.pages.firstFrame + 2 * HUGE));
    this.#retired = [];
  }

  setWide(phase: number): void {
    Atomics.store(this.words, WIDE_PHASE, ((this.words[WIDE_PHASE]! >> 2) * 4) | phase);
  }

  async stop(): Promise<void> {
    Atomics.store(this.words, STOP, 1);
    await Promise.all(this.readers.map(({ ended }) => ended));
  }
}

let owner: Owner;

afterEach(() => owner.stop());

/** Pages in regions of their own, so that tables come and go. */
class SmallMappings {
  readonly #mapped = new Map<number, Mapping>();

  async change(): Promise<void> {
    const region = owner.random(REGIONS);
    const mapping = this.#mapped.get(region);
    if (mapping !== undefined) {
      this.#mapped.delete(region);
      await owner.unmap(mapping.page, mapping.frames);
      return;
    }
    const offset = owner.random(REGION_PAGES - 16);
    const made = owner.newMapping(region * REGION_PAGES + offset, 1 + owner.random(8));
    owner.map(made);
    owner.words[HINTS + region] = offset;
    this.#mapped.set(region, made);
  }
}

/** A page of 2 MiB that is split piece by piece. */
class HugeMapping {
  readonly #page: number;
  readonly #first: number;
  #left: number[] = [];

  constructor(page: number, first: number) {
    this.#page = page;
    this.#first = first;
  }

  async change(): Promise<void> {
    if (this.#left.length === 0) {
      await owner.reclaim();
      for (let at = 0; at < HUGE; at++) {
        owner.pages.checkPoison(this.#first + at);
        owner.pages.stamp(this.#first + at, this.#page + at);
        this.#left.push(at);
      }
      const runs = new FrameRuns();
      runs.push(this.#first, HUGE);
      owner.domain.pages?.map(this.#page, runs, 0, HUGE, 3);
      expect(owner.domain.translate(BigInt(this.#page * PAGE))?.length).toBe(BigInt(HUGE * PAGE));
      return;
    }
    const from = owner.random(this.#left.length);
    const gone = this.#left.splice(from, 1 + owner.random(this.#left.length));
    for (const at of gone) await owner.unmap(this.#page + at, [this.#first + at]);
  }
}

/** Many pages in one request. */
class WideMapping {
  #mapping: Mapping | undefined;

  async change(): Promise<void> {
    if (this.#mapping === undefined) {
      this.#mapping = owner.newMapping(WIDE_PAGE, WIDE_COUNT);
      owner.setWide(MAPPING);
      owner.map(this.#mapping);
      owner.setWide(MAPPED);
      return;
    }
    const { page, frames } = this.#mapping;
    this.#mapping = undefined;
    owner.setWide(UNMAPPING);
    owner.domain.pages?.unmap(page, frames.length);
    Atomics.add(owner.words, WIDE_PHASE, 4);
    owner.setWide(UNMAPPED);
    await owner.unmap(page, frames, 0);
  }
}

/** A page far up, which raises the root. */
class FarMapping {
  #mapping: Mapping | undefined;

  async change(): Promise<void> {
    if (this.#mapping === undefined) {
      this.#mapping = owner.newMapping(FAR_PAGE, 1);
      owner.map(this.#mapping);
      return;
    }
    const { page, frames } = this.#mapping;
    this.#mapping = undefined;
    await owner.unmap(page, frames);
  }
}

test('translates rightly, or not at all, while a domain is mapped, unmapped, grown and split', async () => {
  owner = new Owner();
  const [first, second] = owner.hugeFree as [number, number];
  const page = HUGE_REGION * REGION_PAGES;
  const huge = [new HugeMapping(page, first), new HugeMapping(page + HUGE, second)];
  const kinds = [new SmallMappings(), huge[0]!, huge[1]!, new WideMapping(), new FarMapping()];
  owner.map(owner.newMapping(KEPT_PAGE, 1));
  const reader = owner.start('check');
  const before = owner.domain.tableBytes;
  await owner.run(async () => {
    const kind = owner.random(12);
    await kinds[Math.max(0, kind - 7)]!.change();
  });
  expect(owner.domain.tableBytes).toBeGreaterThan(before);
  await owner.stop();
  const { translations, mapped, widePairs } = await reader.report;
  expect(translations).toBeGreaterThanOrEqual(ENOUGH_SECTIONS * 16);
  expect(mapped).toBeGreaterThan(0);
  expect(widePairs).toBeGreaterThan(0);
});

test('reads and writes guest memory up to its unmap, and not after', async () => {
  owner = new Owner();
  const table = new IoPagetable({ memory: owner.memory });
  await table.addDomain(owner.domain);
  const { uptr, pages, random, words } = owner;
  pages.stamp(pages.firstFrame, KEPT_PAGE);
  await table.map({ iova: BigInt(KEPT_PAGE) * BigInt(PAGE), uptr, length: PAGE, prot: 'rw' });
  const [checking, device] = [owner.start('check'), owner.start('device')];
  const areas = new Map<number, { readonly iova: bigint; readonly count: number; readonly at: number }>();
  let nextPage = 2 * HUGE;
  await owner.run(async () => {
    const region = random(REGIONS);
    const area = areas.get(region);
    if (area === undefined) {
      const count = 1 + random(8);
      if (nextPage + count > FRAMES) nextPage = 2 * HUGE;
      const at = nextPage;
      nextPage += count;
      const taken = [...areas.values()].some((other) => at < other.at + other.count && other.at < at + count);
      if (taken) return;
      const offset = random(REGION_PAGES - 16);
      const page = region * REGION_PAGES + offset;
      for (let number = 0; number < count; number++) {
        const frame = pages.firstFrame + at + number;
        pages.checkPoison(frame);
        pages.stamp(frame, page + number);
      }
      const iova = BigInt(page) * BigInt(PAGE);
      const length = count * PAGE;
      await table.map({ iova, uptr: uptr + BigInt(at * PAGE), length, prot: 'rw' });
      words[HINTS + region] = offset;
      areas.set(region, { iova, count, at });
      return;
    }
    areas.delete(region);
    await table.unmap(area.iova, area.count * PAGE);
    for (let number = 0; number < area.count; number++) {
      const frame = pages.firstFrame + area.at + number;
      expect(owner.memory.physical.pins(frame)).toBe(0);
      pages.poison(frame);
    }
  });
  await owner.stop();
  for (const { report } of [checking, device]) expect((await report).mapped).toBeGreaterThan(0);
  await table.unmapAll();
  table.check();
});

test('is not waited for any more when its thread has died and its handle is taken back', async () => {
  owner = new Owner();
  const { domain } = owner;
  const handle = domain.share();
  const { progress, memory } = owner;
  const reader = startReader({ domain: handle, memory: memory.share(), progress, number: 0, role: 'die' });
  await reader.ended;
  let passed = false;
  const waiting = domain.quiesce().then(() => {
    passed = true;
  });
  await turn();
  expect(passed).toBe(false);
  domain.unshare(handle);
  await waiting;
  expect(domain.flush?.()).toBeUndefined();
});
