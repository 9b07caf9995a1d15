/** What the functions that draw do with what no table gave. */
import { checkObject } from '../arguments.js';
import { invalidType } from '../u64.js';

/**
 * Draws a snapshot that came from outside.
 *
 * @throws TypeError (`ERR_INVALID_ARG_TYPE`) if it is no snapshot, with what was wrong as its cause, or `options` is
 * no object
 */
export function drawing(snapshot: unknown, options: unknown, draw: () => string): string {
  checkObject(options, 'options');
  try {
    return draw();
  } catch (cause) {
    const error = invalidType('snapshot', 'what a table gives as its snapshot', snapshot);
    throw Object.assign(error, { cause });
  }
}
