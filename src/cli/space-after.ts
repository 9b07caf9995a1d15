/**
 * The IOVA spaces as a log leaves them, for commands that look at one.
 */
import type { NamedSpace, ReplayQuestion } from '../replay/index.js';
import { openLog } from './log-input.js';
import { type LogRun, type LogRunOptions, openRun } from './log-run.js';
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

/** Runs a log up to a line. @throws UsageError if it cannot be read */
export async function stoppedAfter(part: LogPart, terminal: Terminal): Promise<StoppedLog> {
  const { actions, replayer, userAddress } = await open(part, terminal);
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
  return await openRun(await openLog(part.log, terminal), part);
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
  const names = spaces.map((each) => each.name).join(', ') || 'none';
  throw new UsageError(
    `${name} names ${space === undefined ? 'no space' : 'several spaces'}; there are: ${names}`,
  );
}
