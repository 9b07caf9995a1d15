/**
 * Memory of a device that other devices may use: what the page table asks of a dma-buf.
 *
 * A dma-buf has no pages of a process: it is never pinned and never charged. Its exporter may take it back at any time.
 */
import { checkInteger, invalidType, outOfRange } from '../arguments.js';
import { LAST_PAGE, MAX_U64 } from '../u64.js';

/**
 * A dma-buf, as `IoPagetable` needs it to map one by file (IOMMU_IOAS_MAP_FILE). `DmaBufExporter` implements it; bring
 * your own for others.
 */
export interface DmaBuf {
  /** The first of its frames, which are consecutive. */
  readonly pfn: number;
  /** Length in bytes. */
  readonly size: bigint;
  /** Whether the exporter refuses new mappings for now. */
  readonly revoked: boolean;
  /**
   * How often the exporter has taken all mappings back so far. What was mapped before the last time is empty for good:
   * mappings remember the number they were made at.
   */
  readonly invalidations: number;
  /**
   * Has `listener` called whenever the exporter takes all mappings back, after `invalidations` has gone up. When it
   * returns, domains have no entries any more; if it gives a promise, devices use none any more when that is settled.
   *
   * @returns what ends that
   */
  onInvalidate(listener: () => void | PromiseLike<void>): () => void;
}

/** Whether what is mapped by file is a dma-buf, and not a file. */
export function isDmaBuf(file: object): file is DmaBuf {
  return 'onInvalidate' in file;
}

/** @throws TypeError or RangeError if `buffer` lacks what every `DmaBuf` has. */
export function checkDmaBuf(buffer: DmaBuf, name: string): void {
  const { pfn, size, onInvalidate } = buffer;
  if (typeof onInvalidate !== 'function') throw invalidType(buffer, name, 'a DmaBuf: it has no onInvalidate');
  checkInteger(pfn, `${name}.pfn`, 0, LAST_PAGE);
  if (typeof size !== 'bigint') throw invalidType(size, `${name}.size`, 'a bigint');
  if (size < 1n || size > MAX_U64) throw outOfRange(size, `${name}.size`, 'between 1 and 2^64 - 1');
}
