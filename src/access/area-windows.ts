/**
 * The way that nearly every synchronous read and write goes: straight from and to the buffers behind the areas, found
 * where they were found before (as a device's IOTLB finds its translations), with no operation and no list on the way.
 *
 * It is only a quicker `transferRange`. Where anything is out of the ordinary it leaves the whole transfer to that,
 * which copies the same bytes and gives the error its name.
 */

import { enterCallOut, leaveCallOut } from '../call-out.js';
import type { IntervalTree, TreeNode } from '../interval-tree.js';
import { byteCount } from '../memory/bytes.js';
import type { MemoryLayout, MemoryPiece, MemoryWindow } from '../memory/memory-window.js';
import { isThenable } from '../operation.js';
import type { IoptPages } from '../pages/iopt-pages.js';
import { pageBehind } from '../pages/mapped-area.js';
import { READ, WRITE } from '../protection.js';
import type { RwLock } from '../rw-lock.js';
import type { IoptArea } from '../table/iopt-area.js';
import type { IovaSpace } from '../table/iova-space.js';
import type { TableState } from '../table/table-state.js';
import { type Address, PAGE_MASK, PAGE_SIZE } from '../u64.js';

/** Each page of IOVA has one, which it shares with every 1024th page: 4 MiB stay found if mapped page by page. */
const SLOTS = 1024;
const SLOT_MASK = SLOTS - 1;
/** A slot in use changes hands at one miss in this many: to open a window costs more than a transfer without one. */
const MISSES = 16;

/** The windows that an access has onto the areas of one table. All calls are made with the iova lock held for reading. */
export class AreaWindows {
  readonly space: IovaSpace;
  readonly #slots = new Array<AreaWindow | undefined>(SLOTS).fill(undefined);
  #misses = 0;

  constructor(space: IovaSpace) {
    this.space = space;
  }

  /**
   * Copies all of `buffer` from or to the bytes that begin at (page, offset); `false` if it did not.
   *
   * @throws TypeError if the buffer behind them is detached: new windows are needed. What a memory of the user's throws
   */
  transfer(page: number, offset: number, buffer: Uint8Array, write: boolean): boolean {
    const length = byteCount(buffer);
    if (length === 0) return false;
    let window = this.#known(page, offset);
    if (window === undefined) {
      const node = this.#find(page, offset);
      if (node === undefined) return false;
      const taken = this.#isTaken(page);
      if (taken && copyInArea(node.value, page, offset, buffer, length, write)) return true;
      window = this.#open(node, page, offset);
      if (window === undefined) return !taken && copyInArea(node.value, page, offset, buffer, length, write);
    }
    if (!window.allows(write)) return false;
    if (offset + length <= window.past) {
      window.copy(offset, buffer, 0, length, write);
      return true;
    }
    // Looked at before the first byte is copied: a call that is refused must not have changed anything.
    return (
      this.#walk(page, offset, buffer, length, write, false) &&
      this.#walk(page, offset, buffer, length, write, true)
    );
  }

  /** Goes through the windows of a range, copying or not; `false` where there is none. */
  #walk(
    firstPage: number,
    firstOffset: number,
    buffer: Uint8Array,
    length: number,
    write: boolean,
    copy: boolean,
  ): boolean {
    let page = firstPage;
    let offset = firstOffset;
    for (let done = 0; done < length; ) {
      const window = this.#windowAt(page, offset);
      if (window === undefined || !window.allows(write) || !(copy || window.isThere)) return false;
      const past = Math.min(offset + length - done, window.past);
      if (copy) window.copy(offset, buffer, done, past - offset, write);
      done += past - offset;
      page += Math.floor(past / PAGE_SIZE);
      offset = past & PAGE_MASK;
    }
    return true;
  }

  #windowAt(page: number, offset: number): AreaWindow | undefined {
    const known = this.#known(page, offset);
    if (known !== undefined) return known;
    const node = this.#find(page, offset);
    return node && this.#open(node, page, offset);
  }

  #known(page: number, offset: number): AreaWindow | undefined {
    const window = this.#slots[page & SLOT_MASK];
    return window?.shows(page, offset) && window.isOpen(this.space.state) ? window : undefined;
  }

  /** Whether a page's slot is to be left to the window in it. */
  #isTaken(page: number): boolean {
    if (this.#slots[page & SLOT_MASK] === undefined) return false;
    this.#misses = (this.#misses + 1) % MISSES;
    return this.#misses !== 0;
  }

  #find(page: number, offset: number): TreeNode<IoptArea> | undefined {
    const { areas, faults } = this.space.state;
    return faults === undefined
      ? areas.first({ page, offset, lastPage: page, lastOffset: offset })
      : undefined;
  }

  #open(node: TreeNode<IoptArea>, page: number, offset: number): AreaWindow | undefined {
    const window = openWindow(node, { page, offset });
    this.#slots[page & SLOT_MASK] = window;
    return window;
  }
}

/** The bytes of an area from a page of IOVA on, as far as they lie in one buffer. Offsets count from that page. */
class AreaWindow {
  /** Offset of the first byte, in the page. */
  readonly first: number;
  /** Offset after the last byte, often in a later page. */
  readonly past: number;
  /** What may be done with the bytes. */
  readonly #prot: number;
  readonly #page: number;
  readonly #piece: MemoryPiece;
  /** Where offset 0 is in the piece, or would be before its first byte. */
  readonly #start: number;
  /** `iovaLock.writes` when the area was last looked at: nothing of it has changed since if that is the same. */
  #writes = -1;
  readonly #node: TreeNode<IoptArea>;
  readonly #pages: IoptPages;
  readonly #layout: MemoryLayout;

  /** `userPage` is where offset 0 of the page would be if the first byte of the area was the first of its page. */
  constructor(page: number, node: TreeNode<IoptArea>, pages: IoptPages, memory: MemoryWindow) {
    const area = node.value;
    const { page: memoryPage, lastPage, piece, start: memoryStart, writable, layout } = memory;
    const userPage = pages.firstPage + area.index + (page - area.page);
    const start = memoryStart + (userPage - memoryPage) * PAGE_SIZE + area.pageOffset - area.offset;
    const pieceEnd = Math.min(piece.length, memoryStart + (lastPage - memoryPage + 1) * PAGE_SIZE);
    this.first = Math.max(page === area.page ? area.offset : 0, memoryStart - start);
    this.past = Math.min((area.lastPage - page) * PAGE_SIZE + area.lastOffset + 1, pieceEnd - start);
    this.#prot = area.prot & (pages.writable && writable === true ? READ | WRITE : READ);
    this.#page = page;
    this.#piece = piece;
    this.#start = start;
    this.#node = node;
    this.#pages = pages;
    this.#layout = layout;
  }

  /** Whether it shows an address. */
  shows(page: number, offset: number): boolean {
    return page === this.#page && offset >= this.first && offset < this.past;
  }

  /** Whether its bytes can be written, or read. */
  allows(write: boolean): boolean {
    return (this.#prot & (write ? WRITE : READ)) !== 0;
  }

  /** Whether the area is still there, mapped and in use, and the memory's pages where they were. */
  isOpen({ iovaLock, areas }: TableState): boolean {
    return this.#layout.current && (this.#writes === iovaLock.writes || this.#isStillThere(iovaLock, areas));
  }

  #isStillThere({ writes }: RwLock, areas: IntervalTree<IoptArea>): boolean {
    const area = this.#node.value;
    if (area.pages !== this.#pages || area.preventAccess || !areas.has(this.#node)) return false;
    this.#writes = writes;
    return true;
  }

  /** Whether the buffer was not detached. */
  get isThere(): boolean {
    return this.#piece.length > 0;
  }

  /** Copies `length` bytes from `offset` on, all of which the window shows. @throws TypeError if they are gone */
  copy(offset: number, buffer: Uint8Array, at: number, length: number, write: boolean): void {
    if (write) this.#piece.write(this.#start + offset, buffer, at, length);
    else this.#piece.read(this.#start + offset, buffer, at, length);
  }
}

/** Opens the window that shows an address of an area, if the memory has one, and that is what it should be. */
function openWindow(node: TreeNode<IoptArea>, iova: Address): AreaWindow | undefined {
  const area = node.value;
  const { pages } = area;
  if (pages === undefined || area.preventAccess) return undefined;
  const { memory } = pages;
  if (memory?.window === undefined || memory.resident !== undefined) return undefined;
  const found = memory.window(pages.firstPage + pageBehind(area, iova).page);
  if (found === undefined) return undefined;
  const window = new AreaWindow(iova.page, node, pages, found);
  return Number.isInteger(window.past) && window.shows(iova.page, iova.offset) ? window : undefined;
}

/**
 * Copies all of `buffer` from or to bytes of one area that no window shows: they are untouched, in a buffer that may
 * shrink, or in a memory of the user's. `false` if it did not, for whatever reason.
 */
function copyInArea(
  area: IoptArea,
  page: number,
  offset: number,
  buffer: Uint8Array,
  length: number,
  write: boolean,
): boolean {
  const { pages } = area;
  const room = (area.lastPage - page) * PAGE_SIZE + (area.lastOffset - offset) + 1;
  if (pages === undefined || area.preventAccess || length > room) return false;
  if ((area.prot & (write ? WRITE : READ)) === 0 || (write && !pages.writable)) return false;
  const { memory } = pages;
  if (memory === undefined || memory.exited === true || memory.resident !== undefined) return false;
  const start = pageBehind(area, { page, offset });
  const userPage = pages.firstPage + start.page;
  enterCallOut();
  try {
    const copied = write
      ? memory.copyToUser(userPage, start.offset, buffer, 0, length)
      : memory.copyFromUser(userPage, start.offset, buffer, 0, length);
    if (isThenable(copied)) {
      // It should have said so beforehand (`resident`). The long way asks again, and can wait.
      copied.then(undefined, () => undefined);
      return false;
    }
    return copied === length;
  } finally {
    leaveCallOut();
  }
}
