/** Connected pairs of transports, of both kinds. */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadNative } from '../../src/native/native.js';
import { NativeTransport } from '../../src/vfio-user/native-transport.js';
import { MAX_DATA_XFER_SIZE, MESSAGE_OVERHEAD } from '../../src/vfio-user/protocol.js';
import { SocketTransport } from '../../src/vfio-user/socket-transport.js';
import type { Message, Transport } from '../../src/vfio-user/transport.js';

export const LIMITS = { maxMessageSize: MAX_DATA_XFER_SIZE + MESSAGE_OVERHEAD };

export const native = await loadNative('the tests');

/** Kinds of connections. */
export const KINDS = ['with descriptors', 'without descriptors'] as const;
export type Kind = (typeof KINDS)[number];

/** Two ends of a connection. */
export async function transportPair(kind: Kind): Promise<[Transport, Transport]> {
  if (kind === 'with descriptors') {
    const [one, other] = native.socketPair();
    return [new NativeTransport(native, one, LIMITS), new NativeTransport(native, other, LIMITS)];
  }
  const [one, other] = await socketPair();
  return [new SocketTransport(one, LIMITS), new SocketTransport(other, LIMITS)];
}

async function socketPair(): Promise<[Socket, Socket]> {
  const folder = mkdtempSync(join(tmpdir(), 'iopt-pair-'));
  const path = join(folder, 'socket');
  try {
    const server = createServer({ pauseOnConnect: true });
    const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const one = connect(path);
    const other = await accepted;
    server.close();
    return [one, other];
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What a transport tells, kept. */
export class Heard {
  readonly messages: Message[] = [];
  closed: { readonly error: Error | undefined } | undefined;
  #wake: () => void = () => undefined;

  constructor(transport: Transport) {
    transport.listen({
      message: (message) => {
        this.messages.push(message);
        this.#wake();
      },
      closed: (error) => {
        this.closed = { error };
        this.#wake();
      },
    });
  }

  /** Waits until something is so. */
  async until(done: () => boolean): Promise<void> {
    while (!done()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
