import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type LockWait, RwLock } from '../../src/rw-lock.js';
import { propertyRuns } from '../helpers/property-runs.js';
import { settled, type Watched, watch } from '../helpers/watch.js';

interface Asked {
  readonly exclusive: boolean;
  readonly wait: LockWait;
  readonly watched: Watched<unknown>;
}

/** Of those who asked, in order: the first writer, or the readers before it. */
function holders(asked: readonly Asked[]): readonly Asked[] {
  const writer = asked.findIndex(({ exclusive }) => exclusive);
  return asked.slice(0, writer < 0 ? asked.length : Math.max(1, writer));
}

test('any mix of asking for a lock, giving it back and cancelling is as with a list of those who ask', async () => {
  const step = fc.oneof(
    fc.record({ exclusive: fc.boolean() }),
    fc.record({ kind: fc.constantFrom('release', 'cancel'), which: fc.nat(8) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const lock = new RwLock();
      let asked: Asked[] = [];
      for (const step of steps) {
        if ('exclusive' in step) {
          const { exclusive } = step;
          const wait = exclusive ? lock.write() : lock.read();
          asked.push({ exclusive, wait, watched: watch(wait) });
        } else {
          const among = step.kind === 'release' ? holders(asked) : asked;
          const one = among[step.which % Math.max(1, among.length)];
          if (one === undefined) continue;
          asked = asked.filter((other) => other !== one);
          if (step.kind === 'cancel') one.wait.cancel();
          else if (one.exclusive) lock.releaseWrite();
          else lock.releaseRead();
        }
        await settled();
        const having = holders(asked);
        for (const one of asked)
          expect(one.watched.state).toBe(having.includes(one) ? 'fulfilled' : 'pending');
        expect(lock.free).toBe(asked.length === 0);
        expect(lock.writing).toBe(asked[0]?.exclusive ?? false);
      }
    }),
    { numRuns: propertyRuns(60) },
  );
});
