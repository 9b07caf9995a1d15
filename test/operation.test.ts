import { describe, expect, test } from 'vitest';
import { finish, isThenable, mustWait, type Operation, start, unstoppable } from '../src/operation.js';
import { settled } from './helpers/watch.js';

/** Keeps a diary of what it waits for and how it ends. */
function* diarist(diary: string[], ...waits: (() => PromiseLike<unknown>)[]): Operation<string> {
  try {
    for (const wait of waits) diary.push(`got ${String(yield wait)}`);
    diary.push('end');
    return 'result';
  } catch (error) {
    diary.push(`caught ${(error as Error).message}`);
    throw error;
  }
}

const refusal = () => new Error('refused');

describe('start', () => {
  test('runs an operation that never waits to its end before it returns', async () => {
    const diary: string[] = [];
    const promise = start(diarist(diary));
    expect(diary).toEqual(['end']);
    expect(await promise).toBe('result');
  });

  test('runs up to the first wait before it returns, and begins that wait', async () => {
    const diary: string[] = [];
    let begun = false;
    const promise = start(
      diarist(
        diary,
        async () => {
          begun = true;
          return 'one';
        },
        async () => 'two',
      ),
    );
    expect([begun, diary]).toEqual([true, []]);
    expect(await promise).toBe('result');
    expect(diary).toEqual(['got one', 'got two', 'end']);
  });

  test('throws what a wait is rejected with into the operation', async () => {
    const diary: string[] = [];
    await expect(start(diarist(diary, () => Promise.reject(new Error('no'))))).rejects.toThrow('no');
    expect(diary).toEqual(['caught no']);
  });

  test('throws what beginning a wait throws into the operation', async () => {
    const diary: string[] = [];
    const wait = () => {
      throw new Error('not even begun');
    };
    await expect(start(diarist(diary, wait))).rejects.toThrow('not even begun');
    expect(diary).toEqual(['caught not even begun']);
  });

  test('rejects with what an operation throws before its first wait', async () => {
    const promise = start(
      (function* (): Operation<never> {
        yield* [];
        throw new Error('at once');
      })(),
    );
    await expect(promise).rejects.toThrow('at once');
  });

  test('an operation may catch a failed wait and go on', async () => {
    const promise = start(
      (function* (): Operation<string> {
        try {
          yield () => Promise.reject(new Error('no'));
          return 'not reached';
        } catch {
          return `after all: ${String(yield async () => 'yes')}`;
        }
      })(),
    );
    expect(await promise).toBe('after all: yes');
  });
});

describe('finish', () => {
  test('gives the result of an operation that never waits', () => {
    expect(finish(diarist([]), refusal)).toBe('result');
  });

  test('throws the refusal into an operation that would wait, and never begins the wait', () => {
    const diary: string[] = [];
    let begun = false;
    const wait = async () => {
      begun = true;
    };
    expect(() => finish(diarist(diary, wait), refusal)).toThrow('refused');
    expect(begun).toBe(false);
    expect(diary).toEqual(['caught refused']);
  });

  test('refuses even an operation that catches the refusal', () => {
    const stubborn = (function* (): Operation<string> {
      try {
        yield async () => undefined;
      } catch {
        // It goes on as if nothing had been said.
      }
      return 'result';
    })();
    expect(() => finish(stubborn, refusal)).toThrow('refused');
  });

  test('lets an operation that has to wait to undo go on behind', async () => {
    const diary: string[] = [];
    let open = () => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const undoing = (function* (): Operation<void> {
      try {
        yield async () => undefined;
      } finally {
        yield () => gate;
        diary.push('undone');
      }
    })();
    expect(() => finish(undoing, refusal)).toThrow('refused');
    expect(diary).toEqual([]);
    open();
    await settled();
    expect(diary).toEqual(['undone']);
  });
});

describe('start with a signal', () => {
  const never = () => new Promise<never>(() => undefined);
  const stop = new Error('stop');

  test('that is aborted already does not begin', async () => {
    const diary: string[] = [];
    await expect(start(diarist(diary), { signal: AbortSignal.abort(stop) })).rejects.toBe(stop);
    expect(diary).toEqual([]);
  });

  test('that is none: a TypeError', async () => {
    const signal = Reflect.construct(Object, []) as AbortSignal;
    await expect(start(diarist([]), { signal })).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' });
  });

  test('that is aborted later throws its reason into the operation where it waits, and gives up the wait', async () => {
    const diary: string[] = [];
    const controller = new AbortController();
    const wait = () => Object.assign(never(), { cancel: () => void diary.push('cancelled') });
    const running = start(
      diarist(diary, async () => 'one', wait),
      { signal: controller.signal },
    );
    await settled();
    expect(diary).toEqual(['got one']);
    controller.abort(stop);
    await expect(running).rejects.toBe(stop);
    expect(diary).toEqual(['got one', 'cancelled', 'caught stop']);
  });

  test('that is aborted between two waits ends it at the second, which is not begun', async () => {
    const controller = new AbortController();
    let begun = false;
    const running = start(
      diarist(
        [],
        async () => controller.abort(stop),
        async () => {
          begun = true;
        },
      ),
      { signal: controller.signal },
    );
    await expect(running).rejects.toBe(stop);
    expect(begun).toBe(false);
  });

  test('that is never aborted leaves no listener behind', async () => {
    const { signal } = new AbortController();
    let listeners = 0;
    const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)];
    Object.assign(signal, {
      addEventListener: (...listener: Parameters<typeof add>) => {
        listeners += 1;
        add(...listener);
      },
      removeEventListener: (...listener: Parameters<typeof remove>) => {
        listeners -= 1;
        remove(...listener);
      },
    });
    const wait = async () => {
      expect(listeners).toBe(0);
    };
    expect(await start(diarist([], wait, wait), { signal })).toBe('result');
    expect(listeners).toBe(0);
  });

  test('does not stop an operation where that says it cannot be stopped', async () => {
    const diary: string[] = [];
    const controller = new AbortController();
    let open = () => {};
    const gate = new Promise<string>((resolve) => {
      open = () => resolve('the gate');
    });
    const parts = (function* (): Operation<string> {
      const part = yield* unstoppable(diarist(diary, () => gate));
      return `${part} of ${String(yield mustWait(async () => 'two parts'))}`;
    })();
    const running = start(parts, { signal: controller.signal });
    controller.abort(stop);
    await settled();
    expect(diary).toEqual([]);
    open();
    expect(await running).toBe('result of two parts');
    expect(diary).toEqual(['got the gate', 'end']);
  });

  test('lets what undoes an aborted operation wait', async () => {
    const diary: string[] = [];
    const controller = new AbortController();
    const undoing = (function* (): Operation<void> {
      try {
        yield never;
      } finally {
        diary.push(String(yield async () => 'undone'));
      }
    })();
    const running = start(undoing, { signal: controller.signal });
    controller.abort(stop);
    await expect(running).rejects.toBe(stop);
    expect(diary).toEqual(['undone']);
  });

  test('passes a failure in a part that cannot be stopped on to it', async () => {
    const diary: string[] = [];
    const failing = start(unstoppable(diarist(diary, () => Promise.reject(new Error('no')))));
    await expect(failing).rejects.toThrow('no');
    expect(diary).toEqual(['caught no']);
  });
});

test('isThenable knows promises from other values', () => {
  expect(isThenable(Promise.resolve(1))).toBe(true);
  for (const value of [undefined, null, 3, 'then', {}, () => undefined])
    expect(isThenable(value)).toBe(false);
});
