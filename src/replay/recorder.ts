/**
 * Keeps the steps of a replay, in bounded memory, for a report.
 */
import { sourceOf } from '../inspect/snapshot.js';
import { IntervalTree, type TreeNode } from '../interval-tree.js';
import type { IoptPages } from '../pages/iopt-pages.js';
import { protectionName } from '../protection.js';
import { type Profile, type ProfileName, resolveProfile } from '../rules.js';
import type { IoptArea } from '../table/iopt-area.js';
import { between, firstOf, hex, type Interval, lastOf } from '../u64.js';
import type { Divergence, ReplayFigures } from './figures.js';
import type {
  RecordedArea,
  RecordedSetting,
  RecordedSpace,
  RecordedStep,
  ReplayRecording,
} from './recording.js';
import type { NamedSpace } from './replay-space.js';

/** What is recorded. */
export interface ReplayRecorderOptions {
  /** What the log is called. */
  readonly log: string;
  /** Whose behaviour it was replayed on. */
  readonly profile: ProfileName;
  /** The most steps kept; of a longer log the last ones are. Default 200 000. */
  readonly limit?: number;
}

/** What a step is recorded from: a `ReplayStep`, or an operation of another log that has as much to tell. */
export interface RecordableStep {
  /** Line of the log that has the answer, or the request where the log has no answers. */
  readonly line: number;
  /** The request in words. */
  readonly operation: string;
  /** The log's answer: `OK`, an errno, or in words. */
  readonly logged: string;
  readonly answer: {
    /** The model's answer: `OK`, an errno, or in words. */
    readonly code: string;
    /** All of the answer, where `code` is only its errno. */
    readonly whole?: string | undefined;
    /** Why, as a sentence without a full stop. */
    readonly because?: string | undefined;
    /** What the model threw, if it refused the request. */
    readonly error?: unknown;
  };
  /** The IOVA space it was made on; `undefined` if it is about none. */
  readonly space: NamedSpace | undefined;
  /** The IOVA in which areas came or went, if they could anywhere. */
  readonly changed?: Interval | undefined;
  /** Set if the answers differ. */
  readonly divergence?: object | undefined;
}

/** What goes with a step. */
export interface StepCircumstances {
  /** Pages pinned after it, in all spaces together. */
  readonly pinnedPages: number;
  /** Whether the reservations or domains of its space have changed since the last step there. */
  readonly settingChanged: boolean;
  /** What could have been done instead. */
  readonly advice?: string | undefined;
}

/** A space as the kept steps found it, and as it is now. */
interface Space {
  readonly id: number;
  readonly name: string;
  /** Areas before the first kept step, by first IOVA. */
  readonly areas: Map<string, RecordedArea>;
  setting: RecordedSetting;
  /** Areas after the last step. */
  readonly now: IntervalTree<IoptArea>;
  ended: boolean;
}

const DEFAULT_LIMIT = 200_000;
const MOST_SKIPPED_DIVERGENCES = 1000;

/**
 * Records steps as what they changed. To see that, it keeps the areas of each space as of the last step; a step
 * costs what it changed, not what there is.
 */
export class ReplayRecorder {
  readonly #log: string;
  readonly #profile: Profile;
  readonly #limit: number;
  readonly #spaces = new Map<NamedSpace, Space>();
  readonly #pages = new WeakMap<IoptPages, number>();
  readonly #skippedDivergences: RecordedStep[] = [];
  #steps: RecordedStep[] = [];
  #skipped = 0;
  #lastId = 0;
  #lastPages = 0;
  #pinnedPages = 0;

  constructor({ log, profile, limit = DEFAULT_LIMIT }: ReplayRecorderOptions) {
    this.#log = log;
    this.#profile = resolveProfile(profile);
    this.#limit = limit;
  }

  /** Records a request. To be called when it has been run and before anything else is. */
  step(step: RecordableStep, { pinnedPages, settingChanged, advice }: StepCircumstances): void {
    const { line, operation, logged, answer } = step;
    const { code, because } = answer;
    this.#pinnedPages = pinnedPages;
    const diverges = step.divergence !== undefined;
    this.#push({
      line,
      space: null,
      call: operation,
      logged,
      answered: code,
      diverges,
      pinnedPages,
      ...(because !== undefined && (diverges || code !== 'OK') ? { reason: because } : {}),
      ...(advice === undefined ? {} : { advice }),
      ...(step.space === undefined ? {} : this.#changes(step.space, step.changed, settingChanged)),
    });
  }

  /** Records a divergence that belongs to no request, or became certain after it. */
  divergence(divergence: Omit<Divergence, 'reason'> & { readonly reason?: string }): void {
    const { line, operation, logged, answered, reason } = divergence;
    this.#push({
      line,
      space: this.#steps.at(-1)?.space ?? null,
      call: operation,
      logged,
      answered,
      diverges: true,
      ...(reason === undefined ? {} : { reason }),
      pinnedPages: this.#pinnedPages,
    });
  }

  /** Records the end of a space. */
  ended(space: NamedSpace, line: number): void {
    const known = this.#spaces.get(space);
    if (known === undefined) return;
    known.ended = true;
    const removed = [...known.now].map((area) => hex(area));
    known.now.clear();
    if (removed.length === 0) return;
    const answers = { logged: 'OK', answered: 'OK', diverges: false };
    const pinnedPages = this.#pinnedPages;
    this.#push({ line, space: known.id, call: `the end of ${space.name}`, ...answers, pinnedPages, removed });
  }

  /** What was recorded. The figures are those of the replay. */
  recording(figures: ReplayFigures): ReplayRecording {
    const { requests, largestHole, peakPinnedBytes, misses, ...others } = figures;
    return {
      format: 1,
      log: this.#log,
      profile: this.#profile,
      skipped: this.#skipped,
      spaces: [...this.#spaces.values()].map(recordedSpace),
      steps: this.#steps,
      skippedDivergences: this.#skippedDivergences,
      figures: {
        operations: requests,
        ...others,
        translations: others.translations + misses,
        peakPinnedBytes: hex(peakPinnedBytes),
        largestHole: hex(largestHole),
      },
    };
  }

  #spaceOf(space: NamedSpace): Space {
    const known = this.#spaces.get(space);
    if (known !== undefined) return known;
    this.#lastId += 1;
    const { name } = space;
    const setting = settingOf(space);
    const now = new IntervalTree<IoptArea>();
    const recorded = { id: this.#lastId, name, areas: new Map(), setting, now, ended: false };
    this.#spaces.set(space, recorded);
    return recorded;
  }

  #changes(
    of: NamedSpace,
    changed: Interval | undefined,
    settingChanged: boolean,
  ): Pick<RecordedStep, 'space' | 'removed' | 'added' | 'setting'> {
    const isNew = !this.#spaces.has(of);
    const space = this.#spaceOf(of);
    return {
      space: space.id,
      ...(changed === undefined ? {} : this.#difference(space, of, changed)),
      ...(settingChanged && !isNew ? { setting: settingOf(of) } : {}),
    };
  }

  /** The areas that came and went where a step may have changed some. */
  #difference(
    space: Space,
    { table }: NamedSpace,
    changed: Interval,
  ): Pick<RecordedStep, 'removed' | 'added'> {
    const before = nodesIn(space.now, changed);
    // An area that was split reaches outside of what was asked for.
    const range = [changed, ...before].reduce(hull);
    const live = nodesIn(table.state.areas, range).map((node) => node.value);
    const [was, is] = [new Set(before.map((node) => node.value)), new Set(live)];
    const removed = before.filter((node) => !is.has(node.value));
    const added = live.filter((area) => !was.has(area));
    for (const node of removed) space.now.delete(node);
    for (const area of added) space.now.insert(area, area);
    return {
      ...(removed.length === 0 ? {} : { removed: removed.map((node) => hex(node)) }),
      ...(added.length === 0 ? {} : { added: added.map((area) => this.#area(area)) }),
    };
  }

  #area(area: IoptArea): RecordedArea {
    const pages = area.pages!;
    const number = this.#pages.get(pages) ?? ++this.#lastPages;
    this.#pages.set(pages, number);
    const source = sourceOf(pages);
    return {
      iova: hex(area),
      last: hex(lastOf(area)),
      ...(source === 'user' ? {} : { source }),
      uptr: hex(pages.addressOf(area.index, area.pageOffset)),
      prot: protectionName(area.prot),
      pages: number,
    };
  }

  #push(step: RecordedStep): void {
    this.#steps.push(step);
    // Folding a quarter at a time costs each step once.
    if (this.#steps.length > this.#limit * 1.25) this.#fold(this.#steps.length - this.#limit);
  }

  /** Puts what the first steps did into the spaces' beginnings, and forgets the steps. */
  #fold(count: number): void {
    const spaces = new Map([...this.#spaces.values()].map((space) => [space.id, space]));
    for (const { removed = [], added = [], setting, ...step } of this.#steps.slice(0, count)) {
      const space = step.space === null ? undefined : spaces.get(step.space);
      for (const iova of removed) space?.areas.delete(iova);
      for (const area of added) space?.areas.set(area.iova, area);
      if (setting !== undefined && space !== undefined) space.setting = setting;
      if (step.diverges && this.#skippedDivergences.length < MOST_SKIPPED_DIVERGENCES) {
        this.#skippedDivergences.push(step);
      }
    }
    this.#steps = this.#steps.slice(count);
    this.#skipped += count;
    const named = new Set(this.#steps.map(({ space }) => space));
    for (const [key, { id, areas, ended }] of this.#spaces) {
      if (ended && areas.size === 0 && !named.has(id)) this.#spaces.delete(key);
    }
  }
}

function nodesIn(tree: IntervalTree<IoptArea>, range: Interval): TreeNode<IoptArea>[] {
  const nodes: TreeNode<IoptArea>[] = [];
  for (let node = tree.first(range); node !== undefined; node = tree.nextIn(node, range)) nodes.push(node);
  return nodes;
}

function hull(a: Interval, b: Interval): Interval {
  const aFirst = a.page < b.page || (a.page === b.page && a.offset <= b.offset);
  const aLast = a.lastPage > b.lastPage || (a.lastPage === b.lastPage && a.lastOffset >= b.lastOffset);
  return between(firstOf(aFirst ? a : b), lastOf(aLast ? a : b));
}

function settingOf({ table }: NamedSpace): RecordedSetting {
  const { alignment, reserved, allowed, domains } = table.snapshot();
  return { alignment, reserved, allowed, domains };
}

function recordedSpace({ id, name, areas, setting }: Space): RecordedSpace {
  const sorted = [...areas.values()].sort((a, b) => (BigInt(a.iova) < BigInt(b.iova) ? -1 : 1));
  return { id, name, areas: sorted, setting };
}
