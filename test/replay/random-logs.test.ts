import { expect, test } from 'vitest';
import { replayRandomLog } from './random-logs.js';

test('random logs are replayed to their end, and leave nothing pinned', async () => {
  let events = 0;
  for (let seed = 1; seed <= 8; seed++) events += (await replayRandomLog(seed, 400)).events;
  expect(events).toBeGreaterThan(2000);
});
