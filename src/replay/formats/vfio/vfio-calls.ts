/**
 * Calls that a log has on two lines.
 */
import type { EventJoiner, LoggedEvent } from '../../log-format.js';
import type { VfioEvent, VfioUnmap } from './vfio-log.js';

/** What the C library says for errno 0, which a call that succeeded may honestly print. */
const NO_ERROR = 'Success';

/**
 * Joins the two lines of an unmap that was printed both before and after it was made.
 *
 * Some builds print a call before they make it. That line's RET is the variable's first value, 0, and its TEXT
 * is the sentence of an older error: `232 vfio_dma_unmap(…) = 0 (No such file or directory)`. The answer is on
 * the line after it. Read as two calls, the log would contradict itself. So an unmap line is taken as an
 * announcement, and not as a call of its own, exactly if
 *
 * 1. its RET is 0 and its TEXT is there and stale (a call that succeeded sets no errno, so any sentence but
 *    "Success" belongs to another call),
 * 2. the next event of the log is an unmap of the same range of the same container (lines that are no events,
 *    such as `IOMMU_IOAS_UNMAP failed: …`, may be in between),
 * 3. that line says that the call failed, or both lines carry source line numbers (the kernel answers a second
 *    unmap of one range with ENOENT, so two successes in a row are one call), and
 * 4. where both carry numbers, the second line's is greater: the same number twice is the same print statement,
 *    reached by two calls.
 *
 * Anything else is a call of its own, answered as its line says. What the rule can't tell apart is a successful
 * unmap that printed a stale sentence, repeated at once without source line numbers and answered with an error.
 */
export class VfioCallJoiner implements EventJoiner<VfioEvent> {
  #held: VfioUnmap | undefined;

  /** Takes the next event of the log and gives those that are certain now, in order. */
  next<Event extends LoggedEvent>(event: Event | VfioEvent): (Event | VfioEvent)[] {
    const held = this.#held;
    this.#held = undefined;
    if (held !== undefined && isUnmap(event) && announces(held, event)) {
      return [{ ...event, announcedOnLine: held.line }];
    }
    const before = held === undefined ? [] : [held];
    if (isUnmap(event) && mayAnnounce(event)) {
      this.#held = event;
      return before;
    }
    return [...before, event];
  }

  /** The event that was still held back, if any, at the end of the log. */
  end(): VfioUnmap[] {
    const held = this.#held;
    this.#held = undefined;
    return held === undefined ? [] : [held];
  }
}

function isUnmap(event: { readonly type: string }): event is VfioUnmap {
  return event.type === 'vfio-unmap';
}

function mayAnnounce(event: VfioUnmap): boolean {
  return event.result === 0 && event.text !== undefined && event.text !== NO_ERROR;
}

function announces(first: VfioUnmap, second: VfioUnmap): boolean {
  if (first.container !== second.container) return false;
  if (first.iova !== second.iova || first.length !== second.length) return false;
  if (first.sourceLine === undefined || second.sourceLine === undefined) return second.result !== 0;
  return first.sourceLine < second.sourceLine;
}
