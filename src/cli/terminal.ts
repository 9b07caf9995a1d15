/**
 * What the command line reads from and writes to; tests bring their own.
 */
import { printable } from '../render/index.js';

/** The standard streams of a command. */
export interface Terminal {
  /** Standard input. */
  readonly input: AsyncIterable<Uint8Array>;
  /** Whether a person types it. */
  readonly inputIsTerminal: boolean;
  /** Writes to standard output; a promise where the other end is slow. */
  out(text: string): void | Promise<void>;
  /** Writes to standard error. */
  err(text: string): void;
  /** Columns of the terminal behind standard error; `undefined` if there is none. */
  readonly errColumns: number | undefined;
}

/** Says what is wrong with the usage. */
export function complain(terminal: Terminal, message: string): void {
  terminal.err(`iopt: ${printable(message)} (iopt --help tells more)\n`);
}

/** Exit statuses. */
export const EXIT = Object.freeze({
  /** The log agrees with the model; the call would succeed. */
  AGREES: 0,
  /** It doesn't; the call would fail. */
  DIFFERS: 1,
  /** The arguments are wrong, or there is nothing to work on. */
  BAD_USAGE: 2,
} as const);

/** The arguments are wrong, or name something that cannot be had. Ends the command with status 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}
