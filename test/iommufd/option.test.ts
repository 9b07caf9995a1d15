import { describe, expect, test } from 'vitest';
import type { Capability } from '../../src/iommufd/caller.js';
import { OPTION, OPTION_OP, option } from '../../src/iommufd/option.js';
import { bindMock, closeClean, open, outcome, PAGE, RAM } from './setting.js';

describe('accounting mode', () => {
  test('can be set once, by the privileged, before the first object', async () => {
    const setting = open();
    const { iommufd } = setting;
    const set = (value: number, capable?: (capability: Capability) => boolean) =>
      outcome(iommufd.option({ option: 'rlimit-mode', value, capable }));
    expect(await iommufd.option({ option: 'rlimit-mode' })).toBe(0n);
    expect(await set(2)).toBe('EINVAL');
    expect(await set(1)).toBe('OK');
    expect(await iommufd.option({ option: 'rlimit-mode' })).toBe(1n);
    expect(await set(1, (capability) => capability !== 'CAP_SYS_RESOURCE')).toBe('EPERM');
    const ioas = await iommufd.ioasAlloc();
    expect(await set(2)).toBe('EBUSY');
    expect(await set(2, () => false)).toBe('EPERM');
    await iommufd.destroy(ioas);
    expect(await set(0)).toBe('OK');
    await closeClean(setting);
  });

  test('may not be set by a process with a locked-memory limit', async () => {
    const setting = open(10, { accounting: 'mm' });
    const { iommufd } = setting;
    expect(await iommufd.option({ option: 'rlimit-mode' })).toBe(1n);
    expect(await outcome(iommufd.option({ option: 'rlimit-mode', value: 0 }))).toBe('EPERM');
    await closeClean(setting);
  });
});

describe('huge pages', () => {
  test('can be disabled unless there are mappings and page tables', async () => {
    const setting = open();
    const { iommufd } = setting;
    const ioas = await iommufd.ioasAlloc();
    const huge = (value?: number) => iommufd.option({ option: 'huge-pages', ioas, value });
    expect(await huge()).toBe(1n);
    expect(await outcome(huge(2))).toBe('EINVAL');
    expect(await huge(0)).toBe(0n);
    expect(await huge()).toBe(0n);
    expect(await huge(1)).toBe(1n);
    await (await bindMock(iommufd)).attach(ioas);
    await iommufd.ioasMap({ ioas, uptr: RAM, length: PAGE, prot: 'r' });
    expect(await outcome(huge(0))).toBe('EINVAL');
    expect(await huge()).toBe(1n);
    await closeClean(setting);
  });
});

test('checks its fields in the order of the kernel', async () => {
  const setting = open();
  const { iommufd } = setting;
  const ioas = await iommufd.ioasAlloc();
  const ask = (optionId: number, objectId: number, op: number) =>
    outcome(option(iommufd.context, { optionId, objectId, op, value: 0n }));
  expect(await ask(2, 0, OPTION_OP.GET)).toBe('EOPNOTSUPP');
  expect(await ask(OPTION.RLIMIT_MODE, ioas, OPTION_OP.GET)).toBe('EOPNOTSUPP');
  expect(await ask(OPTION.RLIMIT_MODE, 0, 2)).toBe('EOPNOTSUPP');
  expect(await ask(OPTION.HUGE_PAGES, 99, 2)).toBe('ENOENT');
  expect(await ask(OPTION.HUGE_PAGES, ioas, 2)).toBe('EOPNOTSUPP');
  await closeClean(setting);
});
