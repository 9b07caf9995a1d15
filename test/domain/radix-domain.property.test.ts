import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, test } from 'vitest';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { IommuError } from '../../src/errors.js';
import { FrameRuns } from '../../src/memory/frame-runs.js';
import { type Extent, NaiveMappings } from './naive-mappings.js';

const PAGE = 4096n;
const LAST_PAGE = 2 ** 52 - 1;
const MEGA = 2 ** 9;
const GIGA = 2 ** 18;
const TERA = 2 ** 28;

type Op =
  | ({ readonly op: 'map' } & Extent)
  | {
      readonly op: 'scatter';
      readonly page: number;
      readonly frames: readonly number[];
      readonly protection: number;
    }
  | { readonly op: 'unmap'; readonly page: number; readonly count: number };

/** Page numbers around which something changes in the table or in the arithmetic. */
const corners = [0, MEGA, GIGA, 2 ** 27, TERA, 2 ** 31, 2 ** 32, 2 ** 36, 2 ** 41, 2 ** 45, 2 ** 51, 2 ** 52];

const nearCorner = fc
  .tuple(fc.constantFrom(...corners), fc.integer({ min: -2 * MEGA, max: 2 * MEGA }))
  .map(([corner, by]) => Math.min(Math.max(corner + by, 0), LAST_PAGE));

const smallCount = fc.oneof(
  fc.integer({ min: 1, max: 8 }),
  fc.constantFrom(MEGA - 1, MEGA, MEGA + 1, 2 * MEGA, 3 * MEGA),
);

const protection = fc.integer({ min: 0, max: 3 });

const below = (page: number, count: number): number => Math.min(page, LAST_PAGE + 1 - count);

/** Frames with the same position in a large page as the IOVA, or with any other. */
const smallMap: fc.Arbitrary<Op> = fc
  .record({
    page: nearCorner,
    count: smallCount,
    protection,
    base: fc.nat(3),
    shift: fc.constantFrom(0, 0, 1, 77),
  })
  .map(({ page: wanted, count, base, shift, protection }) => {
    const page = below(wanted, count);
    return { op: 'map', page, count, protection, frame: base * 2 ** 32 + (page % MEGA) + shift };
  });

const largeMap: fc.Arbitrary<Op> = fc
  .record({
    giga: fc.constantFrom(0, 1, 511, 512, 513, 2 ** 18 - 1, 2 ** 33, 2 ** 34 - 1025),
    count: fc.constantFrom(GIGA, 2 * GIGA, 3 * GIGA + MEGA, GIGA + MEGA + 1, TERA),
    frame: fc.constantFrom(0, GIGA, 2 ** 40 - 2 * TERA),
    protection,
  })
  .map(({ giga, ...rest }) => ({ op: 'map', page: giga * GIGA, ...rest }));

const scatter: fc.Arbitrary<Op> = fc
  .record({
    page: nearCorner,
    frames: fc.array(fc.nat(2 ** 20), { minLength: 1, maxLength: 700, size: 'max' }),
    protection,
  })
  .map(({ page, frames, protection }) => ({
    op: 'scatter',
    page: below(page, frames.length),
    frames,
    protection,
  }));

/** Small and large ranges around the corners, and parts of what `largeMap` maps. */
const unmap: fc.Arbitrary<Op> = fc
  .oneof(
    fc.tuple(nearCorner, fc.oneof(smallCount, fc.constantFrom(GIGA, TERA, 2 ** 45))),
    fc
      .tuple(fc.constantFrom(0, 1, 511, 512), fc.nat(3 * MEGA), smallCount)
      .map(([giga, page, count]): [number, number] => [giga * GIGA + page, count]),
  )
  .map(([page, count]) => ({ op: 'unmap', page: below(page, count), count }));

const ops = (...sources: fc.Arbitrary<Op>[]) =>
  fc.array(fc.oneof(...sources), { minLength: 1, maxLength: 25, size: 'max' });

class LockStep {
  readonly domain: RadixDomain;
  readonly naive = new NaiveMappings();

  constructor(pageSizes: readonly number[]) {
    this.domain = new RadixDomain({ pageSizes });
  }

  apply(op: Op): void {
    if (op.op === 'unmap') {
      this.domain.pages!.unmap(op.page, op.count);
      this.naive.unmap(op.page, op.count);
    } else {
      this.map(op);
    }
    this.compare(op.page, op.op === 'scatter' ? op.frames.length : op.count);
  }

  private map(op: Exclude<Op, { op: 'unmap' }>): void {
    const extents: Extent[] =
      op.op === 'map'
        ? [op]
        : op.frames.map((frame, at) => ({ page: op.page + at, count: 1, frame, protection: op.protection }));
    const frames = new FrameRuns();
    for (const { frame, count } of extents) frames.push(frame, count);
    const tables = this.domain.tables;
    const taken = this.naive.overlaps(op.page, frames.frames);
    try {
      this.domain.pages!.map(op.page, frames, 0, frames.frames, op.protection);
    } catch (error) {
      if (!(error instanceof IommuError)) throw error;
      assert.equal(error.code, 'EEXIST');
      assert.ok(taken, error.message);
      assert.equal(this.domain.tables, tables);
      return;
    }
    assert.ok(!taken, 'mapped over a mapping');
    for (const extent of extents) this.naive.map(extent);
  }

  private compare(page: number, count: number): void {
    const { domain, naive } = this;
    assert.equal(domain.mappedBytes, BigInt(naive.pages) * PAGE);
    // All of a few extents, or a sample of many.
    const stride = Math.ceil(naive.extents.length / 16);
    const sample = naive.extents.filter((_, at) => at % stride === 0);
    const ends = sample.flatMap((extent) => [extent.page, extent.page + extent.count - 1]);
    ends.push(page, page + count - 1);
    for (const place of new Set(ends.flatMap((at) => [at - 1, at, at + 1]))) {
      if (place >= 0 && place <= LAST_PAGE) this.comparePage(place);
    }
    for (const extent of sample) {
      const frames = new FrameRuns();
      domain.pages!.frames(extent.page, extent.count, frames);
      assert.deepEqual([frames.runs, frames.frames, frames.pfnOf(0)], [1, extent.count, extent.frame]);
    }
  }

  private comparePage(page: number): void {
    const frame = this.naive.frameAt(page);
    const iova = BigInt(page) * PAGE + 123n;
    const physical = frame < 0 ? undefined : BigInt(frame) * PAGE + 123n;
    assert.equal(this.domain.iovaToPhys(iova), physical);
    const narrow = Number(iova);
    if (Number.isSafeInteger(narrow)) {
      assert.equal(this.domain.iovaToPhys(narrow), physical === undefined ? undefined : Number(physical));
    }
    const translation = this.domain.translate(iova);
    assert.equal(translation?.physical, physical);
    assert.equal(translation?.protection, this.naive.find(page)?.protection);
    if (translation !== undefined) {
      const last = page + Number((translation.length + 123n) / PAGE) - 1;
      assert.equal(this.naive.frameAt(last), frame + (last - page));
    }
  }
}

describe('RadixDomain against a list of extents', () => {
  const cases: [name: string, pageSizes: readonly number[], steps: fc.Arbitrary<Op[]>][] = [
    ['4 KiB, 2 MiB and 1 GiB', [4096, 2 ** 21, 2 ** 30], ops(smallMap, largeMap, scatter, unmap, unmap)],
    ['all four sizes', [4096, 2 ** 21, 2 ** 30, 2 ** 39], ops(smallMap, largeMap, unmap, unmap)],
    ['4 KiB and 2 MiB', [4096, 2 ** 21], ops(smallMap, scatter, unmap)],
    ['4 KiB alone', [4096], ops(smallMap, scatter, unmap)],
    ['sizes between the levels', [4096, 65536, 2 ** 25], ops(smallMap, scatter, unmap)],
  ];
  test.each(cases)('with %s', (_, pageSizes, steps) => {
    fc.assert(
      fc.property(steps, (list) => {
        const both = new LockStep(pageSizes);
        const { tables } = both.domain;
        for (const op of list) both.apply(op);
        both.apply({ op: 'unmap', page: 0, count: 2 ** 52 });
        assert.equal(both.domain.tables, tables);
        assert.ok(both.domain.tableBytes <= 2 ** 20);
      }),
      { numRuns: 60 },
    );
  });
});
