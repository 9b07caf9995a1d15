/**
 * An iommufd on which calls overlap: its memory, drivers and callbacks answer late or fail when a step says so, and
 * signals are aborted before, inside and after what the calls wait for.
 */
import assert from 'node:assert/strict';
import type { IommuDomain } from '../../src/domain/iommu-domain.js';
import { IommuError } from '../../src/errors.js';
import type { IommufdAccess } from '../../src/iommufd/access-object.js';
import type { BoundDevice } from '../../src/iommufd/bound-device.js';
import type { IommuDevice } from '../../src/iommufd/iommu-device.js';
import { Iommufd } from '../../src/iommufd/iommufd.js';
import type { FrameRuns } from '../../src/memory/frame-runs.js';
import { ProcessMemory } from '../../src/memory/process-memory.js';
import type { UserMemory } from '../../src/memory/user-memory.js';
import { MockDomain } from '../../src/testing/mock-domain.js';
import { settled } from '../helpers/watch.js';
import type { CallOut, CallStep, Step } from './overlapping-steps.js';
import type { OpsFailure } from './reduce.js';

const PAGE = 0x1000n;
/** First IOVA of the mock domain's aperture. */
const APERTURE = 0x100_0000n;
const RAM = 0x1_0000_0000n;
const RAM_PAGES = 16;
const DEVICES = 3;
const ACCESSES = 3;
/** So often everything that waits is let go of before a call counts as one that hangs. */
const PATIENCE = 200;

/** What a signal was aborted with. */
class Stopped extends Error {}
/** What a driver or a callback throws. */
class Refused extends Error {}

interface InFlight {
  readonly name: string;
  readonly abort: AbortController;
}

/** What a call gives. */
type Answer = Promise<unknown>;

/** One run of a list of steps. */
class World {
  readonly #memory = new ProcessMemory({ lockedLimit: 24n * PAGE });
  readonly #iommufd: Iommufd;
  readonly #devices: (Device | undefined)[] = [];
  /** Domains that drivers have made and not freed. */
  readonly #domains = new Set<MockDomain>();
  readonly #accesses: (IommufdAccess | undefined)[] = [];
  /** Answers that are waited for. */
  readonly #late: (() => void)[] = [];
  #inFlight: InFlight[] = [];
  /** What the calls made now meet with. */
  #weather: Pick<CallStep, 'late' | 'fails' | 'abortIn'> = { late: [], fails: [] };
  /** The page tables that devices used when no call was in progress last. */
  #used: number[] = [];
  #newest: AbortController | undefined;
  #wrong: unknown;
  #closing = false;

  constructor() {
    this.#memory.mmap({ uptr: RAM, length: BigInt(RAM_PAGES) * PAGE });
    this.#iommufd = new Iommufd({ memory: this.#userMemory() });
  }

  /** Makes two address spaces with mappings, and binds the devices. */
  async open(): Promise<void> {
    for (const iova of [APERTURE, APERTURE + 4n * PAGE]) {
      const ioas = await this.#iommufd.ioasAlloc();
      await this.#iommufd.ioasMap({ ioas, iova, uptr: RAM, length: 2n * PAGE, prot: 'rw' });
      await this.#iommufd.vfioIoasSet(ioas);
    }
    for (let at = 0; at < DEVICES; at++) await this.#bind(at);
  }

  /**
   * Carries out a step, and checks everything if no call is in progress after it. `undefined`: the next step is to
   * follow at once.
   */
  step(step: Step): Promise<void> | undefined {
    if (step.op === 'settle') return this.#settle();
    if (step.op === 'let go') this.#late.splice(step.which % (this.#late.length || 1), 1)[0]?.();
    else if (step.op === 'abort') {
      this.#inFlight[step.which % (this.#inFlight.length || 1)]?.abort.abort(new Stopped());
    } else {
      this.#call(step);
      if (step.together) return undefined;
    }
    return this.#goOn();
  }

  /** Lets everything happen that waits for nothing from outside. */
  async #goOn(): Promise<void> {
    await settled();
    this.#weather = { late: [], fails: [] };
    this.#check();
  }

  /** Lets all calls end and closes; nothing may be left then. */
  async end(): Promise<void> {
    await this.#settle();
    const closing = this.#follow('close', new AbortController(), this.#iommufd.close());
    await this.#settle();
    await closing;
    const { context } = this.#iommufd;
    assert.deepEqual(context.objects.all(), [], 'objects after close');
    assert(context.objects.empty, 'ids after close');
    assert.equal(this.#memory.physical.pinned, 0, 'pinned after close');
    assert.equal(this.#memory.locked?.user.lockedPages, 0, 'charged after close');
    assert.equal(this.#domains.size, 0, 'domains after close');
  }

  #call(step: CallStep): void {
    this.#weather = step;
    const abort = new AbortController();
    this.#newest = abort;
    if (step.abort === 'before') abort.abort(new Stopped());
    let answer: Answer | undefined;
    try {
      answer = this.#begin(step, abort.signal);
    } catch (error) {
      answer = Promise.reject(error);
    }
    if (step.abort === 'after') abort.abort(new Stopped());
    if (answer !== undefined) this.#follow(step.op, abort, answer);
  }

  async #follow(name: string, abort: AbortController, answer: Answer): Promise<void> {
    const call = { name, abort };
    this.#inFlight.push(call);
    try {
      await answer;
    } catch (error) {
      if (!expected(error)) this.#wrong ??= error;
    } finally {
      this.#inFlight = this.#inFlight.filter((other) => other !== call);
    }
  }

  #begin(step: CallStep, signal: AbortSignal): Answer | undefined {
    const iommufd = this.#iommufd;
    const { op, a, b, c } = step;
    const ioas = 1 + (a % 3);
    const iova = APERTURE + BigInt(b % 8) * PAGE;
    const length = BigInt(1 + (c % 3)) * PAGE;
    const uptr = RAM + BigInt(c % 12) * PAGE;
    const device = this.#devices[a % DEVICES];
    const access = this.#accesses[a % ACCESSES];
    switch (op) {
      case 'ioasAlloc':
        return iommufd.ioasAlloc();
      case 'map':
        return iommufd.ioasMap({ ioas, iova, uptr, length, prot: 'rw', signal });
      case 'copy':
        return iommufd.ioasCopy({
          from: ioas,
          srcIova: iova,
          to: 1 + (c % 3),
          length: PAGE,
          prot: 'r',
          signal,
        });
      case 'unmap':
        return iommufd.ioasUnmap({ ioas, iova, length, signal });
      case 'unmapAll':
        return iommufd.ioasUnmap({ ioas, iova: 0n, length: 2n ** 64n - 1n, signal });
      case 'allow':
        return iommufd.ioasAllowIovas({ ioas, ranges: b % 2 ? [] : [{ start: 0n, last: iova }], signal });
      case 'ranges':
        return iommufd.ioasIovaRanges({ ioas, signal });
      case 'huge pages':
        return iommufd.option({ option: 'huge-pages', ioas, value: b % 2, signal });
      case 'destroy':
        return iommufd.destroy(1 + (b % 14), { signal });
      case 'bind':
        return device?.bound ? undefined : this.#bind(a % DEVICES);
      case 'attach':
        return device?.bound?.attach(this.#target(b), { signal });
      case 'replace':
        return device?.bound?.replace(this.#target(b), { signal });
      case 'detach':
        return device?.bound?.detach({ signal });
      case 'unbind':
        return device?.unbind({ signal });
      case 'hwptAlloc':
        return (
          device?.bound &&
          iommufd.hwptAlloc({ device: device.bound.id, ioas, dirtyTracking: c % 2 === 0, signal })
        );
      case 'dirty tracking':
        return iommufd.setDirtyTracking({ hwpt: 1 + (b % 14), enable: c % 2 === 0, signal });
      case 'dirty bitmap':
        return iommufd.getDirtyBitmap({ hwpt: 1 + (b % 14), iova, length, pageSize: PAGE, signal });
      case 'access':
        return access === undefined ? this.#makeAccess(a % ACCESSES, b % 3, signal) : undefined;
      case 'access attach':
        return access?.attach(1 + (b % 3), { signal });
      case 'access replace':
        return access?.replace(1 + (b % 3), { signal });
      case 'access detach':
        return access?.detach({ signal });
      case 'access destroy':
        return access && this.#endAccess(a % ACCESSES, access, signal);
      case 'pin':
        return access?.pin(iova, length, { write: true, signal });
      case 'unpin':
        return access?.unpin(iova, length, { signal });
      case 'read':
        return access?.read(iova, new Uint8Array(6000), { signal });
      case 'write':
        return access?.write(iova, new Uint8Array(6000), { signal });
      case 'vfio set':
        return iommufd.vfioIoasSet(ioas);
      case 'vfio type':
        return iommufd.vfioSetIommu(b % 2 ? 1 : 3, { signal });
      case 'vfio map':
        return iommufd.vfioMap({ iova, uptr, length, prot: 'rw', signal });
      case 'vfio unmap':
        return iommufd.vfioUnmap({ iova, length, signal });
      case 'vfio info':
        return iommufd.vfioInfo({ signal });
      case 'close':
        this.#closing = true;
        return iommufd.close({ signal });
    }
  }

  /** An address space, a page table that some device used lately, or whatever has the id. */
  #target(number: number): number {
    if (number % 9 === 0) return 1 + number;
    return number % 3 === 0 ? 1 + (number % 2) : (this.#used[number % (this.#used.length || 1)] ?? 1);
  }

  async #bind(at: number): Promise<void> {
    const device = new Device(at, this.#domains, (callOut, answer) => this.#callOut(callOut, answer));
    this.#devices[at] = device;
    device.bound = await this.#iommufd.deviceBind(device);
  }

  async #makeAccess(at: number, kind: number, signal: AbortSignal): Promise<void> {
    const access: IommufdAccess = await this.#iommufd.accessCreate({
      ...(kind === 0 ? {} : { ioas: kind }),
      needsPin: true,
      onUnmap: ({ iova, length }) =>
        this.#callOut('onUnmap', () => {
          // Whatever this does, pins that were made at random are not all given back: then the unmap has to fail.
          const last = iova + length - 1n;
          for (let page = 0n; page < 8n; page++) {
            const at = APERTURE + page * PAGE;
            if (at < iova || at > last) continue;
            for (const pages of [1n, 2n, 3n]) access.unpin(at, pages * PAGE).catch(() => undefined);
          }
        }),
      signal,
    });
    this.#accesses[at] ??= access;
    if (this.#accesses[at] !== access) await access.destroy();
  }

  async #endAccess(at: number, access: IommufdAccess, signal: AbortSignal): Promise<void> {
    try {
      await access.destroy({ signal });
    } catch (error) {
      if (error instanceof Stopped) throw error;
    }
    if (this.#accesses[at] === access) this.#accesses[at] = undefined;
  }

  /** What the code outside the library does: at once, late, or not at all. */
  #callOut<T>(callOut: CallOut, answer: () => T): T | Promise<T> {
    const { late, fails, abortIn } = this.#weather;
    if (abortIn === callOut) this.#newest?.abort(new Stopped());
    const now = (): T => {
      if (!this.#closing && fails.includes(callOut)) throw new Refused(callOut);
      return answer();
    };
    if (!late.includes(callOut)) return now();
    return new Promise((resolve, reject) => {
      this.#late.push(() => {
        try {
          resolve(now());
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  async #settle(): Promise<void> {
    this.#weather = { late: [], fails: [] };
    for (let round = 0; round < PATIENCE; round++) {
      for (const go of this.#late.splice(0)) go();
      await settled();
      if (this.#inFlight.length === 0 && this.#late.length === 0) return this.#check();
    }
    throw new Error(`calls that do not end: ${this.#inFlight.map(({ name }) => name).join(', ')}`);
  }

  #check(): void {
    if (this.#wrong !== undefined) throw this.#wrong;
    if (this.#inFlight.length > 0) return;
    this.#iommufd.check();
    this.#used = this.#devices.flatMap((device) => device?.bound?.hwpt ?? []);
    for (const device of this.#devices) {
      const hwpt = device?.bound?.hwpt;
      if (hwpt === undefined) continue;
      assert.equal(device?.domain, this.#iommufd.hwptDomain(hwpt), 'an attached device sees its page table');
    }
  }

  #userMemory(): UserMemory {
    const memory = this.#memory;
    const locked = memory.locked;
    return {
      ...(locked === undefined ? {} : { locked }),
      pin: (page: number, count: number, write: boolean, into: FrameRuns) =>
        this.#callOut('pin', () => memory.pin(page, count, write, into)),
      unpin: (pfn, count) => memory.unpin(pfn, count),
      frames: (pfn, count) => memory.frames(pfn, count),
      copyFromUser: (...where) => this.#callOut('copy', () => memory.copyFromUser(...where)),
      copyToUser: (...where) => this.#callOut('copy', () => memory.copyToUser(...where)),
    };
  }
}

/** A device whose driver answers as the weather is. */
class Device implements IommuDevice {
  readonly name: string;
  readonly dirtyTracking = true;
  readonly reservedRegions: NonNullable<IommuDevice['reservedRegions']>;
  /** What translates for it. */
  domain: IommuDomain | undefined;
  bound: BoundDevice | undefined;
  readonly #domains: Set<MockDomain>;
  readonly #callOut: <T>(callOut: CallOut, answer: () => T) => T | Promise<T>;

  constructor(
    at: number,
    domains: Set<MockDomain>,
    callOut: <T>(callOut: CallOut, answer: () => T) => T | Promise<T>,
  ) {
    this.#domains = domains;
    this.name = `device ${at}`;
    this.reservedRegions = at === 0 ? [{ start: APERTURE + 7n * PAGE, length: PAGE, type: 'reserved' }] : [];
    this.#callOut = callOut;
  }

  async unbind(options: { signal: AbortSignal }): Promise<void> {
    try {
      await this.bound?.unbind(options);
    } catch (error) {
      if (error instanceof Stopped) throw error;
    }
    this.bound = undefined;
  }

  createDomain({ dirtyTracking }: { dirtyTracking: boolean }): MockDomain | Promise<MockDomain> {
    return this.#callOut('createDomain', () => {
      const domain = new MockDomain({ dirty: dirtyTracking });
      this.#domains.add(domain);
      return domain;
    });
  }

  /** Throws where something is mapped still. */
  freeDomain(domain: MockDomain): void {
    domain.free();
    this.#domains.delete(domain);
  }

  attach(domain: IommuDomain): void | Promise<void> {
    return this.#callOut('attach', () => {
      this.domain = domain;
    });
  }

  detach(): void | Promise<void> {
    return this.#callOut('detach', () => {
      this.domain = undefined;
    });
  }
}

function expected(error: unknown): boolean {
  if (error instanceof AggregateError) return error.errors.every(expected);
  return error instanceof IommuError || error instanceof Stopped || error instanceof Refused;
}

/** Carries out steps from scratch, ends everything and closes; gives the first failure. */
export async function runOverlapping(steps: readonly Step[]): Promise<OpsFailure | undefined> {
  const world = new World();
  let carriedOut = 0;
  try {
    await world.open();
    for (const step of steps) {
      carriedOut += 1;
      const going = world.step(step);
      if (going !== undefined) await going;
    }
    await world.end();
    return undefined;
  } catch (error) {
    return { carriedOut, error };
  }
}
