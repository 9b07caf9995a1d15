/**
 * The way that nearly every synchronous read and write goes: straight copies of the process's own memory, with no
 * operation, no list and no promise on the way.
 *
 * It is only a quicker `transferRange`. Where anything is out of the ordinary it leaves the whole transfer to that,
 * which copies the same bytes again and gives the error its name.
 */
import { enterCallOut, leaveCallOut } from '../call-out.js';
import type { UserMemory } from '../memory/user-memory.js';
import { READ, WRITE } from '../protection.js';
import type { IoptArea } from '../table/iopt-area.js';
import type { TableState } from '../table/table-state.js';
import { type Interval, PAGE_MASK, PAGE_SHIFT, PAGE_SIZE } from '../u64.js';

/** Copies all of `buffer` from or to a range of its length; `false` if it did not, for whatever reason. */
export function transferDirectly(
  table: TableState,
  range: Interval,
  buffer: Uint8Array,
  write: boolean,
): boolean {
  const { areas } = table;
  let { page, offset } = range;
  let done = 0;
  for (let node = areas.first(range); node !== undefined; node = areas.next(node)) {
    const area = node.value;
    if (area.page > page || (area.page === page && area.offset > offset) || !isPlain(area, write))
      return false;
    const pages = area.pages!;
    const room = (area.lastPage - page) * PAGE_SIZE + (area.lastOffset - offset) + 1;
    const length = Math.min(room, buffer.length - done);
    const bytes = offset - area.offset + area.pageOffset;
    const userPage = pages.userPage + area.index + (page - area.page) + (bytes >> PAGE_SHIFT);
    if (copy(pages.memory, userPage, bytes & PAGE_MASK, buffer, done, length, write) !== length) return false;
    done += length;
    if (done === buffer.length) return true;
    page = area.lastOffset === PAGE_MASK ? area.lastPage + 1 : area.lastPage;
    offset = (area.lastOffset + 1) & PAGE_MASK;
  }
  return false;
}

/** Whether an area can be copied from or to without a question left open. */
function isPlain(area: IoptArea, write: boolean): boolean {
  const { pages } = area;
  if (pages === undefined || area.preventAccess || (area.prot & (write ? WRITE : READ)) === 0) return false;
  if (write && !pages.writable) return false;
  const { memory } = pages;
  return memory.exited !== true && memory.resident === undefined;
}

function copy(
  memory: UserMemory,
  page: number,
  offset: number,
  buffer: Uint8Array,
  at: number,
  length: number,
  write: boolean,
): number | PromiseLike<number> {
  enterCallOut();
  try {
    return write
      ? memory.copyToUser(page, offset, buffer, at, length)
      : memory.copyFromUser(page, offset, buffer, at, length);
  } finally {
    leaveCallOut();
  }
}
