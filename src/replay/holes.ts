/**
 * How the free part of an IOVA space is cut up.
 */
import type { TableSnapshot } from '../inspect/snapshot.js';

/** What is free in an IOVA space, in figures. */
export interface HoleFigures {
  /** Bytes of the largest range that is neither mapped nor reserved. */
  readonly largestHole: bigint;
  /**
   * How scattered the holes between the first and the last area are: 1 less the share of the largest of them in
   * all their bytes. 0 if there is one hole or none; near 1 if there are many small ones.
   */
  readonly fragmentation: number;
}

const SPACE = 1n << 64n;

/** Measures the holes of a snapshot. */
export function measureHoles(snapshot: TableSnapshot): HoleFigures {
  const areas = snapshot.areas.map(({ iova, last }) => ({ first: BigInt(iova), last: BigInt(last) }));
  const reserved = snapshot.reserved.map(({ start, last }) => ({ first: BigInt(start), last: BigInt(last) }));
  const used = [...areas, ...reserved].sort((a, b) => (a.first < b.first ? -1 : 1));
  const firstArea = areas[0]?.first ?? 0n;
  const lastArea = areas.at(-1)?.last ?? 0n;
  let largestHole = 0n;
  let freeBetween = 0n;
  let largestBetween = 0n;
  let from = 0n;
  for (const { first, last } of [...used, { first: SPACE, last: SPACE }]) {
    const hole = first - from;
    if (hole > largestHole) largestHole = hole;
    if (hole > 0n && from > firstArea && first <= lastArea) {
      freeBetween += hole;
      if (hole > largestBetween) largestBetween = hole;
    }
    if (last >= from) from = last + 1n;
  }
  // The quotient of two 64-bit numbers to nine digits, which a double holds.
  const share = freeBetween === 0n ? 1 : Number((largestBetween * 1_000_000_000n) / freeBetween) / 1e9;
  return { largestHole, fragmentation: 1 - share };
}
