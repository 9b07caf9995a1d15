/**
 * The pages of a file, whichever descriptors and mappings show them.
 *
 * A file has pieces: pages in a row that were made together. What is cut off leaves the file for good, and stays what it
 * is where it is pinned; a file that grows again has new pages there.
 */
import { refuse } from '../errors.js';
import { type Address, PAGE_SIZE } from '../u64.js';
import type { FrameRuns } from './frame-runs.js';
import { newContent, type PageContent, SparseContent } from './page-content.js';
import type { Backing, PhysicalMemory } from './physical-memory.js';
import { ScatteredOrder } from './scattered-order.js';

/**
 * Who shows pages of files: an address space.
 *
 * @internal
 */
export interface FileMapper {
  /** Pages of the file from `page` on are others now, or none. */
  fileChanged(file: FilePages, page: number): void;
}

/** Memory that pages of a file are in. */
interface Material {
  readonly content: PageContent;
  readonly order: ScatteredOrder | undefined;
  /** What it was made from, if that was the caller's. */
  readonly source: object | undefined;
  /** Frames, while there are any: as long as the memory is mapped or pinned. */
  backing: Backing | undefined;
}

/** Pages of a file that are consecutive in one piece of memory. */
interface Piece {
  /** First page of the file. */
  readonly page: number;
  /** The page of the file after the last. */
  readonly past: number;
  readonly material: Material;
  /** The page of the memory that the first page is. */
  readonly first: number;
}

/**
 * Where a page of a file and those after it are.
 *
 * @internal
 */
export interface FilePlace {
  readonly backing: Backing;
  /** The page of the backing. */
  readonly first: number;
  /** How many pages from there on are consecutive. */
  readonly count: number;
}

/** Content that is made when it is touched is made in pieces of so many pages; less is made at once. */
const SPARSE_FROM = 512;

/**
 * What is in a file, page by page.
 *
 * @internal
 */
export class FilePages {
  readonly physical: PhysicalMemory;
  /** Whether they are parts of huge pages. */
  readonly huge: boolean;
  readonly #scattered: boolean;
  readonly #buffer: Material | undefined;
  /** Pages of the buffer that have been pages of the file. */
  #used = 0;
  /** Ascending; together all pages from 0 on. */
  #pieces: Piece[] = [];
  #size: Address = { page: 0, offset: 0 };
  /** How many regions of each address space show pages of the file. */
  readonly #mappers = new Map<FileMapper, number>();
  /** Regions that show pages of the file and can be written. */
  #writable = 0;

  /** @param content - the first pages, if they are the caller's */
  constructor(
    physical: PhysicalMemory,
    size: Address,
    { scattered, huge }: { readonly scattered: boolean; readonly huge: boolean },
    content?: { readonly content: PageContent; readonly source: object },
  ) {
    this.physical = physical;
    this.huge = huge;
    this.#scattered = scattered;
    if (content !== undefined) {
      const order = scattered ? new ScatteredOrder(content.content.capacity) : undefined;
      this.#buffer = { ...content, order, backing: undefined };
      const past = pagesOf(size);
      this.#used = past;
      if (past > 0) this.#pieces.push({ page: 0, past, material: this.#buffer, first: 0 });
      this.#size = size;
    } else this.resize(size);
  }

  /** Length in bytes. */
  get size(): Address {
    return this.#size;
  }

  /** Pages that are in the file, whole or in part. */
  get pages(): number {
    return pagesOf(this.#size);
  }

  /** Whether some region shows pages of the file and can be written. */
  get mappedWritable(): boolean {
    return this.#writable > 0;
  }

  /**
   * Cuts the file, or makes it longer. What is cut off is gone from all mappings, and the rest of the last page is cleared;
   * what is new is zero.
   *
   * @throws IommuError ENOMEM if there is no room for it; nothing has changed then
   */
  resize(size: Address): void {
    const before = this.pages;
    const after = pagesOf(size);
    const shorter =
      size.page < this.#size.page || (size.page === this.#size.page && size.offset < this.#size.offset);
    if (after > before) this.#pieces.push(...this.#newPieces(before, after));
    if (after < before) this.#cut(after);
    this.#size = size;
    if (shorter && size.offset > 0) this.#clear(size.page, size.offset);
    if (after === before) return;
    for (const mapper of [...this.#mappers.keys()]) mapper.fileChanged(this, Math.min(before, after));
  }

  /** Where page `page` is, which is in the file, and how many of the `count` pages from there on are with it. */
  place(page: number, count: number): FilePlace {
    const piece = this.#pieceOf(page);
    return {
      backing: this.#backingOf(piece),
      first: piece.first + (page - piece.page),
      count: Math.min(count, piece.past - page),
    };
  }

  /** Pins `count` pages from `page` on, all of which are in the file. */
  pin(page: number, count: number, into: FrameRuns): void {
    for (let at = page; at < page + count; ) {
      const place = this.place(at, page + count - at);
      this.physical.pin(place.backing, place.first, place.count, into);
      at += place.count;
    }
  }

  /** The frame of page `page`, which is in the file, if it has one now. */
  frameAt(page: number): number | undefined {
    const { material, first, page: from } = this.#pieceOf(page);
    const backing = liveBacking(material);
    return backing?.frameOf(first + (page - from));
  }

  /** Copies bytes from byte `offset` of page `page` on, all of which are in the file's pages. */
  read(page: number, offset: number, target: Uint8Array): void {
    this.#copy(page, offset, target, false);
  }

  /** The reverse of `read`. */
  write(page: number, offset: number, source: Uint8Array): void {
    this.#copy(page, offset, source, true);
  }

  #copy(page: number, offset: number, bytes: Uint8Array, write: boolean): void {
    for (let done = 0; done < bytes.length; ) {
      const from = offset + done;
      const at = page + Math.floor(from / PAGE_SIZE);
      const piece = this.#pieceOf(at);
      const { content } = piece.material;
      const inPage = from % PAGE_SIZE;
      const most = Math.min(bytes.length - done, (piece.past - at) * PAGE_SIZE - inPage);
      const first = piece.first + (at - piece.page);
      const copied = write
        ? content.write(first, inPage, bytes, done, most)
        : content.read(first, inPage, bytes, done, most);
      if (copied === 0) throw refuse('EFAULT', 'fault', `the buffer behind page ${at} of the file is gone`);
      done += copied;
    }
  }

  /** One more region of an address space shows pages of the file. */
  addMapping(mapper: FileMapper, writable: boolean): void {
    this.#mappers.set(mapper, (this.#mappers.get(mapper) ?? 0) + 1);
    if (writable) this.#writable += 1;
  }

  /** One fewer does. */
  removeMapping(mapper: FileMapper, writable: boolean): void {
    const left = this.#mappers.get(mapper)! - 1;
    if (left === 0) this.#mappers.delete(mapper);
    else this.#mappers.set(mapper, left);
    if (writable) this.#writable -= 1;
  }

  #cut(past: number): void {
    const kept = this.#pieces.filter((piece) => piece.page < past);
    const last = kept.at(-1);
    if (last !== undefined && last.past > past) kept[kept.length - 1] = { ...last, past };
    this.#pieces = kept;
  }

  /** Zeroes a page from byte `offset` on, whoever has it pinned. */
  #clear(page: number, offset: number): void {
    const { material, first, page: from } = this.#pieceOf(page);
    material.content.write(first + (page - from), offset, ZEROES, 0, PAGE_SIZE - offset);
  }

  /** What the file gets from page `from` to before `past`: of the buffer what was never in the file, else new memory. */
  #newPieces(from: number, past: number): Piece[] {
    const pieces: Piece[] = [];
    let page = from;
    const buffer = this.#buffer;
    if (buffer !== undefined && from >= this.#used) {
      const until = Math.min(past, buffer.content.capacity);
      if (from < until) {
        const there = buffer.content.present(from, until - from);
        if (there > 0) pieces.push({ page: from, past: from + there, material: buffer, first: from });
        for (let at = from; at < from + there; at++) buffer.content.write(at, 0, ZEROES, 0, PAGE_SIZE);
        page = from + there;
      }
    }
    if (page < past) {
      // A row of two in scattered order does not go on where other memory ends; a single one might.
      const count = this.#scattered ? Math.max(2, past - page) : past - page;
      const content = count > SPARSE_FROM ? new SparseContent(count) : newContent(count);
      const order = this.#scattered ? new ScatteredOrder(count) : undefined;
      const material: Material = { content, order, source: undefined, backing: undefined };
      pieces.push({ page, past, material, first: 0 });
    }
    if (buffer !== undefined) this.#used = Math.max(this.#used, past);
    return pieces;
  }

  #pieceOf(page: number): Piece {
    const pieces = this.#pieces;
    let low = 0;
    let high = pieces.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (pieces[middle]!.past <= page) low = middle + 1;
      else high = middle;
    }
    return pieces[low]!;
  }

  #backingOf({ page, first, material }: Piece): Backing {
    const known = liveBacking(material) ?? (material.source && this.physical.backingOf(material.source));
    material.backing =
      known ?? this.physical.add(material.content, material.order, material.source, first, page);
    return material.backing;
  }
}

const ZEROES = new Uint8Array(PAGE_SIZE);

function liveBacking({ backing }: Material): Backing | undefined {
  return backing?.node === undefined ? undefined : backing;
}

function pagesOf({ page, offset }: Address): number {
  return page + (offset > 0 ? 1 : 0);
}
