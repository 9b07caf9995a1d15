/**
 * What is in the pages of a piece of memory: a buffer of the caller's, or content that appears where it is touched.
 */
import { refuse } from '../errors.js';
import { invalidType, PAGE_SIZE } from '../u64.js';

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
  /** As `view`, for reading at once: untouched memory stays untouched. */
  peek(page: number, offset: number, length: number): Uint8Array;
}

/** A 32-bit WebAssembly memory may grow to this. */
const WASM_PAGES = 2 ** 20;

const SHARED = '[object SharedArrayBuffer]';

/** The content of a buffer. */
export class BufferContent implements PageContent {
  readonly sparse = false;
  readonly capacity: number;
  readonly #memory: WebAssemblyMemory | undefined;
  #buffer: ArrayBuffer | SharedArrayBuffer;

  /** @throws TypeError (`ERR_INVALID_ARG_TYPE`) if `source` is none of the kinds of `MemorySource` */
  constructor(source: MemorySource) {
    if (isMemory(source)) {
      this.#memory = source;
      this.#buffer = source.buffer;
      this.capacity = Math.max(WASM_PAGES, wholePages(this.#buffer.byteLength));
    } else {
      this.#memory = undefined;
      this.#buffer = source;
      this.capacity = wholePages(maxByteLength(source));
    }
  }

  get shared(): SharedArrayBuffer | undefined {
    const buffer = this.#memory?.buffer ?? this.#buffer;
    return isSharedBuffer(buffer) ? buffer : undefined;
  }

  present(page: number, count: number): number {
    let pages = wholePages(this.#buffer.byteLength) - page;
    if (pages < count && this.#memory !== undefined) {
      this.#buffer = this.#memory.buffer;
      pages = wholePages(this.#buffer.byteLength) - page;
    }
    return Math.max(0, Math.min(pages, count));
  }

  view(page: number, offset: number, length: number): Uint8Array {
    return new Uint8Array(this.#buffer, page * PAGE_SIZE + offset, length);
  }

  peek(page: number, offset: number, length: number): Uint8Array {
    return this.view(page, offset, length);
  }
}

const PIECE_PAGES = 512;
const PIECE_SIZE = PIECE_PAGES * PAGE_SIZE;
/** What untouched memory reads as. Nothing ever writes it. */
const zeroes = new ArrayBuffer(PIECE_SIZE);

/** Zeroes until touched; 2 MiB of content are made at the first touch of any of their bytes. */
export class SparseContent implements PageContent {
  readonly sparse = true;
  readonly shared = undefined;
  readonly capacity: number;
  readonly #pieces = new Map<number, ArrayBuffer>();

  constructor(pages: number) {
    this.capacity = pages;
  }

  present(_page: number, count: number): number {
    return count;
  }

  view(page: number, offset: number, length: number): Uint8Array {
    const number = Math.floor(page / PIECE_PAGES);
    let piece = this.#pieces.get(number);
    if (piece === undefined) {
      piece = new ArrayBuffer(PIECE_SIZE);
      this.#pieces.set(number, piece);
    }
    return part(piece, page - number * PIECE_PAGES, offset, length);
  }

  peek(page: number, offset: number, length: number): Uint8Array {
    const number = Math.floor(page / PIECE_PAGES);
    return part(this.#pieces.get(number) ?? zeroes, page - number * PIECE_PAGES, offset, length);
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

function part(piece: ArrayBuffer, page: number, offset: number, length: number): Uint8Array {
  const at = page * PAGE_SIZE + offset;
  return new Uint8Array(piece, at, Math.min(length, PIECE_SIZE - at));
}

function isSharedBuffer(buffer: ArrayBuffer | SharedArrayBuffer): buffer is SharedArrayBuffer {
  return Object.prototype.toString.call(buffer) === SHARED;
}

function wholePages(bytes: number): number {
  return Math.floor(bytes / PAGE_SIZE);
}

function maxByteLength(buffer: { readonly byteLength: number; readonly maxByteLength?: number }): number {
  return buffer.maxByteLength ?? buffer.byteLength;
}

/** By name, since buffers from another realm (a test runner's, for one) are instances of other classes. */
function isMemory(source: MemorySource): source is WebAssemblyMemory {
  const kind = Object.prototype.toString.call(source);
  if (kind === '[object WebAssembly.Memory]') return true;
  if (kind === '[object ArrayBuffer]' || kind === SHARED) return false;
  throw invalidType('buffer', 'an ArrayBuffer, a SharedArrayBuffer or a WebAssembly.Memory', source);
}
