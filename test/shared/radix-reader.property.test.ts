/** A reader in the same thread against the domain that it reads, request by request. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, test } from 'vitest';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { RadixReader } from '../../src/domain/radix-reader.js';
import { IommuError } from '../../src/errors.js';

const PAGE = 4096n;
const PAST = 2 ** 52;
const MEGA = 2 ** 9;
const GIGA = 2 ** 18;

type Op =
  | { readonly op: 'map'; readonly page: number; readonly count: number; readonly frame: number }
  | { readonly op: 'unmap' | 'mark' | 'clean'; readonly page: number; readonly count: number };

/** Where tables begin and roots are raised. */
const corners = [0, MEGA, GIGA, 2 ** 27, 2 ** 36, 2 ** 45, 2 ** 51, PAST];

const page = fc
  .tuple(fc.constantFrom(...corners), fc.integer({ min: -2 * MEGA, max: 2 * MEGA }))
  .map(([corner, by]) => Math.min(Math.max(corner + by, 0), PAST - 1));
const count = fc.oneof(
  fc.integer({ min: 1, max: 5 }),
  fc.constantFrom(MEGA - 1, MEGA, 2 * MEGA, GIGA, GIGA + MEGA + 1),
);
const range = fc
  .record({ page, count })
  .map((wanted) => ({ ...wanted, page: Math.min(wanted.page, PAST - wanted.count) }));

const op: fc.Arbitrary<Op> = fc.oneof(
  {
    weight: 3,
    arbitrary: range.map((at) => ({ op: 'map' as const, ...at, frame: 2 ** 33 + (at.page % GIGA) })),
  },
  { weight: 2, arbitrary: range.map((at) => ({ op: 'unmap' as const, ...at })) },
  { weight: 1, arbitrary: range.map((at) => ({ op: 'mark' as const, ...at })) },
  { weight: 1, arbitrary: range.map((at) => ({ op: 'clean' as const, ...at })) },
);

/** Does the same to two domains: in one of them a reader sets the marks. */
class Twins {
  readonly shared: RadixDomain;
  readonly plain: RadixDomain;
  readonly reader: RadixReader;

  constructor(pageSizes: readonly number[]) {
    this.shared = new RadixDomain({ pageSizes, dirty: true, shared: true });
    this.plain = new RadixDomain({ pageSizes, dirty: true });
    this.reader = RadixReader.from(structuredClone(this.shared.share()));
    for (const domain of [this.shared, this.plain]) domain.dirty?.setTracking(true);
  }

  apply(step: Op): void {
    const iova = BigInt(step.page) * PAGE;
    const size = BigInt(step.count) * PAGE;
    if (step.op === 'mark') {
      this.reader.dirty.mark(iova, size);
      this.plain.dirty?.mark(iova, size);
    } else {
      assert.deepEqual(...this.both((domain) => outcome(domain, step, iova, size)));
    }
    this.compare(step);
  }

  private both<T>(of: (domain: RadixDomain) => T): [T, T] {
    return [of(this.shared), of(this.plain)];
  }

  private compare(step: Op): void {
    assert.deepEqual(...this.both(({ mappedBytes, tables }) => [mappedBytes, tables]));
    const last = step.page + step.count - 1;
    for (const at of [step.page - 1, step.page, step.page + MEGA, last - 1, last, last + 1, ...corners]) {
      if (at < 0 || at >= PAST) continue;
      const iova = BigInt(at) * PAGE + 77n;
      const expected = this.plain.translate(iova);
      assert.deepEqual(this.reader.translate(iova), expected);
      assert.equal(this.reader.iovaToPhys(iova), expected?.physical);
      if (Number.isSafeInteger(Number(iova))) {
        assert.equal(this.reader.iovaToPhys(Number(iova)), expected && Number(expected.physical));
      }
    }
  }
}

function outcome(domain: RadixDomain, step: Op, iova: bigint, size: bigint): unknown {
  if (step.op === 'unmap') return domain.unmap(iova, size);
  if (step.op === 'map') {
    try {
      return domain.map(iova, BigInt(step.frame) * PAGE, size, 1 + (step.count % 3));
    } catch (error) {
      return error instanceof IommuError ? [error.code, error.reason] : error;
    }
  }
  const dirty: [bigint, bigint][] = [];
  domain.dirty?.readAndClear(iova, size, false, (at, length) => dirty.push([at, length]));
  return dirty;
}

describe('RadixReader against its domain, and a shared domain against one that is not', () => {
  test.each([
    ['4 KiB, 2 MiB and 1 GiB', [4096, 2 ** 21, 2 ** 30]],
    ['4 KiB and 2 MiB', [4096, 2 ** 21]],
    ['4 KiB and 1 GiB', [4096, 2 ** 30]],
  ])('with %s', (_, pageSizes) => {
    fc.assert(
      fc.property(fc.array(op, { minLength: 1, maxLength: 25, size: 'max' }), (steps) => {
        const twins = new Twins(pageSizes);
        for (const step of steps) twins.apply(step);
        twins.apply({ op: 'unmap', page: 0, count: PAST - 1 });
        twins.apply({ op: 'clean', page: 1, count: PAST - 1 });
      }),
      { numRuns: pageSizes.includes(2 ** 21) ? 60 : 6 },
    );
  });
});
