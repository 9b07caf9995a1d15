/** A PCI device, as its author has it. */
import { EventEmitter } from 'node:events';
import { DeviceCalls } from './device-calls.js';
import { DeviceDma } from './dma.js';
import { Migration } from './migration.js';
import { PciFunction } from './pci-function.js';
import type { AccessWidth, PciDeviceOptions } from './pci-options.js';

/** What a device is told, by `on`. */
export interface PciDeviceEvents {
  /** It was reset, by the client or by the guest (function-level reset): everything is as after power-on. */
  reset: [];
  /** A client is there. */
  connect: [];
  /**
   * The client has gone, and with it all that was its own: what it mapped, and its event descriptors. The device stays as
   * it is.
   *
   * `error`: why, unless it just closed the connection.
   */
  disconnect: [error: Error | undefined];
  /** It is stopped for a migration: no DMA until `resume`. */
  stop: [];
  /** It goes on after `stop`. */
  resume: [];
  /** A handler of the device has thrown, or its promise was rejected. Without a listener a warning is printed. */
  error: [error: unknown];
}

/**
 * A PCI device that a VMM can use, once it is given to `serve`.
 *
 * Its state is its author's own, and lasts as long as the object does: it survives the client.
 */
export class PciDevice extends EventEmitter<PciDeviceEvents> {
  /** Its access to the client's memory. */
  readonly dma: DeviceDma;
  /** @internal */
  readonly calls: DeviceCalls;
  /** @internal */
  readonly function: PciFunction;
  /** @internal */
  readonly migration: Migration;
  #aborting: (() => void) | undefined;
  #served = false;

  /** @throws TypeError or RangeError if the options describe no PCI device */
  constructor(options: PciDeviceOptions) {
    super();
    this.calls = new DeviceCalls((error) => this.#report(error));
    this.function = new PciFunction(options, this.calls, {
      reset: () => {
        this.migration.reset();
        this.#aborting?.();
        this.#tell('reset');
      },
    });
    this.dma = new DeviceDma(this.calls, this.function);
    this.migration = new Migration(this.function, {
      stopped: () => {
        this.#aborting?.();
        this.#tell('stop');
      },
      resumed: () => this.#tell('resume'),
    });
  }

  /** Whether a client is there. */
  get connected(): boolean {
    return this.#aborting !== undefined;
  }

  /** Whether the guest lets the device do DMA. */
  get busMaster(): boolean {
    return this.function.busMaster;
  }

  /**
   * Interrupts the guest: by MSI-X or MSI, whichever it has switched on, or else by the line, which stays high until
   * `clearInterrupt`. While a vector of MSI-X is masked it is pending, and told later.
   *
   * @param vector - from 0 on; of MSI, of which the guest may grant fewer than there are, `vector` modulo that
   * @throws RangeError if the device has no such vector
   */
  interrupt(vector = 0): void {
    this.function.interrupts.raise(vector);
  }

  /** Takes the line back, once the guest has seen to the cause. Does nothing where interrupts are messages. */
  clearInterrupt(): void {
    this.function.interrupts.lower();
  }

  /**
   * The bytes of a BAR whose options have `memory`. Ask again after `serve` has resolved, and after the server was closed:
   * they may be elsewhere then, and those of before are nobody's.
   *
   * @throws RangeError if the BAR has no memory
   */
  barMemory(bar: number): Uint8Array {
    const memory = this.function.bars.get(bar)?.memory;
    if (memory === undefined) throw new RangeError(`BAR ${bar} has no memory`);
    return memory;
  }

  /** What the guest reads in configuration space: the number at an offset. @throws RangeError outside of it */
  readConfig(offset: number, width: AccessWidth): number {
    return this.function.config.get(offset, width);
  }

  /**
   * Takes the device for a server.
   *
   * @internal
   */
  take(): boolean {
    if (this.#served) return false;
    this.#served = true;
    return true;
  }

  /** @internal */
  giveBack(): void {
    this.#served = false;
  }

  /** @internal */
  clientCame(abort: () => void): void {
    this.#aborting = abort;
    this.#tell('connect');
  }

  /** @internal */
  clientWent(error: Error | undefined): void {
    this.#aborting = undefined;
    this.migration.reset();
    this.#tell('disconnect', error);
  }

  #tell<E extends 'reset' | 'connect' | 'disconnect' | 'stop' | 'resume'>(
    event: E,
    ...details: PciDeviceEvents[E]
  ): void {
    // A listener's error is its own: whoever has caused the event hears nothing of it.
    for (const listener of this.rawListeners(event)) {
      this.calls.notify(() => Reflect.apply(listener, this, details));
    }
  }

  #report(error: unknown): void {
    if (this.listenerCount('error') > 0) {
      this.emit('error', error);
      return;
    }
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    process.emitWarning(`A handler of a PCI device failed: ${text}`, 'PciDeviceWarning');
  }
}
