/** The migration of a device, as its client drives it: states, and the bytes that go between them. */
import { refuse } from '../errors.js';
import { largestState, loadDevice, saveDevice } from './device-state.js';
import type { PciFunction } from './pci-function.js';
import { MIG_STATE } from './protocol.js';

/** What `FEATURE.MIGRATION` says: stop-copy and pre-copy. */
export const MIGRATION_FLAGS = 5n;

const { ERROR, STOP, RUNNING, STOP_COPY, RESUMING, PRE_COPY } = MIG_STATE;

/** Where to go next on the way from a state to another, by (from, to). */
const STEPS: Readonly<Record<number, Readonly<Record<number, number>>>> = {
  [RUNNING]: { [STOP]: STOP, [STOP_COPY]: STOP, [RESUMING]: STOP, [PRE_COPY]: PRE_COPY },
  [PRE_COPY]: { [RUNNING]: RUNNING, [STOP]: RUNNING, [STOP_COPY]: STOP_COPY, [RESUMING]: RUNNING },
  [STOP]: { [RUNNING]: RUNNING, [STOP_COPY]: STOP_COPY, [RESUMING]: RESUMING, [PRE_COPY]: RUNNING },
  [STOP_COPY]: { [STOP]: STOP, [RUNNING]: STOP, [RESUMING]: STOP },
  [RESUMING]: { [STOP]: STOP, [RUNNING]: STOP, [STOP_COPY]: STOP },
};

/** What a migration does to its device besides. */
export interface MigrationListener {
  /** It stops: no DMA from now on. */
  stopped(): void;
  /** It runs again. */
  resumed(): void;
}

/** The migration of one device. */
export class Migration {
  readonly #device: PciFunction;
  readonly #listener: MigrationListener;
  #state: number = RUNNING;
  /** What is still to be read. */
  #outgoing = new Uint8Array(0);
  #incoming: Uint8Array[] = [];
  #received = 0;

  constructor(device: PciFunction, listener: MigrationListener) {
    this.#device = device;
    this.#listener = listener;
  }

  /** Whether the device says how its state is saved. */
  get supported(): boolean {
    return this.#device.options.saveState !== undefined;
  }

  get state(): number {
    return this.#state;
  }

  /**
   * Goes to a state, through those in between. The state is `ERROR` if it fails on the way.
   *
   * @throws EINVAL if there is no way; what saving and loading throw
   */
  goTo(target: number): void {
    if (STEPS[target] === undefined || (this.#state === ERROR && target !== ERROR)) {
      throw refuse('EINVAL', 'state', `there is no way from state ${this.#state} to state ${target}`);
    }
    while (this.#state !== target) {
      const next = STEPS[this.#state]?.[target];
      if (next === undefined) {
        throw refuse('EINVAL', 'state', `there is no way from state ${this.#state} to state ${target}`);
      }
      try {
        this.#step(this.#state, next);
      } catch (error) {
        this.#state = ERROR;
        throw error;
      }
      this.#state = next;
    }
  }

  #step(from: number, to: number): void {
    if (to === STOP_COPY) {
      if (from === PRE_COPY) this.#stop();
      this.#outgoing = new Uint8Array(saveDevice(this.#device));
    } else if (to === RESUMING) {
      this.#incoming = [];
      this.#received = 0;
    } else if (to === STOP) {
      if (from === RUNNING) this.#stop();
      if (from === STOP_COPY) this.#outgoing = new Uint8Array(0);
      if (from === RESUMING) this.#load();
    } else if (to === RUNNING && from === STOP) {
      this.#device.stopped = false;
      this.#listener.resumed();
    }
  }

  #stop(): void {
    this.#device.stopped = true;
    this.#listener.stopped();
  }

  #load(): void {
    const state = new Uint8Array(this.#received);
    let at = 0;
    for (const part of this.#incoming) {
      state.set(part, at);
      at += part.length;
    }
    this.#incoming = [];
    this.#received = 0;
    loadDevice(this.#device, state);
  }

  /** The next bytes of the state, at most `most`; none once all were read. @throws EINVAL if there is no state to be read */
  read(most: number): Uint8Array {
    if (this.#state !== STOP_COPY && this.#state !== PRE_COPY) {
      throw refuse('EINVAL', 'state', 'the device gives its state only in stop-copy');
    }
    const bytes = this.#outgoing.subarray(0, most);
    this.#outgoing = this.#outgoing.subarray(bytes.length);
    return bytes;
  }

  /** Takes bytes of a state. @throws EINVAL if the device takes none; ENOSPC if they are too many */
  write(bytes: Uint8Array): void {
    if (this.#state !== RESUMING)
      throw refuse('EINVAL', 'state', 'the device takes a state only while it resumes');
    if (this.#received + bytes.length > largestState(this.#device)) {
      throw refuse('ENOSPC', 'state', 'no state of the device is as long as that');
    }
    this.#incoming.push(bytes.slice());
    this.#received += bytes.length;
  }

  /** Back to the beginning, after a reset, or when the client has gone. */
  reset(): void {
    const stopped = this.#state !== RUNNING && this.#state !== PRE_COPY;
    this.#state = RUNNING;
    this.#outgoing = new Uint8Array(0);
    this.#incoming = [];
    this.#received = 0;
    this.#device.stopped = false;
    if (stopped) this.#listener.resumed();
  }
}
