/**
 * What the owner of a shared domain gives to other threads, and how they look at what they got.
 */
import { invalidType } from '../arguments.js';
import { sharedByteLength } from '../memory/buffers.js';
import { SUPPORTED_PAGE_SIZES } from './page-sizes.js';
import { isControl } from './shared-control.js';
import { TABLE_BYTES } from './table-entry.js';

/** What another thread needs to read a domain's page table. It can be sent to it (`postMessage`, `workerData`). */
export interface RadixHandle {
  /** The tables. */
  readonly tables: SharedArrayBuffer;
  /** What the owner and the readers tell each other. */
  readonly control: SharedArrayBuffer;
  /** Says which handle of the domain's it is, and whether it was taken back. */
  readonly ticket: SharedArrayBuffer;
  /** Which handle of the domain's it is, from 1 on. */
  readonly id: number;
  /** The domain's page sizes, as in `IommuDomain.pageSizeBitmap`. */
  readonly pageSizeBitmap: bigint;
}

/** Words of a ticket: the handle's id, and whether it was taken back. */
const ID = 0;
const TAKEN_BACK = 1;
const TICKET_BYTES = 2 * Int32Array.BYTES_PER_ELEMENT;

/** A new ticket of the handle with a number. */
export function newTicket(id: number): SharedArrayBuffer {
  const ticket = new SharedArrayBuffer(TICKET_BYTES);
  new Int32Array(ticket)[ID] = id;
  return ticket;
}

/** Says that a handle counts no more. */
export function takeBack(ticket: SharedArrayBuffer): void {
  Atomics.store(new Int32Array(ticket), TAKEN_BACK, 1);
}

/** Whether a handle was taken back. */
export function isTakenBack(ticket: SharedArrayBuffer): boolean {
  return Atomics.load(new Int32Array(ticket), TAKEN_BACK) !== 0;
}

/**
 * A copy of a handle, each part of which was read once.
 *
 * @throws TypeError (`ERR_INVALID_ARG_TYPE`) if it is no handle, or parts of several.
 */
export function readHandle(handle: RadixHandle): RadixHandle {
  const { tables, control, ticket, id, pageSizeBitmap } = handle ?? {};
  const bytes = sharedByteLength(tables) ?? 0;
  const sound =
    bytes > 0 &&
    bytes % TABLE_BYTES === 0 &&
    isControl(control) &&
    sharedByteLength(ticket) === TICKET_BYTES &&
    new Int32Array(ticket)[ID] === id &&
    id > 0 &&
    typeof pageSizeBitmap === 'bigint' &&
    pageSizeBitmap !== 0n &&
    (pageSizeBitmap & ~SUPPORTED_PAGE_SIZES) === 0n;
  if (!sound) throw invalidType(handle, 'handle', 'what RadixDomain.share gave');
  return { tables, control, ticket, id, pageSizeBitmap };
}
