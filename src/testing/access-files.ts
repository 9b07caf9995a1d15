/** Open files of mock accesses. */
import { checkCallback, checkInteger, invalidType } from '../arguments.js';
import { refuse } from '../errors.js';
import { IdPool } from '../iommufd/id-pool.js';
import { MockAccess } from './mock-access.js';

const LARGEST_FILE = 0x7fff_ffff;

/** What is to be done after a file was closed. */
export type AfterClose = () => void | Promise<void>;

interface OpenFile {
  readonly access: MockAccess;
  readonly afterClose: AfterClose | undefined;
}

/** The numbers under which mock accesses are open on a machine; the lowest free one is given first. */
export class AccessFiles {
  readonly #numbers: IdPool;
  readonly #open = new Map<number, OpenFile>();

  /** @param first - the lowest number */
  constructor(first = 0) {
    checkInteger(first, 'first', 0, LARGEST_FILE);
    this.#numbers = new IdPool(first);
  }

  /** Gives an access a number. `afterClose` is called when it is closed, once the access is gone. */
  add(access: MockAccess, afterClose?: AfterClose): number {
    if (!(access instanceof MockAccess)) throw invalidType(access, 'access', 'a MockAccess');
    checkCallback(afterClose, 'afterClose');
    const file = this.#numbers.take();
    this.#open.set(file, { access, afterClose });
    return file;
  }

  /** Whether a number is open. */
  has(file: number): boolean {
    return this.#open.has(file);
  }

  /** The access with a number; a closed one if there is none. */
  get(file: number): MockAccess {
    checkInteger(file, 'file', 0, Number.MAX_SAFE_INTEGER);
    return this.#open.get(file)?.access ?? MockAccess.closed();
  }

  /**
   * Closes a file: its number is free again, what it has pinned is unpinned and the access ends.
   *
   * @throws EBADFD if there is no such file.
   */
  async close(file: number): Promise<void> {
    checkInteger(file, 'file', 0, Number.MAX_SAFE_INTEGER);
    const open = this.#open.get(file);
    if (open === undefined) throw refuse('EBADFD', 'state', `file ${file} is not an open access`);
    this.#open.delete(file);
    this.#numbers.give(file);
    try {
      await open.access.close();
    } finally {
      await open.afterClose?.();
    }
  }
}
