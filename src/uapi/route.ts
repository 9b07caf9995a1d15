/** Commands as a device finds them: a row of a table with what performs it. */
import { IommuError } from '../errors.js';
import { isAtLeast, type Release } from '../rules.js';
import { type Arrival, type Body, Call } from './call.js';
import type { Command } from './command-row.js';
import type { Handler, Target } from './handlers.js';
import type { Fields } from './struct.js';

/** A command that a device has. */
export interface Route {
  /** What errors call it. */
  readonly name: string;
  readonly command: Command;
  /** Performs it. What it throws is the answer; else the answer is 0. */
  readonly perform: (arrival: Arrival, body: Body) => Promise<void>;
}

/** The commands of a table that a release has, each with its handler. */
export function routesOf<Rows extends Readonly<Record<string, Fields>>, T extends Target>(
  table: { readonly [Name in keyof Rows]: Command<Rows[Name]> },
  handlers: { readonly [Name in keyof Rows]: Handler<Rows[Name], T> },
  target: T,
  release: Release,
): Route[] {
  const names = Object.keys(table) as (keyof Rows & string)[];
  return names
    .filter((name) => isAtLeast(release, table[name].since))
    .map((name) => routeOf(name, table[name], handlers[name], target));
}

function routeOf<F extends Fields, T extends Target>(
  name: string,
  command: Command<F>,
  handler: Handler<F, T>,
  target: T,
): Route {
  const { failureAnswer } = command;
  const perform = (arrival: Arrival, body: Body) => {
    const call = new Call(command, arrival, body);
    call.refuseReserved();
    return handler(call, target);
  };
  if (failureAnswer === undefined) return { name: name.toLowerCase(), command, perform };
  const answering = async (arrival: Arrival, body: Body) => {
    try {
      await perform(arrival, body);
    } catch (error) {
      if (error instanceof IommuError) await new Call(command, arrival, body).respond(failureAnswer);
      throw error;
    }
  };
  return { name: name.toLowerCase(), command, perform: answering };
}
