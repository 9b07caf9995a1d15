import { describe, expect, test } from 'vitest';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { IommuError } from '../../src/errors.js';
import { IoPagetable } from '../../src/io-pagetable.js';
import { Iommufd } from '../../src/iommufd/iommufd.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import { FaultCounter } from '../../src/testing/fault-injector.js';
import { MockDomain } from '../../src/testing/mock-domain.js';
import { type FaultScenario, sweepFaults } from '../../src/testing/sweep-faults.js';
import { expectError } from '../helpers/expect-error.js';

const PAGE = 0x1000n;
const UPTR = 0x10_0000n;

async function setting() {
  const faults = new FaultCounter();
  const memory = new ProcessMemory({ lockedLimit: 64n * PAGE });
  memory.mmap({ uptr: UPTR, length: 16n * PAGE });
  const table = new IoPagetable({ memory, faults });
  await table.addDomain(new RadixDomain());
  faults.disarm();
  const map = () => table.map({ iova: 0x4000n, uptr: UPTR, length: 4n * PAGE, prot: 'rw' });
  return { faults, memory, table, map };
}

const POINTS = ['pages', 'area', 'batch', 'process', 'pin', 'short-pin', 'domain-map', 'charge'];

describe('FaultCounter', () => {
  test('counts the fault points of a call while none fails', async () => {
    const { faults, map } = await setting();
    expect(faults.points).toEqual([]);
    await map();
    expect(faults.points).toEqual(POINTS);
    expect(faults.failed).toBeUndefined();
  });

  test('fails the n-th from then on, and only that one', async () => {
    const { faults, memory, table, map } = await setting();
    faults.arm(7);
    const error = await expectError(map(), 'ENOENT');
    expect(error.reason).toEqual({ check: 'fault', detail: 'a fault was injected: domain-map' });
    expect([error.syscall, error.range]).toEqual(['map', '[0x4000, 0x7fff]']);
    expect(faults.failed).toBe('domain-map');
    expect(faults.points).toEqual(POINTS.slice(0, 7));
    expect([table.areaCount, memory.physical.pinned, memory.locked?.user.lockedPages]).toEqual([0, 0, 0]);
    await map();
    expect(faults.failed).toBe('domain-map');
    expect(faults.points).toHaveLength(7 + POINTS.length);
  });

  test('a pin that gives less than asked is asked for the rest', async () => {
    const { faults, memory, map } = await setting();
    faults.arm(6);
    await map();
    expect(faults.failed).toBe('short-pin');
    expect(faults.points.filter((point) => point === 'pin')).toHaveLength(2);
    expect(memory.physical.pinned).toBe(4);
  });

  test('begins anew when it is armed or disarmed', async () => {
    const { faults, map } = await setting();
    faults.arm(1);
    await expectError(map(), 'ENOMEM');
    faults.disarm();
    expect([faults.failed, faults.points]).toEqual([undefined, []]);
    faults.arm(2);
    await expectError(map(), 'ENOMEM');
    expect(faults.points).toEqual(['pages', 'area']);
  });

  test.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])('cannot fail point number %d', (nth) => {
    expect(() => new FaultCounter().arm(nth)).toThrow(RangeError);
  });
});

describe('an injector', () => {
  test('is of the table that mapped the pages, wherever they are copied', async () => {
    const { faults, table, map } = await setting();
    await map();
    const plain = new IoPagetable();
    await plain.addDomain(new RadixDomain());
    faults.arm(1);
    const copy = () => plain.copy({ from: table, srcIova: 0x4000n, length: PAGE, prot: 'r' });
    await expectError(copy(), 'ENOMEM');
    expect(faults.failed).toBe('copy-part');
    faults.arm(2);
    await expectError(copy(), 'ENOMEM');
    expect(faults.failed).toBe('batch');
    await copy();
  });

  test('can be any object that decides, and what it throws the call fails with', async () => {
    const { memory } = await setting();
    const seen: string[] = [];
    const faults = {
      fails(point: string): boolean {
        seen.push(point);
        if (point === 'area') throw new Error('enough');
        return false;
      },
    };
    const table = new IoPagetable({ memory, faults });
    const map = table.map({ iova: 0n, uptr: UPTR, length: PAGE, prot: 'r' });
    await expect(map).rejects.toThrow('enough');
    expect(seen).toEqual(['pages', 'area']);
    expect(table.areaCount).toBe(0);
  });

  test('reaches the tables of an iommufd, and a mock domain of its own', async () => {
    const faults = new FaultCounter();
    const memory = new ProcessMemory();
    memory.mmap({ uptr: UPTR, length: PAGE });
    const iommufd = new Iommufd({ memory, faults });
    faults.arm(2);
    const ioas = await iommufd.ioasAlloc().catch(() => iommufd.ioasAlloc());
    expect(ioas).toBe(1);
    expect(faults.failed).toBe('response');
    const domain = new MockDomain({ faults });
    await iommufd.ioasTable(ioas).addDomain(domain);
    faults.disarm();
    await iommufd.ioasMap({ ioas, uptr: UPTR, length: PAGE, prot: 'rw' });
    expect(faults.points.filter((point) => point === 'domain-map')).toHaveLength(2);
    faults.arm(1);
    expect(() => domain.map(0x200_0000n, 0n, PAGE)).toThrow(IommuError);
    expect(domain.mappedBytes).toBe(PAGE);
  });

  test.each([null, 1, {}, { fails: true }])('cannot be %o', (faults) => {
    // @ts-expect-error what a caller without types may pass
    expect(() => new IoPagetable({ faults })).toThrow(TypeError);
    // @ts-expect-error what a caller without types may pass
    expect(() => new Iommufd({ faults })).toThrow(TypeError);
    // @ts-expect-error what a caller without types may pass
    expect(() => new MockDomain({ faults })).toThrow(TypeError);
  });
});

describe('sweepFaults', () => {
  /** A call with three fault points on a state of two numbers. */
  function scenario(
    faults: FaultCounter,
    change: (state: number[], failing: boolean) => void,
  ): FaultScenario {
    const state = [0, 0];
    return {
      async call() {
        for (const point of ['pages', 'short-pin', 'pin'] as const) {
          const failing = faults.fails(point);
          change(state, failing && point !== 'short-pin');
          if (failing && point !== 'short-pin') throw error(point);
        }
        state[0] = 1;
      },
      state: () => [...state],
    };
  }
  const error = (point: 'pages' | 'pin') =>
    new IommuError(point === 'pages' ? 'ENOMEM' : 'EFAULT', { check: 'fault', detail: point });

  test('gives the points that it failed', async () => {
    const points = await sweepFaults(async (faults) => scenario(faults, () => undefined));
    expect(points).toEqual(['pages', 'short-pin', 'pin']);
  });

  test('notices what a failed call leaves behind', async () => {
    const leaking = async (faults: FaultCounter) =>
      scenario(faults, (state, failing) => {
        if (failing) state[1] = 7;
      });
    await expect(sweepFaults(leaking)).rejects.toThrow(
      'fault point 1 (pages): the state after the failed call is not what it should be',
    );
    const partial = async (faults: FaultCounter) => ({
      ...(await leaking(faults)),
      partial: ['pages', 'pin'] as const,
    });
    await expect(sweepFaults(partial)).rejects.toThrow('the state after the same call again');
  });

  test('notices a wrong errno, and a call that goes on failing', async () => {
    const wrong = async (faults: FaultCounter): Promise<FaultScenario> => ({
      call: async () => {
        if (faults.fails('domain-map')) throw error('pin');
      },
      state: () => 0,
    });
    await expect(sweepFaults(wrong)).rejects.toThrow(
      'fault point 1 (domain-map): the call should fail with ENOENT: IommuError: EFAULT: pin',
    );
    const stuck = async (faults: FaultCounter): Promise<FaultScenario> => {
      let broken = false;
      return {
        call: async () => {
          broken ||= faults.fails('pin');
          if (broken) throw error('pin');
        },
        state: () => 0,
      };
    };
    await expect(sweepFaults(stuck)).rejects.toThrow(
      'fault point 1 (pin), the same call again: the call should succeed: IommuError: EFAULT: pin',
    );
  });

  test('notices a fault that has no effect', async () => {
    const deaf = async (faults: FaultCounter): Promise<FaultScenario> => ({
      call: async () => void faults.fails('pin'),
      state: () => 0,
    });
    await expect(sweepFaults(deaf)).rejects.toThrow('the call should fail with EFAULT: it succeeded');
    const points = await sweepFaults(async (faults) => ({ ...(await deaf(faults)), detours: ['pin'] }));
    expect(points).toEqual(['pin']);
  });

  test('runs the check of a scenario after each call', async () => {
    let checks = 0;
    await sweepFaults(async (faults) => ({
      ...scenario(faults, () => undefined),
      check: () => {
        checks += 1;
      },
    }));
    // One for the untroubled run, two for each of two errors, one for the short pin, one for the last run.
    expect(checks).toBe(1 + 2 * 2 + 1 + 1);
  });
});
