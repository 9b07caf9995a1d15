/**
 * What a format of log lines is. A format is a folder of `formats/` and an entry of the list in `formats/formats.ts`;
 * what reads, runs, explains and reports logs knows none of them by name.
 */
import type { UserMemory } from '../memory/user-memory.js';
import type { ReplayJournal, ReplayStep } from './figures.js';
import type { LogPlace, MalformedLine } from './log-line.js';
import type { LogRoom } from './log-room.js';
import type { LoggedFile } from './logged-memory.js';
import type { ReplayQuestion, ReplaySpace, SpaceOptions } from './replay-space.js';

/** Something that a log says. */
export interface LoggedEvent extends LogPlace {
  /** Its format's name, `-`, and what it is: `vfio-map`. */
  readonly type: string;
  /** Another line of the log that it stands on. */
  readonly announcedOnLine?: number;
}

/** One format of lines. It is only ever given events of its own. */
export interface LogFormat<Event extends LoggedEvent> {
  /** What the types of its events begin with, up to the first `-`; no other format has it. */
  readonly name: string;
  /** Every line of this format has one of these in it: the others are passed over without a closer look. */
  readonly marks: readonly string[];
  /** Reads one line: its event, the report of a malformed one, or `undefined` if it is something else. */
  read(text: string, line: number): Event | MalformedLine | undefined;
  /** The line of an event, without a prefix; `read` gives the event back. */
  write(event: Event): string;
  /** What an event is about, in words: `unmap [0xff000000, 0xffffffff] of ioas 2`. */
  describe(event: Event): string;
  /** Makes what joins lines that are one event, where that happens. */
  join?(): EventJoiner<Event>;
  /** Begins a log on the model. */
  begin(model: LogModel): FormatReplay<Event>;
}

/**
 * Joins lines of a log that are one event. It sees every event, those of other formats too, as each of them ends what
 * was held back before it.
 */
export interface EventJoiner<Own extends LoggedEvent> {
  /** Takes the next event of the log and gives those that are certain now, in order. */
  next<Event extends LoggedEvent>(event: Event | Own): (Event | Own)[];
  /** Takes a line that is no event. */
  passBy?(text: string): void;
  /** The events that were still held back at the end of the log. */
  end(): Own[];
}

/** What a format's events are run with. */
export interface LogModel extends SpaceOptions {
  /** User address of guest physical 0, for logs in which a guest's addresses stand. */
  readonly guestRam: bigint;
  /** `memory`, for looking at what is behind an address: what is pinned by it is not counted. */
  readonly lookup: UserMemory;
  /** The file that a descriptor of the VMM's is of. */
  readonly file: (fd: number) => LoggedFile;
  /** Whom to tell what was found. */
  readonly journal: ReplayJournal;
  /** What is asked before anything is kept that a log could name without end. */
  readonly room: LogRoom;
}

/** A log on the model, as far as its events are of one format. There may be any number of address spaces. */
export interface FormatReplay<Event extends LoggedEvent> {
  /** The IOVA spaces that there are now, in the order in which the log names them. */
  readonly spaces: Iterable<ReplaySpace>;
  /**
   * Runs an event. Gives the request with the model's answer if it is one that changes an IOVA space; what is compared
   * later goes to the journal.
   */
  apply(event: Event): Promise<ReplayStep | undefined>;
  /** The request of an event as a question for its space, if it is a map or an unmap. Nothing is run. */
  question(event: Event): Promise<ReplayQuestion | undefined>;
  /** A line of the log could not be read: what is open may have been answered there. */
  forget?(): void;
  /** The log ends: what is open is compared, and all spaces are measured and emptied. */
  close(): Promise<void>;
}

/** The events of a union that may have a type. */
export type EventOf<Event extends LoggedEvent, Type> = Event extends { readonly type: infer Types }
  ? Type extends Types
    ? Event
    : never
  : never;

/** A function for each type of event. */
export type EventHandlers<Event extends LoggedEvent, Result> = {
  readonly [Type in Event['type']]: (event: EventOf<Event, Type>) => Result;
};

/** The function for an event. */
export function handlerOf<Event extends LoggedEvent, Result>(
  handlers: EventHandlers<Event, Result>,
  { type }: { readonly type: Event['type'] },
): (event: Event) => Result {
  return handlers[type] as (event: Event) => Result;
}
