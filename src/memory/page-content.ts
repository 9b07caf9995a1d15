/**
 * What is in the pages of a piece of memory: a buffer of the caller's, or content that appears where it is touched.
 */
import { refuse } from '../errors.js';
import { invalidType, PAGE_MASK, PAGE_SIZE } from '../u64.js';

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

const SHARED = '[object SharedArrayBuffer]';

/** A buffer and all its bytes. */
export class Piece {
  readonly #buffer: ArrayBuffer | SharedArrayBuffer;
  readonly #bytes: Uint8Array;

  constructor(buffer: ArrayBuffer | SharedArrayBuffer) {
    this.#buffer = buffer;
    this.#bytes = new Uint8Array(buffer);
  }

  /**
   * Length in bytes, of whole pages; 0 once the buffer is detached.
   *
   * The buffer is asked, not the array: optimised code of V8 11.3 that has seen resizable buffers takes a detached one
   * for as long as it was.
   */
  get length(): number {
    const { byteLength } = this.#buffer;
    return byteLength - (byteLength & PAGE_MASK);
  }

  /** Whether its length never changes, unless to nothing. */
  get fixed(): boolean {
    return !isResizable(this.#buffer);
  }

  /** As `subarray`, but quicker: that asks for the class of its result. */
  view(first: number, length: number): Uint8Array {
    return new Uint8Array(this.#buffer, first, length);
  }

  /** @throws TypeError if the buffer is detached, with nothing copied */
  read(first: number, target: Uint8Array, at: number, length: number): void {
    target.set(this.view(first, length), at);
  }

  /** @throws TypeError if the buffer is detached, with nothing copied */
  write(first: number, source: Uint8Array, at: number, length: number): void {
    this.#bytes.set(length === source.length ? source : source.subarray(at, at + length), first);
  }
}

const NOTHING = new Piece(new ArrayBuffer(0));

/** The content of a buffer. */
export class BufferContent implements PageContent {
  readonly sparse = false;
  readonly capacity: number;
  readonly #source: WebAssemblyMemory;
  /** The buffer as it was when bytes were last asked for that were not there. */
  #piece = NOTHING;

  /** @throws TypeError (`ERR_INVALID_ARG_TYPE`) if `source` is none of the kinds of `MemorySource` */
  constructor(source: MemorySource) {
    if (isMemory(source)) {
      this.#source = source;
      this.capacity = Math.max(WASM_PAGES, wholePages(source.buffer.byteLength));
    } else {
      this.#source = { buffer: source };
      this.capacity = wholePages(maxByteLength(source));
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
      this.#piece = buffer.byteLength === 0 ? NOTHING : new Piece(buffer);
    }
    return this.#piece.length;
  }
}

const PIECE_PAGES = 512;
const PIECE_SIZE = PIECE_PAGES * PAGE_SIZE;
/** What untouched memory reads as. Nothing ever writes it. */
const ZEROES = new Piece(new ArrayBuffer(PIECE_SIZE));

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
    const piece = new Piece(new ArrayBuffer(PIECE_SIZE));
    this.#pieces.set(number, piece);
    return piece;
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
  return Object.prototype.toString.call(buffer) === SHARED;
}

function wholePages(bytes: number): number {
  return Math.floor(bytes / PAGE_SIZE);
}

/** Properties that the language has had since 2024 only. */
interface Resizable {
  readonly byteLength: number;
  readonly maxByteLength?: number;
  readonly resizable?: boolean;
  readonly growable?: boolean;
}

function isResizable({ resizable, growable }: Resizable): boolean {
  return resizable === true || growable === true;
}

function maxByteLength({ byteLength, maxByteLength }: Resizable): number {
  return maxByteLength ?? byteLength;
}

/** By name, since buffers from another realm (a test runner's, for one) are instances of other classes. */
function isMemory(source: MemorySource): source is WebAssemblyMemory {
  const kind = Object.prototype.toString.call(source);
  if (kind === '[object WebAssembly.Memory]') return true;
  if (kind === '[object ArrayBuffer]' || kind === SHARED) return false;
  throw invalidType('buffer', 'an ArrayBuffer, a SharedArrayBuffer or a WebAssembly.Memory', source);
}
