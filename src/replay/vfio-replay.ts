/**
 * Replays QEMU's VFIO container calls: every container is an IOVA space.
 */
import { hex } from '../u64.js';
import { compared, type ReplayJournal, type ReplayStep } from './figures.js';
import { measureHoles } from './holes.js';
import { agree, errnoName } from './logged-answer.js';
import {
  type Answer,
  changedBy,
  mapAsLogged,
  ReplaySpace,
  rangeInWords,
  type SpaceOptions,
} from './replay-space.js';
import type { VfioEvent } from './vfio-log.js';

/** The containers of a log on the model. */
export class VfioReplay {
  readonly #spaces = new Map<bigint, ReplaySpace>();
  readonly #options: SpaceOptions;
  readonly #journal: ReplayJournal;

  constructor(options: SpaceOptions, journal: ReplayJournal) {
    this.#options = options;
    this.#journal = journal;
  }

  /** The IOVA spaces, in the order in which the log names them. */
  get spaces(): Iterable<ReplaySpace> {
    return this.#spaces.values();
  }

  /** Runs a call and compares the answers: they agree if both succeed or both fail with the same errno. */
  async apply(event: VfioEvent): Promise<ReplayStep> {
    const { line, iova, length } = event;
    const space = await this.spaceOf(event.container);
    const where = rangeInWords(iova, length);
    const logged = errnoName(event.result);
    let operation: string;
    let answer: Answer;
    if (event.type === 'vfio-map') {
      const map = () => space.map(iova, event.uptr, length, 'rw');
      operation = `map ${where} from user ${hex(event.uptr)}`;
      answer = await mapAsLogged(this.#options, logged, event, map);
    } else {
      operation = `unmap ${where}`;
      answer = await space.unmap(iova, length);
    }
    const step = { line, operation, logged, answer, space, changed: changedBy(iova, length) };
    return compared(step, agree(logged, answer.code), this.#journal);
  }

  /** The space of a container, which begins where it is first named. */
  async spaceOf(container: bigint): Promise<ReplaySpace> {
    const known = this.#spaces.get(container);
    if (known !== undefined) return known;
    const space = await ReplaySpace.create(`container ${hex(container)}`, this.#options);
    this.#spaces.set(container, space);
    return space;
  }

  /** Ends all spaces. */
  async close(): Promise<void> {
    for (const space of this.#spaces.values()) {
      this.#journal.ended(space, measureHoles(space.table.snapshot()));
      await space.close();
    }
    this.#spaces.clear();
  }
}
