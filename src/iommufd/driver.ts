/** The driver of a bound device, called as operations: it may answer at once or with a promise. */
import type { IommuDomain } from '../domain/iommu-domain.js';
import { type Operation, unstoppable } from '../operation.js';
import type { Callbacks } from './callbacks.js';
import type { DomainRequest, IommuDevice } from './iommu-device.js';

/** Calls the driver of a device. What it has begun it ends: a signal is heard before and after, but not meanwhile. */
export class Driver {
  readonly device: IommuDevice;
  readonly #callbacks: Callbacks;

  constructor(device: IommuDevice, callbacks: Callbacks) {
    this.device = device;
    this.#callbacks = callbacks;
  }

  /** Makes a domain, which is freed again if what is done with it fails. */
  *withDomain<T>(request: DomainRequest, use: (domain: IommuDomain) => Operation<T>): Operation<T> {
    const domain = yield* this.#callbacks.answer(() => this.device.createDomain(request));
    try {
      return yield* use(domain);
    } catch (error) {
      yield* undoing(this.freeDomain(domain));
      throw error;
    }
  }

  /** The end of a domain. */
  freeDomain(domain: IommuDomain): Operation<void> {
    return this.#callbacks.answer(() => this.device.freeDomain?.(domain));
  }

  /** Points the device at a domain. */
  attach(domain: IommuDomain): Operation<void> {
    return this.#callbacks.answer(() => this.device.attach?.(domain));
  }

  /** Blocks the device. */
  detach(): Operation<void> {
    return this.#callbacks.answer(() => this.device.detach?.());
  }
}

/** Undoes something after an error. What is thrown by that is nothing beside the error. */
export function* undoing(operation: Operation<void>): Operation<void> {
  try {
    yield* unstoppable(operation);
  } catch {
    // There is nothing left to try.
  }
}
