/**
 * Replays the DMA_MAP and DMA_UNMAP messages of vfio-user clients, one IOVA space after the other.
 */
import { protectionName } from '../../../protection.js';
import { compared, type ReplayStep } from '../../figures.js';
import { type EventHandlers, type FormatReplay, handlerOf, type LogModel } from '../../log-format.js';
import { agree, errnoName } from '../../logged-answer.js';
import {
  type Answer,
  answer,
  changedBy,
  type ReplayQuestion,
  type ReplaySpace,
  unmappedAnswer,
} from '../../replay-space.js';
import { beginSpace, endSpace } from '../../space-life.js';
import type { VfioUserEvent, VfioUserMap, VfioUserReply, VfioUserUnmap } from './vfio-user-log.js';
import { describeVfioUserEvent } from './vfio-user-words.js';

/** Offsets in files, and IOVA of memory without one, are taken below this: more cannot be told apart. */
const USER_SPAN = 2n ** 45n;
/** Where in user space the memory without files is. */
const MESSAGE_MEMORY = 2n ** 46n;
/** The most calls whose answers may be still to come: ids have 16 bits. */
const MOST_OPEN = 2 ** 16;

/** A call that was made, and what the model said. */
interface OpenCall {
  readonly operation: string;
  readonly answer: Answer;
}

/**
 * The clients of a log on the model. An unmap of nothing succeeds, as the protocol has it; what a log does not answer must have
 * succeeded.
 */
export class VfioUserReplay implements FormatReplay<VfioUserEvent> {
  readonly #model: LogModel;
  #space: ReplaySpace | undefined;
  #clients = 0;
  readonly #open = new Map<string, OpenCall>();

  readonly #handlers: EventHandlers<VfioUserEvent, Promise<ReplayStep | undefined>> = {
    'vfiouser-begin': () => this.#begin(),
    'vfiouser-map': (event) => this.#map(event),
    'vfiouser-unmap': (event) => this.#unmap(event),
    'vfiouser-reply': (event) => this.#reply(event),
  };

  constructor(model: LogModel) {
    this.#model = model;
  }

  get spaces(): Iterable<ReplaySpace> {
    return this.#space === undefined ? [] : [this.#space];
  }

  apply(event: VfioUserEvent): Promise<ReplayStep | undefined> {
    return handlerOf(this.#handlers, event)(event);
  }

  async question(event: VfioUserEvent): Promise<ReplayQuestion | undefined> {
    if (event.type !== 'vfiouser-map' && event.type !== 'vfiouser-unmap') return undefined;
    const { iova, length } = event;
    const space = await this.#current();
    if (event.type === 'vfiouser-unmap') return { space, request: { call: 'unmap', iova, length } };
    const prot = protectionName(event.flags);
    return { space, request: { call: 'map', iova, uptr: this.#userAddress(event), length, prot } };
  }

  async close(): Promise<void> {
    this.#open.clear();
    const space = this.#space;
    this.#space = undefined;
    if (space !== undefined) await endSpace(space, this.#model);
  }

  async #begin(): Promise<undefined> {
    await this.close();
    await this.#current();
  }

  async #map(event: VfioUserMap): Promise<ReplayStep> {
    const { iova, length } = event;
    const space = await this.#current();
    const given = await space.map(iova, this.#userAddress(event), length, protectionName(event.flags));
    return this.#step(event, space, given, given.code === 'OK');
  }

  async #unmap(event: VfioUserUnmap): Promise<ReplayStep> {
    const { iova, length, removed } = event;
    const space = await this.#current();
    const before = space.table.areaCount;
    const given = await answer(async () => unmappedAnswer(await space.table.unmap(iova, length)));
    const went = before - space.table.areaCount;
    if (given.code !== 'OK' || removed === undefined || removed === went) {
      return this.#step(event, space, given, given.code === 'OK');
    }
    const because = `${went} of its mappings lay wholly inside, where the log says ${removed}`;
    return this.#step(event, space, { ...given, because }, false);
  }

  /** The step of a call: compared now, unless its answer comes later in the log. */
  #step(event: VfioUserMap | VfioUserUnmap, space: ReplaySpace, given: Answer, agrees: boolean): ReplayStep {
    const { line, id, iova, length } = event;
    const operation = describeVfioUserEvent(event);
    const step = { line, operation, answer: given, space, changed: changedBy(iova, length) };
    if (id === undefined) return compared({ ...step, logged: 'OK' }, agrees, this.#model.journal);
    if (this.#open.size < MOST_OPEN) {
      this.#open.set(`${event.type} ${id}`, { operation, answer: given });
    }
    return { ...step, logged: 'on a later line' };
  }

  async #reply({ line, call, id, error }: VfioUserReply): Promise<undefined> {
    const key = `vfiouser-${call} ${id}`;
    const open = this.#open.get(key);
    if (open === undefined) {
      this.#model.journal.leftOut();
      return;
    }
    this.#open.delete(key);
    const logged = errnoName(-error);
    const { operation, answer: given } = open;
    if (agree(logged, given.code)) return;
    this.#model.journal.diverge({ line, operation, logged, answered: given.code, reason: given.because });
  }

  #userAddress({ iova, offset, file }: VfioUserMap): bigint {
    return file ? this.#model.guestRam + (offset % USER_SPAN) : MESSAGE_MEMORY + (iova % USER_SPAN);
  }

  /** The space of the client; the first one may have begun before the log. */
  async #current(): Promise<ReplaySpace> {
    this.#space ??= await beginSpace(`client ${++this.#clients}`, this.#model);
    return this.#space;
  }
}
