/** Listening with `node:net`. */
import { chmodSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { SocketTransport } from './socket-transport.js';
import type { Acceptor, FrameLimits, Transport } from './transport.js';

/**
 * Listens at a path of the file system where nothing is; the file gets mode 0600.
 *
 * @param accept - called with each connection
 */
export function listenAtSocket(
  path: string,
  limits: FrameLimits,
  accept: (transport: Transport) => void,
): Promise<Acceptor> {
  const server = createServer((socket) => accept(new SocketTransport(socket, limits)));
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    withMask(() => server.listen(path));
    server.once('listening', () => {
      server.off('error', reject);
      // Such as too many open files: whoever tried finds the connection closed.
      server.on('error', () => undefined);
      chmodSync(path, 0o600);
      resolve({ close: () => closeServer() });
    });
  });

  function closeServer(): Promise<void> {
    return new Promise((resolve) => {
      // Connections that are open keep it from ending, and it stops to listen at once.
      server.close();
      server.unref();
      resolve();
    });
  }
}

/** The socket is made while this runs: nobody else may reach it, not even for a moment. */
function withMask(listen: () => void): void {
  let before: number | undefined;
  try {
    before = process.umask(0o177);
  } catch {
    // A worker thread cannot: the mode is set a moment later there.
  }
  try {
    listen();
  } finally {
    if (before !== undefined) process.umask(before);
  }
}

/** Whether somebody listens at a path. */
export function isServed(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
