/** Physical region pages: where the data of a command is. */
import type { DeviceDma, DmaSegment } from 'io-pagetable/vfio-user';
import { NvmeError, PAGE_SIZE, STATUS } from './protocol.js';

const OFFSET_MASK = BigInt(PAGE_SIZE - 1);

interface Segment extends DmaSegment {
  readonly iova: bigint;
}

/** Follows the two entries of a command, and the lists that the second may lead to, for `length` bytes. */
export async function followPrps(
  dma: Pick<DeviceDma, 'read'>,
  prp1: bigint,
  prp2: bigint,
  length: number,
): Promise<DmaSegment[]> {
  const segments: Segment[] = [];
  const first = Math.min(length, PAGE_SIZE - Number(prp1 & OFFSET_MASK));
  append(segments, prp1, first);
  let left = length - first;
  if (left === 0) return segments;
  if (left <= PAGE_SIZE) {
    appendPage(segments, prp2, left);
    return segments;
  }
  for (let list = prp2; left > 0; ) {
    if ((list & 7n) !== 0n) throw new NvmeError(STATUS.INVALID_FIELD);
    const entries = (PAGE_SIZE - Number(list & OFFSET_MASK)) / 8;
    const needed = Math.ceil(left / PAGE_SIZE);
    const chained = needed > entries;
    const bytes = new Uint8Array(8 * (chained ? entries : needed));
    await dma.read(list, bytes);
    const view = new DataView(bytes.buffer);
    const pages = chained ? entries - 1 : needed;
    for (let at = 0; at < pages; at++) {
      const size = Math.min(left, PAGE_SIZE);
      appendPage(segments, view.getBigUint64(8 * at, true), size);
      left -= size;
    }
    if (!chained) continue;
    list = view.getBigUint64(8 * pages, true);
    // So each list but the first has 511 pages: none leads to itself for ever.
    if ((list & OFFSET_MASK) !== 0n) throw new NvmeError(STATUS.INVALID_FIELD);
  }
  return segments;
}

function appendPage(segments: Segment[], iova: bigint, length: number): void {
  if ((iova & OFFSET_MASK) !== 0n) throw new NvmeError(STATUS.INVALID_FIELD);
  append(segments, iova, length);
}

/** Pages in a row become one segment. */
function append(segments: Segment[], iova: bigint, length: number): void {
  const last = segments.at(-1);
  if (last !== undefined && last.iova + BigInt(last.length) === iova) {
    segments[segments.length - 1] = { iova: last.iova, length: last.length + length };
  } else segments.push({ iova, length });
}
