/**
 * The page frames of a machine that nobody has.
 */

interface Extent {
  first: number;
  last: number;
}

/** A pool of frames, handed out in consecutive frames from the lowest that fit. */
export class FreeFrames {
  /** Ascending, with something between any two. */
  readonly #extents: Extent[];

  /** A pool of the frames `first` to `last` (inclusive). */
  constructor(first: number, last: number) {
    this.#extents = [{ first, last }];
  }

  /**
   * Takes `count` consecutive frames, the first of which leaves `remainder` when divided by `modulus`; gives the
   * first, or `undefined` if there are none.
   */
  take(count: number, modulus: number, remainder: number): number | undefined {
    for (const [at, { first, last }] of this.#extents.entries()) {
      const skip = (((remainder - first) % modulus) + modulus) % modulus;
      const pfn = first + skip;
      const past = pfn + count;
      if (past - 1 > last) continue;
      const left: Extent[] = [];
      if (skip > 0) left.push({ first, last: pfn - 1 });
      if (past <= last) left.push({ first: past, last });
      this.#extents.splice(at, 1, ...left);
      return pfn;
    }
    return undefined;
  }

  /** Gives `count` frames from `pfn` on back. */
  give(pfn: number, count: number): void {
    const extents = this.#extents;
    let at = 0;
    let past = extents.length;
    while (at < past) {
      const middle = (at + past) >>> 1;
      if (extents[middle]!.first < pfn) at = middle + 1;
      else past = middle;
    }
    const before = extents[at - 1];
    const after = extents[at];
    const extent = { first: pfn, last: pfn + count - 1 };
    let from = at;
    let replaced = 0;
    if (before !== undefined && before.last + 1 === extent.first) {
      extent.first = before.first;
      from--;
      replaced++;
    }
    if (after !== undefined && after.first === extent.last + 1) {
      extent.last = after.last;
      replaced++;
    }
    extents.splice(from, replaced, extent);
  }
}
