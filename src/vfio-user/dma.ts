/** A device's DMA. */
import type { PinnedRange, PinnedRangeOptions } from '../access/pinned-range.js';
import { checkObject, invalidType, readU64 } from '../arguments.js';
import { during, type IommuError, refuse } from '../errors.js';
import type { IoPagetable } from '../io-pagetable.js';
import { byteCount, checkBytes } from '../memory/bytes.js';
import type { Abortable } from '../operation.js';
import type { U64Input } from '../u64.js';
import type { ClientDma } from './client-dma.js';
import type { DeviceCalls } from './device-calls.js';

/** A piece of a scatter list: `length` bytes from `iova` on. */
export interface DmaSegment {
  readonly iova: U64Input;
  readonly length: number;
}

/** What DMA depends on, besides the client. */
export interface DmaState {
  /** Why there can be none right now. */
  readonly dmaRefusal: IommuError | undefined;
}

/**
 * A device's DMA: memory of the client, by IOVA, through an `IoPagetable` that has what the client has mapped.
 *
 * Where memory is reached by messages, transfers are asked of the client in pieces of at most 64 KiB; it does not answer
 * while it waits for an answer itself, so they cannot be begun by a read handler of a register.
 *
 * All methods throw, or reject with, errors of the library (`syscall` is `read`, `write` or `pin`): ENOENT where nothing is
 * mapped, EPERM where the mapping does not allow it; EPERM, too, while the guest has not switched on bus mastering;
 * ENODEV without a client, or when it goes meanwhile; EBUSY while the device is stopped for a migration; ECANCELED if the
 * client unmaps the memory meanwhile, or resets the device; EDEADLOCK in a read handler, if the client would have to
 * answer; EFAULT, ENODEV, EIO and others if the client refuses a transfer by message.
 */
export class DeviceDma {
  readonly #calls: DeviceCalls;
  readonly #state: DmaState;
  #client: ClientDma | undefined;

  /** @internal */
  constructor(calls: DeviceCalls, state: DmaState) {
    this.#calls = calls;
    this.#state = state;
  }

  /** @internal */
  attach(client: ClientDma | undefined): void {
    this.#client = client;
  }

  /** What the client has mapped; `undefined` without a client. Each client has a table of its own. */
  get table(): IoPagetable | undefined {
    return this.#client?.table;
  }

  /** Fills `target` with the bytes from `iova` on. If it fails, `target` may have been filled in part. */
  read(iova: U64Input, target: Uint8Array, options?: Abortable): Promise<void> {
    try {
      return this.#asking(iova, target, 'read').read(iova, target, options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Writes `source` to `iova` and after; it must not change until the promise resolves. If it fails, a part may have been
   * written.
   */
  write(iova: U64Input, source: Uint8Array, options?: Abortable): Promise<void> {
    try {
      return this.#asking(iova, source, 'write').write(iova, source, options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** As `read`, now. @throws EAGAIN where the memory is reached by messages; else as `read` */
  readSync(iova: U64Input, target: Uint8Array): void {
    this.#now('read').readSync(iova, target);
  }

  /** As `write`, now. @throws EAGAIN where the memory is reached by messages; else as `write` */
  writeSync(iova: U64Input, source: Uint8Array): void {
    this.#now('write').writeSync(iova, source);
  }

  /** Fills `target` with the bytes of a list of segments, one after the other. @throws RangeError if they have more or less */
  readList(segments: readonly DmaSegment[], target: Uint8Array, options?: Abortable): Promise<void> {
    return this.#list(segments, target, (iova, part) => this.read(iova, part, options));
  }

  /** Writes `source` to a list of segments, one after the other. @throws RangeError if they have more or less */
  writeList(segments: readonly DmaSegment[], source: Uint8Array, options?: Abortable): Promise<void> {
    return this.#list(segments, source, (iova, part) => this.write(iova, part, options));
  }

  async #list(
    segments: readonly DmaSegment[],
    buffer: Uint8Array,
    copy: (iova: U64Input, part: Uint8Array) => Promise<void>,
  ): Promise<void> {
    checkBytes(buffer, 'buffer');
    if (!Array.isArray(segments)) throw invalidType(segments, 'segments', 'an array');
    const copies: { iova: U64Input; part: Uint8Array }[] = [];
    let done = 0;
    for (const segment of segments as readonly DmaSegment[]) {
      checkObject(segment, 'segments[]');
      const { iova, length } = segment;
      if (!Number.isInteger(length) || length < 0 || length > buffer.length - done) {
        throw new RangeError(`The segments have more bytes than the buffer, which has ${buffer.length}`);
      }
      if (length > 0) copies.push({ iova, part: buffer.subarray(done, done + length) });
      done += length;
    }
    if (done !== buffer.length) {
      throw new RangeError(`The segments have ${done} bytes, and the buffer ${buffer.length}`);
    }
    // All are begun before the first has ended. Nobody may be left copying when it is said that one has failed.
    const answers = await Promise.allSettled(copies.map(({ iova, part }) => copy(iova, part)));
    for (const answer of answers) if (answer.status === 'rejected') throw answer.reason;
  }

  /**
   * Pins a range and gives live views of its pages, where there are views: no copies. The pages stay until the range is
   * released; an unmap by the client waits for that (`onUnmap`; without it the range releases itself).
   *
   * @throws EOPNOTSUPP if the memory is reached by messages or by its file
   */
  pin(iova: U64Input, length: U64Input, options: PinnedRangeOptions = {}): Promise<PinnedRange> {
    try {
      return this.#now('pin').pin(iova, length, options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #now(syscall: string): ClientDma {
    const refusal = this.#state.dmaRefusal;
    if (refusal !== undefined) throw refusal.during(syscall);
    if (this.#client === undefined) throw refuse('ENODEV', 'state', 'there is no client').during(syscall);
    return this.#client;
  }

  /** The client, which may be asked. */
  #asking(iova: U64Input, buffer: Uint8Array, syscall: string): ClientDma {
    const client = this.#now(syscall);
    if (!this.#calls.answering) return client;
    checkBytes(buffer, 'buffer');
    const length = byteCount(buffer);
    if (!client.needsClient(iova, length)) return client;
    const detail =
      'a read handler of a register cannot have memory that the client is asked for: it answers nothing until it has the ' +
      'register; begin DMA in a write handler';
    const range = readU64(length, 'length');
    throw during(refuse('EDEADLOCK', 'state', detail), syscall, readU64(iova, 'iova'), range);
  }
}
