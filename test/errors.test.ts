import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../src/access/iopt-access.js';
import { RadixDomain } from '../src/domain/radix-domain.js';
import {
  during,
  ERRNO,
  type ErrorCode,
  type ErrorReason,
  IommuError,
  refuse,
  sentence,
  wouldWait,
} from '../src/errors.js';
import { split } from '../src/u64.js';
import { expectError, expectErrorNow } from './helpers/expect-error.js';
import { RecordingDomain } from './helpers/recording-domain.js';
import { NOWHERE, PAGE, READ_ONLY, USER, World } from './helpers/world.js';

describe('an IommuError', () => {
  test("is an error in Node's style", () => {
    const reason: ErrorReason = { check: 'not-mapped', iova: '0x1000' };
    const error = new IommuError('ENOENT', reason);
    expect(error).toBeInstanceOf(Error);
    expect({ ...error }).toMatchObject({ name: 'IommuError', code: 'ENOENT', errno: -2, reason });
    expect(error.message).toBe('ENOENT: nothing is mapped at 0x1000');
    expect([error.syscall, error.range, error.unmapped]).toEqual([undefined, undefined, undefined]);
    expect(String(error)).toBe('IommuError: ENOENT: nothing is mapped at 0x1000');
    expect(error.stack).toContain('errors.test.ts');
  });

  test('has the errno of Linux', () => {
    const known: Record<ErrorCode, number> = {
      EPERM: 1,
      ENOENT: 2,
      EINTR: 4,
      EIO: 5,
      E2BIG: 7,
      EBADF: 9,
      EAGAIN: 11,
      ENOMEM: 12,
      EACCES: 13,
      EFAULT: 14,
      EBUSY: 16,
      EEXIST: 17,
      ENODEV: 19,
      EINVAL: 22,
      EMFILE: 24,
      ENOTTY: 25,
      ENOSPC: 28,
      EPIPE: 32,
      EDEADLOCK: 35,
      EBADE: 52,
      EOVERFLOW: 75,
      EBADFD: 77,
      EMSGSIZE: 90,
      EOPNOTSUPP: 95,
      EADDRINUSE: 98,
      ECONNRESET: 104,
      ETIMEDOUT: 110,
      ECONNREFUSED: 111,
      ECANCELED: 125,
    };
    expect(ERRNO).toEqual(known);
    for (const [code, errno] of Object.entries(known)) {
      expect(refuse(code as ErrorCode, 'argument', 'why').errno).toBe(-errno);
    }
  });

  test('is completed by the call it ended, once', () => {
    const error = refuse('EINVAL', 'argument', 'the length is 0');
    expect(during(error, 'map', split(0x1000n), split(0x2000n))).toBe(error);
    expect(during(error, 'copy', split(0x9000n), split(0x2000n))).toBe(error);
    expect(error).toMatchObject({
      syscall: 'map',
      range: '[0x1000, 0x2fff]',
      message: 'EINVAL: map [0x1000, 0x2fff]: the length is 0',
    });
  });

  test.each([
    ['no iova', undefined, 0x1000n],
    ['no length', 0x1000n, 0n],
    ['a range past 2^64 - 1', 0xffff_ffff_ffff_f000n, 0x1001n],
  ])('has no range where there is %s', (_what, iova, length) => {
    const error = refuse('EINVAL', 'argument', 'why');
    during(error, 'map', iova === undefined ? undefined : split(iova), split(length));
    expect([error.range, error.message]).toEqual([undefined, 'EINVAL: map: why']);
  });

  test('leaves other errors alone', () => {
    const error = new TypeError('no');
    expect(during(error, 'map')).toBe(error);
    expect([error.message, Object.keys(error)]).toEqual(['no', []]);
  });

  test('EAGAIN says that the call would have to wait', () => {
    expect(wouldWait()).toMatchObject({ code: 'EAGAIN', errno: -11, reason: { check: 'would-wait' } });
  });
});

describe('the sentence of a reason names the object in the way', () => {
  const area = { iova: '0x1000', last: '0x1fff', uptr: '0x7000' };
  const shown = '[0x1000, 0x1fff] (mapped from user address 0x7000)';
  const sentences: [ErrorReason, string][] = [
    [
      { check: 'overlap', area },
      `area ${shown} is already mapped there; unmap it first or choose another IOVA`,
    ],
    [
      { check: 'partial-area', area },
      `area ${shown} reaches outside the range; an area is unmapped as a whole or not at all`,
    ],
    [{ check: 'area-in-use', area }, `area ${shown} is still pinned by an access that did not let go of it`],
    [
      { check: 'area-busy', area: { iova: '0x1000', last: '0x1fff' } },
      'area [0x1000, 0x1fff] is being set up or torn down by another call',
    ],
    [{ check: 'reserved', range: '[0x0, 0xfff]', owner: 'a GPU' }, '[0x0, 0xfff] is reserved by a GPU'],
    [
      { check: 'allowed', range: '[0x0, 0xfff]' },
      '[0x0, 0xfff] is in the list of allowed IOVA, which may not become reserved',
    ],
    [
      { check: 'alignment', what: 'iova', value: '0x800', alignment: 4096 },
      'iova 0x800 is not a multiple of 4096, the IOVA alignment in force',
    ],
    [
      { check: 'alignment', what: 'length', value: '0x800', alignment: 4096, area },
      `length 0x800 of area ${shown} is not a multiple of 4096, the IOVA alignment in force`,
    ],
    [{ check: 'not-mapped', iova: '0x1000' }, 'nothing is mapped at 0x1000'],
    [
      { check: 'permission', wanted: 'write', detail: "it is mapped 'r'", area },
      `write access in area ${shown} is not granted: it is mapped 'r'`,
    ],
    [{ check: 'permission', wanted: 'read', detail: 'no' }, 'read access is not granted: no'],
    [{ check: 'memory', uptr: '0x7000', detail: 'is not mapped' }, 'user address 0x7000 is not mapped'],
    [
      { check: 'locked-memory', of: 'user', limitBytes: 8192n, lockedBytes: 4096n, neededBytes: 12288n },
      'locked-memory limit of the user: 4096 bytes are locked and 12288 more are needed, but the limit is 8192 bytes',
    ],
    [{ check: 'no-space', alignment: '0x1000' }, 'no free range of that length at alignment 0x1000'],
    [{ check: 'object', id: '7', detail: 'does not exist' }, 'object 7 does not exist'],
    [{ check: 'domain', detail: 'in its own words' }, 'in its own words'],
  ];

  test.each(sentences)('%o', (reason, expected) => {
    expect(sentence(reason)).toBe(expected);
    expect(new IommuError('EINVAL', reason).message).toBe(`EINVAL: ${expected}`);
  });
});

describe('messages as a VMM author meets them', () => {
  async function stage() {
    const world = new World(4);
    const table = world.table();
    await world.domain(table, new RadixDomain({ aperture: { start: 0n, last: 0xffff_ffffn } }));
    await table.map({ uptr: USER, iova: 0x10000n, length: 2n * PAGE, prot: 'rw' });
    const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
    await access.attach(table);
    const map = (other: object) =>
      table.map({ uptr: USER + 8n * PAGE, iova: 0x1000n, length: PAGE, prot: 'rw', ...other });
    return { world, table, access, map };
  }

  const area = 'area [0x10000, 0x11fff] (mapped from user address 0x10000000)';
  const MESSAGES: [code: ErrorCode, (all: Awaited<ReturnType<typeof stage>>) => Promise<unknown>, string][] =
    [
      [
        'EEXIST',
        ({ map }) => map({ iova: 0x11000n }),
        `map [0x11000, 0x11fff]: ${area} is already mapped there`,
      ],
      [
        'EINVAL',
        ({ map }) => map({ iova: 0x1_0000_0000n }),
        'map [0x100000000, 0x100000fff]: [0x100000000, 0xffffffffffffffff] is reserved by a RadixDomain',
      ],
      [
        'EINVAL',
        ({ map }) => map({ iova: 0x1800n }),
        'map [0x1800, 0x27ff]: iova 0x1800 is not a multiple of 4096',
      ],
      [
        'EINVAL',
        ({ map }) => map({ iova: undefined, uptr: USER + 1n }),
        'map: user address 0x10000001 is not a',
      ],
      [
        'EFAULT',
        ({ map }) => map({ uptr: NOWHERE }),
        'map [0x1000, 0x1fff]: user address 0x40000000 is not mapped',
      ],
      ['EFAULT', ({ map }) => map({ uptr: READ_ONLY }), 'user address 0x20000000 is read-only'],
      [
        'ENOMEM',
        ({ map }) => map({ length: 3n * PAGE }),
        'limit of the user: 8192 bytes are locked and 12288 more are needed, but the limit is 16384 bytes',
      ],
      [
        'EOVERFLOW',
        ({ map }) => map({ uptr: 2n ** 64n - PAGE }),
        'user memory at 0xfffffffffffff000 of 0x1000 bytes',
      ],
      [
        'ENOENT',
        ({ table }) => table.unmap(0x10000n, PAGE),
        `unmap [0x10000, 0x10fff]: ${area} reaches outside`,
      ],
      [
        'ENOENT',
        ({ table }) => table.copy({ from: table, srcIova: 0x10000n, length: 3n * PAGE, prot: 'r' }),
        'copy [0x10000, 0x12fff]: nothing is mapped at 0x12000',
      ],
      [
        'EADDRINUSE',
        ({ table }) => table.reserveIova({ start: 0x11fffn, last: 0x20000n }),
        `reserveIova: ${area} is already mapped there`,
      ],
      [
        'EEXIST',
        ({ table }) => table.addDomain(table.domains[0]!),
        'addDomain: the domain is attached already',
      ],
      [
        'EINVAL',
        ({ table }) => table.addDomain(new RecordingDomain({ ioPage: 8192 })),
        "addDomain: io pages of 8192 bytes are larger than the CPU's 4096",
      ],
      [
        'EINVAL',
        ({ table }) => table.setLargePages(false),
        'setLargePages: large pages cannot be disabled once',
      ],
      [
        'EINVAL',
        ({ table }) => table.cutIova([0x10fffn]),
        'cutIova: an area in a domain can be split only while large pages are disabled',
      ],
      [
        'EINVAL',
        ({ access }) => access.pin(0x10001n, PAGE),
        'pin [0x10001, 0x11000]: the range begins at byte 1 of a page',
      ],
      [
        'ENOENT',
        ({ access }) => access.read(0x1fffn, new Uint8Array(2)),
        'read [0x1fff, 0x2000]: nothing is mapped at 0x1fff',
      ],
      [
        'EINVAL',
        ({ access }) => access.unpin(0x10000n, PAGE),
        'unpin [0x10000, 0x10fff]: the range was not pinned',
      ],
      [
        'ENOENT',
        ({ table }) => table.access(0x9000n, PAGE),
        'pin [0x9000, 0x9fff]: nothing is mapped at 0x9000',
      ],
      [
        'EINVAL',
        ({ table }) => table.setAllowedIova([{ start: 5n, last: 5n }]),
        'allowed range [0x5, 0x5] has fewer than two bytes',
      ],
      [
        'EOPNOTSUPP',
        ({ table }) => table.setDirtyTracking(table.domains[0]!, true),
        'setDirtyTracking: the domain cannot track dirty pages',
      ],
    ];

  test.each(MESSAGES)('%s %#', async (code, call, words) => {
    const all = await stage();
    await all.world.unchanged(async () => {
      const error = await expectError(call(all), code);
      expect(error.message).toContain(words);
      expect(error.message.startsWith(`${code}: ${error.syscall}`)).toBe(true);
    });
  });

  test('a synchronous call gives the same error', async () => {
    const { table } = await stage();
    const promised = await expectError(table.unmap(0x10000n, PAGE), 'ENOENT');
    const thrown = expectErrorNow(() => table.unmapSync(0x10000n, PAGE), 'ENOENT');
    expect({ ...thrown, message: thrown.message }).toEqual({ ...promised, message: promised.message });
  });
});
