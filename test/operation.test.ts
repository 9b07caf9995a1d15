import { describe, expect, it } from 'vitest';
import { finish, isThenable, type Operation, start } from '../src/operation.js';

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
  it('runs an operation that never waits to its end before it returns', async () => {
    const diary: string[] = [];
    const promise = start(diarist(diary));
    expect(diary).toEqual(['end']);
    expect(await promise).toBe('result');
  });

  it('runs up to the first wait before it returns, and begins that wait', async () => {
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

  it('throws what a wait is rejected with into the operation', async () => {
    const diary: string[] = [];
    await expect(start(diarist(diary, () => Promise.reject(new Error('no'))))).rejects.toThrow('no');
    expect(diary).toEqual(['caught no']);
  });

  it('throws what beginning a wait throws into the operation', async () => {
    const diary: string[] = [];
    const wait = () => {
      throw new Error('not even begun');
    };
    await expect(start(diarist(diary, wait))).rejects.toThrow('not even begun');
    expect(diary).toEqual(['caught not even begun']);
  });

  it('rejects with what an operation throws before its first wait', async () => {
    const promise = start(
      (function* (): Operation<never> {
        yield* [];
        throw new Error('at once');
      })(),
    );
    await expect(promise).rejects.toThrow('at once');
  });

  it('an operation may catch a failed wait and go on', async () => {
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
  it('gives the result of an operation that never waits', () => {
    expect(finish(diarist([]), refusal)).toBe('result');
  });

  it('throws the refusal into an operation that would wait, and never begins the wait', () => {
    const diary: string[] = [];
    let begun = false;
    const wait = async () => {
      begun = true;
    };
    expect(() => finish(diarist(diary, wait), refusal)).toThrow('refused');
    expect(begun).toBe(false);
    expect(diary).toEqual(['caught refused']);
  });

  it('refuses even an operation that catches the refusal', () => {
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

  it('lets an operation that has to wait to undo go on behind', async () => {
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
    await new Promise((resolve) => setImmediate(resolve));
    expect(diary).toEqual(['undone']);
  });
});

it('isThenable knows promises from other values', () => {
  expect(isThenable(Promise.resolve(1))).toBe(true);
  for (const value of [undefined, null, 3, 'then', {}, () => undefined])
    expect(isThenable(value)).toBe(false);
});
