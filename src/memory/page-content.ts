/**
 * What is in the pages of a piece of memory: a buffer of the caller's, or content that appears where it is touched.
 */
import { invalidType } from '../arguments.js';
import { refuse } from '../errors.js';
import { PAGE_MASK, PAGE_SIZE } from '../u64.js';
import { type BufferKind, bufferKind, isBuffer } from './buffers.js';
import { byteCount, setBytes, viewOf } from './bytes.js';
import type { MemoryPiece } from './memory-window.js';

/** A `WebAssembly.Memory`: its buffer is another one whenever it has grown. */
export interface WebAssemblyMemory {
  readonly buffer: ArrayBuffer | SharedArrayBuffer;
  /** Keeps typed arrays and Node buffers out: of these only a part of the buffer is meant. */
  readonly byteOffset?: never;
}

/** What memory can be made of. Resizable and growable buffers too, within their largest length. */
export type MemorySource = ArrayBuffer | SharedArrayBuffer | WebAssemblyMemory;

/** The bytes of consecutive pages, numbered from 0. */
export interface PageContent {
  /** Pages there can ever be. */
  readonly capacity: number;
  /** Whether the content is made piece by piece, when it is touched. */
  readonly sparse: boolean;
  /** All bytes as one buffer, page 0 first, if other threads can have it too. */
  readonly shared: SharedArrayBuffer | undefined;
  /** How many of the `count` pages from `page` on are there now. */
  present(page: number, count: number): number;
  /**
   * A live view of `length` bytes from byte `offset` of page `page` on, or of as many (at least one) as are in one
   * piece. The pages are there.
   */
  view(page: number, offset: number, length: number): Uint8Array;
  /**
   * Copies up to `length` bytes from byte `offset` of page `page` on into `target`, from byte `at` of it on: as many as
   * are there and in one piece. Gives how many; 0 only if the page is not there. Untouched memory stays untouched.
   */
  read(page: number, offset: number, target: Uint8Array, at: number, length: number): number;
  /** The reverse of `read`. */
  write(page: number, offset: number, source: Uint8Array, at: number, length: number): number;
  /**
   * The piece that has page `page`, its first page, and of how many it is; absent if the page is not there, or may go
   * without its buffer being detached.
   */
  piece(page: number): { readonly piece: Piece; readonly page: number; readonly pages: number } | undefined;
}

/** A 32-bit WebAssembly memory may grow to this. */
const WASM_PAGES = 2 ** 20;

/** A buffer and all its bytes. */
export class Piece implements MemoryPiece {
  readonly #buffer: ArrayBuffer | SharedArrayBuffer;
  readonly #byteLength: (this: unknown) => number;
  readonly #bytes: Uint8Array;
  /** Whether its length never changes, unless to nothing. */
  readonly fixed: boolean;

  constructor(buffer: ArrayBuffer | SharedArrayBuffer, { byteLength, resizable }: BufferKind) {
    this.#buffer = buffer;
    this.#byteLength = byteLength;
    this.#bytes = new Uint8Array(buffer);
    this.fixed = resizable?.call(buffer) !== true;
  }

  /**
   * Length in bytes, of whole pages; 0 once the buffer is detached.
   *
   * The buffer is asked, not the array: optimised code of V8 11.3 that has seen resizable buffers takes a detached one
   * for as long as it was.
   */
  get length(): number {
    const byteLength = this.#byteLength.call(this.#buffer);
    return byteLength - (byteLength & PAGE_MASK);
  }

  /** As `subarray`, but quicker: that asks for the class of its result. */
  view(first: number, length: number): Uint8Array {
    return new Uint8Array(this.#buffer, first, length);
  }

  /** @throws TypeError if the buffer is detached, with nothing copied */
  read(first: number, target: Uint8Array, at: number, length: number): void {
    setBytes(target, this.view(first, length), at);
  }

  /** @throws TypeError if the buffer is detached, with nothing copied */
  write(first: number, source: Uint8Array, at: number, length: number): void {
    setBytes(this.#bytes, length === byteCount(source) ? source : viewOf(source, at, length), first);
  }
}

function newPiece(bytes: number): Piece {
  const buffer = new ArrayBuffer(bytes);
  return new Piece(buffer, bufferKind(buffer)!);
}

const NOTHING = newPiece(0);

/** The content of a buffer. */
export class BufferContent implements PageContent {
  readonly sparse = false;
  readonly capacity: number;
  readonly #source: WebAssemblyMemory;
  /** The buffer as it was when bytes were last asked for that were not there. */
  #piece = NOTHING;

  /** @throws TypeError (`ERR_INVALID_ARG_TYPE`) if `source` is none of the kinds of `MemorySource` */
  constructor(source: MemorySource) {
    if (isBuffer(source)) {
      const { byteLength, maxByteLength = byteLength } = bufferKind(source)!;
      this.#source = { buffer: source };
      this.capacity = wholePages(maxByteLength.call(source));
    } else {
      this.#source = source;
      this.capacity = Math.max(WASM_PAGES, wholePages(memoryLength(source)));
    }
  }

  get shared(): SharedArrayBuffer | undefined {
    const { buffer } = this.#source;
    return isSharedBuffer(buffer) ? buffer : undefined;
  }

  present(page: number, count: number): number {
    const pages = wholePages(this.#reach((page + count) * PAGE_SIZE));
    return Math.max(0, Math.min(count, pages - page));
  }

  view(page: number, offset: number, length: number): Uint8Array {
    return this.#piece.view(page * PAGE_SIZE + offset, length);
  }

  read(page: number, offset: number, target: Uint8Array, at: number, length: number): number {
    const first = page * PAGE_SIZE + offset;
    const there = Math.min(length, this.#reach(first + length) - first);
    if (there <= 0) return 0;
    this.#piece.read(first, target, at, there);
    return there;
  }

  write(page: number, offset: number, source: Uint8Array, at: number, length: number): number {
    const first = page * PAGE_SIZE + offset;
    const there = Math.min(length, this.#reach(first + length) - first);
    if (there <= 0) return 0;
    this.#piece.write(first, source, at, there);
    return there;
  }

  piece(page: number) {
    if (this.present(page, 1) === 0 || !this.#piece.fixed) return undefined;
    return { piece: this.#piece, page: 0, pages: this.capacity };
  }

  /** Bytes that are there now. Where `wanted` are not, it was looked whether there is another, longer buffer. */
  #reach(wanted: number): number {
    if (this.#piece.length < wanted) {
      const { buffer } = this.#source;
      const kind = bufferKind(buffer);
      this.#piece =
        kind === undefined || kind.byteLength.call(buffer) === 0 ? NOTHING : new Piece(buffer, kind);
    }
    return this.#piece.length;
  }
}

const PIECE_PAGES = 512;
const PIECE_SIZE = PIECE_PAGES * PAGE_SIZE;
/** What untouched memory reads as. Nothing ever writes it. */
const ZEROES = newPiece(PIECE_SIZE);

/** Zeroes until touched; 2 MiB of content are made at the first touch of any of their bytes. */
export class SparseContent implements PageContent {
  readonly sparse = true;
  readonly shared = undefined;
  readonly capacity: number;
  readonly #pieces = new Map<number, Piece>();
  /** The piece that was asked for last, of those that there are. */
  #lastNumber = -1;
  #last = ZEROES;

  constructor(pages: number) {
    this.capacity = pages;
  }

  present(_page: number, count: number): number {
    return count;
  }

  view(page: number, offset: number, length: number): Uint8Array {
    const number = Math.floor(page / PIECE_PAGES);
    const first = (page - number * PIECE_PAGES) * PAGE_SIZE + offset;
    return this.#touch(number).view(first, Math.min(length, PIECE_SIZE - first));
  }

  read(page: number, offset: number, target: Uint8Array, at: number, length: number): number {
    const number = Math.floor(page / PIECE_PAGES);
    const first = (page - number * PIECE_PAGES) * PAGE_SIZE + offset;
    const there = Math.min(length, PIECE_SIZE - first);
    (this.#piece(number) ?? ZEROES).read(first, target, at, there);
    return there;
  }

  write(page: number, offset: number, source: Uint8Array, at: number, length: number): number {
    const number = Math.floor(page / PIECE_PAGES);
    const first = (page - number * PIECE_PAGES) * PAGE_SIZE + offset;
    const there = Math.min(length, PIECE_SIZE - first);
    this.#touch(number).write(first, source, at, there);
    return there;
  }

  piece(page: number) {
    const number = Math.floor(page / PIECE_PAGES);
    const piece = this.#piece(number);
    return piece && { piece, page: number * PIECE_PAGES, pages: PIECE_PAGES };
  }

  #piece(number: number): Piece | undefined {
    if (number === this.#lastNumber) return this.#last;
    const piece = this.#pieces.get(number);
    if (piece === undefined) return undefined;
    this.#lastNumber = number;
    this.#last = piece;
    return piece;
  }

  #touch(number: number): Piece {
    const there = this.#piece(number);
    if (there !== undefined) return there;
    const piece = newPiece(PIECE_SIZE);
    this.#pieces.set(number, piece);
    return piece;
  }
}

/** Pages that are not there: those of a mapping that reaches beyond the end of its file. */
export class MissingContent implements PageContent {
  readonly sparse = false;
  readonly shared = undefined;
  readonly capacity: number;

  constructor(pages: number) {
    this.capacity = pages;
  }

  present(): number {
    return 0;
  }

  view(): Uint8Array {
    return NOTHING.view(0, 0);
  }

  read(): number {
    return 0;
  }

  write(): number {
    return 0;
  }

  piece(): undefined {
    return undefined;
  }
}

/**
 * Zeroed content of a buffer of its own.
 *
 * @throws IommuError ENOMEM if there is no buffer of that length
 */
export function newContent(pages: number): PageContent {
  try {
    return new BufferContent(new ArrayBuffer(pages * PAGE_SIZE));
  } catch {
    throw refuse(
      'ENOMEM',
      'state',
      `no buffer of ${pages} pages can be allocated; a sparse region needs none`,
    );
  }
}

function isSharedBuffer(buffer: ArrayBuffer | SharedArrayBuffer): buffer is SharedArrayBuffer {
  return bufferKind(buffer)?.shared === true;
}

function wholePages(bytes: number): number {
  return Math.floor(bytes / PAGE_SIZE);
}

/** Length of a memory now. By name, since a memory from another realm (a test runner's, for one) is of another class. */
function memoryLength(source: WebAssemblyMemory): number {
  if (Object.prototype.toString.call(source) === '[object WebAssembly.Memory]') {
    const { buffer } = source;
    const kind = bufferKind(buffer);
    if (kind !== undefined) return kind.byteLength.call(buffer);
  }
  throw invalidType(source, 'buffer', 'an ArrayBuffer, a SharedArrayBuffer or a WebAssembly.Memory');
}
