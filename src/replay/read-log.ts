/**
 * Reads a log of any of the known formats, or of several mixed, line by line in bounded memory.
 */
import { IommufdAnswerJoiner } from './iommufd-answers.js';
import { type IommufdEvent, parseIommufdLine } from './iommufd-log.js';
import type { LogLines, MalformedLine } from './log-line.js';
import { parseVfioLine, VfioCallJoiner, type VfioEvent } from './vfio-log.js';
import { parseViommuLine, type ViommuEvent } from './virtio-iommu-log.js';

/** What a log says, one event a line; `type` is the discriminant. */
export type LogEvent = VfioEvent | ViommuEvent | IommufdEvent;

/**
 * The events of a log in order. Lines that are none are skipped; a malformed one is reported in its place and
 * doesn't end the run. Of an unmap printed before and after the call only the answer is given
 * (`VfioCallJoiner`), and an iommufd call that failed with −1 has the errno of the error line after it
 * (`IommufdAnswerJoiner`).
 */
export async function* readLog(lines: LogLines): AsyncGenerator<LogEvent | MalformedLine, void, undefined> {
  const calls = new VfioCallJoiner();
  const answers = new IommufdAnswerJoiner();
  let line = 0;
  for await (const text of lines) {
    line++;
    const event = parseViommuLine(text, line) ?? parseVfioLine(text, line) ?? parseIommufdLine(text, line);
    if (event === undefined) answers.read(text);
    else for (const call of calls.next(event)) yield* answers.next(call);
  }
  for (const call of calls.end()) yield* answers.next(call);
  yield* answers.end();
}
