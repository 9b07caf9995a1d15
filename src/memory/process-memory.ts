/**
 * The address space of a process, over array buffers and WebAssembly memory.
 */
import { checkInteger, checkObject, invalidType, readU64 } from '../arguments.js';
import { type ErrorCode, IommuError, refuse } from '../errors.js';
import { IntervalTree, type TreeNode } from '../interval-tree.js';
import { holesFor } from '../spans.js';
import {
  type Address,
  hex,
  type Interval,
  isZero,
  join,
  LAST_PAGE,
  PAGE_MASK,
  PAGE_SIZE,
  type U64Input,
} from '../u64.js';
import { byteCount, checkBytes } from './bytes.js';
import type { FileMapper, FilePages, FilePlace } from './file-pages.js';
import { FrameRuns } from './frame-runs.js';
import { LockedMemory } from './locked-memory.js';
import { MemoryFile } from './memory-file.js';
import { type FileView, type MemoryRegion, Region } from './memory-region.js';
import type { MemoryWindow } from './memory-window.js';
import {
  BufferContent,
  type MemorySource,
  MissingContent,
  newContent,
  SparseContent,
} from './page-content.js';
import { Backing, PhysicalMemory } from './physical-memory.js';
import { ScatteredOrder } from './scattered-order.js';
import type { SharedMemoryHandle, SharedRange } from './shared-frames.js';
import type { PinRecord, UserMemory } from './user-memory.js';

/** What `new ProcessMemory()` can be told. */
export interface ProcessMemoryOptions {
  /** Bytes that may be locked (RLIMIT_MEMLOCK), rounded down to whole pages. Absent: no limit (CAP_IPC_LOCK). */
  readonly lockedLimit?: U64Input | undefined;
  /** The machine the process runs on. Absent: one of its own. */
  readonly physical?: PhysicalMemory | undefined;
}

/** What `ProcessMemory.mmap` maps, and where. */
export interface MmapOptions {
  /** Length in bytes, rounded up to whole pages. */
  readonly length: U64Input;
  /** User address, a multiple of 4096. Absent: chosen. */
  readonly uptr?: U64Input | undefined;
  /** The memory to show. Absent: new, zeroed memory. */
  readonly buffer?: MemorySource | undefined;
  /** Byte of the buffer that comes first, a multiple of 4096. Default 0. */
  readonly bufferOffset?: U64Input | undefined;
  /** The file to show, instead of a buffer. What lies beyond its end cannot be touched until it grows. */
  readonly file?: MemoryFile | undefined;
  /** Byte of the file that comes first, a multiple of 4096. Default 0. */
  readonly offset?: U64Input | undefined;
  /** Whether the process may write it. Default true. */
  readonly writable?: boolean | undefined;
  /** Whether neighbouring pages have consecutive frames (the default) or never have. A file has its own. */
  readonly frames?: 'contiguous' | 'scattered' | undefined;
  /** For new memory: make its content 2 MiB at a time, when it is touched. Any length then costs nothing. */
  readonly sparse?: boolean | undefined;
}

/** Pages that the kernel pins in one go. */
const PIN_CHUNK = 8192;
const HUGE_PAGE = 2 ** 9;
const GIGANTIC_PAGE = 2 ** 18;
/** Chosen addresses lie in 0x10000 … 0x7ffeffffffff, between the first pages and the stack of a Linux process. */
const FIRST_CHOICE = 0x10;
const LAST_CHOICE = 0x7_ffef_ffff;

/**
 * The memory of a process: regions of its address space that show buffers.
 *
 * - The same buffer mapped twice, in one process or in several on the same `PhysicalMemory`, is the same memory:
 *   the same frames with one pin count. Pass a `WebAssembly.Memory` itself, not its `buffer`: it gets another
 *   buffer whenever it grows.
 * - Buffers are looked at live. What a resizable buffer has not (yet, or any more) and all of a detached one is
 *   memory that cannot be touched: EFAULT.
 * - A file that is mapped twice is the same memory, too, also for those who map it by file. It is looked at live.
 * - Frames are made out once for a buffer. In new memory, or a buffer, of at least 2 MiB (1 GiB) contiguous frames
 *   are placed so that 2 MiB (1 GiB) boundaries of the first mapping's user addresses are also boundaries of
 *   physical addresses, as transparent huge pages and hugetlbfs do: a domain can use huge pages there.
 */
export class ProcessMemory implements UserMemory {
  /** The machine the process runs on. */
  readonly physical: PhysicalMemory;
  #locked: { readonly user: LockedMemory; readonly mm: LockedMemory } | undefined;
  #exited = false;
  /** Disjoint, by mirrored addresses (see `mirrored`): the highest comes first. */
  readonly #regions = new IntervalTree<Region>();
  #lastHit: Region | undefined;
  #layout = { current: true };
  /** What files whose pages are shown here tell of their changes. */
  readonly #mapper: FileMapper = { fileChanged: (file, page) => this.#fileChanged(file, page) };

  /**
   * An empty address space.
   *
   * @throws TypeError or RangeError if `lockedLimit` is not a 64-bit number
   */
  constructor(options: ProcessMemoryOptions = {}) {
    checkObject(options, 'options');
    const { physical = new PhysicalMemory(), lockedLimit } = options;
    if (!(physical instanceof PhysicalMemory)) throw invalidType(physical, 'physical', 'a PhysicalMemory');
    this.physical = physical;
    if (lockedLimit !== undefined) {
      const pages = readU64(lockedLimit, 'lockedLimit').page;
      this.#locked = { user: new LockedMemory('user', pages), mm: new LockedMemory('process', pages) };
    }
  }

  /** The locked-memory counters; `undefined` without a limit. */
  get locked(): { readonly user: LockedMemory; readonly mm: LockedMemory } | undefined {
    return this.#locked;
  }

  /** `true` once `exit()` was called. */
  get exited(): boolean {
    return this.#exited;
  }

  /** What is mapped, by ascending address. A region of `mmap` may be in several parts by now. */
  get regions(): readonly MemoryRegion[] {
    return [...this.#regions].reverse();
  }

  /**
   * Maps memory.
   *
   * An address that is not given is chosen as Linux chooses: the highest place below the stack where it fits,
   * aligned to 4096, to 2 MiB from 2 MiB on, and to 1 GiB from 1 GiB on.
   *
   * A buffer that is mapped or pinned already, anywhere on the machine, keeps its frames, whatever `frames` says.
   * A buffer may be mapped up to its largest length (`maxByteLength`; 4 GiB for a `WebAssembly.Memory`).
   *
   * @returns the region as mapped; later changes do not show in it
   * @throws TypeError or RangeError if an option is of the wrong type; IommuError EINVAL if the length is 0, the
   * address or offset is not page aligned, the buffer is too short, the file is on another machine, or options contradict each other; EEXIST if
   * something is mapped there; ENOMEM if the range does not fit in 64 bits, no place is free, or no memory is left;
   * EFAULT if the process has exited; ENODEV if the file has no pages; and where it is to be writable, EACCES if the
   * file's descriptor is not, EPERM if the file is sealed against it
   */
  mmap(options: MmapOptions): MemoryRegion {
    checkObject(options, 'options');
    const { length, uptr: at, buffer, bufferOffset = 0, file, offset: fileOffset = 0 } = options;
    const { writable = true, sparse = false, frames = 'contiguous' } = options;
    const pages = roundUp(readU64(length, 'length'));
    const uptr = at === undefined ? undefined : readU64(at, 'uptr');
    const offset = readU64(bufferOffset, 'bufferOffset');
    const inFile = readU64(fileOffset, 'offset');
    requireBoolean('writable', writable);
    requireBoolean('sparse', sparse);
    if (frames !== 'contiguous' && frames !== 'scattered') {
      throw invalidType(frames, 'frames', "'contiguous' or 'scattered'");
    }
    if (this.#exited) throw gone();
    if (pages === 0) throw refuse('EINVAL', 'argument', 'the length of a region must not be 0');
    if (uptr !== undefined && uptr.offset !== 0) throw misplaced('EINVAL', uptr, 'is not a multiple of 4096');
    if (offset.offset !== 0) throw refuse('EINVAL', 'argument', 'bufferOffset must be a multiple of 4096');
    if (buffer === undefined && offset.page !== 0) {
      throw refuse('EINVAL', 'argument', 'bufferOffset is an offset in a buffer, but there is none');
    }
    if (buffer !== undefined && sparse) {
      throw refuse('EINVAL', 'argument', 'sparse is for new memory, but there is a buffer');
    }
    if (file !== undefined) {
      if (buffer !== undefined || sparse) {
        throw refuse(
          'EINVAL',
          'argument',
          'a file is mapped, but there is a buffer, or sparse is for new memory',
        );
      }
      this.#checkFile(file, inFile, pages, writable);
    } else if (!isZero(inFile)) {
      throw refuse('EINVAL', 'argument', 'offset is an offset in a file, but there is none');
    }
    const page = uptr === undefined ? this.#choose(pages) : this.#require(uptr, pages);
    if (file !== undefined) return this.#mapFile(file, inFile.page, page, pages, writable);
    const scattered = frames === 'scattered';
    const backing =
      buffer === undefined
        ? this.#newBacking(pages, sparse, scattered, page)
        : this.#backingOf(buffer, offset.page, pages, scattered, page);
    const region = new Region(page, page + pages - 1, writable, backing, offset.page, undefined);
    this.#replace([], [region]);
    return region;
  }

  #checkFile(file: MemoryFile, offset: Address, pages: number, writable: boolean): void {
    if (!(file instanceof MemoryFile)) throw invalidType(file, 'file', 'a MemoryFile');
    if (offset.offset !== 0) throw refuse('EINVAL', 'argument', 'offset must be a multiple of 4096');
    if (file.physical !== this.physical) throw refuse('EINVAL', 'argument', 'the file is on another machine');
    if (offset.page + pages > LAST_PAGE) {
      throw refuse('EOVERFLOW', 'overflow', 'the offset in the file plus the length is past 2^64');
    }
    if (file.kind === 'device' || file.kind === 'directory') {
      throw refuse('ENODEV', 'argument', `a ${file.kind} has no pages that can be mapped`);
    }
    if (!writable || file.mayWrite) return;
    if (!file.writable) throw refuse('EACCES', 'argument', 'the descriptor is not open for writing');
    throw refuse('EPERM', 'state', 'the file is sealed against writing');
  }

  #mapFile(file: MemoryFile, first: number, page: number, pages: number, writable: boolean): MemoryRegion {
    const view = { file: file.pages, page: first, mayWrite: file.mayWrite };
    const regions = fileRegions(page, page + pages - 1, writable, view);
    this.#replace([], regions);
    if (regions.length === 1) return regions[0]!;
    return { uptr: join(page, 0), length: join(pages, 0), writable, bytes: undefined };
  }

  #fileChanged(file: FilePages, page: number): void {
    const changed: TreeNode<Region>[] = [];
    const parts: Region[] = [];
    for (let node = this.#regions.head(); node !== undefined; node = this.#regions.next(node)) {
      const region = node.value;
      const { view } = region;
      if (view?.file !== file) continue;
      const from = Math.max(region.page, region.page + (page - view.page));
      if (from > region.lastPage) continue;
      changed.push(node);
      if (from > region.page) parts.push(region.part(region.page, from - 1));
      const rest = { ...view, page: view.page + (from - region.page) };
      parts.push(...fileRegions(from, region.lastPage, region.writable, rest));
    }
    this.#replace(changed, parts);
  }

  /** Checks that a fixed place is free and gives its first page. */
  #require(uptr: Address, pages: number): number {
    const lastPage = uptr.page + pages - 1;
    if (lastPage > LAST_PAGE) throw misplaced('ENOMEM', uptr, 'leaves no room for the region below 2^64');
    const inTheWay = this.#within(uptr.page, lastPage).at(-1)?.value;
    if (inTheWay !== undefined) {
      throw misplaced('EEXIST', { page: Math.max(inTheWay.page, uptr.page), offset: 0 }, 'is mapped already');
    }
    return uptr.page;
  }

  /** The highest free place. */
  #choose(pages: number): number {
    const alignment = pages >= GIGANTIC_PAGE ? GIGANTIC_PAGE : pages >= HUGE_PAGE ? HUGE_PAGE : 1;
    // Where the length is a multiple of the alignment, its mirror image begins at one, too.
    const aligned = pages % alignment === 0 ? alignment : 1;
    for (const hole of holesFor(this.#regions, CHOICES, { page: pages, offset: 0 }, aligned * PAGE_SIZE)) {
      const page = Math.floor((LAST_PAGE - hole.page + 1 - pages) / alignment) * alignment;
      if (page >= LAST_PAGE - hole.lastPage) return page;
    }
    throw refuse('ENOMEM', 'state', `no ${pages} pages in a row are free in the address space`);
  }

  #newBacking(pages: number, sparse: boolean, scattered: boolean, page: number): Backing {
    const content = sparse ? new SparseContent(pages) : newContent(pages);
    return this.physical.add(content, scattered ? new ScatteredOrder(pages) : undefined, undefined, 0, page);
  }

  #backingOf(buffer: MemorySource, first: number, pages: number, scattered: boolean, page: number): Backing {
    const known = this.physical.backingOf(buffer);
    const content = known?.content ?? new BufferContent(buffer);
    if (first + pages > content.capacity) {
      const detail = `the buffer has ${content.capacity} pages at most, not ${pages} from page ${first} on`;
      throw refuse('EINVAL', 'argument', detail);
    }
    if (known !== undefined) return known;
    const order = scattered ? new ScatteredOrder(content.capacity) : undefined;
    return this.physical.add(content, order, buffer, first, page);
  }

  /**
   * Unmaps all pages in a range, also parts of regions. Their frames stay what they are while they are pinned.
   *
   * @throws TypeError or RangeError if an argument is not a 64-bit number; IommuError EINVAL if `uptr` is not page
   * aligned, or `length` is 0 or reaches past 2^64. A range with nothing in it is fine.
   */
  munmap(uptr: U64Input, length: U64Input): void {
    const start = readU64(uptr, 'uptr');
    const pages = roundUp(readU64(length, 'length'));
    if (start.offset !== 0) throw misplaced('EINVAL', start, 'is not a multiple of 4096');
    const lastPage = start.page + pages - 1;
    if (pages === 0) throw refuse('EINVAL', 'argument', 'the length to unmap must not be 0');
    if (lastPage > LAST_PAGE) throw misplaced('EINVAL', start, 'plus the length to unmap is past 2^64');
    this.#cut(start.page, lastPage, () => []);
  }

  /**
   * Makes all pages of a range writable or read-only. Pins that are held stay as they are.
   *
   * @throws TypeError or RangeError if an argument is of the wrong type; IommuError EINVAL if `uptr` is not page
   * aligned; ENOMEM if a page of the range is not mapped; EACCES if one is to be writable of a file that was mapped where
   * that was not allowed. Nothing has changed then.
   */
  protect(uptr: U64Input, length: U64Input, writable: boolean): void {
    const start = readU64(uptr, 'uptr');
    const pages = roundUp(readU64(length, 'length'));
    requireBoolean('writable', writable);
    if (start.offset !== 0) throw misplaced('EINVAL', start, 'is not a multiple of 4096');
    const past = start.page + pages;
    if (past > LAST_PAGE + 1) throw misplaced('ENOMEM', start, 'plus the length to protect is past 2^64');
    for (let page = start.page; page < past; ) {
      const region = this.#find(page);
      if (region === undefined) throw misplaced('ENOMEM', { page, offset: 0 }, 'is not mapped');
      if (writable && region.view?.mayWrite === false) {
        throw misplaced('EACCES', { page, offset: 0 }, 'is of a file that may not be written');
      }
      page = region.lastPage + 1;
    }
    if (pages === 0) return;
    this.#cut(start.page, past - 1, (page, lastPage, region) => [region.part(page, lastPage, writable)]);
  }

  /**
   * Ends the process: everything is unmapped, nothing can be pinned or touched any more. Frames that are pinned
   * stay, and can be read and unpinned.
   */
  exit(): void {
    this.#exited = true;
    this.#replace(this.#within(0, LAST_PAGE), []);
  }

  /**
   * A child process: the same memory at the same addresses, with the same frames and the same pin counts, on the
   * same machine. It is charged to the same user, and has a process counter of its own with the same limit.
   *
   * All mappings are shared ones. That a private page becomes two at the first write is not modelled.
   *
   * @throws IommuError EFAULT if the process has exited
   */
  fork(): ProcessMemory {
    if (this.#exited) throw gone();
    const child = new ProcessMemory({ physical: this.physical });
    if (this.#locked !== undefined) {
      const { user, mm } = this.#locked;
      child.#locked = { user, mm: new LockedMemory('process', mm.limitPages) };
    }
    child.#replace([], [...this.#regions]);
    return child;
  }

  /**
   * What another thread needs to see those of the memory's frames that are in shared buffers (`SharedArrayBuffer`,
   * shared `WebAssembly.Memory`), with `SharedFrames.from`: to be sent to it.
   *
   * It says what is mapped now; after `mmap` and `munmap`, and after a `WebAssembly.Memory` has grown, another one is
   * needed. A growable buffer may grow.
   */
  share(): SharedMemoryHandle {
    const ranges = new Map<number, SharedRange>();
    for (const { backing } of this.#regions) {
      const { pfn, content, order } = backing;
      const buffer = content.shared;
      if (buffer === undefined) continue;
      ranges.set(pfn, { pfn, frames: content.capacity, scattered: order !== undefined, buffer });
    }
    return { ranges: [...ranges.values()].sort((a, b) => a.pfn - b.pfn) };
  }

  /**
   * How often the page at a user address is pinned, by whomever.
   *
   * @throws TypeError or RangeError if `uptr` is not a 64-bit number; IommuError EFAULT if there is no page
   */
  pins(uptr: U64Input): number {
    return this.physical.pins(this.frameOf(uptr));
  }

  /**
   * The frame number (pfn) of the page at a user address.
   *
   * @throws TypeError or RangeError if `uptr` is not a 64-bit number; IommuError EFAULT if there is no page
   */
  frameOf(uptr: U64Input): number {
    const { page } = readU64(uptr, 'uptr');
    const pfn = this.frameAt(page);
    if (pfn === undefined) throw this.#fault('EFAULT', page, false);
    return pfn;
  }

  /** As `pins`, by user page number; `undefined` if there is no page. */
  pinsAt(page: number): number | undefined {
    const pfn = this.frameAt(page);
    return pfn === undefined ? undefined : this.physical.pins(pfn);
  }

  /** Whether a user page is a part of a huge page, which only files of kind `hugetlb` have. */
  hugeAt(page: number): boolean {
    checkInteger(page, 'page', 0, LAST_PAGE);
    return this.#find(page)?.view?.file.huge === true;
  }

  /** As `frameOf`, by user page number; `undefined` if there is no page. */
  frameAt(page: number): number | undefined {
    checkInteger(page, 'page', 0, LAST_PAGE);
    const region = this.#find(page);
    if (region === undefined || region.present(page, 1) === 0) return undefined;
    return region.backing.frameOf(region.backingPage(page));
  }

  /**
   * A copy of `length` bytes of the process.
   *
   * @throws TypeError or RangeError if an argument is not a 64-bit number, or RangeError if no array is that long;
   * IommuError EFAULT if one of the bytes cannot be read
   */
  read(uptr: U64Input, length: U64Input): Uint8Array {
    const start = readU64(uptr, 'uptr');
    const size = readU64(length, 'length');
    this.#requireAccess(start, size, false);
    const bytes = new Uint8Array(size.page * PAGE_SIZE + size.offset);
    this.copyFromUser(start.page, start.offset, bytes, 0, bytes.length);
    return bytes;
  }

  /**
   * Writes bytes as the process itself would.
   *
   * @throws TypeError or RangeError if `uptr` is not a 64-bit number; IommuError EFAULT if one of the bytes cannot
   * be written, with nothing written
   */
  write(uptr: U64Input, bytes: Uint8Array): void {
    const start = readU64(uptr, 'uptr');
    checkBytes(bytes, 'bytes');
    const length = byteCount(bytes);
    this.#requireAccess(start, readU64(length, 'length'), true);
    this.copyToUser(start.page, start.offset, bytes, 0, length);
  }

  #requireAccess(start: Address, length: Address, write: boolean): void {
    if (isZero(length)) return;
    const pages =
      roundUp({ page: length.page, offset: 0 }) + Math.ceil((start.offset + length.offset) / PAGE_SIZE);
    const reach = this.#reach(start.page, pages, write);
    if (reach === pages) return;
    const page = start.page + reach;
    if (page > LAST_PAGE) throw misplaced('EFAULT', start, 'plus the length is past 2^64');
    throw this.#fault('EFAULT', page, write, reach === 0 ? start.offset : 0);
  }

  /** How many of `count` pages from `page` on can be touched. */
  #reach(page: number, count: number, write: boolean): number {
    let reach = 0;
    while (reach < count) {
      const region = this.#find(page + reach);
      if (region === undefined || (write && !region.writable)) break;
      const present = region.present(page + reach, count - reach);
      if (present === 0) break;
      reach += present;
    }
    return reach;
  }

  /**
   * Pins pages: `UserMemory.pin`. Gives all pages up to the first that cannot be pinned, across regions.
   *
   * @throws IommuError EFAULT if page `page` is not memory, is read-only where `write` is asked, or is the last
   * page of the address space, or if the process has exited. It is EOVERFLOW instead where the kernel's request
   * for this and the following pages, 8192 at most, would end at 2^64 exactly. TypeError or RangeError if an argument is
   * not as declared.
   */
  pin(page: number, count: number, write: boolean, into: FrameRuns): number {
    checkInteger(page, 'page', 0, LAST_PAGE);
    checkInteger(count, 'count', 1, LAST_PAGE + 1);
    requireBoolean('write', write);
    if (!(into instanceof FrameRuns)) throw invalidType(into, 'into', 'a FrameRuns');
    const past = Math.min(page + count, LAST_PAGE);
    let at = page;
    while (at < past) {
      const region = this.#find(at);
      if (region === undefined || (write && !region.writable)) break;
      const present = region.present(at, past - at);
      if (present === 0) break;
      this.physical.pin(region.backing, region.backingPage(at), present, into);
      at += present;
    }
    if (at > page) return at - page;
    const code = page + Math.min(PIN_CHUNK, count) === LAST_PAGE + 1 ? 'EOVERFLOW' : 'EFAULT';
    throw this.#fault(code, page, write);
  }

  /**
   * Takes back one pin of each of `count` consecutive frames: `UserMemory.unpin`. Any process may give back any
   * pin. Nothing here is ever written back to a disk, so whether a frame is dirty does not matter.
   *
   * @throws IommuError EINVAL if one of them is not pinned (a bug of the caller), TypeError or RangeError if an argument is
   * no number of frames; nothing is unpinned then
   */
  unpin(pfn: number, count: number): void {
    this.physical.unpin(pfn, count);
  }

  /** As `unpin` of each run of a list: `UserMemory.unpinAll`. @throws TypeError if it is no list of frames */
  unpinAll(frames: FrameRuns): void {
    if (!(frames instanceof FrameRuns)) throw invalidType(frames, 'frames', 'a FrameRuns');
    // A memory made from this one may have an `unpin` of its own.
    if (this.unpin === ProcessMemory.prototype.unpin) this.physical.unpinAll(frames);
    else for (let run = 0; run < frames.runs; run++) this.unpin(frames.pfnOf(run), frames.countOf(run));
  }

  /**
   * The bytes of pinned frames: `UserMemory.frames`. Growing a `WebAssembly.Memory` detaches such a view.
   *
   * @throws IommuError EFAULT if the buffer of the first frame was detached or shrunk
   */
  frames(pfn: number, count: number): Uint8Array {
    return this.physical.frames(pfn, count);
  }

  /** Reads as the process's own loads would: `UserMemory.copyFromUser`. */
  copyFromUser(
    page: number,
    offset: number,
    target: Uint8Array,
    targetOffset: number,
    length: number,
  ): number {
    return this.#copy(page, offset, target, targetOffset, length, false);
  }

  /** Writes as the process's own stores would: `UserMemory.copyToUser`. */
  copyToUser(page: number, offset: number, source: Uint8Array, sourceOffset: number, length: number): number {
    return this.#copy(page, offset, source, sourceOffset, length, true);
  }

  #copy(
    page: number,
    offset: number,
    buffer: Uint8Array,
    from: number,
    length: number,
    write: boolean,
  ): number {
    requireInside(buffer, from, length);
    requirePlace(page, offset);
    let done = 0;
    let at = page;
    let inPage = offset;
    while (done < length) {
      const region = this.#find(at);
      if (region === undefined || (write && !region.writable)) break;
      const copied = write
        ? region.write(at, inPage, buffer, from + done, length - done)
        : region.read(at, inPage, buffer, from + done, length - done);
      if (copied === 0) break;
      done += copied;
      const past = inPage + copied;
      at += Math.floor(past / PAGE_SIZE);
      inPage = past & PAGE_MASK;
    }
    return done;
  }

  /**
   * Where a user page and its neighbours are: `UserMemory.window`. There is none where nothing is mapped or was ever
   * touched, of a buffer that may shrink, and of a class that copies in its own way.
   */
  window(page: number): MemoryWindow | undefined {
    const { copyFromUser, copyToUser } = ProcessMemory.prototype;
    if (this.copyFromUser !== copyFromUser || this.copyToUser !== copyToUser) return undefined;
    return this.#find(page)?.window(page, this.#layout);
  }

  /** The pins of the machine: `UserMemory.pinRecord`. A class that pins in its own way has none. */
  get pinRecord(): PinRecord | undefined {
    return this.pin === ProcessMemory.prototype.pin ? this.physical : undefined;
  }

  /** The region of a user page. */
  #find(page: number): Region | undefined {
    const hit = this.#lastHit;
    if (hit !== undefined && page >= hit.page && page <= hit.lastPage) return hit;
    const region = this.#regions.first(mirrored(page, page))?.value;
    if (region !== undefined) this.#lastHit = region;
    return region;
  }

  /** Entries of the regions that have a page of a range, the highest first. */
  #within(firstPage: number, lastPage: number): TreeNode<Region>[] {
    const found: TreeNode<Region>[] = [];
    const range = mirrored(firstPage, lastPage);
    let node = this.#regions.first(range);
    for (; node !== undefined; node = this.#regions.nextIn(node, range)) found.push(node);
    return found;
  }

  /** Puts `replacement` in the place of what is mapped in a range, splitting the regions at its ends. */
  #cut(
    firstPage: number,
    lastPage: number,
    replacement: (page: number, lastPage: number, region: Region) => Region[],
  ): void {
    const cut = this.#within(firstPage, lastPage);
    const parts: Region[] = [];
    for (const { value: region } of cut) {
      if (region.page < firstPage) parts.push(region.part(region.page, firstPage - 1));
      parts.push(
        ...replacement(Math.max(region.page, firstPage), Math.min(region.lastPage, lastPage), region),
      );
      if (region.lastPage > lastPage) parts.push(region.part(lastPage + 1, region.lastPage));
    }
    this.#replace(cut, parts);
  }

  /** Exchanges regions. The new ones count first, so that memory in both stays. */
  #replace(removed: readonly TreeNode<Region>[], regions: readonly Region[]): void {
    for (const { backing, view, writable } of regions) {
      backing.mappings++;
      view?.file.addMapping(this.#mapper, writable);
    }
    for (const node of removed) {
      const { backing, view, writable } = node.value;
      this.#regions.delete(node);
      this.physical.unmap(backing);
      view?.file.removeMapping(this.#mapper, writable);
    }
    for (const region of regions) this.#regions.insert(mirrored(region.page, region.lastPage), region);
    this.#lastHit = undefined;
    this.#layout.current = false;
    this.#layout = { current: true };
  }

  /** Why a page cannot be touched. */
  #fault(code: ErrorCode, page: number, write: boolean, offset = 0): IommuError {
    if (this.#exited) return gone();
    const region = this.#find(page);
    const detail =
      region === undefined
        ? 'is not mapped'
        : write && !region.writable
          ? 'is read-only'
          : region.view !== undefined && region.present(page, 1) === 0
            ? 'is beyond the end of a file'
            : region.present(page, 1) === 0
              ? 'is in a part of a buffer that is gone: it was detached or shrunk, or has not grown so far'
              : 'is in the last page of the address space, which cannot be pinned';
    return misplaced(code, { page, offset }, detail);
  }
}

/** Regions that show a part of a file as it is now, and what is beyond its end. */
function fileRegions(page: number, lastPage: number, writable: boolean, view: FileView): Region[] {
  const { file } = view;
  const regions: Region[] = [];
  for (let at = page; at <= lastPage; ) {
    const filePage = view.page + (at - page);
    const count = lastPage - at + 1;
    const {
      backing,
      first,
      count: there,
    } = filePage < file.pages ? file.place(filePage, count) : nothing(count);
    const until = at + there - 1;
    regions.push(new Region(at, until, writable, backing, first, { ...view, page: filePage }));
    at = until + 1;
  }
  return regions;
}

/** Memory that is not there. */
function nothing(count: number): FilePlace {
  return { backing: new Backing(0, new MissingContent(count), undefined, undefined), first: 0, count };
}

/**
 * A range of pages by its distance from the end of the address space: the tree of regions has the highest first, since
 * the highest place that is free is the one that is chosen.
 */
function mirrored(page: number, lastPage: number): Interval {
  return { page: LAST_PAGE - lastPage, offset: 0, lastPage: LAST_PAGE - page, lastOffset: PAGE_MASK };
}

const CHOICES = mirrored(FIRST_CHOICE, LAST_CHOICE);

/** Pages of a length that is rounded up; 2^52 for the last 4095 lengths. */
function roundUp(length: Address): number {
  return length.page + (length.offset > 0 ? 1 : 0);
}

function misplaced(code: ErrorCode, at: Address, detail: string): IommuError {
  return new IommuError(code, { check: 'memory', uptr: hex(at), detail });
}

function gone(): IommuError {
  return refuse('EFAULT', 'state', 'the process has exited');
}

function requireBoolean(name: string, value: unknown): void {
  if (typeof value !== 'boolean') throw invalidType(value, name, 'a boolean');
}

function requirePlace(page: number, offset: number): void {
  checkInteger(page, 'page', 0, LAST_PAGE);
  checkInteger(offset, 'offset', 0, PAGE_MASK);
}

function requireInside(bytes: Uint8Array, offset: number, length: number): void {
  checkBytes(bytes, 'bytes');
  const most = byteCount(bytes);
  checkInteger(offset, 'offset', 0, most);
  checkInteger(length, 'length', 0, most - offset);
}
