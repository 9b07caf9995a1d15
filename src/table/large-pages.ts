/**
 * The large-pages option of a table.
 *
 * Called with the domains lock and the iova lock held for writing.
 */
import { refuse } from '../errors.js';
import { PAGE_SIZE } from '../u64.js';
import { checkAlignment, requiredAlignment } from './alignment.js';
import type { TableState } from './table-state.js';

/**
 * Lets domains use large pages, or not.
 *
 * @throws when disabling: EINVAL if the table has a domain and an area, EADDRINUSE if an area is not page aligned.
 */
export function setLargePages(table: TableState, enable: boolean): void {
  if (!enable && table.largePages) {
    if (table.domains.length > 0 && table.areas.size > 0) {
      throw refuse('EINVAL', 'state', 'large pages cannot be disabled once a table has a domain and an area');
    }
    checkAlignment(table, PAGE_SIZE);
  }
  table.largePages = enable;
  table.alignment = requiredAlignment(table);
}
