/** A short run of the fuzzer; `npm run fuzz:vfio-user` makes long ones. */
import { expect, test } from 'vitest';
import { fuzzVfioUser } from '../../scripts/fuzz-vfio-user/fuzz.js';

test('a hostile client gets errors, or is hung up on, and leaves nothing behind', async () => {
  const totals = await fuzzVfioUser({ messages: 5000, seed: 20_261_128 });
  expect(totals.messages).toBeGreaterThanOrEqual(5000);
  expect(totals.answered).toBeGreaterThan(500);
  expect(totals.closed).toBeGreaterThan(0);
  for (const errno of [2, 22]) expect(totals.refused.get(errno), `errno ${errno}`).toBeGreaterThan(0);
});
