/** A RadixDomain with contiguous entries against a list of its pages, each of which has its one mark. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RadixDomain } from '../../src/domain/radix-domain.js';

const PAGE = 4096n;

/** A page of any size, in units of 4096 bytes. */
interface Unit {
  readonly page: number;
  readonly frame: number;
  readonly size: number;
  dirty: boolean;
}

class NaivePages {
  units: Unit[] = [];
  readonly #sizes: readonly number[];

  /** @param sizes - in units of 4096 bytes, ascending */
  constructor(sizes: readonly number[]) {
    this.#sizes = sizes;
  }

  touched(page: number, count: number): Unit[] {
    return this.units
      .filter((unit) => page < unit.page + unit.size && unit.page < page + count)
      .sort((a, b) => a.page - b.page);
  }

  map(page: number, frame: number, count: number, dirty = false): void {
    for (let done = 0; done < count; ) {
      const fits = (size: number) =>
        (page + done) % size === 0 && (frame + done) % size === 0 && size <= count - done;
      const size = this.#sizes.findLast(fits)!;
      this.units.push({ page: page + done, frame: frame + done, size, dirty });
      done += size;
    }
  }

  unmap(page: number, count: number): void {
    for (const unit of this.touched(page, count)) {
      this.units.splice(this.units.indexOf(unit), 1);
      const before = page - unit.page;
      if (before > 0) this.map(unit.page, unit.frame, before, unit.dirty);
      const gone = page + count - unit.page;
      if (gone < unit.size) this.map(unit.page + gone, unit.frame + gone, unit.size - gone, unit.dirty);
    }
  }

  mark(page: number, count: number): void {
    for (const unit of this.touched(page, count)) unit.dirty = true;
  }

  read(page: number, count: number, keep: boolean): [page: number, count: number][] {
    const found = this.touched(page, count).filter((unit) => unit.dirty);
    if (!keep) for (const unit of found) unit.dirty = false;
    return found.map(({ page, size }) => [page, size]);
  }
}

interface Op {
  readonly op: 'map' | 'unmap' | 'mark' | 'read' | 'keep';
  readonly page: number;
  readonly count: number;
  readonly frame: number;
}

const SPACE = 4 * 512;

function arbitraryOps(ioPages: number): fc.Arbitrary<Op[]> {
  const whole = (page: number) => page - (page % ioPages);
  const page = fc.oneof(fc.nat(SPACE - 1), fc.constantFrom(0, 16, 512, 1024)).map(whole);
  const count = fc
    .oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: SPACE }), fc.constantFrom(64, 1024))
    .map((pages) => Math.max(whole(pages), ioPages));
  const kind = fc.constantFrom('map', 'map', 'unmap', 'mark', 'mark', 'read', 'keep' as const);
  const op = fc
    .record({ op: kind, page, count, offset: fc.constantFrom(0, ioPages, 4 * ioPages, 512, SPACE) })
    .map(({ op, page, count, offset }) => ({ op, page, count, frame: page + offset }) as Op);
  return fc.array(op, { minLength: 1, maxLength: 30, size: 'max' });
}

function run(
  list: readonly Op[],
  pageSizes: readonly number[] | undefined,
  basePage: number,
  shared: boolean,
) {
  const domain = new RadixDomain({ pageSizes, contiguous: true, dirty: true, shared });
  // Readers may be there: changes are made in the way that they see no half of one.
  if (shared) domain.share();
  const dirty = domain.dirty!;
  dirty.setTracking(true);
  const bytesOf = ({ page, count }: Op) => [BigInt(basePage + page) * PAGE, BigInt(count) * PAGE] as const;
  const sizes = pageSizes ?? Array.from({ length: 28 }, (_, order) => 4096 * 2 ** order);
  const naive = new NaivePages(sizes.map((size) => size / 4096));
  for (const op of list) {
    const { page, count, frame } = op;
    if (page + count > SPACE) continue;
    const [iova, bytes] = bytesOf(op);
    switch (op.op) {
      case 'map':
        if (naive.touched(page, count).length > 0) break;
        domain.map(iova, BigInt(frame) * PAGE, bytes, 3);
        naive.map(page, frame, count);
        break;
      case 'unmap':
        domain.unmap(iova, bytes);
        naive.unmap(page, count);
        break;
      case 'mark':
        dirty.mark(iova, bytes);
        naive.mark(page, count);
        break;
      default: {
        const found: [number, number][] = [];
        dirty.readAndClear(iova, bytes, op.op === 'keep', (at, size) => {
          found.push([Number(at / PAGE) - basePage, Number(size / PAGE)]);
        });
        assert.deepEqual(found, naive.read(page, count, op.op === 'keep'));
      }
    }
    for (const unit of naive.units.slice(-20)) {
      const first = BigInt(basePage + unit.page) * PAGE;
      const [size, physical] = [BigInt(unit.size) * PAGE, BigInt(unit.frame) * PAGE];
      assert.deepEqual(domain.pageAt(first), { iova: first, size, physical, dirty: unit.dirty });
      assert.deepEqual(domain.pageAt(first + size - 1n)?.iova, first);
      assert.deepEqual(domain.translate(first + 1n), {
        physical: physical + 1n,
        protection: 3,
        length: size - 1n,
      });
    }
  }
  assert.equal(domain.mappedBytes, BigInt(naive.units.reduce((sum, { size }) => sum + size, 0)) * PAGE);
}

describe('contiguous entries against a list of pages', () => {
  const cases: [name: string, pageSizes: readonly number[] | undefined, basePage: number][] = [
    ['all sizes', undefined, 2 ** 18],
    ['all sizes at the top of the address space', undefined, 2 ** 52 - SPACE],
    ['4 KiB, 64 KiB and 2 MiB', [4096, 2 ** 16, 2 ** 21], 2 ** 31],
    ['4 KiB and 4 MiB, which is of entries of two tables', [4096, 2 ** 22], 0],
    ['64 KiB and 1 MiB', [2 ** 16, 2 ** 20], 0],
    ['2 MiB and 4 MiB', [2 ** 21, 2 ** 22], 2 ** 40],
  ];
  test.each(cases)('of %s', (_, pageSizes, basePage) => {
    fc.assert(
      fc.property(arbitraryOps((pageSizes?.[0] ?? 4096) / 4096), fc.boolean(), (list, shared) =>
        run(list, pageSizes, basePage, shared),
      ),
      { numRuns: 60 },
    );
  });
});

describe('contiguous entries', () => {
  test('are not there unless asked for: a size that no level has is kept as smaller pages', () => {
    const pageSizes = [4096, 2 ** 16];
    const sizeAt = (options: { contiguous?: boolean }) => {
      const domain = new RadixDomain({ pageSizes, ...options });
      domain.map(0n, 0n, 0x10000n, 3);
      return domain.pageAt(0x1800n);
    };
    expect(sizeAt({})).toEqual({ iova: 0x1000n, size: PAGE, physical: 0x1000n, dirty: false });
    expect(sizeAt({ contiguous: true })).toEqual({ iova: 0n, size: 0x10000n, physical: 0n, dirty: false });
    expect(new RadixDomain({ contiguous: true }).pageSizeBitmap).toBe(2n ** 40n - PAGE);
  });

  test('leave no page where a map failed', () => {
    const domain = new RadixDomain({ contiguous: true });
    domain.map(0x8000n, 0n, PAGE, 3);
    expect(() => domain.map(0n, 0x10_0000n, 0x10000n, 3)).toThrow(/0x8000/);
    expect(domain.pageAt(0n)).toBeUndefined();
    expect(domain.pageAt(0x8000n)?.size).toBe(PAGE);
  });

  test('can be 512 GiB', () => {
    const domain = new RadixDomain({ contiguous: true });
    domain.map(0n, 0n, 2n ** 39n + PAGE, 3);
    expect(domain.pageAt(5n)?.size).toBe(2n ** 39n);
    domain.unmap(PAGE, PAGE);
    expect([0n, 2n * PAGE, 2n ** 38n].map((at) => domain.pageAt(at)?.size)).toEqual([
      PAGE,
      2n * PAGE,
      2n ** 38n,
    ]);
  });

  test('are chosen with a boolean', () => {
    // @ts-expect-error what a caller without types may pass
    expect(() => new RadixDomain({ contiguous: 1 })).toThrow(TypeError);
  });
});
