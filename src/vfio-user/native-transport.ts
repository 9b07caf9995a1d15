/** Messages with descriptors, and what else takes native code. */
import { unlink } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { refuse } from '../errors.js';
import { loadNative, MOST_DESCRIPTORS, type Native, type Watch } from '../native/native.js';
import type { DescriptorSupport, MappedFile } from './descriptors.js';
import { HEADER, HEADER_SIZE } from './protocol.js';
import { SharedMemory } from './shared-memory.js';
import type { Acceptor, FrameLimits, Header, Transport, TransportListener } from './transport.js';

/** A message up to this many bytes is sent in one piece. */
const SHORT = 16_384;
/** Messages that one connection may have before others get their turn. */
const MESSAGES_AT_A_TIME = 64;
/** The most bytes that are mapped as one array. */
const LARGEST_ARRAY = 2 ** 30;
/** How long to leave a socket alone that could not be accepted from, or connected to, in milliseconds. */
const PAUSE = 20;
/** How often to try to connect while too many others wait. */
const ATTEMPTS = 250;

const NO_BYTES = new Uint8Array(0);
const shortMessage = new Uint8Array(SHORT);

interface Unsent {
  readonly bytes: Uint8Array;
  /** Copies of the sender's, closed once they are sent. */
  readonly descriptors: readonly number[];
}

/** A connection that descriptors pass. They belong to the message with whose header they came. */
export class NativeTransport implements Transport {
  readonly passesDescriptors = true;
  readonly #native: Native;
  readonly #socket: number;
  readonly #most: number;
  readonly #watch: Watch;
  #listener: TransportListener | undefined;
  #paused = true;
  #delivering = false;
  #closed = false;

  readonly #headerBytes = new Uint8Array(HEADER_SIZE);
  /** The header of the message that is being received, once it is complete, and its payload. */
  #header: Header | undefined;
  #payload: Uint8Array = NO_BYTES;
  /** Bytes that there are of the header, or of the payload. */
  #filled = 0;
  #descriptors: number[] = [];

  #queue: Unsent[] = [];
  #unsent = 0;
  #waiting: (() => void)[] = [];

  /** @param socket - connected, does not block; closed with the transport */
  constructor(native: Native, socket: number, limits: FrameLimits) {
    this.#native = native;
    this.#socket = socket;
    this.#most = limits.maxMessageSize;
    this.#watch = native.watch(socket, () => this.#ready());
    this.#watch.set(false, false);
  }

  get unsent(): number {
    return this.#unsent;
  }

  listen(listener: TransportListener): void {
    this.#listener = listener;
    this.#paused = false;
    this.#setWatch();
  }

  pause(): void {
    this.#paused = true;
    this.#setWatch();
  }

  resume(): void {
    this.#paused = false;
    this.#setWatch();
  }

  #setWatch(): void {
    if (!this.#closed) this.#watch.set(!this.#paused, this.#queue.length > 0);
  }

  #ready(): void {
    this.#flush();
    if (!this.#paused) this.#receive();
  }

  #receive(): void {
    if (this.#delivering) return;
    this.#delivering = true;
    try {
      for (let left = MESSAGES_AT_A_TIME; left > 0 && !this.#paused && !this.#closed; left--) {
        if (!this.#receiveOne()) break;
      }
    } catch (error) {
      this.close(error instanceof Error ? error : new Error(String(error)));
    } finally {
      this.#delivering = false;
    }
  }

  /** Receives a message and hands it on; `false` if it is not all there. */
  #receiveOne(): boolean {
    if (this.#header === undefined && !this.#receiveHeader()) return false;
    while (this.#filled < this.#payload.length) {
      const rest = this.#filled === 0 ? this.#payload : this.#payload.subarray(this.#filled);
      if (!this.#received(this.#native.receive(this.#socket, rest))) return false;
    }
    const message = { header: this.#header!, payload: this.#payload, descriptors: this.#descriptors };
    this.#header = undefined;
    this.#payload = NO_BYTES;
    this.#filled = 0;
    this.#descriptors = [];
    this.#listener?.message(message);
    return true;
  }

  #receiveHeader(): boolean {
    while (this.#filled < HEADER_SIZE) {
      const got = this.#native.receiveWith(this.#socket, this.#headerBytes.subarray(this.#filled));
      if (got !== undefined && got.descriptors.length > 0) this.#descriptors.push(...got.descriptors);
      if (got?.truncated === true || this.#descriptors.length > MOST_DESCRIPTORS) {
        throw new Error(`a message has more than ${MOST_DESCRIPTORS} descriptors`);
      }
      if (!this.#received(got?.length)) return false;
    }
    const header = HEADER.decode(this.#headerBytes);
    if (header.size < HEADER_SIZE || header.size > this.#most) {
      throw new Error(`a message of ${header.size} bytes; it has ${HEADER_SIZE} to ${this.#most}`);
    }
    this.#header = header;
    this.#payload = header.size === HEADER_SIZE ? NO_BYTES : new Uint8Array(header.size - HEADER_SIZE);
    this.#filled = 0;
    return true;
  }

  /** Counts what came; `false` if that was nothing, for now or for ever. */
  #received(length: number | undefined): boolean {
    if (length === undefined) return false;
    if (length > 0) {
      this.#filled += length;
      return true;
    }
    const within = this.#header !== undefined || this.#filled > 0;
    this.close(within ? new Error('the connection ends within a message') : undefined);
    return false;
  }

  send(parts: readonly Uint8Array[], descriptors: readonly number[] = []): void {
    if (this.#closed) return;
    let length = 0;
    for (const part of parts) length += part.length;
    if (length > SHORT) {
      let first = descriptors;
      for (const part of parts) {
        this.#sendOne(part, first);
        if (part.length > 0) first = [];
      }
      return;
    }
    let at = 0;
    for (const part of parts) {
      shortMessage.set(part, at);
      at += part.length;
    }
    this.#sendOne(shortMessage.subarray(0, length), descriptors);
  }

  #sendOne(bytes: Uint8Array, descriptors: readonly number[]): void {
    if (bytes.length === 0) return;
    let sent = 0;
    try {
      if (this.#queue.length === 0) sent = this.#push(bytes, descriptors);
      if (sent === bytes.length) return;
      const left = sent === 0 ? descriptors.map((each) => this.#native.duplicate(each)) : [];
      const rest = bytes.buffer === shortMessage.buffer ? bytes.slice(sent) : bytes.subarray(sent);
      this.#queue.push({ bytes: rest, descriptors: left });
      this.#unsent += rest.length;
      this.#setWatch();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Sends what there is room for, and gives the number of bytes. The descriptors go with the first of them. */
  #push(bytes: Uint8Array, descriptors: readonly number[]): number {
    let sent = 0;
    if (descriptors.length > 0) {
      sent = this.#native.sendWith(this.#socket, bytes, descriptors);
      if (sent === 0) return 0;
    }
    while (sent < bytes.length) {
      const more = this.#native.send(this.#socket, sent === 0 ? bytes : bytes.subarray(sent));
      if (more === 0) break;
      sent += more;
    }
    return sent;
  }

  #flush(): void {
    if (this.#queue.length === 0) return;
    try {
      while (this.#queue.length > 0) {
        const { bytes, descriptors } = this.#queue[0]!;
        const sent = this.#push(bytes, descriptors);
        if (sent === 0) return;
        this.#unsent -= sent;
        for (const each of descriptors) this.#native.close(each);
        if (sent < bytes.length) {
          this.#queue[0] = { bytes: bytes.subarray(sent), descriptors: [] };
          return;
        }
        this.#queue.shift();
      }
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#setWatch();
    this.#drain();
  }

  /** Nothing can be sent any more. Whoever sends is not called back from within. */
  #fail(error: unknown): void {
    queueMicrotask(() => this.close(error instanceof Error ? error : new Error(String(error))));
  }

  drained(callback: () => void): void {
    if (this.#closed || this.#unsent === 0) callback();
    else this.#waiting.push(callback);
  }

  #drain(): void {
    for (const callback of this.#waiting.splice(0)) callback();
  }

  close(error?: Error): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watch.close();
    this.#native.close(this.#socket);
    for (const { descriptors } of this.#queue) for (const each of descriptors) this.#native.close(each);
    for (const each of this.#descriptors) this.#native.close(each);
    this.#queue = [];
    this.#descriptors = [];
    this.#unsent = 0;
    this.#drain();
    this.#listener?.closed(error);
  }
}

/** Accepts connections at a socket. */
class NativeAcceptor implements Acceptor {
  readonly #native: Native;
  readonly #socket: number;
  readonly #path: string;
  readonly #limits: FrameLimits;
  readonly #accept: (transport: Transport) => void;
  readonly #watch: Watch;
  #closed = false;

  constructor(native: Native, path: string, limits: FrameLimits, accept: (transport: Transport) => void) {
    this.#native = native;
    this.#path = path;
    this.#limits = limits;
    this.#accept = accept;
    this.#socket = native.listen(path);
    this.#watch = native.watch(this.#socket, () => this.#ready());
  }

  #ready(): void {
    try {
      for (let socket = this.#next(); socket !== undefined; socket = this.#next()) {
        this.#accept(new NativeTransport(this.#native, socket, this.#limits));
      }
    } catch {
      // Such as too many open files: the connection stays in the queue, and would be reported again at once.
      this.#watch.set(false, false);
      setTimeout(() => {
        if (!this.#closed) this.#watch.set(true, false);
      }, PAUSE).unref();
    }
  }

  #next(): number | undefined {
    return this.#closed ? undefined : this.#native.accept(this.#socket);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#watch.close();
    this.#native.close(this.#socket);
    await unlink(this.#path).catch(() => {});
  }
}

/** All that the native functions are needed for. */
class NativeSupport implements DescriptorSupport {
  readonly #native: Native;

  constructor(native: Native) {
    this.#native = native;
  }

  async listen(path: string, limits: FrameLimits, accept: (transport: Transport) => void): Promise<Acceptor> {
    return new NativeAcceptor(this.#native, path, limits, accept);
  }

  async connect(path: string, limits: FrameLimits): Promise<Transport> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const socket = this.#native.connect(path);
      if (socket !== undefined) return new NativeTransport(this.#native, socket, limits);
      await wait(PAUSE);
    }
    throw refuse('EAGAIN', 'state', `too many others wait for a connection at ${path}`);
  }

  map(descriptor: number, length: number, writable: boolean): MappedFile {
    const { size } = this.#native.fileOf(descriptor);
    if (size < length || length > LARGEST_ARRAY) {
      throw refuse('EINVAL', 'argument', `${length} bytes of a file that has ${size}`);
    }
    const mapping = this.#native.mapFile(descriptor, length);
    if (writable && !mapping.writable) {
      mapping.release();
      throw refuse('EACCES', 'state', 'the descriptor is not open for writing');
    }
    return { bytes: new Uint8Array(mapping.buffers[0]!), unmap: () => mapping.release() };
  }

  createMemory(length: number): number {
    return this.#native.memfd('io-pagetable', length);
  }

  guestMemory(): SharedMemory {
    return new SharedMemory(this.#native);
  }

  createEventfd(): number {
    return this.#native.eventfd();
  }

  isEventfd(descriptor: number): boolean {
    return this.#native.isEventfd(descriptor);
  }

  signal(descriptor: number): void {
    this.#native.signal(descriptor);
  }

  takeCount(descriptor: number): bigint {
    return this.#native.takeCount(descriptor);
  }

  watch(descriptor: number, signalled: () => void): () => void {
    const watch = this.#native.watch(descriptor, signalled);
    return () => watch.close();
  }

  close(descriptor: number): void {
    this.#native.close(descriptor);
  }
}

/**
 * The native half of this subpath.
 *
 * @param purpose - what it is needed for, for the message
 * @throws (rejects with) EOPNOTSUPP as `loadNative`
 */
export async function loadDescriptorSupport(purpose: string): Promise<DescriptorSupport> {
  return new NativeSupport(await loadNative(purpose));
}
