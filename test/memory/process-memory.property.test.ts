/**
 * Processes on one machine against a model that keeps a plain map of pages for each process.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FrameRuns } from '../../src/memory/frame-runs.js';
import { PhysicalMemory } from '../../src/memory/physical-memory.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';

const PAGE = 4096;
/** The pages that are used: few, so that calls meet each other; the second window ends at the last page of all. */
const WINDOWS = [0x40, 2 ** 52 - 16];
const WINDOW_PAGES = 16;
const PAGES = WINDOWS.flatMap((first) => Array.from({ length: WINDOW_PAGES }, (_, at) => first + at));
const LAST_PAGE = 2 ** 52 - 1;
const BUFFER_PAGES = 6;

/** A page of memory, wherever it is mapped. */
interface ModelPage {
  readonly name: string;
  readonly bytes: Uint8Array;
  pins: number;
}

interface ModelProcess {
  readonly memory: ProcessMemory;
  readonly pages: Map<number, { page: ModelPage; writable: boolean }>;
}

interface Held {
  readonly memory: ProcessMemory;
  readonly frames: FrameRuns;
  readonly pages: ModelPage[];
}

class Model {
  readonly physical = new PhysicalMemory();
  readonly processes: ModelProcess[] = [
    { memory: new ProcessMemory({ physical: this.physical }), pages: new Map() },
  ];
  readonly held: Held[] = [];
  readonly buffers = Array.from({ length: 2 }, (_, number) => ({
    buffer: new ArrayBuffer(BUFFER_PAGES * PAGE),
    pages: newPages(`buffer ${number}`, BUFFER_PAGES),
  }));
  made = 0;
}

function newPages(name: string, count: number): ModelPage[] {
  return Array.from({ length: count }, (_, at) => ({
    name: `${name} page ${at}`,
    bytes: new Uint8Array(PAGE),
    pins: 0,
  }));
}

function uptrOf(page: number): bigint {
  return BigInt(page) << 12n;
}

/** What a call did: `undefined`, or the code and the first bad address of its error. */
function outcome(act: () => void): { code: string; uptr: string } | undefined {
  try {
    act();
    return undefined;
  } catch (error) {
    const { code, reason } = error as { code: string; reason: { uptr: string } };
    return { code, uptr: reason.uptr };
  }
}

function refused(code: string, page: number, offset = 0): { code: string; uptr: string } {
  return { code, uptr: `0x${(uptrOf(page) + BigInt(offset)).toString(16)}` };
}

const place = fc.record({
  page: fc.constantFrom(...PAGES),
  count: fc.integer({ min: 1, max: WINDOW_PAGES }),
});

/** The pages of a place that are in the address space. */
function pagesOf({ page, count }: { page: number; count: number }): number[] {
  return Array.from({ length: Math.min(count, LAST_PAGE + 1 - page) }, (_, at) => page + at);
}

interface Step {
  act(model: Model): void;
}

/** A step that a counterexample shows by name and choice. */
function stepOf<T>(
  name: string,
  choices: fc.Arbitrary<T>,
  act: (model: Model, choice: T) => void,
): fc.Arbitrary<Step> {
  return choices.map((choice) => ({
    act: (model: Model) => act(model, choice),
    [fc.toStringMethod]: () => `${name} ${fc.stringify(choice)}`,
  }));
}

const who = fc.nat();
const pick = (model: Model, number: number) => model.processes[number % model.processes.length]!;

const mmap = stepOf(
  'mmap',
  fc.record({
    who,
    place,
    writable: fc.boolean(),
    frames: fc.constantFrom('contiguous' as const, 'scattered' as const),
    kind: fc.constantFrom('new', 'sparse', 'buffer'),
    number: fc.nat(1),
    first: fc.nat(BUFFER_PAGES - 1),
  }),
  (model, choice) => {
    const { memory, pages } = pick(model, choice.who);
    const { writable, frames, kind } = choice;
    const at = pagesOf(choice.place);
    const page = at[0]!;
    const own = model.buffers[choice.number]!;
    const count = kind === 'buffer' ? Math.min(at.length, BUFFER_PAGES - choice.first) : at.length;
    const wanted = at.slice(0, count);
    const taken = wanted.find((each) => pages.has(each));
    const result = outcome(() => {
      memory.mmap({
        length: count * PAGE,
        uptr: uptrOf(page),
        writable,
        frames,
        ...(kind === 'buffer' ? { buffer: own.buffer, bufferOffset: choice.first * PAGE } : {}),
        sparse: kind === 'sparse',
      });
    });
    expect(result).toEqual(taken === undefined ? undefined : refused('EEXIST', taken));
    if (taken !== undefined) return;
    const shown = kind === 'buffer' ? own.pages.slice(choice.first) : newPages(`new ${model.made++}`, count);
    for (const [index, each] of wanted.entries()) pages.set(each, { page: shown[index]!, writable });
  },
);

const munmap = stepOf('munmap', fc.record({ who, place }), (model, choice) => {
  const { memory, pages } = pick(model, choice.who);
  const at = pagesOf(choice.place);
  memory.munmap(uptrOf(at[0]!), BigInt(at.length * PAGE));
  for (const page of at) pages.delete(page);
});

const protect = stepOf('protect', fc.record({ who, place, writable: fc.boolean() }), (model, choice) => {
  const { memory, pages } = pick(model, choice.who);
  const at = pagesOf(choice.place);
  const hole = at.find((page) => !pages.has(page));
  const result = outcome(() => memory.protect(uptrOf(at[0]!), at.length * PAGE, choice.writable));
  expect(result).toEqual(hole === undefined ? undefined : refused('ENOMEM', hole));
  if (hole !== undefined) return;
  for (const page of at) pages.set(page, { page: pages.get(page)!.page, writable: choice.writable });
});

const pin = stepOf('pin', fc.record({ who, place, write: fc.boolean() }), (model, choice) => {
  const { memory, pages } = pick(model, choice.who);
  const at = pagesOf(choice.place);
  const page = at[0]!;
  const good = (each: number) =>
    each !== LAST_PAGE && pages.has(each) && (!choice.write || pages.get(each)!.writable);
  const bad = at.findIndex((each) => !good(each));
  const expected = bad === -1 ? at : at.slice(0, bad);
  const frames = new FrameRuns();
  let count = 0;
  const result = outcome(() => {
    count = memory.pin(page, at.length, choice.write, frames);
  });
  const overflows = page + at.length === LAST_PAGE + 1;
  expect(result).toEqual(bad === 0 ? refused(overflows ? 'EOVERFLOW' : 'EFAULT', page) : undefined);
  expect([count, frames.frames]).toEqual([expected.length, expected.length]);
  if (count === 0) return;
  expect(expected.map((_, index) => frames.at(index))).toEqual(expected.map((each) => memory.frameAt(each)));
  const shown = expected.map((each) => pages.get(each)!.page);
  for (const each of shown) each.pins++;
  model.held.push({ memory, frames, pages: shown });
});

const unpin = stepOf('unpin', fc.record({ which: fc.nat(), bySingles: fc.boolean() }), (model, choice) => {
  if (model.held.length === 0) return;
  const [held] = model.held.splice(choice.which % model.held.length, 1);
  const { memory, frames, pages } = held!;
  frames.forEachRun(0, frames.frames, (pfn, count) => {
    if (!choice.bySingles) memory.unpin(pfn, count);
    else for (let at = count - 1; at >= 0; at--) memory.unpin(pfn + at, 1);
  });
  for (const page of pages) page.pins--;
});

const bytesAt = fc.record({
  page: fc.constantFrom(...PAGES),
  offset: fc.oneof(fc.constant(0), fc.nat(PAGE - 1)),
  length: fc.oneof(fc.nat(100), fc.nat(5 * PAGE)),
});

/** The bytes of a call one by one: how many can be touched before the first that cannot. */
function reach(
  pages: ModelProcess['pages'],
  { page, offset, length }: { page: number; offset: number; length: number },
  write: boolean,
): number {
  for (let done = 0; done < length; ) {
    const each = page + Math.floor((offset + done) / PAGE);
    const found = pages.get(each);
    if (found === undefined || (write && !found.writable)) return done;
    done = (each - page + 1) * PAGE - offset;
  }
  return length;
}

function bytesOf(pages: ModelProcess['pages'], page: number, offset: number, length: number): Buffer {
  if (length === 0) return Buffer.alloc(0);
  const whole = Array.from(
    { length: Math.ceil((offset + length) / PAGE) },
    (_, at) => pages.get(page + at)!.page.bytes,
  );
  return Buffer.concat(whole).subarray(offset, offset + length);
}

function store(pages: ModelProcess['pages'], page: number, offset: number, bytes: Uint8Array): void {
  for (const [at, byte] of bytes.entries()) {
    pages.get(page + Math.floor((offset + at) / PAGE))!.page.bytes[(offset + at) % PAGE] = byte;
  }
}

const read = stepOf('read', fc.record({ who, bytesAt, partly: fc.boolean() }), (model, choice) => {
  const { memory, pages } = pick(model, choice.who);
  const { page, offset, length } = choice.bytesAt;
  const good = reach(pages, choice.bytesAt, false);
  if (choice.partly) {
    const target = new Uint8Array(length + 3);
    expect(memory.copyFromUser(page, offset, target, 2, length)).toBe(good);
    expect(
      Buffer.from(target).equals(
        Buffer.concat([Buffer.alloc(2), bytesOf(pages, page, offset, good), Buffer.alloc(length + 1 - good)]),
      ),
    ).toBe(true);
  } else if (page + Math.floor((offset + Math.max(length, 1) - 1) / PAGE) <= LAST_PAGE) {
    let bytes = new Uint8Array();
    const result = outcome(() => {
      bytes = memory.read(uptrOf(page) + BigInt(offset), length) as Uint8Array<ArrayBuffer>;
    });
    expect(result).toEqual(good < length ? refusedByte(page, offset + good) : undefined);
    if (good === length) expect(bytesOf(pages, page, offset, length).equals(bytes)).toBe(true);
  }
});

const write = stepOf(
  'write',
  fc.record({ who, bytesAt, partly: fc.boolean(), seed: fc.nat(255) }),
  (model, choice) => {
    const { memory, pages } = pick(model, choice.who);
    const { page, offset, length } = choice.bytesAt;
    const good = reach(pages, choice.bytesAt, true);
    const bytes = new Uint8Array(length + 1).map((_, at) => at * 13 + (at >> 8) + choice.seed);
    if (choice.partly) {
      expect(memory.copyToUser(page, offset, bytes, 1, length)).toBe(good);
      store(pages, page, offset, bytes.subarray(1, 1 + good));
    } else if (page + Math.floor((offset + Math.max(length, 1) - 1) / PAGE) <= LAST_PAGE) {
      const result = outcome(() => memory.write(uptrOf(page) + BigInt(offset), bytes.subarray(0, length)));
      expect(result).toEqual(good < length ? refusedByte(page, offset + good) : undefined);
      if (good === length) store(pages, page, offset, bytes.subarray(0, length));
    }
  },
);

function refusedByte(page: number, offset: number): { code: string; uptr: string } {
  return refused('EFAULT', page + Math.floor(offset / PAGE), offset % PAGE);
}

const fork = stepOf('fork', who, (model, number) => {
  if (model.processes.length === 3) return;
  const parent = pick(model, number);
  model.processes.push({ memory: parent.memory.fork(), pages: new Map(parent.pages) });
});

const exit = stepOf('exit', who, (model, number) => {
  if (model.processes.length === 1) return;
  const [gone] = model.processes.splice(number % model.processes.length, 1);
  gone!.memory.exit();
});

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: mmap },
  { weight: 2, arbitrary: munmap },
  { weight: 2, arbitrary: protect },
  { weight: 4, arbitrary: pin },
  { weight: 3, arbitrary: unpin },
  { weight: 2, arbitrary: read },
  { weight: 3, arbitrary: write },
  { weight: 1, arbitrary: fork },
  { weight: 1, arbitrary: exit },
);

/** Compares everything that can be seen. A page of memory has one frame, wherever it is, and nothing else has it. */
function compare(model: Model): void {
  const frameOf = new Map<ModelPage, number>();
  const see = (page: ModelPage, pfn: number) => {
    expect(frameOf.get(page) ?? pfn).toBe(pfn);
    frameOf.set(page, pfn);
  };
  for (const { memory, pages } of model.processes) {
    const writable: number[] = [];
    for (const page of PAGES) {
      const found = pages.get(page);
      expect(memory.pinsAt(page)).toBe(found?.page.pins);
      if (found === undefined) expect(memory.frameAt(page)).toBeUndefined();
      else see(found.page, memory.frameAt(page)!);
    }
    for (const region of memory.regions) {
      const first = Number(region.uptr >> 12n);
      for (let at = 0; at < Number(region.length) / PAGE; at++)
        if (region.writable) writable.push(first + at);
    }
    expect(writable).toEqual(
      [...pages.keys()].filter((page) => pages.get(page)!.writable).sort((a, b) => a - b),
    );
  }
  for (const { frames, pages } of model.held) {
    for (const [at, page] of pages.entries()) see(page, frames.at(at));
  }
  expect(new Set(frameOf.values()).size).toBe(frameOf.size);
  let pinned = 0;
  for (const [page, pfn] of frameOf) {
    expect(model.physical.pins(pfn)).toBe(page.pins);
    const bytes = model.physical.frames(pfn, 1);
    expect(Buffer.compare(bytes, page.bytes), page.name).toBe(0);
    pinned += page.pins;
  }
  expect(model.physical.pinned).toBe(pinned);
}

describe('ProcessMemory', () => {
  test('is a map of pages for each process, on frames that are shared', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 5, maxLength: 50 }), (steps) => {
        const model = new Model();
        for (const each of steps) {
          each.act(model);
          compare(model);
        }
        for (const { memory, frames } of model.held) {
          frames.forEachRun(0, frames.frames, (pfn, count) => memory.unpin(pfn, count));
        }
        for (const { memory } of model.processes) memory.exit();
        expect(model.physical.pinned).toBe(0);
        // Everything was given back: the first frame is the one a fresh machine gives out.
        const fresh = new ProcessMemory().mmap({ length: PAGE });
        const again = new ProcessMemory({ physical: model.physical });
        const region = again.mmap({ length: PAGE });
        expect(region.uptr).toBe(fresh.uptr);
        expect(again.frameOf(region.uptr)).toBe(2 ** 20);
      }),
      { numRuns: 200 },
    );
  });
});
