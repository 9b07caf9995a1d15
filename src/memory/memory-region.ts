/**
 * A piece of a process's address space that shows a piece of memory.
 */
import { join, PAGE_SIZE } from '../u64.js';
import type { FilePages } from './file-pages.js';
import type { MemoryLayout, MemoryWindow } from './memory-window.js';
import type { Backing } from './physical-memory.js';

/** A mapping of memory into the address space of a process, as `mmap` made it. */
export interface MemoryRegion {
  /** User address of the first byte, a multiple of 4096. */
  readonly uptr: bigint;
  /** Length in bytes, a multiple of 4096. */
  readonly length: bigint;
  /** Whether the process, and pins, may write it. */
  readonly writable: boolean;
  /**
   * Live view of all bytes; `undefined` if they are in pieces (a sparse region), or if some are gone because the
   * buffer was detached or shrunk.
   */
  readonly bytes: Uint8Array | undefined;
}

/**
 * The place in a file that a region shows.
 *
 * @internal
 */
export interface FileView {
  readonly file: FilePages;
  /** Page of the file that the first page of the region shows. */
  readonly page: number;
  /** Whether the region may be made writable. */
  readonly mayWrite: boolean;
}

/**
 * A region in page numbers. It never changes: what `munmap` and `protect` leave of it are new ones.
 *
 * @internal
 */
export class Region implements MemoryRegion {
  /** User page number of the first page. */
  readonly page: number;
  /** User page number of the last page. */
  readonly lastPage: number;
  readonly writable: boolean;
  /** What of a file it shows, if it is of one. */
  readonly view: FileView | undefined;
  readonly #backing: Backing;
  /** The page of the backing that the first page shows. */
  readonly #first: number;

  constructor(
    page: number,
    lastPage: number,
    writable: boolean,
    backing: Backing,
    first: number,
    view: FileView | undefined,
  ) {
    this.page = page;
    this.lastPage = lastPage;
    this.writable = writable;
    this.view = view;
    this.#backing = backing;
    this.#first = first;
  }

  get uptr(): bigint {
    return join(this.page, 0);
  }

  get length(): bigint {
    return BigInt(this.lastPage - this.page + 1) * BigInt(PAGE_SIZE);
  }

  get bytes(): Uint8Array | undefined {
    const { content } = this.#backing;
    const pages = this.lastPage - this.page + 1;
    if (content.sparse || content.present(this.#first, pages) < pages) return undefined;
    return content.view(this.#first, 0, pages * PAGE_SIZE);
  }

  /** The memory it shows. */
  get backing(): Backing {
    return this.#backing;
  }

  /** The page of the backing that user page `page` shows. */
  backingPage(page: number): number {
    return this.#first + (page - this.page);
  }

  /** How many of the `count` pages from user page `page` on are in the region and there now. */
  present(page: number, count: number): number {
    return this.#backing.content.present(this.backingPage(page), Math.min(count, this.lastPage - page + 1));
  }

  /** Copies bytes of the region from byte `offset` of user page `page` on: `PageContent.read`. */
  read(page: number, offset: number, target: Uint8Array, at: number, length: number): number {
    const most = Math.min(length, (this.lastPage - page + 1) * PAGE_SIZE - offset);
    return this.#backing.content.read(this.backingPage(page), offset, target, at, most);
  }

  /** The reverse of `read`: `PageContent.write`. */
  write(page: number, offset: number, source: Uint8Array, at: number, length: number): number {
    const most = Math.min(length, (this.lastPage - page + 1) * PAGE_SIZE - offset);
    return this.#backing.content.write(this.backingPage(page), offset, source, at, most);
  }

  /** The pages around user page `page` that are in one piece, if that page is there now. */
  window(page: number, layout: MemoryLayout): MemoryWindow | undefined {
    const backingPage = this.backingPage(page);
    const found = this.#backing.content.piece(backingPage);
    if (found === undefined) return undefined;
    const first = Math.max(this.#first, found.page);
    const lastPage = Math.min(this.lastPage, page + (found.page + found.pages - 1 - backingPage));
    return {
      page: page - (backingPage - first),
      lastPage,
      writable: this.writable,
      piece: found.piece,
      start: (first - found.page) * PAGE_SIZE,
      layout,
    };
  }

  /** The part from user page `page` to `lastPage`, with its own permission. */
  part(page: number, lastPage: number, writable = this.writable): Region {
    const { view } = this;
    const shown = view && { ...view, page: view.page + (page - this.page) };
    return new Region(page, lastPage, writable, this.#backing, this.backingPage(page), shown);
  }
}
