/** One client of a device: its commands, handled in the order in which they come. */
import { ERRNO, IommuError, refuse } from '../errors.js';
import { isThenable } from '../operation.js';
import type { ProfileName } from '../rules.js';
import { ClientDma } from './client-dma.js';
import { type Answer, answerCommand, type Session } from './commands.js';
import type { DescriptorSupport } from './descriptors.js';
import { DmaChannel } from './dma-channel.js';
import { logVfioUser } from './log.js';
import { encodeVersion, readVersion } from './negotiation.js';
import type { PciDevice } from './pci-device.js';
import { COMMAND, HEADER, HEADER_SIZE, MESSAGE_FLAG } from './protocol.js';
import type { Message, Transport } from './transport.js';

/** Bytes of answers that a client may leave lying before it is not listened to any more. */
const MOST_UNSENT = 2 ** 21;
/** Commands that may wait for one that takes longer, and their bytes. */
const MOST_WAITING = 256;
const MOST_WAITING_BYTES = 2 ** 21;
/** Answers up to this many bytes are sent in one piece. */
const SMALL = 4096;

/** What a connection needs of its server. */
export interface ConnectionHost {
  readonly device: PciDevice;
  readonly profile: ProfileName | undefined;
  readonly memoryPath: string | undefined;
  readonly support: DescriptorSupport | undefined;
  /** Whether this connection becomes the client; asked when it says what it can do. */
  admit(connection: Connection): Promise<boolean>;
  /** It is gone, and so is all that was its own. */
  left(connection: Connection): void;
}

/** A connection. */
export class Connection {
  readonly #host: ConnectionHost;
  readonly #transport: Transport;
  readonly #waiting: Message[] = [];
  #waitingBytes = 0;
  /** Whether a command is being handled that takes longer. */
  #busy = false;
  #paused = false;
  #session: Session | undefined;
  #closed = false;
  /** Resolves when it is closed, and all that was the client's is gone. */
  readonly gone: Promise<void>;
  #leave: () => void = () => undefined;

  constructor(host: ConnectionHost, transport: Transport) {
    this.#host = host;
    this.#transport = transport;
    this.gone = new Promise((resolve) => {
      this.#leave = resolve;
    });
    transport.listen({
      message: (message) => this.#receive(message),
      closed: (error) => void this.#end(error),
    });
  }

  /** Whether it is closed, even if something of the client's is still there. */
  get leaving(): boolean {
    return this.#closed;
  }

  /** Closes the connection. */
  close(error?: Error): void {
    this.#transport.close(error);
  }

  #receive(message: Message): void {
    const type = message.header.flags & MESSAGE_FLAG.TYPE;
    if (type === MESSAGE_FLAG.REPLY) this.#reply(message);
    else if (type !== 0)
      this.#break(new Error(`a message that is neither command nor reply: ${type}`), message);
    else if (this.#busy) this.#wait(message);
    else this.#handle(message);
    if (!this.#paused && this.#transport.unsent > MOST_UNSENT) {
      this.#pause();
      this.#transport.drained(() => this.#resume());
    }
  }

  #reply(message: Message): void {
    this.#drop(message.descriptors);
    try {
      if (this.#session === undefined) throw new Error('a reply before any command');
      this.#session.channel.reply(message);
    } catch (error) {
      this.#break(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #break(error: Error, message?: Message): void {
    if (message !== undefined) this.#drop(message.descriptors);
    this.#transport.close(error);
  }

  #wait(message: Message): void {
    this.#waiting.push(message);
    this.#waitingBytes += message.header.size;
    if (this.#waiting.length >= MOST_WAITING || this.#waitingBytes >= MOST_WAITING_BYTES) this.#pause();
  }

  #pause(): void {
    this.#paused = true;
    this.#transport.pause();
  }

  /** Goes on with what is waiting, and then with what comes. */
  #resume(): void {
    while (!this.#busy && !this.#closed) {
      const message = this.#waiting.shift();
      if (message === undefined) break;
      this.#waitingBytes -= message.header.size;
      this.#handle(message);
    }
    if (!this.#paused || this.#waiting.length > 0 || this.#transport.unsent > MOST_UNSENT) return;
    this.#paused = false;
    this.#transport.resume();
  }

  #handle(message: Message): void {
    let answer: Answer | Promise<Answer>;
    try {
      answer = this.#answer(message);
    } catch (error) {
      this.#refuse(message, error);
      return;
    }
    if (!isThenable(answer)) {
      this.#send(message, answer);
      return;
    }
    this.#busy = true;
    answer
      .then(
        (settled) => this.#send(message, settled),
        (error: unknown) => this.#refuse(message, error),
      )
      .then(() => {
        this.#busy = false;
        this.#resume();
      });
  }

  #answer(message: Message): Answer | Promise<Answer> {
    const { header, payload, descriptors } = message;
    if (header.command === COMMAND.VERSION) {
      this.#drop(descriptors);
      return this.#negotiate(payload);
    }
    if (this.#session === undefined) {
      this.#drop(descriptors);
      throw refuse('EINVAL', 'state', 'the first command is VERSION');
    }
    return answerCommand(this.#session, header.command, payload, descriptors);
  }

  async #negotiate(payload: Uint8Array): Promise<Answer> {
    if (this.#session !== undefined) throw refuse('EINVAL', 'state', 'VERSION comes once');
    const { minor, limits } = readVersion(payload);
    if (!(await this.#host.admit(this))) {
      throw refuse('EBUSY', 'state', 'the device has a client already');
    }
    if (this.#closed) throw refuse('ENODEV', 'state', 'the client has gone');
    const { device, profile, memoryPath, support } = this.#host;
    const channel = new DmaChannel(this.#transport, limits.maxDataXferSize);
    const passed = this.#transport.passesDescriptors ? support : undefined;
    const dma = new ClientDma({ profile, channel, path: memoryPath, descriptors: passed });
    this.#session = { device, channel, dma, descriptors: passed, limits };
    device.dma.attach(dma);
    device.function.interrupts.connect((address, data) => channel.message(address, data), passed);
    device.clientCame(() => {
      dma.abort(refuse('ECANCELED', 'state', 'the device was reset or stopped'));
    });
    return { payload: encodeVersion(minor) };
  }

  #send({ header }: Message, { payload, descriptors }: Answer): void {
    if ((header.flags & MESSAGE_FLAG.NO_REPLY) !== 0) return;
    const size = HEADER_SIZE + payload.length;
    const reply = { id: header.id, command: header.command, size, flags: MESSAGE_FLAG.REPLY };
    if (size > SMALL) {
      this.#transport.send([HEADER.encode(reply), payload], descriptors);
      return;
    }
    const bytes = new Uint8Array(size);
    HEADER.write(bytes, reply);
    bytes.set(payload, HEADER_SIZE);
    this.#transport.send([bytes], descriptors);
  }

  #refuse({ header }: Message, error: unknown): void {
    const errno = errnoOf(error);
    if (logVfioUser.enabled) {
      logVfioUser(
        'command %d: errno %d: %s',
        header.command,
        errno,
        error instanceof Error ? error.message : error,
      );
    }
    if ((header.flags & MESSAGE_FLAG.NO_REPLY) === 0) {
      const flags = MESSAGE_FLAG.REPLY | MESSAGE_FLAG.ERROR;
      const { id, command } = header;
      this.#transport.send([HEADER.encode({ id, command, size: HEADER_SIZE, flags, error: errno })]);
    }
    // Who is refused as a client hears why, and that is all.
    if (header.command === COMMAND.VERSION && this.#session === undefined) {
      this.#pause();
      this.#transport.drained(() => this.#transport.close());
    }
  }

  #drop(descriptors: readonly number[]): void {
    for (const descriptor of descriptors) this.#host.support?.close(descriptor);
  }

  async #end(error: Error | undefined): Promise<void> {
    this.#closed = true;
    for (const { descriptors } of this.#waiting.splice(0)) this.#drop(descriptors);
    const session = this.#session;
    if (session !== undefined) {
      const { device, channel, dma } = session;
      const gone = refuse('ENODEV', 'state', 'the client has gone');
      device.dma.attach(undefined);
      channel.close(gone);
      dma.abort(gone);
      device.function.interrupts.disconnect();
      device.clientWent(error);
      await dma.close().catch((failure: unknown) => device.calls.failed(failure));
    }
    this.#host.left(this);
    this.#leave();
  }
}

/** The errno of an error, as a reply has it. */
function errnoOf(error: unknown): number {
  if (error instanceof IommuError) return -error.errno;
  const code = error instanceof Error && 'errno' in error ? error.errno : undefined;
  return typeof code === 'number' && Number.isInteger(code) && code < 0 ? -code : ERRNO.EIO;
}
