/**
 * Runs a log on the model and compares the answers.
 */
import { RadixDomain } from '../domain/radix-domain.js';
import type { Explanation } from '../explain/explanation.js';
import type { ExplainRequest } from '../explain/request.js';
import { LockedMemory } from '../memory/locked-memory.js';
import type { UserMemory } from '../memory/user-memory.js';
import { protectionName } from '../protection.js';
import type { Profile } from '../table/table-state.js';
import { MAX_U64, PAGE_SIZE, readU64, type U64Input } from '../u64.js';
import type { Divergence, ReplayFigures, ReplayJournal, ReplayStep } from './figures.js';
import { IommufdReplay } from './iommufd-replay.js';
import type { LogLines, MalformedLine } from './log-line.js';
import { LoggedMemory, MeteredMemory, PinMeter } from './logged-memory.js';
import { type LogEvent, readLog } from './read-log.js';
import type { CreateDomain, NamedSpace, ReplaySpace } from './replay-space.js';
import { RunDomain } from './run-domain.js';
import { SpacesMeter } from './spaces-meter.js';
import { VfioReplay } from './vfio-replay.js';
import { lengthOf, VirtioIommuReplay } from './virtio-iommu-replay.js';

/** How a log is replayed. */
export interface ReplayOptions {
  /** Whose behaviour the model has. Default `'linux'`. */
  readonly profile?: Profile;
  /** The memory that the log's user addresses are of. Default: a `LoggedMemory`, which has them all. */
  readonly memory?: UserMemory;
  /** Bytes that may be locked (RLIMIT_MEMLOCK), where `memory` is absent. Default: no limit (CAP_IPC_LOCK). */
  readonly lockedLimit?: U64Input | undefined;
  /**
   * For logs of a virtual IOMMU: the user address of guest physical 0. Any will do that has memory behind all of
   * the guest's. Default 2^45.
   */
  readonly guestRam?: bigint;
  /**
   * Makes a domain that devices of one IOVA space are translated by. With `dirtyTracking` it must be able to track what
   * devices write. Default: a new `RadixDomain`; for a `LoggedMemory` a domain with the same page sizes that takes
   * memory for each mapping, however large that is, and not for each page.
   */
  readonly createDomain?: CreateDomain;
  /** Called for each divergence, as soon as it is certain. */
  readonly onDivergence?: (divergence: Divergence) => void;
  /** Called for each IOVA space that ends before the log does, or with it. */
  readonly onSpaceEnd?: (space: ReplaySpace) => void;
  /** Called for each line that could not be read. */
  readonly onMalformed?: (line: MalformedLine) => void;
}

const GUEST_RAM = 2n ** 45n;

/** Replays a whole log in bounded memory and gives its figures. What diverges is told as it comes. */
export async function replay(lines: LogLines, options: ReplayOptions = {}): Promise<ReplayFigures> {
  const replayer = new Replayer(options);
  for await (const event of readLog(lines)) await replayer.apply(event);
  return await replayer.finish();
}

/** A request of a log, and the space that can be asked about it. */
export interface ReplayQuestion {
  readonly space: NamedSpace;
  readonly request: ExplainRequest;
}

/** Replays a log event by event, for callers that look at the model in between. */
export class Replayer {
  readonly #meter = new PinMeter();
  readonly #vfio: VfioReplay;
  readonly #viommu: VirtioIommuReplay;
  readonly #iommufd: IommufdReplay;
  readonly #guestRam: bigint;
  readonly #onMalformed: ((line: MalformedLine) => void) | undefined;
  readonly #spaces = new SpacesMeter();
  readonly #newSettings = new Set<NamedSpace>();
  #requests = 0;
  #translations = 0;
  #misses = 0;
  #divergences = 0;
  #malformed = 0;
  #notReplayed = 0;

  constructor(options: ReplayOptions = {}) {
    const { profile = 'linux', guestRam = GUEST_RAM, onDivergence } = options;
    const locked = countersFor(options.lockedLimit);
    const { memory = new LoggedMemory(locked) } = options;
    const logged = memory instanceof LoggedMemory ? memory : undefined;
    this.#onMalformed = options.onMalformed;
    this.#guestRam = guestRam;
    const journal: ReplayJournal = {
      translation: (kind) => {
        if (kind === 'answered') this.#translations++;
        else this.#misses++;
      },
      diverge: (divergence) => {
        this.#divergences++;
        onDivergence?.(divergence);
      },
      leftOut: () => {
        this.#notReplayed++;
      },
      settingChanged: (space) => this.#newSettings.add(space),
      ended: (space, holes) => {
        this.#spaces.end(space, holes);
        this.#newSettings.delete(space);
        options.onSpaceEnd?.(space);
      },
    };
    const createDomain = options.createDomain ?? domainsOn(memory);
    const space = { profile, memory: new MeteredMemory(memory, this.#meter), logged, createDomain };
    const files = new Map<number, UserMemory>();
    const fileMemory = (fd: number) => {
      const file = files.get(fd) ?? new MeteredMemory(new LoggedMemory(locked), this.#meter);
      files.set(fd, file);
      return file;
    };
    this.#vfio = new VfioReplay(space, journal);
    this.#viommu = new VirtioIommuReplay({ ...space, guestRam, lookup: memory }, journal);
    this.#iommufd = new IommufdReplay({ ...space, fileMemory }, journal);
  }

  /** The IOVA spaces that there are now. */
  *spaces(): Generator<ReplaySpace, void, undefined> {
    yield* this.#vfio.spaces;
    yield* this.#viommu.spaces;
    yield* this.#iommufd.spaces;
  }

  /** Pages that are pinned now, in all spaces together; a page counts once for each pin. */
  get pinnedPages(): number {
    return this.#meter.pinnedPages;
  }

  /**
   * Runs one event of the log. Gives the request with the model's answer if it is one that changes an IOVA space;
   * other events, and divergences that become certain only later, show in the figures and in `onDivergence`.
   */
  async apply(event: LogEvent | MalformedLine): Promise<ReplayStep | undefined> {
    const step = await this.#apply(event);
    if (step === undefined) return undefined;
    this.#requests++;
    this.#spaces.look(step.space);
    return step;
  }

  #apply(event: LogEvent | MalformedLine): Promise<ReplayStep | undefined> {
    if (event.type === 'malformed') {
      this.#malformed++;
      this.#viommu.forget();
      this.#onMalformed?.(event);
      return Promise.resolve(undefined);
    }
    if (isOf(event, 'viommu-')) return this.#viommu.apply(event);
    if (isOf(event, 'iommufd-')) return this.#iommufd.apply(event);
    return this.#vfio.apply(event);
  }

  /**
   * The request of an event as a question that the space it is for can be asked (`IoPagetable.explain`), if it is a
   * map or an unmap. Nothing is run.
   */
  async question(event: LogEvent): Promise<ReplayQuestion | undefined> {
    switch (event.type) {
      case 'vfio-map':
      case 'vfio-unmap': {
        const { iova, length } = event;
        const space = await this.#vfio.spaceOf(event.container);
        if (event.type === 'vfio-unmap') return { space, request: { call: 'unmap', iova, length } };
        return { space, request: { call: 'map', iova, uptr: event.uptr, length, prot: 'rw' } };
      }
      case 'viommu-map':
      case 'viommu-unmap': {
        const { iova } = event;
        const length = lengthOf(iova, event.last);
        const space = await this.#viommu.spaceOf(event.domain);
        if (event.type === 'viommu-unmap') return { space, request: { call: 'unmap', iova, length } };
        const uptr = this.#guestRam + event.physical;
        if (uptr > MAX_U64) return undefined;
        return { space, request: { call: 'map', iova, uptr, length, prot: protectionName(event.flags) } };
      }
      case 'iommufd-map-dma':
      case 'iommufd-unmap-dma':
      case 'iommufd-unmap-dma-non-exist': {
        const { iova, length } = event;
        const space = await this.#iommufd.spaceOf(event.iommufd, event.ioas);
        if (event.type !== 'iommufd-map-dma') return { space, request: { call: 'unmap', iova, length } };
        const prot = event.readonly ? 'r' : 'rw';
        return { space, request: { call: 'map', iova, uptr: event.uptr, length, prot } };
      }
      default:
        return undefined;
    }
  }

  /**
   * What the model would do with the request of an event now (`IoPagetable.explain`); `undefined` if it is no map or
   * unmap. Nothing changes, the figures neither.
   */
  async explain(event: LogEvent): Promise<Explanation | undefined> {
    const question = await this.question(event);
    const { peakPinnedPages } = this.#meter;
    const explanation = await question?.space.table.explain(question.request);
    this.#meter.peakPinnedPages = peakPinnedPages;
    return explanation;
  }

  /** Whether what a space has besides its areas has changed since this was last asked. */
  settingChanged(space: NamedSpace): boolean {
    return this.#newSettings.delete(space);
  }

  /** Ends the log: what is still open is compared, and all spaces are measured and emptied. */
  async finish(): Promise<ReplayFigures> {
    this.#viommu.settle();
    await this.#vfio.close();
    await this.#viommu.close();
    await this.#iommufd.close();
    return {
      requests: this.#requests,
      translations: this.#translations,
      misses: this.#misses,
      divergences: this.#divergences,
      malformed: this.#malformed,
      notReplayed: this.#notReplayed,
      peakPinnedBytes: BigInt(this.#meter.peakPinnedPages) * BigInt(PAGE_SIZE),
      ...this.#spaces.figures,
    };
  }
}

/** What makes domains for a memory: one of which only addresses are known has no frames that are worth a page table. */
function domainsOn(memory: UserMemory): CreateDomain {
  if (memory instanceof LoggedMemory) return (request) => new RunDomain(request);
  return ({ dirtyTracking }) => new RadixDomain({ dirty: dirtyTracking });
}

function countersFor(limit: U64Input | undefined) {
  if (limit === undefined) return undefined;
  const pages = readU64(limit, 'lockedLimit').page;
  return { user: new LockedMemory('user', pages), mm: new LockedMemory('process', pages) };
}

/** Whether an event is of a format, by the prefix of its type. */
function isOf<Family extends string, Event extends { readonly type: string }>(
  event: Event,
  family: Family,
): event is Extract<Event, { readonly type: `${Family}${string}` }> {
  return event.type.startsWith(family);
}
