/** A domain of runs answers as a `RadixDomain` does, and costs what is mapped, not what that spans. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { IommuError } from '../../src/errors.js';
import { LogRoom } from '../../src/replay/log-room.js';
import { RunDomain } from '../../src/replay/run-domain.js';

const PAGE = 0x1000n;
const PAGES = 48n;

const page = fc.bigInt({ min: 0n, max: PAGES - 1n });
const count = fc.bigInt({ min: 1n, max: 12n });
const calls = fc.array(
  fc.oneof(
    fc.record({ call: fc.constant('map'), page, count, frame: page }),
    fc.record({ call: fc.constant('unmap'), page, count, frame: page }),
    fc.record({ call: fc.constant('mark'), page, count, frame: page }),
    fc.record({ call: fc.constant('clean'), page, count, frame: page }),
  ),
  { maxLength: 40 },
);

function codeOf(call: () => void): string {
  try {
    call();
    return 'OK';
  } catch (error) {
    if (error instanceof IommuError) return error.code;
    throw error;
  }
}

/** The dirty pages, one by one: how many are told of at once is the domain's own affair. */
function dirtyPages(domain: RunDomain | RadixDomain, keep: boolean): bigint[] {
  const pages: bigint[] = [];
  domain.dirty!.readAndClear(0n, PAGES * 2n * PAGE, keep, (iova, size) => {
    for (let at = iova; at < iova + size; at += PAGE) pages.push(at);
  });
  return pages;
}

test('answers as a RadixDomain', () => {
  fc.assert(
    fc.property(calls, (list) => {
      const runs = new RunDomain({ dirtyTracking: true }, new LogRoom());
      const radix = new RadixDomain({ dirty: true, pageSizes: [4096] });
      for (const domain of [runs, radix]) domain.dirty!.setTracking(true);
      for (const { call, page: at, count: pages, frame } of list) {
        const [iova, size] = [at * PAGE, pages * PAGE];
        const answers = [runs, radix].map((domain) => {
          if (call === 'map') return codeOf(() => domain.map(iova, frame * PAGE, size, 3));
          if (call === 'unmap') return codeOf(() => domain.unmap(iova, size));
          if (call === 'mark') return codeOf(() => domain.dirty!.mark(iova + 1n, size - 1n));
          return codeOf(() => domain.dirty!.readAndClear(iova, size, false, undefined));
        });
        expect(answers[0]).toBe(answers[1]);
        expect(runs.mappedBytes).toBe(radix.mappedBytes);
        for (let probe = 0n; probe < PAGES * 2n; probe++) {
          const address = probe * PAGE + 5n;
          expect(runs.iovaToPhys(address)).toBe(radix.iovaToPhys(address));
          expect(runs.translate(address)?.protection).toBe(radix.translate(address)?.protection);
        }
        expect(dirtyPages(runs, true)).toEqual(dirtyPages(radix, true));
      }
    }),
    { numRuns: 60 },
  );
});

test('holds the whole space as one run', () => {
  const domain = new RunDomain({ dirtyTracking: false }, new LogRoom());
  domain.map(0n, 0n, 2n ** 62n, 3);
  expect(domain.mappedBytes).toBe(2n ** 62n);
  expect(domain.translate(2n ** 61n + 5n)).toEqual({
    physical: 2n ** 61n + 5n,
    protection: 3,
    length: 2n ** 61n - 5n,
  });
  expect(() => domain.map(2n ** 64n - PAGE, 0n, 2n * PAGE, 3)).toThrow(
    expect.objectContaining({ code: 'EINVAL' }),
  );
  expect(() => domain.map(1n, 0n, PAGE, 3)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
});

test('asks for room for each mapping, and gives it back', () => {
  const room = new LogRoom();
  room.addMappings(2 ** 20 - 1);
  const domain = new RunDomain({ dirtyTracking: false }, room);
  domain.map(0n, 0n, PAGE, 3);
  const full = expect.objectContaining({ code: 'ERR_LOG_TOO_LARGE' });
  expect(() => domain.map(PAGE, 0n, PAGE, 3)).toThrow(full);
  expect(domain.iovaToPhys(PAGE)).toBeUndefined();
  domain.unmap(0n, PAGE);
  domain.map(PAGE, 0n, PAGE, 3);
  expect(domain.mappedBytes).toBe(PAGE);
});
