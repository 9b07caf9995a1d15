import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { enterCallOut, leaveCallOut } from '../src/call-out.js';
import { RwLock } from '../src/rw-lock.js';
import { expectErrorNow } from './helpers/expect-error.js';
import { propertyRuns } from './helpers/property-runs.js';
import { settled, watch } from './helpers/watch.js';

/** Asks for the lock and writes down when it is had. */
function asker(lock: RwLock) {
  const had: string[] = [];
  const ask = (name: string) =>
    (name.startsWith('w') ? lock.write() : lock.read()).then(() => {
      had.push(name);
    });
  return { had, ask };
}

describe('an uncontended lock', () => {
  test('is had at once, many times by readers and once by a writer', () => {
    const lock = new RwLock();
    expect([lock.free, lock.tryRead(), lock.tryRead(), lock.free, lock.writing]).toEqual([
      true,
      true,
      true,
      false,
      false,
    ]);
    expect(lock.tryWrite()).toBe(false);
    lock.releaseRead();
    expect(lock.tryWrite()).toBe(false);
    lock.releaseRead();
    expect([lock.free, lock.tryWrite(), lock.writing]).toEqual([true, true, true]);
    expect([lock.tryRead(), lock.tryWrite()]).toEqual([false, false]);
    lock.releaseWrite();
    expect(lock.free).toBe(true);
  });

  test('read() and write() take it before they return', async () => {
    const lock = new RwLock();
    const reading = lock.read();
    expect([lock.free, lock.writing]).toEqual([false, false]);
    await reading;
    lock.releaseRead();
    const writing = lock.write();
    expect(lock.writing).toBe(true);
    await writing;
    lock.releaseWrite();
    expect(lock.free).toBe(true);
  });
});

describe('waiting', () => {
  test('a queued writer holds back later readers, also those who only try', async () => {
    const lock = new RwLock();
    const { had, ask } = asker(lock);
    await ask('r1');
    void ask('w1');
    void ask('r2');
    await settled();
    expect(had).toEqual(['r1']);
    expect(lock.tryRead()).toBe(false);
    lock.releaseRead();
    await settled();
    expect(had).toEqual(['r1', 'w1']);
    lock.releaseWrite();
    await settled();
    expect(had).toEqual(['r1', 'w1', 'r2']);
  });

  test('neighbouring readers are let in together, and the writer after them waits for the last', async () => {
    const lock = new RwLock();
    const { had, ask } = asker(lock);
    await ask('w1');
    for (const name of ['r1', 'r2', 'w2', 'r3']) void ask(name);
    lock.releaseWrite();
    await settled();
    expect(had).toEqual(['w1', 'r1', 'r2']);
    lock.releaseRead();
    await settled();
    expect(had).toEqual(['w1', 'r1', 'r2']);
    lock.releaseRead();
    await settled();
    expect(had).toEqual(['w1', 'r1', 'r2', 'w2']);
    expect(lock.writing).toBe(true);
  });

  test('ownership passes straight to the next waiter: nobody can slip in between', async () => {
    const lock = new RwLock();
    const { had, ask } = asker(lock);
    await ask('w1');
    void ask('w2');
    lock.releaseWrite();
    // The waiter has not run yet, but the lock is its own already.
    expect([had, lock.tryRead(), lock.tryWrite(), lock.free]).toEqual([['w1'], false, false, false]);
    await settled();
    expect(had).toEqual(['w1', 'w2']);
    lock.releaseWrite();
    expect(lock.free).toBe(true);
  });

  test('any mix of waiters is served in order, readers together only when nothing stands between', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.boolean(), { minLength: 1, maxLength: 30 }), async (exclusive) => {
        const lock = new RwLock();
        await lock.write();
        const order: number[] = [];
        let readers = 0;
        let writers = 0;
        const all = exclusive.map(async (writes, number) => {
          await (writes ? lock.write() : lock.read());
          order.push(number);
          if (writes) writers += 1;
          else readers += 1;
          expect(writers === 0 || (writers === 1 && readers === 0)).toBe(true);
          await settled();
          // By now all readers that came right after are in, or have been.
          for (let at = number; !writes && exclusive[at] === false; at++) expect(order).toContain(at);
          if (writes) {
            writers -= 1;
            lock.releaseWrite();
          } else {
            readers -= 1;
            lock.releaseRead();
          }
        });
        lock.releaseWrite();
        await Promise.all(all);
        expect(order).toEqual(exclusive.map((_, number) => number));
        expect(lock.free).toBe(true);
      }),
      { numRuns: propertyRuns(50) },
    );
  });

  test('100,000 waiters are served in order', async () => {
    const lock = new RwLock();
    const count = 100_000;
    await lock.write();
    let served = 0;
    let outOfOrder = 0;
    const waiters = Array.from({ length: count }, async (_, number) => {
      const writes = number % 3 === 0;
      await (writes ? lock.write() : lock.read());
      if (served !== number) outOfOrder += 1;
      served += 1;
      if (writes) lock.releaseWrite();
      else lock.releaseRead();
    });
    lock.releaseWrite();
    await Promise.all(waiters);
    expect([served, outOfOrder, lock.free]).toEqual([count, 0, true]);
  });

  test('a lock that was fought over is as good as new', async () => {
    const lock = new RwLock();
    await lock.write();
    const waiting = watch(lock.read());
    lock.releaseWrite();
    await settled();
    expect(waiting.state).toBe('fulfilled');
    lock.releaseRead();
    expect([lock.tryWrite(), lock.writing]).toEqual([true, true]);
  });
});

describe('giving up a wait', () => {
  test('leaves the queue; those behind go on as if it had never been there', async () => {
    const lock = new RwLock();
    const { had, ask } = asker(lock);
    await ask('r1');
    const writing = lock.write();
    const written = watch(writing);
    void ask('r2');
    void ask('r3');
    await settled();
    expect(had).toEqual(['r1']);
    writing.cancel();
    await settled();
    expect([had, written.state]).toEqual([['r1', 'r2', 'r3'], 'pending']);
    for (let readers = 0; readers < 3; readers++) lock.releaseRead();
    expect([lock.free, lock.tryWrite()]).toEqual([true, true]);
  });

  test('gives the lock back if it has been had meanwhile, or was free', async () => {
    const lock = new RwLock();
    await lock.write();
    const [reading, writing] = [lock.read(), lock.write()];
    lock.releaseWrite();
    // Both were cancelled before they could run: one has the lock by now, the other gets it from that.
    reading.cancel();
    expect([lock.free, lock.tryRead()]).toEqual([false, false]);
    await settled();
    expect(lock.writing).toBe(true);
    writing.cancel();
    expect(lock.free).toBe(true);
    lock.write().cancel();
    lock.read().cancel();
    expect(lock.free).toBe(true);
  });

  test('in any order, of any waiters, leaves the others in theirs', async () => {
    const waiters = fc.array(fc.record({ exclusive: fc.boolean(), cancelled: fc.boolean() }), {
      maxLength: 20,
    });
    await fc.assert(
      fc.asyncProperty(waiters, fc.infiniteStream(fc.nat()), async (waiters, random) => {
        const lock = new RwLock();
        await lock.write();
        const order: number[] = [];
        const waits = waiters.map(({ exclusive }, number) => {
          const wait = exclusive ? lock.write() : lock.read();
          void wait.then(() => {
            order.push(number);
            if (exclusive) lock.releaseWrite();
            else lock.releaseRead();
          });
          return wait;
        });
        const cancelled = waits.filter((_, number) => waiters[number]!.cancelled);
        while (cancelled.length > 0) {
          const [wait] = cancelled.splice(random.next().value % cancelled.length, 1);
          wait!.cancel();
        }
        lock.releaseWrite();
        await settled();
        expect(order).toEqual([...waiters.keys()].filter((number) => !waiters[number]!.cancelled));
        expect(lock.free).toBe(true);
      }),
      { numRuns: propertyRuns(100) },
    );
  });
});

describe('inside code that was called with locks held', () => {
  test('a lock that is free can be had, one that is not is EDEADLOCK, without a trace', async () => {
    const [free, held] = [new RwLock(), new RwLock()];
    await held.write();
    enterCallOut();
    try {
      await free.read();
      free.releaseRead();
      for (const take of [() => held.read(), () => held.write()]) expectErrorNow(take, 'EDEADLOCK');
    } finally {
      leaveCallOut();
    }
    held.releaseWrite();
    expect([free.free, held.free]).toEqual([true, true]);
    const waiting = watch(held.read());
    await settled();
    expect(waiting.state).toBe('fulfilled');
  });
});
