/** The descriptors that the process of a trace has, by the names that the trace gives them. */
import { refuse } from '../../../errors.js';
import { MemoryFile } from '../../../memory/memory-file.js';
import type { CallerFile } from '../../../uapi/device-caller.js';

/** A number that is never that of an open descriptor. */
const NEVER_OPEN = 0x7fff_ffff;

/** Something that a descriptor is open on; without a file, only as a path. */
interface Opened {
  readonly file: CallerFile | undefined;
}

/** The descriptors. */
export class TraceFiles {
  readonly #open = new Map<number, Opened>();
  readonly #numbers = new Map<string, number>();

  /** Opens the lowest free descriptor, and gives its number. */
  open(file: CallerFile | undefined): number {
    const fd = this.lowest;
    this.#open.set(fd, { file });
    return fd;
  }

  /** The lowest number that is free. */
  get lowest(): number {
    let fd = 0;
    while (this.#open.has(fd)) fd += 1;
    return fd;
  }

  /** Gives a descriptor its name. */
  name(handle: string, fd: number): void {
    this.#numbers.set(handle, fd);
  }

  /** The number of a descriptor; one that is not open for a name that there is not. */
  numberOf(handle: string): number {
    return this.#numbers.get(handle) ?? NEVER_OPEN;
  }

  /** What a descriptor is open on; `undefined` if it is not, or only as a path. */
  get(fd: number): CallerFile | undefined {
    return this.#open.get(fd)?.file;
  }

  /** close(2). @throws EBADF if it is not open */
  close(handle: string): void {
    const fd = this.numberOf(handle);
    if (!this.#open.delete(fd)) throw refuse('EBADF', 'argument', `descriptor ${handle} is not open`);
    // The number may be that of another one soon.
    this.#numbers.delete(handle);
  }

  /** ftruncate(2). @throws EBADF if it is not open, EINVAL if it is of something that has no size, and as `MemoryFile` */
  resize(handle: string, size: bigint): void {
    const opened = this.get(this.numberOf(handle));
    if (opened === undefined) throw refuse('EBADF', 'argument', `descriptor ${handle} is not open`);
    const { file } = opened;
    if (!(file instanceof MemoryFile)) throw refuse('EINVAL', 'argument', `${handle} is no file with a size`);
    file.truncate(size);
  }
}
