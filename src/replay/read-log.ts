/**
 * Reads a log of any of the known formats, or of several mixed, line by line in bounded memory.
 */
import { LOG_FORMATS, type LogEvent } from './formats/formats.js';
import type { LogLines, MalformedLine } from './log-line.js';

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
    const event = readLine(text, line);
    if (event === undefined) {
      for (const joiner of joiners) joiner.passBy?.(text);
      continue;
    }
    let events = [event];
    for (const joiner of joiners) events = events.flatMap((each) => joiner.next(each));
    // A plain loop: `yield*` would wait for each item once more.
    for (const each of events) yield each;
  }
  let held: LogEvent[] = [];
  for (const joiner of joiners) held = [...held.flatMap((each) => joiner.next(each)), ...joiner.end()];
  for (const each of held) yield each;
}

/** Whether a line, the first of a log, is an event of one of the formats of lines. */
export function isLogLine(text: string): boolean {
  const event = readLine(text, 1);
  return event !== undefined && event.type !== 'malformed';
}

function readLine(text: string, line: number): LogEvent | MalformedLine | undefined {
  for (const format of LOG_FORMATS) {
    if (!hasMark(text, format.marks)) continue;
    const event = format.read(text, line);
    if (event !== undefined) return event;
  }
  return undefined;
}

function hasMark(text: string, marks: readonly string[]): boolean {
  for (const mark of marks) if (text.includes(mark)) return true;
  return false;
}
