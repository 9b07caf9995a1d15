/**
 * Situations that random operations hardly ever reach, on the library and the naive model side by side.
 */
import { describe, expect, test } from 'vitest';
import { runInLockStep } from '../model/lock-step.js';
import type { Hex, Op } from '../model/ops.js';
import type { LockStepOptions } from '../model/pairs.js';

/** An operation and what its transcript line ends with. */
type Step = readonly [Op, string];

function corner(
  name: string,
  steps: readonly Step[],
  options: LockStepOptions = { profile: 'linux-6.12' },
): void {
  test(name, async () => {
    const { transcript, failure } = await runInLockStep(
      steps.map(([op]) => op),
      options,
    );
    if (failure !== undefined) throw failure.error;
    steps.forEach(([, answer], at) => {
      expect(transcript[at]!.split(' -> ')[1]).toBe(answer);
    });
  });
}

const map = (table: number, iova: Hex | null, uptr: Hex, length: Hex): Op => {
  return { op: 'map', table, iova, uptr, length, prot: 'rw', charged: 'user' };
};
const unmap = (table: number, at: Hex, length: Hex): Op => ({ op: 'unmap', table, range: { at, length } });
const pin = (access: number, at: Hex, length: Hex): Op => {
  return { op: 'pin', access, range: { at, length }, write: true };
};
/** The answer to a pin of page `page` of the first region: its frames follow each other from 4 GiB on, the first there are. */
const pinned = (page: number): string => `OK ${2 ** 20 + page}`;
const copy = (table: number, from: number, at: Hex, length: Hex, iova: Hex): Op => {
  return { op: 'copy', table, from, source: { at, length }, iova, prot: 'rw' };
};
const reserve = (start: Hex, length: Hex): Op => ({ op: 'reserve', table: 0, start, length, owner: 0 });

describe('choice of IOVA', () => {
  corner('the alignment is at most 2 MiB', [
    [map(0, null, '0x40000000', '0x400000'), 'OK 0x200000'],
    [map(0, null, '0x40000000', '0x400000'), 'OK 0x600000'],
  ]);
  corner(
    'rfc-v1: the alignment has no limit',
    [
      [map(0, null, '0x40000000', '0x400000'), 'OK 0x400000'],
      [map(0, null, '0x40000000', '0x400000'), 'OK 0x800000'],
    ],
    { profile: 'rfc-v1' },
  );
  const hole: readonly Step[] = [
    [reserve('0x0', '0x5000'), 'OK'],
    [reserve('0x5001', '0xffffffffffffafff'), 'OK'],
  ];
  corner('the last byte of a hole is never chosen', [
    ...hole,
    [map(0, null, '0x10000', '0x1'), 'ENOSPC'],
    [map(0, '0x5000', '0x10000', '0x1'), 'OK 0x5000'],
  ]);
  corner(
    'rfc-v1: the last byte of a hole is chosen',
    [...hole, [map(0, null, '0x10000', '0x1'), 'OK 0x5000']],
    {
      profile: 'rfc-v1',
    },
  );
  const odd: readonly Step[] = [
    [map(0, '0x1000', '0x10000', '0x2'), 'OK 0x1000'],
    [reserve('0x1100', '0x11'), 'OK'],
  ];
  corner('odd offsets: rounded once for the window', [
    ...odd,
    [map(0, null, '0x10801', '0x100'), 'OK 0x1801'],
  ]);
  corner(
    'rfc-v1: odd offsets: rounded in each hole',
    [...odd, [map(0, null, '0x10801', '0x100'), 'OK 0x1803']],
    { profile: 'rfc-v1' },
  );
  corner('rounding up past the end is no wrap to 0', [
    [reserve('0x1000', '0xffffffffffcfe000'), 'OK'],
    [map(0, null, '0x40000000', '0x300000'), 'ENOSPC'],
  ]);
  corner(
    'rfc-v1: rounding up past the end is no wrap to 0',
    [
      [reserve('0x1000', '0xffffffffffcfe000'), 'OK'],
      [map(0, null, '0x40000000', '0x300000'), 'ENOSPC'],
    ],
    { profile: 'rfc-v1' },
  );
});

describe('allowed ranges', () => {
  corner('the first page is not chosen even if it is allowed', [
    [{ op: 'allow', table: 0, ranges: [{ start: '0x0', last: '0x1fff' }] }, 'OK'],
    [map(0, null, '0x10000', '0x1000'), 'OK 0x1000'],
    [map(0, null, '0x10000', '0x1000'), 'ENOSPC'],
  ]);
  corner('adjacent ranges are one', [
    [
      {
        op: 'allow',
        table: 0,
        ranges: [
          { start: '0x5000', last: '0x5fff' },
          { start: '0x3000', last: '0x4fff' },
        ],
      },
      'OK',
    ],
    [map(0, null, '0x10000', '0x2000'), 'OK 0x4000'],
  ]);
});

describe('unmap and accesses that do not let go', () => {
  corner('100 notices are answered, the 101st is the last', [
    [{ op: 'attach', access: 0, table: 0 }, 'OK'],
    [map(0, '0x1000', '0x10000', '0x1000'), 'OK 0x1000'],
    [map(0, '0x2000', '0x11000', '0x1000'), 'OK 0x2000'],
    [pin(0, '0x2000', '0x1000'), pinned(1)],
    [{ op: 'ignore', access: 0, notices: 100 }, 'done'],
    [unmap(0, '0x1000', '0x2000'), 'EDEADLOCK after 0x1000 bytes'],
    [pin(0, '0x2000', '0x1000'), 'EINVAL'],
    [unmap(0, '0x2000', '0x1000'), 'OK 0x1000'],
  ]);
  corner('99 ignored notices are borne', [
    [{ op: 'attach', access: 0, table: 0 }, 'OK'],
    [map(0, '0x2000', '0x11000', '0x1000'), 'OK 0x2000'],
    [pin(0, '0x2000', '0x1000'), pinned(1)],
    [{ op: 'ignore', access: 0, notices: 99 }, 'done'],
    [unmap(0, '0x2000', '0x1000'), 'OK 0x1000'],
  ]);
  corner('a freed place in the list of accesses is taken again, so the newcomer is told first', [
    [{ op: 'attach', access: 0, table: 0 }, 'OK'],
    [{ op: 'attach', access: 1, table: 0 }, 'OK'],
    [{ op: 'detach', access: 0 }, 'OK'],
    [{ op: 'attach', access: 2, table: 0 }, 'OK'],
    [map(0, '0x2000', '0x11000', '0x1000'), 'OK 0x2000'],
    [pin(1, '0x2000', '0x1000'), pinned(1)],
    [unmap(0, '0x2000', '0x1000'), 'OK 0x1000'],
  ]);
  const twoAreas = (second: Hex, last: string): readonly Step[] => [
    [{ op: 'attach', access: 0, table: 0 }, 'OK'],
    [{ op: 'attach', access: 1, table: 0 }, 'OK'],
    [map(0, '0x1000', '0x10000', '0x1000'), 'OK 0x1000'],
    [map(0, second, '0x11000', '0x1000'), `OK ${second}`],
    [pin(0, '0x1000', '0x1000'), pinned(0)],
    [pin(1, second, '0x1000'), pinned(1)],
    [{ op: 'ignore', access: 0, notices: 60 }, 'done'],
    [{ op: 'ignore', access: 1, notices: 120 }, 'done'],
    [unmap(0, '0x1000', '0x8000'), last],
  ];
  corner('adjacent areas share the patience', twoAreas('0x2000', 'EDEADLOCK after 0x1000 bytes'));
  corner('areas with a gap have each their own', twoAreas('0x3000', 'OK 0x2000'));
});

describe('copies of several areas into a table with a coarser alignment', () => {
  const halves: readonly Step[] = [
    [map(0, '0x1000000', '0x10000', '0x800'), 'OK 0x1000000'],
    [map(0, '0x1000800', '0x12000', '0x800'), 'OK 0x1000800'],
    [{ op: 'attach', access: 0, table: 1 }, 'OK'],
    [copy(1, 0, '0x1000000', '0x1000', '0x1000000'), 'OK 0x1000000'],
  ];
  corner('the inner cut need not be aligned; a pin does not cross it', [
    ...halves,
    [pin(0, '0x1000000', '0x800'), pinned(0)],
    [pin(0, '0x1000800', '0x800'), pinned(2)],
    [pin(0, '0x1000000', '0x1000'), 'EINVAL'],
  ]);
  corner('a domain with small pages takes them', [
    ...halves,
    [{ op: 'addDomain', table: 1, domain: 0 }, 'OK'],
  ]);
  corner('a domain with large pages does not', [
    ...halves,
    [{ op: 'addDomain', table: 1, domain: 2 }, 'EINVAL'],
  ]);
  corner('an access that pins does not either', [
    ...halves,
    [{ op: 'detach', access: 0 }, 'OK'],
    [{ op: 'attach', access: 0, table: 1 }, 'EADDRINUSE'],
  ]);
  corner('a domain with large pages refuses the copy', [
    ...halves,
    [{ op: 'addDomain', table: 2, domain: 2 }, 'OK'],
    [copy(2, 0, '0x1000000', '0x1000', '0x1000000'), 'EINVAL'],
  ]);
  corner('without large pages, a domain with small pages takes them', [
    ...halves,
    [{ op: 'largePages', table: 2, enable: false }, 'OK'],
    [{ op: 'addDomain', table: 2, domain: 0 }, 'OK'],
    [copy(2, 0, '0x1000000', '0x1000', '0x1000000'), 'OK 0x1000000'],
  ]);
});

describe('the end of the address space', () => {
  corner('an area of several runs that ends with it is mapped whole', [
    [{ op: 'addDomain', table: 0, domain: 2 }, 'OK'],
    [map(0, '0xffffffffffffb000', '0x1b000', '0x5000'), 'OK 0xffffffffffffb000'],
    [copy(1, 0, '0xffffffffffffc000', '0x4000', '0xffffffffffffc000'), 'OK 0xffffffffffffc000'],
    [{ op: 'addDomain', table: 1, domain: 3 }, 'OK'],
    [unmap(0, '0xffffffffffffb000', '0x5000'), 'OK 0x5000'],
  ]);
  corner('an area of the last byte', [
    [map(0, '0xffffffffffffffff', '0x10fff', '0x1'), 'OK 0xffffffffffffffff'],
    [map(0, '0xfffffffffffffffe', '0x10000', '0x1'), 'OK 0xfffffffffffffffe'],
    [unmap(0, '0xfffffffffffffffe', '0x3'), 'EOVERFLOW'],
    [unmap(0, '0xfffffffffffffffe', '0x2'), 'OK 0x2'],
  ]);
});

describe('dirty bitmaps', () => {
  corner('a page size that is no power of two counts in its lowest bit', [
    [{ op: 'addDomain', table: 0, domain: 3 }, 'OK'],
    [map(0, '0x1000000', '0x10000', '0x4000'), 'OK 0x1000000'],
    [{ op: 'trackDirty', domain: 3, enable: true }, 'OK'],
    [{ op: 'markDirty', domain: 3, at: '0x1003000' }, 'done'],
    [
      {
        op: 'readDirty',
        domain: 3,
        range: { at: '0x1000000', length: '0x4000' },
        pageSize: '0x3000',
        keep: false,
      },
      'OK bits 3',
    ],
  ]);
  corner('an io page of half the bit, bits of a quarter of the io page', [
    [{ op: 'addDomain', table: 0, domain: 1 }, 'OK'],
    [map(0, '0x1000000', '0x10000', '0x2000'), 'OK 0x1000000'],
    [{ op: 'trackDirty', domain: 1, enable: true }, 'OK'],
    [{ op: 'markDirty', domain: 1, at: '0x1001800' }, 'done'],
    [
      {
        op: 'readDirty',
        domain: 1,
        range: { at: '0x1000000', length: '0x2000' },
        pageSize: '0x1000',
        keep: true,
      },
      'OK bits 1',
    ],
    [
      {
        op: 'readDirty',
        domain: 1,
        range: { at: '0x1001800', length: '0x800' },
        pageSize: '0x200',
        keep: false,
      },
      'OK bits 0,1,2,3',
    ],
  ]);
});

describe('the reported bug of a VMM with an emulated IOMMU', () => {
  const mapped: Step = [map(0, '0xfffff000', '0x10000', '0x1000'), 'OK 0xfffff000'];
  corner('an unmap of more than an area takes the area', [
    mapped,
    [unmap(0, '0xff000000', '0x1000000'), 'OK 0x1000'],
    [map(0, '0xfffc0000', '0x10000', '0x40000'), 'OK 0xfffc0000'],
  ]);
  corner(
    'rfc-v1: it does not',
    [
      mapped,
      [unmap(0, '0xff000000', '0x1000000'), 'ENOENT'],
      [map(0, '0xfffc0000', '0x10000', '0x40000'), 'EADDRINUSE'],
    ],
    { profile: 'rfc-v1' },
  );
});
