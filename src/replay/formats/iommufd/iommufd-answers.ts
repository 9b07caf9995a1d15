/**
 * The errno of an iommufd call that a QEMU logged as −1.
 */

import type { EventJoiner, LoggedEvent } from '../../log-format.js';
import { errnoInWords } from '../../logged-answer.js';
import type { IommufdEvent } from './iommufd-log.js';

/** The calls, as opposed to what only tells that an object came or went. */
type IommufdCall = Extract<IommufdEvent, { readonly result: number }>;

/**
 * Puts calls and the error lines after them together.
 *
 * Many versions of QEMU trace the return value of `ioctl`, −1, and then print what `errno` says:
 * `IOMMU_IOAS_MAP failed: File exists`. A call with −1 is therefore held back until the next event; the first line
 * before that which tells of a failure in the C library's words names its errno. A log that has no such lines (they
 * go to another file) leaves it open which error it was. Read as an errno, −1 would be EPERM, which no call of the
 * log can get but one of a nested page table.
 */
export class IommufdAnswerJoiner implements EventJoiner<IommufdEvent> {
  #held: IommufdCall | undefined;

  /** Takes the next event of the log and gives those that are certain now, in order. */
  next<Event extends LoggedEvent>(event: Event | IommufdEvent): (Event | IommufdEvent)[] {
    const before = this.end();
    if (!isCall(event) || event.result !== -1) return [...before, event];
    this.#held = event;
    return before;
  }

  /** Takes a line that is no event. */
  passBy(text: string): void {
    const held = this.#held;
    if (held === undefined || held.failure !== undefined || !/fail|error|unable/i.test(text)) return;
    const failure = errnoInWords(text);
    if (failure !== undefined) this.#held = { ...held, failure };
  }

  /** The event that was still held back, if any. */
  end(): IommufdCall[] {
    const held = this.#held;
    this.#held = undefined;
    return held === undefined ? [] : [held];
  }
}

function isCall(event: { readonly type: string }): event is IommufdCall {
  return event.type.startsWith('iommufd-') && 'result' in event;
}
