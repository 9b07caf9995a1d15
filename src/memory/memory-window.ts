/** Where bytes of a process are, for a while. */

/** What is mapped in an address space, from one change of that to the next. */
export interface MemoryLayout {
  /** Whether nothing has changed since. */
  readonly current: boolean;
}

/** Consecutive bytes that can be copied at any time, such as those of a buffer. */
export interface MemoryPiece {
  /** Length in bytes, of whole pages; it never changes, unless to 0 when they are gone. */
  readonly length: number;
  /**
   * Copies `length` bytes from byte `first` of the piece on to byte `at` of `target` and after.
   *
   * @throws if the bytes are gone, with nothing copied
   */
  read(first: number, target: Uint8Array, at: number, length: number): void;
  /** The reverse of `read`. */
  write(first: number, source: Uint8Array, at: number, length: number): void;
}

/** Consecutive pages of a process whose bytes are consecutive in one piece. */
export interface MemoryWindow {
  /** User page number of the first page. */
  readonly page: number;
  /** User page number of the last page. */
  readonly lastPage: number;
  /** Whether the process may write them. */
  readonly writable: boolean;
  /** The bytes. */
  readonly piece: MemoryPiece;
  /** Where the first page begins in the piece. The piece may end before the last page does. */
  readonly start: number;
  /** The window is to be forgotten when this is no longer current. */
  readonly layout: MemoryLayout;
}
