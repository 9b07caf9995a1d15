/**
 * The IOVA spaces as a log leaves them, for commands that look at one.
 */
import {
  type LogEvent,
  type MalformedLine,
  Replayer,
  type ReplayQuestion,
  type ReplaySpace,
  readLog,
} from '../replay/index.js';
import type { Profile } from '../table/table-state.js';
import { linesUntil, openLog } from './log-input.js';
import { type Terminal, UsageError } from './terminal.js';

/** Which log, and up to where. */
export interface LogPart {
  /** A file, or `-`. */
  readonly log: string;
  readonly profile: Profile;
  /** The last line that is run. */
  readonly until: number;
  /** Bytes that may be locked; absent: no limit. */
  readonly lockedLimit: bigint | undefined;
}

/** A log on the model, stopped at a line. */
export interface StoppedLog {
  /** The spaces that there are, in the order in which the log names them. */
  readonly spaces: readonly ReplaySpace[];
  /** The one that the last request was for. */
  readonly last: ReplaySpace | undefined;
}

/** Runs a log up to a line. @throws UsageError if it cannot be read */
export async function stoppedAfter(part: LogPart, terminal: Terminal): Promise<StoppedLog> {
  const replayer = new Replayer(part);
  let last: ReplaySpace | undefined;
  for await (const event of eventsOf(part, terminal)) last = (await replayer.apply(event))?.space ?? last;
  return { spaces: [...replayer.spaces()], last };
}

/**
 * The request of a line, on the spaces as they are before it.
 *
 * @throws UsageError if the log cannot be read, or that line is no map or unmap
 */
export async function questionOn(line: number, part: LogPart, terminal: Terminal): Promise<ReplayQuestion> {
  const replayer = new Replayer(part);
  for await (const event of eventsOf(part, terminal)) {
    if (isOn(event, line)) {
      const question = event.type === 'malformed' ? undefined : await replayer.question(event);
      if (question !== undefined) return question;
      break;
    }
    if (event.line > line) break;
    await replayer.apply(event);
  }
  throw new UsageError(`line ${line} of ${part.log} is no map or unmap that could be explained`);
}

async function* eventsOf({ log, until }: LogPart, terminal: Terminal) {
  const input = await openLog(log, terminal);
  const lines = linesUntil(input.lines(), until);
  const first = await lines.next();
  if (first.done === true) throw new UsageError(`${input.name} is empty`);
  if (first.value.startsWith('{')) {
    throw new UsageError(`${input.name} is a conformance trace, which can be replayed only as a whole`);
  }
  yield* readLog(withFirst(first.value, lines));
}

async function* withFirst(first: string, rest: AsyncIterable<string>): AsyncGenerator<string> {
  yield first;
  yield* rest;
}

/** Whether an event was read from a line, or announced there. */
function isOn(event: LogEvent | MalformedLine, line: number): boolean {
  return event.line === line || ('announcedOnLine' in event && event.announcedOnLine === line);
}

/**
 * The space that is meant by a name, or by a part of it.
 *
 * @throws UsageError if it is none or several; the message lists their names
 */
export function spaceNamed(name: string, spaces: readonly ReplaySpace[]): ReplaySpace {
  const exact = spaces.filter((space) => space.name === name);
  const [space, ...others] = exact.length > 0 ? exact : spaces.filter((each) => each.name.includes(name));
  if (space !== undefined && others.length === 0) return space;
  const names = spaces.map((each) => each.name).join(', ') || 'none';
  throw new UsageError(
    `${name} names ${space === undefined ? 'no space' : 'several spaces'}; there are: ${names}`,
  );
}
