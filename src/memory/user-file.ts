/**
 * A file whose pages are mapped by file, without an address in a process: what the page table asks of it.
 *
 * Pages of a file come as numbers (the byte offset divided by 4096), physical pages as frame numbers (pfn).
 */
import { checkObject, invalidType } from '../arguments.js';
import { checkDmaBuf, type DmaBuf, isDmaBuf } from './dma-buf.js';
import type { FrameRuns } from './frame-runs.js';
import { checkFrameMemory, type PinHolder } from './user-memory.js';

/**
 * A file, as `IoPagetable` needs it to map by file (IOMMU_IOAS_MAP_FILE). `MemoryFile` implements it; bring your own for
 * others.
 *
 * The bytes of pinned frames are had as those of a `UserMemory` are: as live views, or by copy. As there, `pin` and the
 * copies may answer with promises; the table holds locks meanwhile.
 */
export interface UserFile extends PinHolder {
  /**
   * Pins up to `count` pages of the file that begin with page `page` and appends their frames to `into`. Pages that the
   * file does not have yet, inside of its size, are made: they are zero.
   *
   * Gives the number of pages pinned, at least 1; fewer than `count` means "ask again for the rest". The answer may be a
   * promise; `into` is appended to before it settles. Neither the access mode of a descriptor nor a seal matters.
   *
   * @param page - page of the file: the byte offset divided by 4096, below 2^51
   * @param count - pages asked for, at least 1
   * @throws (or rejects with) an `IommuError` EINVAL if the last byte of one of the pages is not in the file, or the
   * file is of a kind whose pages cannot be pinned; ENOMEM if a page that is missing cannot be made. Nothing is pinned then.
   */
  pin(page: number, count: number, into: FrameRuns): number | Promise<number>;

  /**
   * Whether `count` pages from `page` on can be pinned and copied right now. A file whose `pin` or copies may answer with
   * a promise must have it, so that the synchronous calls can refuse before they change anything; absent means always.
   */
  resident?(page: number, count: number): boolean;
}

/** @throws TypeError or RangeError if `file` is neither a `UserFile` nor a `DmaBuf`, or lacks what all of them have. */
export function checkSource(file: UserFile | DmaBuf, name: string): void {
  checkObject(file, name);
  if (isDmaBuf(file)) {
    checkDmaBuf(file, name);
    return;
  }
  for (const part of ['pin', 'unpin'] as const) {
    if (typeof file[part] !== 'function') throw invalidType(file, name, `a UserFile: it has no ${part}`);
  }
  checkFrameMemory(file, name);
}
