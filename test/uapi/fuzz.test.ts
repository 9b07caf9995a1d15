/** The fuzzer of `uapi`: a short run, and that it notices what it is for. */
import { afterEach, describe, expect, test, vi } from 'vitest';
import { type FuzzTotals, fuzzUapi } from '../../scripts/fuzz-uapi/fuzz.js';
import { InvariantError } from '../../src/inspect/check.js';
import { Iommufd } from '../../src/iommufd/iommufd.js';
import { COMMANDS } from '../../src/uapi/commands.js';
import { IommufdDevice } from '../../src/uapi/device.js';

/** What a device without nested tables, fault queues, virtual devices and PASIDs always refuses. */
const NEVER = [
  'FAULT_QUEUE_ALLOC',
  'HWPT_INVALIDATE',
  'VDEVICE_ALLOC',
  'VEVENTQ_ALLOC',
  'TEST_MD_CHECK_IOTLB',
  'TEST_TRIGGER_VEVENT',
  'TEST_PASID_ATTACH',
  'TEST_PASID_REPLACE',
];

afterEach(() => {
  vi.restoreAllMocks();
});

test('some tens of thousands of calls: every command is reached, and nothing breaks', async () => {
  const totals = await fuzzUapi({ calls: 60_000, seed: 4 });
  expect(totals.calls).toBe(60_000);
  const all = Object.keys(COMMANDS).filter((name) => !NEVER.includes(name));
  expect([...totals.succeeded].sort()).toEqual(all.sort());
  expect(totals.answers.size).toBeGreaterThan(15);
});

test('the same seed makes the same calls', async () => {
  const summary = ({ answers }: FuzzTotals) => [...answers].sort();
  const [first, second] = [
    await fuzzUapi({ calls: 2000, seed: 5 }),
    await fuzzUapi({ calls: 2000, seed: 5 }),
  ];
  expect(summary(second)).toEqual(summary(first));
  expect(summary(await fuzzUapi({ calls: 2000, seed: 6 }))).not.toEqual(summary(first));
});

describe('a device that', () => {
  const run = () => fuzzUapi({ calls: 3000, seed: 3 });

  test('throws', async () => {
    vi.spyOn(Iommufd.prototype, 'destroy').mockRejectedValue(new Error('oops'));
    await expect(run()).rejects.toThrow(/seed 3, before call \d+: Error: oops/);
  });

  test('gives an answer that is none', async () => {
    vi.spyOn(IommufdDevice.prototype, 'ioctl').mockResolvedValue(-123);
    await expect(run()).rejects.toThrow('gave -123');
  });

  test('hangs', async () => {
    vi.spyOn(IommufdDevice.prototype, 'ioctl').mockReturnValue(new Promise(() => undefined));
    await expect(run()).rejects.toThrow('does not end');
  });

  test('leaks', async () => {
    vi.spyOn(IommufdDevice.prototype, 'close').mockResolvedValue();
    await expect(run()).rejects.toThrow(/\d+ pins are left/);
  });

  test('breaks an invariant', async () => {
    vi.spyOn(Iommufd.prototype, 'check').mockImplementation(() => {
      throw new InvariantError('order', 'chaos');
    });
    await expect(run()).rejects.toThrow('order: chaos');
  });
});
