/**
 * What takes native code: passing descriptors, and memory that is shared through them. Everything else here works
 * without.
 */
import type { Acceptor, FrameLimits, Transport } from './transport.js';

/** A file that is mapped, shared, readable and perhaps writable. */
export interface MappedFile {
  /** Its bytes. Nobody may touch them after `unmap`: the process would end. */
  readonly bytes: Uint8Array;
  /** Takes the mapping away. Does nothing the second time. */
  unmap(): void;
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
   * Maps the first `length` bytes of a file, which has at least as many. The descriptor may be closed afterwards.
   *
   * @throws an error with a `code` if the system refuses
   */
  map(descriptor: number, length: number, writable: boolean): MappedFile;
  /** Makes memory that can be mapped and passed on: the descriptor of a file of `length` zeros. */
  createMemory(length: number): number;
}
