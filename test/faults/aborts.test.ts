/** Every call is aborted at every call-out and every wait, and leaves nothing. `npm run sweep` prints the figures. */
import { describe, expect, test } from 'vitest';
import { ABORT_SCENARIOS } from './abort-scenarios.js';
import { sweepAborts, sweepLocks } from './aborts.js';

/** Calls that ask nobody outside the library. */
const QUIET =
  /^(setDirtyTracking|readDirty|reserveIova|removeReservedIova|setAllowedIova|iovaRanges|enforceReservedRegions|setLargePages|cutIova)/;

describe('a call that is aborted', () => {
  test.each(ABORT_SCENARIOS)('at its call-outs: $name', async ({ name, prepare }) => {
    const swept = await sweepAborts(prepare);
    expect(swept.length === 0).toBe(QUIET.test(name));
  });

  test.each(ABORT_SCENARIOS)('at its waits for locks: $name', async ({ name, prepare }) => {
    const swept = await sweepLocks(prepare);
    // A dry run takes no locks.
    expect(swept.length === 0).toBe(name.startsWith('explain'));
  });
});
