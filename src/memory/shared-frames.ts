/**
 * The memory of a process as another thread sees it. Nothing here needs Node.
 */
import { checkBoolean, checkInteger, checkObject, invalidType } from '../arguments.js';
import { refuse } from '../errors.js';
import { LAST_PAGE, PAGE_SIZE } from '../u64.js';
import { bufferKind } from './buffers.js';
import { ScatteredOrder } from './scattered-order.js';

/** Frames and the shared buffer that they are. */
export interface SharedRange {
  /** First of the frames. */
  readonly pfn: number;
  /** How many there are; the buffer may have fewer pages for now, if it can grow. */
  readonly frames: number;
  /** Whether consecutive pages of the buffer have scattered frames, not consecutive ones. */
  readonly scattered: boolean;
  /** The buffer; its first byte is that of page 0. */
  readonly buffer: SharedArrayBuffer;
}

/** What another thread needs to see memory: `ProcessMemory.share`. It can be sent to it. */
export interface SharedMemoryHandle {
  /** Ascending by frame number. */
  readonly ranges: readonly SharedRange[];
}

interface View {
  readonly range: SharedRange;
  readonly past: number;
  readonly order: ScatteredOrder | undefined;
  bytes: Uint8Array;
}

/** Frames by number, in any thread: the counterpart of `ProcessMemory.frames`. */
export class SharedFrames {
  readonly #views: readonly View[];
  #lastHit: View | undefined;

  /**
   * The memory as it was when the handle was made.
   *
   * @throws TypeError (`ERR_INVALID_ARG_TYPE`) if it is no handle
   */
  static from(handle: SharedMemoryHandle): SharedFrames {
    return new SharedFrames(handle);
  }

  private constructor(handle: SharedMemoryHandle) {
    const ranges = handle?.ranges;
    if (!Array.isArray(ranges)) throw invalidType(handle, 'handle', 'what ProcessMemory.share gave');
    this.#views = Array.from(ranges, (given: SharedRange) => {
      const range = checkedRange(given);
      return {
        range,
        past: range.pfn + range.frames,
        order: range.scattered ? new ScatteredOrder(range.frames) : undefined,
        bytes: new Uint8Array(range.buffer),
      };
    });
  }

  /**
   * The bytes of `count` consecutive frames from `pfn` on, as one live view if they are one piece of memory, else of
   * as many frames as are (at least one).
   *
   * @throws EFAULT if the first is in none of the shared buffers: it is other memory, or newer than the handle;
   * TypeError or RangeError if an argument is no number of a frame, or of frames
   */
  frames(pfn: number, count: number): Uint8Array {
    checkInteger(pfn, 'pfn', 0, LAST_PAGE);
    checkInteger(count, 'count', 1, LAST_PAGE + 1);
    const view = this.#find(pfn);
    const frame = pfn - (view?.range.pfn ?? 0);
    const page = view?.order === undefined ? frame : view.order.pageOf(frame);
    const most = view?.order === undefined ? count : 1;
    const first = page * PAGE_SIZE;
    if (view === undefined || first + PAGE_SIZE > view.bytes.length) {
      throw refuse('EFAULT', 'fault', `frame 0x${pfn.toString(16)} is in none of the shared buffers`);
    }
    const whole = view.bytes.length - (view.bytes.length % PAGE_SIZE);
    return view.bytes.subarray(first, Math.min(first + most * PAGE_SIZE, whole));
  }

  #find(pfn: number): View | undefined {
    const hit = this.#lastHit;
    if (hit !== undefined && pfn >= hit.range.pfn && pfn < hit.past) return hit;
    this.#lastHit = this.#views.find(({ range, past }) => pfn >= range.pfn && pfn < past);
    return this.#lastHit;
  }
}

function checkedRange(range: SharedRange): SharedRange {
  checkObject(range, 'a range of the handle');
  const { pfn, frames, scattered, buffer } = range;
  checkInteger(pfn, 'pfn', 0, LAST_PAGE);
  checkInteger(frames, 'frames', 1, LAST_PAGE + 1 - pfn);
  checkBoolean(scattered, 'scattered');
  if (bufferKind(buffer)?.shared !== true) throw invalidType(buffer, 'buffer', 'a SharedArrayBuffer');
  return { pfn, frames, scattered, buffer };
}
