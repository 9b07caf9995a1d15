/** The memory of the calling process by address, as system calls read and write it. */
import { IommuError } from '../errors.js';
import type { UserMemory } from '../memory/user-memory.js';
import { hex, LAST_PAGE, MAX_U64, PAGE_SIZE, split } from '../u64.js';

/** What is there now, unless the memory answers later. */
type Later<T> = T | Promise<T>;

/** Copies between the library and addresses of a process. */
export class UserSpace {
  readonly memory: UserMemory;

  constructor(memory: UserMemory) {
    this.memory = memory;
  }

  /**
   * Fills the first `length` bytes of `target` with those from `address` on.
   *
   * @throws EFAULT if one of them cannot be read.
   */
  read(address: bigint, target: Uint8Array, length = target.length): Later<void> {
    const done = this.readUpTo(address, target, length);
    return typeof done === 'number'
      ? requireAll(address, done, length)
      : done.then((count) => requireAll(address, count, length));
  }

  /** As `read`, but only up to the first byte that cannot be read; gives the number of bytes. */
  readUpTo(address: bigint, target: Uint8Array, length = target.length): Later<number> {
    if (address > MAX_U64) return 0;
    const { page, offset } = split(address);
    const count = length > PAGE_SIZE - offset ? roomAt(page, offset, length) : length;
    return count === 0 ? 0 : this.memory.copyFromUser(page, offset, target, 0, count);
  }

  /**
   * Writes the first `length` bytes of `source` at `address`.
   *
   * @throws EFAULT if one of the bytes cannot be written; those before it are written then.
   */
  write(address: bigint, source: Uint8Array, length = source.length): Later<void> {
    const done = this.writeUpTo(address, source, length);
    return typeof done === 'number'
      ? requireAll(address, done, length)
      : done.then((count) => requireAll(address, count, length));
  }

  /** As `write`, but only up to the first byte that cannot be written; gives the number of bytes. */
  writeUpTo(address: bigint, source: Uint8Array, length = source.length): Later<number> {
    if (address > MAX_U64) return 0;
    const { page, offset } = split(address);
    const count = length > PAGE_SIZE - offset ? roomAt(page, offset, length) : length;
    return count === 0 ? 0 : this.memory.copyToUser(page, offset, source, 0, count);
  }
}

/** How many of `length` bytes from a place on have an address. */
function roomAt(page: number, offset: number, length: number): number {
  const pages = LAST_PAGE + 1 - page;
  return pages > length / PAGE_SIZE + 1 ? length : Math.min(length, pages * PAGE_SIZE - offset);
}

function requireAll(address: bigint, done: number, length: number): void {
  if (done < length) throw noAccess(address + BigInt(done));
}

/** EFAULT: the byte at an address cannot be read, or not be written. */
export function noAccess(address: bigint): IommuError {
  return new IommuError('EFAULT', { check: 'memory', uptr: hex(address), detail: 'cannot be accessed' });
}
