/**
 * Code of the user's that calls of a context wait for: callbacks of accesses, drivers of devices, objects of drivers.
 *
 * What such code calls must not wait for the call that waits for the code. Until it first waits, the stack tells who
 * calls; after that only a platform that follows asynchronous calls does (Node's `AsyncLocalStorage`, which is asked
 * for here and not imported, so that browsers get along without it).
 */
import { insideCallOut } from '../call-out.js';
import { isThenable, mustWait, type Operation } from '../operation.js';

/** What is used of Node's `AsyncLocalStorage`, whose types browsers have not. */
interface Following<T> {
  getStore(): T | undefined;
  run<R>(store: T, callback: () => R): R;
  disable(): void;
}

/** Where Node's modules are to be had. */
interface Surroundings {
  readonly process?: {
    getBuiltinModule?(name: string): { readonly AsyncLocalStorage: new () => Following<Running> } | undefined;
  };
}

/** A callback that was called; it is over once it has returned, or its promise has settled. */
interface Running {
  over: boolean;
  /** The one in which it was called. */
  readonly outer: Running | undefined;
}

/** The callbacks of a context. */
export class Callbacks {
  /** Callbacks that have not returned yet. */
  #depth = 0;
  /** Callbacks that are not over. */
  #running = 0;
  #storage: Following<Running> | undefined;

  /** Whether this is called by a callback that is not over, as far as the platform can tell. */
  get inside(): boolean {
    if (this.#depth > 0 || insideCallOut()) return true;
    let running = this.#storage?.getStore();
    while (running?.over) running = running.outer;
    return running !== undefined;
  }

  /** As `inside`, but also where the platform cannot tell and some callback is not over. */
  get maybeInside(): boolean {
    return this.inside || (this.#running > 0 && this.#storage === undefined);
  }

  /** Calls a callback and waits for its answer to the end: nobody but the callback itself can stop it. */
  *answer<T>(callback: () => T | PromiseLike<T>): Operation<T> {
    const answer = this.call(callback);
    return isThenable(answer) ? ((yield mustWait(() => answer)) as T) : answer;
  }

  /** Calls a callback. A promise that it gives is given on. */
  call<T>(callback: () => T | PromiseLike<T>): T | Promise<T> {
    const storage = this.#start();
    const running: Running = { over: false, outer: storage?.getStore() };
    let answer: T | PromiseLike<T>;
    this.#depth += 1;
    try {
      answer = storage === undefined ? callback() : storage.run(running, callback);
      if (!isThenable(answer)) {
        this.#end(running);
        return answer;
      }
    } catch (error) {
      this.#end(running);
      throw error;
    } finally {
      this.#depth -= 1;
    }
    return heard(Promise.resolve(answer).finally(() => this.#end(running)));
  }

  #start(): Following<Running> | undefined {
    this.#running += 1;
    this.#storage ??= newStorage();
    return this.#storage;
  }

  #end(running: Running): void {
    running.over = true;
    this.#running -= 1;
    // Following asynchronous calls slows all of them down. Nobody needs it while no callback runs.
    if (this.#running === 0) this.#storage?.disable();
  }
}

/** A promise for somebody who may be stopped before waiting for it: that it is rejected is no accident then. */
export function heard<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}

function newStorage(): Following<Running> | undefined {
  const { process } = globalThis as Surroundings;
  const hooks = process?.getBuiltinModule?.('node:async_hooks');
  return hooks && new hooks.AsyncLocalStorage();
}
