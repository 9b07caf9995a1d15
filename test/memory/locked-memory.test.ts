import { expect, test } from 'vitest';
import { LockedMemory } from '../../src/memory/locked-memory.js';

test('charges up to the limit exactly, and all or nothing', () => {
  const locked = new LockedMemory('user', 10);
  expect(locked.tryCharge(7)).toBe(true);
  expect(locked.tryCharge(4)).toBe(false);
  expect(locked.lockedPages).toBe(7);
  expect(locked.tryCharge(3)).toBe(true);
  locked.credit(8);
  expect(locked.lockedPages).toBe(2);
  locked.limitPages = 1;
  expect(locked.tryCharge(0)).toBe(false);
});
