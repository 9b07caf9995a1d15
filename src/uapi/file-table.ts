/** The descriptors of a process, for hosts whose program has none of its own. */
import { checkInteger, checkObject } from '../arguments.js';
import { refuse } from '../errors.js';
import type { CallerFile } from './device-caller.js';

/** Descriptors that a process can have, as Linux lets it by default. */
const MOST_FILES = 1024;

/**
 * A table of descriptors: `file` and `openFile` of a `DeviceCaller` are its `get` and `open`.
 *
 * ```
 * const files = new FileTable();
 * const caller = { file: (fd: number) => files.get(fd), openFile: (file: CallerFile) => files.open(file) };
 * ```
 */
export class FileTable {
  readonly #open = new Map<number, CallerFile>();
  readonly #most: number;

  /** @param most - descriptors that there can be; their numbers are below it */
  constructor(most: number = MOST_FILES) {
    checkInteger(most, 'most', 0, 2 ** 31);
    this.#most = most;
  }

  /**
   * Opens the lowest free descriptor and gives its number.
   *
   * @throws EMFILE if there is no free one.
   */
  open(file: CallerFile): number {
    checkObject(file, 'file');
    for (let fd = 0; fd < this.#most; fd++) {
      if (this.#open.has(fd)) continue;
      this.#open.set(fd, file);
      return fd;
    }
    throw refuse('EMFILE', 'state', `all ${this.#most} descriptors are open`);
  }

  /** What a descriptor is open on; `undefined` if it is not open. */
  get(fd: number): CallerFile | undefined {
    return this.#open.get(fd);
  }

  /**
   * Closes a descriptor; what is mapped of its file stays.
   *
   * @throws EBADF if it is not open.
   */
  close(fd: number): void {
    if (!this.#open.delete(fd)) throw refuse('EBADF', 'argument', `descriptor ${fd} is not open`);
  }

  /** The descriptors of a child process: the same ones, to be opened and closed on their own from now on. */
  fork(): FileTable {
    const child = new FileTable(this.#most);
    for (const [fd, file] of this.#open) child.#open.set(fd, file);
    return child;
  }
}
