/** Where bytes of a process are, for a while. */
import type { Piece } from './page-content.js';

/** What is mapped in an address space, from one change of that to the next. */
export interface Layout {
  /** Whether nothing has changed since. */
  readonly current: boolean;
}

/** Consecutive pages of a process whose bytes are consecutive in one buffer. */
export interface MemoryWindow {
  /** User page number of the first page. */
  readonly page: number;
  /** User page number of the last page. */
  readonly lastPage: number;
  /** Whether the process may write them. */
  readonly writable: boolean;
  readonly piece: Piece;
  /** Where the first page begins in the piece. The piece may end before the last page does. */
  readonly start: number;
  /** The window is to be forgotten when this is no longer current. */
  readonly layout: Layout;
}
