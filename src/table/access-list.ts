/**
 * The list of accesses attached to a table.
 *
 * Both functions are called with the domains lock and the iova lock held for writing.
 */
import { refuse } from '../errors.js';
import { faultPoint } from '../faults.js';
import { accessAlignment, checkAlignment, requiredAlignment } from './alignment.js';
import type { AttachedAccess, TableState } from './table-state.js';

const MOST_ACCESSES = 65536;

/**
 * Attaches an access under the lowest free number.
 *
 * @throws EBUSY if 65536 are attached, EADDRINUSE if an area does not fit the alignment that the access demands.
 */
export function addAccess(table: TableState, access: AttachedAccess): void {
  const free = table.accesses.indexOf(undefined);
  const number = free < 0 ? table.accesses.length : free;
  if (number >= MOST_ACCESSES)
    throw refuse('EBUSY', 'state', `the table has ${MOST_ACCESSES} accesses already`);
  checkAlignment(table, Math.max(table.alignment, accessAlignment(table, access)));
  faultPoint(table.faults, 'access-slot');
  table.accesses[number] = access;
  table.alignment = requiredAlignment(table);
}

/** Detaches an access. Never fails. */
export function removeAccess(table: TableState, access: AttachedAccess): void {
  table.accesses[table.accesses.indexOf(access)] = undefined;
  while (table.accesses.length > 0 && table.accesses.at(-1) === undefined) table.accesses.pop();
  table.alignment = requiredAlignment(table);
}
