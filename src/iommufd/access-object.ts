/** An access as an object of a context: a CPU user of an address space, held by its driver. */
import { IoptAccess, type PinOptions, type UnmapNotice } from '../access/iopt-access.js';
import type { TransferOptions } from '../access/transfer.js';
import { checkCallback, readValue } from '../arguments.js';
import { IommuError } from '../errors.js';
import type { FrameRuns } from '../memory/frame-runs.js';
import { type Abortable, type Operation, start, unstoppable } from '../operation.js';
import { RwLock } from '../rw-lock.js';
import { MAX_U64, type U64Input } from '../u64.js';
import { heard } from './callbacks.js';
import type { Context } from './context.js';
import { Ioas } from './ioas.js';
import { holding, IommufdObject } from './object-table.js';

/** How an access is made. */
export interface AccessOptions extends Abortable {
  /** Id of the address space to attach it to; without it the access is attached later. */
  readonly ioas?: number | undefined;
  /** Whether it pins. It then raises the alignment of its address space to 4096 bytes. */
  readonly needsPin?: boolean | undefined;
  /**
   * Called when an area in which some access of the address space has pins is unmapped, with the whole area, whether
   * or not this access has pins there; and with (0, 2^64 − 1) when the access leaves an address space. It must unpin
   * all that it pinned there before it returns, or before its promise resolves. An access that pins must have one.
   */
  readonly onUnmap?: ((area: UnmapNotice) => void | PromiseLike<void>) | undefined;
}

interface Pin {
  readonly length: bigint;
}

/**
 * A driver's access to an address space through the CPU (the kernel's `iommufd_access`), made by
 * `Iommufd.accessCreate`. It keeps its address space in use while it is attached.
 */
export class IommufdAccess extends IommufdObject {
  static readonly kind = 'access';
  readonly kind = IommufdAccess.kind;
  readonly #context: Context;
  readonly #access: IoptAccess;
  /** What is pinned or just being pinned, by IOVA. */
  readonly #pins = new Map<bigint, Pin[]>();
  /** The address space that counts the access as its user. */
  #ioas: Ioas | undefined;
  /** Whether the access was destroyed, or is just being. */
  #ended = false;
  /** Calls that are detaching it now. Nothing that its callback throws may keep it attached then. */
  #detaching = 0;
  readonly #lock = new RwLock();

  /** @internal */
  constructor(id: number, context: Context, options: Pick<AccessOptions, 'needsPin' | 'onUnmap'>) {
    super(id);
    this.#context = context;
    // The driver's hold: DESTROY refuses an access.
    this.users = 1;
    const { needsPin = false, onUnmap } = options;
    checkCallback(onUnmap, 'options.onUnmap');
    this.#access = new IoptAccess({
      needsPin,
      onUnmap:
        onUnmap && ((area) => this.#letGo(area, (range) => context.callbacks.call(() => onUnmap(range)))),
    });
  }

  /** Id of the address space it is attached to; `undefined` while it is detached. */
  get ioas(): number | undefined {
    return this.#ioas?.id;
  }

  /** Whether it pins. */
  get needsPin(): boolean {
    return this.#access.needsPin;
  }

  /** @internal */
  describeUsers(): string {
    return 'its driver holds it; destroy the access through the driver';
  }

  /**
   * One detach or destroy at a time. A callback that the one in progress waits for cannot wait for it in turn: it goes
   * ahead.
   *
   * @internal
   */
  override *exclusively<T>(operation: Operation<T>): Operation<T> {
    if (!this.#lock.free && this.#context.callbacks.maybeInside) return yield* operation;
    if (!this.#lock.tryWrite()) yield () => this.#lock.write();
    try {
      return yield* operation;
    } finally {
      this.#lock.releaseWrite();
    }
  }

  /** @internal */
  override *release(): Operation<void> {
    this.#ended = true;
    try {
      yield* this.#leave();
    } catch (error) {
      this.#ended = false;
      throw error;
    }
  }

  /**
   * Attaches the access (the kernel's `iommufd_access_attach`).
   *
   * @param ioas - id of an address space
   * @throws EINVAL if it is attached already, ENOENT if there is no such address space or the access is destroyed,
   * EADDRINUSE if a mapping does not fit the alignment that a pinning access demands, EBUSY while the access is leaving
   * another address space.
   */
  attach(ioas: number, options?: Abortable): Promise<void> {
    return this.#context.perform('access_attach', this.entering(ioas), options);
  }

  /** @internal */
  entering(ioas: number): Operation<void> {
    return this.#move(ioas, (table) => this.#access.attachment(table));
  }

  /**
   * Moves the access to another address space (the kernel's `iommufd_access_replace`). `onUnmap` is called for
   * everything before the old one is left; what is pinned even then is unpinned. For the address space it is
   * attached to already nothing happens.
   *
   * @param ioas - id of an address space
   * @throws ENOENT if it is not attached or there is no such address space; else as `attach`. It stays where it was,
   * with its pins. ENOENT also if it is destroyed meanwhile; it is in neither address space then.
   */
  replace(ioas: number, options?: Abortable): Promise<void> {
    const moving = this.#move(ioas, (table) => this.#access.replacement(table));
    return this.#context.perform('access_replace', moving, options);
  }

  /**
   * Takes the access from its address space, as `replace` does; nothing happens if it is detached, or while `onUnmap`
   * runs because a `replace` has it leave. While it is being detached or destroyed, this waits for the end of that, but
   * not inside a callback. What `onUnmap` throws is thrown on, but the access is detached.
   */
  detach(options?: Abortable): Promise<void> {
    return this.#context.perform('access_detach', this.exclusively(this.#takeOut()), options);
  }

  /**
   * Detaches the access, as `detach` does, and ends it; its id is free then. Nothing happens if it is gone; while it is
   * being destroyed, this waits for the end of that, but not inside a callback.
   *
   * If `onUnmap` destroys the access while it is leaving an address space, perhaps for another, the call that it is
   * leaving for ends with it detached.
   */
  async destroy(options?: Abortable): Promise<void> {
    const { objects, callbacks, closed } = this.#context;
    if (!objects.has(this) && callbacks.maybeInside) return;
    const destroying = this.exclusively(objects.removal(this));
    // A context that is closing ends accesses, too. Whoever comes second waits for the other.
    if (closed || !objects.has(this)) await start(destroying, options);
    else await this.#context.perform('access_destroy', destroying, options);
  }

  /**
   * Pins the pages behind [iova, iova + length) and gives their frames: one for each page, area by area. The range
   * must begin at a page boundary of the memory behind it; it may end anywhere.
   *
   * @throws EINVAL if the access cannot pin or has no `onUnmap`, if the length is 0, if an area is being unmapped or
   * page boundaries don't meet; EOVERFLOW if the range passes 2^64 − 1; ENOENT if the access is not attached or
   * the range is not wholly mapped; EPERM without permission; EFAULT and ENOMEM from pinning. Nothing is pinned then.
   */
  async pin(iova: U64Input, length: U64Input, options?: PinOptions): Promise<FrameRuns> {
    const start = readValue(iova, 'iova');
    const pin: Pin = { length: readValue(length, 'length') };
    // Booked before it exists: an unmap that follows at once must find it.
    const pins = this.#pins.get(start);
    if (pins === undefined) this.#pins.set(start, [pin]);
    else pins.push(pin);
    try {
      return await this.#access.pin(iova, length, options);
    } catch (error) {
      this.#forget(start, pin);
      throw error;
    }
  }

  /**
   * Takes back a pin of exactly this range.
   *
   * @throws EINVAL if it was not pinned so, EOVERFLOW if it passes 2^64 − 1, ENOENT if the access is not attached.
   * (The kernel's call cannot fail: it warns instead.)
   */
  unpin(iova: U64Input, length: U64Input, options?: Abortable): Promise<void> {
    return start(this.#unpinning(iova, length), options);
  }

  /**
   * Copies mapped bytes from `iova` on into `target`, all of it.
   *
   * @throws EINVAL if `target` is empty or an area is being unmapped, EOVERFLOW if the range passes 2^64 − 1, ENOENT
   * if the access is not attached or the range is not wholly mapped, EPERM without permission, EFAULT if memory
   * cannot be read. Bytes of earlier areas have been copied then.
   */
  read(iova: U64Input, target: Uint8Array, options?: TransferOptions): Promise<void> {
    return this.#access.read(iova, target, options);
  }

  /** The reverse of `read`. @throws as `read` */
  write(iova: U64Input, source: Uint8Array, options?: TransferOptions): Promise<void> {
    return this.#access.write(iova, source, options);
  }

  /** As `read`, now. @throws EAGAIN where it would have to wait, with nothing changed; else as `read` */
  readSync(iova: U64Input, target: Uint8Array, options?: TransferOptions): void {
    this.#access.readSync(iova, target, options);
  }

  /** As `write`, now. @throws EAGAIN where it would have to wait, with nothing changed; else as `read` */
  writeSync(iova: U64Input, source: Uint8Array, options?: TransferOptions): void {
    this.#access.writeSync(iova, source, options);
  }

  *#unpinning(iova: U64Input, length: U64Input): Operation<void> {
    yield* this.#access.unpinning(iova, length);
    const start = readValue(iova, 'iova');
    const bytes = readValue(length, 'length');
    const pin = this.#pins.get(start)?.find((candidate) => candidate.length === bytes);
    if (pin !== undefined) this.#forget(start, pin);
  }

  *#move(id: number, change: (table: Ioas['table']) => Operation<void>): Operation<void> {
    if (this.#ended) throw this.#gone();
    const ioas = this.#context.objects.get(id, Ioas);
    yield* holding([ioas], this.#moveTo(ioas, change(ioas.table)));
  }

  *#moveTo(ioas: Ioas, change: Operation<void>): Operation<void> {
    try {
      yield* change;
      this.#bookOff();
      ioas.users += 1;
      this.#ioas = ioas;
    } finally {
      // What destroyed the access while its callback ran could not detach it.
      if (this.#ended) yield* unstoppable(this.#takeOut());
    }
    if (this.#ended) throw this.#gone();
  }

  /** Detaches the access, and then throws what its callback has thrown meanwhile. */
  *#takeOut(): Operation<void> {
    yield* this.#leave();
    const { complaint } = this;
    this.complaint = undefined;
    if (complaint !== undefined) throw complaint.error;
  }

  /** Detaches the access; not while its callback runs because it is leaving: that is up to the call it runs for. */
  *#leave(): Operation<void> {
    this.#detaching += 1;
    try {
      yield* this.#access.detachment();
      if (this.#access.detached) this.#bookOff();
    } finally {
      this.#detaching -= 1;
    }
  }

  #bookOff(): void {
    if (this.#ioas !== undefined) this.#ioas.users -= 1;
    this.#ioas = undefined;
  }

  #gone(): IommuError {
    return new IommuError('ENOENT', {
      check: 'object',
      id: String(this.id),
      detail: '(access) is destroyed',
    });
  }

  #letGo(
    area: UnmapNotice,
    onUnmap: (area: UnmapNotice) => void | PromiseLike<void>,
  ): void | PromiseLike<void> {
    // No area is 2^64 − 1 bytes long: this one stands for everything.
    return area.length === MAX_U64 ? heard(this.#letGoOfAll(area, onUnmap)) : onUnmap(area);
  }

  /** Tells the driver that the access leaves an address space, and unpins what the driver then has left pinned. */
  async #letGoOfAll(
    area: UnmapNotice,
    onUnmap: (area: UnmapNotice) => void | PromiseLike<void>,
  ): Promise<void> {
    try {
      await onUnmap(area);
    } catch (error) {
      if (this.#detaching === 0) throw error;
      this.complaint ??= { error };
    }
    for (const [iova, pins] of [...this.#pins]) {
      for (const pin of [...pins]) {
        try {
          await this.unpin(iova, pin.length);
        } catch (error) {
          // A pin that is waiting its turn is not there yet, and will not find the address space any more.
          if (!(error instanceof IommuError)) throw error;
        }
      }
    }
  }

  #forget(iova: bigint, pin: Pin): void {
    const pins = this.#pins.get(iova);
    const at = pins?.indexOf(pin) ?? -1;
    if (pins === undefined || at < 0) return;
    pins.splice(at, 1);
    if (pins.length === 0) this.#pins.delete(iova);
  }
}
