/** Serving a device at a socket. */
import { accessSync, constants, lstatSync, unlinkSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { checkObject, checkWord, invalidType } from '../arguments.js';
import { IommuError, refuse } from '../errors.js';
import { type ProfileName, readProfile } from '../rules.js';
import { Connection, type ConnectionHost } from './connection.js';
import type { DescriptorSupport } from './descriptors.js';
import { loadDescriptorSupport } from './native-transport.js';
import { PciDevice } from './pci-device.js';
import { MAX_DATA_XFER_SIZE, MESSAGE_OVERHEAD } from './protocol.js';
import { openRecording, type Recording, type RecordTarget } from './record.js';
import { isServed, listenAtSocket } from './socket-acceptor.js';
import type { Acceptor, Transport } from './transport.js';

const LIMITS = { maxMessageSize: MAX_DATA_XFER_SIZE + MESSAGE_OVERHEAD };
/** Connections that are open at the same time, of which one is the client. */
const MOST_CONNECTIONS = 16;
/** How long a second client is kept in case that the first one has just gone, in milliseconds. */
const GRACE = 50;
/** How long a connection may take to say what it can do, in milliseconds. */
const PATIENCE = 10_000;

/** How a device is served. */
export interface ServeOptions {
  /** Path of the socket. Who may reach it decides who may use the device: the file has mode 0600. */
  readonly socket: string;
  /**
   * Whether descriptors pass: `'auto'` (the default) where the optional package `koffi` is installed, `'always'`, or
   * `'never'`. With them the guest's memory is mapped, and INTx and MSI-X work; without, memory is reached by messages
   * (or `memoryPath`), and only MSI works.
   */
  readonly descriptors?: 'auto' | 'always' | 'never' | undefined;
  /**
   * The file that the guest's memory is (QEMU's `mem-path`, with `share=on`), for connections that pass no descriptors:
   * DMA is synchronous then, and asks nobody. All writable memory of the guest must be in this one file.
   */
  readonly memoryPath?: string | undefined;
  /** Whose rules DMA_MAP and DMA_UNMAP follow. By default the newest Linux's. */
  readonly profile?: ProfileName | undefined;
  /**
   * Where to write all messages of both sides, as JSON lines that `iopt replay` reads: a file, or a function that gets each
   * line. The first 256 bytes of each payload are kept.
   */
  readonly record?: RecordTarget | undefined;
}

/** A device that is being served. */
export interface DeviceServer extends AsyncDisposable {
  /** Path of the socket. */
  readonly socket: string;
  /** Whether descriptors pass. */
  readonly descriptors: boolean;
  /** Takes the socket away, closes the client's connection, and resolves when nothing of it is left. */
  close(): Promise<void>;
}

/**
 * Serves a device at a socket, to one client at a time. When it has gone the next one may come, and finds the device as it
 * was; who comes while one is there is refused (EBUSY).
 *
 * A socket that nobody listens at any more is replaced.
 *
 * @throws (rejects with) EBUSY if the device is served already; EADDRINUSE if somebody listens at the socket, or the path
 * is no socket; EOPNOTSUPP if the device needs descriptors, or they are asked for, and `koffi` is not there; ENOENT,
 * EACCES and others of the system
 */
export async function serve(device: PciDevice, options: ServeOptions): Promise<DeviceServer> {
  if (!(device instanceof PciDevice)) throw invalidType(device, 'device', 'a PciDevice');
  checkObject(options, 'options');
  const { socket, descriptors = 'auto', memoryPath, profile, record } = options;
  if (typeof socket !== 'string' || socket === '') throw invalidType(socket, 'options.socket', 'a path');
  if (memoryPath !== undefined && typeof memoryPath !== 'string') {
    throw invalidType(memoryPath, 'options.memoryPath', 'a path');
  }
  if (record !== undefined && typeof record !== 'string' && typeof record !== 'function') {
    throw invalidType(record, 'options.record', 'a path or a function');
  }
  checkWord(descriptors, 'options.descriptors', ['auto', 'always', 'never']);
  readProfile(profile, 'options.profile');
  if (memoryPath !== undefined) accessSync(memoryPath, constants.R_OK | constants.W_OK);
  const { support, advice } = await supportFor(descriptors);
  if (!device.take()) throw refuse('EBUSY', 'state', 'the device is served already');
  const server = new Server(device, { socket, memoryPath, profile, record, support });
  try {
    device.function.setDescriptors(support !== undefined, advice);
    await removeStale(socket);
    await server.listen();
    return server;
  } catch (error) {
    await server.close();
    throw error;
  }
}

/** Descriptors, if they are wanted and there, or what to do about it. */
async function supportFor(
  wanted: 'auto' | 'always' | 'never',
): Promise<{ readonly support: DescriptorSupport | undefined; readonly advice: string }> {
  if (wanted === 'never') return { support: undefined, advice: "serve without descriptors: 'never'" };
  try {
    return { support: await loadDescriptorSupport('descriptors'), advice: '' };
  } catch (error) {
    if (wanted === 'always' || !(error instanceof IommuError)) throw error;
    return { support: undefined, advice: error.message };
  }
}

/** Removes a socket that nobody listens at. @throws EADDRINUSE if somebody does, or it is no socket */
async function removeStale(path: string): Promise<void> {
  const facts = lstatSync(path, { throwIfNoEntry: false });
  if (facts === undefined) return;
  if (!facts.isSocket()) throw refuse('EADDRINUSE', 'state', `${path} is there already, and is no socket`);
  if (await isServed(path)) throw refuse('EADDRINUSE', 'state', `somebody serves ${path} already`);
  unlinkSync(path);
}

interface ServerParts {
  readonly socket: string;
  readonly memoryPath: string | undefined;
  readonly profile: ProfileName | undefined;
  readonly record: RecordTarget | undefined;
  readonly support: DescriptorSupport | undefined;
}

class Server implements DeviceServer, ConnectionHost {
  readonly device: PciDevice;
  readonly socket: string;
  readonly memoryPath: string | undefined;
  readonly profile: ProfileName | undefined;
  readonly #support: DescriptorSupport | undefined;
  readonly #connections = new Set<Connection>();
  readonly #record: RecordTarget | undefined;
  #recording: Recording | undefined;
  #acceptor: Acceptor | undefined;
  #client: Connection | undefined;
  #closing: Promise<void> | undefined;

  constructor(device: PciDevice, { socket, memoryPath, profile, record, support }: ServerParts) {
    this.device = device;
    this.socket = socket;
    this.memoryPath = memoryPath;
    this.profile = profile;
    this.#support = support;
    this.#record = record;
  }

  get descriptors(): boolean {
    return this.#support !== undefined;
  }

  get support(): DescriptorSupport | undefined {
    return this.#support;
  }

  async listen(): Promise<void> {
    if (this.#record !== undefined) this.#recording = openRecording(this.#record);
    if (this.#support !== undefined) this.device.function.shareMemory(this.#support);
    const accept = (transport: Transport) => this.#accept(transport);
    this.#acceptor =
      this.#support === undefined
        ? await listenAtSocket(this.socket, LIMITS, accept)
        : await this.#support.listen(this.socket, LIMITS, accept);
  }

  #accept(transport: Transport): void {
    if (this.#closing !== undefined || this.#connections.size >= MOST_CONNECTIONS) {
      transport.close();
      return;
    }
    const connection = new Connection(this, this.#recording?.over(transport) ?? transport);
    this.#connections.add(connection);
    // Who says nothing keeps others away.
    const timer = setTimeout(() => {
      if (this.#client !== connection) connection.close(new Error('the client says nothing'));
    }, PATIENCE);
    timer.unref();
    void connection.gone.then(() => clearTimeout(timer));
  }

  /** One client at a time. One that has just gone may not have been heard of yet, or its memory not be let go of. */
  async admit(connection: Connection): Promise<boolean> {
    const before = this.#client;
    if (before !== undefined) {
      await Promise.race([before.gone, wait(GRACE, undefined, { ref: false })]);
      if (before.leaving) await before.gone;
    }
    if (this.#client !== undefined || this.#closing !== undefined || connection.leaving) return false;
    this.#client = connection;
    return true;
  }

  left(connection: Connection): void {
    this.#connections.delete(connection);
    if (this.#client === connection) this.#client = undefined;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#acceptor?.close();
    const open = [...this.#connections];
    for (const connection of open) connection.close();
    await Promise.all(open.map(({ gone }) => gone));
    if (this.#support !== undefined) this.device.function.unshareMemory(this.#support);
    this.#recording?.close();
    this.device.giveBack();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
