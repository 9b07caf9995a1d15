/**
 * Everything that can tell one answer from another, with the quick ways switched off: they give the same answers as
 * the operations they stand for.
 */
import { expect, test } from 'vitest';
import { IoPagetable } from '../src/io-pagetable.js';
import { quickWays } from '../src/operation.js';
import { mapQuickly } from '../src/table/map-pages.js';
import { unmappingOf, unmapQuickly } from '../src/table/unmap.js';
import { WHOLE_SPACE } from '../src/u64.js';

quickWays.allowed = false;

test('no call goes its quick way', () => {
  const { state } = new IoPagetable();
  expect(unmapQuickly(unmappingOf(state, WHOLE_SPACE, false))).toBeUndefined();
  const nothing = { parts: [], length: { page: 0, offset: 1 }, iova: undefined, prot: 0 };
  const mapping = { table: state, placement: nothing, areas: undefined, filled: 0 };
  expect(mapQuickly({ ...mapping, read: undefined, failure: undefined })).toBeUndefined();
  expect([state.domainsLock.free, state.iovaLock.free]).toEqual([true, true]);
});

await import('./conformance.test.js');
await import('./fuzz.test.js');
await import('./property/corners.test.js');
await import('./property/lock-step.test.js');
await import('./hostile/abort.test.js');
await import('./hostile/domain.test.js');
await import('./hostile/reentrancy.test.js');
await import('./shared/unmap.test.js');
await import('./table/copy.test.js');
await import('./table/locks.test.js');
await import('./table/map.test.js');
await import('./table/rollback.test.js');
await import('./table/synchronous.test.js');
await import('./table/unmap.test.js');
