/**
 * Reads a log of any of the known formats, or of several mixed, line by line in bounded memory.
 */
import { LOG_FORMATS, type LogEvent } from './formats/formats.js';
import { escapePattern, type LogLines, type MalformedLine } from './log-line.js';

/** What every line of a known format has in it. */
const MARKS = new RegExp(LOG_FORMATS.flatMap(({ marks }) => marks.map(escapePattern)).join('|'));

/**
 * The events of a log in order. Lines that are none are skipped; a malformed one is reported in its place and
 * doesn't end the run. Of an unmap printed before and after the call only the answer is given
 * (`VfioCallJoiner`), and an iommufd call that failed with −1 has the errno of the error line after it
 * (`IommufdAnswerJoiner`).
 */
export async function* readLog(lines: LogLines): AsyncGenerator<LogEvent | MalformedLine, void, undefined> {
  const joiners = LOG_FORMATS.flatMap((format) => format.join?.() ?? []);
  let line = 0;
  for await (const text of lines) {
    line++;
    const event = MARKS.test(text) ? readLine(text, line) : undefined;
    if (event === undefined) {
      for (const joiner of joiners) joiner.passBy?.(text);
      continue;
    }
    let events = [event];
    for (const joiner of joiners) events = events.flatMap((each) => joiner.next(each));
    yield* events;
  }
  let held: LogEvent[] = [];
  for (const joiner of joiners) held = [...held.flatMap((each) => joiner.next(each)), ...joiner.end()];
  yield* held;
}

function readLine(text: string, line: number): LogEvent | MalformedLine | undefined {
  for (const format of LOG_FORMATS) {
    const event = format.read(text, line);
    if (event !== undefined) return event;
  }
  return undefined;
}
