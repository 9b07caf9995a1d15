/** The iommufd character device as programs see it: ioctl numbers, structs in memory, errno numbers. */
import { checkObject, invalidType } from '../arguments.js';
import { ERRNO, IommuError, refuse } from '../errors.js';
import type { ContextAccounting } from '../iommufd/context.js';
import { Iommufd } from '../iommufd/iommufd.js';
import { logUapi } from '../log.js';
import { checkMemory, type UserMemory } from '../memory/user-memory.js';
import { type Profile, type ProfileName, rulesOf } from '../rules.js';
import { hex, type U64Input } from '../u64.js';
import { type Arrival, readSized } from './call.js';
import type { Command } from './command-row.js';
import { type DeviceCaller, readDeviceCaller } from './device-caller.js';
import type { DeviceCommands, DeviceFiles } from './device-commands.js';
import { DeviceMapping, type DeviceMmapRequest, findWindow } from './device-mapping.js';
import type { Handlers } from './handlers.js';
import { hwptHandlers } from './hwpt-handlers.js';
import { ioasHandlers } from './ioas-handlers.js';
import { IOMMUFD_COMMANDS } from './iommufd-commands.js';
import { type Route, routesOf } from './route.js';
import { readU32 } from './struct.js';
import { UserSpace } from './user-space.js';
import { type VfioCall, vfioCalls } from './vfio-calls.js';
import { viommuHandlers } from './viommu-handlers.js';

/** How a device is opened. */
export interface IommufdDeviceOptions extends DeviceCaller {
  /** The memory of the process that opens the device. */
  readonly memory: UserMemory;
  /** Commands beside its own: `testCommands()` of `io-pagetable/testing`. Default: none. */
  readonly commands?: DeviceCommands | undefined;
  /** Whom mappings charge for pinned pages; `'mm'` as when the VFIO container node was opened. Default `'user'`. */
  readonly accounting?: ContextAccounting | undefined;
  /** Whether the kernel was built with devices that have no IOMMU: see `NoIommuDevice`. Default false. */
  readonly noIommu?: boolean | undefined;
  /** Whose behaviour the address spaces have; by default the newest Linux's. */
  readonly profile?: ProfileName | undefined;
}

const { EBADF } = ERRNO;
/** The first command; below it all calls are VFIO's. */
const FIRST_NUMBER = 0x80;
/** Where the structs of commands that share a request number say which of them is meant. */
const OPERATION = 4;

/** Bytes of the first field of a struct. */
const SIZE_LENGTH = 4;

const HANDLERS: Handlers<typeof IOMMUFD_COMMANDS> = {
  ...ioasHandlers,
  ...hwptHandlers,
  ...viommuHandlers,
};

/** Commands that were brought to a device. */
interface AddedCommands {
  readonly request: number;
  /** Any of them: their structs have the same lengths. */
  readonly any: Command;
  readonly operations: ReadonlyMap<number | undefined, Route>;
  readonly files: DeviceFiles;
}

/**
 * An open iommufd device. Processes that have it open, after a fork, share it; each call says whose it is.
 *
 * The device stays as long as it is open or an access file of it is: closing the last of them releases everything.
 */
export class IommufdDevice implements AsyncDisposable {
  /** The context behind the device: for inspection, and for what is no ioctl, such as binding devices. */
  readonly iommufd: Iommufd;
  /** Who has opened it. */
  readonly #opener: DeviceCaller;
  readonly #user: UserSpace;
  readonly #vfioCalls: ReadonlyMap<number, VfioCall>;
  /** The commands by request number. */
  readonly #routes: ReadonlyMap<number, Route>;
  readonly #added: AddedCommands | undefined;
  /** The last number that is not VFIO's. */
  readonly #lastNumber: number;
  /** Bytes of the longest struct. */
  readonly #longest: number;
  #closed = false;
  /** Access files and mappings, which keep the device alive. */
  #openFiles = 0;
  readonly #uses = {
    opened: (): void => {
      this.#openFiles += 1;
    },
    closed: (): Promise<void> => {
      this.#openFiles -= 1;
      return this.#releaseIfUnused();
    },
  };
  #calls = 0;
  readonly #whenIdle: (() => void)[] = [];
  /** Zeroed room for structs, as many as there were calls at the same time. */
  readonly #spare: Uint8Array[] = [];
  #released: Promise<void> | undefined;

  /** @throws TypeError if there is no memory. */
  constructor(options: IommufdDeviceOptions) {
    checkObject(options, 'options');
    const { memory: given, commands, accounting = 'user', noIommu, profile } = options;
    checkMemory(given, 'options.memory');
    this.#opener = readDeviceCaller(options, 'options');
    const { memory = given, capable } = this.#opener;
    this.iommufd = new Iommufd({ memory, capable, accounting, noIommu, profile });
    this.#user = new UserSpace(memory);
    const target = { iommufd: this.iommufd };
    const { commands: release } = rulesOf(this.iommufd.profile);
    const routes = routesOf(IOMMUFD_COMMANDS, HANDLERS, target, release);
    this.#vfioCalls = vfioCalls(target);
    this.#routes = new Map(routes.map((route) => [route.command.request, route]));
    this.#added = commands === undefined ? undefined : this.#connect(commands, memory);
    const known = this.#added === undefined ? routes : [...routes, ...this.#added.operations.values()];
    this.#lastNumber = Math.max(...known.map(({ command }) => command.request & 0xff));
    this.#longest = Math.max(...known.map(({ command }) => command.struct.length));
  }

  /** Whose behaviour it has. A name that stands for the newest kernel has become that one's. */
  get profile(): Profile {
    return this.iommufd.profile;
  }

  /**
   * ioctl(2): performs a command and gives what the kernel would: 0 or a positive value, or a negative errno.
   *
   * @param request - the request number; its low 32 bits count
   * @param arg - the argument, mostly the address of a struct in the caller's memory; its low 64 bits count
   * @param file - the access file, if the call was made on one (the answer is ENOTTY then) and not on the device
   * @param caller - the calling process, if it is not the one that opened the device
   * @throws TypeError for arguments that no program can send, and what the memory, or a device that the host has bound,
   * throws beside `IommuError`s.
   */
  async ioctl(
    request: number,
    arg: U64Input,
    file?: number | null,
    caller: DeviceCaller = {},
  ): Promise<number> {
    if (typeof request !== 'number') throw invalidType(request, 'request', 'a number');
    if (typeof arg !== 'bigint' && typeof arg !== 'number') {
      throw invalidType(arg, 'arg', 'a bigint');
    }
    if (file !== undefined && file !== null) return this.#added?.files.has(file) ? -ERRNO.ENOTTY : -EBADF;
    if (this.#closed && request >>> 0 !== this.#added?.request) return -EBADF;
    const arrival = { ...this.#readCaller(caller), argument: BigInt.asUintN(64, BigInt(arg)) };
    const bytes = this.#spare.pop() ?? new Uint8Array(this.#longest);
    this.#calls += 1;
    try {
      return await this.#perform(request >>> 0, arrival, bytes);
    } catch (error) {
      if (!(error instanceof IommuError)) throw error;
      if (logUapi.enabled) logUapi('%s at %s: %s', hex(request >>> 0), hex(arrival.argument), error.message);
      return error.errno;
    } finally {
      this.#spare.push(bytes.fill(0));
      this.#calls -= 1;
      if (this.#closed && this.#calls === 0) {
        for (const idle of this.#whenIdle.splice(0)) idle();
        await this.#releaseIfUnused();
      }
    }
  }

  /**
   * mmap(2) of the device: memory of a driver that the program and the driver share. Gives the mapping, to be ended with
   * the last part of it, or a negative errno: ENODEV if devices of the profile have no mmap, EINVAL unless it is asked
   * for MAP_SHARED, EPERM for PROT_EXEC, ENXIO unless exactly one window is meant.
   *
   * A mapping keeps the device alive, as an access file does.
   *
   * @throws TypeError or RangeError for arguments that no program can send.
   */
  mmap(request: DeviceMmapRequest): DeviceMapping | number {
    if (this.#closed) return -EBADF;
    try {
      const { bytes, owner } = findWindow(this.iommufd.context, request);
      const { opened, closed } = this.#uses;
      const mapping = new DeviceMapping(bytes, owner, closed);
      opened();
      return mapping;
    } catch (error) {
      if (!(error instanceof IommuError)) throw error;
      if (logUapi.enabled) logUapi('mmap: %s', error.message);
      return error.errno;
    }
  }

  /**
   * The last reference to an access file is gone: what it has pinned is unpinned and the access ends. If the device is
   * closed and this was its last file, everything is released.
   *
   * @returns 0, or a negative EBADF if there is no such file
   * @throws what a device that the host has bound throws while it is released.
   */
  async closeFile(file: number): Promise<number> {
    if (!this.#added?.files.has(file)) return -EBADF;
    await this.#added.files.close(file);
    return 0;
  }

  /**
   * The last reference to the device itself is gone. Once the calls in progress have ended, all objects are released,
   * if no access file is open; else they stay until the last one is closed. Ioctls give EBADF from now on, but for the
   * commands that act on an access file.
   *
   * @throws AggregateError with what devices that the host has bound threw meanwhile; all has been released all the same.
   */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#calls > 0) await new Promise<void>((resolve) => this.#whenIdle.push(resolve));
    await this.#releaseIfUnused();
  }

  /** As `close`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /**
   * Checks all tables and the bookkeeping of the objects; to be called while no call is in progress.
   *
   * @throws InvariantError naming what is broken.
   */
  check(): void {
    this.iommufd.check();
  }

  /** Reads who calls, once: a mapping must not charge another process than the one whose memory it shows. */
  #readCaller(given: DeviceCaller): Pick<Arrival, 'caller' | 'user'> {
    const caller = readDeviceCaller(given, 'caller');
    const { memory } = caller;
    if (memory !== undefined && memory !== this.#user.memory) return { caller, user: new UserSpace(memory) };
    // Another process has descriptors of its own.
    const { file = this.#opener.file, openFile = this.#opener.openFile } = caller;
    return { caller: { ...caller, file, openFile }, user: this.#user };
  }

  async #perform(request: number, arrival: Arrival, bytes: Uint8Array): Promise<number> {
    const number = request & 0xff;
    const { context } = this.iommufd;
    if (number < FIRST_NUMBER || number > this.#lastNumber) {
      const call = this.#vfioCalls.get(request);
      if (call === undefined) throw notKnown(request);
      return await context.run(call.name, () => call.perform(arrival));
    }
    await arrival.user.read(arrival.argument, bytes, SIZE_LENGTH);
    const size = readU32(bytes, 0);
    if (request === this.#added?.request) return await this.#performAdded(this.#added, arrival, bytes, size);
    const route = this.#routes.get(request);
    if (route === undefined) throw notKnown(request);
    const body = await readSized(route.command, arrival, bytes, size);
    await context.run(route.name, () => route.perform(arrival, body));
    return 0;
  }

  async #performAdded(
    { any, operations }: AddedCommands,
    arrival: Arrival,
    bytes: Uint8Array,
    size: number,
  ): Promise<number> {
    const body = await readSized(any, arrival, bytes, size);
    const operation = readU32(bytes, OPERATION);
    const route = operations.get(operation);
    if (route === undefined) throw refuse('EOPNOTSUPP', 'unsupported', `operation ${operation} is not known`);
    if (route.command.onFile) await route.perform(arrival, body);
    else if (this.#closed) return -EBADF;
    else await this.iommufd.context.run(route.name, () => route.perform(arrival, body));
    return 0;
  }

  #connect(commands: DeviceCommands, memory: UserMemory): AddedCommands {
    checkObject(commands, 'options.commands');
    if (typeof commands.connect !== 'function') {
      throw invalidType(commands, 'options.commands', 'what testCommands() gives');
    }
    const { commands: release } = rulesOf(this.iommufd.profile);
    const { routes, files } = commands.connect({
      iommufd: this.iommufd,
      memory,
      release,
      fileOpened: this.#uses.opened,
      fileClosed: this.#uses.closed,
    });
    const operations = new Map(routes.map((route) => [route.command.op, route]));
    return { request: commands.request, any: routes[0]!.command, operations, files };
  }

  /** Whoever ends the last use of a closed device releases what it has. */
  async #releaseIfUnused(): Promise<void> {
    if (!this.#closed || this.#openFiles > 0 || this.#calls > 0) return;
    this.#released ??= this.iommufd.close();
    await this.#released;
  }
}

function notKnown(request: number): IommuError {
  return refuse('ENOTTY', 'unsupported', `request ${hex(request)} is not known`);
}
