/**
 * Replays QEMU's VFIO container calls: every container is an IOVA space.
 */
import { hex } from '../../../u64.js';
import { compared, type ReplayStep } from '../../figures.js';
import type { FormatReplay, LogModel } from '../../log-format.js';
import { agree, errnoName } from '../../logged-answer.js';
import { changedBy, mapAsLogged, type ReplayQuestion, type ReplaySpace } from '../../replay-space.js';
import { beginSpace, endSpace } from '../../space-life.js';
import type { VfioEvent } from './vfio-log.js';
import { describeVfioEvent } from './vfio-words.js';

/** The containers of a log on the model. */
export class VfioReplay implements FormatReplay<VfioEvent> {
  readonly #spaces = new Map<bigint, ReplaySpace>();
  readonly #model: LogModel;

  constructor(model: LogModel) {
    this.#model = model;
  }

  get spaces(): Iterable<ReplaySpace> {
    return this.#spaces.values();
  }

  /** Runs a call and compares the answers: they agree if both succeed or both fail with the same errno. */
  async apply(event: VfioEvent): Promise<ReplayStep> {
    const { line, iova, length } = event;
    const space = await this.#spaceOf(event.container);
    const logged = errnoName(event.result);
    const given =
      event.type === 'vfio-map'
        ? await mapAsLogged(this.#model, logged, event, () => space.map(iova, event.uptr, length, 'rw'))
        : await space.unmap(iova, length);
    const operation = describeVfioEvent(event);
    const step = { line, operation, logged, answer: given, space, changed: changedBy(iova, length) };
    return compared(step, agree(logged, given.code), this.#model.journal);
  }

  async question(event: VfioEvent): Promise<ReplayQuestion> {
    const { iova, length } = event;
    const space = await this.#spaceOf(event.container);
    if (event.type === 'vfio-unmap') return { space, request: { call: 'unmap', iova, length } };
    return { space, request: { call: 'map', iova, uptr: event.uptr, length, prot: 'rw' } };
  }

  async close(): Promise<void> {
    for (const space of this.#spaces.values()) await endSpace(space, this.#model);
    this.#spaces.clear();
  }

  /** The space of a container, which begins where it is first named. */
  async #spaceOf(container: bigint): Promise<ReplaySpace> {
    const known = this.#spaces.get(container);
    if (known !== undefined) return known;
    const space = await beginSpace(`container ${hex(container)}`, this.#model);
    this.#spaces.set(container, space);
    return space;
  }
}
