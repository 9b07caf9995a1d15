/** The memory of one client as its device sees it: a table of what was mapped, and the DMA into it. */
import { closeSync, fstatSync, openSync } from 'node:fs';
import { IoptAccess, type UnmapNotice } from '../access/iopt-access.js';
import type { PinnedPart } from '../access/pin.js';
import type { PinnedRange, PinnedRangeOptions } from '../access/pinned-range.js';
import { checkedInterval, readU64 } from '../arguments.js';
import { during, IommuError, refuse, wouldWait } from '../errors.js';
import { IoPagetable } from '../io-pagetable.js';
import { byteCount, checkBytes } from '../memory/bytes.js';
import { copyFrames } from '../memory/frame-bytes.js';
import type { UserMemory } from '../memory/user-memory.js';
import { type Abortable, finish, start } from '../operation.js';
import type { ProfileName } from '../rules.js';
import {
  byteLength,
  type Interval,
  intersects,
  intervalOf,
  join,
  MAX_U64,
  PAGE_MASK,
  PAGE_SIZE,
  split,
  type U64Input,
} from '../u64.js';
import { FileMemory, MessageMemory } from './client-memories.js';
import type { DescriptorSupport, GuestMemory, GuestRange } from './descriptors.js';
import { DirtyLog } from './dirty-log.js';
import type { DmaChannel, RemoteTransfer } from './dma-channel.js';
import { DMA_MAP_FLAG } from './protocol.js';

/** The most maps that a client may have: as many as its VERSION is told. */
export const MAX_DMA_MAPS = 65_535;
/** The most bytes of a bitmap of written pages. */
export const MAX_BITMAP_SIZE = 2 ** 24;

/** How a client's memory is reached. */
export interface ClientDmaOptions {
  readonly profile: ProfileName | undefined;
  readonly channel: DmaChannel;
  /** The file that the client's memory is, where its path is known. */
  readonly path: string | undefined;
  /** Absent: the connection passes none. */
  readonly descriptors: DescriptorSupport | undefined;
}

/** A DMA_MAP. */
export interface MapRequest {
  readonly flags: number;
  readonly offset: bigint;
  readonly address: bigint;
  readonly size: bigint;
}

/** A map, for as long as it is there. */
interface Mapped {
  readonly size: bigint;
  /** What of a file it shows. */
  readonly part: GuestRange | undefined;
  /** Whether its bytes are at hand. */
  readonly synchronous: boolean;
}

/** A transfer by message, which has pinned what it reaches. */
interface Transfer {
  readonly range: Interval;
  /** Why it has to end. */
  ended: unknown;
  readonly remote: RemoteTransfer[];
  /** Resolves when nothing is pinned for it any more. */
  readonly released: Promise<void>;
}

/** The memory of one client. */
export class ClientDma {
  readonly table: IoPagetable;
  readonly #messages: MessageMemory;
  readonly #file: { readonly memory: FileMemory; readonly descriptor: number } | undefined;
  readonly #shared: GuestMemory | undefined;
  readonly #maps = new Map<bigint, Mapped>();
  /** How many maps have their bytes at hand. */
  #synchronous = 0;
  readonly #access = new IoptAccess({ needsPin: false });
  readonly #pins = new IoptAccess({ needsPin: true, onUnmap: (area) => this.#letGo(area) });
  readonly #transfers = new Set<Transfer>();
  /** Ranges that the device has pinned for writing. */
  readonly #views = new Set<PinnedRange>();
  #log: DirtyLog | undefined;

  /** @throws what opening the file throws */
  constructor({ profile, channel, path, descriptors }: ClientDmaOptions) {
    this.table = new IoPagetable({ profile, accounting: 'none' });
    this.#messages = new MessageMemory(channel);
    this.#shared = descriptors?.guestMemory();
    if (path !== undefined) {
      const descriptor = openSync(path, 'r+');
      this.#file = { memory: new FileMemory(descriptor), descriptor };
    }
    finish(this.#access.attachment(this.table), wouldWait);
    finish(this.#pins.attachment(this.table), wouldWait);
  }

  /**
   * DMA_MAP. The descriptor is closed.
   *
   * @throws EEXIST if something is mapped there, ENOSPC if there are too many maps, and what `IoPagetable.map` and
   * `GuestMemory.map` throw
   */
  map({ flags, offset, address, size }: MapRequest, descriptor: number | undefined): void | Promise<void> {
    const writable = (flags & DMA_MAP_FLAG.WRITE) !== 0;
    const readable = (flags & DMA_MAP_FLAG.READ) !== 0;
    const part = descriptor === undefined ? undefined : this.#shared!.map(descriptor, offset, size, writable);
    const undo = (error: unknown): never => {
      part?.release();
      throw error;
    };
    try {
      if (this.#maps.size >= MAX_DMA_MAPS) throw refuse('ENOSPC', 'state', `${MAX_DMA_MAPS} maps are enough`);
      const { memory, uptr } = this.#behind(part, writable, offset, address, size);
      const prot = readable ? (writable ? 'rw' : 'r') : writable ? 'w' : '';
      const synchronous = memory !== this.#messages;
      const options = { iova: address, length: size, uptr, memory, prot } as const;
      const note = () => {
        this.#maps.set(address, { size, part, synchronous });
        if (synchronous) this.#synchronous += 1;
      };
      try {
        this.table.mapSync(options);
      } catch (error) {
        if (!(error instanceof IommuError) || error.code !== 'EAGAIN') throw error;
        this.#messages.abort(changed());
        return this.table.map(options).then(note, undo);
      }
      note();
    } catch (error) {
      undo(error);
    }
  }

  /** The memory behind a map. */
  #behind(
    part: GuestRange | undefined,
    writable: boolean,
    offset: bigint,
    address: bigint,
    size: bigint,
  ): { memory: UserMemory; uptr: bigint } {
    if (part !== undefined) return { memory: this.#shared!.memory, uptr: part.uptr };
    // Whether it came with a descriptor cannot be seen. A map that is neither writable nor further on in a file may be a
    // ROM, which has none.
    if (this.#file !== undefined && (writable || offset !== 0n)) {
      const { size: there } = fstatSync(this.#file.descriptor, { bigint: true });
      if (offset + size <= there) return { memory: this.#file.memory, uptr: offset };
    }
    return { memory: this.#messages, uptr: address };
  }

  /**
   * DMA_UNMAP. Nothing of the range is used any more when it has resolved: transfers by message have been aborted, other
   * DMA has ended, and what was pinned has been let go of.
   *
   * @throws (or rejects with) what `IoPagetable.unmap` throws
   */
  unmap(address: bigint, size: bigint): void | Promise<void> {
    try {
      this.table.unmapSync(address, size);
    } catch (error) {
      if (error instanceof IommuError && error.code === 'EAGAIN') return this.#unmapLater(address, size);
      this.#forget(address, size, true);
      throw error;
    }
    this.#forget(address, size, false);
  }

  async #unmapLater(address: bigint, size: bigint): Promise<void> {
    this.#messages.abort(changed());
    let failed = true;
    try {
      await this.table.unmap(address, size);
      failed = false;
    } finally {
      this.#forget(address, size, failed);
    }
  }

  /** Unmaps everything. */
  async unmapAll(): Promise<void> {
    this.#messages.abort(changed());
    await this.table.unmapAll();
    this.#forget(0n, MAX_U64, false);
  }

  /** Takes the maps of a range off the list; if the unmap failed, those that are gone. */
  #forget(address: bigint, size: bigint, failed: boolean): void {
    if (!failed && this.#maps.get(address)?.size === size) {
      this.#drop(address);
      return;
    }
    for (const [iova, { size: length }] of this.#maps) {
      if (iova < address || iova - address + length > size) continue;
      if (!failed || !this.#isMapped(iova)) this.#drop(iova);
    }
  }

  #isMapped(iova: bigint): boolean {
    const at = split(iova);
    return this.table.state.areas.first({ ...at, lastPage: at.page, lastOffset: at.offset }) !== undefined;
  }

  #drop(iova: bigint): void {
    const mapped = this.#maps.get(iova)!;
    this.#maps.delete(iova);
    if (mapped.synchronous) this.#synchronous -= 1;
    mapped.part?.release();
  }

  /** Fills `target` with the bytes from `iova` on. @throws (rejects with) as `IoptAccess.read` */
  read(iova: U64Input, target: Uint8Array, options?: Abortable): Promise<void> {
    return this.#copy(iova, target, false, options);
  }

  /** Writes `source` to `iova` and after. @throws (rejects with) as `IoptAccess.write` */
  write(iova: U64Input, source: Uint8Array, options?: Abortable): Promise<void> {
    return this.#copy(iova, source, true, options);
  }

  #copy(iova: U64Input, buffer: Uint8Array, write: boolean, options: Abortable | undefined): Promise<void> {
    if (this.#synchronous > 0 && options?.signal?.aborted !== true) {
      try {
        if (write) this.writeSync(iova, buffer);
        else this.#access.readSync(iova, buffer);
        return DONE;
      } catch (error) {
        if (!(error instanceof IommuError) || error.code !== 'EAGAIN') return Promise.reject(error);
      }
    }
    return this.#transfer(iova, buffer, write, options);
  }

  /** As `read`, now. @throws EAGAIN where a part is reached by messages only; else as `IoptAccess.read` */
  readSync(iova: U64Input, target: Uint8Array): void {
    this.#access.readSync(iova, target);
  }

  /** As `write`, now. @throws as `readSync` */
  writeSync(iova: U64Input, source: Uint8Array): void {
    this.#access.writeSync(iova, source);
    if (this.#log !== undefined) this.#log.dirty.mark(BigInt(iova), BigInt(source.length));
  }

  /** Whether a read of it would have to ask the client. */
  needsClient(iova: U64Input, length: number): boolean {
    if (this.#synchronous === 0) return true;
    const from = readU64(iova, 'iova');
    const range = intervalOf(from, split(BigInt(length)));
    if (range === undefined) return false;
    const { areas } = this.table.state;
    for (let area = areas.first(range); area !== undefined; area = areas.nextIn(area, range)) {
      if (area.value.pages?.memory === this.#messages) return true;
    }
    return false;
  }

  async #transfer(
    iova: U64Input,
    buffer: Uint8Array,
    write: boolean,
    options: Abortable | undefined,
  ): Promise<void> {
    const from = readU64(iova, 'iova');
    checkBytes(buffer, 'buffer');
    const length = readU64(byteCount(buffer), 'length');
    const signal = options?.signal;
    signal?.throwIfAborted();
    const syscall = write ? 'write' : 'read';
    try {
      const bytes = checkedInterval(from, length);
      const range = { page: bytes.page, offset: 0, lastPage: bytes.lastPage, lastOffset: PAGE_MASK };
      const { transfer, release } = this.#begin(range);
      const abort = () => end(transfer, signal?.reason);
      signal?.addEventListener('abort', abort);
      try {
        const parts = await start(this.#pins.pinningOf(range, write)).catch(asOwn);
        try {
          if (transfer.ended === undefined) await this.#move(parts, from.offset, buffer, write, transfer);
          if (transfer.ended !== undefined) throw transfer.ended;
        } finally {
          if (write) this.#log?.dirty.mark(join(from.page, from.offset), byteLength(bytes));
          await start(this.#pins.unpinningOf(range));
        }
      } finally {
        signal?.removeEventListener('abort', abort);
        this.#transfers.delete(transfer);
        release();
      }
    } catch (error) {
      throw during(error, syscall, from, length);
    }
  }

  #begin(range: Interval): { transfer: Transfer; release: () => void } {
    let release = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const transfer: Transfer = { range, ended: undefined, remote: [], released };
    this.#transfers.add(transfer);
    return { transfer, release };
  }

  /** Copies between a buffer and what was pinned, from byte `offset` of it on. */
  async #move(
    parts: readonly PinnedPart[],
    offset: number,
    buffer: Uint8Array,
    write: boolean,
    transfer: Transfer,
  ): Promise<void> {
    let done = 0;
    let skip = offset;
    for (const { memory, frames } of parts) {
      for (let run = 0; run < frames.runs; run++) {
        const count = Math.min(frames.countOf(run) * PAGE_SIZE - skip, buffer.length - done);
        const bytes = buffer.subarray(done, done + count);
        if (memory === this.#messages) {
          transfer.remote.push(this.#messages.transfer(frames.pfnOf(run), skip, bytes, write));
        } else copyNow(memory, frames.pfnOf(run), skip, bytes, write);
        done += count;
        skip = 0;
      }
    }
    const answers = await Promise.allSettled(transfer.remote.map((remote) => remote.done));
    for (const answer of answers) if (answer.status === 'rejected') throw answer.reason;
  }

  /** An area is to go: ends the transfers into it, and waits until they have let go. */
  #letGo(area: UnmapNotice): undefined | Promise<void> {
    const going = intervalOf(split(area.iova), split(area.length));
    const hit = [...this.#transfers].filter(({ range }) => going !== undefined && intersects(range, going));
    for (const transfer of hit) end(transfer, unmapped());
    if (hit.length === 0) return undefined;
    return Promise.all(hit.map(({ released }) => released)).then(() => undefined);
  }

  /** Pins a range, with live views. @throws (rejects with) EOPNOTSUPP if there are none; else as `IoPagetable.access` */
  async pin(iova: U64Input, length: U64Input, options: PinnedRangeOptions): Promise<PinnedRange> {
    const pinned = await this.table.access(iova, length, options);
    try {
      // Asking for them tells whether there are any.
      void pinned.pages;
    } catch (error) {
      await pinned.release();
      throw during(error, 'pin', readU64(iova, 'iova'), readU64(length, 'length'));
    }
    if (options.write === true) this.#views.add(pinned);
    return pinned;
  }

  /** Whether writes are noted. */
  get logging(): boolean {
    return this.#log !== undefined;
  }

  /** Notes from now on which pages are written. @throws EBUSY if it does already */
  async startLogging(ranges: readonly Interval[]): Promise<void> {
    if (this.#log !== undefined) throw refuse('EBUSY', 'state', 'writes are logged already');
    this.#messages.abort(changed());
    const log = new DirtyLog(ranges);
    this.#log = log;
    try {
      await this.table.addDomain(log);
      await this.table.setDirtyTracking(log, true);
    } catch (error) {
      this.#log = undefined;
      throw error;
    }
  }

  /** @throws EINVAL if no writes are logged */
  async stopLogging(): Promise<void> {
    const log = this.#log;
    if (log === undefined) throw refuse('EINVAL', 'state', 'no writes are logged');
    this.#messages.abort(changed());
    this.#log = undefined;
    await this.table.removeDomain(log);
  }

  /**
   * Which pages of a range were written since they were last asked for: bit n of the bitmap for `pageSize` bytes at
   * iova + n · pageSize.
   *
   * @param most - bytes that the bitmap may have
   * @throws EINVAL if no writes are logged, range and page size don't fit together, or the bitmap is larger
   */
  async dirtyBitmap(iova: bigint, length: bigint, pageSize: bigint, most: number): Promise<Uint8Array> {
    const log = this.#log;
    if (log === undefined) throw refuse('EINVAL', 'state', 'no writes are logged');
    if (pageSize < BigInt(PAGE_SIZE) || (pageSize & (pageSize - 1n)) !== 0n) {
      throw refuse('EINVAL', 'argument', `pages of ${pageSize} bytes`);
    }
    const range = checkedInterval(split(iova), split(length));
    if ((iova | length) % pageSize !== 0n) throw refuse('EINVAL', 'argument', 'the range is no whole pages');
    const words = (length / pageSize + 63n) / 64n;
    if (words * 8n > BigInt(Math.min(most, MAX_BITMAP_SIZE))) {
      throw refuse('EINVAL', 'argument', `the bitmap would have ${words * 8n} bytes`);
    }
    this.#markViews(log);
    const bitmap = new Uint8Array(Number(words) * 8);
    const { areas } = this.table.state;
    const found: Interval[] = [];
    for (let area = areas.first(range); area !== undefined; area = areas.nextIn(area, range))
      found.push(area);
    for (const area of found) {
      const first = Math.max(area.page, range.page);
      const last = Math.min(area.lastPage, range.lastPage);
      await this.table.readDirty({
        domain: log,
        iova: join(first, 0),
        length: BigInt(last - first + 1) * BigInt(PAGE_SIZE),
        pageSize: PAGE_SIZE,
        bitmap: (from, to) => {
          for (let bit = from; bit <= to; bit++) {
            const page = BigInt(first) * BigInt(PAGE_SIZE) + bit * BigInt(PAGE_SIZE);
            const n = Number((page - iova) / pageSize);
            bitmap[n >> 3]! |= 1 << (n & 7);
          }
        },
      });
    }
    return bitmap;
  }

  /** What is pinned for writing may have been written without a word. */
  #markViews(log: DirtyLog): void {
    for (const view of this.#views) {
      log.dirty.mark(view.iova, view.length);
      if (view.released) this.#views.delete(view);
    }
  }

  /** Ends all that is under way. */
  abort(error: unknown): void {
    this.#messages.abort(error);
    for (const transfer of this.#transfers) end(transfer, error);
  }

  /** Lets go of everything that is the client's. */
  async close(): Promise<void> {
    try {
      await this.table.unmapAll();
    } finally {
      this.#maps.clear();
      this.#synchronous = 0;
      this.#shared?.close();
      if (this.#file !== undefined) closeSync(this.#file.descriptor);
    }
  }
}

const DONE = Promise.resolve();

/** The error of a pin that was made for a transfer, which gives it a name of its own. */
function asOwn(error: unknown): never {
  throw error instanceof IommuError ? new IommuError(error.code, error.reason) : error;
}

function end(transfer: Transfer, error: unknown): void {
  transfer.ended ??= error;
  for (const remote of transfer.remote) remote.abort(error);
}

function unmapped(): IommuError {
  return refuse('ECANCELED', 'state', 'the client unmapped the memory while the device used it');
}

/** The error of a copy that was begun at the table itself, which has to be free for a change. */
function changed(): IommuError {
  return refuse('ECANCELED', 'state', 'the client changed its maps while memory was copied by message');
}

/** Copies between frames and a buffer, in a memory that answers at once. */
function copyNow(memory: UserMemory, pfn: number, offset: number, bytes: Uint8Array, write: boolean): void {
  const answer = copyFrames(memory, pfn, offset, bytes, 0, bytes.length, write);
  if (answer !== undefined) throw wouldWait();
}
