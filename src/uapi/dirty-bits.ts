/** Dirty bitmaps in the memory of a process. */
import type { BitSink } from '../table/dirty.js';
import { PAGE_MASK } from '../u64.js';
import type { UserSpace } from './user-space.js';

/** Bytes of a bitmap that are worked on in one go. */
const CHUNK = 65_536n;

interface BitRun {
  readonly first: bigint;
  last: bigint;
}

/** Collects the bits that are to be set: the domain that tells them cannot wait for memory. */
export class DirtyBits {
  readonly #runs: BitRun[] = [];

  /** Takes bits, in ascending order of the first. */
  readonly add: BitSink = (first, last) => {
    const previous = this.#runs.at(-1);
    if (previous === undefined || first > previous.last + 1n) this.#runs.push({ first, last });
    else if (last > previous.last) previous.last = last;
  };

  /**
   * Sets the bits in a bitmap, which begins at any byte and has `count` bits, at least one. Bits after those are set as
   * far as the page of memory reaches that the last of them is in. What cannot be read or written is left out, and the
   * rest of its run with it.
   */
  async setIn(user: UserSpace, bitmap: bigint, count: bigint): Promise<void> {
    const lastOfPage = (bitmap + (count - 1n) / 8n) | BigInt(PAGE_MASK);
    const lastBit = (lastOfPage - bitmap) * 8n + 7n;
    for (const { first, last } of this.#runs) {
      if (first <= lastBit) await setRun(user, bitmap, { first, last: last < lastBit ? last : lastBit });
    }
  }
}

async function setRun(user: UserSpace, bitmap: bigint, { first, last }: BitRun): Promise<void> {
  const [firstByte, lastByte] = [first / 8n, last / 8n];
  const bitsOfFirst = (0xff << Number(first % 8n)) & 0xff;
  const bitsOfLast = 0xff >> (7 - Number(last % 8n));
  for (let from = firstByte; from <= lastByte; from += CHUNK) {
    const left = lastByte - from + 1n;
    const bytes = new Uint8Array(Number(left < CHUNK ? left : CHUNK));
    const readable = await user.readUpTo(bitmap + from, bytes);
    const set = new Uint8Array(bytes.length).fill(0xff);
    if (from === firstByte) set[0]! &= bitsOfFirst;
    if (left <= CHUNK) set[bytes.length - 1]! &= bitsOfLast;
    for (let at = 0; at < readable; at++) set[at]! |= bytes[at]!;
    const written = await user.writeUpTo(bitmap + from, set.subarray(0, readable));
    if (written < bytes.length) return;
  }
}
