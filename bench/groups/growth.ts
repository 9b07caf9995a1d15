/**
 * How what an operation costs grows with the number of areas, for those that no other group has.
 */
import type { GroupRun } from '../harness/group.js';
import type { Subject } from '../harness/side-by-side.js';
import { OURS } from '../results.js';
import type { RowName } from '../rows.js';
import { IoptAccess, RadixDomain } from '../scene/core.js';
import { BASE, PAGE, type Space, spaceOf } from '../scene/space.js';

const SIZES = [1000, 10_000, 100_000];
const QUICK_SIZES = [1000, 5000, 25_000];
const LARGEST = 1_000_000;
/** Far above all areas. */
const ELSEWHERE = 2 ** 48;
const ONE_PAGE = 4096n;
const TWO_PAGES = 8192n;

/** An operation on one area after the other, in random order. */
function onAreas(row: RowName, { areas, iovas }: Space, step: (iova: bigint) => void): Subject {
  let at = 0;
  return {
    row,
    subject: OURS,
    size: areas,
    run(count) {
      for (let call = 0; call < count; call++) {
        step(iovas[at]!);
        if (++at === areas) at = 0;
      }
    },
  };
}

function onAreasLater(row: RowName, space: Space, step: (iova: bigint) => Promise<unknown>): Subject {
  const { areas, iovas } = space;
  let at = 0;
  return {
    row,
    subject: OURS,
    size: areas,
    async run(count) {
      for (let call = 0; call < count; call++) {
        await step(iovas[at]!);
        if (++at === areas) at = 0;
      }
    },
  };
}

async function withDomain(space: Space): Promise<Subject[]> {
  const { table, ram } = space;
  const domain = space.domain!;
  const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
  await access.attach(table);
  await table.setDirtyTracking(domain, true);
  const { uptr } = ram;
  const buffer = new Uint8Array(64);
  const bitmap = new Uint8Array(1);
  return [
    onAreas('chooseIova', space, () => {
      table.unmapSync(table.mapSync({ uptr, length: ONE_PAGE, prot: 'rw' }), ONE_PAGE);
    }),
    onAreas('copyPage', space, (srcIova) => {
      table.copySync({ from: table, srcIova, iova: ELSEWHERE, length: ONE_PAGE, prot: 'rw' });
      table.unmapSync(ELSEWHERE, ONE_PAGE);
    }),
    onAreas('readWord', space, (iova) => access.readSync(iova, buffer)),
    onAreas('pinPage', space, (iova) => {
      access.pinSync(iova, ONE_PAGE);
      access.unpinSync(iova, ONE_PAGE);
    }),
    onAreasLater('readDirty', space, (iova) =>
      table.readDirty({ domain, iova, length: ONE_PAGE, pageSize: ONE_PAGE, bitmap }),
    ),
  ];
}

function withoutDomain(space: Space): Subject[] {
  const { table, ram } = space;
  const owner = {};
  return [
    onAreasLater('cutPages', space, async () => {
      await table.map({ iova: ELSEWHERE, uptr: ram.uptr, length: TWO_PAGES, prot: 'rw' });
      await table.cutIova([ELSEWHERE + PAGE - 1]);
      await table.unmap(ELSEWHERE, TWO_PAGES);
    }),
    onAreasLater('reserve', space, async () => {
      await table.reserveIova({ start: ELSEWHERE, last: ELSEWHERE + PAGE - 1, owner });
      await table.removeReservedIova(owner);
    }),
  ];
}

/** Chooses from a table whose only hole is behind all areas. */
async function packed(size: number): Promise<Subject> {
  const space = await spaceOf(size, { domain: false, packed: true });
  const { table, ram } = space;
  await table.reserveIova({ start: 0, last: BASE - 1 });
  return onAreas('choosePacked', space, () => {
    table.unmapSync(table.mapSync({ uptr: ram.uptr, length: ONE_PAGE, prot: 'rw' }), ONE_PAGE);
  });
}

/** Operations on every area; a batch is one of them, counted as the areas. Each needs a new table. */
function onWhole(
  row: RowName,
  size: number,
  domain: boolean,
  step: (space: Space) => Promise<void>,
): Subject {
  let space: Space | undefined;
  return {
    row,
    subject: OURS,
    size,
    batch: size,
    async prepare() {
      space = await spaceOf(size, { domain });
    },
    run: () => step(space!),
    restore() {
      space = undefined;
    },
  };
}

async function fillAndEmpty({ table }: Space): Promise<void> {
  const domain = new RadixDomain();
  await table.addDomain(domain);
  await table.removeDomain(domain);
}

async function unmapAll({ table }: Space): Promise<void> {
  await table.unmapAll();
}

/** All subjects of one size. */
async function subjectsOf(size: number): Promise<Subject[]> {
  return [
    ...(await withDomain(await spaceOf(size, { domain: true, dirty: true }))),
    ...withoutDomain(await spaceOf(size, { domain: false })),
    await packed(size),
  ];
}

/** The rows of the group. The largest tables come after the others are gone, alone: they fill the heap. */
export async function growthGroup(run: GroupRun): Promise<void> {
  const subjects: Subject[] = [];
  const sizes = run.sizes(SIZES, QUICK_SIZES);
  for (const size of sizes) subjects.push(...(await subjectsOf(size)));
  await run.measure(subjects);
  subjects.length = 0;
  if (!run.quick) await run.measure(await subjectsOf(LARGEST));
  for (const size of run.quick ? sizes : [...sizes, LARGEST]) {
    const whole = [
      onWhole('fillDomain', size, false, fillAndEmpty),
      onWhole('unmapAll', size, true, unmapAll),
    ];
    // The larger ones are warm from the others, and take their time.
    if (size > 10_000) await run.measureWhole(whole, 3, 0);
    else await run.measureWhole(whole, 7);
  }
}
