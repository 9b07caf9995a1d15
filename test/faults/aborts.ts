/**
 * Aborting a call at every point at which code outside the library runs, and at every wait, one after the other.
 *
 * A moment is before a call-out does its work, after that but before it returns, or while the call waits for its
 * answer. At each moment a lock may be taken, too, for which the call then waits. Whatever the moment, the call ends; either it has succeeded or it is rejected with the reason of the signal
 * and has left nothing, and the same call then succeeds.
 */
import { isDeepStrictEqual } from 'node:util';
import type { IommuDomain } from '../../src/domain/iommu-domain.js';
import type { ProcessMemory } from '../../src/memory/process-memory.js';
import type { UserMemory } from '../../src/memory/user-memory.js';
import { type Abortable, isThenable } from '../../src/operation.js';
import type { RwLock } from '../../src/rw-lock.js';
import { settled, watch } from '../helpers/watch.js';

/** Counts moments, and does something at one of them. */
export class Moments {
  /** The names of the moments so far. */
  readonly names: string[] = [];
  readonly #abort = new AbortController();
  #at = 0;
  #work: () => void = () => undefined;
  #armed = false;

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** What happens at the `at`-th moment. */
  at(at: number, work: () => void): void {
    this.#at = at;
    this.#work = work;
  }

  abort(what: string): void {
    this.#abort.abort(new Error(what));
  }

  /** Moments count from now on. */
  arm(): void {
    this.#armed = true;
  }

  disarm(): void {
    this.#armed = false;
  }

  pass(name: string): void {
    if (!this.#armed) return;
    this.names.push(name);
    if (this.names.length === this.#at) this.#work();
  }

  /** Does the work of a call-out; its answer comes later if `late`. */
  callOut<T>(name: string, late: boolean, work: () => T | PromiseLike<T>): T | Promise<T> {
    this.pass(`${name}, before`);
    if (!late || !this.#armed) {
      const answer = work();
      this.pass(`${name}, after`);
      return isThenable(answer) ? Promise.resolve(answer) : answer;
    }
    // Some memories append what they pin long before they say so, others do it at the end.
    const answer = (async () => {
      await undefined;
      this.pass(`${name}, waiting`);
      await undefined;
      const done = await work();
      this.pass(`${name}, done`);
      await undefined;
      return done;
    })();
    this.pass(`${name}, after`);
    return answer;
  }
}

/** A memory whose call-outs are moments. */
export function momentousMemory(memory: ProcessMemory, moments: Moments, late: boolean): UserMemory {
  return {
    get exited() {
      return memory.exited ?? false;
    },
    locked: memory.locked,
    pin: (page, count, write, into) =>
      moments.callOut('pin', late, () => memory.pin(page, Math.min(count, 2), write, into)),
    unpin: (pfn, count) => memory.unpin(pfn, count),
    frames: (...frames) => memory.frames(...frames),
    copyFromUser: (...copy) => moments.callOut('copy', late, () => memory.copyFromUser(...copy)),
    copyToUser: (...copy) => moments.callOut('copy', late, () => memory.copyToUser(...copy)),
    resident: () => !late,
  };
}

/** Makes the call-outs of a domain moments, and its flush wait if `late`. */
export function momentousDomain<T extends IommuDomain>(domain: T, moments: Moments, late: boolean): T {
  const { map, unmap } = domain;
  return Object.assign(domain, {
    map: (...request: Parameters<T['map']>) =>
      moments.callOut('map', false, () => map.apply(domain, request)),
    unmap: (...request: Parameters<T['unmap']>) =>
      moments.callOut('unmap', false, () => unmap.apply(domain, request)),
    flush: () => moments.callOut('flush', late, () => undefined),
  });
}

/** A call on a setting made for it. */
export interface AbortScenario {
  call(options: Abortable): Promise<unknown>;
  /** All that an aborted call must leave as it was, as plain data. */
  state(): unknown;
  /** Throws if an invariant is broken or a lock is held. */
  check(): void;
  /** The locks that it may have to wait for. */
  readonly locks: readonly RwLock[];
  /** What an aborted call has done may stay done: the same call again does the rest. */
  readonly partial?: boolean | undefined;
}

/** A moment at which a call was aborted, and whether that stopped it. */
export interface Swept {
  readonly name: string;
  readonly stopped: boolean;
}

type Prepare = (moments: Moments) => Promise<AbortScenario>;

/** Aborts a call at each of its moments. */
export async function sweepAborts(prepare: Prepare): Promise<Swept[]> {
  const swept: Swept[] = [];
  const { names, wanted } = await untroubled(prepare);
  for (const [at, name] of names.entries()) {
    const stopped = await abortOnce(prepare, `aborted at moment ${at + 1} (${name})`, wanted, (moments) =>
      moments.at(at + 1, () => moments.abort(name)),
    );
    swept.push({ name, stopped });
  }
  return swept;
}

/** Takes each lock at each moment of a call, which is then aborted where it waits for it, if it does. */
export async function sweepLocks(prepare: Prepare): Promise<Swept[]> {
  const swept: Swept[] = [];
  const { names, wanted, locks } = await untroubled(prepare);
  for (const [at, name] of ['start', ...names].entries()) {
    for (let number = 0; number < locks; number++) {
      for (const how of ['write', 'read'] as const) {
        const what = `lock ${number} held to ${how} from moment ${at} (${name}) on`;
        let waited = false;
        const stopped = await abortOnce(prepare, what, wanted, (moments, scenario) => {
          const lock = scenario.locks[number]!;
          const hold = async () => {
            if (!(how === 'write' ? lock.tryWrite() : lock.tryRead())) return;
            for (let turn = 0; turn < 8; turn++) await settled();
            waited = true;
            moments.abort(what);
            await settled();
            if (how === 'write') lock.releaseWrite();
            else lock.releaseRead();
          };
          if (at === 0) void hold();
          else moments.at(at, () => void hold());
        });
        if (waited && stopped) swept.push({ name: what, stopped });
      }
    }
  }
  return swept;
}

/** A run in which nothing happens to the call. */
async function untroubled(prepare: Prepare) {
  const moments = new Moments();
  const scenario = await prepare(moments);
  moments.arm();
  await scenario.call({ signal: moments.signal });
  moments.disarm();
  scenario.check();
  return { names: moments.names, wanted: scenario.state(), locks: scenario.locks.length };
}

/** One run. Gives whether the call was stopped. */
async function abortOnce(
  prepare: Prepare,
  what: string,
  wanted: unknown,
  plan: (moments: Moments, scenario: AbortScenario) => void,
): Promise<boolean> {
  const fail = (problem: string, cause?: unknown): never => {
    throw new Error(`${what}: ${problem}`, { cause });
  };
  const same = (when: string, actual: unknown, expected: unknown) => {
    if (!isDeepStrictEqual(actual, expected)) fail(`the state ${when}`, { actual, expected });
  };
  const moments = new Moments();
  const scenario = await prepare(moments);
  const before = scenario.state();
  plan(moments, scenario);
  moments.arm();
  const outcome = watch(scenario.call({ signal: moments.signal }));
  for (let turn = 0; outcome.state === 'pending' && turn < 40; turn++) await settled();
  // What comes too late is there by now, and given back.
  for (let turn = 0; turn < 12; turn++) await settled();
  moments.disarm();
  if (outcome.state === 'pending') fail('the call does not end');
  if (outcome.state === 'rejected' && outcome.error !== moments.signal.reason)
    fail('it fails', outcome.error);
  scenario.check();
  if (outcome.state === 'fulfilled') {
    same('of a call that was past undoing', scenario.state(), wanted);
    return false;
  }
  if (!scenario.partial) same('after the aborted call', scenario.state(), before);
  const again = watch(scenario.call({}));
  for (let turn = 0; again.state === 'pending' && turn < 40; turn++) await settled();
  if (again.state !== 'fulfilled') fail(`the same call again is ${again.state}`, again.error);
  scenario.check();
  same('after the same call again', scenario.state(), wanted);
  return true;
}
