/**
 * A list of physical page frames kept as runs of consecutive frame numbers.
 *
 * A terabyte of contiguous memory is one run; scattered memory is a run a page, two numbers each.
 */

import { checkInteger, invalidType, outOfRange } from '../arguments.js';

const FIRST_CAPACITY = 8;
/** Frame numbers are below this. */
const FRAMES = 2 ** 52;
const NOTHING = new Float64Array(0);

/**
 * Frames in order, as runs: the next run begins where the next frame does not follow the one before.
 *
 * The first run lives in plain fields, because most lists (a mapping of contiguous memory, or of one page) never
 * have a second one, and a list is made for every mapping.
 */
export class FrameRuns {
  #runs = 0;
  #frames = 0;
  #firstPfn = 0;
  #firstCount = 0;
  /** First frames of the runs after the first. */
  #pfns = NOTHING;
  /** Their lengths; empty while they are all of one frame, as in scattered memory. */
  #counts = NOTHING;
  /** Runs after the first that may be written where they are: none while a copy of the list has the same arrays. */
  #capacity = 0;
  /** The frame that would extend the last run. */
  #nextPfn = -1;
  /** A run and the position of its first frame, where the last search ended: lists are read in order. */
  #cursorRun = 0;
  #cursorPosition = 0;

  /** Number of runs. */
  get runs(): number {
    return this.#runs;
  }

  /** Number of frames in all runs together. */
  get frames(): number {
    return this.#frames;
  }

  /** First frame number (pfn) of run `run`, which is below `runs`. */
  pfnOf(run: number): number {
    return run === 0 ? this.#firstPfn : this.#pfns[run - 1]!;
  }

  /** Number of frames of run `run`, which is below `runs`. */
  countOf(run: number): number {
    if (run === 0) return this.#firstCount;
    return this.#counts === NOTHING ? 1 : this.#counts[run - 1]!;
  }

  /**
   * Appends `count` consecutive frames that begin with `pfn`; extends the last run if they follow it.
   *
   * @throws TypeError or RangeError if `pfn` is not an integer of at least 0, `count` not one of at least 1, or they
   * pass 2^52
   */
  push(pfn: number, count: number): void {
    const whole = Number.isInteger(pfn) && Number.isInteger(count);
    if (!(whole && pfn >= 0 && count >= 1 && pfn + count <= FRAMES)) checkRun(pfn, count);
    const run = this.#runs;
    if (pfn === this.#nextPfn) {
      this.#setCount(run - 1, this.countOf(run - 1) + count);
    } else if (run === 0) {
      this.#firstPfn = pfn;
      this.#firstCount = count;
      this.#runs = 1;
    } else {
      if (run > this.#capacity) this.#grow(Math.max(FIRST_CAPACITY, 4 * run));
      this.#pfns[run - 1] = pfn;
      if (count !== 1 || this.#counts !== NOTHING) this.#setCount(run, count);
      this.#runs = run + 1;
    }
    this.#frames += count;
    this.#nextPfn = pfn + count;
  }

  #setCount(run: number, count: number): void {
    if (run === 0) {
      this.#firstCount = count;
      return;
    }
    if (run > this.#capacity) this.#grow(run);
    if (this.#counts === NOTHING) this.#counts = new Float64Array(this.#capacity).fill(1);
    this.#counts[run - 1] = count;
  }

  /** Makes room for `runs` more runs at once. Only ever a matter of speed. */
  reserve(runs: number): void {
    checkInteger(runs, 'runs', 0, FRAMES);
    const needed = this.#runs + runs - 1;
    if (needed > this.#capacity) this.#grow(Math.max(needed, 2 * this.#capacity));
  }

  #grow(wanted: number): void {
    const capacity = Math.max(wanted, this.#pfns.length);
    this.#capacity = capacity;
    const pfns = new Float64Array(capacity);
    pfns.set(this.#pfns);
    this.#pfns = pfns;
    if (this.#counts === NOTHING) return;
    const counts = new Float64Array(capacity);
    counts.set(this.#counts);
    this.#counts = counts;
  }

  /** Appends all frames of another list, or of this one once more. */
  append(other: FrameRuns): void {
    if (!(other instanceof FrameRuns)) throw invalidType(other, 'other', 'a FrameRuns');
    if (this.#frames === 0) {
      this.#share(other);
      return;
    }
    const source = other === this ? this.slice(0, this.#frames) : other;
    if (source.runs > 1) this.reserve(source.runs);
    for (let run = 0; run < source.runs; run++) this.push(source.pfnOf(run), source.countOf(run));
  }

  /** Becomes the same list as another. Both keep their arrays until one of them has to write there. */
  #share(other: FrameRuns): void {
    this.#runs = other.#runs;
    this.#frames = other.#frames;
    this.#firstPfn = other.#firstPfn;
    this.#firstCount = other.#firstCount;
    this.#pfns = other.#pfns;
    this.#counts = other.#counts;
    this.#nextPfn = other.#nextPfn;
    this.#capacity = other.#capacity = 0;
  }

  /**
   * The frame number at position `position`. Positions asked for in ascending order cost O(1) each, and so do all
   * where no two frames are consecutive.
   *
   * @throws RangeError if `position` is not an integer in 0..frames − 1
   */
  at(position: number): number {
    if (!(Number.isInteger(position) && position >= 0 && position < this.#frames)) {
      throw outOfRange(position, 'position', `an integer from 0 to ${this.#frames - 1}`);
    }
    if (this.#runs === this.#frames) return this.pfnOf(position);
    const run = this.#seek(position);
    return this.pfnOf(run) + (position - this.#cursorPosition);
  }

  /** Puts the cursor on the run that holds `position`, which is in the list, and gives that run. */
  #seek(position: number): number {
    let run = this.#cursorRun;
    let start = this.#cursorPosition;
    if (position < start) run = start = 0;
    for (let count = this.countOf(run); position >= start + count; count = this.countOf(run)) {
      start += count;
      run++;
    }
    this.#cursorRun = run;
    this.#cursorPosition = start;
    return run;
  }

  /** A copy of the `count` frames that begin at position `from`. */
  slice(from: number, count: number): FrameRuns {
    const part = new FrameRuns();
    this.forEachRun(from, count, (pfn, length) => part.push(pfn, length));
    return part;
  }

  /**
   * Calls `visit(pfn, count, position)` for each run in the `count` frames from position `from`; the runs at both
   * ends are cut to that. What lies outside the list is left out.
   */
  forEachRun(
    from: number,
    count: number,
    visit: (pfn: number, count: number, position: number) => void,
  ): void {
    checkInteger(from, 'from', 0, FRAMES);
    checkInteger(count, 'count', 0, FRAMES);
    const past = Math.min(from + count, this.#frames);
    if (from >= past) return;
    let run = this.#seek(from);
    let start = this.#cursorPosition;
    for (let position = from; position < past; run++) {
      const length = this.countOf(run);
      const stop = Math.min(start + length, past);
      visit(this.pfnOf(run) + (position - start), stop - position, position);
      start += length;
      position = stop;
    }
  }

  /** Drops all frames after the first `frames`. @throws RangeError if that is not an integer of at least 0 */
  truncate(frames: number): void {
    checkInteger(frames, 'frames', 0, FRAMES);
    if (frames >= this.#frames) return;
    this.#frames = frames;
    if (frames === 0) {
      this.#cursorRun = this.#cursorPosition = 0;
      this.#runs = 0;
      this.#nextPfn = -1;
      return;
    }
    const run = this.#seek(frames - 1);
    const count = frames - this.#cursorPosition;
    if (count !== this.countOf(run)) this.#setCount(run, count);
    this.#runs = run + 1;
    this.#nextPfn = this.pfnOf(run) + count;
  }
}

/** @throws TypeError or RangeError if there is no such run. */
function checkRun(pfn: number, count: number): void {
  checkInteger(pfn, 'pfn', 0, FRAMES - 1);
  checkInteger(count, 'count', 1, FRAMES - pfn);
}
