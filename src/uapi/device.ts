/** The iommufd character device as programs see it: ioctl numbers, structs in memory, errno numbers. */
import { ERRNO, IommuError, refuse } from '../errors.js';
import type { Caller } from '../iommufd/caller.js';
import type { ContextAccounting } from '../iommufd/context.js';
import { Iommufd } from '../iommufd/iommufd.js';
import { logUapi } from '../log.js';
import type { UserMemory } from '../memory/user-memory.js';
import type { ProfileName } from '../rules.js';
import type { AccessFiles } from '../testing/access-files.js';
import { TestDriver } from '../testing/test-driver.js';
import { hex, invalidType, type U64Input } from '../u64.js';
import { type Arrival, Call, readSized } from './call.js';
import {
  COMMANDS,
  IOMMUFD_COMMANDS,
  type IommufdCommandName,
  TEST_COMMANDS,
  TEST_REQUEST,
  type TestCommandName,
} from './commands.js';
import type { Handlers, Target } from './handlers.js';
import { hwptHandlers } from './hwpt-handlers.js';
import { ioasHandlers } from './ioas-handlers.js';
import { filesOfMachine } from './machine-files.js';
import { readU32 } from './struct.js';
import { FILE_OPERATIONS, testHandlers } from './test-handlers.js';
import { UserSpace } from './user-space.js';
import { VFIO_CALLS } from './vfio-calls.js';

/** How a device is opened. */
export interface IommufdDeviceOptions extends Caller {
  /** The memory of the process that opens the device. */
  readonly memory: UserMemory;
  /** Whether the device has the kernel test driver's command. Default: no. */
  readonly testCommands?: boolean | undefined;
  /** Whom mappings charge for pinned pages; `'mm'` as when the VFIO container node was opened. Default `'user'`. */
  readonly accounting?: ContextAccounting | undefined;
  /** Whose behaviour the address spaces have; by default the newest Linux's. */
  readonly profile?: ProfileName | undefined;
  /** Who numbers access files. Default: one numbering, from 2^20 on, for all devices on the machine of `memory`. */
  readonly files?: AccessFiles | undefined;
}

const EBADF = 9;
/** The first command; below it all calls are VFIO's. */
const FIRST_NUMBER = 0x80;
const LAST_NUMBER = IOMMUFD_COMMANDS.FAULT_QUEUE_ALLOC.request & 0xff;
const LAST_NUMBER_WITH_TESTS = TEST_REQUEST & 0xff;
/** Any of the test operations: their structs have the same length, with the number of the operation here. */
const ANY_TEST = TEST_COMMANDS.TEST_DIRTY;
const OPERATION = 4;

/** Bytes of the first field of a struct. */
const SIZE_LENGTH = 4;
/** Bytes of the longest struct. */
const LONGEST = Math.max(...Object.values(COMMANDS).map(({ struct }) => struct.length));

type HandledName = IommufdCommandName | TestCommandName;

const HANDLERS: Handlers<HandledName> = {
  ...ioasHandlers,
  ...hwptHandlers,
  ...testHandlers,
};

const BY_REQUEST: ReadonlyMap<number, IommufdCommandName> = new Map(
  namesOf(IOMMUFD_COMMANDS).map((name) => [IOMMUFD_COMMANDS[name].request, name]),
);
const BY_OPERATION: ReadonlyMap<number, TestCommandName> = new Map(
  namesOf(TEST_COMMANDS).map((name) => [TEST_COMMANDS[name].op, name]),
);

/**
 * An open iommufd device. Processes that have it open, after a fork, share it; each call says whose it is.
 *
 * The device stays as long as it is open or an access file of it is: closing the last of them releases everything.
 */
export class IommufdDevice implements AsyncDisposable {
  /** The context behind the device: for inspection, and for what is no ioctl, such as binding devices. */
  readonly iommufd: Iommufd;
  readonly #user: UserSpace;
  readonly #files: AccessFiles;
  readonly #target: Target;
  readonly #lastNumber: number;
  #closed = false;
  #openFiles = 0;
  #calls = 0;
  readonly #whenIdle: (() => void)[] = [];
  /** Zeroed room for structs, as many as there were calls at the same time. */
  readonly #spare: Uint8Array[] = [];
  #released: Promise<void> | undefined;

  /** @throws TypeError if there is no memory. */
  constructor(options: IommufdDeviceOptions) {
    const { memory, capable, testCommands = false, accounting = 'user', profile } = options;
    if (typeof memory !== 'object' || memory === null) {
      throw invalidType('options.memory', 'a UserMemory', memory);
    }
    this.iommufd = new Iommufd({ memory, capable, accounting, profile });
    this.#user = new UserSpace(memory);
    this.#files = options.files ?? filesOfMachine(memory);
    this.#lastNumber = testCommands ? LAST_NUMBER_WITH_TESTS : LAST_NUMBER;
    this.#target = {
      iommufd: this.iommufd,
      driver: new TestDriver(this.iommufd, { memory, files: this.#files }),
      fileOpened: () => {
        this.#openFiles += 1;
      },
      fileClosed: () => {
        this.#openFiles -= 1;
        return this.#releaseIfUnused();
      },
    };
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
  async ioctl(request: number, arg: U64Input, file?: number | null, caller: Caller = {}): Promise<number> {
    if (typeof request !== 'number') throw invalidType('request', 'a number', request);
    if (typeof arg !== 'bigint' && typeof arg !== 'number') {
      throw invalidType('arg', 'a bigint', arg);
    }
    if (file !== undefined && file !== null) return this.#files.has(file) ? -ERRNO.ENOTTY : -EBADF;
    if (this.#closed && request >>> 0 !== TEST_REQUEST) return -EBADF;
    const user =
      caller.memory === undefined || caller.memory === this.#user.memory
        ? this.#user
        : new UserSpace(caller.memory);
    const arrival = { caller, user, argument: BigInt.asUintN(64, BigInt(arg)) };
    const bytes = this.#spare.pop() ?? new Uint8Array(LONGEST);
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
   * The last reference to an access file is gone: what it has pinned is unpinned and the access ends. If the device is
   * closed and this was its last file, everything is released.
   *
   * @returns 0, or a negative EBADF if there is no such file
   * @throws what a device that the host has bound throws while it is released.
   */
  async closeFile(file: number): Promise<number> {
    if (!this.#files.has(file)) return -EBADF;
    await this.#files.close(file);
    return 0;
  }

  /**
   * The last reference to the device itself is gone. Once the calls in progress have ended, all objects are released,
   * if no access file is open; else they stay until the last one is closed. Ioctls give EBADF from now on, but for the
   * test commands that act on an access file.
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

  async #perform(request: number, arrival: Arrival, bytes: Uint8Array): Promise<number> {
    const number = request & 0xff;
    const { context } = this.iommufd;
    if (number < FIRST_NUMBER || number > this.#lastNumber) {
      const call = VFIO_CALLS.get(request);
      if (call === undefined) throw notKnown(request);
      return await context.run(call.name, () => call.perform(arrival, context));
    }
    await arrival.user.read(arrival.argument, bytes, SIZE_LENGTH);
    const size = readU32(bytes, 0);
    if (request === TEST_REQUEST) return await this.#test(arrival, bytes, size);
    const name = BY_REQUEST.get(request);
    if (name === undefined) throw notKnown(request);
    const call = new Call(name, arrival, await readSized(IOMMUFD_COMMANDS[name], arrival, bytes, size));
    await context.run(name.toLowerCase(), () => perform(name, call, this.#target));
    return 0;
  }

  async #test(arrival: Arrival, bytes: Uint8Array, size: number): Promise<number> {
    const body = await readSized(ANY_TEST, arrival, bytes, size);
    const operation = readU32(bytes, OPERATION);
    const name = BY_OPERATION.get(operation);
    if (name === undefined) {
      throw refuse('EOPNOTSUPP', 'unsupported', `test operation ${operation} is not known`);
    }
    const call = new Call(name, arrival, body);
    if (FILE_OPERATIONS.has(name)) await perform(name, call, this.#target);
    else if (this.#closed) return -EBADF;
    else await this.iommufd.context.run(name.toLowerCase(), () => perform(name, call, this.#target));
    return 0;
  }

  /** Whoever ends the last use of a closed device releases what it has. */
  async #releaseIfUnused(): Promise<void> {
    if (!this.#closed || this.#openFiles > 0 || this.#calls > 0) return;
    this.#released ??= this.iommufd.close();
    await this.#released;
  }
}

function perform<N extends HandledName>(name: N, call: Call<N>, target: Target): Promise<void> {
  if (call.failureAnswer !== undefined) return performAnswering(name, call, target);
  call.refuseReserved();
  return HANDLERS[name](call, target);
}

/** Performs a command that writes its struct back also when it fails. */
async function performAnswering<N extends HandledName>(
  name: N,
  call: Call<N>,
  target: Target,
): Promise<void> {
  try {
    call.refuseReserved();
    await HANDLERS[name](call, target);
  } catch (error) {
    if (error instanceof IommuError && call.failureAnswer !== undefined) {
      await call.respond(call.failureAnswer);
    }
    throw error;
  }
}

function namesOf<T extends object>(table: T): (keyof T & string)[] {
  return Object.keys(table) as (keyof T & string)[];
}

function notKnown(request: number): IommuError {
  return refuse('ENOTTY', 'unsupported', `request ${hex(request)} is not known`);
}
