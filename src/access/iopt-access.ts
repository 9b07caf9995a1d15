/**
 * An access: a user of a table that touches mapped memory through the CPU, as a device model does.
 */
import {
  checkBoolean,
  checkCallback,
  checkedInterval,
  checkFlag,
  checkObject,
  readU64,
} from '../arguments.js';
import { during, refuse, wouldWait } from '../errors.js';
import { byteCount, checkBytes, viewOf } from '../memory/bytes.js';
import { FrameRuns } from '../memory/frame-runs.js';
import { type Abortable, finish, type Operation, start } from '../operation.js';
import type { IovaSpace } from '../table/iova-space.js';
import type { U64Input } from '../u64.js';
import { AreaWindows } from './area-windows.js';
import { Attachment, type UnmapNotice } from './attachment.js';
import { type TransferOptions, transferRange } from './transfer.js';

export type { UnmapNotice } from './attachment.js';

/** The options of a transfer that asks for nothing special. */
const PLAIN: TransferOptions = Object.freeze({});

/** How an access is made. */
export interface IoptAccessOptions {
  /** Whether it pins. Such an access raises the alignment of the tables it is attached to, to 4096 bytes. */
  readonly needsPin: boolean;
  /**
   * Called when an area in which some access of the table has pins is unmapped, with the whole area, whether or
   * not this access has pins there; and with (0, 2^64 − 1) when the access leaves a table. It must unpin all
   * that it pinned there before it returns, or before its promise resolves. An access that pins must have one.
   */
  readonly onUnmap?: ((area: UnmapNotice) => void | PromiseLike<void>) | undefined;
}

/** How `pin` pins. */
export interface PinOptions extends Abortable {
  /** Pin for writing; a read-only mapping is refused then. */
  readonly write?: boolean;
}

/** A CPU user of a page table (the kernel's `iommufd_access`). */
export class IoptAccess {
  /** Whether the access can pin. */
  readonly needsPin: boolean;
  /** The alignment it demands, in bytes. */
  readonly iovaAlignment: number;
  readonly #attachment: Attachment;
  /** Made at the first synchronous transfer. */
  #windows: AreaWindows | undefined;

  constructor(options: IoptAccessOptions) {
    checkObject(options, 'options');
    const { needsPin, onUnmap } = options;
    checkBoolean(needsPin, 'options.needsPin');
    checkCallback(onUnmap, 'options.onUnmap');
    this.needsPin = needsPin;
    this.#attachment = new Attachment(needsPin, onUnmap);
    this.iovaAlignment = this.#attachment.iovaAlignment;
  }

  /** The table the access is attached to. */
  get table(): IovaSpace | undefined {
    return this.#attachment.table;
  }

  /**
   * Whether it is in no table, and not just leaving one either.
   *
   * @internal
   */
  get detached(): boolean {
    return this.#attachment.detached;
  }

  /**
   * Attaches the access to a table.
   *
   * @throws EINVAL if it is attached already, EADDRINUSE if an area of the table does not fit the alignment it
   * demands, EBUSY if the table has 65536 accesses, or while the access is leaving another table.
   */
  attach(table: IovaSpace, options?: Abortable): Promise<void> {
    return start(this.attachment(table), options);
  }

  /**
   * Moves the access to another table. `onUnmap` is called for everything before the old one is left; for the
   * table it is attached to already nothing happens.
   *
   * @throws ENOENT if it is not attached; else as `attach`. It stays where it was then, as when it is aborted.
   */
  replace(table: IovaSpace, options?: Abortable): Promise<void> {
    return start(this.replacement(table), options);
  }

  /**
   * Takes the access from its table, after `onUnmap` was called for everything. Does nothing if there is none, or while
   * `onUnmap` runs because the access is leaving: the callback itself may be who calls. If it is aborted, or `onUnmap`
   * fails, the access stays in its table.
   */
  detach(options?: Abortable): Promise<void> {
    return start(this.detachment(), options);
  }

  /** @internal */
  attachment(table: IovaSpace): Operation<void> {
    return this.#attachment.attaching(table);
  }

  /** @internal */
  replacement(table: IovaSpace): Operation<void> {
    return this.#attachment.replacing(table);
  }

  /** @internal */
  detachment(): Operation<void> {
    return this.#attachment.detaching();
  }

  /**
   * Pins the pages behind [iova, iova + length) and gives their frames: one for each page, area by area. The
   * range must begin at a page boundary of the memory behind it; it may end anywhere.
   *
   * @throws EINVAL if the access cannot pin or has no `onUnmap`, if the length is 0, if an area is being unmapped or
   * page boundaries don't meet; EOVERFLOW if the range passes 2^64 − 1; ENOENT if the access is not attached or
   * the range is not wholly mapped; EPERM without permission; EFAULT and ENOMEM from pinning. Nothing is pinned
   * then.
   */
  pin(iova: U64Input, length: U64Input, options: PinOptions = {}): Promise<FrameRuns> {
    return start(this.#pin(iova, length, options), options);
  }

  /** As `pin`, now. @throws EAGAIN where it would have to wait, with nothing changed; else as `pin` */
  pinSync(iova: U64Input, length: U64Input, options: { readonly write?: boolean } = {}): FrameRuns {
    return finish(this.#pin(iova, length, options), wouldWait);
  }

  *#pin(iova: U64Input, length: U64Input, options: { readonly write?: boolean }): Operation<FrameRuns> {
    const from = readU64(iova, 'iova');
    const bytes = readU64(length, 'length');
    checkObject(options, 'options');
    const { write } = options;
    checkFlag(write, 'options.write');
    const frames = new FrameRuns();
    try {
      this.#checkPins();
      for (const part of yield* this.#attachment.pinning(checkedInterval(from, bytes), write === true)) {
        frames.append(part.frames);
      }
    } catch (error) {
      throw during(error, 'pin', from, bytes);
    }
    return frames;
  }

  #checkPins(): void {
    if (this.needsPin && this.#attachment.letsGo) return;
    throw refuse('EINVAL', 'state', 'only an access made with needsPin and an onUnmap callback can pin');
  }

  /**
   * Takes back a pin of exactly this range.
   *
   * @throws EINVAL if it was not pinned so, EOVERFLOW if it passes 2^64 − 1, ENOENT if the access is not attached.
   * (The kernel's call cannot fail: it warns instead.)
   */
  unpin(iova: U64Input, length: U64Input, options?: Abortable): Promise<void> {
    return start(this.unpinning(iova, length), options);
  }

  /** As `unpin`, now. @throws EAGAIN where it would have to wait, with nothing changed; else as `unpin` */
  unpinSync(iova: U64Input, length: U64Input): void {
    finish(this.unpinning(iova, length), wouldWait);
  }

  /** @internal */
  *unpinning(iova: U64Input, length: U64Input): Operation<void> {
    const from = readU64(iova, 'iova');
    const bytes = readU64(length, 'length');
    try {
      yield* this.#attachment.unpinning(checkedInterval(from, bytes));
    } catch (error) {
      throw during(error, 'unpin', from, bytes);
    }
  }

  /**
   * Copies mapped bytes from `iova` on into `target`, all of it.
   *
   * @throws EINVAL if `target` is empty or an area is being unmapped, EOVERFLOW, ENOENT if the access is not
   * attached or the range is not wholly mapped, EPERM without permission, EFAULT if memory cannot be read. Bytes
   * of earlier areas have been copied then.
   */
  read(iova: U64Input, target: Uint8Array, options: TransferOptions = {}): Promise<void> {
    return start(this.#transfer('read', iova, target, options, false), options);
  }

  /** The reverse of `read`. @throws as `read` */
  write(iova: U64Input, source: Uint8Array, options: TransferOptions = {}): Promise<void> {
    return start(this.#transfer('write', iova, source, options, false), options);
  }

  /** As `read`, now. @throws EAGAIN where it would have to wait, with nothing changed; else as `read` */
  readSync(iova: U64Input, target: Uint8Array, options: TransferOptions = PLAIN): void {
    if (this.#transferNow(iova, target, options, false)) return;
    finish(this.#transfer('read', iova, target, options, true), wouldWait);
  }

  /** As `write`, now. @throws EAGAIN where it would have to wait, with nothing changed; else as `read` */
  writeSync(iova: U64Input, source: Uint8Array, options: TransferOptions = PLAIN): void {
    if (this.#transferNow(iova, source, options, true)) return;
    finish(this.#transfer('write', iova, source, options, true), wouldWait);
  }

  /** The quick way of a transfer without options; `false` where the long way has to be gone. */
  #transferNow(iova: U64Input, buffer: Uint8Array, options: TransferOptions, write: boolean): boolean {
    const { table, idle } = this.#attachment;
    if (options !== PLAIN || table === undefined || !idle) return false;
    const { page, offset } = readU64(iova, 'iova');
    if (!(buffer instanceof Uint8Array) || !table.state.iovaLock.tryRead()) return false;
    if (this.#windows?.space !== table) this.#windows = new AreaWindows(table);
    try {
      return this.#windows.transfer(page, offset, buffer, write);
    } catch {
      // If a buffer is gone, a WebAssembly.Memory has another one by now. The long way finds it, or names the error.
      this.#windows = undefined;
      return false;
    } finally {
      table.state.iovaLock.releaseRead();
    }
  }

  *#transfer(
    syscall: 'read' | 'write',
    iova: U64Input,
    buffer: Uint8Array,
    options: TransferOptions,
    now: boolean,
  ): Operation<void> {
    const from = readU64(iova, 'iova');
    checkBytes(buffer, 'buffer');
    checkObject(options, 'options');
    const { slow, caller, kernelThread } = options;
    checkFlag(slow, 'options.slow');
    checkFlag(kernelThread, 'options.kernelThread');
    const length = byteCount(buffer);
    const size = readU64(length, 'length');
    try {
      const range = checkedInterval(from, size);
      const write = syscall === 'write';
      const bytes = viewOf(buffer, 0, length);
      yield* this.#attachment.withTable((table) =>
        transferRange(table, range, {
          slow: slow === true,
          caller,
          kernelThread: kernelThread === true,
          buffer: bytes,
          length,
          write,
          now,
        }),
      );
    } catch (error) {
      throw during(error, syscall, from, size);
    }
  }
}
