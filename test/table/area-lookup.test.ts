/** Finding the area at an address. */
import { expect, test } from 'vitest';
import { areaAt } from '../../src/table/area-lookup.js';
import { split } from '../../src/u64.js';
import { PAGE, USER, World } from '../helpers/world.js';

test('the area that contains an address, if it has pages', async () => {
  const world = new World();
  const table = world.table();
  await world.domain(table);
  await table.map({ uptr: USER, iova: 0x1000n, length: 2n * PAGE, prot: 'r' });
  world.memory.close();
  const map = table.map({ uptr: USER, iova: 0x5000n, length: PAGE, prot: 'r' });
  const at = (iova: bigint) => areaAt(table.state.areas, split(iova))?.iova;
  expect([0xfffn, 0x1000n, 0x2fffn, 0x3000n, 0x5000n].map(at)).toEqual([
    undefined,
    0x1000n,
    0x1000n,
    undefined,
    undefined,
  ]);
  world.memory.open();
  await map;
  expect(at(0x5000n)).toBe(0x5000n);
});
