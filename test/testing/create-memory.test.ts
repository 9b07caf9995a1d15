import { expect, test } from 'vitest';
import { createMemory } from '../../src/testing/create-memory.js';

test('every byte is the one its address says', () => {
  const memory = createMemory([
    { uptr: 0x1234_5678_9000n, length: 0x2000n, writable: true },
    { uptr: 0x1234_5678_b000n, length: 0x1000n, writable: false },
  ]);
  for (const address of [0x1234_5678_9000n, 0x1234_5678_9001n, 0x1234_5678_a7ffn, 0x1234_5678_bfffn]) {
    const word = (address >> 12n) * 0x9e37_79b1n + (address & 0xfffn) * 0x85eb_ca6bn;
    expect(memory.read(address, 1n)[0]).toBe(Number((word >> 24n) & 0xffn));
  }
  expect(() => memory.write(0x1234_5678_b000n, Uint8Array.of(1))).toThrow('EFAULT');
  expect(() => memory.read(0x1234_5678_c000n, 1n)).toThrow('EFAULT');
});

test('a limit holds for the user and for the process', () => {
  expect(createMemory([]).locked).toBeUndefined();
  const { locked } = createMemory([], { lockedPages: 7 });
  expect([locked?.user.limitPages, locked?.mm.limitPages]).toEqual([7, 7]);
});
