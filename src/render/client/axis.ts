/**
 * One axis of IOVA for a whole recording: what is never used takes little of it.
 */
import { bitsOf } from '../svg-rows.js';

/** A closed range. */
export interface UsedRange {
  readonly first: bigint;
  readonly last: bigint;
}

/** Where a range is: its first byte, and the byte behind its last one. */
export interface Place {
  readonly from: number;
  readonly to: number;
}

/** An address and its place. */
export interface Landmark {
  readonly iova: bigint;
  readonly at: number;
}

const UNUSED_WEIGHT = 4;

/** Where addresses are between 0 and 1. Only addresses at which a used range begins, or behind its end, are known. */
export class Axis {
  readonly #places = new Map<bigint, number>();
  /** Where used ranges begin; those before which nothing ever is come first. */
  readonly landmarks: readonly Landmark[];

  constructor(ranges: readonly UsedRange[]) {
    const changes = new Map<bigint, number>([
      [0n, 0],
      [1n << 64n, 0],
    ]);
    const change = (at: bigint, by: number) => changes.set(at, (changes.get(at) ?? 0) + by);
    for (const { first, last } of ranges) {
      change(first, 1);
      change(last + 1n, -1);
    }
    const edges = [...changes.keys()].sort((a, b) => (a < b ? -1 : 1));
    const [islands, others, tops]: [number[], number[], number[]] = [[], [], []];
    let [depth, sum, unused] = [0, 0, true];
    for (const [at, edge] of edges.entries()) {
      tops.push(sum);
      depth += changes.get(edge)!;
      if (depth > 0) (unused ? islands : others).push(at);
      unused = depth === 0;
      const next = edges[at + 1];
      if (next !== undefined) sum += unused ? UNUSED_WEIGHT : bitsOf(next - edge);
    }
    for (const [at, edge] of edges.entries()) this.#places.set(edge, tops[at]! / sum);
    this.landmarks = [...islands, ...others].map((at) => ({ iova: edges[at]!, at: tops[at]! / sum }));
  }

  /** Where a range is. */
  place({ first, last }: UsedRange): Place {
    return { from: this.#places.get(first)!, to: this.#places.get(last + 1n)! };
  }
}
