/** A short portion of the long random runs with many readers (`npm run fuzz:readers`). */
import fc from 'fast-check';
import { test } from 'vitest';
import { readersKeepToModel } from './reader-model.js';

test('many readers: none touches the slot of another, and quiesce() waits for exactly those that use something', async () => {
  await fc.assert(readersKeepToModel, { numRuns: 300 });
});
