/** Recorded sessions, and a peer that says what was said in one. */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { expect } from 'vitest';
import { headerOf } from '../../src/vfio-user/client-requests.js';
import { COMMAND, HEADER_SIZE } from '../../src/vfio-user/protocol.js';
import type { Transport } from '../../src/vfio-user/transport.js';
import { native } from './transports.js';

/** A message of a session of which every message was recorded, with the first bytes of each payload in hex. */
export interface RecordedMessage {
  readonly from: 'client' | 'server';
  readonly id: number;
  readonly cmd: string;
  readonly flags: number;
  readonly error: number;
  readonly fds: number;
  readonly size: number;
  readonly payload: string;
}

/** The lines of a recording beside this file. */
export function recordedLines<T>(name: string): T[] {
  const bytes = readFileSync(new URL(`recordings/${name}`, import.meta.url));
  const text = (name.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString();
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

const NUMBERS: Readonly<Record<string, number>> = {
  ...COMMAND,
  GET_INFO: COMMAND.DEVICE_GET_INFO,
  GET_REGION_INFO: COMMAND.DEVICE_GET_REGION_INFO,
  GET_IRQ_INFO: COMMAND.DEVICE_GET_IRQ_INFO,
  SET_IRQS: COMMAND.DEVICE_SET_IRQS,
  RESET: COMMAND.DEVICE_RESET,
};

/** The number of a command, by the name that recordings have for it. */
export function commandNumber(name: string): number {
  const number = NUMBERS[name];
  if (number === undefined) throw new Error(`a recording names the command ${name}`);
  return number;
}

/** The payload of a recorded message: what was not recorded of it is zero. */
export function payloadOf({ payload, size }: RecordedMessage): Uint8Array {
  const bytes = new Uint8Array(size - HEADER_SIZE);
  bytes.set(Buffer.from(payload, 'hex'));
  return bytes;
}

/**
 * Plays the server of a session: expects each command of the client as it was recorded, and answers as the server did.
 * Commands of the server are sent where they were, and the client's answers compared.
 */
export class RecordedServer {
  readonly #transport: Transport;
  readonly #session: readonly RecordedMessage[];
  readonly #problems: unknown[] = [];
  /** Ids of the client's commands, by recorded id: only the next reply can be to it. */
  #id = 0;
  #at = 0;

  constructor(transport: Transport, session: readonly RecordedMessage[]) {
    this.#transport = transport;
    this.#session = session;
    transport.listen({
      message: ({ header, payload, descriptors }) => {
        for (const each of descriptors) native.close(each);
        try {
          this.#take(header.command, header.flags, payload, descriptors.length);
        } catch (error) {
          this.#problems.push(error);
          this.#transport.close();
          return;
        }
        if ((header.flags & 1) === 0) this.#id = header.id;
        this.#answer();
      },
      closed: () => undefined,
    });
  }

  #take(command: number, flags: number, payload: Uint8Array, descriptors: number): void {
    const line = this.#session[this.#at];
    if (line?.from !== 'client') throw new Error(`line ${this.#at + 1} is none of the client's`);
    const here = `line ${this.#at + 1}, ${line.cmd}`;
    expect([here, command, flags, descriptors]).toEqual([
      here,
      commandNumber(line.cmd),
      line.flags,
      line.fds,
    ]);
    const known = line.payload.length / 2;
    // That client pads one request to the length that it has room for in the reply.
    const most = line.cmd === 'GET_REGION_INFO' ? 32 : known;
    if (command !== COMMAND.VERSION) {
      expect([here, Buffer.from(payload.subarray(0, known)).toString('hex')]).toEqual([
        here,
        line.payload.slice(0, 2 * most),
      ]);
    }
    this.#at++;
  }

  #answer(): void {
    for (; this.#session[this.#at]?.from === 'server'; this.#at++) {
      const line = this.#session[this.#at]!;
      const payload = payloadOf(line);
      const id = (line.flags & 1) === 1 ? this.#id : line.id;
      const header = headerOf(id, commandNumber(line.cmd), payload.length, line.flags, line.error);
      const files = Array.from({ length: line.fds }, () => native.memfd('of a recording', 16_384));
      this.#transport.send([header, payload], files);
      for (const each of files) native.close(each);
      if ((line.flags & 1) === 0) {
        this.#at++;
        return;
      }
    }
  }

  /** Whether the whole session was played. */
  get done(): boolean {
    return this.#at === this.#session.length;
  }

  /** What was not as recorded. */
  get problems(): readonly unknown[] {
    return this.#problems;
  }

  /** The lines that are still to come. */
  get left(): number {
    return this.#session.length - this.#at;
  }
}
