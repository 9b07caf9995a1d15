/** The kernel test driver's access: it pins ranges as numbered items and lets go of them when it is told to. */
import type { UnmapNotice } from '../access/iopt-access.js';
import { checkCallback, checkInteger, checkObject, invalidType, readValue } from '../arguments.js';
import { IommuError, refuse } from '../errors.js';
import type { IommufdAccess } from '../iommufd/access-object.js';
import { Iommufd } from '../iommufd/iommufd.js';
import type { FrameRuns } from '../memory/frame-runs.js';
import { checkMemory, type UserMemory } from '../memory/user-memory.js';
import { type Operation, start } from '../operation.js';
import { RwLock } from '../rw-lock.js';
import { hex, MAX_U64, PAGE_SIZE, split, type U64Input } from '../u64.js';
import { frameBehind, type TestMemory } from './page-identity.js';

/** Bytes that one operation on an access may be about. */
const MOST_BYTES = 16n * 1024n * 1024n;

/** Flags of `accessPages` and `accessRw`. */
export const MOCK_ACCESS = Object.freeze({
  /** Into the mapping, for `accessPages`: to be written. */
  WRITE: 1,
  /** Through pinned pages even where a plain copy would do; `accessRw` only. */
  SLOW_PATH: 4,
} as const);

/** What `accessPages` takes. */
export interface AccessPagesRequest {
  readonly iova: U64Input;
  readonly length: U64Input;
  /** Bits of `MOCK_ACCESS`: WRITE. */
  readonly flags: number;
  /**
   * Where the pages should be in the caller's memory: they are compared with the pages from this address on, rounded
   * down like `iova`. Absent or 0: no check.
   */
  readonly uptr?: U64Input | undefined;
}

/** What `accessRw` takes. */
export interface AccessRwRequest {
  readonly iova: U64Input;
  readonly length: U64Input;
  /** Bits of `MOCK_ACCESS`: WRITE, SLOW_PATH. */
  readonly flags: number;
  /** The bytes to write; asked for only once the checks before it have passed. */
  readonly source?: ((length: number) => Uint8Array | Promise<Uint8Array>) | undefined;
}

interface Item {
  readonly iova: bigint;
  readonly length: bigint;
}

/**
 * An access as the kernel's test driver has it. On unmap it drops every item that overlaps the range, completely:
 * also the part of it that stays mapped.
 */
export class MockAccess {
  readonly #items = new Map<number, Item>();
  /** Held across a pin: an unmap must not miss one that is just being added. */
  readonly #mutex = new RwLock();
  #nextItem = 0;
  #access: IommufdAccess | undefined;
  #closed = false;

  private constructor() {}

  /** An access that is closed from the start. */
  static closed(): MockAccess {
    return new MockAccess();
  }

  /**
   * Makes a mock access attached to an address space.
   *
   * @throws ENOENT if there is no such address space, EADDRINUSE if a mapping does not fit the alignment that a
   * pinning access demands.
   */
  static async create(
    iommufd: Iommufd,
    options: { readonly ioas: number; readonly needsPin: boolean },
  ): Promise<MockAccess> {
    if (!(iommufd instanceof Iommufd)) throw invalidType(iommufd, 'iommufd', 'an Iommufd');
    checkObject(options, 'options');
    const mock = new MockAccess();
    mock.#access = await iommufd.accessCreate({ ...options, onUnmap: (area) => mock.#drop(area) });
    return mock;
  }

  /**
   * Pins a range as an item and gives the item's number: 0, 1, … in the order of success.
   *
   * @param deliver - hands the number over while the item cannot be found yet
   * @throws ENOMEM above 16 MiB, EOPNOTSUPP for unknown flags, EBADFD if the access is closed, EOPNOTSUPP if it does
   * not pin, as `IommufdAccess.pin`; then EFAULT if a page at `uptr` is no memory, EBADE if it is another page than
   * the one pinned, and what `deliver` throws, with nothing pinned and the number not used up.
   */
  async pages(
    request: AccessPagesRequest,
    caller: TestMemory,
    deliver?: (item: number) => void | Promise<void>,
  ): Promise<number> {
    checkObject(request, 'request');
    checkMemory(caller, 'caller');
    checkCallback(deliver, 'deliver');
    const { flags, uptr: expected = 0n } = request;
    const iova = readValue(request.iova, 'iova');
    const length = readValue(request.length, 'length');
    const uptr = readValue(expected, 'uptr');
    checkLength(length);
    checkFlags(flags, MOCK_ACCESS.WRITE);
    const access = this.#open();
    if (!access.needsPin) throw refuse('EOPNOTSUPP', 'unsupported', 'the access does not pin');
    return await this.#locked(async () => {
      const frames = await access.pin(iova, length, { write: (flags & MOCK_ACCESS.WRITE) !== 0 });
      try {
        if (uptr !== 0n) {
          await start(compare(frames, (uptr - (iova % BigInt(PAGE_SIZE))) & MAX_U64, caller));
        }
        await deliver?.(this.#nextItem);
      } catch (error) {
        await access.unpin(iova, length);
        throw error;
      }
      const item = this.#nextItem++;
      this.#items.set(item, { iova, length });
      return item;
    });
  }

  /**
   * Unpins an item.
   *
   * @throws EBADFD if the access is closed, ENOENT if there is no such item (any more).
   */
  async destroyPages(item: number): Promise<void> {
    checkInteger(item, 'item', 0, Number.MAX_SAFE_INTEGER);
    const access = this.#open();
    await this.#locked(async () => {
      const pinned = this.#items.get(item);
      if (pinned === undefined) {
        throw new IommuError('ENOENT', { check: 'object', id: `item ${item}`, detail: 'does not exist' });
      }
      this.#items.delete(item);
      await access.unpin(pinned.iova, pinned.length);
    });
  }

  /**
   * Reads or writes mapped bytes; gives what was read, or what was written.
   *
   * @throws ENOMEM above 16 MiB, EOPNOTSUPP for unknown flags, EBADFD if the access is closed, what `source` throws,
   * and as `IommufdAccess.read`.
   */
  async rw(request: AccessRwRequest, caller: UserMemory): Promise<Uint8Array> {
    checkObject(request, 'request');
    checkMemory(caller, 'caller');
    const { flags, source } = request;
    checkCallback(source, 'request.source');
    const iova = readValue(request.iova, 'iova');
    const length = readValue(request.length, 'length');
    checkLength(length);
    checkFlags(flags, MOCK_ACCESS.WRITE | MOCK_ACCESS.SLOW_PATH);
    const access = this.#open();
    const options = { slow: (flags & MOCK_ACCESS.SLOW_PATH) !== 0, caller };
    if (flags & MOCK_ACCESS.WRITE) {
      const bytes = (await source?.(Number(length))) ?? new Uint8Array(Number(length));
      await access.write(iova, bytes, options);
      return bytes;
    }
    const bytes = new Uint8Array(Number(length));
    await access.read(iova, bytes, options);
    return bytes;
  }

  /**
   * Moves the access to another address space; its items are dropped if that is another one and the move succeeds.
   *
   * @throws EBADFD if the access is closed, and as `IommufdAccess.replace`.
   */
  async replaceIoas(ioas: number): Promise<void> {
    await this.#open().replace(ioas);
  }

  /** Unpins all items and ends the access. Does nothing if it is closed. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#access?.destroy();
  }

  #open(): IommufdAccess {
    if (this.#access === undefined || this.#closed) throw refuse('EBADFD', 'state', 'the access is closed');
    return this.#access;
  }

  /** What the access does when it is told to let go of a range. */
  async #drop(area: UnmapNotice): Promise<void> {
    const last = area.iova + (area.length - 1n);
    await this.#locked(async () => {
      for (const [number, item] of [...this.#items]) {
        if (item.iova > last || item.iova + (item.length - 1n) < area.iova) continue;
        this.#items.delete(number);
        await this.#access?.unpin(item.iova, item.length);
      }
    });
  }

  async #locked<T>(work: () => Promise<T>): Promise<T> {
    if (!this.#mutex.tryWrite()) await this.#mutex.write();
    try {
      return await work();
    } finally {
      this.#mutex.releaseWrite();
    }
  }
}

/** @throws EFAULT if a page in memory is missing, EBADE if it is another one than the frame. */
function* compare(frames: FrameRuns, uptr: bigint, memory: TestMemory): Operation<void> {
  for (let at = 0; at < frames.frames; at++) {
    const user = (uptr + BigInt(at) * BigInt(PAGE_SIZE)) & MAX_U64;
    const frame = yield* frameBehind(memory, split(user).page);
    if (frame === frames.at(at)) continue;
    const detail = `page ${at} of the pin is frame ${hex(frames.at(at))}; user address ${hex(user)} is frame ${hex(frame)}`;
    throw refuse('EBADE', 'state', detail);
  }
}

function checkLength(length: bigint): void {
  if (length <= MOST_BYTES) return;
  throw refuse('ENOMEM', 'argument', `${length} bytes are more than the test driver works on at once`);
}

/** @throws EOPNOTSUPP if a flag is not known. */
export function checkFlags(flags: number, known: number): void {
  checkInteger(flags, 'request.flags', 0, 0xffff_ffff);
  if (flags & ~known) throw refuse('EOPNOTSUPP', 'unsupported', `flags ${hex(flags)} are not all known`);
}
