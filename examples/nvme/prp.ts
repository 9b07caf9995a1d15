/** Where the data of a command is: one or two pages, or a list of pages that is in the guest's memory itself. */

const PAGE_SIZE = 4096;
const ENTRY_SIZE = 8;

/** A part of the data that is in a row. */
export interface Piece {
  readonly iova: bigint;
  readonly length: number;
}

/**
 * The pieces of `length` bytes.
 *
 * @param read - fills a buffer with guest memory
 * @throws RangeError (rejects with it) if anything but the first piece or list begins within a page
 */
export async function dataPieces(
  read: (iova: bigint, target: Uint8Array) => Promise<unknown>,
  prp1: bigint,
  prp2: bigint,
  length: number,
): Promise<Piece[]> {
  const first = Math.min(length, PAGE_SIZE - pageOffset(prp1));
  const pieces: Piece[] = [{ iova: prp1, length: first }];
  let left = length - first;
  const add = (iova: bigint) => {
    checkAligned(iova);
    const part = Math.min(left, PAGE_SIZE);
    pieces.push({ iova, length: part });
    left -= part;
  };
  if (left > 0 && left <= PAGE_SIZE) add(prp2);
  for (let list = prp2; left > 0; ) {
    // A list ends with its page; its last entry then leads to the next one.
    const room = (PAGE_SIZE - pageOffset(list)) / ENTRY_SIZE;
    const wanted = Math.ceil(left / PAGE_SIZE);
    const entries = new BigUint64Array(Math.min(room, wanted));
    await read(list, new Uint8Array(entries.buffer));
    const continued = wanted > room;
    for (const iova of continued ? entries.subarray(0, -1) : entries) add(iova);
    if (!continued) continue;
    list = entries.at(-1)!;
    // So each list but the first has 511 pages: none leads to itself for ever.
    checkAligned(list);
  }
  return pieces;
}

const pageOffset = (iova: bigint) => Number(iova & BigInt(PAGE_SIZE - 1));

function checkAligned(iova: bigint): void {
  if (pageOffset(iova) !== 0) throw new RangeError(`0x${iova.toString(16)} is not the begin of a page`);
}
