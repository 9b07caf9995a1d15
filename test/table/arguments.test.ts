/** Arguments of the wrong kind: errors in Node's style, and nothing changed. */
import { describe, expect, test } from 'vitest';
import { IoptAccess } from '../../src/access/iopt-access.js';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { IoPagetable } from '../../src/io-pagetable.js';
import { expectError } from '../helpers/expect-error.js';
import { RecordingDomain } from '../helpers/recording-domain.js';
import { PAGE, USER, World } from '../helpers/world.js';

async function stage() {
  const world = new World();
  const table = world.table();
  const domain = await world.domain(table, new RadixDomain({ dirty: true }));
  await table.map({ uptr: USER, iova: 0x1000n, length: PAGE, prot: 'rw' });
  const access = new IoptAccess({ needsPin: true, onUnmap: () => undefined });
  await access.attach(table);
  const map = { uptr: USER, iova: 0x8000n, length: PAGE, prot: 'rw' };
  const copy = { from: table, srcIova: 0x1000n, iova: 0x8000n, length: PAGE, prot: 'r' };
  const dirty = { domain, iova: 0x1000n, length: PAGE, pageSize: PAGE, bitmap: new Uint8Array(1) };
  return { world, table, domain, access, map, copy, dirty };
}

type Stage = Awaited<ReturnType<typeof stage>>;

/** Calls a method as JavaScript can: with anything. */
function call(target: object, method: string, ...args: readonly unknown[]): unknown {
  const found: unknown = Reflect.get(target, method);
  if (typeof found !== 'function') throw new Error(`there is no ${method}`);
  return Reflect.apply(found, target, args);
}

const NOT_NUMBERS = [undefined, null, '0x1000', {}, true];
const NOT_U64 = [-1, 1.5, 2 ** 53, Number.NaN, -1n, 1n << 64n];
const NOT_OBJECTS = [undefined, null, 7, 'options'];

/** A method with an argument that can be made wrong: `with(value)` calls it. */
interface Argument {
  readonly name: string;
  readonly on: (stage: Stage, value: unknown) => unknown;
}

const option =
  (method: string, base: 'map' | 'copy' | 'dirty', key: string): Argument['on'] =>
  (all, value) =>
    call(all.table, method, { ...all[base], [key]: value });

/** Arguments that are 64-bit numbers, by method and by what the error calls them. */
const NUMBERS: [method: string, Argument][] = [
  ...['map', 'mapSync'].flatMap((method): [string, Argument][] =>
    ['uptr', 'length', 'iova'].map((key) => [
      method,
      { name: `options.${key}`, on: option(method, 'map', key) },
    ]),
  ),
  ...['copy', 'copySync'].flatMap((method): [string, Argument][] =>
    ['srcIova', 'length', 'iova'].map((key) => [
      method,
      { name: `options.${key}`, on: option(method, 'copy', key) },
    ]),
  ),
  ...['iova', 'length', 'pageSize'].map((key): [string, Argument] => [
    'readDirty',
    { name: `options.${key}`, on: option('readDirty', 'dirty', key) },
  ]),
  ...['unmap', 'unmapSync', 'access'].flatMap((method): [string, Argument][] => [
    [method, { name: 'iova', on: ({ table }, value) => call(table, method, value, PAGE) }],
    [method, { name: 'length', on: ({ table }, value) => call(table, method, 0x1000n, value) }],
  ]),
  ...['pin', 'pinSync', 'unpin', 'unpinSync'].flatMap((method): [string, Argument][] => [
    [`access.${method}`, { name: 'iova', on: ({ access }, value) => call(access, method, value, PAGE) }],
    [`access.${method}`, { name: 'length', on: ({ access }, value) => call(access, method, 0x1000n, value) }],
  ]),
  ...['read', 'readSync', 'write', 'writeSync'].map((method): [string, Argument] => [
    `access.${method}`,
    { name: 'iova', on: ({ access }, value) => call(access, method, value, new Uint8Array(1)) },
  ]),
  ...['start', 'last'].flatMap((key): [string, Argument][] => [
    [
      'reserveIova',
      {
        name: `options.${key}`,
        on: ({ table }, value) => call(table, 'reserveIova', { start: 0n, last: 5n, [key]: value }),
      },
    ],
    [
      'setAllowedIova',
      {
        name: `ranges[1].${key}`,
        on: ({ table }, value) =>
          call(table, 'setAllowedIova', [
            { start: 0n, last: 5n },
            { start: 10n, last: 15n, [key]: value },
          ]),
      },
    ],
  ]),
  ...['start', 'length'].map((key): [string, Argument] => [
    'enforceReservedRegions',
    {
      name: `regions[1].${key}`,
      on: ({ table }, value) =>
        call(table, 'enforceReservedRegions', {}, [
          { start: 0x20000n, length: PAGE, type: 'msi' },
          { start: 0x30000n, length: PAGE, type: 'msi', [key]: value },
        ]),
    },
  ]),
  ['cutIova', { name: 'addresses[1]', on: ({ table }, value) => call(table, 'cutIova', [0x99000n, value]) }],
];

/** What a call throws, or what its promise is rejected with; asynchronous methods never throw. */
async function failure(method: string, run: () => unknown): Promise<unknown> {
  let result: unknown;
  try {
    result = run();
  } catch (error) {
    if (!method.endsWith('Sync')) throw new Error(`${method} threw instead of rejecting`, { cause: error });
    return error;
  }
  expect(result, method).toBeInstanceOf(Promise);
  return await Promise.resolve(result).then(
    () => expect.fail(`${method} did not fail`),
    (error: unknown) => error,
  );
}

async function invalid(all: Stage, method: string, on: () => unknown, name: string, range = false) {
  await all.world.unchanged(async () => {
    expect(await failure(method, on)).toMatchObject({
      name: range ? 'RangeError' : 'TypeError',
      code: range ? 'ERR_OUT_OF_RANGE' : 'ERR_INVALID_ARG_TYPE',
      message: expect.stringContaining(`"${name}"`),
    });
  });
}

describe('64-bit numbers', () => {
  test.each(NUMBERS)('%s: $name', async (method, { name, on }) => {
    const all = await stage();
    const optional = name === 'options.iova' && method !== 'readDirty';
    for (const value of NOT_NUMBERS.slice(optional ? 1 : 0))
      await invalid(all, method, () => on(all, value), name);
    for (const value of NOT_U64) await invalid(all, method, () => on(all, value), name, true);
  });
});

/** Arguments of other kinds, and what they must not be. */
const OTHERS: [method: string, name: string, wrong: readonly unknown[], on: Argument['on']][] = [
  ...['map', 'mapSync', 'copy', 'copySync', 'readDirty', 'reserveIova'].map(
    (method): [string, string, readonly unknown[], Argument['on']] => [
      method,
      'options',
      NOT_OBJECTS,
      ({ table }, value) => call(table, method, value),
    ],
  ),
  ['map', 'options.prot', [undefined, 'x', 'wr', 3, null], option('map', 'map', 'prot')],
  ['map', 'options.memory', [null, 7, 'memory', {}], option('map', 'map', 'memory')],
  ['map', 'options.accounting', [null, 'root', 1], option('map', 'map', 'accounting')],
  ['copy', 'options.prot', [undefined, 'x'], option('copy', 'copy', 'prot')],
  ['copy', 'options.from', [undefined, null, {}, 'table'], option('copy', 'copy', 'from')],
  ['access', 'options', [null, 7], ({ table }, value) => call(table, 'access', 0x1000n, PAGE, value)],
  [
    'access',
    'options.onUnmap',
    [null, 7, {}],
    ({ table }, value) => call(table, 'access', 0x1000n, PAGE, { onUnmap: value }),
  ],
  [
    'access',
    'options.write',
    [null, 'yes', 1],
    ({ table }, value) => call(table, 'access', 0x1000n, PAGE, { write: value }),
  ],
  ['addDomain', 'domain', [...NOT_OBJECTS, {}], ({ table }, value) => call(table, 'addDomain', value)],
  ['removeDomain', 'domain', NOT_OBJECTS, ({ table }, value) => call(table, 'removeDomain', value)],
  [
    'reserveIova',
    'options.owner',
    [7, 'me', true],
    ({ table }, value) => call(table, 'reserveIova', { start: 0n, last: 5n, owner: value }),
  ],
  [
    'removeReservedIova',
    'owner',
    [undefined, 7, 'me'],
    ({ table }, value) => call(table, 'removeReservedIova', value),
  ],
  [
    'setAllowedIova',
    'ranges',
    [undefined, null, {}, 'all'],
    ({ table }, value) => call(table, 'setAllowedIova', value),
  ],
  ['setAllowedIova', 'ranges[0]', NOT_OBJECTS, ({ table }, value) => call(table, 'setAllowedIova', [value])],
  [
    'enforceReservedRegions',
    'device',
    NOT_OBJECTS,
    ({ table }, value) => call(table, 'enforceReservedRegions', value, []),
  ],
  [
    'enforceReservedRegions',
    'regions',
    [undefined, null, {}],
    ({ table }, value) => call(table, 'enforceReservedRegions', {}, value),
  ],
  [
    'enforceReservedRegions',
    'regions[0]',
    NOT_OBJECTS,
    ({ table }, value) => call(table, 'enforceReservedRegions', {}, [value]),
  ],
  [
    'enforceReservedRegions',
    'regions[0].type',
    [undefined, 'mmio', 3],
    ({ table }, value) => call(table, 'enforceReservedRegions', {}, [{ start: 0n, length: 1n, type: value }]),
  ],
  [
    'setLargePages',
    'enable',
    [undefined, 0, 'no'],
    ({ table }, value) => call(table, 'setLargePages', value),
  ],
  ['cutIova', 'addresses', [undefined, null, 0x1000n], ({ table }, value) => call(table, 'cutIova', value)],
  [
    'setDirtyTracking',
    'domain',
    NOT_OBJECTS,
    ({ table }, value) => call(table, 'setDirtyTracking', value, true),
  ],
  [
    'setDirtyTracking',
    'enable',
    [undefined, 1],
    ({ table, domain }, value) => call(table, 'setDirtyTracking', domain, value),
  ],
  ['readDirty', 'options.domain', NOT_OBJECTS, option('readDirty', 'dirty', 'domain')],
  [
    'readDirty',
    'options.bitmap',
    [undefined, null, [], new Uint16Array(1)],
    option('readDirty', 'dirty', 'bitmap'),
  ],
  ['readDirty', 'options.keep', [null, 1], option('readDirty', 'dirty', 'keep')],
  [
    'access.attach',
    'table',
    [...NOT_OBJECTS, {}],
    (_all, value) => call(new IoptAccess({ needsPin: false }), 'attach', value),
  ],
  ['access.replace', 'table', [...NOT_OBJECTS, {}], ({ access }, value) => call(access, 'replace', value)],
  ...['pin', 'pinSync'].map((method): [string, string, readonly unknown[], Argument['on']] => [
    `access.${method}`,
    'options',
    [null, 7],
    ({ access }, value) => call(access, method, 0x1000n, PAGE, value),
  ]),
  [
    'access.pin',
    'options.write',
    [null, 'yes'],
    ({ access }, value) => call(access, 'pin', 0x1000n, PAGE, { write: value }),
  ],
  ...['read', 'write', 'readSync', 'writeSync'].flatMap(
    (method): [string, string, readonly unknown[], Argument['on']][] => [
      [
        `access.${method}`,
        'buffer',
        [undefined, null, [1], new Uint16Array(1), new ArrayBuffer(1)],
        ({ access }, value) => call(access, method, 0x1000n, value),
      ],
      [
        `access.${method}`,
        'options',
        [null, 7],
        ({ access }, value) => call(access, method, 0x1000n, new Uint8Array(1), value),
      ],
    ],
  ),
];

describe('other arguments', () => {
  test.each(OTHERS)('%s: %s', async (method, name, wrong, on) => {
    const all = await stage();
    for (const value of wrong) await invalid(all, method, () => on(all, value), name);
  });

  test('a range that ends before it starts', async () => {
    const all = await stage();
    await invalid(
      all,
      'reserveIova',
      () => all.table.reserveIova({ start: 5n, last: 4n }),
      'options.last',
      true,
    );
  });

  test('a map without any memory', async () => {
    await expect(new IoPagetable().map({ uptr: 0, length: 1, prot: 'r' })).rejects.toMatchObject({
      name: 'TypeError',
      code: 'ERR_INVALID_ARG_TYPE',
      message: expect.stringContaining('"options.memory"'),
    });
  });
});

describe('constructors', () => {
  test.each<[name: string, make: () => unknown]>([
    ['options', () => Reflect.construct(IoPagetable, [null])],
    ['options', () => Reflect.construct(IoPagetable, [7])],
    ['options.profile', () => Reflect.construct(IoPagetable, [{ profile: 'windows' }])],
    ['options.accounting', () => Reflect.construct(IoPagetable, [{ accounting: 'root' }])],
    ['options.memory', () => Reflect.construct(IoPagetable, [{ memory: {} }])],
    ['options', () => Reflect.construct(IoptAccess, [])],
    ['options.needsPin', () => Reflect.construct(IoptAccess, [{}])],
    ['options.needsPin', () => Reflect.construct(IoptAccess, [{ needsPin: 1 }])],
    ['options.onUnmap', () => Reflect.construct(IoptAccess, [{ needsPin: true, onUnmap: {} }])],
  ])('%s %#', (name, make) => {
    expect(make).toThrow(
      expect.objectContaining({
        name: 'TypeError',
        code: 'ERR_INVALID_ARG_TYPE',
        message: expect.stringContaining(`"${name}"`),
      }),
    );
  });

  test('numbers that are exact are as good as bigints', async () => {
    const world = new World();
    const table = world.table();
    await world.domain(table, new RecordingDomain());
    expect(await table.map({ uptr: Number(USER), iova: 0x1000, length: 4096, prot: 'r' })).toBe(0x1000n);
    expect(await table.unmap(0x1000, 4096)).toBe(4096n);
  });
});

describe('rules of the kernel are not confused with them', () => {
  test('a region that is empty or too long is an errno, of the call', async () => {
    const { table } = await stage();
    for (const [length, code] of [
      [0n, 'EINVAL'],
      [2n ** 64n - 1n, 'EOVERFLOW'],
    ] as const) {
      const region = { start: 0x20000n, length, type: 'msi' } as const;
      const error = await expectError(table.enforceReservedRegions({}, [region]), code);
      expect(error.syscall).toBe('enforceReservedRegions');
    }
  });
});
