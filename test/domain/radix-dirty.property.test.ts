import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, test } from 'vitest';
import { RadixDomain } from '../../src/domain/radix-domain.js';

const PAGE = 4096n;

/** A mapped page of any size, in units of 4096 bytes, with its one dirty mark. */
interface Unit {
  readonly page: number;
  readonly size: number;
  dirty: boolean;
}

/** Mapped pages as a list. `sizes` are in units of 4096 bytes, ascending; each divides the next. */
class NaiveDirty {
  units: Unit[] = [];
  readonly sizes: readonly number[];

  constructor(sizes: readonly number[]) {
    this.sizes = sizes;
  }

  mapped(page: number, count: number): boolean {
    return this.units.some((unit) => page < unit.page + unit.size && unit.page < page + count);
  }

  map(page: number, frame: number, count: number): void {
    for (let done = 0; done < count; ) {
      const size = this.sizes.findLast(
        (size) => (page + done) % size === 0 && (frame + done) % size === 0 && size <= count - done,
      )!;
      this.units.push({ page: page + done, size, dirty: false });
      done += size;
    }
  }

  /** Splits pages until none reaches over an end of a range that is in whole io pages. */
  cut(page: number, count: number, only: (unit: Unit) => boolean): void {
    this.units = this.units.flatMap((unit) => (only(unit) ? this.#pieces(unit, page, page + count) : [unit]));
  }

  #pieces(unit: Unit, first: number, past: number): Unit[] {
    const end = unit.page + unit.size;
    if (end <= first || past <= unit.page || (first <= unit.page && end <= past)) return [unit];
    const size = this.sizes[this.sizes.indexOf(unit.size) - 1]!;
    const parts = Array.from({ length: unit.size / size }, (_, at) => ({
      ...unit,
      page: unit.page + at * size,
      size,
    }));
    return parts.flatMap((part) => this.#pieces(part, first, past));
  }

  unmap(page: number, count: number): void {
    this.cut(page, count, () => true);
    this.units = this.units.filter((unit) => unit.page < page || unit.page >= page + count);
  }

  mark(page: number, count: number): void {
    for (const unit of this.units) {
      if (page < unit.page + unit.size && unit.page < page + count) unit.dirty = true;
    }
  }

  /** The dirty pages, each by its number, ascending. */
  read(page: number, count: number, keep: boolean): number[] {
    if (!keep) this.cut(page, count, (unit) => unit.dirty);
    const found: number[] = [];
    for (const unit of this.units.toSorted((a, b) => a.page - b.page)) {
      if (!unit.dirty || unit.page + unit.size <= page || unit.page >= page + count) continue;
      for (let at = Math.max(unit.page, page); at < Math.min(unit.page + unit.size, page + count); at++)
        found.push(at);
      if (!keep) unit.dirty = false;
    }
    return found;
  }
}

type Op =
  | { readonly op: 'map'; readonly page: number; readonly frame: number; readonly count: number }
  | { readonly op: 'unmap'; readonly page: number; readonly count: number }
  /** Byte addresses relative to the base. */
  | { readonly op: 'mark'; readonly at: number; readonly bytes: number }
  | { readonly op: 'read'; readonly at: number; readonly bytes: number; readonly keep: boolean };

const SPACE = 4 * 512;

function arbitraryOps(ioPages: number): fc.Arbitrary<Op[]> {
  const whole = (page: number) => page - (page % ioPages);
  const page = fc.oneof(fc.nat(SPACE - 1), fc.constantFrom(0, 512, 1024, 1536)).map(whole);
  const count = fc
    .oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: SPACE }), fc.constantFrom(512, 1024))
    .map((pages) => Math.max(whole(pages), ioPages));
  const at = fc.nat(SPACE * 4096 - 1);
  const bytes = fc.oneof(
    fc.integer({ min: 1, max: 10_000 }),
    fc.integer({ min: 1, max: SPACE * 4096 }),
    fc.constantFrom(4096, 2 ** 21, SPACE * 4096),
  );
  return fc.array(
    fc.oneof(
      {
        weight: 3,
        arbitrary: fc.record({ op: fc.constant('map'), page, count, frame: page.map((at) => at + 8192) }),
      },
      { weight: 3, arbitrary: page.map((at) => ({ op: 'map', page: at, frame: at, count: 1024 })) },
      { weight: 2, arbitrary: fc.record({ op: fc.constant('unmap'), page, count }) },
      { weight: 6, arbitrary: fc.record({ op: fc.constant('mark'), at, bytes }) },
      { weight: 6, arbitrary: fc.record({ op: fc.constant('read'), at, bytes, keep: fc.boolean() }) },
    ) as fc.Arbitrary<Op>,
    { minLength: 1, maxLength: 30, size: 'max' },
  );
}

function run(list: readonly Op[], pageSizes: readonly number[], basePage: number): void {
  const domain = new RadixDomain({ pageSizes, dirty: true });
  const dirty = domain.dirty!;
  dirty.setTracking(true);
  const sizes = pageSizes.map((size) => size / 4096);
  const naive = new NaiveDirty(sizes);
  const ioPages = sizes[0]!;
  const base = BigInt(basePage) * PAGE;
  const pagesOf = (at: number, bytes: number): [page: number, count: number] => {
    const page = Math.floor(at / (4096 * ioPages)) * ioPages;
    const past = Math.ceil((at + bytes) / (4096 * ioPages)) * ioPages;
    return [page, past - page];
  };
  for (const op of list) {
    switch (op.op) {
      case 'map':
        if (naive.mapped(op.page, op.count)) break;
        domain.map(base + BigInt(op.page) * PAGE, BigInt(op.frame) * PAGE, BigInt(op.count) * PAGE, 3);
        naive.map(op.page, op.frame, op.count);
        break;
      case 'unmap':
        domain.unmap(base + BigInt(op.page) * PAGE, BigInt(op.count) * PAGE);
        naive.unmap(op.page, op.count);
        break;
      case 'mark':
        dirty.mark(base + BigInt(op.at), BigInt(op.bytes));
        naive.mark(...pagesOf(op.at, op.bytes));
        break;
      case 'read': {
        const [page, count] = pagesOf(op.at, op.bytes);
        const found: number[] = [];
        dirty.readAndClear(base + BigInt(op.at), BigInt(op.bytes), op.keep, (iova, size) => {
          const first = Number((iova - base) / PAGE);
          for (let at = 0; at < Number(size / PAGE); at++) found.push(first + at);
        });
        assert.deepEqual(found, naive.read(page, count, op.keep));
      }
    }
    for (const unit of naive.units.slice(0, 40)) {
      assert.notEqual(domain.iovaToPhys(base + BigInt(unit.page) * PAGE), undefined);
    }
  }
  assert.equal(domain.mappedBytes, BigInt(naive.units.reduce((sum, { size }) => sum + size, 0)) * PAGE);
}

describe('dirty marks of a RadixDomain against a list of pages', () => {
  const cases: [name: string, pageSizes: readonly number[], basePage: number][] = [
    ['4 KiB and 2 MiB', [4096, 2 ** 21], 2 ** 18],
    ['4 KiB and 2 MiB at the top of the address space', [4096, 2 ** 21], 2 ** 52 - 4 * 512],
    ['4 KiB', [4096], 0],
    ['64 KiB and 2 MiB', [65536, 2 ** 21], 2 ** 31],
    ['2 MiB', [2 ** 21], 0],
  ];
  test.each(cases)('with pages of %s', (_, pageSizes, basePage) => {
    const within = (op: Op): boolean =>
      op.op === 'mark' || op.op === 'read' ? op.at + op.bytes <= SPACE * 4096 : op.page + op.count <= SPACE;
    fc.assert(
      fc.property(arbitraryOps(pageSizes[0]! / 4096), (list) =>
        run(list.filter(within), pageSizes, basePage),
      ),
      { numRuns: 100 },
    );
  });
});
