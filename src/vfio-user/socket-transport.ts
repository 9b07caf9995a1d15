/** Messages over a `net.Socket`: no native code, and no descriptors. */
import type { Socket } from 'node:net';
import { FrameReader } from './frame-reader.js';
import type { FrameLimits, Transport, TransportListener } from './transport.js';

/** A connection over `node:net`. Descriptors that the other side sends are closed by Node and never seen. */
export class SocketTransport implements Transport {
  readonly passesDescriptors = false;
  readonly #socket: Socket;
  readonly #frames: FrameReader;
  readonly #waiting: (() => void)[] = [];
  #listener: TransportListener | undefined;
  #paused = false;
  #delivering = false;
  #closed = false;
  readonly #written = () => {
    if (this.#socket.writableLength === 0) this.#drain();
  };

  constructor(socket: Socket, limits: FrameLimits) {
    this.#socket = socket;
    this.#frames = new FrameReader(limits.maxMessageSize);
    socket.pause();
  }

  get unsent(): number {
    return this.#socket.writableLength;
  }

  listen(listener: TransportListener): void {
    this.#listener = listener;
    const socket = this.#socket;
    socket.on('data', (chunk) => {
      // No Buffers: whoever gets a part of one would get something else than with descriptors.
      this.#frames.push(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length));
      this.#deliver();
    });
    socket.on('end', () => {
      this.close(this.#frames.atBoundary ? undefined : new Error('the connection ends within a message'));
    });
    socket.on('error', (error) => this.close(error));
    socket.on('close', () => this.close());
    if (!this.#paused) socket.resume();
  }

  send(parts: readonly Uint8Array[]): void {
    if (this.#closed) return;
    const last = parts.length - 1;
    this.#socket.cork();
    for (let part = 0; part < last; part++) this.#socket.write(parts[part]!);
    if (last >= 0) this.#socket.write(parts[last]!, this.#written);
    this.#socket.uncork();
  }

  pause(): void {
    this.#paused = true;
    this.#socket.pause();
  }

  resume(): void {
    if (!this.#paused || this.#closed) return;
    this.#paused = false;
    this.#deliver();
  }

  drained(callback: () => void): void {
    if (this.#closed || this.#socket.writableLength === 0) callback();
    else this.#waiting.push(callback);
  }

  close(error?: Error): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.destroy();
    this.#drain();
    this.#listener?.closed(error);
  }

  /** Hands on the messages of the chunk that is there, and asks for the next one once they are all gone. */
  #deliver(): void {
    if (this.#delivering) return;
    this.#delivering = true;
    try {
      while (!this.#paused && !this.#closed) {
        const frame = this.#frames.next();
        if (frame === undefined) {
          if (this.#socket.isPaused()) this.#socket.resume();
          return;
        }
        this.#listener?.message({ ...frame, descriptors: [] });
      }
    } catch (error) {
      this.close(error instanceof Error ? error : new Error(String(error)));
    } finally {
      this.#delivering = false;
    }
  }

  #drain(): void {
    for (const callback of this.#waiting.splice(0)) callback();
  }
}
