/**
 * What carries messages: frames in, frames out, in order. A transport knows headers and sizes, and nothing of commands.
 */
import type { Decoded } from '../uapi/struct.js';
import type { HEADER } from './protocol.js';

/** A header, decoded. */
export type Header = Decoded<typeof HEADER.fields>;

/** A message as it came in. */
export interface Message {
  readonly header: Header;
  /** All after the header. The receiver may keep it: nobody changes it. */
  readonly payload: Uint8Array;
  /** Open descriptors that came with it. Whoever receives the message closes them. */
  readonly descriptors: readonly number[];
}

/** What a transport tells. */
export interface TransportListener {
  /**
   * A message came in. Messages come one after the other, each once. While the transport is paused none comes.
   *
   * It must not throw.
   */
  message(message: Message): void;
  /**
   * Nothing comes any more, and nothing can be sent. Called once.
   *
   * @param error - why, unless the other side has closed the connection between two messages, or `close` was called
   */
  closed(error: Error | undefined): void;
}

/** A connection. */
export interface Transport {
  /** Whether descriptors can be sent and received. */
  readonly passesDescriptors: boolean;
  /** Bytes that were sent and that the other side has not taken yet. */
  readonly unsent: number;
  /** Begins to receive. Called once. */
  listen(listener: TransportListener): void;
  /**
   * Sends the parts of one message (header first), after all that was sent before. Never blocks: what the other side
   * does not take yet is kept. Nothing happens once the connection is closed. The parts must not be changed afterwards.
   *
   * @param descriptors - open descriptors to go with it; they stay the caller's, and open until `send` has returned
   */
  send(parts: readonly Uint8Array[], descriptors?: readonly number[]): void;
  /** No more messages come until `resume`, apart from those that are being delivered. */
  pause(): void;
  /** Goes on after `pause`. */
  resume(): void;
  /** Called back once, when `unsent` has come down to 0 or the connection is closed; at once if it is. */
  drained(callback: () => void): void;
  /** Closes the connection at once. `closed` follows, with `error`, unless it was called already. */
  close(error?: Error): void;
}

/** Waits for connections. */
export interface Acceptor {
  /** Stops accepting, and removes the socket's file. Connections stay. */
  close(): Promise<void>;
}

/** How large messages may be. */
export interface FrameLimits {
  /** Bytes of the largest message, header included. A larger one closes the connection. */
  readonly maxMessageSize: number;
}
