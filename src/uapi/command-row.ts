/** What a command is: its request number and its struct. Names are the kernel's: `ioasId` is `ioas_id`. */
import type { Release } from '../rules.js';
import { type Answer, type Field, type Fields, field, Struct } from './struct.js';

/** A command whose argument is the address of a struct. */
export interface Command<F extends Fields = Fields> {
  /** The request number of ioctl(2). */
  readonly request: number;
  /** Bytes that the caller must at least have. */
  readonly least: number;
  /** What is known of the struct. */
  readonly struct: Struct<F>;
  /** The first release that has it; `6.12` also if it is older. */
  readonly since: Release;
  /** Which of the commands that share a request number, in the field at byte 4. */
  readonly op?: number;
  /** Whether it looks only at a file of a device, whichever device it comes to, even one that is closed. */
  readonly onFile?: true;
  /** What is written into the struct, which is written back then, also if the command fails. */
  readonly failureAnswer?: Answer<F>;
}

/** The fields of a struct that begins with its size. */
export type Sized<F extends Fields> = { readonly size: Field<'u32', 'size'> } & F;

/** What else a row of a table of commands says. */
interface RowOptions<F extends Fields> {
  readonly since?: Release;
  readonly failureAnswer?: Answer<Sized<F>>;
}

/** What commands are since that all profiles have. */
export const FIRST_RELEASE: Release = '6.12';

/** A row of a table of commands. */
export function command<const F extends Fields>(
  request: number,
  lengths: { readonly least: number; readonly known: number },
  fields: F,
  options: RowOptions<F> = {},
): Command<Sized<F>> {
  const struct = new Struct(lengths.known, { size: field('u32', 0, 'size'), ...fields });
  return Object.freeze({ request, least: lengths.least, struct, since: FIRST_RELEASE, ...options });
}

/** The lengths of a struct that has not grown since its command is there. */
export const unchanged = (length: number) => ({ least: length, known: length });
