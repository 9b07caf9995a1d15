/** Making the n-th fault point fail. */
import { checkInteger } from '../arguments.js';
import type { FaultInjector, FaultPoint } from '../faults.js';

/**
 * A fault injector that counts the fault points that calls come to, and fails one of them.
 *
 * ```ts
 * const faults = new FaultCounter();
 * const table = new IoPagetable({ memory, faults });
 * faults.arm(3);
 * await table.map(request); // fails at its third fault point
 * faults.failed; // which one that was
 * ```
 */
export class FaultCounter implements FaultInjector {
  #points: FaultPoint[] = [];
  #nth = Number.POSITIVE_INFINITY;

  /** The fault points that calls have come to since the last `arm` or `disarm`, in order. */
  get points(): readonly FaultPoint[] {
    return this.#points;
  }

  /** The one that failed, if it was reached. */
  get failed(): FaultPoint | undefined {
    return this.#points[this.#nth - 1];
  }

  /**
   * Lets the `nth` fault point from now on fail (1 is the next), that one only, and begins to count anew.
   *
   * @throws TypeError or RangeError if `nth` is not an integer of at least 1
   */
  arm(nth: number): void {
    checkInteger(nth, 'nth', 1, Number.MAX_SAFE_INTEGER);
    this.#points = [];
    this.#nth = nth;
  }

  /** Lets none fail, and begins to count anew. */
  disarm(): void {
    this.#points = [];
    this.#nth = Number.POSITIVE_INFINITY;
  }

  fails(point: FaultPoint): boolean {
    return this.#points.push(point) === this.#nth;
  }
}
