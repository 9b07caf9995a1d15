/**
 * What of Linux a Node program cannot reach by itself: descriptors sent through sockets, memory of files, eventfds.
 *
 * The only file that knows how: through the optional package `koffi`, which is loaded when it is first asked for.
 */
import { closeSync, fchmodSync, fstatSync, readlinkSync } from 'node:fs';
import { ERRNO, errorCodeOf, IommuError, refuse } from '../errors.js';

type Koffi = typeof import('koffi').default;
type Call<Arguments extends readonly unknown[]> = (...given: Arguments) => number;

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0x800;
const SOCK_CLOEXEC = 0x8_0000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_CTRUNC = 0x8;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x4000_0000;
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;
const MAP_FAILED = 2n ** 64n - 1n;
const FD_CLOEXEC = 1;
const EFD_NONBLOCK = 0x800;
const EFD_CLOEXEC = 0x8_0000;
const F_DUPFD_CLOEXEC = 1030;
const POLLOUT = 4;

/** The longest name of a socket in the file system, in bytes. */
const LONGEST_PATH = 107;
/** The most bytes that one buffer shows: engines have limits, the lowest of which is 4 GiB. */
const BUFFER_SIZE = 2 ** 30;

/** The one message that is on its way to or from the kernel: `struct msghdr`, and what it points to. */
const MSGHDR = 56;
const IOVEC = 16;
const FIRST_BYTES = 64;
const CONTROL = 256;
const CONTROL_HEADER = 16;
/** The most descriptors that go with a message, in either direction; more are closed by the kernel. */
export const MOST_DESCRIPTORS = (CONTROL - CONTROL_HEADER) / 4;

/** Which file a descriptor is of, and how long it is. */
export interface FileIdentity {
  /** The same for two descriptors exactly if they are of one file, while one of them is open or mapped. */
  readonly key: string;
  /** Bytes. */
  readonly size: bigint;
}

/** A file in memory, until `release`. */
export interface FileMapping {
  /**
   * Its bytes in order. All but the last buffer have 1 GiB. After `release` they are zeroes, with no file behind them,
   * so that a view which somebody kept does no harm.
   */
  readonly buffers: readonly ArrayBuffer[];
  /** Whether what is written to the buffers gets into the file. */
  readonly writable: boolean;
  /** Takes the file out of memory, at once. */
  release(): void;
}

/** What a socket has to give. */
export interface Received {
  /** Bytes; 0 at the end of the stream. */
  readonly length: number;
  /** Descriptors that came with them; the receiver's to close. */
  readonly descriptors: readonly number[];
  /** Whether more came than there is room for: those were closed. */
  readonly truncated: boolean;
}

/** A wait for a descriptor. */
export interface Watch {
  /** Waits for one or both; for none: not at all. */
  set(readable: boolean, writable: boolean): void;
  /** Ends it. The descriptor may be closed after that. */
  close(): void;
}

let loading: Promise<Native> | undefined;

/**
 * The native functions of this machine.
 *
 * @param purpose - what cannot be had without them, for the message: `INTx and MSI-X interrupts`
 * @throws (rejects with) EOPNOTSUPP if the package `koffi` is not installed or does not run here, or this is not Linux
 */
export function loadNative(purpose: string): Promise<Native> {
  loading ??= open();
  return loading.catch((error: unknown) => {
    loading = undefined;
    const why = error instanceof Error ? error.message.split('\n')[0] : String(error);
    const advice = "need the optional package 'koffi' (npm install koffi), on 64-bit Linux";
    throw refuse('EOPNOTSUPP', 'unsupported', `${purpose} ${advice}: ${why}`);
  });
}

async function open(): Promise<Native> {
  if (!/^linux$/.test(process.platform)) throw new Error(`this is ${process.platform}`);
  const { default: koffi } = await import('koffi');
  if (koffi.sizeof('void *') !== 8) throw new Error('pointers have not 64 bits');
  return new Native(koffi);
}

/** Linux, as far as Node does not have it. Every failure is an `IommuError` with the kernel's errno. */
export class Native {
  readonly #koffi: Koffi;
  readonly #memfdCreate: Call<[string, number]>;
  readonly #ftruncate: Call<[number, number | bigint]>;
  readonly #mmap: (...given: [bigint | null, number | bigint, number, number, number, number]) => bigint;
  readonly #munmap: Call<[bigint, number | bigint]>;
  readonly #eventfd: Call<[number, number]>;
  readonly #read: Call<[number, Uint8Array, number]>;
  readonly #write: Call<[number, Uint8Array, number]>;
  readonly #fcntl: Call<[number, number, number]>;
  readonly #poll: Call<[Uint8Array, number, number]>;
  readonly #socket: Call<[number, number, number]>;
  readonly #socketpair: Call<[number, number, number, Int32Array]>;
  readonly #bind: Call<[number, Uint8Array, number]>;
  readonly #listen: Call<[number, number]>;
  readonly #accept: Call<[number, null, null, number]>;
  readonly #connect: Call<[number, Uint8Array, number]>;
  readonly #send: Call<[number, Uint8Array, number, number]>;
  readonly #recv: Call<[number, Uint8Array, number, number]>;
  readonly #sendmsg: Call<[number, bigint, number]>;
  readonly #recvmsg: Call<[number, bigint, number]>;
  /** Where the message is, and its parts. */
  readonly #message: bigint;
  readonly #head: DataView;
  readonly #firstBytes: Uint8Array;
  readonly #control: DataView;
  readonly #one = new Uint8Array(8);
  readonly #eight = new Uint8Array(8);
  readonly #pollEntry = new DataView(new ArrayBuffer(8));
  readonly #collected = new FinalizationRegistry<() => void>((done) => done());

  constructor(koffi: Koffi) {
    this.#koffi = koffi;
    const library = koffi.load(null);
    this.#memfdCreate = library.func('int memfd_create(const char *, uint)');
    this.#ftruncate = library.func('int ftruncate(int, int64_t)');
    this.#mmap = library.func('void *mmap(void *, size_t, int, int, int, int64_t)');
    this.#munmap = library.func('int munmap(void *, size_t)');
    this.#eventfd = library.func('int eventfd(uint, int)');
    this.#read = library.func('int64_t read(int, void *, size_t)');
    this.#write = library.func('int64_t write(int, const void *, size_t)');
    this.#fcntl = library.func('int fcntl(int, int, int)');
    this.#poll = library.func('int poll(void *, size_t, int)');
    this.#socket = library.func('int socket(int, int, int)');
    this.#socketpair = library.func('int socketpair(int, int, int, void *)');
    this.#bind = library.func('int bind(int, const void *, uint)');
    this.#listen = library.func('int listen(int, int)');
    this.#accept = library.func('int accept4(int, void *, void *, int)');
    this.#connect = library.func('int connect(int, const void *, uint)');
    this.#send = library.func('int64_t send(int, const void *, size_t, int)');
    this.#recv = library.func('int64_t recv(int, void *, size_t, int)');
    this.#sendmsg = library.func('int64_t sendmsg(int, void *, int)');
    this.#recvmsg = library.func('int64_t recvmsg(int, void *, int)');

    const length = MSGHDR + IOVEC + FIRST_BYTES + CONTROL;
    this.#message = koffi.alloc('uint8_t', length);
    const block = koffi.view(this.#message, length);
    this.#head = new DataView(block, 0, MSGHDR + IOVEC);
    this.#firstBytes = new Uint8Array(block, MSGHDR + IOVEC, FIRST_BYTES);
    this.#control = new DataView(block, MSGHDR + IOVEC + FIRST_BYTES, CONTROL);
    const iovec = this.#message + BigInt(MSGHDR);
    new Uint8Array(block).fill(0);
    this.#head.setBigUint64(16, iovec, true);
    this.#head.setBigUint64(24, 1n, true);
    this.#head.setBigUint64(MSGHDR, iovec + BigInt(IOVEC), true);
    this.#one[0] = 1;
  }

  /** Closes a descriptor. @throws EBADF if it is none */
  close(descriptor: number): void {
    asIommuError('close', () => closeSync(descriptor));
  }

  /** Another descriptor of the same open file. @throws EBADF, EMFILE */
  duplicate(descriptor: number): number {
    return this.#checked('fcntl', this.#fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
  }

  /** Which file a descriptor is of. @throws EBADF if it is none */
  fileOf(descriptor: number): FileIdentity {
    const { dev, ino, size } = asIommuError('fstat', () => fstatSync(descriptor, { bigint: true }));
    return { key: `${dev}:${ino}`, size };
  }

  /** A new file of `length` zeroes that is in memory only. @throws ENOMEM, EMFILE */
  memfd(name: string, length: number | bigint): number {
    const descriptor = this.#checked('memfd_create', this.#memfdCreate(name, FD_CLOEXEC));
    try {
      this.truncate(descriptor, length);
    } catch (error) {
      this.close(descriptor);
      throw error;
    }
    return descriptor;
  }

  /** Makes a file as long as that. @throws EINVAL and the like */
  truncate(descriptor: number, length: number | bigint): void {
    this.#checked('ftruncate', this.#ftruncate(descriptor, length));
  }

  /**
   * Shows the first `length` bytes of a file; the descriptor may be closed after that. Of a file that is open for reading
   * only, the buffers are a private copy as soon as something writes to them.
   *
   * The caller has made sure that the file is as long as that. A file that is cut later ends the process at the next
   * access (SIGBUS), as it ends every program.
   *
   * @throws EACCES if the file cannot be read, ENODEV if it is nothing that has memory, ENOMEM
   */
  mapFile(descriptor: number, length: number): FileMapping {
    let address = this.#mmap(null, length, PROT_READ_WRITE, MAP_SHARED, descriptor, 0);
    const writable = address !== MAP_FAILED;
    if (!writable) address = this.#mmap(null, length, PROT_READ_WRITE, MAP_PRIVATE, descriptor, 0);
    if (address === MAP_FAILED) throw this.#failed('mmap');
    const buffers: ArrayBuffer[] = [];
    let alive = 0;
    let released = false;
    const leave = () => {
      if (released && alive === 0) this.#munmap(address, length);
    };
    for (let from = 0; from < length; from += BUFFER_SIZE) {
      const buffer = this.#koffi.view(address + BigInt(from), Math.min(BUFFER_SIZE, length - from));
      buffers.push(buffer);
      alive++;
      this.#collected.register(buffer, () => {
        alive--;
        leave();
      });
    }
    return {
      buffers,
      writable,
      release: () => {
        if (released) return;
        released = true;
        // The addresses stay taken until the last view of them is gone, so that no other memory is ever behind one.
        const flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        if (this.#mmap(address, length, PROT_READ_WRITE, flags, -1, 0) === MAP_FAILED)
          throw this.#failed('mmap');
        leave();
      },
    };
  }

  /** A new eventfd with count 0. @throws EMFILE */
  eventfd(): number {
    return this.#checked('eventfd', this.#eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  }

  /** Whether a descriptor is an eventfd. */
  isEventfd(descriptor: number): boolean {
    try {
      return readlinkSync(`/proc/self/fd/${descriptor}`) === 'anon_inode:[eventfd]';
    } catch {
      return false;
    }
  }

  /** Adds 1 to an eventfd. One that is full, and so is signalled anyhow, is left alone: a write would wait. @throws EBADF */
  signal(descriptor: number): void {
    const entry = this.#pollEntry;
    entry.setInt32(0, descriptor, true);
    entry.setInt32(4, POLLOUT, true);
    this.#checked('poll', this.#poll(new Uint8Array(entry.buffer), 1, 0));
    if ((entry.getInt16(6, true) & POLLOUT) === 0) return;
    if (this.#write(descriptor, this.#one, 8) < 0 && !this.#again()) throw this.#failed('write');
  }

  /** Takes the count of an eventfd of this process: 0 if nothing was added. @throws EBADF */
  takeCount(descriptor: number): bigint {
    const read = this.#read(descriptor, this.#eight, 8);
    if (read === 8) return new DataView(this.#eight.buffer).getBigUint64(0, true);
    if (read < 0 && !this.#again()) throw this.#failed('read');
    return 0n;
  }

  /** Two sockets that are connected with each other. @throws EMFILE */
  socketPair(): readonly [number, number] {
    const pair = new Int32Array(2);
    const type = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    this.#checked('socketpair', this.#socketpair(AF_UNIX, type, 0, pair));
    return [pair[0]!, pair[1]!];
  }

  /**
   * A socket that listens at `path`, for this user only (mode 0600).
   *
   * @throws EINVAL if the path is empty or longer than 107 bytes; EADDRINUSE if it exists, ENOENT and the like
   */
  listen(path: string): number {
    const address = socketAddress(path);
    return this.#withSocket((socket) => {
      asIommuError('fchmod', () => fchmodSync(socket, 0o600));
      this.#checked('bind', this.#bind(socket, address, address.length));
      this.#checked('listen', this.#listen(socket, 8));
      return true;
    })!;
  }

  /** The next connection of a socket that listens; `undefined` if there is none for now. @throws EMFILE and the like */
  accept(socket: number): number | undefined {
    const connection = this.#accept(socket, null, null, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (connection < 0 && this.#again()) return undefined;
    return this.#checked('accept', connection);
  }

  /**
   * A socket that is connected with the one that listens at `path`; `undefined` if too many wait there for now.
   *
   * @throws EINVAL as `listen`; ENOENT, ECONNREFUSED if nobody listens, EACCES
   */
  connect(path: string): number | undefined {
    const address = socketAddress(path);
    return this.#withSocket((socket) => {
      const connected = this.#connect(socket, address, address.length);
      if (connected < 0 && this.#again()) return false;
      this.#checked('connect', connected);
      return true;
    });
  }

  #withSocket(setUp: (socket: number) => boolean): number | undefined {
    const type = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    const socket = this.#checked('socket', this.#socket(AF_UNIX, type, 0));
    let done = false;
    try {
      done = setUp(socket);
    } finally {
      if (!done) this.close(socket);
    }
    return done ? socket : undefined;
  }

  /** Sends bytes, as many as there is room for: 0 if there is none for now. @throws EPIPE, ECONNRESET */
  send(socket: number, bytes: Uint8Array): number {
    return this.#sent('send', this.#send(socket, bytes, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL));
  }

  /**
   * As `send` of the first bytes (64 at most), with descriptors, at most `MOST_DESCRIPTORS`; they stay the caller's.
   *
   * @throws EBADF if one of them is none; else as `send`
   */
  sendWith(socket: number, bytes: Uint8Array, descriptors: readonly number[]): number {
    const length = Math.min(bytes.length, FIRST_BYTES);
    this.#firstBytes.set(bytes.subarray(0, length));
    this.#control.setBigUint64(0, BigInt(CONTROL_HEADER + 4 * descriptors.length), true);
    this.#control.setInt32(8, SOL_SOCKET, true);
    this.#control.setInt32(12, SCM_RIGHTS, true);
    for (const [at, descriptor] of descriptors.entries()) {
      this.#control.setInt32(CONTROL_HEADER + 4 * at, descriptor, true);
    }
    // The kernel wants the space that the message takes with its padding.
    this.#prepare(length, Math.ceil((CONTROL_HEADER + 4 * descriptors.length) / 8) * 8);
    return this.#sent('sendmsg', this.#sendmsg(socket, this.#message, MSG_DONTWAIT | MSG_NOSIGNAL));
  }

  #sent(call: string, sent: number): number {
    if (sent >= 0) return sent;
    if (this.#again()) return 0;
    throw this.#failed(call);
  }

  /**
   * Receives what is there into `target`; descriptors that came with it are closed by the kernel. `undefined` if nothing
   * is there for now.
   *
   * @throws ECONNRESET
   */
  receive(socket: number, target: Uint8Array): number | undefined {
    const length = this.#recv(socket, target, target.length, MSG_DONTWAIT);
    if (length >= 0) return length;
    if (this.#again()) return undefined;
    throw this.#failed('recv');
  }

  /** As `receive` of at most 64 bytes, with the descriptors that came with them. @throws ECONNRESET */
  receiveWith(socket: number, target: Uint8Array): Received | undefined {
    this.#prepare(Math.min(target.length, FIRST_BYTES), CONTROL);
    const length = this.#recvmsg(socket, this.#message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (length < 0) {
      if (this.#again()) return undefined;
      throw this.#failed('recvmsg');
    }
    target.set(this.#firstBytes.subarray(0, length));
    const control = this.#head.getUint32(40, true);
    const truncated = (this.#head.getInt32(48, true) & MSG_CTRUNC) !== 0;
    if (control === 0) return { length, descriptors: [], truncated };
    return { length, descriptors: this.#descriptors(control), truncated };
  }

  #descriptors(length: number): number[] {
    const descriptors: number[] = [];
    for (let at = 0; at + CONTROL_HEADER <= length; ) {
      const past = at + Math.max(CONTROL_HEADER, this.#control.getUint32(at, true));
      const rights =
        this.#control.getInt32(at + 8, true) === SOL_SOCKET &&
        this.#control.getInt32(at + 12, true) === SCM_RIGHTS;
      for (let each = at + CONTROL_HEADER; rights && each + 4 <= Math.min(past, length); each += 4) {
        descriptors.push(this.#control.getInt32(each, true));
      }
      at = Math.ceil(past / 8) * 8;
    }
    return descriptors;
  }

  /** Says how long the bytes and the control of the message are. */
  #prepare(length: number, control: number): void {
    const head = this.#head;
    head.setBigUint64(32, this.#message + BigInt(MSGHDR + IOVEC + FIRST_BYTES), true);
    head.setBigUint64(40, BigInt(control), true);
    head.setInt32(48, 0, true);
    head.setBigUint64(MSGHDR + 8, BigInt(length), true);
  }

  /** Calls `ready` whenever the descriptor has something to read, or room to write, or its other end is gone. */
  watch(descriptor: number, ready: () => void): Watch {
    const handle = this.#koffi.node.poll(descriptor, { readable: true }, ready);
    let now = 1;
    return {
      set: (readable, writable) => {
        const next = Number(readable) + 2 * Number(writable);
        if (next === now) return;
        now = next;
        if (next === 0) handle.stop();
        else handle.start({ readable, writable }, ready);
      },
      close: () => {
        handle.stop();
        handle.close();
      },
    };
  }

  /** Whether the last call failed because it would have had to wait, or was interrupted. */
  #again(): boolean {
    const errno = this.#koffi.errno();
    return errno === ERRNO.EAGAIN || errno === ERRNO.EINTR;
  }

  #checked(call: string, result: number): number {
    if (result < 0) throw this.#failed(call);
    return result;
  }

  #failed(call: string): IommuError {
    return errorOf(call, this.#koffi.errno());
  }
}

/** Linux's `struct sockaddr_un`. */
function socketAddress(path: string): Uint8Array {
  const name = new TextEncoder().encode(path);
  if (name.length === 0 || name.length > LONGEST_PATH || name.includes(0)) {
    const detail = `the path of a socket has 1 to ${LONGEST_PATH} bytes, none of them zero: '${path}' has ${name.length}`;
    throw refuse('EINVAL', 'argument', detail);
  }
  const address = new Uint8Array(name.length + 3);
  address[0] = AF_UNIX;
  address.set(name, 2);
  return address;
}

function errorOf(call: string, errno: number): IommuError {
  const code = errorCodeOf(errno);
  const detail = code === undefined ? `the kernel refused it with errno ${errno}` : 'the kernel refused it';
  return new IommuError(code ?? 'EIO', { check: 'state', detail }).during(call);
}

/** Runs a call of Node's; its error becomes one of the library's. */
function asIommuError<T>(call: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    const errno = error instanceof Error && 'errno' in error ? Number(error.errno) : Number.NaN;
    if (Number.isNaN(errno)) throw error;
    throw errorOf(call, -errno);
  }
}
