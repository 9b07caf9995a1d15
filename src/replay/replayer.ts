/**
 * Runs a log on the model and compares the answers.
 */
import { invalidType, readU64 } from '../arguments.js';
import { RadixDomain } from '../domain/radix-domain.js';
import type { Explanation } from '../explain/explanation.js';
import { LockedMemory } from '../memory/locked-memory.js';
import type { UserMemory } from '../memory/user-memory.js';
import { type ProfileName, readProfile } from '../rules.js';
import { PAGE_SIZE, type U64Input } from '../u64.js';
import type { Divergence, ReplayFigures, ReplayJournal, ReplayStep } from './figures.js';
import { formatNameOf, LOG_FORMATS, type LogEvent } from './formats/formats.js';
import type { FormatReplay, LogModel } from './log-format.js';
import type { LogLines, MalformedLine } from './log-line.js';
import { LogRoom } from './log-room.js';
import { LoggedFile, LoggedMemory, MeteredMemory, PinMeter } from './logged-memory.js';
import { readLog } from './read-log.js';
import type { CreateDomain, NamedSpace, ReplayQuestion, ReplaySpace } from './replay-space.js';
import { RunDomain } from './run-domain.js';
import { SpacesMeter } from './spaces-meter.js';

/** How a log is replayed. */
export interface ReplayOptions {
  /** Whose behaviour the model has; by default the newest Linux's. */
  readonly profile?: ProfileName | undefined;
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

/** Replays a log event by event, for callers that look at the model in between. */
export class Replayer {
  readonly #meter = new PinMeter();
  /** The part of each format, by its name. */
  readonly #parts: ReadonlyMap<string, FormatReplay<LogEvent>>;
  /** The same by the types of events that came; only a matter of speed. */
  readonly #partOfType = new Map<LogEvent['type'], FormatReplay<LogEvent>>();
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
    const { guestRam = GUEST_RAM, onDivergence } = options;
    const profile = readProfile(options.profile, 'options.profile');
    const locked = countersFor(options.lockedLimit);
    const { memory = new LoggedMemory(locked) } = options;
    const logged = memory instanceof LoggedMemory ? memory : undefined;
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
    const room = new LogRoom();
    const file = new LoggedFile(this.#meter);
    const model: LogModel = {
      profile,
      memory: new MeteredMemory(memory, this.#meter),
      lookup: memory,
      logged,
      guestRam,
      journal,
      room,
      createDomain: options.createDomain ?? domainsOn(memory, room),
      // Of files no more is known than offsets: one stands for all.
      file: () => file,
    };
    this.#parts = new Map(LOG_FORMATS.map((format) => [format.name, format.begin(model)]));
  }

  /** The IOVA spaces that there are now. */
  *spaces(): Generator<ReplaySpace, void, undefined> {
    for (const part of this.#parts.values()) yield* part.spaces;
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
    if (event.type !== 'malformed') return this.#partOf(event).apply(event);
    this.#malformed++;
    for (const part of this.#parts.values()) part.forget?.();
    this.#onMalformed?.(event);
    return Promise.resolve(undefined);
  }

  #partOf(event: LogEvent): FormatReplay<LogEvent> {
    const known = this.#partOfType.get(event.type);
    if (known !== undefined) return known;
    const part = this.#parts.get(formatNameOf(event));
    if (part === undefined) throw invalidType(event, 'event', 'one that readLog gives');
    this.#partOfType.set(event.type, part);
    return part;
  }

  /**
   * The request of an event as a question that the space it is for can be asked (`IoPagetable.explain`), if it is a
   * map or an unmap. Nothing is run.
   */
  async question(event: LogEvent): Promise<ReplayQuestion | undefined> {
    return await this.#partOf(event).question(event);
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
    for (const part of this.#parts.values()) await part.close();
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
function domainsOn(memory: UserMemory, room: LogRoom): CreateDomain {
  if (memory instanceof LoggedMemory) return (request) => new RunDomain(request, room);
  return ({ dirtyTracking }) => new RadixDomain({ dirty: dirtyTracking });
}

function countersFor(limit: U64Input | undefined) {
  if (limit === undefined) return undefined;
  const pages = readU64(limit, 'lockedLimit').page;
  return { user: new LockedMemory('user', pages), mm: new LockedMemory('process', pages) };
}
