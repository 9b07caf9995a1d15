/**
 * The machine below the processes: its page frames, what they hold and how often they are pinned.
 */
import { checkInteger, invalidType } from '../arguments.js';
import { IommuError, refuse } from '../errors.js';
import { IntervalTree, type TreeNode } from '../interval-tree.js';
import { holesFor } from '../spans.js';
import { type Interval, LAST_PAGE, PAGE_MASK, PAGE_SIZE } from '../u64.js';
import { FrameRuns } from './frame-runs.js';
import type { PageContent } from './page-content.js';
import { PinCounts } from './pin-counts.js';
import type { ScatteredOrder } from './scattered-order.js';
import type { PinRecord } from './user-memory.js';

/** The first frame handed out: memory below 4 GiB is left to devices, as on a PC. */
const FIRST_FRAME = 2 ** 20;
/** Physical addresses have 52 bits. */
const LAST_FRAME = 2 ** 40 - 1;
const FRAMES: Interval = { page: FIRST_FRAME, offset: 0, lastPage: LAST_FRAME, lastOffset: PAGE_MASK };
const HUGE_PAGE = 2 ** 9;
const GIGANTIC_PAGE = 2 ** 18;

/** Frames and what is in them, mapped any number of times. */
export class Backing {
  /** First of its frames. */
  readonly pfn: number;
  /** The frame after the last of its frames. */
  readonly past: number;
  readonly content: PageContent;
  /** Which frame a page has, if not the one in its place. */
  readonly order: ScatteredOrder | undefined;
  /** What it was made from, if that was the caller's. */
  readonly source: object | undefined;
  /** Regions that show a part of it. */
  mappings = 0;
  /** Sum of the pins of its frames. */
  pins = 0;
  /** Its place among those of the machine, while it has its frames. */
  node: TreeNode<Backing> | undefined;

  constructor(
    pfn: number,
    content: PageContent,
    order: ScatteredOrder | undefined,
    source: object | undefined,
  ) {
    this.pfn = pfn;
    this.past = pfn + content.capacity;
    this.content = content;
    this.order = order;
    this.source = source;
  }

  /** The frame of page `page`. */
  frameOf(page: number): number {
    return this.pfn + (this.order === undefined ? page : this.order.frameOf(page));
  }

  /** The page of frame `pfn`. */
  pageOf(pfn: number): number {
    const frame = pfn - this.pfn;
    return this.order === undefined ? frame : this.order.pageOf(frame);
  }
}

/**
 * The physical memory of a machine, shared by the processes on it.
 *
 * It hands out page frames and counts their pins. The frames of a buffer are its own: mapped twice, in one process
 * or in several, at whatever addresses, it shows the same frames. They stay its own as long as the buffer is mapped
 * anywhere or one of them is pinned; then they are free again.
 */
export class PhysicalMemory implements PinRecord {
  readonly #counts = new PinCounts();
  /** By frame numbers. What lies between is free. */
  readonly #backings = new IntervalTree<Backing>();
  readonly #bySource = new Map<object, Backing>();
  #lastHit: Backing | undefined;

  /** Sum of the pins of all frames. */
  get pinned(): number {
    return this.#counts.pinned;
  }

  /** How often frame `pfn` is pinned. */
  pins(pfn: number): number {
    checkInteger(pfn, 'pfn', 0, LAST_PAGE);
    return this.#counts.count(pfn);
  }

  /**
   * The bytes of `count` consecutive frames from `pfn` on, as one live view if they are one piece of memory, else
   * of as many frames as are (at least one).
   *
   * @throws IommuError EFAULT if the buffer of the first frame was detached or shrunk, or there is no such frame (a bug
   * of the caller); TypeError or RangeError if an argument is no number of frames
   */
  frames(pfn: number, count: number): Uint8Array {
    checkFrames(pfn, count);
    const backing = this.#find(pfn);
    if (backing === undefined) throw refuse('EFAULT', 'fault', `no memory has frame 0x${pfn.toString(16)}`);
    const page = backing.pageOf(pfn);
    const most = backing.order === undefined ? Math.min(count, backing.past - pfn) : 1;
    const present = backing.content.present(page, most);
    if (present === 0) {
      const detail = `the buffer behind frame 0x${pfn.toString(16)} was detached or shrunk`;
      throw refuse('EFAULT', 'fault', detail);
    }
    return backing.content.view(page, 0, present * PAGE_SIZE);
  }

  /**
   * Takes back one pin of each of `count` frames from `pfn` on.
   *
   * @throws IommuError EINVAL if one of them is not pinned (a bug of the caller), TypeError or RangeError if an argument is
   * no number of frames; nothing is unpinned then
   */
  unpin(pfn: number, count: number): void {
    checkFrames(pfn, count);
    this.#unpin(pfn, count);
  }

  /** As `unpin` of each run of a list. @throws TypeError if it is no list of frames; EINVAL as `unpin` */
  unpinAll(frames: FrameRuns): void {
    if (!(frames instanceof FrameRuns)) throw invalidType(frames, 'frames', 'a FrameRuns');
    const { runs } = frames;
    for (let run = 0; run < runs; run++) this.#unpin(frames.pfnOf(run), frames.countOf(run));
  }

  #unpin(pfn: number, count: number): void {
    this.#counts.remove(pfn, count);
    const past = pfn + count;
    const hit = this.#lastHit;
    if (hit !== undefined && pfn >= hit.pfn && past <= hit.past && hit.pins > count) hit.pins -= count;
    else this.#uncount(pfn, past);
  }

  /** Takes the pins of frames from the sums of their backings, and frees those that nobody needs any more. */
  #uncount(pfn: number, past: number): void {
    for (let at = pfn; at < past; ) {
      const backing = this.#find(at)!;
      const until = Math.min(past, backing.past);
      backing.pins -= until - at;
      if (backing.pins === 0 && backing.mappings === 0) this.#release(backing);
      at = until;
    }
  }

  /**
   * Pins `count` pages of a backing from `page` on and appends their frames to `into`.
   *
   * @internal
   */
  pin(backing: Backing, page: number, count: number, into: FrameRuns): void {
    const { order } = backing;
    if (order !== undefined) into.reserve(count);
    backing.pins += count;
    if (order === undefined) {
      this.#counts.add(backing.pfn + page, count);
      into.push(backing.pfn + page, count);
      return;
    }
    const { pfn } = backing;
    order.forEachRun(page, count, (frame, frames) => this.#counts.add(pfn + frame, frames));
    order.forEach(page, count, (frame) => into.push(pfn + frame, 1));
  }

  /**
   * The backing that was made from `source`, if its frames are still in use.
   *
   * @internal
   */
  backingOf(source: object): Backing | undefined {
    return this.#bySource.get(source);
  }

  /**
   * Gives frames to new content. In a piece of at least 2 MiB (1 GiB) the frame of page `page` is congruent to
   * `userPage` modulo 2 MiB (1 GiB), where huge pages have to begin.
   *
   * @throws IommuError ENOMEM if all frames are taken
   * @internal
   */
  add(
    content: PageContent,
    order: ScatteredOrder | undefined,
    source: object | undefined,
    page: number,
    userPage: number,
  ): Backing {
    const pages = content.capacity;
    const modulus = pages >= GIGANTIC_PAGE ? GIGANTIC_PAGE : pages >= HUGE_PAGE ? HUGE_PAGE : 1;
    return this.#add(content, order, source, modulus, (userPage - page) % modulus);
  }

  /**
   * Gives consecutive frames to new content, the first of which is a multiple of `modulus`.
   *
   * @throws IommuError ENOMEM as `add`
   * @internal
   */
  addAligned(content: PageContent, modulus: number): Backing {
    return this.#add(content, undefined, undefined, modulus, 0);
  }

  #add(
    content: PageContent,
    order: ScatteredOrder | undefined,
    source: object | undefined,
    modulus: number,
    remainder: number,
  ): Backing {
    const pages = content.capacity;
    const pfn = this.#free(pages, modulus, remainder);
    if (pfn === undefined) {
      throw new IommuError('ENOMEM', { check: 'state', detail: `no ${pages} frames in a row are free` });
    }
    const backing = new Backing(pfn, content, order, source);
    backing.node = this.#backings.insert(framesOf(pfn, pages), backing);
    if (source !== undefined) this.#bySource.set(source, backing);
    return backing;
  }

  /**
   * Ends one mapping of a backing; its frames are free once nothing maps and nothing pins them.
   *
   * @internal
   */
  unmap(backing: Backing): void {
    backing.mappings--;
    if (backing.pins === 0 && backing.mappings === 0) this.#release(backing);
  }

  /** The lowest frame from which on `pages` are free and which leaves `remainder` when divided by `modulus`. */
  #free(pages: number, modulus: number, remainder: number): number | undefined {
    const length = { page: pages, offset: 0 };
    const alignment = remainder === 0 ? modulus * PAGE_SIZE : PAGE_SIZE;
    for (const { page, lastPage } of holesFor(this.#backings, FRAMES, length, alignment)) {
      const pfn = page + ((((remainder - page) % modulus) + modulus) % modulus);
      if (pfn + pages - 1 <= lastPage) return pfn;
    }
    return undefined;
  }

  #release(backing: Backing): void {
    // What is not there has no frames either.
    if (backing.node === undefined) return;
    this.#backings.delete(backing.node);
    backing.node = undefined;
    if (backing.source !== undefined) this.#bySource.delete(backing.source);
    if (this.#lastHit === backing) this.#lastHit = undefined;
  }

  #find(pfn: number): Backing | undefined {
    const hit = this.#lastHit;
    if (hit !== undefined && pfn >= hit.pfn && pfn < hit.past) return hit;
    const backing = this.#backings.first(framesOf(pfn, 1))?.value;
    if (backing !== undefined) this.#lastHit = backing;
    return backing;
  }
}

function framesOf(pfn: number, count: number): Interval {
  return { page: pfn, offset: 0, lastPage: pfn + count - 1, lastOffset: PAGE_MASK };
}

/** @throws TypeError or RangeError if there are no such frames, at least one. */
function checkFrames(pfn: number, count: number): void {
  const whole = Number.isInteger(pfn) && Number.isInteger(count);
  if (whole && pfn >= 0 && count >= 1 && pfn + count <= LAST_PAGE + 1) return;
  checkInteger(pfn, 'pfn', 0, LAST_PAGE);
  checkInteger(count, 'count', 1, LAST_PAGE + 1 - pfn);
}
