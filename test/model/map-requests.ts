/**
 * Which requests a domain gets when it is filled with an area: one for each run of consecutive frames, or for each
 * page where large pages are disabled.
 */
import { max, min, PAGE } from './naive-ranges.js';
import { type Area, frameOf, pieceOf } from './naive-table.js';

/** A request to map `size` bytes at `iova`. */
export interface MapRequest {
  readonly iova: bigint;
  readonly size: bigint;
}

/** The requests for an area. */
export function expectedRequests(area: Area, largePages: boolean): MapRequest[] {
  const { backing, first, last } = pieceOf(area);
  const requests: { iova: bigint; size: bigint }[] = [];
  let previous: bigint | undefined;
  for (let index = first; index <= last; index++) {
    const pageStart = area.start - area.startByte + index * PAGE;
    const iova = max(area.start, pageStart);
    const size = min(area.last, pageStart + PAGE - 1n) - iova + 1n;
    const frame = frameOf(backing, index);
    const follows = previous !== undefined && frame === previous + 1n;
    if (follows && largePages) requests.at(-1)!.size += size;
    else requests.push({ iova, size });
    previous = frame;
  }
  return requests;
}
