/** What the functions that draw do with what no table gave. */
import { checkObject, invalidType, outOfRange } from '../arguments.js';

/** The most characters of a picture; engines have strings of twice as many at least. */
const LONGEST = 2 ** 28;

/**
 * Draws a snapshot that came from outside, and puts the pieces of the picture together.
 *
 * @throws TypeError (`ERR_INVALID_ARG_TYPE`) if it is no snapshot, with what was wrong as its cause, or `options` is
 * no object; RangeError (`ERR_OUT_OF_RANGE`) if the picture has more than 2^28 characters
 */
export function drawing(
  snapshot: unknown,
  options: { readonly rows?: number },
  draw: () => Iterable<string>,
): string {
  checkObject(options, 'options');
  const pieces = piecesOf(snapshot, draw);
  if (pieces.reduce((length, piece) => length + piece.length, 0) > LONGEST) {
    const fewer = `so few that the picture has at most ${LONGEST} characters`;
    throw outOfRange(options.rows, 'options.rows', fewer);
  }
  return pieces.join('');
}

function piecesOf(snapshot: unknown, draw: () => Iterable<string>): string[] {
  try {
    return [...draw()];
  } catch (cause) {
    const error = invalidType(snapshot, 'snapshot', 'what a table gives as its snapshot');
    throw Object.assign(error, { cause });
  }
}
