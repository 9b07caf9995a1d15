/** A kernel is a row of values, known by name in one file. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { IoPagetable } from '../src/io-pagetable.js';
import { Iommufd } from '../src/iommufd/iommufd.js';
import { ProcessMemory } from '../src/memory/process-memory.js';
import { PROFILE_NAMES, PROFILES, profileOfTrace, resolveProfile, rulesOf } from '../src/rules.js';
import { hex } from '../src/u64.js';
import { IommufdDevice } from '../src/uapi/device.js';

const root = new URL('../', import.meta.url);
const text = (path: string) => readFileSync(new URL(path, root), 'utf8');

/** Where a text names a profile, however it spells it: `linux-6.12`, `Linux 6.12`, `LINUX_6_12`, `'linux'`. */
function namesOfKernelsIn(source: string): string[] {
  const spellings = PROFILES.map((name) => name.split(/[-.]/).join('[-._ ]?'));
  return source.match(new RegExp(`['"\`]linux['"\`]|${spellings.join('|')}`, 'gi')) ?? [];
}

describe('the sources', () => {
  test('that name a profile are found', () => {
    const named = ["=== 'linux'", '`linux`', '"rfc-v1"', 'startRfcV1', 'LINUX_6_12', 'Linux 6.12 does'];
    for (const source of named) expect(namesOfKernelsIn(source)).toHaveLength(1);
    expect(namesOfKernelsIn('The Linux iommufd, seen from user space')).toEqual([]);
  });

  const files = readdirSync(new URL('src/', root), { recursive: true, encoding: 'utf8' })
    .map((file) => `src/${file.replaceAll('\\', '/')}`)
    .filter((file) => file.endsWith('.ts') && file !== 'src/rules.ts');

  test.each(files)('%s names none', (file) => {
    expect(namesOfKernelsIn(text(file))).toEqual([]);
  });
});

describe('a name', () => {
  test('is a profile, or linux for the newest', () => {
    expect(PROFILE_NAMES).toEqual(['linux', ...PROFILES]);
    for (const profile of PROFILES) expect(resolveProfile(profile)).toBe(profile);
    expect(PROFILES).toContain(resolveProfile('linux'));
    expect(resolveProfile('linux')).toMatch(/^linux-/);
    expect(resolveProfile()).toBe(resolveProfile('linux'));
  });

  test('can be given wherever a kernel is opened, which has the profile itself', async () => {
    const memory = new ProcessMemory();
    for (const name of [undefined, ...PROFILE_NAMES]) {
      const profile = resolveProfile(name);
      expect(new IoPagetable({ profile: name }).profile).toBe(profile);
      const iommufd = new Iommufd({ profile: name });
      expect(iommufd.ioasTable(await iommufd.ioasAlloc()).profile).toBe(profile);
      const device = new IommufdDevice({ memory, profile: name });
      expect(device.iommufd.ioasTable(await device.iommufd.ioasAlloc()).profile).toBe(profile);
    }
  });

  test.each(['linux-0', 'Linux', 'toString', '', null, 6.12])('is not %j', (name) => {
    const options = { memory: new ProcessMemory(), profile: name };
    for (const Opened of [IoPagetable, Iommufd, IommufdDevice]) {
      expect(() => Reflect.construct(Opened, [options])).toThrow(/options\.profile/);
    }
  });
});

describe('a trace was recorded on', () => {
  test.each([
    [undefined, undefined, 'linux-6.12'],
    ['linux', undefined, 'linux-6.12'],
    ['linux', '6.12.117', 'linux-6.12'],
    ['linux-6.12', '6.12.117', 'linux-6.12'],
    [undefined, '6.12.117', 'linux-6.12'],
    [undefined, '6.12', 'linux-6.12'],
    [undefined, '6.12.0-rc3+', 'linux-6.12'],
    [undefined, '6.1200.1', undefined],
    [undefined, '06.12.1', undefined],
    [undefined, '0.6.12', undefined],
    [undefined, 'a kernel', undefined],
    [undefined, '', undefined],
    ['rfc-v1', 'rfc-v1', 'rfc-v1'],
    [undefined, 'rfc-v1', 'rfc-v1'],
    ['rfc-v0', '6.12.117', undefined],
    ['', '6.12.117', undefined],
    ['constructor', undefined, undefined],
  ])('profile %j, kernel %j: %j', (profile, kernel, known) => {
    expect(profileOfTrace(profile, kernel)).toBe(known);
  });
});

test('docs/profiles.md has a row for each value, with what it is for each profile', () => {
  const tables = text('docs/profiles.md').match(/^\|.*\|\n(?:\|.*\|\n)+/gm) ?? [];
  const cells = (row: string) =>
    row
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim().replaceAll('`', ''));
  const rows = tables
    .map((table) => table.trimEnd().split('\n').map(cells))
    .find(([head]) => head![0] === 'rule');
  const [head, , ...values] = rows ?? [];
  expect(head?.slice(2)).toEqual([...PROFILES]);
  const written = values.map(([rule, , ...each]) => [rule, ...each]);
  const names = Object.keys(rulesOf(resolveProfile())) as (keyof ReturnType<typeof rulesOf>)[];
  const shown = (value: string | number | boolean) => {
    if (typeof value === 'boolean') return value ? 'yes' : 'no';
    return typeof value === 'number' && Number.isFinite(value) ? hex(BigInt(value)) : `${value}`;
  };
  expect(written).toEqual(
    names.map((name) => [name, ...PROFILES.map((profile) => shown(rulesOf(profile)[name]))]),
  );
});
