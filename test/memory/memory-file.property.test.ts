/**
 * A file, and processes that map it, against a model that keeps the bytes and pins of each page ever made.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FrameRuns } from '../../src/memory/frame-runs.js';
import { MemoryFile, type MemoryFileOptions } from '../../src/memory/memory-file.js';
import { PhysicalMemory } from '../../src/memory/physical-memory.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import { propertyRuns } from '../helpers/property-runs.js';

const PAGE = 4096;
const MOST_PAGES = 10;
/** Pages of the address space that are used. */
const FIRST = 0x40;
const WINDOW = 16;

interface ModelPage {
  readonly bytes: Uint8Array;
  pins: number;
}

type Step =
  | { readonly type: 'truncate'; readonly size: number }
  | { readonly type: 'mmap'; readonly page: number; readonly from: number; readonly pages: number }
  | { readonly type: 'munmap' | 'pinProcess'; readonly page: number; readonly pages: number }
  | { readonly type: 'pinFile'; readonly from: number; readonly pages: number }
  | { readonly type: 'unpin'; readonly which: number }
  | { readonly type: 'store'; readonly page: number; readonly offset: number; readonly value: number }
  | { readonly type: 'write'; readonly at: number; readonly value: number }
  | { readonly type: 'fork' };

const small = (max: number) => fc.nat({ max });
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ type: fc.constant('truncate' as const), size: small(MOST_PAGES * PAGE) }),
  fc.record({ type: fc.constant('truncate' as const), size: small(MOST_PAGES).map((pages) => pages * PAGE) }),
  fc.record({
    type: fc.constant('mmap' as const),
    page: small(WINDOW - 1),
    from: small(MOST_PAGES),
    pages: fc.integer({ min: 1, max: 6 }),
  }),
  fc.record({
    type: fc.constantFrom('munmap' as const, 'pinProcess' as const),
    page: small(WINDOW - 1),
    pages: fc.integer({ min: 1, max: 6 }),
  }),
  fc.record({
    type: fc.constant('pinFile' as const),
    from: small(MOST_PAGES),
    pages: fc.integer({ min: 1, max: 4 }),
  }),
  fc.record({ type: fc.constant('unpin' as const), which: small(20) }),
  fc.record({
    type: fc.constant('store' as const),
    page: small(WINDOW - 1),
    offset: small(PAGE - 1),
    value: fc.integer({ min: 1, max: 255 }),
  }),
  fc.record({
    type: fc.constant('write' as const),
    at: small(MOST_PAGES * PAGE - 1),
    value: fc.integer({ min: 1, max: 255 }),
  }),
  fc.record({ type: fc.constant('fork' as const) }),
);

class Model {
  readonly physical = new PhysicalMemory();
  readonly file: MemoryFile;
  size: number;
  pages: ModelPage[] = [];
  /** Page of the file by page of the address space, in each process. */
  readonly processes = [
    { memory: new ProcessMemory({ physical: this.physical }), shown: new Map<number, number>() },
  ];
  readonly held: { readonly frames: FrameRuns; readonly pages: readonly ModelPage[] }[] = [];

  constructor(options: MemoryFileOptions) {
    this.file = new MemoryFile({ physical: this.physical, ...options });
    this.size = Number(this.file.size);
    this.grow();
  }

  grow(): void {
    while (this.pages.length < Math.ceil(this.size / PAGE)) {
      this.pages.push({ bytes: new Uint8Array(PAGE), pins: 0 });
    }
  }

  run(step: Step): void {
    const { memory, shown } = this.processes.at(-1)!;
    switch (step.type) {
      case 'truncate': {
        this.file.truncate(step.size);
        const shorter = step.size < this.size;
        this.size = step.size;
        this.pages.length = Math.min(this.pages.length, Math.ceil(step.size / PAGE));
        if (shorter && step.size % PAGE !== 0) this.pages.at(-1)!.bytes.fill(0, step.size % PAGE);
        this.grow();
        return;
      }
      case 'mmap': {
        const pages = Math.min(step.pages, WINDOW - step.page);
        const wanted = Array.from({ length: pages }, (_, at) => step.page + at);
        if (wanted.some((page) => shown.has(page))) return;
        memory.mmap({
          file: this.file,
          offset: step.from * PAGE,
          uptr: (FIRST + step.page) * PAGE,
          length: pages * PAGE,
        });
        for (const page of wanted) shown.set(page, step.from + page - step.page);
        return;
      }
      case 'munmap':
        memory.munmap((FIRST + step.page) * PAGE, step.pages * PAGE);
        for (let at = 0; at < step.pages; at++) shown.delete(step.page + at);
        return;
      case 'pinProcess': {
        const pages: ModelPage[] = [];
        for (let at = 0; at < step.pages; at++) {
          const page = this.pages[shown.get(step.page + at) ?? -1];
          if (page === undefined) break;
          pages.push(page);
        }
        const frames = new FrameRuns();
        const pin = () => memory.pin(FIRST + step.page, step.pages, true, frames);
        if (pages.length === 0) expect(pin).toThrow('EFAULT');
        else expect(pin()).toBe(pages.length);
        this.hold(frames, pages);
        return;
      }
      case 'pinFile': {
        const frames = new FrameRuns();
        const pin = () => this.file.pin(step.from, step.pages, frames);
        const inside = (step.from + step.pages) * PAGE <= this.size;
        if (!inside) expect(pin).toThrow('EINVAL');
        else expect(pin()).toBe(step.pages);
        this.hold(frames, inside ? this.pages.slice(step.from, step.from + step.pages) : []);
        return;
      }
      case 'unpin': {
        const [gone] = this.held.splice(step.which % Math.max(1, this.held.length), 1);
        if (gone === undefined) return;
        this.file.unpinAll(gone.frames);
        for (const page of gone.pages) page.pins -= 1;
        return;
      }
      case 'store': {
        const page = this.pages[shown.get(step.page) ?? -1];
        const store = () => memory.write((FIRST + step.page) * PAGE + step.offset, Uint8Array.of(step.value));
        if (page === undefined) {
          expect(store).toThrow('EFAULT');
          return;
        }
        store();
        page.bytes[step.offset] = step.value;
        return;
      }
      case 'write':
        if (step.at >= this.size) {
          expect(() => this.file.write(step.at, Uint8Array.of(step.value))).toThrow('EINVAL');
          return;
        }
        this.file.write(step.at, Uint8Array.of(step.value));
        this.pages[Math.floor(step.at / PAGE)]!.bytes[step.at % PAGE] = step.value;
        return;
      case 'fork':
        if (this.processes.length < 3) this.processes.push({ memory: memory.fork(), shown: new Map(shown) });
    }
  }

  hold(frames: FrameRuns, pages: readonly ModelPage[]): void {
    for (const page of pages) page.pins += 1;
    if (pages.length > 0) this.held.push({ frames, pages });
  }

  check(scattered: boolean): void {
    expect(this.file.size).toBe(BigInt(this.size));
    const bytes = this.file.read(0, MOST_PAGES * PAGE);
    expect(bytes.length).toBe(this.size);
    const frames = new Map<number, ModelPage>();
    const isFrameOf = (pfn: number, page: ModelPage) => {
      expect(frames.get(pfn) ?? page).toBe(page);
      frames.set(pfn, page);
      expect(this.physical.pins(pfn)).toBe(page.pins);
      expect(Buffer.compare(this.physical.frames(pfn, 1), page.bytes)).toBe(0);
    };
    this.pages.forEach((page, at) => {
      const part = bytes.subarray(at * PAGE, (at + 1) * PAGE);
      expect(Buffer.compare(part, page.bytes.subarray(0, part.length))).toBe(0);
      expect(this.file.pinsAt(at)).toBe(page.pins);
      const pfn = this.file.frameAt(at);
      if (pfn === undefined) return;
      isFrameOf(pfn, page);
      if (scattered && at > 0) expect(this.file.frameAt(at - 1)).not.toBe(pfn - 1);
    });
    expect(this.file.pinsAt(this.pages.length)).toBeUndefined();
    for (const { frames: list, pages } of this.held) {
      for (const [at, page] of pages.entries()) isFrameOf(list.at(at), page);
    }
    for (const { memory, shown } of this.processes) {
      for (let at = 0; at < WINDOW; at++) {
        const page = this.pages[shown.get(at) ?? -1];
        const pfn = memory.frameAt(FIRST + at);
        if (page === undefined) expect(pfn).toBeUndefined();
        else isFrameOf(pfn!, page);
      }
    }
    expect(this.physical.pinned).toBe(this.held.reduce((sum, { pages }) => sum + pages.length, 0));
  }
}

describe('a file in memory is what its naive model is', () => {
  const kinds: [string, () => MemoryFileOptions][] = [
    ['memory of its own', () => ({ size: 5 * PAGE })],
    ['memory of its own, scattered', () => ({ size: PAGE, frames: 'scattered' })],
    ['a part of a buffer', () => ({ size: 3 * PAGE + 10, buffer: new ArrayBuffer(6 * PAGE) })],
    [
      'a whole shared buffer, scattered',
      () => ({ buffer: new SharedArrayBuffer(4 * PAGE), frames: 'scattered' }),
    ],
  ];
  for (const [name, options] of kinds) {
    test(name, () => {
      fc.assert(
        fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
          const model = new Model(options());
          model.check(options().frames === 'scattered');
          for (const one of steps) {
            model.run(one);
            model.check(options().frames === 'scattered');
          }
          while (model.held.length > 0) model.run({ type: 'unpin', which: 0 });
          expect(model.physical.pinned).toBe(0);
        }),
        { numRuns: propertyRuns(60) },
      );
    });
  }
});
