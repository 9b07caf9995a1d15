/** The commands of a context: what programs ask of it, with fields and flags as the kernel takes them. */
import { type Abortable, type Operation, start } from '../operation.js';
import type { Context } from './context.js';

/** Performs a command; a signal among the options can stop it wherever it waits. */
export type Command<Fields, Answer, Options = unknown> = (
  context: Context,
  fields: Fields,
  options?: Options & Abortable,
) => Promise<Answer>;

/** Makes a command of the operation that it is. */
export function command<Fields, Answer, Options>(
  operation: (context: Context, fields: Fields, options?: Options) => Operation<Answer>,
): Command<Fields, Answer, Options> {
  return (context, fields, options) => start(operation(context, fields, options), options);
}
