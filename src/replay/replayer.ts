/**
 * Runs a log on the model and compares the answers.
 */
import type { IommuDomain } from '../domain/iommu-domain.js';
import { RadixDomain } from '../domain/radix-domain.js';
import type { UserMemory } from '../memory/user-memory.js';
import type { Profile } from '../table/table-state.js';
import { PAGE_SIZE } from '../u64.js';
import type { Divergence, ReplayFigures, ReplayJournal, ReplayStep } from './figures.js';
import { measureHoles } from './holes.js';
import type { LogLines, MalformedLine } from './log-line.js';
import { LoggedMemory, MeteredMemory } from './logged-memory.js';
import { type LogEvent, readLog } from './read-log.js';
import type { ReplaySpace } from './replay-space.js';
import { VfioReplay } from './vfio-replay.js';
import { VirtioIommuReplay } from './virtio-iommu-replay.js';

/** How a log is replayed. */
export interface ReplayOptions {
  /** Whose behaviour the model has. Default `'linux'`. */
  readonly profile?: Profile;
  /** The memory that the log's user addresses are of. Default: a `LoggedMemory`, which has them all. */
  readonly memory?: UserMemory;
  /**
   * For logs of a virtual IOMMU: the user address of guest physical 0. Any will do that has memory behind all of
   * the guest's. Default 2^45.
   */
  readonly guestRam?: bigint;
  /** Makes the domain that devices of one IOVA space are translated by. Default: a new `RadixDomain`. */
  readonly createDomain?: () => IommuDomain;
  /** Called for each divergence, as soon as it is certain. */
  readonly onDivergence?: (divergence: Divergence) => void;
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

/** Replays a log event by event, for callers that look at the model in between. */
export class Replayer {
  readonly #memory: MeteredMemory;
  readonly #vfio: VfioReplay;
  readonly #viommu: VirtioIommuReplay;
  readonly #onMalformed: ((line: MalformedLine) => void) | undefined;
  readonly #areas = new Map<ReplaySpace, number>();
  #allAreas = 0;
  #requests = 0;
  #translations = 0;
  #misses = 0;
  #divergences = 0;
  #malformed = 0;
  #notReplayed = 0;
  #peakAreas = 0;
  #largestHole = 0n;
  #fragmentation = 0;

  constructor(options: ReplayOptions = {}) {
    const { profile = 'linux', memory = new LoggedMemory(), guestRam = GUEST_RAM, onDivergence } = options;
    this.#memory = new MeteredMemory(memory);
    this.#onMalformed = options.onMalformed;
    const journal: ReplayJournal = {
      translation: (kind) => {
        if (kind === 'answered') this.#translations++;
        else this.#misses++;
      },
      diverge: (divergence) => {
        this.#divergences++;
        onDivergence?.(divergence);
      },
    };
    const createDomain = options.createDomain ?? (() => new RadixDomain());
    const space = { profile, memory: this.#memory, createDomain };
    this.#vfio = new VfioReplay(space, journal);
    this.#viommu = new VirtioIommuReplay({ ...space, guestRam, lookup: memory }, journal);
  }

  /** The IOVA spaces that there are now. */
  *spaces(): Generator<ReplaySpace, void, undefined> {
    yield* this.#vfio.spaces;
    yield* this.#viommu.spaces;
  }

  /**
   * Runs one event of the log. Gives the request with the model's answer if it is one that changes an IOVA space;
   * other events, and divergences that become certain only later, show in the figures and in `onDivergence`.
   */
  async apply(event: LogEvent | MalformedLine): Promise<ReplayStep | undefined> {
    switch (event.type) {
      case 'malformed':
        this.#malformed++;
        this.#viommu.forget();
        this.#onMalformed?.(event);
        return undefined;
      case 'vfio-map':
      case 'vfio-unmap':
        return this.#count(await this.#vfio.apply(event));
      case 'viommu-map':
      case 'viommu-unmap':
      case 'viommu-unmap-done':
      case 'viommu-translate':
      case 'viommu-translated':
      case 'viommu-attach':
      case 'viommu-detach':
      case 'viommu-reserved':
      case 'viommu-free-domain':
      case 'viommu-free-endpoint': {
        const { step, ended } = await this.#viommu.apply(event);
        if (ended !== undefined) await this.#end(ended);
        return step && this.#count(step);
      }
      default:
        this.#notReplayed++;
        return undefined;
    }
  }

  /** Ends the log: what is still open is compared, and all spaces are measured and emptied. */
  async finish(): Promise<ReplayFigures> {
    this.#viommu.settle();
    for (const space of this.spaces()) await this.#end(space);
    return {
      requests: this.#requests,
      translations: this.#translations,
      misses: this.#misses,
      divergences: this.#divergences,
      malformed: this.#malformed,
      notReplayed: this.#notReplayed,
      peakAreas: this.#peakAreas,
      peakPinnedBytes: BigInt(this.#memory.peakPinnedPages) * BigInt(PAGE_SIZE),
      largestHole: this.#largestHole,
      fragmentation: this.#fragmentation,
    };
  }

  #count(step: ReplayStep): ReplayStep {
    this.#requests++;
    this.#countAreas(step.space, step.space.table.areaCount);
    return step;
  }

  #countAreas(space: ReplaySpace, areas: number): void {
    this.#allAreas += areas - (this.#areas.get(space) ?? 0);
    this.#areas.set(space, areas);
    this.#peakAreas = Math.max(this.#peakAreas, this.#allAreas);
  }

  async #end(space: ReplaySpace): Promise<void> {
    const { largestHole, fragmentation } = measureHoles(space.table.snapshot());
    if (largestHole > this.#largestHole) this.#largestHole = largestHole;
    this.#fragmentation = Math.max(this.#fragmentation, fragmentation);
    await space.close();
    this.#countAreas(space, 0);
    this.#areas.delete(space);
  }
}
