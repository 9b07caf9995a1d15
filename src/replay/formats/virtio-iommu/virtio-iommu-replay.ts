/**
 * Replays the requests of a guest to its virtual IOMMU, and checks every translation in the log.
 *
 * Every virtio-iommu domain is an IOVA space. Guest RAM is user memory that begins at some user address U, so a
 * mapping to guest physical P is one of user address U + P, and a device's access is translated by the space's
 * domain as an IOMMU would.
 */

import { IommuError } from '../../../errors.js';
import { FrameRuns } from '../../../memory/frame-runs.js';
import { protectionName } from '../../../protection.js';
import type { ReservedRegion } from '../../../table/reservations.js';
import { hex, join, MAX_U64, split } from '../../../u64.js';
import { compared, type ReplayStep } from '../../figures.js';
import { type EventHandlers, type FormatReplay, handlerOf, type LogModel } from '../../log-format.js';
import { type Answer, answer, changedBy, type ReplayQuestion, type ReplaySpace } from '../../replay-space.js';
import { beginSpace, endSpace } from '../../space-life.js';
import type {
  ViommuAttachment,
  ViommuEvent,
  ViommuMap,
  ViommuReserved,
  ViommuTranslate,
  ViommuTranslated,
  ViommuUnmap,
  ViommuUnmapDone,
} from './virtio-iommu-log.js';
import { describeViommuEvent, rangeOf } from './virtio-iommu-words.js';

/** The most regions of a device that are replayed; real ones have a handful, and each attach reserves all of them. */
const MOST_REGIONS = 128;

/** A device behind the virtual IOMMU. */
class Endpoint {
  /** Its number, as a reservation's owner is named. */
  readonly name: string;
  /** What is reserved for it, by range. */
  readonly regions = new Map<string, ReservedRegion>();
  space: ReplaySpace | undefined;

  constructor(number: number) {
    this.name = String(number);
  }
}

interface OpenTranslate {
  readonly event: ViommuTranslate;
  /** The physical address that the model gives; `undefined` if it gives none. */
  readonly physical: bigint | undefined;
  readonly because: string;
}

interface OpenUnmap {
  readonly event: ViommuUnmap;
  readonly operation: string;
  readonly answer: Answer;
  readonly space: ReplaySpace;
  /** Bytes that the log has removed so far. */
  logged: bigint;
  /** A range that the log removed and the domain still translates. */
  left: string | undefined;
}

/**
 * The virtual IOMMU of a log on the model.
 *
 * The log has no answers to MAP, so a MAP that the model refuses is a divergence; the answer to an UNMAP is the
 * list of the mappings removed, and the model must have removed as many bytes and translate none of them any
 * more; the answer to a translate is a guest physical address, and the model's domain must give the frame of
 * that. A translate without an answer must be a miss in the model: nothing mapped, not for that kind of access,
 * or the device not attached. What answers a request is on the lines directly after it, so at most one request
 * is open.
 */
export class VirtioIommuReplay implements FormatReplay<ViommuEvent> {
  readonly #model: LogModel;
  readonly #spaces = new Map<number, ReplaySpace>();
  readonly #endpoints = new Map<number, Endpoint>();
  /** The devices that are attached to a space. */
  readonly #attached = new Map<ReplaySpace, Set<Endpoint>>();
  #translate: OpenTranslate | undefined;
  #unmap: OpenUnmap | undefined;

  readonly #handlers: EventHandlers<ViommuEvent, Promise<ReplayStep | undefined> | undefined> = {
    'viommu-map': (event) => this.#map(event),
    'viommu-unmap': (event) => this.#unmapRange(event),
    'viommu-unmap-done': (event) => this.#unmapDone(event),
    'viommu-translate': (event) => this.#lookUp(event),
    'viommu-translated': (event) => this.#translated(event),
    'viommu-attach': (event) => this.#attach(event),
    'viommu-detach': ({ endpoint }) => this.#leave(this.#endpoints.get(endpoint)),
    'viommu-reserved': (event) => this.#reserved(event),
    'viommu-free-domain': ({ domain }) => this.#freeDomain(domain),
    'viommu-free-endpoint': ({ endpoint }) => this.#leave(this.#endpoints.get(endpoint)),
  };

  constructor(model: LogModel) {
    this.#model = model;
  }

  get spaces(): Iterable<ReplaySpace> {
    return this.#spaces.values();
  }

  async apply(event: ViommuEvent): Promise<ReplayStep | undefined> {
    if (event.type !== 'viommu-translated' && event.type !== 'viommu-unmap-done') this.#settle();
    return handlerOf(this.#handlers, event)(event);
  }

  async question(event: ViommuEvent): Promise<ReplayQuestion | undefined> {
    if (event.type !== 'viommu-map' && event.type !== 'viommu-unmap') return undefined;
    const { iova } = event;
    const length = lengthOf(iova, event.last);
    const space = await this.#spaceOf(event.domain);
    if (event.type === 'viommu-unmap') return { space, request: { call: 'unmap', iova, length } };
    const uptr = this.#model.guestRam + event.physical;
    if (uptr > MAX_U64) return undefined;
    return { space, request: { call: 'map', iova, uptr, length, prot: protectionName(event.flags) } };
  }

  forget(): void {
    this.#translate = undefined;
    this.#unmap = undefined;
  }

  async close(): Promise<void> {
    this.#settle();
    for (const space of this.#spaces.values()) await endSpace(space, this.#model);
    this.#spaces.clear();
  }

  /** Compares what is open: no further answer to it comes. */
  #settle(): void {
    if (this.#translate !== undefined) this.#settleTranslate(this.#translate);
    if (this.#unmap !== undefined) this.#settleUnmap(this.#unmap);
    this.forget();
  }

  #settleTranslate({ event, physical, because }: OpenTranslate): void {
    this.#model.journal.translation('missed');
    if (physical === undefined) return;
    this.#diverge(
      event.line,
      describeViommuEvent(event),
      'no answer',
      `host physical ${hex(physical)}`,
      because,
    );
  }

  #settleUnmap({ event, operation, answer: given, logged, left }: OpenUnmap): void {
    if (given.unmapped === logged && left === undefined) return;
    const because = left === undefined ? given.because : `${left} still translates; ${given.because}`;
    const removed = `${hex(given.unmapped)} bytes removed`;
    this.#diverge(event.line, operation, `${hex(logged)} bytes removed`, removed, because);
  }

  async #map(event: ViommuMap): Promise<ReplayStep> {
    const { line, domain, iova, last, physical } = event;
    const space = await this.#spaceOf(domain);
    const operation = describeViommuEvent(event);
    const uptr = this.#model.guestRam + physical;
    const length = lengthOf(iova, last);
    const given =
      uptr > MAX_U64
        ? noUserAddress(physical)
        : await space.map(iova, uptr, length, protectionName(event.flags));
    const step = { line, operation, logged: 'OK', answer: given, space, changed: changedBy(iova, length) };
    return compared(step, given.code === 'OK', this.#model.journal);
  }

  async #unmapRange(event: ViommuUnmap): Promise<ReplayStep> {
    const { line, domain, iova, last } = event;
    const space = await this.#spaceOf(domain);
    const operation = describeViommuEvent(event);
    const length = lengthOf(iova, last);
    const given = await space.unmap(iova, length);
    this.#unmap = { event, operation, answer: given, space, logged: 0n, left: undefined };
    const logged = 'on the next lines';
    return { line, operation, logged, answer: given, space, changed: changedBy(iova, length) };
  }

  #unmapDone(event: ViommuUnmapDone): undefined {
    const { iova, last } = event;
    const unmap = this.#unmap;
    if (
      unmap === undefined ||
      unmap.event.domain !== event.domain ||
      iova < unmap.event.iova ||
      last > unmap.event.last
    ) {
      this.#diverge(
        event.line,
        describeViommuEvent(event),
        'removed',
        'nothing',
        'no request before that line asks for it',
      );
      return;
    }
    unmap.logged += last - iova + 1n;
    if (unmap.space.translate(iova) !== undefined || unmap.space.translate(last) !== undefined) {
      unmap.left ??= rangeOf(event);
    }
  }

  #lookUp(event: ViommuTranslate): undefined {
    this.#translate = this.#modelled(event);
  }

  /** What the model answers to a translate. */
  #modelled(event: ViommuTranslate): OpenTranslate {
    const space = this.#endpoints.get(event.endpoint)?.space;
    if (space === undefined) {
      return { event, physical: undefined, because: `endpoint ${event.endpoint} is attached to no domain` };
    }
    const found = space.translate(event.iova);
    if (found === undefined) return { event, physical: undefined, because: 'nothing is mapped there' };
    if ((event.access & ~found.protection) !== 0) {
      const granted = protectionName(found.protection);
      return { event, physical: undefined, because: `the mapping there is for '${granted}' only` };
    }
    return { event, physical: found.physical, because: 'the mapping there leads to it' };
  }

  async #translated(event: ViommuTranslated): Promise<undefined> {
    const open = this.#translate;
    const { line, iova, endpoint, physical } = event;
    if (open === undefined || open.event.iova !== iova || open.event.endpoint !== endpoint) {
      this.#settle();
      this.#diverge(
        line,
        describeViommuEvent(event),
        hex(physical),
        'nothing',
        'no translate before that line asks for it',
      );
      return;
    }
    this.#translate = undefined;
    this.#model.journal.translation('answered');
    const expected = await this.#hostPhysical(physical);
    if (open.physical !== undefined && open.physical === expected) return;
    const host = expected === undefined ? 'no memory of the host' : `host physical ${hex(expected)}`;
    const logged = `guest physical ${hex(physical)} (${host})`;
    const answered = open.physical === undefined ? 'no answer' : `host physical ${hex(open.physical)}`;
    this.#diverge(line, describeViommuEvent(open.event), logged, answered, open.because);
  }

  async #attach(event: ViommuAttachment): Promise<undefined> {
    const endpoint = this.#endpoint(event.endpoint);
    await this.#leave(endpoint);
    const space = await this.#spaceOf(event.domain);
    endpoint.space = space;
    const attached = this.#attached.get(space) ?? new Set();
    this.#attached.set(space, attached.add(endpoint));
    await this.#reserve(event.line, endpoint, [...endpoint.regions.values()]);
  }

  async #leave(endpoint: Endpoint | undefined): Promise<undefined> {
    const space = endpoint?.space;
    if (endpoint === undefined || space === undefined) return;
    await space.table.removeReservedIova(endpoint);
    this.#model.journal.settingChanged(space);
    this.#attached.get(space)?.delete(endpoint);
    endpoint.space = undefined;
  }

  async #reserved(event: ViommuReserved): Promise<undefined> {
    const endpoint = this.#endpoint(event.endpoint);
    const start = event.iova;
    const length = event.last - event.iova + 1n;
    // A driver asks for the same regions again after a reset.
    const range = rangeOf(event);
    if (endpoint.regions.has(range)) return;
    if (endpoint.regions.size === MOST_REGIONS) {
      this.#model.journal.leftOut();
      return;
    }
    const region: ReservedRegion = { start, length, type: event.kind === 1 ? 'msi' : 'reserved' };
    endpoint.regions.set(range, region);
    await this.#reserve(event.line, endpoint, [region]);
  }

  async #reserve(line: number, endpoint: Endpoint, regions: readonly ReservedRegion[]): Promise<void> {
    const { space } = endpoint;
    if (space === undefined) return;
    const given = await answer(async () => {
      await space.table.enforceReservedRegions(endpoint, regions);
      this.#model.journal.settingChanged(space);
      return { code: 'OK', unmapped: 0n, because: 'nothing is mapped there' };
    });
    if (given.code === 'OK') return;
    const operation = `reserve the regions of endpoint ${endpoint.name} in ${space.name}`;
    this.#diverge(line, operation, 'OK', given.code, given.because);
  }

  async #freeDomain(domain: number): Promise<undefined> {
    const space = this.#spaces.get(domain);
    if (space === undefined) return;
    for (const endpoint of [...(this.#attached.get(space) ?? [])]) await this.#leave(endpoint);
    this.#attached.delete(space);
    this.#spaces.delete(domain);
    await endSpace(space, this.#model);
  }

  #endpoint(number: number): Endpoint {
    const known = this.#endpoints.get(number);
    if (known !== undefined) return known;
    this.#model.room.addObject();
    const endpoint = new Endpoint(number);
    this.#endpoints.set(number, endpoint);
    return endpoint;
  }

  /** The space of a domain, which begins where it is first named. */
  async #spaceOf(domain: number): Promise<ReplaySpace> {
    const known = this.#spaces.get(domain);
    if (known !== undefined) return known;
    const space = await beginSpace(`domain ${domain}`, this.#model);
    this.#spaces.set(domain, space);
    return space;
  }

  /** The physical address of the frame behind a guest physical address; `undefined` if there is no memory. */
  async #hostPhysical(physical: bigint): Promise<bigint | undefined> {
    const user = this.#model.guestRam + physical;
    if (user > MAX_U64) return undefined;
    const { page, offset } = split(user);
    const frames = new FrameRuns();
    try {
      await this.#model.lookup.pin(page, 1, false, frames);
    } catch (error) {
      if (error instanceof IommuError) return undefined;
      throw error;
    }
    const frame = frames.at(0);
    this.#model.lookup.unpin(frame, 1, false);
    return join(frame, offset);
  }

  #diverge(line: number, operation: string, logged: string, answered: string, reason: string): void {
    this.#model.journal.diverge({ line, operation, logged, answered, reason });
  }
}

/** The length of a closed range; of the whole space, 2^64, the largest that a call can be given. */
function lengthOf(iova: bigint, last: bigint): bigint {
  const length = last - iova + 1n;
  return length > MAX_U64 ? MAX_U64 : length;
}

function noUserAddress(physical: bigint): Answer {
  const because = `guest physical ${hex(physical)} has no user address below 2^64`;
  return { code: 'EOVERFLOW', unmapped: 0n, because };
}
