/** Commands of a client and the replies to them. */
import { errorCodeOf, IommuError, refuse } from '../errors.js';
import { COMMAND, HEADER, HEADER_SIZE, MESSAGE_FLAG } from './protocol.js';
import type { Message, Transport } from './transport.js';

/** A reply that says no error. */
export interface Reply {
  /** All after the header. */
  readonly payload: Uint8Array;
  /** Descriptors that came with it; the receiver's to close. */
  readonly descriptors: readonly number[];
}

interface Pending {
  readonly command: number;
  readonly timer: NodeJS.Timeout | undefined;
  resolve(reply: Reply): void;
  reject(error: unknown): void;
}

const NAMES = new Map<number, string>(Object.entries(COMMAND).map(([name, number]) => [number, name]));
const IDS = 2 ** 16;

/** The name of a command: `REGION_READ`. */
export function commandName(command: number): string {
  return NAMES.get(command) ?? `command ${command}`;
}

/** A header. */
export function headerOf(id: number, command: number, length: number, flags: number, error = 0): Uint8Array {
  return HEADER.encode({ id, command, size: HEADER_SIZE + length, flags, error });
}

/** Sends commands, and gives each its reply. Ids count up from 0. */
export class ClientRequests {
  readonly #transport: Transport;
  readonly #timeout: number;
  readonly #pending = new Map<number, Pending>();
  /** Ids of commands that were given up, whose replies may still come. */
  readonly #late = new Set<number>();
  #nextId = 0;
  #closed: IommuError | undefined;

  /** @param timeout - milliseconds until a command is given up; 0: never */
  constructor(transport: Transport, timeout: number) {
    this.#transport = transport;
    this.#timeout = timeout;
  }

  /** Commands whose replies have not come. */
  get open(): number {
    return this.#pending.size;
  }

  /** Sends a command that is not answered. @throws EPIPE if the connection is closed */
  post(command: number, parts: readonly Uint8Array[]): void {
    if (this.#closed !== undefined) throw this.#gone(command);
    this.#send(this.#newId(), command, parts, MESSAGE_FLAG.NO_REPLY, []);
  }

  /**
   * Sends a command and waits for its reply.
   *
   * @throws (rejects with) the error of the reply; ETIMEDOUT; EPIPE if the connection is closed, or gets closed
   */
  request(
    command: number,
    parts: readonly Uint8Array[],
    descriptors: readonly number[] = [],
  ): Promise<Reply> {
    if (this.#closed !== undefined) return Promise.reject(this.#gone(command));
    const id = this.#newId();
    return new Promise((resolve, reject) => {
      const timer = this.#timeout === 0 ? undefined : setTimeout(() => this.#giveUp(id), this.#timeout);
      this.#pending.set(id, { command, timer, resolve, reject });
      this.#send(id, command, parts, 0, descriptors);
    });
  }

  #send(
    id: number,
    command: number,
    parts: readonly Uint8Array[],
    flags: number,
    descriptors: readonly number[],
  ): void {
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    this.#transport.send([headerOf(id, command, length, flags), ...parts], descriptors);
  }

  #newId(): number {
    if (this.#pending.size + this.#late.size >= IDS) {
      throw refuse('EBUSY', 'state', `${IDS} commands have no reply yet`);
    }
    while (this.#pending.has(this.#nextId) || this.#late.has(this.#nextId)) {
      this.#nextId = (this.#nextId + 1) % IDS;
    }
    const id = this.#nextId;
    this.#nextId = (id + 1) % IDS;
    return id;
  }

  #giveUp(id: number): void {
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    this.#pending.delete(id);
    this.#late.add(id);
    const detail = `the server has not answered within ${this.#timeout} ms`;
    pending.reject(refuse('ETIMEDOUT', 'state', detail).during(commandName(pending.command)));
  }

  /**
   * Takes a reply, with its descriptors.
   *
   * @throws EBADE if it is to no command
   */
  settle({ header, payload, descriptors }: Message, close: (descriptor: number) => void): void {
    const pending = this.#pending.get(header.id);
    if (pending === undefined) {
      for (const each of descriptors) close(each);
      if (this.#late.delete(header.id)) return;
      throw refuse('EBADE', 'state', `a reply to command ${header.id}, which was not sent`);
    }
    this.#pending.delete(header.id);
    clearTimeout(pending.timer);
    const name = commandName(pending.command);
    if ((header.flags & MESSAGE_FLAG.ERROR) !== 0) {
      for (const each of descriptors) close(each);
      pending.reject(serverError(header.error).during(name));
    } else if (header.command !== pending.command) {
      for (const each of descriptors) close(each);
      pending.reject(refuse('EBADE', 'state', `the reply is to ${commandName(header.command)}`).during(name));
    } else pending.resolve({ payload, descriptors });
  }

  /** Ends all that is open, and all that comes later. */
  close(error: Error | undefined): void {
    if (this.#closed !== undefined) return;
    const why = error === undefined ? '' : `: ${error.message}`;
    this.#closed = refuse('EPIPE', 'state', `the connection is closed${why}`);
    for (const { command, timer, reject } of this.#pending.values()) {
      clearTimeout(timer);
      reject(this.#gone(command));
    }
    this.#pending.clear();
  }

  #gone(command: number): IommuError {
    const { code, reason } = this.#closed!;
    return new IommuError(code, reason).during(commandName(command));
  }
}

/** The error that a server has answered with. */
function serverError(errno: number): IommuError {
  return refuse(errorCodeOf(errno) ?? 'EIO', 'state', `the server answered with errno ${errno}`);
}
