/** The memory of a client, as its `IoPagetable` maps it: by messages, or by the file behind it. */
import { readSync, writeSync } from 'node:fs';
import type { FrameRuns } from '../memory/frame-runs.js';
import type { UserMemory } from '../memory/user-memory.js';
import { PAGE_SIZE } from '../u64.js';
import type { DmaChannel, RemoteTransfer } from './dma-channel.js';

/**
 * Memory that only the client reaches: it is asked for each byte. Its user addresses, and its frames, are the IOVAs, as
 * these are what the client is asked by.
 */
export class MessageMemory implements UserMemory {
  readonly #channel: DmaChannel;
  readonly #open = new Set<RemoteTransfer>();

  constructor(channel: DmaChannel) {
    this.#channel = channel;
  }

  /** Nothing of it is ever at hand. */
  resident(): boolean {
    return false;
  }

  pin(page: number, count: number, _write: boolean, into: FrameRuns): number {
    into.push(page, count);
    return count;
  }

  unpin(): void {}

  copyFromFrames(
    pfn: number,
    offset: number,
    target: Uint8Array,
    at: number,
    length: number,
  ): Promise<number> {
    return this.#wait(this.transfer(pfn, offset, target.subarray(at, at + length), false), length);
  }

  copyToFrames(pfn: number, offset: number, source: Uint8Array, at: number, length: number): Promise<number> {
    return this.#wait(this.transfer(pfn, offset, source.subarray(at, at + length), true), length);
  }

  copyFromUser(
    page: number,
    offset: number,
    target: Uint8Array,
    at: number,
    length: number,
  ): Promise<number> {
    return this.copyFromFrames(page, offset, target, at, length);
  }

  copyToUser(page: number, offset: number, source: Uint8Array, at: number, length: number): Promise<number> {
    return this.copyToFrames(page, offset, source, at, length);
  }

  /** Begins a transfer of its own, which holds nothing of the table. */
  transfer(pfn: number, offset: number, bytes: Uint8Array, write: boolean): RemoteTransfer {
    const address = BigInt(pfn) * BigInt(PAGE_SIZE) + BigInt(offset);
    return write ? this.#channel.write(address, bytes) : this.#channel.read(address, bytes);
  }

  /** Ends what was begun by a call of the table, which holds locks until then. */
  abort(error: unknown): void {
    for (const transfer of this.#open) transfer.abort(error);
  }

  async #wait(transfer: RemoteTransfer, length: number): Promise<number> {
    this.#open.add(transfer);
    try {
      await transfer.done;
      return length;
    } finally {
      this.#open.delete(transfer);
    }
  }
}

/** The memory of a client, by the file that it is. User addresses are offsets in the file. */
export class FileMemory implements UserMemory {
  readonly #descriptor: number;

  /** @param descriptor - of the file, open for reading and writing; it stays the caller's */
  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  pin(page: number, count: number, _write: boolean, into: FrameRuns): number {
    into.push(page, count);
    return count;
  }

  unpin(): void {}

  copyFromFrames(pfn: number, offset: number, target: Uint8Array, at: number, length: number): number {
    return this.copyFromUser(pfn, offset, target, at, length);
  }

  copyToFrames(pfn: number, offset: number, source: Uint8Array, at: number, length: number): number {
    return this.copyToUser(pfn, offset, source, at, length);
  }

  copyFromUser(page: number, offset: number, target: Uint8Array, at: number, length: number): number {
    return copied(length, (done) =>
      readSync(this.#descriptor, target, at + done, length - done, page * PAGE_SIZE + offset + done),
    );
  }

  copyToUser(page: number, offset: number, source: Uint8Array, at: number, length: number): number {
    return copied(length, (done) =>
      writeSync(this.#descriptor, source, at + done, length - done, page * PAGE_SIZE + offset + done),
    );
  }
}

/** Bytes that were copied, until nothing more came. */
function copied(length: number, copy: (done: number) => number): number {
  let done = 0;
  while (done < length) {
    const now = copy(done);
    if (now === 0) break;
    done += now;
  }
  return done;
}
