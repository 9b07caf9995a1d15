/** Recording a session: every message of both sides, a JSON object a line. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { COMMAND, HEADER, HEADER_SIZE } from './protocol.js';
import type { Message, Transport, TransportListener } from './transport.js';

/** Where a recording goes: a file, which is written anew, or a function that gets each line without its end. */
export type RecordTarget = string | ((line: string) => void);

/** A recording that is open. */
export interface Recording {
  /** The same transport, with what passes it recorded. */
  over(transport: Transport): Transport;
  /** Ends it. */
  close(): void;
}

/** Bytes of a payload that are kept; enough for everything but the data that messages move. */
const KEPT = 256;

/** Names of commands in recordings. */
const NAMES = new Map<number, string>([
  ...Object.entries(COMMAND).map(([name, number]) => [number, name] as const),
  [COMMAND.DEVICE_GET_INFO, 'GET_INFO'],
  [COMMAND.DEVICE_GET_REGION_INFO, 'GET_REGION_INFO'],
  [COMMAND.DEVICE_GET_IRQ_INFO, 'GET_IRQ_INFO'],
  [COMMAND.DEVICE_SET_IRQS, 'SET_IRQS'],
  [COMMAND.DEVICE_RESET, 'RESET'],
]);

/** Begins a recording. @throws what Node throws if the file cannot be written */
export function openRecording(target: RecordTarget): Recording {
  const begun = performance.now();
  const { line, close } = typeof target === 'string' ? fileTarget(target) : { line: target, close: () => {} };
  const message = (from: 'client' | 'server', bytes: Uint8Array, payload: Uint8Array, fds: number) => {
    const { id, command, size, flags, error = 0 } = HEADER.decode(bytes);
    const text = Buffer.from(payload.buffer, payload.byteOffset, Math.min(KEPT, payload.length)).toString(
      'hex',
    );
    const t = Math.round(performance.now() - begun);
    const cmd = NAMES.get(command) ?? String(command);
    line(JSON.stringify({ t, from, id, cmd, flags, error, fds, size, payload: text }));
  };
  return { over: (transport) => new RecordedTransport(transport, message), close };
}

function fileTarget(path: string) {
  const file = openSync(path, 'w', 0o600);
  return {
    line: (text: string) => {
      writeSync(file, `${text}\n`);
    },
    close: () => closeSync(file),
  };
}

type Write = (from: 'client' | 'server', header: Uint8Array, payload: Uint8Array, fds: number) => void;

/** A transport of a server whose messages are recorded. */
class RecordedTransport implements Transport {
  readonly #transport: Transport;
  readonly #write: Write;

  constructor(transport: Transport, write: Write) {
    this.#transport = transport;
    this.#write = write;
  }

  get passesDescriptors(): boolean {
    return this.#transport.passesDescriptors;
  }

  get unsent(): number {
    return this.#transport.unsent;
  }

  listen(listener: TransportListener): void {
    this.#transport.listen({
      message: (message) => {
        this.#received(message);
        listener.message(message);
      },
      closed: (error) => listener.closed(error),
    });
  }

  #received({ header, payload, descriptors }: Message): void {
    this.#write('client', HEADER.encode(header), payload, descriptors.length);
  }

  send(parts: readonly Uint8Array[], descriptors: readonly number[] = []): void {
    const bytes = Buffer.concat(parts, Math.min(HEADER_SIZE + KEPT, lengthOf(parts)));
    this.#write('server', bytes, bytes.subarray(HEADER_SIZE), descriptors.length);
    this.#transport.send(parts, descriptors);
  }

  pause(): void {
    this.#transport.pause();
  }

  resume(): void {
    this.#transport.resume();
  }

  drained(callback: () => void): void {
    this.#transport.drained(callback);
  }

  close(error?: Error): void {
    this.#transport.close(error);
  }
}

function lengthOf(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0);
}
