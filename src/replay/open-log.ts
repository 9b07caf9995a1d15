/**
 * A log of whatever format on the model, event by event.
 */
import { resolveProfile } from '../rules.js';
import { RECORDING_FORMATS } from './formats/recordings.js';
import { LogError } from './log-error.js';
import type { LogAction, LogListener, LogRun, LogRunOptions, LogSource } from './log-run.js';
import { isLogLine, readLog } from './read-log.js';
import { Replayer } from './replayer.js';

/**
 * Opens a log; what kind it is is seen from its first line.
 *
 * @throws LogError if it is empty, or a recording that cannot be read or that the options cannot be for
 */
export async function openLogRun(
  { name, lines }: LogSource,
  options: LogRunOptions,
  listener: LogListener = {},
): Promise<LogRun> {
  const rest = linesUntil(lines, options.until);
  const first = await rest.next();
  if (first.done === true) throw new LogError('ERR_LOG_EMPTY', `${name} is empty`);
  const recording = isLogLine(first.value)
    ? undefined
    : RECORDING_FORMATS.find((format) => format.begins(first.value));
  if (recording !== undefined) return recording.open(name, first.value, rest, options, listener);
  const { profile = resolveProfile(), lockedLimit } = options;
  const replayer = new Replayer({ ...listener, profile, lockedLimit });
  return { profile, userAddress: undefined, actions: actionsOf(replayer, first.value, rest), replayer };
}

async function* actionsOf(
  replayer: Replayer,
  first: string,
  rest: AsyncGenerator<string>,
): AsyncGenerator<LogAction, void, undefined> {
  for await (const event of readLog(withFirst(first, rest))) {
    yield {
      line: event.line,
      announcedOnLine: 'announcedOnLine' in event ? event.announcedOnLine : undefined,
      run: () => replayer.apply(event),
      question: async () => (event.type === 'malformed' ? undefined : replayer.question(event)),
      explain: async () => (event.type === 'malformed' ? undefined : replayer.explain(event)),
    };
  }
}

/** All lines, when the first has been read. No generator: each of those makes every line wait once more. */
function withFirst(first: string, rest: AsyncGenerator<string>): AsyncIterable<string> {
  let begun = false;
  const lines: AsyncIterator<string> = {
    next() {
      if (begun) return rest.next();
      begun = true;
      return Promise.resolve({ value: first, done: false });
    },
    return: () => rest.return(undefined),
  };
  return { [Symbol.asyncIterator]: () => lines };
}

/** The lines up to number `last`, the first being 1. */
async function* linesUntil(
  lines: AsyncIterable<string>,
  last: number,
): AsyncGenerator<string, void, undefined> {
  let line = 0;
  for await (const text of lines) {
    if (++line > last) return;
    yield text;
    if (line === last) return;
  }
}
