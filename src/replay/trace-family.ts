/**
 * A family of QEMU's trace events, whose lines are the family's name, the event's name and its values.
 */
import type { EventOf, LoggedEvent } from './log-format.js';
import { findTraceEvent, type LineForm, type MalformedLine, malformed } from './log-line.js';

/** How one type of event looks in a log. */
interface TraceLine<Event extends LoggedEvent> {
  /** The event's name without the family's, with the spaces that QEMU prints behind it if those are several. */
  readonly name: string;
  /** The values behind the name. */
  readonly form: Pick<LineForm<string>, 'form'> & {
    read(text: string): Omit<Event, 'type' | 'line'> | undefined;
    write(values: Event): string;
  };
  /** What is wrong with values that have the form, if anything is. */
  problem?(event: Event): string | undefined;
}

/** The lines of a family: one form for each type of event. */
export type TraceLines<Event extends LoggedEvent> = {
  readonly [Type in Event['type']]: TraceLine<EventOf<Event, Type>>;
};

/** Reads and writes the lines of a family. */
export interface TraceFamily<Event extends LoggedEvent> {
  /** Reads one line: its event, the report of a malformed one, or `undefined` if it is something else. */
  read(text: string, line: number): Event | MalformedLine | undefined;
  /** The line of an event as QEMU prints it, without a prefix; `read` reads it back. */
  write(event: Event): string;
}

/** @param family - what the names of the family's events begin with: `virtio_iommu_` */
export function traceFamily<Event extends LoggedEvent>(
  family: string,
  lines: TraceLines<Event>,
): TraceFamily<Event> {
  const types = Object.keys(lines) as Event['type'][];
  const byName = new Map(types.map((type) => [lines[type].name.trimEnd(), type]));
  const lineOf = (type: Event['type']): TraceLine<Event> => lines[type];
  return {
    read(text, line) {
      const found = findTraceEvent(text, line, family);
      const type = found && byName.get(found.name);
      if (type === undefined) return undefined;
      const { form, problem } = lineOf(type);
      const values = form.read(found!.rest);
      if (values === undefined) return malformed(line, text, `expected ${found!.name} ${form.form}`);
      const event = { type, line, ...values } as Event;
      const wrong = problem?.(event);
      return wrong === undefined ? event : malformed(line, text, wrong);
    },
    write(event) {
      const { name, form } = lineOf(event.type);
      return `${family}${name}${name.endsWith(' ') ? '' : ' '}${form.write(event)}`;
    },
  };
}
