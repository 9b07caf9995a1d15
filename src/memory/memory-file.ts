/**
 * Files in memory, as `memfd_create` makes them.
 */
import { checkBoolean, checkInteger, checkObject, checkWord, invalidType, readU64 } from '../arguments.js';
import { refuse } from '../errors.js';
import { type Address, compare, join, PAGE_SIZE, type U64Input } from '../u64.js';
import { byteCount, checkBytes } from './bytes.js';
import { FilePages } from './file-pages.js';
import { FrameRuns } from './frame-runs.js';
import { BufferContent } from './page-content.js';
import { PhysicalMemory } from './physical-memory.js';
import type { UserFile } from './user-file.js';
import type { PinRecord } from './user-memory.js';

/**
 * What kind of file it is. Pages of a `memfd`, of a file in `tmpfs` and of `hugetlb` (huge pages of 2 MiB) can be pinned
 * by file; those of a file on a `disk` can only be mapped into processes; a `device` (such as /dev/null) and a
 * `directory` have none.
 */
export type FileKind = 'memfd' | 'tmpfs' | 'hugetlb' | 'disk' | 'device' | 'directory';

/** What can be forbidden for good: F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE. */
export type FileSeal = 'seal' | 'shrink' | 'grow' | 'write';

/** How a file is made. */
export interface MemoryFileOptions {
  /** Length in bytes. Absent: that of the buffer, or 0. */
  readonly size?: U64Input | undefined;
  /** The machine that it is on. Absent: one of its own. */
  readonly physical?: PhysicalMemory | undefined;
  /** What kind of file it is. Default `'memfd'`. */
  readonly kind?: FileKind | undefined;
  /**
   * The bytes of its first pages, whole ones. What the file grows by is there, too, as far as it reaches, unless
   * it was cut off before: that is new memory. Absent: new, zeroed memory.
   */
  readonly buffer?: ArrayBuffer | SharedArrayBuffer | undefined;
  /** What is forbidden from the start. */
  readonly seals?: readonly FileSeal[] | undefined;
  /** Whether the descriptor was opened for writing. Default true. */
  readonly writable?: boolean | undefined;
  /** Whether neighbouring pages have consecutive frames (the default) or never have. In huge pages they always have. */
  readonly frames?: 'contiguous' | 'scattered' | undefined;
}

const KINDS: readonly FileKind[] = ['memfd', 'tmpfs', 'hugetlb', 'disk', 'device', 'directory'];
const SEALS: readonly FileSeal[] = ['seal', 'shrink', 'grow', 'write'];
const HUGE_PAGE = 2 ** 9;
/** Page number of 2^63, where files end. */
const PAST_LAST_PAGE = 2 ** 51;

/** What all descriptors of a file have in common. */
interface Inode {
  readonly kind: FileKind;
  readonly pages: FilePages;
  readonly seals: Set<FileSeal>;
}

/**
 * A file in memory, and a descriptor of it. Processes map it (`ProcessMemory.mmap`), page tables map it by file
 * (`IoPagetable.map`): the same page is the same frame, with the pins of both.
 */
export class MemoryFile implements UserFile {
  /** Whether this descriptor was opened for writing. Pins of its pages do not care. */
  readonly writable: boolean;
  readonly #inode: Inode;

  /**
   * @throws TypeError or RangeError if an option is of the wrong type; IommuError EINVAL if the size is 2^63 or more, the
   * buffer is too short for it, or not whole huge pages for `hugetlb`; ENOMEM if there is no room for it
   */
  constructor(options: MemoryFileOptions = {}) {
    checkObject(options, 'options');
    const { writable = true } = options;
    checkBoolean(writable, 'writable');
    this.writable = writable;
    this.#inode = options instanceof Reopened ? options.inode : newInode(options);
  }

  /** The machine that it is on. */
  get physical(): PhysicalMemory {
    return this.#inode.pages.physical;
  }

  /** What kind of file it is. */
  get kind(): FileKind {
    return this.#inode.kind;
  }

  /** Length in bytes. */
  get size(): bigint {
    const { page, offset } = this.#inode.pages.size;
    return join(page, offset);
  }

  /** What is forbidden for good. */
  get seals(): readonly FileSeal[] {
    return SEALS.filter((seal) => this.#inode.seals.has(seal));
  }

  /** @internal */
  get pages(): FilePages {
    return this.#inode.pages;
  }

  /** Whether mappings of this descriptor can be written. @internal */
  get mayWrite(): boolean {
    return this.writable && !this.#inode.seals.has('write');
  }

  /** Another descriptor of the same file. @throws TypeError if `writable` is no boolean */
  reopen(options: { readonly writable?: boolean | undefined } = {}): MemoryFile {
    checkObject(options, 'options');
    return new MemoryFile(new Reopened(this.#inode, options.writable));
  }

  /**
   * Forbids things for good (F_ADD_SEALS). `write` does not keep page tables from writing: the kernel does not check it.
   *
   * @throws TypeError if one is no seal; IommuError EPERM if adding seals is forbidden, or the descriptor cannot write;
   * EINVAL if the file is neither a `memfd` nor `hugetlb`; EBUSY for `write` while a process has it mapped writable
   */
  addSeals(...seals: FileSeal[]): void {
    for (const seal of seals) checkWord(seal, 'seals', SEALS);
    const { kind, pages, seals: there } = this.#inode;
    if (kind !== 'memfd' && kind !== 'hugetlb')
      throw refuse('EINVAL', 'argument', `a ${kind} file has no seals`);
    if (!this.writable || there.has('seal')) throw refuse('EPERM', 'state', 'no more seals can be added');
    if (seals.includes('write') && pages.mappedWritable) {
      throw refuse('EBUSY', 'state', 'a process has the file mapped and may write it');
    }
    for (const seal of seals) there.add(seal);
  }

  /**
   * Changes the length (`ftruncate`). Pages that are cut off are gone from the file and from all processes; where they are
   * pinned they stay what they are, for those who have them pinned. The rest of the last page is cleared. Pages that
   * are new are zero, and others than those that were cut off.
   *
   * @throws TypeError or RangeError if `size` is not a 64-bit number; IommuError EINVAL if the descriptor cannot write, the file has no
   * pages, or the size is 2^63 or more, or for `hugetlb` no multiple of 2 MiB; EPERM if that is sealed; ENOMEM if there
   * is no room for it. Nothing has changed then.
   */
  truncate(size: U64Input): void {
    const to = readU64(size, 'size');
    const { kind, pages, seals } = this.#inode;
    if (!this.writable) throw refuse('EINVAL', 'argument', 'the descriptor is not open for writing');
    if (kind === 'device' || kind === 'directory')
      throw refuse('EINVAL', 'argument', `a ${kind} has no length`);
    checkSize(kind, to);
    const change = compare(to, pages.size);
    if ((change < 0 && seals.has('shrink')) || (change > 0 && seals.has('grow'))) {
      throw refuse('EPERM', 'state', `the file is sealed against ${change < 0 ? 'shrinking' : 'growing'}`);
    }
    pages.resize(to);
  }

  /**
   * A copy of bytes of the file (`pread`): those from `offset` on, as many as there are up to `length`.
   *
   * @throws TypeError or RangeError if an argument is not a 64-bit number; IommuError EFAULT if a buffer is gone
   */
  read(offset: U64Input, length: U64Input): Uint8Array {
    const from = readU64(offset, 'offset');
    const most = readU64(length, 'length');
    const { pages } = this.#inode;
    const left = bytesBetween(from, pages.size);
    const bytes = new Uint8Array(Math.min(left, most.page * PAGE_SIZE + most.offset));
    pages.read(from.page, from.offset, bytes);
    return bytes;
  }

  /**
   * Writes bytes of the file (`pwrite`), all of which are inside of its size.
   *
   * @throws TypeError or RangeError if an argument is of the wrong type; IommuError EINVAL if the descriptor cannot write or a byte is
   * beyond the end, EPERM if the file is sealed against it, EFAULT if a buffer is gone
   */
  write(offset: U64Input, bytes: Uint8Array): void {
    const from = readU64(offset, 'offset');
    checkBytes(bytes, 'bytes');
    const { pages, seals } = this.#inode;
    if (!this.writable) throw refuse('EINVAL', 'argument', 'the descriptor is not open for writing');
    if (seals.has('write')) throw refuse('EPERM', 'state', 'the file is sealed against writing');
    if (byteCount(bytes) > bytesBetween(from, pages.size)) {
      throw refuse('EINVAL', 'argument', 'the bytes reach beyond the end of the file');
    }
    pages.write(from.page, from.offset, bytes);
  }

  /** The frame of page `page` of the file; `undefined` if it is not in the file, or nothing maps or pins its memory. */
  frameAt(page: number): number | undefined {
    checkInteger(page, 'page', 0, PAST_LAST_PAGE);
    const { pages } = this.#inode;
    return page < pages.pages ? pages.frameAt(page) : undefined;
  }

  /** How often page `page` of the file is pinned, by whomever; `undefined` if it is not in the file. */
  pinsAt(page: number): number | undefined {
    checkInteger(page, 'page', 0, PAST_LAST_PAGE);
    if (page >= this.#inode.pages.pages) return undefined;
    const pfn = this.frameAt(page);
    return pfn === undefined ? 0 : this.physical.pins(pfn);
  }

  /**
   * Pins pages of the file: `UserFile.pin`. All of them, or none.
   *
   * @throws IommuError EINVAL if the last byte of one of them is beyond the end of the file, or the kind of the file has no
   * pages that can be pinned; TypeError or RangeError if an argument is not as declared
   */
  pin(page: number, count: number, into: FrameRuns): number {
    checkInteger(page, 'page', 0, PAST_LAST_PAGE);
    checkInteger(count, 'count', 1, PAST_LAST_PAGE);
    if (!(into instanceof FrameRuns)) throw invalidType(into, 'into', 'a FrameRuns');
    const { kind, pages } = this.#inode;
    if (kind !== 'memfd' && kind !== 'tmpfs' && kind !== 'hugetlb') {
      throw refuse('EINVAL', 'fault', `pages of a ${kind} cannot be pinned by file`);
    }
    if (page + count > pages.size.page) {
      const past = `the last byte of page ${Math.max(page, pages.size.page)} is beyond the end of the file`;
      throw refuse('EINVAL', 'fault', past);
    }
    pages.pin(page, count, into);
    return count;
  }

  /** Takes back one pin of each of `count` consecutive frames: `UserFile.unpin`. @throws as `ProcessMemory.unpin` */
  unpin(pfn: number, count: number): void {
    this.physical.unpin(pfn, count);
  }

  /** As `unpin` of each run of a list: `UserFile.unpinAll`. @throws TypeError if it is no list of frames */
  unpinAll(frames: FrameRuns): void {
    if (!(frames instanceof FrameRuns)) throw invalidType(frames, 'frames', 'a FrameRuns');
    // A file made from this one may have an `unpin` of its own.
    if (this.unpin === MemoryFile.prototype.unpin) this.physical.unpinAll(frames);
    else for (let run = 0; run < frames.runs; run++) this.unpin(frames.pfnOf(run), frames.countOf(run));
  }

  /** The bytes of pinned frames: `UserFile.frames`. @throws IommuError EFAULT if the buffer was detached or shrunk */
  frames(pfn: number, count: number): Uint8Array {
    return this.physical.frames(pfn, count);
  }

  /** The pins of the machine: `UserFile.pinRecord`. A class that pins in its own way has none. */
  get pinRecord(): PinRecord | undefined {
    return this.pin === MemoryFile.prototype.pin ? this.physical : undefined;
  }
}

/** Options of another descriptor. */
class Reopened implements MemoryFileOptions {
  readonly inode: Inode;
  readonly writable: boolean | undefined;

  constructor(inode: Inode, writable: boolean | undefined) {
    this.inode = inode;
    this.writable = writable;
  }
}

function newInode(options: MemoryFileOptions): Inode {
  const {
    physical = new PhysicalMemory(),
    kind = 'memfd',
    buffer,
    seals = [],
    frames = 'contiguous',
  } = options;
  if (!(physical instanceof PhysicalMemory)) throw invalidType(physical, 'physical', 'a PhysicalMemory');
  checkWord(kind, 'kind', KINDS);
  checkWord(frames, 'frames', ['contiguous', 'scattered']);
  if (!Array.isArray(seals)) throw invalidType(seals, 'seals', 'an array');
  const sealed = new Set(seals);
  for (const seal of sealed) checkWord(seal, 'seals', SEALS);
  const content = buffer === undefined ? undefined : new BufferContent(buffer);
  const size = readU64(options.size ?? buffer?.byteLength ?? 0, 'size');
  checkSize(kind, size);
  const room = content?.capacity ?? Number.POSITIVE_INFINITY;
  if (size.page + (size.offset > 0 ? 1 : 0) > room) {
    throw refuse('EINVAL', 'argument', `the buffer has ${room} whole pages, which is too few for the file`);
  }
  const huge = kind === 'hugetlb';
  const order = { scattered: frames === 'scattered' && !huge, huge };
  const first = content && buffer && { content, source: buffer };
  return { kind, pages: new FilePages(physical, size, order, first), seals: sealed };
}

function checkSize(kind: FileKind, size: Address): void {
  if (size.page >= PAST_LAST_PAGE) throw refuse('EINVAL', 'argument', 'a file has fewer than 2^63 bytes');
  if (kind === 'hugetlb' && (size.offset !== 0 || size.page % HUGE_PAGE !== 0)) {
    throw refuse('EINVAL', 'argument', 'the size of a file of huge pages is a multiple of 2 MiB');
  }
}

/** Bytes from one address to before another; 0 if that is not above. */
function bytesBetween(from: Address, to: Address): number {
  return Math.max(0, (to.page - from.page) * PAGE_SIZE + to.offset - from.offset);
}
