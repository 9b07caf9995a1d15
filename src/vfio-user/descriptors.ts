/**
 * What takes native code: passing descriptors, and memory that is shared through them. Everything else here works
 * without.
 */
import type { UserMemory } from '../memory/user-memory.js';
import type { Acceptor, FrameLimits, Transport } from './transport.js';

/** A file that is mapped, shared. */
export interface MappedFile {
  /** Its bytes. After `unmap` they are zeroes that nobody else sees. */
  readonly bytes: Uint8Array;
  /** Takes the mapping away. Does nothing the second time. */
  unmap(): void;
}

/** A part of a file that is memory of a guest. */
export interface GuestRange {
  /** User address of its first byte in the memory. */
  readonly uptr: bigint;
  /** Lets go of it: nothing of it is pinned any more. The file goes with its last part. Does nothing the second time. */
  release(): void;
}

/** Memory of a guest that came as descriptors of files, with live views. */
export interface GuestMemory {
  /** For `IoPagetable.map`, with the user addresses of its parts. */
  readonly memory: UserMemory;
  /**
   * Takes a part of a file in, and closes the descriptor, also when it throws. A file is mapped once, whatever parts of it
   * are taken in.
   *
   * @param offset - where in the file the part begins; a multiple of 4096
   * @param length - bytes, a multiple of 4096
   * @throws EINVAL if the file ends before the part does, or they are no multiples; EACCES if the file cannot be read, or not
   * be written where that is asked for; ENODEV, EBADF of what cannot be mapped; ENOMEM
   */
  map(descriptor: number, offset: bigint, length: bigint, writable: boolean): GuestRange;
  /** Lets go of everything. */
  close(): void;
}

/** What a system offers a program that has native code. */
export interface DescriptorSupport {
  /**
   * Listens at a path of the file system where nothing is; the file gets mode 0600.
   *
   * @param accept - called with each connection
   */
  listen(path: string, limits: FrameLimits, accept: (transport: Transport) => void): Promise<Acceptor>;
  /** Connects to who listens at a path. */
  connect(path: string, limits: FrameLimits): Promise<Transport>;
  /**
   * Maps the first `length` bytes of a file, at most 1 GiB. The descriptor may be closed afterwards.
   *
   * @throws EINVAL if the file is not as long as that; else as `GuestMemory.map`
   */
  map(descriptor: number, length: number, writable: boolean): MappedFile;
  /** Makes memory that can be mapped and passed on: the descriptor of a file of `length` zeroes. */
  createMemory(length: number): number;
  /** Makes a memory for what one client shares. */
  guestMemory(): GuestMemory;
  /** Makes an eventfd that is not signalled. */
  createEventfd(): number;
  /** Whether a descriptor is an eventfd: anything else could make `signal` wait. */
  isEventfd(descriptor: number): boolean;
  /** Adds 1 to an eventfd. */
  signal(descriptor: number): void;
  /** How often an eventfd was signalled since this was last asked. */
  takeCount(descriptor: number): bigint;
  /** Calls back whenever an eventfd is signalled, until the function that it gives is called. */
  watch(descriptor: number, signalled: () => void): () => void;
  /** Closes a descriptor. */
  close(descriptor: number): void;
}
