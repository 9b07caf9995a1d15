import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { IommuError } from '../../src/errors.js';
import { IntervalTree } from '../../src/interval-tree.js';
import type { IoPagetable } from '../../src/io-pagetable.js';
import { PROFILES, type Profile } from '../../src/rules.js';
import { chooseIova } from '../../src/table/choose-iova.js';
import { IoptArea } from '../../src/table/iopt-area.js';
import { TableState } from '../../src/table/table-state.js';
import { between, join, MAX_U64, split } from '../../src/u64.js';
import { expectError } from '../helpers/expect-error.js';
import { propertyRuns } from '../helpers/property-runs.js';
import { RecordingDomain } from '../helpers/recording-domain.js';
import { World } from '../helpers/world.js';
import { chooseNaively } from '../model/naive-choice.js';
import { covered, min, type Range, Refusal } from '../model/naive-ranges.js';

const MOCK_APERTURE = { start: 0x100_0000n, last: 0x7fff_ffffn };
/** The last address of automatic placement. */
const WINDOW_LAST = 0xffff_ffff_ffff_efffn;

/** Maps the closed range [first, last] of a table without domains. */
function fill(table: IoPagetable, first: bigint, last: bigint): Promise<bigint> {
  return table.map({ uptr: 0, iova: first, length: last - first + 1n, prot: 'r' });
}

function place(table: IoPagetable, uptr: bigint, length: bigint): Promise<bigint> {
  return table.map({ uptr, length, prot: 'r' });
}

function fresh(profile: Profile = 'linux-6.12'): IoPagetable {
  return new World().table({ profile });
}

describe('automatic IOVA selection, example by example', () => {
  test('0x200000 + 0x1000 in an empty table: 0x1000', async () => {
    expect(await place(fresh(), 0x200000n, 0x1000n)).toBe(0x1000n);
  });

  test('0x10000 + 0x3000 in an empty table: 0x4000, the length rounded up', async () => {
    expect(await place(fresh(), 0x10000n, 0x3000n)).toBe(0x4000n);
  });

  test('0x7f0000001000 + 0x3000 beside an area [0x1000, 0x1fff]: 0x2000', async () => {
    const table = fresh();
    await fill(table, 0x1000n, 0x1fffn);
    expect(await place(table, 0x7f00_0000_1000n, 0x3000n)).toBe(0x2000n);
  });

  test('0x40000000 + 0x400000: 0x200000, as the alignment ends at 2 MiB', async () => {
    expect(await place(fresh(), 0x4000_0000n, 0x40_0000n)).toBe(0x20_0000n);
  });

  test('0x200800 + 0x1000 with 2048-byte io pages above 16 MiB: 0x1000800', async () => {
    const world = new World();
    world.process.mmap({ uptr: 0x200000n, length: 0x2000n });
    const table = world.table();
    await world.domain(table, new RecordingDomain({ ioPage: 2048, aperture: MOCK_APERTURE }));
    expect(await place(table, 0x200800n, 0x1000n)).toBe(0x100_0800n);
    world.check();
  });

  test.each([64n, 512n])('0x200001 + %d with 512-byte io pages: EINVAL', async (length) => {
    const world = new World();
    const table = world.table();
    await world.domain(table, new RecordingDomain({ ioPage: 512 }));
    await world.unchanged(() => expectError(place(table, 0x200001n, length), 'EINVAL'));
  });

  test('allowed [0x100000, 0x100fff]: 0x100000; one byte less: ENOSPC', async () => {
    const table = fresh();
    await table.setAllowedIova([{ start: 0x100000n, last: 0x100fffn }]);
    expect(await place(table, 0x200000n, 0x1000n)).toBe(0x100000n);
    await table.unmapAll();
    await table.setAllowedIova([{ start: 0x100000n, last: 0x100ffen }]);
    const error = await expectError(place(table, 0x200000n, 0x1000n), 'ENOSPC');
    expect(error.reason).toMatchObject({ check: 'no-space', alignment: '0x1000' });
  });
});

describe('the steps of automatic selection', () => {
  test('a length of 2^63 - 1 and more is EOVERFLOW', async () => {
    for (const length of [0x7fff_ffff_ffff_ffffn, 1n << 63n])
      await expectError(place(fresh(), 0n, length), 'EOVERFLOW');
    expect(await place(fresh(), 0n, 0x7fff_ffff_ffff_fffen)).toBe(0x20_0000n);
  });

  test('user address 0 is aligned to everything', async () => {
    expect(await place(fresh(), 0n, 0x8000n)).toBe(0x8000n);
  });

  test('a user address less aligned than the table is EINVAL, named in the error', async () => {
    const world = new World();
    const table = world.table();
    await world.domain(table, new RecordingDomain({ ioPage: 512 }));
    const error = await expectError(place(table, 0x200100n, 512n), 'EINVAL');
    expect(error.reason).toEqual({
      check: 'alignment',
      what: 'user address',
      value: '0x200100',
      alignment: 512,
    });
  });

  test('neighbouring allowed ranges count as one', async () => {
    const table = fresh();
    await table.setAllowedIova([
      { start: 0x10000n, last: 0x10fffn },
      { start: 0x11000n, last: 0x11fffn },
    ]);
    expect(await place(table, 0x202000n, 0x2000n)).toBe(0x10000n);
  });

  test('an allowed range that is too short is passed over, and so are holes in it', async () => {
    const table = fresh();
    await table.setAllowedIova([
      { start: 0x3000n, last: 0x3fffn },
      { start: 0x8000n, last: 0xffffn },
    ]);
    await fill(table, 0x9000n, 0x9fffn);
    await fill(table, 0xb000n, 0xbfffn);
    expect(await place(table, 0x7000n, 0x2000n)).toBe(0xc000n);
  });

  test('an allowed range from 0 on gives nothing below 0x1000', async () => {
    const table = fresh();
    await table.setAllowedIova([{ start: 0n, last: 0x1fffn }]);
    expect(await place(table, 0x200000n, 0x1000n)).toBe(0x1000n);
    await expectError(place(table, 0x200000n, 0x1000n), 'ENOSPC');
  });

  test('the first and the last page of the space are never chosen', async () => {
    const table = fresh();
    await table.reserveIova({ start: 0x1000n, last: WINDOW_LAST });
    await expectError(place(table, 0x200000n, 1n), 'ENOSPC');
    expect(await fill(table, 0n, 0xfffn)).toBe(0n);
    expect(await fill(table, WINDOW_LAST + 1n, MAX_U64)).toBe(WINDOW_LAST + 1n);
  });

  test('areas and reservations are both avoided, also half-initialised areas', async () => {
    const world = new World();
    const table = world.table();
    await world.domain(table);
    await table.reserveIova({ start: 0x1000n, last: 0x1fffn });
    world.memory.close();
    const first = table.map({ uptr: 0x1000_0000n, iova: 0x2000n, length: 0x1000n, prot: 'r' });
    const second = table.map({ uptr: 0x1000_1000n, length: 0x1000n, prot: 'r' });
    world.memory.open();
    expect(await Promise.all([first, second])).toEqual([0x2000n, 0x3000n]);
  });

  test('the offset is or-ed into the place, not added', async () => {
    const table = fresh();
    await fill(table, 0x1000n, 0x1001n);
    expect(await place(table, 0x10001n, 0x10n)).toBe(0x1003n);
  });

  test('a copy is placed as the user memory of its first byte would be', async () => {
    const table = fresh();
    await table.map({ uptr: 0x4000_0000n, iova: 0x4000_0000n, length: 0x40_0000n, prot: 'r' });
    const copy = (offset: bigint) =>
      table.copy({ from: table, srcIova: 0x4000_0000n + offset, length: 0x4000n, prot: 'r' });
    expect(await copy(0x1000n)).toBe(0x1000n);
    expect(await copy(0x4000n)).toBe(0x8000n);
    expect(await copy(0x2000n)).toBe(0xc000n);
  });
});

describe('automatic selection by profile', () => {
  test('a one-byte map in the last byte of a hole: only rfc-v1 puts it there', async () => {
    for (const profile of ['linux-6.12', 'rfc-v1'] as const) {
      const table = fresh(profile);
      await fill(table, 0x1000n, 0x4fffn);
      await fill(table, 0x5001n, WINDOW_LAST);
      if (profile === 'linux-6.12') await expectError(place(table, 0x5000n, 1n), 'ENOSPC');
      else expect(await place(table, 0x5000n, 1n)).toBe(0x5000n);
    }
  });

  test('only linux ends the alignment at 2 MiB', async () => {
    expect(await place(fresh('linux-6.12'), 0x4000_0000n, 0x40_0000n)).toBe(0x20_0000n);
    expect(await place(fresh('rfc-v1'), 0x4000_0000n, 0x40_0000n)).toBe(0x40_0000n);
  });

  test('rfc-v1 rounds in every hole between areas, linux once', async () => {
    for (const [profile, expected] of [
      ['linux-6.12', 0x1801n],
      ['rfc-v1', 0x1803n],
    ] as const) {
      const table = fresh(profile);
      await fill(table, 0x1000n, 0x1001n);
      await table.reserveIova({ start: 0x1100n, last: 0x1110n });
      expect(await place(table, 0x5801n, 0x100n)).toBe(expected);
    }
  });

  test.each(['linux-6.12', 'rfc-v1'] as const)(
    '%s: rounding up past the last address finds nothing',
    async (profile) => {
      const table = fresh(profile);
      await fill(table, 0x1000n, 0xffff_ffff_ffcf_efffn);
      await expectError(place(table, 0x40_0000n, 0x30_0000n), 'ENOSPC');
      expect(table.areaCount).toBe(1);
    },
  );

  test('rfc-v1: the longest length has no place, as its alignment is 2^63', async () => {
    await expectError(place(fresh('rfc-v1'), 0n, 0x7fff_ffff_ffff_fffen), 'ENOSPC');
  });
});

describe('automatic selection beside a walk over every hole', () => {
  /** Areas, reservations and allowed ranges, as a table has them and as the walk takes them. */
  class Scene {
    readonly table: TableState;
    readonly reserved: Range[] = [];
    readonly #areas = new Map<IoptArea, Range>();
    #allowed: readonly Range[] = [];

    constructor(profile: Profile) {
      this.table = new TableState(profile);
    }

    addArea(range: Range): void {
      const area = new IoptArea(closed(range), 0, 0, 0, 0);
      const node = this.table.areas.insertDisjoint(area, area);
      if (node.value !== area) return;
      area.node = node;
      this.#areas.set(area, range);
    }

    removeAreas(pick: (at: number) => boolean): void {
      for (const [at, area] of [...this.#areas.keys()].entries()) {
        if (!pick(at)) continue;
        this.table.areas.delete(area.node!);
        this.#areas.delete(area);
      }
    }

    reserve(range: Range): void {
      this.table.reserved.insert(closed(range), { owner: null });
      this.reserved.push(range);
    }

    allow(ranges: readonly Range[]): void {
      this.table.allowed = new IntervalTree();
      for (const range of ranges) this.table.allowed.insert(closed(range), undefined);
      this.#allowed = ranges;
    }

    /** Where the table puts a mapping, or the errno, after a comparison with the walk. */
    choose(user: bigint, length: bigint): bigint | string {
      const { rules, alignment } = this.table;
      const areas = [...this.#areas.values()];
      const ground = {
        rules,
        alignment: BigInt(alignment),
        areas,
        reserved: this.reserved,
        allowed: this.#allowed,
      };
      const place = answer(() => {
        const found = chooseIova(this.table, split(user), split(length));
        return join(found.page, found.offset);
      });
      expect(place).toBe(answer(() => chooseNaively(ground, user, length)));
      this.table.areas.verify();
      return place;
    }
  }

  const closed = ({ start, last }: Range) => between(split(start), split(last));

  function answer(ask: () => bigint): bigint | string {
    try {
      return ask();
    } catch (error) {
      if (error instanceof IommuError || error instanceof Refusal) return error.code;
      throw error;
    }
  }

  type Step = (scene: Scene) => void;
  const PAGE = 4096n;
  const bases = [PAGE, 1n << 32n, (1n << 44n) - 16n * PAGE, WINDOW_LAST + 1n - 96n * PAGE, 1n << 63n];
  const unit = fc.constantFrom(PAGE, PAGE, PAGE, 64n * PAGE, 0x100n, 1n);
  const count = (most: bigint) => fc.bigInt({ min: 0n, max: most });
  const range = fc
    .tuple(fc.constantFrom(...bases), unit, count(90n), count(12n))
    .map(([base, step, from, more]): Range => {
      const start = min(base + from * step, MAX_U64);
      return { start, last: min(start + (more + 1n) * step - 1n, MAX_U64) };
    });
  const length = fc.oneof(
    fc.tuple(unit, count(12n)).map(([step, more]) => (more + 1n) * step),
    fc.constantFrom(0x20_0000n, 0x20_1000n, 0x7f_f000n, 1n << 45n),
  );
  const user = fc
    .tuple(count(500n), fc.integer({ min: 0, max: 24 }))
    .map(([factor, order]) => factor << BigInt(order));

  const addArea = range.map(
    (one): Step =>
      (scene) =>
        scene.addArea(one),
  );
  const removeAreas = fc.tuple(fc.nat(), fc.integer({ min: 1, max: 6 })).map(
    ([from, every]): Step =>
      (scene) =>
        scene.removeAreas((at) => (at + from) % every === 0),
  );
  const reserve = range.map(
    (one): Step =>
      (scene) =>
        scene.reserve(one),
  );
  const allow = fc.array(range, { maxLength: 4 }).map(
    (ranges): Step =>
      (scene) =>
        scene.allow(covered(ranges, { start: 0n, last: MAX_U64 })),
  );
  const choose = fc.tuple(user, length).map(
    ([from, bytes]): Step =>
      (scene) =>
        void scene.choose(from, bytes),
  );
  /** Places many mappings of one kind, as a program does, or until there is no room. */
  const fillUp = fc.tuple(user, length, fc.integer({ min: 2, max: 12 })).map(
    ([from, bytes, times]): Step =>
      (scene) => {
        for (let time = 0; time < times; time++) {
          const place = scene.choose(from, bytes);
          if (typeof place === 'string') return;
          scene.addArea({ start: place, last: place + bytes - 1n });
        }
      },
  );

  test.each(PROFILES)('%s: finds the same place', (profile) => {
    const step = fc.oneof(
      { weight: 4, arbitrary: addArea },
      { weight: 3, arbitrary: removeAreas },
      { weight: 2, arbitrary: reserve },
      { weight: 2, arbitrary: allow },
      { weight: 6, arbitrary: choose },
      { weight: 6, arbitrary: fillUp },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30, size: 'max' }), (steps) => {
        const scene = new Scene(profile);
        for (const one of steps) one(scene);
      }),
      { numRuns: propertyRuns(400) },
    );
  });
});
