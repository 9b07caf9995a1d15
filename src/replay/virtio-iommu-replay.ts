/**
 * Replays the requests of a guest to its virtual IOMMU, and checks every translation in the log.
 *
 * Every virtio-iommu domain is an IOVA space. Guest RAM is user memory that begins at some user address U, so a
 * mapping to guest physical P is one of user address U + P, and a device's access is translated by the space's
 * domain as an IOMMU would.
 */

import { IommuError } from '../errors.js';
import { FrameRuns } from '../memory/frame-runs.js';
import type { UserMemory } from '../memory/user-memory.js';
import { protectionName } from '../protection.js';
import type { ReservedRegion } from '../table/reservations.js';
import { hex, join, MAX_U64, split } from '../u64.js';
import { compared, type ReplayJournal, type ReplayStep } from './figures.js';
import { measureHoles } from './holes.js';
import { type Answer, answer, changedBy, ReplaySpace, type SpaceOptions } from './replay-space.js';
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

/** What a replay of this format is made with. */
export interface VirtioIommuReplayOptions extends SpaceOptions {
  /** User address of guest physical 0. */
  readonly guestRam: bigint;
  /** The memory that pages are looked up in to check a translation; `memory`, if that need not be counted. */
  readonly lookup: UserMemory;
}

/** A device behind the virtual IOMMU. */
class Endpoint {
  /** Its number, as a reservation's owner is named. */
  readonly name: string;
  readonly regions: ReservedRegion[] = [];
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
export class VirtioIommuReplay {
  readonly #options: VirtioIommuReplayOptions;
  readonly #journal: ReplayJournal;
  readonly #spaces = new Map<number, ReplaySpace>();
  readonly #endpoints = new Map<number, Endpoint>();
  #translate: OpenTranslate | undefined;
  #unmap: OpenUnmap | undefined;

  constructor(options: VirtioIommuReplayOptions, journal: ReplayJournal) {
    this.#options = options;
    this.#journal = journal;
  }

  /** The IOVA spaces of the domains that there are now. */
  get spaces(): Iterable<ReplaySpace> {
    return this.#spaces.values();
  }

  /**
   * Runs an event. A request is told at once; what the log answers to it is compared when it comes.
   *
   * @returns the request with the model's answer, if the event is one
   */
  async apply(event: ViommuEvent): Promise<ReplayStep | undefined> {
    if (event.type === 'viommu-translated') {
      await this.#translated(event);
      return undefined;
    }
    if (event.type === 'viommu-unmap-done') {
      this.#unmapDone(event);
      return undefined;
    }
    this.settle();
    switch (event.type) {
      case 'viommu-map':
        return await this.#map(event);
      case 'viommu-unmap':
        return await this.#unmapRange(event);
      case 'viommu-translate':
        this.#translate = this.#lookUp(event);
        return undefined;
      case 'viommu-attach':
        await this.#attach(event);
        return undefined;
      case 'viommu-detach':
      case 'viommu-free-endpoint':
        await this.#leave(this.#endpoint(event.endpoint));
        return undefined;
      case 'viommu-reserved':
        await this.#reserved(event);
        return undefined;
      case 'viommu-free-domain':
        await this.#freeDomain(event.domain);
        return undefined;
    }
  }

  /** Compares what is open: no further answer to it comes. To be called at the end of the log. */
  settle(): void {
    if (this.#translate !== undefined) this.#settleTranslate(this.#translate);
    if (this.#unmap !== undefined) this.#settleUnmap(this.#unmap);
    this.forget();
  }

  #settleTranslate({ event, physical, because }: OpenTranslate): void {
    this.#journal.translation('missed');
    if (physical === undefined) return;
    this.#diverge(
      event.line,
      describeTranslate(event),
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

  /** Forgets what is open: the line that could not be read may have been the answer to it. */
  forget(): void {
    this.#translate = undefined;
    this.#unmap = undefined;
  }

  async #map(event: ViommuMap): Promise<ReplayStep> {
    const { line, domain, iova, last, physical } = event;
    const space = await this.spaceOf(domain);
    const operation = `map [${hex(iova)}, ${hex(last)}] of domain ${domain} to ${hex(physical)}`;
    const uptr = this.#options.guestRam + physical;
    const length = lengthOf(iova, last);
    const given =
      uptr > MAX_U64
        ? noUserAddress(physical)
        : await space.map(iova, uptr, length, protectionName(event.flags));
    const step = { line, operation, logged: 'OK', answer: given, space, changed: changedBy(iova, length) };
    return compared(step, given.code === 'OK', this.#journal);
  }

  async #unmapRange(event: ViommuUnmap): Promise<ReplayStep> {
    const { line, domain, iova, last } = event;
    const space = await this.spaceOf(domain);
    const operation = `unmap [${hex(iova)}, ${hex(last)}] of domain ${domain}`;
    const length = lengthOf(iova, last);
    const given = await space.unmap(iova, length);
    this.#unmap = { event, operation, answer: given, space, logged: 0n, left: undefined };
    const logged = 'on the next lines';
    return { line, operation, logged, answer: given, space, changed: changedBy(iova, length) };
  }

  #unmapDone(event: ViommuUnmapDone): void {
    const { iova, last } = event;
    const unmap = this.#unmap;
    const range = `[${hex(iova)}, ${hex(last)}]`;
    if (
      unmap === undefined ||
      unmap.event.domain !== event.domain ||
      iova < unmap.event.iova ||
      last > unmap.event.last
    ) {
      const operation = `unmap ${range} of domain ${event.domain}`;
      this.#diverge(event.line, operation, 'removed', 'nothing', 'no request before that line asks for it');
      return;
    }
    unmap.logged += last - iova + 1n;
    if (unmap.space.translate(iova) !== undefined || unmap.space.translate(last) !== undefined) {
      unmap.left ??= range;
    }
  }

  #lookUp(event: ViommuTranslate): OpenTranslate {
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

  async #translated(event: ViommuTranslated): Promise<void> {
    const open = this.#translate;
    const { line, iova, endpoint, physical } = event;
    if (open === undefined || open.event.iova !== iova || open.event.endpoint !== endpoint) {
      this.settle();
      const operation = `translate ${hex(iova)} for endpoint ${endpoint}`;
      this.#diverge(line, operation, hex(physical), 'nothing', 'no translate before that line asks for it');
      return;
    }
    this.#translate = undefined;
    this.#journal.translation('answered');
    const expected = await this.#hostPhysical(physical);
    if (open.physical !== undefined && open.physical === expected) return;
    const host = expected === undefined ? 'no memory of the host' : `host physical ${hex(expected)}`;
    const logged = `guest physical ${hex(physical)} (${host})`;
    const answered = open.physical === undefined ? 'no answer' : `host physical ${hex(open.physical)}`;
    this.#diverge(line, describeTranslate(open.event), logged, answered, open.because);
  }

  async #attach(event: ViommuAttachment): Promise<void> {
    const endpoint = this.#endpoint(event.endpoint);
    await this.#leave(endpoint);
    endpoint.space = await this.spaceOf(event.domain);
    await this.#reserve(event.line, endpoint, endpoint.regions);
  }

  async #leave(endpoint: Endpoint): Promise<void> {
    const { space } = endpoint;
    if (space === undefined) return;
    await space.table.removeReservedIova(endpoint);
    this.#journal.settingChanged(space);
    endpoint.space = undefined;
  }

  async #reserved(event: ViommuReserved): Promise<void> {
    const endpoint = this.#endpoint(event.endpoint);
    const start = event.iova;
    const length = event.last - event.iova + 1n;
    // A driver asks for the same regions again after a reset.
    if (endpoint.regions.some((region) => region.start === start && region.length === length)) return;
    const region: ReservedRegion = { start, length, type: event.kind === 1 ? 'msi' : 'reserved' };
    endpoint.regions.push(region);
    await this.#reserve(event.line, endpoint, [region]);
  }

  async #reserve(line: number, endpoint: Endpoint, regions: readonly ReservedRegion[]): Promise<void> {
    const { space } = endpoint;
    if (space === undefined) return;
    const given = await answer(async () => {
      await space.table.enforceReservedRegions(endpoint, regions);
      this.#journal.settingChanged(space);
      return { code: 'OK', unmapped: 0n, because: 'nothing is mapped there' };
    });
    if (given.code === 'OK') return;
    const operation = `reserve the regions of endpoint ${endpoint.name} in ${space.name}`;
    this.#diverge(line, operation, 'OK', given.code, given.because);
  }

  async #freeDomain(domain: number): Promise<void> {
    const space = this.#spaces.get(domain);
    if (space === undefined) return;
    for (const endpoint of this.#endpoints.values()) {
      if (endpoint.space === space) await this.#leave(endpoint);
    }
    this.#spaces.delete(domain);
    await this.#end(space);
  }

  async #end(space: ReplaySpace): Promise<void> {
    this.#journal.ended(space, measureHoles(space.table.snapshot()));
    await space.close();
  }

  /** Compares what is open and ends all spaces. */
  async close(): Promise<void> {
    this.settle();
    for (const space of this.#spaces.values()) await this.#end(space);
    this.#spaces.clear();
  }

  #endpoint(number: number): Endpoint {
    const endpoint = this.#endpoints.get(number) ?? new Endpoint(number);
    this.#endpoints.set(number, endpoint);
    return endpoint;
  }

  /** The space of a domain, which begins where it is first named. */
  async spaceOf(domain: number): Promise<ReplaySpace> {
    const known = this.#spaces.get(domain);
    if (known !== undefined) return known;
    const space = await ReplaySpace.create(`domain ${domain}`, this.#options);
    this.#spaces.set(domain, space);
    return space;
  }

  /** The physical address of the frame behind a guest physical address; `undefined` if there is no memory. */
  async #hostPhysical(physical: bigint): Promise<bigint | undefined> {
    const user = this.#options.guestRam + physical;
    if (user > MAX_U64) return undefined;
    const { page, offset } = split(user);
    const frames = new FrameRuns();
    try {
      await this.#options.lookup.pin(page, 1, false, frames);
    } catch (error) {
      if (error instanceof IommuError) return undefined;
      throw error;
    }
    const frame = frames.at(0);
    this.#options.lookup.unpin(frame, 1, false);
    return join(frame, offset);
  }

  #diverge(line: number, operation: string, logged: string, answered: string, reason: string): void {
    this.#journal.diverge({ line, operation, logged, answered, reason });
  }
}

/** The length of a closed range; of the whole space, 2^64, the largest that a call can be given. */
export function lengthOf(iova: bigint, last: bigint): bigint {
  const length = last - iova + 1n;
  return length > MAX_U64 ? MAX_U64 : length;
}

function noUserAddress(physical: bigint): Answer {
  const because = `guest physical ${hex(physical)} has no user address below 2^64`;
  return { code: 'EOVERFLOW', unmapped: 0n, because };
}

function describeTranslate({ iova, endpoint, access }: ViommuTranslate): string {
  const wanted = protectionName(access);
  return `translate ${hex(iova)} for endpoint ${endpoint}${wanted === '' ? '' : ` (${wanted})`}`;
}
