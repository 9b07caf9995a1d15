/** Objects that drivers add to a context: they share its ids, and DESTROY and close reach them. */
import { checkObject, invalidType } from '../arguments.js';
import type { Operation } from '../operation.js';
import type { Callbacks } from './callbacks.js';
import { IommufdObject } from './object-table.js';

/** What a driver's object does for the context. */
export interface DriverObjectParts {
  /** What kind of object it is, in words. */
  readonly kind: string;
  /** Takes the object apart: DESTROY of its id, or the end of the context. It is gone, whatever this throws. */
  dispose(): Promise<void>;
}

/**
 * An object of a driver.
 *
 * @internal
 */
export class DriverObject extends IommufdObject {
  static readonly kind = 'driver object';
  readonly kind: string;
  readonly #callbacks: Callbacks;
  readonly #dispose: () => Promise<void>;

  constructor(id: number, callbacks: Callbacks, parts: DriverObjectParts) {
    super(id);
    checkObject(parts, 'the driver object');
    const { kind, dispose } = parts;
    if (typeof dispose !== 'function') {
      throw invalidType(dispose, 'dispose', 'a function of the driver object');
    }
    this.kind = String(kind);
    this.#callbacks = callbacks;
    this.#dispose = () => dispose.call(parts);
  }

  describeUsers(): string {
    return 'a call in progress';
  }

  override dispose(): Operation<void> {
    return this.#callbacks.answer(this.#dispose);
  }
}
