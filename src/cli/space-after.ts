/**
 * The IOVA spaces as a log leaves them, for commands that look at one.
 */
import type { NamedSpace, ReplayQuestion } from '../replay/index.js';
import type { LogRun, LogRunOptions } from '../replay/log-run.js';
import { openLogRun } from '../replay/open-log.js';
import { openLog } from './log-input.js';
import { type Terminal, UsageError } from './terminal.js';

/** Which log, and up to where. */
export interface LogPart extends LogRunOptions {
  /** A file, or `-`. */
  readonly log: string;
}

/** A log on the model, stopped at a line. */
export interface StoppedLog {
  /** The spaces that there are, in the order in which the log names them. */
  readonly spaces: readonly NamedSpace[];
  /** The one that the last request was for. */
  readonly last: NamedSpace | undefined;
  /** A user address at which there is memory. */
  readonly userAddress: bigint;
}

/** In logs every user address below 2^47 is memory. */
const SOME_USER_ADDRESS = 0x7f00_0000_0000n;
/** Names that a message lists. */
const MOST_NAMES = 20;

/** Runs a log up to a line. @throws UsageError if it cannot be read */
export async function stoppedAfter(part: LogPart, terminal: Terminal): Promise<StoppedLog> {
  const { actions, replayer, userAddress = SOME_USER_ADDRESS } = await open(part, terminal);
  let last: NamedSpace | undefined;
  for await (const action of actions) last = (await action.run())?.space ?? last;
  return { spaces: [...replayer.spaces()], last, userAddress };
}

/**
 * The request of a line, on the spaces as they are before it.
 *
 * @throws UsageError if the log cannot be read, or that line is no request that could be explained
 */
export async function questionOn(line: number, part: LogPart, terminal: Terminal): Promise<ReplayQuestion> {
  const { actions } = await open(part, terminal);
  for await (const action of actions) {
    if (action.line === line || action.announcedOnLine === line) {
      const question = await action.question();
      if (question !== undefined) return question;
      break;
    }
    if (action.line > line) break;
    await action.run();
  }
  throw new UsageError(`line ${line} of ${part.log} is no map or unmap that could be explained`);
}

async function open(part: LogPart, terminal: Terminal): Promise<LogRun> {
  const input = await openLog(part.log, terminal);
  return await openLogRun({ name: input.name, lines: input.lines() }, part);
}

/**
 * The space that is meant by a name, or by a part of it.
 *
 * @throws UsageError if it is none or several; the message lists their names
 */
export function spaceNamed(name: string, spaces: readonly NamedSpace[]): NamedSpace {
  const exact = spaces.filter((space) => space.name === name);
  const [space, ...others] = exact.length > 0 ? exact : spaces.filter((each) => each.name.includes(name));
  if (space !== undefined && others.length === 0) return space;
  const listed = spaces.slice(0, MOST_NAMES).map((each) => each.name);
  if (spaces.length > MOST_NAMES) listed.push(`and ${spaces.length - MOST_NAMES} more`);
  const names = listed.join(', ') || 'none';
  throw new UsageError(
    `${name} names ${space === undefined ? 'no space' : 'several spaces'}; there are: ${names}`,
  );
}
