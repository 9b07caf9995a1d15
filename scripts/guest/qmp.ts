/** QEMU's own control socket, as far as it is needed: to hear of an event, and to end it. */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';

export class Qmp {
  readonly #socket: Socket;
  readonly #lines: AsyncIterableIterator<string>;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  }

  /** Connects to a QEMU that has just been started, as soon as it listens. */
  static async connect(path: string): Promise<Qmp> {
    while (!existsSync(path)) await setTimeout(20);
    const socket = connect(path);
    await once(socket, 'connect');
    const qmp = new Qmp(socket);
    qmp.send('qmp_capabilities');
    return qmp;
  }

  send(command: string): void {
    this.#socket.write(`${JSON.stringify({ execute: command })}\n`);
  }

  /** Waits for an event. @throws Error if QEMU ends before */
  async event(name: string): Promise<void> {
    for (;;) {
      const line = await this.#lines.next();
      if (line.done === true) throw new Error(`QEMU has ended without the event ${name}`);
      const { event } = JSON.parse(line.value) as { event?: string };
      if (event === name) return;
    }
  }
}
