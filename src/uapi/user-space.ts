/** The memory of the calling process by address, as system calls read and write it. */
import { IommuError, refuse } from '../errors.js';
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
    return requireAll(address, length, this.readUpTo(address, target, length));
  }

  /** As `read`, but only up to the first byte that cannot be read; gives the number of bytes. */
  readUpTo(address: bigint, target: Uint8Array, length = target.length): Later<number> {
    if (address > MAX_U64) return 0;
    const { page, offset } = split(address);
    const count = length > PAGE_SIZE - offset ? roomAt(page, offset, length) : length;
    return count === 0 ? 0 : copied(count, this.memory.copyFromUser(page, offset, target, 0, count));
  }

  /**
   * Writes the first `length` bytes of `source` at `address`.
   *
   * @throws EFAULT if one of the bytes cannot be written; those before it are written then.
   */
  write(address: bigint, source: Uint8Array, length = source.length): Later<void> {
    return requireAll(address, length, this.writeUpTo(address, source, length));
  }

  /** As `write`, but only up to the first byte that cannot be written; gives the number of bytes. */
  writeUpTo(address: bigint, source: Uint8Array, length = source.length): Later<number> {
    if (address > MAX_U64) return 0;
    const { page, offset } = split(address);
    const count = length > PAGE_SIZE - offset ? roomAt(page, offset, length) : length;
    return count === 0 ? 0 : copied(count, this.memory.copyToUser(page, offset, source, 0, count));
  }
}

/** New bytes with what is at an address. @throws EFAULT if one of them cannot be read */
export async function readBytes(user: UserSpace, address: bigint, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  await user.read(address, bytes);
  return bytes;
}

/** How many of `length` bytes from a place on have an address. */
function roomAt(page: number, offset: number, length: number): number {
  const pages = LAST_PAGE + 1 - page;
  return pages > length / PAGE_SIZE + 1 ? length : Math.min(length, pages * PAGE_SIZE - offset);
}

/** What a memory says that it has copied of `asked` bytes. @throws EFAULT if that cannot be */
function copied(asked: number, said: Later<number>): Later<number> {
  if (typeof said !== 'number') return Promise.resolve(said).then((count) => checkCopied(asked, count));
  return checkCopied(asked, said);
}

function checkCopied(asked: number, said: number): number {
  if (Number.isInteger(said) && said >= 0 && said <= asked) return said;
  const detail = `the memory was asked to copy ${asked} bytes and says it copied ${String(said)}`;
  throw refuse('EFAULT', 'fault', detail);
}

/** @throws EFAULT unless all of `length` bytes were copied. */
function requireAll(address: bigint, length: number, done: Later<number>): Later<void> {
  if (typeof done !== 'number') return done.then((count) => requireAll(address, length, count));
  if (done < length) throw noAccess(address + BigInt(done));
}

/** EFAULT: the byte at an address cannot be read, or not be written. */
export function noAccess(address: bigint): IommuError {
  return new IommuError('EFAULT', { check: 'memory', uptr: hex(address), detail: 'cannot be accessed' });
}
