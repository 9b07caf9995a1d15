/** Open files of mock accesses. */
import { IdPool } from '../iommufd/id-pool.js';
import { MockAccess } from './mock-access.js';

/** The numbers under which a process has mock accesses open, from 0, the lowest free one first. */
export class AccessFiles {
  readonly #numbers = new IdPool(0);
  readonly #open = new Map<number, MockAccess>();

  /** Gives an access a number. */
  add(access: MockAccess): number {
    const file = this.#numbers.take();
    this.#open.set(file, access);
    return file;
  }

  /** The access with a number; a closed one if there is none. */
  get(file: number): MockAccess {
    return this.#open.get(file) ?? MockAccess.closed();
  }

  /** Takes a number back and gives the access that had it, if any. */
  remove(file: number): MockAccess | undefined {
    const access = this.#open.get(file);
    if (access !== undefined) {
      this.#open.delete(file);
      this.#numbers.give(file);
    }
    return access;
  }
}
