/** Cuts a stream of bytes into messages. */
import { HEADER, HEADER_SIZE } from './protocol.js';
import type { Header } from './transport.js';

/** A message without its descriptors. */
export interface Frame {
  readonly header: Header;
  readonly payload: Uint8Array;
}

/**
 * Cuts a stream of bytes into messages, wherever the stream is cut into chunks. It holds at most one message that is not
 * complete, and the chunk that came last.
 */
export class FrameReader {
  readonly #most: number;
  #chunk: Uint8Array = new Uint8Array(0);
  #at = 0;
  /** The header of a message whose payload is not complete. */
  #header: Header | undefined;
  /** What there is of a header or a payload that does not lie in one chunk. */
  #part: Uint8Array | undefined;
  #filled = 0;

  /** @param maxMessageSize - bytes of the largest message, header included */
  constructor(maxMessageSize: number) {
    this.#most = maxMessageSize;
  }

  /** Whether the stream may end here: between two messages. */
  get atBoundary(): boolean {
    return this.#header === undefined && this.#part === undefined && this.#at === this.#chunk.length;
  }

  /** Gives the next bytes of the stream; the chunk before was used up. They must not be changed afterwards. */
  push(chunk: Uint8Array): void {
    this.#chunk = chunk;
    this.#at = 0;
  }

  /**
   * The next message, if all of it is there.
   *
   * @throws Error if its size is not one that a message can have: the stream is of no use any more
   */
  next(): Frame | undefined {
    if (this.#header === undefined) {
      const bytes = this.#take(HEADER_SIZE);
      if (bytes === undefined) return undefined;
      const header = HEADER.decode(bytes);
      if (header.size < HEADER_SIZE || header.size > this.#most) {
        throw new Error(`a message of ${header.size} bytes; it has ${HEADER_SIZE} to ${this.#most}`);
      }
      this.#header = header;
    }
    const header = this.#header;
    const payload = this.#take(header.size - HEADER_SIZE);
    if (payload === undefined) return undefined;
    this.#header = undefined;
    return { header, payload };
  }

  /** The next `size` bytes, or nothing while they are not there. */
  #take(size: number): Uint8Array | undefined {
    const here = this.#chunk.length - this.#at;
    if (this.#part === undefined) {
      if (here >= size) {
        const bytes = this.#chunk.subarray(this.#at, this.#at + size);
        this.#at += size;
        return bytes;
      }
      if (here === 0) return undefined;
      this.#part = new Uint8Array(size);
      this.#filled = 0;
    }
    const count = Math.min(here, size - this.#filled);
    this.#part.set(this.#chunk.subarray(this.#at, this.#at + count), this.#filled);
    this.#at += count;
    this.#filled += count;
    if (this.#filled < size) return undefined;
    const bytes = this.#part;
    this.#part = undefined;
    return bytes;
  }
}
