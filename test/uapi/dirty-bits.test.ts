import { expect, test } from 'vitest';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import { DirtyBits } from '../../src/uapi/dirty-bits.js';
import { UserSpace } from '../../src/uapi/user-space.js';

const UPTR = 0x10_0000n;

/** The bytes that are not 0 in two pages of a process, by offset. */
async function bytesAfter(runs: [bigint, bigint][], offset: bigint, count: bigint) {
  const memory = new ProcessMemory();
  memory.mmap({ uptr: UPTR, length: 0x2000n });
  const bits = new DirtyBits();
  for (const [first, last] of runs) bits.add(first, last);
  await bits.setIn(new UserSpace(memory), UPTR + offset, count);
  return [...memory.read(UPTR, 0x2000).entries()].filter(([, byte]) => byte !== 0);
}

test('bits after those that were asked for are set to the end of the page of memory', async () => {
  const expected = [
    [4094, 0xf0],
    [4095, 0xff],
  ];
  expect(await bytesAfter([[4n, 10_000n]], 4094n, 8n)).toEqual(expected);
  expect(
    await bytesAfter(
      [
        [4n, 6n],
        [7n, 20n],
        [16n, 30n],
      ],
      4094n,
      16n,
    ),
  ).toEqual(expected);
  expect(await bytesAfter([[4n, 16n]], 4094n, 17n)).toEqual([...expected, [4096, 0x01]]);
});
