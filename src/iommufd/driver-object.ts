/** Objects that drivers add to a context: they share its ids, and DESTROY and close reach them. */
import { checkObject } from '../arguments.js';
import { invalidType } from '../u64.js';
import { IommufdObject } from './object-table.js';

/** What a driver's object does for the context. */
export interface DriverObjectParts {
  /** What kind of object it is, in words. */
  readonly kind: string;
  /** Takes the object apart: DESTROY of its id, or the end of the context. */
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
  readonly #parts: DriverObjectParts;

  constructor(id: number, parts: DriverObjectParts) {
    super(id);
    checkObject(parts, 'the driver object');
    if (typeof parts.dispose !== 'function') {
      throw invalidType('dispose', 'a function of the driver object', parts.dispose);
    }
    this.kind = String(parts.kind);
    this.#parts = parts;
  }

  describeUsers(): string {
    return 'a call in progress';
  }

  dispose(): Promise<void> {
    return this.#parts.dispose();
  }
}
